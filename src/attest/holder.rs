//! Whether a peer may use a virtual key: it must be the process that the key was minted for, or descend from it; or be
//! the very principal that it was minted for.
//! It never takes a bearer's word for it, and never believes a process number by itself.

use super::{AttestError, Attestor, Peer};
use crate::{
    model::Selector,
    policy::Needs,
    sys::{
        descent::descends,
        pidfd::Pidfd,
        process::Process,
        procfs::{ProcDir, ProcError},
    },
};
use std::sync::{Arc, Mutex, PoisonError};

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
    /// Nobody can tell whether it does: it stands too deep, or /proc does not say.
    #[error("whether process {peer} descends from process {owner} cannot be told: {why}")]
    Untold {
        /// Who asked.
        peer: u32,
        /// Whose key it is.
        owner: u32,
        /// What /proc says.
        why: ProcError,
    },
    /// The fact by which the key is for somebody is not to be had of it.
    #[error("whether process {0} is whom the key was minted for cannot be told")]
    Unread(u32),
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
            let who = self.identify(one, &needs).await?;
            if !who.is(recipient) {
                let told = who.tells(recipient.fact);
                return Err(if told { HolderError::Other(one.pid()) } else { HolderError::Unread(one.pid()) });
            }
        }
        Ok(())
    }
}

pub(super) fn holds(peer: &Peer, owner: &Process) -> Result<(), HolderError> {
    let gone = || HolderError::Gone(peer.pid());
    if peer.pid() != owner.pid && !peer.proof.stands(peer, owner) {
        let places = Places::of(peer, owner);
        let untold = |why| match why {
            ProcError::Gone { .. } => gone(),
            why => HolderError::Untold { peer: peer.pid(), owner: owner.pid, why },
        };
        let process = ProcDir::open(peer.credentials.pid).map_err(untold)?;
        if !descends(&process, owner.pid).map_err(untold)? {
            return Err(HolderError::Stranger { peer: peer.pid(), owner: owner.pid });
        }
        if !stayed(&process, owner).map_err(untold)? {
            return Err(HolderError::Moved(peer.pid()));
        }
        peer.proof.keep(owner, places);
    }
    // Asked last: all that was read by a number was then read of the process that still has it.
    if peer.still_there().is_ok() && owner.pidfd.is_alive() { Ok(()) } else { Err(gone()) }
}

/// That a connection's peer was seen to descend from an owner, so that its next call need not read /proc again. It holds
/// while both are the same processes, and neither has moved to another cgroup nor the peer to another parent since.
#[derive(Default)]
pub(super) struct Proof(Mutex<Option<(Arc<Pidfd>, Places)>>);

/// Where both stand, by what the kernel tells of a handle.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Places {
    parent: u32,
    here: u64,
    home: u64,
}

impl Places {
    /// None where the kernel cannot be asked (before 6.13): then everything is read again each time.
    fn of(peer: &Peer, owner: &Process) -> Option<Self> {
        let (peer, owner) = (peer.credentials.pidfd.as_ref()?.info()?, owner.pidfd.info()?);
        Some(Self { parent: peer.parent, here: peer.cgroup?, home: owner.cgroup? })
    }
}

impl Proof {
    fn stands(&self, peer: &Peer, owner: &Process) -> bool {
        let proven = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        proven.as_ref().is_some_and(|(whose, places)| {
            Arc::ptr_eq(whose, &owner.pidfd) && Places::of(peer, owner).as_ref() == Some(places)
        })
    }

    /// `places` are those of before the look: a move during it is seen the next time.
    fn keep(&self, owner: &Process, places: Option<Places>) {
        let proven = places.map(|places| (owner.pidfd.clone(), places));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = proven;
    }
}

/// Where no unified cgroup is mounted, descent alone must do.
fn stayed(process: &ProcDir, owner: &Process) -> Result<bool, ProcError> {
    let home = match ProcDir::open(owner.pid.cast_signed())?.cgroup() {
        Err(ProcError::Malformed { .. }) => return Ok(true),
        home => home?,
    };
    let here = process.cgroup()?;
    let below = here.strip_prefix(home.trim_end_matches('/'));
    Ok(below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}
