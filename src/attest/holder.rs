//! Whether a peer may use a virtual key: it must be the process that the key was minted for, or descend from it; or be
//! the very principal that it was minted for.
//! It never takes a bearer's word for it, and never believes a process number by itself.

use super::{AttestError, Attestor, Peer};
use crate::{
    model::Selector,
    policy::Needs,
    sys::{descent::descends, process::Process, procfs::ProcDir},
};

/// Why a peer may not use a key.
#[derive(Debug, thiserror::Error)]
pub enum HolderError {
    /// It, its owner or one between them ended meanwhile.
    #[error("process {0} has ended")]
    Gone(u32),
    /// It does not descend from the owner.
    #[error("process {peer} is neither process {owner} nor a descendant of it")]
    Stranger {
        /// Who asked.
        peer: u32,
        /// Whose key it is.
        owner: u32,
    },
    /// It is not whom the key is for.
    #[error("process {0} is not whom the key was minted for")]
    Other(u32),
    /// It could not be looked at.
    #[error(transparent)]
    Attest(#[from] AttestError),
    /// It descends from the owner, and was moved to another cgroup.
    #[error("process {0} has left its owner's cgroup")]
    Moved(u32),
}

impl Attestor {
    /// Whether the peer is the owner or descends from it, in the owner's cgroup or one below. Of several processes at
    /// one end of a connection, every one must be.
    ///
    /// # Errors
    /// [`HolderError`]; each of them means: denied.
    pub fn holds(&self, peer: &Peer, owner: &Process) -> Result<(), HolderError> {
        peer.everyone().try_for_each(|one| holds(one, owner))
    }

    /// Whether the peer is whom a key was minted for, now. Of several processes at one end of a connection, every one
    /// must be.
    ///
    /// # Errors
    /// [`HolderError`]; each of them means: denied.
    pub async fn is(&self, peer: &Peer, recipient: &Selector) -> Result<(), HolderError> {
        let needs = Needs::only(recipient.fact);
        for one in peer.everyone() {
            if !self.identify(one, &needs).await?.is(recipient) {
                return Err(HolderError::Other(one.pid()));
            }
        }
        Ok(())
    }
}

fn holds(peer: &Peer, owner: &Process) -> Result<(), HolderError> {
    let gone = || HolderError::Gone(peer.pid());
    if peer.pid() != owner.pid {
        let process = ProcDir::open(peer.credentials.pid).map_err(|_| gone())?;
        if !descends(&process, owner.pid).map_err(|_| gone())? {
            return Err(HolderError::Stranger { peer: peer.pid(), owner: owner.pid });
        }
        stayed(&process, peer, owner)?;
    }
    // Asked last: all that was read by a number was then read of the process that still has it.
    if peer.still_there().is_ok() && owner.pidfd.is_alive() { Ok(()) } else { Err(gone()) }
}

/// Where no unified cgroup is mounted, descent alone must do.
fn stayed(process: &ProcDir, peer: &Peer, owner: &Process) -> Result<(), HolderError> {
    let moved = || HolderError::Moved(peer.pid());
    let Ok(home) = ProcDir::open(owner.pid.cast_signed()).and_then(|owner| owner.cgroup()) else { return Ok(()) };
    let here = process.cgroup().map_err(|_| moved())?;
    let below =
        here.strip_prefix(home.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if below { Ok(()) } else { Err(moved()) }
}
