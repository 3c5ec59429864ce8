//! What the process gives up in its first lines: core dumps, debuggers, new privileges, files that others may read.
//! It must never be called after a secret was read: /proc/PID/mem opened before it reads on.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

use super::procfs::ProcDir;

/// Who may read this process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dumpable {
    /// Nobody but root.
    Never,
    /// The parent too, for the demo's scan: the process stays dumpable.
    ForTheParentsScan,
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
    if dumpable == Dumpable::Never {
        step("PR_SET_DUMPABLE", nix::sys::prctl::set_dumpable(false))?;
    }
    step("RLIMIT_CORE", setrlimit(Resource::RLIMIT_CORE, 0, 0))?;
    step("PR_SET_NO_NEW_PRIVS", nix::sys::prctl::set_no_new_privs())?;
    umask(Mode::from_bits_truncate(0o077));
    Ok(())
}

/// Whether a debugger is attached. True when the kernel does not say.
pub fn traced() -> bool {
    ProcDir::own().and_then(|own| own.tracer()).map_or(true, |tracer| tracer != 0)
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

fn step<T>(step: &'static str, result: nix::Result<T>) -> Result<T, ConfineError> {
    result.map_err(|errno| ConfineError { step, errno })
}
