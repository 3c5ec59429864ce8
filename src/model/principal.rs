//! Who is asking: what attestation made of a peer, as a set of facts that rules can name.
//! A fact that could not be read is absent, and never guessed.

use super::Malformed;
use serde::Serialize;
use std::{fmt, path::PathBuf, str::FromStr};

/// The kinds of facts that a rule may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// The effective user id at connect.
    Uid,
    /// The effective group id at connect.
    Gid,
    /// The systemd unit (system or user) of the process's cgroup.
    Unit,
    /// The cgroup path.
    Cgroup,
    /// The path of the program.
    Exe,
    /// The SHA-256 of the program's file.
    ExeSha256,
    /// The pid namespace's inode number.
    PidNs,
    /// The socket that was asked on.
    Socket,
}

impl Fact {
    /// All facts, in the order in which they are told.
    pub const ALL: [Fact; 8] =
        [Fact::Uid, Fact::Gid, Fact::Unit, Fact::Cgroup, Fact::Exe, Fact::ExeSha256, Fact::PidNs, Fact::Socket];

    /// The name in a rule's `peer` table and in a selector.
    pub fn name(self) -> &'static str {
        match self {
            Fact::Uid => "uid",
            Fact::Gid => "gid",
            Fact::Unit => "unit",
            Fact::Cgroup => "cgroup",
            Fact::Exe => "exe",
            Fact::ExeSha256 => "exe_sha256",
            Fact::PidNs => "pid_ns",
            Fact::Socket => "socket",
        }
    }
}

/// One fact of a principal, written `uid:1000`, `unit:ci.service`, `exe:/usr/bin/curl`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Which fact.
    pub fact: Fact,
    /// Its value as text.
    pub value: String,
}

impl FromStr for Selector {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let fault = || Malformed::new("a selector is written uid:1000, unit:ci.service or exe:/usr/bin/curl");
        let (name, value) = text.split_once(':').ok_or_else(fault)?;
        let fact = Fact::ALL.into_iter().find(|fact| fact.name() == name).ok_or_else(fault)?;
        if matches!(fact, Fact::Uid | Fact::Gid | Fact::PidNs) && value.parse::<u32>().is_err() {
            return Err(Malformed::new(format!("{} is a number", fact.name())));
        }
        Ok(Self { fact, value: value.to_owned() })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.fact.name(), self.value)
    }
}

impl Serialize for Selector {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// What attestation made of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// User id, as the kernel vouches.
    pub uid: u32,
    /// Group id, as the kernel vouches.
    pub gid: u32,
    /// Process id: for people to read; identity is held by the pidfd, never by this number.
    pub pid: u32,
    /// The systemd unit; for a process of a user manager the innermost user unit.
    pub unit: Option<String>,
    /// Path below the cgroup root.
    pub cgroup: Option<String>,
    /// Path of the program; absent when it was deleted or may not be read.
    pub exe: Option<PathBuf>,
    /// Lower-case hex; read only when a rule asks for it.
    pub exe_sha256: Option<String>,
    /// Inode number of the pid namespace.
    pub pid_ns: Option<u64>,
    /// `broker`, `control` or `gateway`.
    pub socket: &'static str,
}

impl Principal {
    /// The value of a fact, if it is known.
    pub fn fact(&self, fact: Fact) -> Option<String> {
        match fact {
            Fact::Uid => Some(self.uid.to_string()),
            Fact::Gid => Some(self.gid.to_string()),
            Fact::Unit => self.unit.clone(),
            Fact::Cgroup => self.cgroup.clone(),
            Fact::Exe => self.exe.as_ref().map(|path| path.to_string_lossy().into_owned()),
            Fact::ExeSha256 => self.exe_sha256.clone(),
            Fact::PidNs => self.pid_ns.map(|inode| inode.to_string()),
            Fact::Socket => Some(self.socket.to_owned()),
        }
    }

    /// All facts that are known, in a fixed order.
    pub fn selectors(&self) -> Vec<Selector> {
        Fact::ALL.into_iter().filter_map(|fact| self.fact(fact).map(|value| Selector { fact, value })).collect()
    }
}
