//! Another thread's registers, by ptrace(2): held for a moment, read, let go.
//!
//! It must never change what it holds: a signal that stopped the thread is delivered when it is let go.
#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;

use libc::{c_int, c_void, pid_t};

/// glibc and musl disagree.
#[cfg(target_env = "musl")]
type Request = c_int;
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;

/// A thread under ptrace, stopped until this is dropped. It must be dropped by the thread that made it (ptrace(2)).
#[derive(Debug)]
pub struct Held {
    thread: pid_t,
    /// The signal whose delivery was cut short; 0 for none.
    signal: c_int,
    /// ptrace ties a tracee to one tracer thread, so this must not move to another.
    stays: PhantomData<*const ()>,
}

/// One set of registers, as the kernel lays it out, or put together from such sets.
#[derive(Debug)]
pub struct RegisterSet {
    /// `general`, `float`, `xstate`, `ymm`, `zmm` or `vector`.
    pub name: &'static str,
    /// The bytes. They may hold secrets of the traced process: wipe them.
    pub bytes: Vec<u8>,
}

/// Larger than any register set known: AMX tiles take 8 KiB of an xstate of 11 KiB.
const LARGEST_SET: usize = 32 << 10;
/// `<linux/elf.h>`: what core(5) files call their notes.
const NT_PRSTATUS: usize = 1;
const NT_PRFPREG: usize = 2;
const NT_X86_XSTATE: usize = 0x202;
/// `<linux/ptrace.h>`: the stop that `PTRACE_INTERRUPT` makes.
const PTRACE_EVENT_STOP: c_int = 128;

impl Held {
    /// Seizes a thread by its id and waits until it stands still.
    ///
    /// # Errors
    /// `EPERM` when we may not trace it or somebody else does, `ESRCH` when it is gone.
    pub fn seize(thread: i32) -> io::Result<Self> {
        trace(libc::PTRACE_SEIZE, thread, 0, 0)?;
        let mut held = Self { thread, signal: 0, stays: PhantomData };
        trace(libc::PTRACE_INTERRUPT, thread, 0, 0)?;
        held.signal = stopped_by(thread)?;
        Ok(held)
    }

    /// Every register set of this machine that the kernel lets us read.
    ///
    /// # Errors
    /// When not even the general registers can be read.
    pub fn registers(&self) -> io::Result<Vec<RegisterSet>> {
        let mut sets = vec![RegisterSet { name: "general", bytes: self.set(NT_PRSTATUS)? }];
        let rest = [("float", NT_PRFPREG), ("xstate", NT_X86_XSTATE)];
        for (name, note) in rest {
            // A processor without that set says EINVAL or ENODEV.
            sets.extend(self.set(note).map(|bytes| RegisterSet { name, bytes }));
        }
        if let Some(RegisterSet { name: "xstate", bytes }) = sets.last() {
            let joined = xstate::joined(bytes);
            sets.extend(joined);
        }
        Ok(sets)
    }

    fn set(&self, note: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0_u8; LARGEST_SET];
        let mut area = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        trace(libc::PTRACE_GETREGSET, self.thread, note, (&raw mut area).expose_provenance())?;
        bytes.truncate(area.iov_len);
        Ok(bytes)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // ESRCH: it was killed meanwhile. The signal number is small and not negative.
        let _ = trace(libc::PTRACE_DETACH, self.thread, 0, self.signal.unsigned_abs() as usize);
    }
}

fn trace(request: Request, thread: pid_t, address: usize, data: usize) -> io::Result<()> {
    let (address, data) = (address as *mut c_void, std::ptr::with_exposed_provenance_mut::<c_void>(data));
    // SAFETY: the requests used here take integers, or for GETREGSET an iovec that outlives the call and whose
    // buffer is as long as it says.
    let result = unsafe { libc::ptrace(request, thread, address, data) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits for the stop of a seized thread. Its death, if that comes first, is left for its parent to collect.
fn stopped_by(thread: pid_t) -> io::Result<c_int> {
    let seen = wait(thread, libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT)?;
    if !matches!(seen.si_code, libc::CLD_TRAPPED | libc::CLD_STOPPED) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    let stop = wait(thread, libc::WSTOPPED)?;
    // SAFETY: waitid filled this in for SIGCHLD, whose variant holds the status.
    let status = unsafe { stop.si_status() };
    Ok(if status >> 8 == PTRACE_EVENT_STOP { 0 } else { status & 0xff })
}

fn wait(thread: pid_t, options: c_int) -> io::Result<libc::siginfo_t> {
    // SAFETY: all zeroes is a valid siginfo_t.
    let mut seen: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `seen` is ours and is written during the call alone.
        let result = unsafe { libc::waitid(libc::P_PID, thread.unsigned_abs(), &raw mut seen, options | libc::__WALL) };
        if result == 0 {
            return Ok(seen);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The vector registers of x86-64, whose parts the kernel keeps apart (Intel SDM vol. 1 §13.4).
#[cfg(target_arch = "x86_64")]
mod xstate {
    use super::RegisterSet;

    const XMM: usize = 160;
    /// Components of XSAVE: the upper halves of ymm0-15 and of zmm0-15.
    const YMM_HIGH: u32 = 2;
    const ZMM_HIGH: u32 = 6;

    /// ymm0-15 and zmm0-15, each with its parts side by side.
    pub(super) fn joined(area: &[u8]) -> Vec<RegisterSet> {
        let halves = [(XMM, 16), (component(YMM_HIGH), 16), (component(ZMM_HIGH), 32)];
        let set = |name, parts| join(area, parts).map(|bytes| RegisterSet { name, bytes });
        [set("ymm", &halves[..2]), set("zmm", &halves)].into_iter().flatten().collect()
    }

    /// Where a component begins in the standard form; 0 when the processor has none.
    fn component(number: u32) -> usize {
        let found = core::arch::x86_64::__cpuid_count(0x0d, number);
        found.ebx as usize
    }

    fn join(area: &[u8], parts: &[(usize, usize)]) -> Option<Vec<u8>> {
        let mut joined = Vec::with_capacity(16 * 64);
        for register in 0..16 {
            for &(begin, size) in parts {
                let begin = if begin == 0 { return None } else { begin + register * size };
                joined.extend_from_slice(area.get(begin..begin + size)?);
            }
        }
        Some(joined)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod xstate {
    use super::RegisterSet;

    pub(super) fn joined(_area: &[u8]) -> Vec<RegisterSet> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn a_held_thread_shows_its_registers_and_lives_on() {
        let mut child = sleeper();
        let thread = i32::try_from(child.id()).unwrap();
        let held = Held::seize(thread).unwrap();
        let sets = held.registers().unwrap();
        assert!(sets.iter().any(|set| set.name == "general" && set.bytes.len() > 100), "{sets:?}");
        drop(held);
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_killed_thread_is_left_for_its_parent_to_collect() {
        let mut child = sleeper();
        child.kill().unwrap();
        assert!(Held::seize(i32::try_from(child.id()).unwrap()).is_err());
        assert!(!child.wait().unwrap().success());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_halves_of_a_wide_register_are_put_side_by_side() {
        let mut area = vec![0_u8; 4096];
        let high = core::arch::x86_64::__cpuid_count(0x0d, 2).ebx as usize;
        if high == 0 {
            return;
        }
        area[160 + 16..160 + 32].fill(1);
        area[high + 16..high + 32].fill(2);
        let sets = xstate::joined(&area);
        assert_eq!(sets[0].bytes[32..64], [[1; 16], [2; 16]].concat());
    }

    /// Ends by itself after a minute or so, should nobody kill it.
    #[cfg(target_arch = "x86_64")]
    #[test]
    #[ignore = "not a test: the process that another one traces"]
    fn holds_a_pattern_in_a_wide_register() {
        let pattern: [u8; 32] = std::array::from_fn(pattern);
        println!("holding");
        // SAFETY: reads 32 bytes of the pattern into a register that is declared as changed, then counts down.
        unsafe {
            std::arch::asm!(
                "vmovdqu ymm9, [{pattern}]", "2:", "pause", "dec {count}", "jnz 2b",
                pattern = in(reg) pattern.as_ptr(), count = inout(reg) 3_000_000_000_u64 => _, out("ymm9") _,
            );
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn pattern(place: usize) -> u8 {
        0xa0 + u8::try_from(place).unwrap()
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn what_lies_in_a_wide_register_is_seen_in_one_piece() {
        use std::io::{BufRead, BufReader};
        if !std::arch::is_x86_feature_detected!("avx") {
            return;
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sys::trace::tests::holds_a_pattern_in_a_wide_register", "--ignored", "--nocapture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("holding")));
        let pattern: Vec<u8> = (0..32).map(pattern).collect();
        let seen = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            let threads = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
            let threads = threads.map(|entry| entry.unwrap().file_name().into_string().unwrap().parse().unwrap());
            let sets = threads.flat_map(|thread| Held::seize(thread).unwrap().registers().unwrap());
            sets.into_iter().any(|set| set.name == "ymm" && set.bytes.chunks(32).any(|register| register == pattern))
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(seen);
    }
}
