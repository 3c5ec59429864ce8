//! One run of one program by one process: what a person's yes is good for. It is never taken for another one, neither for
//! a later process with its number nor for the same process after an exec.

use super::{AttestError, Attestor, HolderError, Peer, exe::FileId, holder};
use crate::sys::process::Process;

/// A process, and the program that it was seen to run.
#[derive(Debug, Clone)]
pub struct Instance {
    process: Process,
    program: Option<FileId>,
}

impl Attestor {
    /// What the peer is now. It must still run what it ran when it connected.
    ///
    /// # Errors
    /// It ended or changed its program.
    pub fn instance(&self, peer: &Peer) -> Result<Instance, AttestError> {
        let process = self.caller(peer).map_err(|_| AttestError::Gone(peer.pid()))?;
        let program = peer.runs_what_it_ran()?.map(|program| program.file);
        Ok(Instance { process, program })
    }

    /// Whether the peer still is what it was when it connected.
    ///
    /// # Errors
    /// It ended or changed its program.
    pub fn unchanged(&self, peer: &Peer) -> Result<(), AttestError> {
        peer.runs_what_it_ran()?;
        peer.still_there()
    }
}

impl Instance {
    /// Whether both are one process that ran one program all the while. False once it has ended.
    pub fn is(&self, other: &Self) -> bool {
        let same = match (&self.program, &other.program) {
            (Some(one), Some(other)) => one.is(other),
            (None, None) => true,
            _ => false,
        };
        same && self.process.is(&other.process)
    }

    /// Whether its program is known: if not, nobody sees it exec another one, and no yes may outlive the moment.
    pub fn is_seen(&self) -> bool {
        self.program.is_some()
    }

    /// Whether the process has not ended.
    pub fn is_alive(&self) -> bool {
        self.process.pidfd.is_alive()
    }

    /// Whether a peer is this process, or descends from it; also where that can't be told.
    pub fn may_be(&self, peer: &Peer) -> bool {
        !matches!(holder::holds(peer, &self.process), Err(HolderError::Stranger { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::pidfd::Pidfd;
    use std::{process::Command, sync::Arc};

    #[test]
    fn neither_another_program_nor_another_process_is_the_same_and_none_is_once_it_has_ended() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        let held = |program| {
            let pidfd = Arc::new(Pidfd::open(child.id().cast_signed()).unwrap());
            Instance { process: Process { pidfd, pid: child.id() }, program }
        };
        let (sleep, other) = (FileId::of_self(), std::fs::metadata("/bin/sh").ok().map(|meta| FileId::of(&meta)));
        let (first, second, changed, unseen) = (held(sleep), held(sleep), held(other), held(None));
        assert!(first.is(&second) && unseen.is(&held(None)));
        assert!(!first.is(&changed) && !first.is(&unseen) && !unseen.is_seen());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!first.is(&second) && !first.is_alive());
    }
}
