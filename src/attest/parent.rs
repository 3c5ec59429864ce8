//! Whose life a lease shares: the peer itself, or its nearest ancestor that is not `sixty`, held by a pidfd.
//! It never takes the peer's word for it: each step up is checked again after the handle is open.

use super::{Attestor, Peer, exe::FileId};
use crate::sys::{pidfd::Pidfd, process::Process, procfs::ProcDir};
use std::sync::Arc;

/// Why no process can own the lease.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// The process ended, or its number means another by now.
    #[error("process {0} has ended")]
    Gone(u32),
    /// The ancestor is somebody else's: a lease must not hang on a stranger.
    #[error("the parent of process {0} belongs to another user")]
    Stranger(u32),
    /// The chain of `sixty` processes is too long, or leads out of what we may see.
    #[error("process {0} has no parent that could own a lease")]
    None(u32),
}

/// How many `sixty` processes may stand between a peer and its owner.
const DEEPEST: usize = 8;

impl Attestor {
    /// The peer itself as an owner.
    pub fn caller(&self, peer: &Peer) -> Result<Process, ParentError> {
        let gone = || ParentError::Gone(peer.pid());
        if let Some(pidfd) = &peer.credentials.pidfd {
            return Ok(Process { pidfd: Arc::clone(pidfd), pid: peer.pid() });
        }
        let pidfd = Pidfd::open(peer.credentials.pid).map_err(|_| gone())?;
        // Still the one that connected, so what was opened by its number is its own.
        peer.still_there().map_err(|_| gone())?;
        Ok(Process { pidfd: Arc::new(pidfd), pid: peer.pid() })
    }

    /// The peer's nearest ancestor that is not `sixty`, of the same user.
    pub fn parent(&self, peer: &Peer) -> Result<Process, ParentError> {
        let gone = || ParentError::Gone(peer.pid());
        let mut child = ProcDir::open(peer.credentials.pid).map_err(|_| gone())?;
        peer.still_there().map_err(|_| gone())?;
        for _ in 0..DEEPEST {
            let number = child.parent().map_err(|_| gone())?;
            if number <= 0 {
                break;
            }
            let pidfd = Pidfd::open(number).map_err(|_| gone())?;
            let process = ProcDir::open(number).map_err(|_| gone())?;
            // A child whose parent died has another parent by now.
            if child.parent().ok() != Some(number) || !pidfd.is_alive() {
                return Err(gone());
            }
            if process.uids().map_or(true, |uids| uids[1] != peer.uid()) {
                return Err(ParentError::Stranger(peer.pid()));
            }
            if self.own_exe.is_none() || FileId::of_process(&process) != self.own_exe {
                return Ok(Process { pidfd: Arc::new(pidfd), pid: number.unsigned_abs() });
            }
            child = process;
        }
        Err(ParentError::None(peer.pid()))
    }
}
