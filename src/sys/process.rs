//! A process held by a handle, so that it is told from every other that ever had its number.
//! It must never be compared by its number alone.

use std::sync::Arc;

use super::pidfd::Pidfd;
use super::procfs::ProcDir;

/// One process, alive when it was taken. Clones share the handle.
#[derive(Clone, Debug)]
pub struct Process {
    /// Readable once the process has ended.
    pub pidfd: Arc<Pidfd>,
    /// Its number, for people.
    pub pid: u32,
}

impl Process {
    /// Whether both are one process: the same handle, or two live ones with one number, which two processes cannot have.
    ///
    /// `other` must have been taken before this is asked. False for two handles on a process that has ended.
    pub fn is(&self, other: &Self) -> bool {
        let alive = |process: &Self| process.pidfd.is_alive();
        Arc::ptr_eq(&self.pidfd, &other.pidfd) || self.pid == other.pid && alive(self) && alive(other)
    }

    /// When it began, in the kernel's ticks since boot: with its number, what no other process of this boot has. None when
    /// it has ended, or /proc does not tell.
    pub fn began(&self) -> Option<u64> {
        let began = ProcDir::open(self.pid.cast_signed()).ok()?.start_time().ok()?;
        // Asked last: what was read by the number was then read of the process that still has it.
        self.pidfd.is_alive().then_some(began)
    }

    /// The process that has this number and began then; none when that one has ended.
    pub fn again(pid: u32, began: u64) -> Option<Self> {
        let pidfd = Arc::new(Pidfd::open(pid.cast_signed()).ok()?);
        let process = Self { pidfd, pid };
        (process.began() == Some(began)).then_some(process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(child: &std::process::Child) -> Process {
        let pidfd = Pidfd::open(i32::try_from(child.id()).unwrap()).unwrap();
        Process { pidfd: Arc::new(pidfd), pid: child.id() }
    }

    #[test]
    fn two_handles_are_one_process_only_while_it_lives() {
        let sleep = || std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let (mut one, mut two) = (sleep(), sleep());
        let (first, second) = (held(&one), held(&one));
        assert!(first.is(&second) && !first.is(&held(&two)));
        let forged = Process { pid: one.id(), ..held(&two) };
        one.kill().unwrap();
        one.wait().unwrap();
        assert!(!first.is(&second) && !first.is(&forged), "its number may be another's by now");
        assert!(first.is(&first.clone()));
        two.kill().unwrap();
        two.wait().unwrap();
    }

    #[test]
    fn a_process_is_known_again_by_its_number_and_when_it_began() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let (process, pid) = (held(&child), child.id());
        let began = process.began().unwrap();
        assert!(Process::again(pid, began).unwrap().is(&process));
        assert!(Process::again(pid, began + 1).is_none(), "another had this number");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Process::again(pid, began).is_none() && process.began().is_none());
        assert!(Process::again(u32::MAX, began).is_none());
    }
}
