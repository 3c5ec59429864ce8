//! The lists: what the daemon and its lookout need of the kernel, by what they need it for.
//! No call may stand here that starts a program, looks into another process, or changes who we are.
//!
//! What a change needs in addition shows while the tests run, as -38 (no such call) or -1 (not with these arguments):
//! `perf record -a -e raw_syscalls:sys_exit --filter 'ret == -38 || ret == -1' -- cargo test --test it`

use super::{Allowed, Program, When};
use libc::c_long;

/// What nobody here ever calls, and whoever breaks in does first.
pub(super) const DEADLY: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
];

/// All that a program may call.
pub(super) fn of(program: Program) -> impl Iterator<Item = Allowed> {
    let (always, sometimes) = match program {
        Program::Daemon => (&[MEMORY, LIFE, READING, WRITING, SOCKETS, WAITING, OLD][..], DAEMON),
        Program::Lookout => (&[MEMORY, LIFE, LOOKING][..], LOOKOUT),
    };
    let always = always.iter().copied().flatten().map(|call| Allowed { call: *call, when: When::Always });
    always.chain(sometimes.iter().map(|(call, when)| Allowed { call: *call, when: *when }))
}

const MEMORY: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_memfd_secret,
    libc::SYS_memfd_create,
];

/// Threads, signals, time, chance.
const LIFE: &[c_long] = &[
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What Landlock bounds.
const READING: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fadvise64,
];

/// Likewise.
const WRITING: &[c_long] = &[
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_flock,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_mkdirat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_pipe2,
];

const SOCKETS: &[c_long] = &[
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
];

const WAITING: &[c_long] = &[
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_signalfd4,
    libc::SYS_pidfd_open,
    libc::SYS_waitid,
];

/// What newer machines have under one name only.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_chmod,
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_time,
];
/// renameat, which libc does not name there: asm-generic/unistd.h.
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[38];

/// `PR_SET_VMA` of linux/prctl.h: the C library names its memory.
const NAME_MEMORY: u32 = 0x5356_4d41;
/// `PIDFD_GET_INFO` for each size of its struct that kernels have had: linux/pidfd.h.
const PIDFD_GET_INFO: u32 = libc::PIDFD_GET_INFO as u32;

/// Bits of the protocols of a socket: TCP (6), UDP (17), and netlink's of routes (0) and sockets (4). Not MPTCP (262), SCTP
/// (132) and the like, whose connections Landlock does not bound.
const PROTOCOLS: u32 = 0x17;
const FAST_OPEN: u32 = libc::MSG_FASTOPEN as u32;

const DAEMON: &[(c_long, When)] = &[
    // A thread, and no other process. clone3's arguments can't be looked at: without it, the C library calls clone.
    (libc::SYS_clone, When::Has(0, libc::CLONE_THREAD as u32)),
    (
        libc::SYS_socket,
        When::Both {
            is: (
                0,
                &[
                    libc::AF_UNIX as u32,
                    libc::AF_INET as u32,
                    libc::AF_INET6 as u32,
                    // Who holds a socket, and which addresses this machine has.
                    libc::AF_NETLINK as u32,
                ],
            ),
            lacks: (2, !PROTOCOLS),
        },
    ),
    // Nobody connects by sending: Landlock would not hear of it.
    (libc::SYS_sendto, When::Lacks(3, FAST_OPEN)),
    (libc::SYS_sendmsg, When::Lacks(2, FAST_OPEN)),
    (libc::SYS_sendmmsg, When::Lacks(3, FAST_OPEN)),
    (libc::SYS_socketpair, When::Is(0, &[libc::AF_UNIX as u32])),
    // Never TIOCSTI, which types into a terminal.
    (
        libc::SYS_ioctl,
        When::Is(
            1,
            &[
                libc::FIONBIO as u32,
                libc::FIONREAD as u32,
                libc::FIOCLEX as u32,
                libc::TCGETS as u32,
                libc::TCGETS2 as u32,
                libc::TIOCGWINSZ as u32,
                PIDFD_GET_INFO,
            ],
        ),
    ),
    (libc::SYS_prctl, When::Is(0, &[libc::PR_SET_NAME as u32, libc::PR_GET_NAME as u32, NAME_MEMORY])),
    // To look at a limit, not to set one.
    (libc::SYS_prlimit64, When::Null(2)),
    // To end itself, when it panics.
    (libc::SYS_tgkill, When::Own(0)),
];

/// What the lookout does all day.
const LOOKING: &[c_long] = &[
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_fcntl,
];

const WRITES: u32 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u32;

const LOOKOUT: &[(c_long, When)] = &[(libc::SYS_openat, When::Lacks(2, WRITES)), (libc::SYS_tgkill, When::Own(0))];
