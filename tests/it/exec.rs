//! `sixty exec`: real commands with virtual keys in their environment, in a sandbox and out of it.

use crate::harness::{MINE, SECOND, World, fed, remember, signal, soon};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Output, Stdio},
};

const CURL: &str = r#"curl -sS -H "x-api-key: $OPENAI_API_KEY" -H 'content-type: application/json' -d '{"model":"qwen-plus","messages":[{"role":"user","content":"Who are you?"}]}'"#;

fn exec(world: &World, options: &[&str], script: &str) -> Command {
    let mut words = vec!["exec", "dashscope/main"];
    words.extend(options);
    words.extend(["--", "sh", "-c", script]);
    world.command(&words)
}

fn said(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The command and the first line that it said.
fn begun(mut command: Command) -> (Child, String) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

#[test]
fn a_command_calls_with_a_key_that_ends_with_it() {
    let world = World::with_key(MINE);
    let output = exec(&world, &[], &format!("{CURL} $OPENAI_BASE_URL/chat/completions; env")).output().unwrap();
    let (out, err) = said(&output);
    assert!(output.status.success() && out.contains("pretend "), "{out}{err}");
    let key = out.lines().find_map(|line| line.strip_prefix("OPENAI_API_KEY=")).unwrap();
    remember(key);
    let port = out.lines().find_map(|line| line.strip_prefix("DASHSCOPE_HTTP_BASE_URL=http://127.0.0.1:")).unwrap();
    let port = port.strip_suffix("/dashscope/api/v1").unwrap();
    assert!(out.contains(&format!("ANTHROPIC_BASE_URL=http://127.0.0.1:{port}/dashscope/apps/anthropic\n")), "{out}");
    for name in ["ANTHROPIC_AUTH_TOKEN", "DASHSCOPE_API_KEY"] {
        assert!(out.contains(&format!("{name}={key}\n")), "{out}");
    }
    assert!(out.contains("NO_PROXY=127.0.0.1,localhost"), "{out}");
    assert!(err.contains("dashscope/main: good for ") && err.contains("then calls are refused"), "{err}");
    assert_eq!(world.status()["leases"]["live"], 0);
    let revoked = world.control_http("GET", "/v1/leases?all=true", None).json();
    assert_eq!(revoked["leases"][0]["state"], "revoked");
}

#[test]
fn what_a_command_leaves_behind_has_nothing() {
    let world = World::with_key(MINE);
    let gateway = world.path("run/gateway.sock").display().to_string();
    let direct = format!("--unix-socket {gateway} http://x/dashscope/compatible-mode/v1/chat/completions");
    let answer = world.path("answer").display().to_string();
    let script =
        format!("({CURL} {direct}; sleep 0.7; {CURL} {direct}; {CURL} $OPENAI_BASE_URL/x) >{answer} 2>&1 & sleep 0.4");
    assert!(exec(&world, &[], &script).output().unwrap().status.success());
    let read = || std::fs::read_to_string(&answer).unwrap_or_default();
    assert!(soon(5 * SECOND, || read().contains("Failed to connect") || read().contains("refused")), "{}", read());
    let text = read();
    assert!(text.contains("pretend ") && text.contains("\"code\":\"revoked\""), "{text}");
}

#[test]
fn it_ends_as_its_command_does() {
    let mut world = World::with_key(MINE);
    let code = |script: &str| exec(&world, &[], script).stderr(Stdio::null()).status().unwrap().code();
    assert_eq!(
        (code("exit 0"), code("exit 3"), code("kill -TERM $$"), code("kill -KILL $$")),
        (Some(0), Some(3), Some(143), Some(137))
    );
    assert_eq!(world.sixty(&["exec", "dashscope/main", "--", "/nonexistent"]).status.code(), Some(127));
    assert_eq!(world.sixty(&["exec", "dashscope/main", "--", "/etc/passwd"]).status.code(), Some(126));
    assert_eq!(said(&fed(exec(&world, &[], "cat"), "hello")).0, "hello");
    // Without its keys it is not run at all.
    let touched = world.path("touched");
    let script = format!("touch {}", touched.display());
    let refused = |world: &World, key: &str| {
        world.sixty(&["exec", "dashscope/main", key, "--", "sh", "-c", &script]).status.code()
    };
    assert_eq!(refused(&world, "dashscope/none"), Some(77));
    world.control_http("POST", "/v1/lock", None);
    assert_eq!(refused(&world, "dashscope/none"), Some(75));
    world.stop();
    assert_eq!(refused(&world, "dashscope/none"), Some(69));
    assert!(!touched.exists());
}

#[test]
fn two_keys_for_the_same_variables_are_refused() {
    let world = World::with_key(MINE);
    world.add_key("dashscope/other");
    let output = world.sixty(&["exec", "dashscope/main", "dashscope/other", "--", "true"]);
    assert_eq!((output.status.code(), world.status()["leases"]["live"].as_u64()), (Some(2), Some(0)));
}

/// The same, started by somebody who lets these signals be as they are by default, or ignores them.
fn started_by(how: &str, inner: &Command) -> Command {
    let mut command = Command::new("env");
    command.arg(how).arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// Its exit code, within 10 seconds.
fn code(mut child: Child) -> Option<i32> {
    let began = std::time::Instant::now();
    while began.elapsed() < 10 * SECOND {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(SECOND / 50);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("it did not end");
}

#[test]
fn signals_reach_the_command_and_its_answer_is_ours() {
    let world = World::with_key(MINE);
    for name in ["TERM", "INT", "HUP", "QUIT", "USR1"] {
        let script = format!("trap 'exit 7' {name}; echo ready; while :; do sleep 0.02; done");
        // A shell cannot trap what was ignored when it began.
        let (child, line) = begun(started_by("--default-signal", &exec(&world, &[], &script)));
        assert_eq!(line, "ready\n");
        signal(child.id(), name);
        assert_eq!(code(child), Some(7), "{name}");
    }
}

/// nohup(1), and shells that put a command into the background.
#[test]
fn what_our_starter_ignores_the_command_ignores_too() {
    let world = World::with_key(MINE);
    let inner = exec(&world, &[], "echo ready; read line; exit 3");
    let (mut child, line) = begun(started_by("--ignore-signal=INT,QUIT,HUP,TERM,TSTP", &inner));
    assert_eq!(line, "ready\n");
    for name in ["INT", "QUIT", "HUP", "TERM", "TSTP"] {
        signal(child.id(), name);
    }
    std::thread::sleep(SECOND / 5);
    assert_eq!(child.try_wait().unwrap(), None);
    drop(child.stdin.take());
    assert_eq!(code(child), Some(3));
    // Who ignores that children end is told of it all the same.
    let (child, _) = begun(started_by("--ignore-signal=CHLD", &exec(&world, &[], "echo ready; exit 4")));
    assert_eq!(code(child), Some(4));
}

fn state(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?')
}

#[test]
fn a_command_that_is_stopped_and_goes_on_takes_us_with_it() {
    let world = World::with_key(MINE);
    let mut job = started_by("--default-signal", &exec(&world, &[], "echo $$; read line; exit 6"));
    // A group of its own: where nobody is above a group, the kernel stops none of it by TSTP.
    let (mut child, line) = begun({
        std::os::unix::process::CommandExt::process_group(&mut job, 0);
        job
    });
    let command: u32 = line.trim().parse().unwrap();
    // Sent to either of us, it stops both.
    for (whom, name) in [(child.id(), "TSTP"), (command, "STOP")] {
        signal(whom, name);
        assert!(soon(5 * SECOND, || (state(child.id()), state(command)) == ('T', 'T')), "{name}");
        signal(child.id(), "CONT");
        assert!(soon(5 * SECOND, || state(child.id()) != 'T' && state(command) != 'T'), "{name}");
    }
    drop(child.stdin.take());
    assert_eq!(code(child), Some(6));
}

/// A shell with job control: Ctrl-Z gives it back the terminal, and `fg` the terminal back to the command. Not typed at
/// once: a shell that is stopped in the middle of its vfork(2) waits for a child that is stopped too.
#[test]
fn a_job_at_the_terminal_is_stopped_and_goes_on() {
    if !crate::needs::has("python3", "exec at a terminal") {
        return;
    }
    let world = World::with_key(MINE);
    let typist = "import os,pty,sys\npid,fd=pty.fork()\nif pid==0: os.execvp('bash',['bash','-mc',sys.argv[1],*sys.argv[2:]])\n\
        s=b''\ndef until(w):\n global s\n while w not in s: s+=os.read(fd,1000)\n\
        until(b'ready')\nimport time;time.sleep(0.1)\nos.write(fd,b'\\x1a')\nuntil(b'stopped T')\nuntil(b'again?')\nos.write(fd,b'yes\\n')\n\
        until(b'code 5')\nprint(s.decode())";
    let shell = r#""$0" "$@"; echo stopped $(cut -d' ' -f3 /proc/$(cat "$PIDS")/stat); fg >/dev/null; echo code $?"#;
    let script =
        r#"echo $$ >"$PIDS"; echo ready; sleep 0.5; printf 'again? '; read word; test "$word" = yes && exit 5"#;
    let inner = exec(&world, &[], script);
    let mut command = Command::new("timeout");
    command.args(["20", "env", "--default-signal", "python3", "-c", typist, shell]);
    command.arg(inner.get_program()).args(inner.get_args()).env("PIDS", world.path("pids"));
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (out, err) = said(&command.output().unwrap());
    assert!(out.contains("code 5"), "{out}{err}");
}

#[test]
fn real_keys_in_the_environment_are_not_passed_on_and_not_shown() {
    let world = World::with_key(MINE);
    let mut command = exec(&world, &[], "env");
    command.env("ANTHROPIC_API_KEY", "hunter2").env("OPENAI_API_KEY", "hunter3").env("PLAIN", "stays");
    let (out, err) = said(&command.output().unwrap());
    assert!(!out.contains("hunter") && !err.contains("hunter") && out.contains("PLAIN=stays"), "{out}{err}");
    assert!(err.contains("not passed on: ANTHROPIC_API_KEY, OPENAI_API_KEY"), "{err}");
}

#[test]
fn the_bridge_takes_nobody_but_what_descends_from_it() {
    let world = World::with_key(MINE);
    let (mut child, line) = begun(exec(&world, &[], "echo $OPENAI_BASE_URL $OPENAI_API_KEY; read line"));
    let (url, key) = line.trim().split_once(' ').unwrap();
    remember(key);
    let address = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(5 * SECOND)).unwrap();
    let request = format!("GET /dashscope/compatible-mode/v1/models HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n");
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(String::from_utf8_lossy(&answer), "");
    let uses = world.audit().iter().filter(|line| line["verdict"] == "use" || line["code"] == "denied").count();
    assert_eq!(uses, 0, "the daemon did not hear of it");
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn a_connection_is_passed_on_as_a_descriptor() {
    let world = World::with_key(MINE);
    let script = r#"printf 'GET /dashscope/compatible-mode/v1/models HTTP/1.1\r\nhost: x\r\nx-api-key: %s\r\nconnection: close\r\n\r\n' $OPENAI_API_KEY >/proc/self/fd/1; "#;
    let script = script.replace("/proc/self/fd/1", "&$SIXTY_FD") + "cat <&$SIXTY_FD";
    // dash takes one digit alone.
    let mut command = world.command(&["exec", "dashscope/main", "--fd", "--", "bash", "-c", &script]);
    let (out, err) = said(&command.output().unwrap());
    assert!(out.starts_with("HTTP/1.1 ") && !out.contains("denied"), "{out}{err}");
    assert!(world.audit().iter().any(|line| line["verdict"] == "use"));
}

fn bwrap() -> bool {
    let made = || {
        let mut bwrap = Command::new("bwrap");
        bwrap.args(["--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "true"]);
        bwrap.status().is_ok_and(|status| status.success())
    };
    if !crate::needs::has("bwrap", "exec --sandbox") {
        return false;
    }
    // An ordinary user may have been forbidden namespaces: that is the machine's, not ours.
    let can = made();
    if !can {
        crate::needs::missing("no user namespaces are here", "exec --sandbox");
    }
    can
}

fn is_running(words: &str) -> bool {
    let lines = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
    lines.filter_map(|path| std::fs::read(path).ok()).any(|line| line == words.as_bytes())
}

#[test]
fn in_a_sandbox_there_is_the_gateway_and_nothing_else() {
    if !bwrap() {
        return;
    }
    let world = World::with_key(MINE);
    let shared = world.path("shared");
    std::fs::create_dir(&shared).unwrap();
    let script = format!(
        "{CURL} $OPENAI_BASE_URL/chat/completions; echo; ls -A /run; cat {state}/vault.sealed; \
         for s in broker control gateway; do curl -sS -m 2 --unix-socket {run}/$s.sock http://x/healthz && echo reached; done; \
         touch /etc/x; touch /tmp/x && echo own-tmp; echo written >{shared}/file; \
         curl -sS -m 2 {studio}; ls /sys/class/net /proc/net/dev >/dev/null; tail -n +3 /proc/net/dev | cut -d: -f1; \
         echo pids $(ls /proc | grep -c '^[0-9]')",
        run = world.path("run").display(),
        state = world.path("state").display(),
        shared = shared.display(),
        studio = world.studio.url(),
    );
    let output = exec(&world, &["--sandbox", "--bind", shared.to_str().unwrap()], &script).output().unwrap();
    let (out, err) = said(&output);
    assert!(out.contains("pretend ") && out.contains("own-tmp"), "{out}{err}");
    assert!(!out.contains("reached") && out.contains("sixty-job\n"), "{out}");
    assert!(err.contains("vault.sealed: No such file") && err.contains("/etc/x'"), "{err}");
    assert!(err.contains("onnect"), "the provider itself is out of reach: {err}");
    assert_eq!(std::fs::read_to_string(shared.join("file")).unwrap(), "written\n");
    let devices: Vec<_> = out.lines().filter(|line| line.trim() == "lo" || line.contains("eth")).collect();
    assert_eq!(devices.len(), 1, "{out}");
    let pids: usize = out.lines().find_map(|line| line.strip_prefix("pids ")).unwrap().parse().unwrap();
    assert!(pids < 8, "{out}");
    assert!(soon(SECOND, || world.status()["leases"]["live"] == 0));
}

#[test]
fn a_sandboxed_command_ends_as_it_would_outside() {
    if !bwrap() {
        return;
    }
    let world = World::with_key(MINE);
    let code = |script: &str| exec(&world, &["--sandbox"], script).stderr(Stdio::null()).status().unwrap().code();
    assert_eq!((code("exit 3"), code("kill -TERM $$"), code("exec /nonexistent")), (Some(3), Some(143), Some(127)));
    let (mut child, line) =
        begun(exec(&world, &["--sandbox"], "trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done"));
    assert_eq!(line, "ready\n");
    signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(7));
    // Killed, it takes all of the sandbox with it.
    let marker = format!("{}.25", std::process::id());
    let (mut child, _) = begun(exec(&world, &["--sandbox"], &format!("echo ready; sleep {marker}")));
    assert!(soon(SECOND, || is_running(&format!("sleep\0{marker}\0"))));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(soon(5 * SECOND, || !is_running(&format!("sleep\0{marker}\0"))));
    assert!(soon(SECOND, || world.status()["leases"]["live"] == 0));
}

#[test]
fn where_no_sandbox_can_be_had_nothing_is_run() {
    let world = World::with_key(MINE);
    let touched = world.path("touched");
    let empty = world.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let mut command =
        world.command(&["exec", "dashscope/main", "--sandbox", "--", "/usr/bin/touch", touched.to_str().unwrap()]);
    let output = command.env("PATH", &empty).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(said(&output).1.contains("bubblewrap (bwrap) is not installed"), "{}", said(&output).1);
    // As bubblewrap says it where user namespaces are forbidden.
    std::fs::write(
        empty.join("bwrap"),
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n",
    )
    .unwrap();
    std::fs::set_permissions(empty.join("bwrap"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(said(&output).1.contains("No permissions to create new namespace"), "{}", said(&output).1);
    assert!(!touched.exists());
    assert_eq!(world.control_http("GET", "/v1/leases?all=true", None).json()["leases"].as_array().unwrap().len(), 0);
}

/// A terminal: what is typed there, the kernel sends to all that stand before it.
#[test]
fn an_interrupt_at_the_terminal_comes_once_and_does_not_end_us() {
    if !crate::needs::has("python3", "exec at a terminal") {
        return;
    }
    let world = World::with_key(MINE);
    let typist = "import os,pty,sys\npid,fd=pty.fork()\nif pid==0: os.execvp(sys.argv[1],sys.argv[1:])\ns=b''\n\
        while b'ready' not in s: s+=os.read(fd,1000)\nos.write(fd,b'\\x03')\ntry:\n while True:\n  b=os.read(fd,1000)\n  \
        if not b: break\n  s+=b\nexcept OSError: pass\nprint(s.decode());sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))";
    // Counts interrupts for half a second.
    let script =
        "n=0; trap 'n=$((n+1))' INT; echo ready; for i in 1 2 3 4 5; do sleep 0.1; done; echo counted $n; exit 5";
    let options: &[&[&str]] = if bwrap() { &[&[], &["--sandbox"]] } else { &[&[]] };
    for options in options {
        let inner = exec(&world, options, script);
        let mut command = Command::new("python3");
        command.args(["-c", typist]).arg(inner.get_program()).args(inner.get_args());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let (out, err) = said(&command.output().unwrap());
        assert!(out.contains("counted 1"), "{options:?} {out}{err}");
    }
}
