//! What a person is shown of a process that asks: what it runs, from where, and who started it. For eyes alone: much of it
//! the process chooses itself, and no rule may ever go by it. It never shows more of one than its bounds.

use super::{AttestError, Attestor, Peer, exe::Program};
use crate::{
    model::{ancestry::words, cut},
    policy::Needs,
    sys::{descent, procfs::ProcDir},
};
use serde::Serialize;

/// A process as a person is shown it, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Portrait {
    /// The user, as the kernel vouches.
    pub uid: u32,
    /// The systemd unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The directory that it works in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The SHA-256 of its program; none when it can't be read or is too large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe_sha256: Option<String>,
    /// The process, its parent, and so on up.
    pub processes: Vec<Kin>,
    /// Others that hold the same end of its connection.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<u32>,
}

/// One process of a line of descent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kin {
    /// Its number.
    pub pid: u32,
    /// Its effective user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its program, if that is what stands at this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// How it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its command line, as it shows it; without what may be a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// Generations that are shown: a shell in a terminal in a desktop has about six.
const GENERATIONS: usize = 12;
/// Words of a command line, and bytes of them.
const WORDS: usize = 32;
const COMMAND: usize = 512;
/// Bytes of a path.
const PATH: usize = 1024;

impl Attestor {
    /// Looks at a peer for a person's eyes.
    ///
    /// # Errors
    /// It ended meanwhile, or runs another program than when it connected.
    pub async fn portrait(&self, peer: &Peer) -> Result<Portrait, AttestError> {
        let principal = self.identify_fully(peer, &Needs::default()).await?;
        let process = peer.credentials.proc.as_ref();
        let exe_sha256 = match process {
            Some(process) => self.hashes.of(process, peer.uid()).await,
            None => None,
        };
        let portrait = Portrait {
            uid: principal.uid,
            unit: principal.unit.or(principal.cgroup).map(|text| cut(&text, PATH)),
            directory: process
                .and_then(|process| process.directory().ok())
                .map(|path| cut(&path.to_string_lossy(), PATH)),
            exe_sha256,
            processes: descent::ancestry(peer.credentials.pid).take(GENERATIONS).map(|process| kin(&process)).collect(),
            beside: peer.everyone().skip(1).map(Peer::pid).collect(),
        };
        // All of it was this process's if it still is the same one, and runs the same.
        self.unchanged(peer)?;
        Ok(portrait)
    }
}

fn kin(process: &ProcDir) -> Kin {
    let exe = Program::of(process).and_then(|program| program.path);
    let command = words(&process.command().unwrap_or_default(), WORDS);
    Kin {
        pid: process.pid().unsigned_abs(),
        uid: process.uids().ok().map(|uids| uids[1]),
        exe: exe.map(|path| cut(&path.to_string_lossy(), PATH)),
        name: process.comm().ok(),
        command: Some(cut(&command, COMMAND)).filter(|text| !text.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_shown_with_all_that_started_it() {
        use super::super::AttestOptions;
        use std::os::{fd::AsFd, unix::net::UnixStream};
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let attestor = Attestor::new(AttestOptions { exe_bytes: 1 << 30, exe_hashes: 1, tcp_lookups: 1 });
        let peer = attestor.meet(ours.as_fd(), "broker").unwrap();
        let shown = attestor.portrait(&peer).await.unwrap();
        let (this, parent) = (&shown.processes[0], &shown.processes[1]);
        assert_eq!((this.pid, parent.pid), (std::process::id(), nix::unistd::getppid().as_raw().unsigned_abs()));
        let exe = std::env::current_exe().unwrap();
        assert_eq!(this.exe.as_deref(), exe.to_str());
        assert_eq!(shown.directory, std::env::current_dir().unwrap().to_str().map(str::to_owned));
        assert!(this.command.as_ref().is_some_and(|text| text.contains("/deps/")), "{this:?}");
        assert_eq!(shown.exe_sha256.map(|hash| hash.len()), Some(64));
    }
}
