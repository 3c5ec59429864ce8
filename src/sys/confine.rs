//! What the process gives up in its first lines: core dumps, debuggers, new privileges, files that others may read.
//! It must never be called after a secret was read: /proc/PID/mem opened before it reads on.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

use super::procfs::{ProcDir, ProcError};

/// Who may read this process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dumpable {
    /// Nobody but root.
    Never,
    /// The parent too, for the demo's scan: the process stays dumpable.
    ForTheParentsScan,
}

impl Dumpable {
    /// Makes it so, at the start and after every change of user.
    ///
    /// # Errors
    /// The kernel refused: don't read keys.
    pub fn set(self) -> Result<(), ConfineError> {
        step("PR_SET_DUMPABLE", if self == Self::Never { nix::sys::prctl::set_dumpable(false) } else { Ok(()) })
    }
}

/// A step of the confinement failed.
#[derive(Debug, thiserror::Error)]
#[error("the process can't be confined ({step}): {errno}")]
pub struct ConfineError {
    step: &'static str,
    errno: Errno,
}

/// Makes the process undumpable, forbids core files and new privileges, and sets the umask to 077. First line of main.
///
/// # Errors
/// The kernel refused a step: don't read keys.
pub fn harden(dumpable: Dumpable) -> Result<(), ConfineError> {
    dumpable.set()?;
    step("RLIMIT_CORE", setrlimit(Resource::RLIMIT_CORE, 0, 0))?;
    step("PR_SET_NO_NEW_PRIVS", nix::sys::prctl::set_no_new_privs())?;
    umask(Mode::from_bits_truncate(0o077));
    Ok(())
}

/// No page that was ever writable becomes executable: PR_SET_MDWE, Linux 6.3. Older kernels go on without. Children and
/// what they run inherit it: who compiles as it runs (a browser, node) could not.
#[allow(unsafe_code)]
pub fn refuse_new_code() {
    const NONE: libc::c_ulong = 0;
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_MDWE, libc::c_ulong::from(libc::PR_MDWE_REFUSE_EXEC_GAIN), NONE, NONE, NONE) };
}

/// Whether that holds: PR_GET_MDWE.
#[allow(unsafe_code)]
pub fn refuses_new_code() -> bool {
    const NONE: libc::c_ulong = 0;
    // SAFETY: no pointers.
    let held = unsafe { libc::prctl(libc::PR_GET_MDWE, NONE, NONE, NONE, NONE) };
    held > 0 && held.cast_unsigned() & libc::PR_MDWE_REFUSE_EXEC_GAIN != 0
}

/// Whether a debugger is attached. True when the kernel does not say.
pub fn traced() -> bool {
    traced_at(ProcDir::own())
}

/// Raises the soft limit on open files to the hard one and tells it.
///
/// # Errors
/// The kernel refused.
pub fn raise_fd_limit() -> Result<u64, ConfineError> {
    let (_, hard) = step("RLIMIT_NOFILE", getrlimit(Resource::RLIMIT_NOFILE))?;
    step("RLIMIT_NOFILE", setrlimit(Resource::RLIMIT_NOFILE, hard, hard))?;
    Ok(hard)
}

fn traced_at(process: Result<ProcDir, ProcError>) -> bool {
    process.and_then(|process| process.tracer()).map_or(true, |tracer| tracer != 0)
}

fn step<T>(step: &'static str, result: nix::Result<T>) -> Result<T, ConfineError> {
    result.map_err(|errno| ConfineError { step, errno })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::scratch::alone;
    use super::*;

    #[test]
    fn a_hardened_process_dumps_nothing_and_gains_nothing() {
        alone("sys::confine::tests::hardened");
    }

    #[test]
    fn the_demos_daemon_stays_readable_for_its_parent_and_is_hardened_otherwise() {
        alone("sys::confine::tests::hardened_but_readable");
    }

    #[test]
    #[allow(unsafe_code)]
    fn a_debugger_is_noticed() {
        assert!(!traced());
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // SAFETY: PTRACE_SEIZE takes no pointers.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) }, 0);
        assert!(traced_at(ProcDir::open(pid)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(traced_at(ProcDir::open(pid)), "who can't be asked counts as traced");
    }

    #[test]
    #[ignore = "hardens the process it runs in; a test above runs it alone"]
    fn hardened() {
        harden(Dumpable::Never).unwrap();
        assert!(!nix::sys::prctl::get_dumpable().unwrap());
        check_the_rest();
    }

    #[test]
    #[ignore = "hardens the process it runs in; a test above runs it alone"]
    fn hardened_but_readable() {
        harden(Dumpable::ForTheParentsScan).unwrap();
        assert!(nix::sys::prctl::get_dumpable().unwrap());
        check_the_rest();
    }

    fn check_the_rest() {
        assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
        assert!(nix::sys::prctl::get_no_new_privs().unwrap());
        assert_eq!(umask(Mode::empty()).bits(), 0o077);
        let limit = raise_fd_limit().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (limit, limit));
    }
}
