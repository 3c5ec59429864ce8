//! Paints the unused stack of the daemon's thread and looks later how deep something went, and that what went there
//! was wiped: the deepest trace must be zeroes, for nothing but the scrub writes so many.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
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

/// Says how deep the stack was used, and fails when that was deeper than what was wiped afterwards.
pub fn deepest_trace_is_a_wipe(pid: u32, painted: &Painted) {
    let begin = stack(pid).0;
    let mut below = vec![0; (painted.end - begin) as usize];
    File::open(format!("/proc/{pid}/mem")).unwrap().read_exact_at(&mut below, begin).unwrap();
    let grown = (painted.begin - begin) as usize;
    let deepest = grown + below[grown..].iter().position(|byte| *byte != PAINT).expect("the daemon did something");
    eprintln!("the stack was used or wiped {} bytes below the idle loop", below.len() - deepest);
    let fresh = below[..grown].iter().all(|byte| *byte == 0);
    let wiped = below[deepest..].iter().take(WIPE).filter(|byte| **byte != 0).count() <= CALLS;
    assert!(fresh && wiped, "{FOUND}: traces {} bytes below the idle loop", below.len() - deepest);
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
    let told = || std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
    let waiting = || told().split_whitespace().count() == 9;
    assert!(crate::harness::soon(std::time::Duration::from_secs(5), waiting), "the loop never waits: {}", told());
    let text = told();
    let pointer = text.split_whitespace().nth(7).unwrap();
    u64::from_str_radix(pointer.trim_start_matches("0x"), 16).unwrap()
}
