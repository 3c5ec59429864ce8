//! Paints the unused stack of the daemon's thread and looks later how deep something went, and that what went there
//! was wiped: the deepest trace must be zeroes, for nothing but the scrub writes so many.

use crate::harness::{World, request};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::{fs::FileExt, net::UnixStream},
    path::Path,
};

/// How a report begins that found something.
pub const FOUND: &str = "deeper than the scrub";

const PAINT: u8 = 0xa5;
/// What lies below the stack pointer and is still in use (System V ABI), and what a waking loop uses.
const IN_USE: u64 = 1024;
/// What scrubs leave below their zeroes, in bytes: the addresses to which memset returns, one for each depth at which
/// tasks are polled.
const CALLS: usize = 64;
/// The least that the scrub writes.
const WIPE: usize = 8 * 1024;

/// The stack as it was painted.
pub struct Painted {
    begin: u64,
    end: u64,
}

/// Paints all of the mapped stack below the place where the idle loop waits.
pub fn paint(pid: u32) -> Painted {
    let memory = OpenOptions::new().write(true).open(format!("/proc/{pid}/mem")).unwrap();
    let painted = Painted { begin: stack(pid).0, end: stack_pointer(pid) - IN_USE };
    memory.write_all_at(&vec![PAINT; (painted.end - painted.begin) as usize], painted.begin).unwrap();
    painted
}

/// Says how deep the stack was used or wiped, in bytes, and fails when what lies deepest was not wiped afterwards.
pub fn deepest_trace_is_a_wipe(pid: u32, painted: &Painted) -> usize {
    let begin = stack(pid).0;
    let mut below = vec![0; (painted.end - begin) as usize];
    File::open(format!("/proc/{pid}/mem")).unwrap().read_exact_at(&mut below, begin).unwrap();
    let grown = (painted.begin - begin) as usize;
    let deepest = grown + below[grown..].iter().position(|byte| *byte != PAINT).expect("the daemon did something");
    eprintln!("the stack was used or wiped {} bytes below the idle loop", below.len() - deepest);
    // What the stack grew by was zeroes when it came.
    let traces = below[..grown].iter().chain(below[deepest..].iter().take(WIPE)).filter(|byte| **byte != 0).count();
    assert!(traces <= CALLS, "{FOUND}: traces {} bytes below the idle loop", below.len() - deepest);
    below.len() - deepest
}

/// Whatever a caller asks for, the tasks of the broker socket leave nothing below their own, shallower scrub. The main
/// task wipes deeper each second, which would hide that they do: rounds in which it did show nothing.
pub fn callers_stay_within_the_shallow_scrub(world: &World) {
    let asked: Vec<String> = [
        ("POST", "/v1/leases", r#"{"key":"dashscope/k1","kind":"virtual","ttl":60}"#.into()),
        ("POST", "/v1/leases", r#"{"key":"dashscope/none"}"#.into()),
        ("POST", "/v1/leases", format!(r#"{{"key":{}"#, "[".repeat(4000))),
        (
            "POST",
            "/v1/leases",
            format!(r#"{{"key":"k","scope":[{}]}}"#, r#"{"method":"GET","path":"/**"},"#.repeat(100)),
        ),
        ("POST", "/api/v1/tokens?expire_in_seconds=60", String::new()),
        ("DELETE", "/v1/leases/none", String::new()),
        ("GET", "/v1/leases", String::new()),
        ("GET", "/v1/whoami", String::new()),
        ("GET", "/v1/openapi.json", String::new()),
        ("GET", "/nowhere", String::new()),
    ]
    .map(|(method, target, body)| request(method, target, Some(&body), "close").replace("host:", &many_headers()))
    .into();
    stay_shallow(world, &world.broker(), &asked);
}

fn stay_shallow(world: &World, socket: &Path, asked: &[String]) {
    const DEEP: usize = 48 * 1024;
    let seen = (0..10 * asked.len()).filter(|number| {
        let painted = paint(world.pid());
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(asked[number % asked.len()].as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "));
        drop(stream);
        // The answer is here before the poll that sent it is over.
        std::thread::sleep(std::time::Duration::from_millis(10));
        deepest_trace_is_a_wipe(world.pid(), &painted) < DEEP
    });
    assert!(seen.count() > 5 * asked.len(), "the deeper wipe came in between too often");
}

fn many_headers() -> String {
    (0..50).map(|number| format!("x-{number}: y\r\n")).collect::<String>() + "host:"
}

/// The main thread's.
fn stack(pid: u32) -> (u64, u64) {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let line = maps.lines().find(|line| line.ends_with("[stack]")).unwrap();
    let (begin, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
    (u64::from_str_radix(begin, 16).unwrap(), u64::from_str_radix(end, 16).unwrap())
}

/// proc(5), `syscall`: number, six arguments, stack pointer, program counter.
fn stack_pointer(pid: u32) -> u64 {
    let mut told = String::new();
    let waits = || {
        told = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
        told.split_whitespace().count() == 9
    };
    assert!(crate::harness::soon(std::time::Duration::from_secs(5), waits), "the loop never waits: {told}");
    let pointer = told.split_whitespace().nth(7).unwrap();
    u64::from_str_radix(pointer.trim_start_matches("0x"), 16).unwrap()
}
