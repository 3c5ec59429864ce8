//! A process held by a handle, so that it is told from every other that ever had its number.
//! It must never be compared by its number alone.

use std::sync::Arc;

use super::pidfd::Pidfd;

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
}
