use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

use super::super::scratch::{Scratch, alone};
use super::*;

/// Forks beside the threads of the test harness, and allocates there: each test that posts runs alone.
fn posted(programs: &[&str], at_once: usize) -> Launcher {
    let programs = programs.iter().map(PathBuf::from).collect();
    let environment = vec![("LANG".into(), "C.UTF-8".into())];
    Launcher::post(Posting { programs, environment, at_once }).unwrap()
}

fn run(launcher: &Launcher, program: &str, errand: Errand<'_>) -> Result<Ended, LaunchError> {
    runtime().block_on(launcher.run(Path::new(program), errand))
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap())
}

const SH: &str = "/bin/sh";

fn errand<'a>(arguments: &'a [&'a str]) -> Errand<'a> {
    Errand { arguments, input: b"", within: Duration::from_secs(20), output: 4096 }
}

fn told(ended: Result<Ended, LaunchError>) -> String {
    String::from_utf8(ended.unwrap().output).unwrap()
}

#[test]
fn what_was_named_is_run_with_its_input_and_nothing_else_is() {
    alone("sys::launcher::tests::runs");
}

#[test]
fn a_program_is_ended_at_its_time_with_all_that_it_started() {
    alone("sys::launcher::tests::ends");
}

#[test]
fn many_run_at_once_and_one_too_many_is_told_so() {
    alone("sys::launcher::tests::many");
}

#[test]
fn a_program_can_not_reach_the_process_that_posted() {
    alone("sys::launcher::tests::apart");
}

#[test]
#[ignore = "forks the process it runs in; a test above runs it alone"]
fn runs() {
    let scratch = Scratch::new();
    let plain = scratch.join("not a program");
    std::fs::write(&plain, b"#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o600)).unwrap();
    let plain = plain.to_str().unwrap();
    let launcher = posted(&[SH, "/bin/cat", "/not/there", plain], 4);
    let long = vec![b'x'; 300_000];
    let ended = run(&launcher, "/bin/cat", Errand { input: &long, output: 300_000, ..errand(&[]) }).unwrap();
    assert_eq!((ended.how, ended.output == long), (How::Exited(0), true));
    let ended = run(&launcher, "/bin/cat", Errand { input: &long, output: 10, ..errand(&[]) }).unwrap();
    assert_eq!((ended.how, &ended.output[..]), (How::Exited(0), &long[..10]), "what is not told is read all the same");
    // Who does not read its input is not waited for.
    let ended = run(&launcher, SH, Errand { input: &long, ..errand(&["-c", "exit 3"]) }).unwrap();
    assert_eq!(ended.how, How::Exited(3));
    let ended = run(&launcher, SH, errand(&["-c", "kill -TERM $$"])).unwrap();
    assert_eq!(ended.how, How::Killed(libc::SIGTERM), "it hears signals");

    let env = told(run(&launcher, SH, errand(&["-c", "tr '\\0' '\\n' </proc/$$/environ; pwd; ulimit -n"])));
    assert_eq!(
        env.lines().take(2).collect::<Vec<_>>(),
        ["LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    );
    assert_eq!(env.lines().skip(2).collect::<Vec<_>>(), ["/", "1024"]);
    let open = told(run(&launcher, SH, errand(&["-c", "exec ls /proc/self/fd"])));
    assert_eq!(
        open,
        "0
1
2
3
",
        "stdin, stdout, stderr, and what ls itself opened"
    );

    assert_eq!(run(&launcher, "/bin/ls", errand(&[])), Err(LaunchError::NotNamed("/bin/ls".into())));
    for (program, errno) in [("/not/there", Errno::ENOENT), (plain, Errno::EACCES)] {
        assert_eq!(run(&launcher, program, errand(&[])), Err(LaunchError::NotStarted(program.into(), errno)));
    }
    let much = vec![0; 2 << 20];
    assert!(matches!(run(&launcher, SH, Errand { input: &much, ..errand(&[]) }), Err(LaunchError::TooMuch(_))));
}

/// Whether the process has ended, or does so soon.
fn is_gone(pid: &str) -> bool {
    let state = || std::fs::read_to_string(format!("/proc/{pid}/stat"));
    for _ in 0..200 {
        match state() {
            Ok(stat) if !stat.contains(") Z ") => std::thread::sleep(Duration::from_millis(10)),
            _ => return true,
        }
    }
    false
}

#[test]
#[ignore = "forks the process it runs in; a test above runs it alone"]
fn ends() {
    let launcher = posted(&[SH], 4);
    let short = Duration::from_millis(300);
    let ended = run(&launcher, SH, Errand { within: short, ..errand(&["-c", "sleep 60 & echo $!; wait"]) }).unwrap();
    assert_eq!(ended.how, How::TimeUp);
    assert!(is_gone(String::from_utf8(ended.output).unwrap().trim()));
    // What it leaves behind ends with it, and does not keep its output open.
    let pid = told(run(&launcher, SH, errand(&["-c", "sleep 60 & echo $!"])));
    assert!(is_gone(pid.trim()));
    // Who stops waiting ends it.
    let scratch = Scratch::new();
    let file = scratch.join("pid");
    let script = format!("echo $$ >{}; exec sleep 60", file.display());
    let arguments = ["-c", &script];
    runtime().block_on(async {
        let run = launcher.run(Path::new(SH), errand(&arguments));
        tokio::time::timeout(Duration::from_millis(500), run).await.unwrap_err();
    });
    assert!(is_gone(std::fs::read_to_string(&file).unwrap().trim()));
    assert!(!launcher.is_lost());
    // Without its child nothing is run, and that is told.
    launcher.0.child.signal(nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(run(&launcher, SH, errand(&["-c", "true"])), Err(LaunchError::Lost));
    // A process that ends closes its line a moment before it has ended.
    while !launcher.is_lost() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[ignore = "forks the process it runs in; a test above runs it alone"]
fn many() {
    let launcher = posted(&[SH], 2);
    let wait = ["-c", "sleep 0.5; echo done"];
    runtime().block_on(async {
        let one = || launcher.run(Path::new(SH), errand(&wait));
        let mut ended = <[_; 3]>::from(tokio::join!(one(), one(), one())).map(|ended| ended.map(|ended| ended.output));
        ended.sort_by_key(Result::is_err);
        assert_eq!(ended, [Ok(b"done\n".to_vec()), Ok(b"done\n".to_vec()), Err(LaunchError::Busy)]);
        assert_eq!(one().await.unwrap().output, b"done\n", "there is room again");
    });
}

#[test]
#[ignore = "forks the process it runs in; a test above runs it alone"]
fn apart() {
    let launcher = posted(&[SH], 2);
    let us = std::process::id();
    let script = format!("kill -0 {us} 2>/dev/null && echo signals; readlink /proc/{us}/exe && echo looks; exit 0");
    assert_eq!(told(run(&launcher, SH, errand(&["-c", &script]))), "");
    let status = told(run(&launcher, SH, errand(&["-c", "grep NoNewPrivs /proc/$$/status; cat /proc/$$/stat"])));
    assert!(status.starts_with("NoNewPrivs:\t1"), "{status}");
    // Files are moved between directories as ever.
    let scratch = Scratch::new();
    let at = scratch.path().display();
    let script = format!("cd {at} && mkdir a b && echo x >a/f && ln a/f b/f && echo linked");
    assert_eq!(told(run(&launcher, SH, errand(&["-c", &script]))), "linked\n");
}
