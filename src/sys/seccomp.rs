//! Which system calls this process may still make: seccomp(2), a list of what is allowed and nothing else.
//! It must never let a call through because it is new: what the list does not name does not exist.
#![allow(unsafe_code)]

mod calls;

use libc::{c_long, sock_filter};
use nix::errno::Errno;

/// One call that is allowed, and for which arguments.
pub(super) struct Allowed {
    call: c_long,
    when: When,
}

/// Arguments are numbered from 0. Of those that the kernel takes as `int` only the lower half is looked at.
#[derive(Clone, Copy)]
enum When {
    Always,
    /// The argument is one of these.
    Is(u8, &'static [u32]),
    /// The argument is this process's own number.
    Own(u8),
    /// All these bits of the argument are set.
    Has(u8, u32),
    /// None of these bits of the argument is set.
    Lacks(u8, u32),
    /// One argument is one of these, and another has none of these bits.
    Both {
        /// Which, and what it may be.
        is: (u8, &'static [u32]),
        /// Which, and what it may not have.
        lacks: (u8, u32),
    },
    /// The argument is a null pointer.
    Null(u8),
}

/// Whose calls they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The daemon: files, sockets, threads, pidfds, memory; no other program, no other process.
    Daemon,
    /// The [lookout](super::lookout): opening for reading, and its one socket.
    Lookout,
}

/// Forbids all other calls to this process, its threads and its children, for good. A call that only an attacker makes
/// (another program, a look into another process) kills it; any other one is told that there is no such call.
///
/// # Errors
/// `ENOSYS` or `EINVAL`: this kernel has no filters; nothing has changed.
pub fn confine(program: Program) -> Result<(), Errno> {
    let mut filter = filter(ARCH.ok_or(Errno::ENOSYS)?, program);
    let len = u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?;
    let filter = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    let (operation, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_TSYNC);
    // SAFETY: `filter` points to `len` instructions, which the kernel copies.
    let set = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const filter) };
    match Errno::result(set)? {
        0 => Ok(()),
        // The number of a thread that has another filter.
        _ => Err(Errno::EBUSY),
    }
}

fn filter(arch: u32, program: Program) -> Vec<sock_filter> {
    let mut filter = vec![
        load(OFFSET_ARCH),
        jump(libc::BPF_JEQ, arch, 1, 0),
        ret(libc::SECCOMP_RET_KILL_PROCESS),
        load(OFFSET_CALL),
    ];
    for call in calls::DEADLY {
        filter.extend([jump(libc::BPF_JEQ, number(*call), 0, 1), ret(libc::SECCOMP_RET_KILL_PROCESS)]);
    }
    for allowed in calls::of(program) {
        let then = allowed.when.instructions();
        let skipped = u8::try_from(then.len()).unwrap_or(u8::MAX);
        filter.push(jump(libc::BPF_JEQ, number(allowed.call), 0, skipped));
        filter.extend(then);
    }
    filter.push(ret(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32));
    filter
}

impl When {
    /// From the loaded number of the call to a verdict.
    fn instructions(self) -> Vec<sock_filter> {
        const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
        const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        match self {
            When::Always => vec![ret(ALLOW)],
            When::Is(argument, values) => {
                let each = |value: &u32| [jump(libc::BPF_JEQ, *value, 0, 1), ret(ALLOW)];
                let tests = values.iter().flat_map(each);
                std::iter::once(load(lower(argument))).chain(tests).chain([ret(REFUSE)]).collect()
            }
            When::Own(argument) => {
                let us = std::process::id();
                vec![load(lower(argument)), jump(libc::BPF_JEQ, us, 0, 1), ret(ALLOW), ret(REFUSE)]
            }
            When::Has(argument, bits) => {
                vec![load(lower(argument)), and(bits), jump(libc::BPF_JEQ, bits, 0, 1), ret(ALLOW), ret(REFUSE)]
            }
            When::Lacks(argument, bits) => {
                vec![load(lower(argument)), jump(libc::BPF_JSET, bits, 1, 0), ret(ALLOW), ret(REFUSE)]
            }
            When::Both { is, lacks } => {
                let first = [load(lower(lacks.0)), jump(libc::BPF_JSET, lacks.1, 0, 1), ret(REFUSE)];
                first.into_iter().chain(When::Is(is.0, is.1).instructions()).collect()
            }
            When::Null(argument) => vec![
                load(lower(argument)),
                jump(libc::BPF_JEQ, 0, 0, 3),
                load(lower(argument) + 4),
                jump(libc::BPF_JEQ, 0, 0, 1),
                ret(ALLOW),
                ret(REFUSE),
            ],
        }
    }
}

/// The fields of `struct seccomp_data`: seccomp(2).
const OFFSET_CALL: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;

/// Where an argument's lower half lies, on machines that put it first.
fn lower(argument: u8) -> u32 {
    OFFSET_ARGUMENTS + 8 * u32::from(argument)
}

/// `AUDIT_ARCH_…` of linux/audit.h, for the machines on which the lists were tried. Another one's calls have other numbers.
const ARCH: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
    Some(0xc000_00b7)
} else {
    None
};

/// Numbers of calls are small; x32's, which have a bit more, are none of ours.
fn number(call: c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn and(bits: u32) -> sock_filter {
    statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, bits)
}

fn ret(verdict: u32) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, verdict)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Jumps over so many instructions, if so and if not.
fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | test | libc::BPF_K) as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    use super::super::scratch::{alone, run_alone};
    use super::*;

    fn refused(call: c_long, arguments: [c_long; 4]) -> Errno {
        let [one, two, three, four] = arguments;
        // SAFETY: the filter stops the call before the kernel looks at an argument; should it not, the test fails.
        Errno::result(unsafe { libc::syscall(call, one, two, three, four) }).unwrap_err()
    }

    #[test]
    fn another_program_or_a_look_into_another_process_is_the_end() {
        for deed in ["starts_a_program", "debugs", "reads_anothers_memory", "takes_anothers_descriptor"] {
            let end = run_alone(&format!("sys::seccomp::tests::{deed}"));
            assert_eq!(end.status.signal(), Some(libc::SIGSYS), "{deed}: {}", String::from_utf8_lossy(&end.stdout));
        }
    }

    #[test]
    fn what_the_list_does_not_name_does_not_exist_and_the_daemon_can_still_work() {
        alone("sys::seccomp::tests::does_all_else");
        assert!(run_alone("sys::seccomp::tests::looks").status.success());
    }

    #[test]
    #[ignore = "it ends the process it runs in; a test above runs it alone"]
    fn starts_a_program() {
        confine(Program::Daemon).unwrap();
        panic!("{}", Command::new("true").exec());
    }

    #[test]
    #[ignore = "it ends the process it runs in; a test above runs it alone"]
    fn debugs() {
        confine(Program::Daemon).unwrap();
        refused(libc::SYS_ptrace, [libc::PTRACE_SEIZE.into(), 1, 0, 0]);
    }

    #[test]
    #[ignore = "it ends the process it runs in; a test above runs it alone"]
    fn reads_anothers_memory() {
        confine(Program::Lookout).unwrap();
        refused(libc::SYS_process_vm_readv, [1, 0, 0, 0]);
    }

    #[test]
    #[ignore = "it ends the process it runs in; a test above runs it alone"]
    fn takes_anothers_descriptor() {
        confine(Program::Lookout).unwrap();
        refused(libc::SYS_pidfd_getfd, [1, 0, 0, 0]);
    }

    #[test]
    #[ignore = "confines the process it runs in; a test above runs it alone"]
    fn does_all_else() {
        nix::sys::prctl::set_no_new_privs().unwrap();
        let (_, terminal) = std::io::pipe().unwrap();
        let waits = std::thread::spawn(std::thread::park);
        confine(Program::Daemon).unwrap();
        let us = c_long::from(std::process::id());
        let typed: c_long = libc::TIOCSTI.try_into().unwrap();
        for (call, arguments, errno) in [
            (libc::SYS_io_uring_setup, [1, 0, 0, 0], Errno::ENOSYS),
            (libc::SYS_bpf, [0; 4], Errno::ENOSYS),
            (libc::SYS_mount, [0; 4], Errno::ENOSYS),
            (libc::SYS_setresuid, [0; 4], Errno::ENOSYS),
            (libc::SYS_unshare, [0; 4], Errno::ENOSYS),
            (libc::SYS_kill, [1, 0, 0, 0], Errno::ENOSYS),
            (libc::SYS_clone3, [0; 4], Errno::ENOSYS),
            (libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0], Errno::EPERM),
            (libc::SYS_tgkill, [us + 1, us + 1, 0, 0], Errno::EPERM),
            (libc::SYS_socket, [libc::AF_PACKET.into(), libc::SOCK_RAW.into(), 0, 0], Errno::EPERM),
            (libc::SYS_socket, [libc::AF_ALG.into(), libc::SOCK_SEQPACKET.into(), 0, 0], Errno::EPERM),
            (libc::SYS_ioctl, [terminal.as_raw_fd().into(), typed, 0, 0], Errno::EPERM),
            (libc::SYS_prctl, [libc::PR_SET_DUMPABLE.into(), 1, 0, 0], Errno::EPERM),
            (libc::SYS_prlimit64, [0, libc::RLIMIT_CORE.into(), 1, 0], Errno::EPERM),
        ] {
            assert_eq!(refused(call, arguments), errno, "call {call}");
        }
        // What was started before is confined too.
        waits.thread().unpark();
        waits.join().unwrap();
        assert!(std::fs::read_to_string("/proc/self/status").unwrap().contains("Seccomp:\t2"));
        assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        drop(theirs);
        assert_eq!((&ours).read(&mut [0]).unwrap(), 0);
        assert!(super::super::pidfd::Pidfd::open(std::process::id().cast_signed()).unwrap().info().is_some());
    }

    #[test]
    #[ignore = "confines the process it runs in; a test above runs it alone"]
    fn looks() {
        nix::sys::prctl::set_no_new_privs().unwrap();
        confine(Program::Lookout).unwrap();
        let file = std::path::Path::new("/dev/null");
        std::fs::File::open(file).unwrap();
        for write in [
            std::fs::OpenOptions::new().write(true).open(file),
            std::fs::OpenOptions::new().append(true).open(file),
            std::fs::File::create(file),
        ] {
            assert_eq!(write.unwrap_err().raw_os_error(), Some(libc::EPERM));
        }
        assert_eq!(std::fs::remove_file("/none").unwrap_err().raw_os_error(), Some(libc::ENOSYS));
        assert_eq!(UnixStream::pair().unwrap_err().raw_os_error(), Some(libc::ENOSYS));
        assert_eq!(refused(libc::SYS_write, [2, 0, 0, 0]), Errno::ENOSYS);
        assert_eq!(refused(libc::SYS_clone, [0; 4]), Errno::ENOSYS);
        // It can't even say that it passed.
        std::process::exit(0);
    }
}
