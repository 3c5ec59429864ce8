//! From a kernel peer to a principal, and "is it still that process?". Facts are read by the pidfd's process alone;
//! it never guesses a fact and never judges.

mod ancestry;
mod exe;
mod holder;
mod instance;
mod parent;
mod portrait;
mod tcp;
mod unit;

pub use holder::HolderError;
pub use instance::Instance;
pub use parent::ParentError;
pub use portrait::{Kin, Portrait};

use crate::{
    model::{Fact, Principal},
    policy::Needs,
    sys::peer::{self, PeerCredentials, PeerError},
};
use exe::{FileId, Hashes, Program};
use holder::Proof;
use std::os::fd::BorrowedFd;
use tokio::sync::Semaphore;

/// Makes principals of peers; remembers hashes of programs between calls.
pub struct Attestor {
    hashes: Hashes,
    own_exe: Option<FileId>,
    looks: Semaphore,
}

/// One connected process: the kernel's word at connect, and the program it ran when we first looked. The kernel keeps no
/// program from connect, so an exec between the two is not seen: whoever may connect under a uid and execute X is X to
/// the broker. A program's facts tell those of one uid apart against mistakes, not against hostile ones.
pub struct Peer {
    credentials: PeerCredentials,
    program: Option<Program>,
    socket: &'static str,
    /// Other processes that hold the same end of a TCP connection.
    others: Vec<Peer>,
    /// Whose keys it was last seen to hold.
    proof: Proof,
}

/// Bounds of what is looked up, each at once on a thread of its own.
#[derive(Debug, Clone, Copy)]
pub struct AttestOptions {
    /// The largest program that is hashed.
    pub exe_bytes: u64,
    /// Programs that are hashed at once.
    pub exe_hashes: usize,
    /// Connections by TCP whose peers are looked up at once.
    pub tcp_lookups: usize,
}

/// Why a peer is refused before or between its requests.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The kernel does not vouch for it.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// It ended while we looked.
    #[error("process {0} has ended")]
    Gone(u32),
    /// It runs another program than when it connected.
    #[error("process {0} changed its program after it connected")]
    Changed(u32),
}

impl Attestor {
    /// An attestor with these bounds.
    pub fn new(options: AttestOptions) -> Self {
        let AttestOptions { exe_bytes, exe_hashes, tcp_lookups } = options;
        let hashes = Hashes::new(exe_bytes, exe_hashes);
        Self { hashes, own_exe: FileId::of_self(), looks: Semaphore::new(tcp_lookups) }
    }

    /// Takes the facts of a connection before a byte of it is read.
    pub fn meet(&self, connection: BorrowedFd<'_>, socket: &'static str) -> Result<Peer, AttestError> {
        Peer::of(peer::credentials(connection)?, socket)
    }

    /// What the rules need to know of the peer now. Facts that can't be read are absent.
    pub async fn identify(&self, peer: &Peer, needs: &Needs) -> Result<Principal, AttestError> {
        let quick = facts(peer, needs)?;
        let process = peer.credentials.proc.as_ref();
        let (true, Some(process)) = (needs.name(Fact::ExeSha256) && needs.hash_of(&quick), process) else {
            return Ok(quick);
        };
        let exe_sha256 = self.hashes.of(process, peer.uid()).await;
        let believed = peer.runs_what_it_ran()?.is_some();
        // That took long: what is told is so after it.
        Ok(Principal { exe_sha256: exe_sha256.filter(|_| believed), ..facts(peer, needs)? })
    }

    /// Everything that can be known of the peer, for `whoami` and `why`; the hash of its program only if a rule looks at
    /// one, since a stranger chooses how large that file is.
    pub async fn identify_fully(&self, peer: &Peer, needs: &Needs) -> Result<Principal, AttestError> {
        let needs = needs.clone().and(&[Fact::Unit, Fact::Cgroup, Fact::Exe, Fact::PidNs]);
        self.identify(peer, &needs).await
    }
}

/// All that is quickly read, and then whether it is of a process that still runs.
fn facts(peer: &Peer, needs: &Needs) -> Result<Principal, AttestError> {
    let process = peer.credentials.proc.as_ref();
    let mut principal = peer.bare();
    let program_counts = needs.name(Fact::Exe) || needs.name(Fact::ExeSha256);
    if program_counts {
        principal.exe = peer.runs_what_it_ran()?.and_then(|program| program.path);
    }
    if needs.name(Fact::Unit) || needs.name(Fact::Cgroup) {
        principal.cgroup = process.and_then(|process| process.cgroup().ok());
        principal.unit = principal.cgroup.as_deref().and_then(unit::of);
    }
    if needs.name(Fact::PidNs) {
        principal.pid_ns = process.and_then(|process| process.pid_namespace().ok());
    }
    peer.still_there()?;
    Ok(principal)
}

impl Peer {
    fn of(credentials: PeerCredentials, socket: &'static str) -> Result<Self, AttestError> {
        let program = credentials.proc.as_ref().and_then(Program::of);
        let peer = Self { credentials, program, socket, others: Vec::new(), proof: Proof::default() };
        peer.still_there()?;
        Ok(peer)
    }

    /// Its process number, for people.
    pub fn pid(&self) -> u32 {
        self.credentials.pid.unsigned_abs()
    }

    /// Its user, as the kernel vouches.
    pub fn uid(&self) -> u32 {
        self.credentials.uid
    }

    /// Whether the process that connected still lives.
    pub fn still_there(&self) -> Result<(), AttestError> {
        if self.credentials.is_alive() { Ok(()) } else { Err(AttestError::Gone(self.pid())) }
    }

    /// The program that it runs now, which must be the one that it ran at our first look: an exec since would lend one
    /// program's name to another's connection. None when it could not be told then: no fact of a program counts.
    fn runs_what_it_ran(&self) -> Result<Option<Program>, AttestError> {
        let Some(then) = &self.program else { return Ok(None) };
        match self.credentials.proc.as_ref().and_then(Program::of) {
            Some(now) if then.file.is(&now.file) => Ok(Some(now)),
            _ => Err(AttestError::Changed(self.pid())),
        }
    }

    /// What is known without reading anything, also of one that has ended.
    pub fn bare(&self) -> Principal {
        Principal {
            uid: self.credentials.uid,
            gid: self.credentials.gid,
            pid: self.pid(),
            unit: None,
            cgroup: None,
            exe: self.program.as_ref().and_then(|program| program.path.clone()),
            exe_sha256: None,
            pid_ns: None,
            socket: self.socket,
        }
    }
}

/// The systemd unit of a cgroup path.
#[cfg(fuzzing)]
pub fn unit(cgroup: &str) -> Option<String> {
    unit::of(cgroup)
}
