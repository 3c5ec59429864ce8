use std::process::{Child, Command};

use super::*;
use crate::sys::scratch::Scratch;

const HOSTILE: &str = "42 (a) R 1 (x) 7) S 17 42 42 0 -1 4194560 107 0 0 0 0 0 0 0 20 0 1 0 8765 3 0\n";

#[test]
fn a_process_name_can_not_forge_a_parent_or_a_start_time() {
    assert_eq!(parse::stat_field(HOSTILE, 4), Some(17));
    assert_eq!(parse::stat_field(HOSTILE, 22), Some(8765_u64));
    assert_eq!(parse::stat_field::<i32>("42 (no end", 4), None);
    assert_eq!(parse::stat_field::<i32>("42 (x) S", 4), None);
    assert_eq!(parse::stat_field::<i32>("42 (x) S 1", 2), None);
}

#[test]
fn a_process_name_can_not_forge_a_status_line() {
    // The kernel writes a newline in the name as \n; should it not, the first line found must be the kernel's own.
    let text = "Name:\tx\\nUid:\t0 0 0 0\nUid:\t1000\t1001\t1002\t1003\nTracerPid:\t9\n";
    assert_eq!(parse::uids(text), Some([1000, 1001, 1002, 1003]));
    assert_eq!(parse::status(text, "TracerPid:"), Some("9"));
    assert_eq!(parse::uids("Uid:\t1\t2\t3\n"), None);
}

#[test]
fn only_the_unified_cgroup_counts() {
    assert_eq!(parse::cgroup("1:name=systemd:/a\n0::/system.slice/ci.service\n"), Some("/system.slice/ci.service"));
    assert_eq!(parse::cgroup("1:cpu:/0::/fake\n"), None);
    assert_eq!(parse::cgroup("0::relative\n"), None);
}

#[test]
fn a_namespace_is_the_one_that_readlink_shows() {
    let link = std::fs::read_link("/proc/self/ns/pid").unwrap();
    assert_eq!(link.to_str().unwrap(), format!("pid:[{}]", ProcDir::own().unwrap().pid_namespace().unwrap()));
}

fn started(command: &mut Command) -> (Child, ProcDir) {
    // Other tests fork: until their children exec they may hold a program we just wrote open for writing.
    let child = loop {
        match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            other => break other.unwrap(),
        }
    };
    let dir = ProcDir::open(i32::try_from(child.id()).unwrap()).unwrap();
    (child, dir)
}

fn exe(dir: &ProcDir) -> Result<Exe, ProcError> {
    Ok(Exe::of(&dir.program()?).unwrap())
}

fn stop(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_facts_of_a_child_are_told() {
    let (child, dir) = started(Command::new("sleep").arg("30"));
    let us = nix::unistd::geteuid().as_raw();
    assert_eq!(dir.uids().unwrap()[1], us);
    assert_eq!(dir.parent().unwrap(), nix::unistd::getpid().as_raw());
    assert_eq!(dir.comm().unwrap(), "sleep");
    assert_eq!(dir.tracer().unwrap(), 0);
    assert!(matches!(exe(&dir).unwrap(), Exe::At(path) if path.is_absolute()));
    assert_eq!(dir.pid_namespace().unwrap(), ProcDir::own().unwrap().pid_namespace().unwrap());
    assert!(dir.start_time().unwrap() >= ProcDir::own().unwrap().start_time().unwrap());
    stop(child);
}

#[test]
fn a_dead_process_has_no_facts() {
    let (child, dir) = started(Command::new("sleep").arg("30"));
    stop(child);
    assert!(matches!(dir.start_time(), Err(ProcError::Gone { .. })));
    assert!(matches!(exe(&dir), Err(ProcError::Gone { .. })));
    assert!(matches!(ProcDir::open(dir.pid()), Err(ProcError::Gone { .. })));
}

#[test]
fn a_replaced_program_is_not_taken_for_what_stands_at_its_path_now() {
    let scratch = Scratch::new();
    let program = scratch.join("program");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let (child, dir) = started(Command::new(&program).arg("30"));
    assert_eq!(exe(&dir).unwrap(), Exe::At(program.clone()));
    std::fs::remove_file(&program).unwrap();
    assert_eq!(exe(&dir).unwrap(), Exe::Elsewhere(program.clone()));
    std::fs::copy("/bin/true", &program).unwrap();
    assert_eq!(exe(&dir).unwrap(), Exe::Elsewhere(program));
    let size = dir.exe_file().unwrap().metadata().unwrap().len();
    assert_eq!(size, std::fs::metadata("/bin/sleep").unwrap().len(), "hashing sees what runs");
    stop(child);
}

#[test]
fn a_program_may_be_called_deleted() {
    let scratch = Scratch::new();
    let program = scratch.join("program (deleted)");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let (child, dir) = started(Command::new(&program).arg("30"));
    assert_eq!(exe(&dir).unwrap(), Exe::At(program));
    stop(child);
}

#[test]
fn a_program_mounted_over_a_trusted_path_is_not_that_program() {
    // In a namespace of its own anybody may put any file at any path.
    let script = "mount --bind /bin/sleep /bin/true && exec /bin/true 30";
    let mut unshare = Command::new("unshare");
    unshare.args(["-Urm", "sh", "-c", script]).stderr(std::process::Stdio::null());
    let (mut child, dir) = started(&mut unshare);
    while child.try_wait().unwrap().is_none() && dir.comm().is_ok_and(|name| name != "true") {
        std::thread::yield_now();
    }
    match exe(&dir) {
        Ok(exe) => assert!(matches!(&exe, Exe::Elsewhere(path) if path.ends_with("true")), "{exe:?}"),
        Err(_) => println!("not tested: this machine gives no mount namespace"),
    }
    let _ = child.kill();
    child.wait().unwrap();
}
