//! `sixty top` at a terminal of its own (python's pty): it draws, it ends by a key or a signal, and the terminal is as it
//! was.

use crate::{
    harness::{MINE, World},
    needs::has,
};
use std::process::{Command, Output};

/// Starts the command on a new terminal, runs `then` with `until(text)`, `fd` and `pid`, waits for its end, and prints
/// whether the terminal's modes are the same again, how it ended, and all that it wrote.
const TYPIST: &str = "\
import os,pty,sys,termios,signal,struct,fcntl,time
pid,fd=pty.fork()
if pid==0:
 time.sleep(0.2); os.execvp(sys.argv[2],sys.argv[2:])
fcntl.ioctl(fd,termios.TIOCSWINSZ,struct.pack('HHHH',8,80,0,0))
before=termios.tcgetattr(fd); s=b''
def more():
 global s
 try: s+=os.read(fd,4096)
 except OSError: return False
 return True
def until(w,n=1):
 while s.count(w)<n: assert more(),s
exec(sys.argv[1])
while more(): pass
print('same' if termios.tcgetattr(fd)==before else 'other', os.waitpid(pid,0)[1])
print(s.decode())
";

fn typed(world: &World, words: &[&str], then: &str) -> String {
    let inner = world.command(words);
    let mut command = Command::new("timeout");
    command.args(["20", "env", "--default-signal", "python3", "-c", TYPIST, then]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
    let Output { stdout, stderr, .. } = command.output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    text
}

const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";

#[test]
fn a_key_or_a_signal_ends_it_and_the_terminal_is_as_it_was() {
    if !has("python3", "top at a terminal") {
        return;
    }
    let world = World::with_key(MINE);
    world.virtual_key("");
    for end in [
        "until(b'PER MIN',2); os.write(fd,b'xq')",
        "until(b'PER MIN'); os.write(fd,b'\\x03')",
        "until(b'PER MIN'); os.kill(pid,signal.SIGTERM)",
        "until(b'PER MIN'); os.kill(pid,signal.SIGHUP)",
    ] {
        let told = typed(&world, &["top", "--interval", "250ms"], end);
        assert!(told.starts_with("same 0\n"), "{end}: {told}");
        assert!(told.contains(ENTER) && told.trim_end().ends_with(LEAVE), "{end}: {told:?}");
        assert!(told.contains("dashscope/main") && told.contains("1 leases live"), "{end}: {told}");
    }
}

#[test]
fn it_is_stopped_like_any_program_and_goes_on() {
    if !has("python3", "top at a terminal") {
        return;
    }
    let world = World::with_key(MINE);
    let then = "until(b'PER MIN'); os.kill(pid,signal.SIGTSTP)\n\
        assert os.WIFSTOPPED(os.waitpid(pid,os.WUNTRACED)[1])\n\
        until(b'1049l'); assert termios.tcgetattr(fd)==before\n\
        os.kill(pid,signal.SIGCONT); until(b'1049h',2); until(b'PER MIN',s.count(b'PER MIN')+1); os.write(fd,b'q')";
    world.virtual_key("");
    let told = typed(&world, &["top", "--interval", "250ms"], then);
    assert!(told.starts_with("same 0\n") && told.trim_end().ends_with(LEAVE), "{told}");
}

#[test]
fn a_small_terminal_is_not_scrolled_and_a_daemon_that_ends_is_told() {
    if !has("python3", "top at a terminal") {
        return;
    }
    let mut world = World::with_key(MINE);
    for number in 0..9 {
        world.add_key(&format!("dashscope/k{number}"));
        world.mint(&format!(r#"{{"key":"dashscope/k{number}","kind":"virtual"}}"#));
    }
    let told = typed(&world, &["top", "--interval", "250ms"], "until(b'more; q ends'); os.write(fd,b'q')");
    assert!(told.starts_with("same 0\n"), "{told}");
    let pid = world.status()["pid"].as_u64().unwrap();
    let then =
        format!("until(b'PER MIN'); os.kill({pid},signal.SIGKILL); until(b'no daemon answers'); os.write(fd,b'q')");
    let told = typed(&world, &["top", "--interval", "250ms"], &then);
    assert!(told.starts_with("same 0\n"), "{told}");
    world.kill();
    let output = world.sixty(&["top", "--once"]);
    assert_eq!(output.status.code(), Some(69));
}

#[test]
fn elsewhere_it_prints_one_table_and_as_json_a_line_for_each_look() {
    let world = World::with_key(MINE);
    world.virtual_key("");
    let output = world.sixty(&["top"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.matches("PER MIN").count() == 1 && !text.contains('\u{1b}'), "{text}");
    let mut child = world.command(&["top", "--json", "--interval", "250ms", "--by", "peer"]);
    let mut child = child.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let frames: Vec<serde_json::Value> =
        lines.take(3).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let row = |number: usize| &frames[number]["rows"][0];
    assert_eq!((row(0)["leases"].as_u64(), &row(0)["calls_per_minute"]), (Some(1), &serde_json::Value::Null));
    assert_eq!(row(2)["calls_per_minute"].as_f64(), Some(0.0));
    assert_eq!(row(2)["name"], format!("uid:{}", nix::unistd::geteuid()));
    child.kill().unwrap();
    child.wait().unwrap();
}
