//! Signals as things to be read: blocked, and taken from a descriptor, signalfd(2).
//! It must never be used where somebody else waits for the same signals.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a program that stands before another one takes in its place.
pub const PASSED_ON: [Signal; 9] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
];

/// `si_code` of what the kernel itself sends, such as a terminal's signals to all of its foreground processes.
const SI_KERNEL: i32 = 0x80;

/// The signals of [`PASSED_ON`], and the end of children.
#[derive(Debug)]
pub struct Signals(SignalFd);

/// One signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caught {
    /// Which.
    pub signal: Signal,
    /// Whether it came from the kernel: then all processes of the terminal have it too.
    pub by_kernel: bool,
}

impl Signals {
    /// Blocks them in this thread, and so in the threads and children that it starts from now on. What our starter
    /// ignored stays ignored for children, and comes here all the same: a blocked signal is kept, signal(7).
    ///
    /// # Errors
    /// No descriptor.
    pub fn block() -> Result<Self, Errno> {
        let set = all();
        set.thread_block()?;
        // Inherited as ignored, it would never come, and the kernel itself would throw away how a child ended.
        // SAFETY: the default action runs no code of ours.
        unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).map(Self)
    }

    /// Waits for the next one.
    ///
    /// # Errors
    /// The descriptor can't be read.
    pub fn next(&self) -> Result<Caught, Errno> {
        loop {
            match self.0.read_signal() {
                Ok(Some(info)) => {
                    let signal = Signal::try_from(info.ssi_signo.cast_signed())?;
                    return Ok(Caught { signal, by_kernel: info.ssi_code == SI_KERNEL });
                }
                Ok(None) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// What [`Signals`] blocks.
pub(super) fn all() -> SigSet {
    PASSED_ON.into_iter().chain([Signal::SIGCHLD]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read_with_who_sent_it() {
        std::thread::spawn(|| {
            let signals = Signals::block().unwrap();
            // To this thread alone: the others have their own mask.
            nix::sys::signal::raise(Signal::SIGUSR1).unwrap();
            assert_eq!(signals.next(), Ok(Caught { signal: Signal::SIGUSR1, by_kernel: false }));
        })
        .join()
        .unwrap();
    }
}
