//! A timer on CLOCK_BOOTTIME that goes on counting while the machine sleeps: timerfd_create(2).
//! It must never block: it is read only after the event loop saw it readable.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::clock::Boottime;

/// One alarm. Readable (poll, epoll) once it went off, until [`BootTimer::drain`].
#[derive(Debug)]
pub struct BootTimer(TimerFd);

impl BootTimer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        TimerFd::new(ClockId::CLOCK_BOOTTIME, flags).map(Self)
    }

    /// Sets it to go off at `when`, at once if that is past. Takes the place of an earlier setting.
    ///
    /// # Errors
    /// None for a time that the kernel can hold.
    pub fn arm(&self, when: Boottime) -> Result<(), Errno> {
        // Zero would disarm; and the kernel counts in i64 nanoseconds.
        let nanos = when.nanos().clamp(1, i64::MAX.unsigned_abs());
        let when = Expiration::OneShot(TimeSpec::from_duration(Duration::from_nanos(nanos)));
        self.0.set(when, TimerSetTimeFlags::TFD_TIMER_ABSTIME)
    }

    /// Sets it to never go off.
    ///
    /// # Errors
    /// None is known.
    pub fn disarm(&self) -> Result<(), Errno> {
        self.0.unset()
    }

    /// Takes note of an alarm, so that the timer is no longer readable. Tells whether it had gone off.
    ///
    /// # Errors
    /// None is known.
    pub fn drain(&self) -> Result<bool, Errno> {
        match self.0.wait() {
            Ok(()) => Ok(true),
            Err(Errno::EAGAIN) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for BootTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for BootTimer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, poll};

    use super::*;
    use crate::clock::Clock;

    fn goes_off(timer: &BootTimer, millis: u16) -> bool {
        let mut fds = [PollFd::new(timer.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, millis).unwrap() == 1
    }

    #[test]
    fn it_goes_off_when_it_is_due_and_not_before() {
        let (timer, clock) = (BootTimer::new().unwrap(), Clock::system());
        assert!(!goes_off(&timer, 0) && !timer.drain().unwrap());
        let due = clock.boot().plus(Duration::from_millis(40));
        timer.arm(due).unwrap();
        assert!(goes_off(&timer, 5000));
        assert!(clock.boot() >= due);
        assert!(timer.drain().unwrap());
        assert!(!goes_off(&timer, 0), "drained");
    }

    #[test]
    fn a_time_that_is_past_goes_off_at_once() {
        let timer = BootTimer::new().unwrap();
        timer.arm(Boottime::from_nanos(0)).unwrap();
        assert!(goes_off(&timer, 1000));
    }

    #[test]
    fn never_does_not_come() {
        let timer = BootTimer::new().unwrap();
        timer.arm(Boottime::NEVER).unwrap();
        assert!(!goes_off(&timer, 20));
        timer.arm(Clock::system().boot().plus(Duration::from_millis(10))).unwrap();
        timer.disarm().unwrap();
        assert!(!goes_off(&timer, 40));
    }
}
