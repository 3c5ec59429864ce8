//! Who is asking: what attestation made of a peer, as a set of facts that rules can name.
//! A fact that could not be read is absent, and never guessed.

use super::Malformed;
use serde::{Deserialize, Serialize};
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

/// Bytes of a selector's value: leases keep selectors.
const SELECTOR_BYTES: usize = 1024;

impl FromStr for Selector {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let fault = || Malformed::new("a selector is written uid:1000, unit:ci.service or exe:/usr/bin/curl");
        let (name, value) = text.split_once(':').ok_or_else(fault)?;
        let fact = Fact::ALL.into_iter().find(|fact| fact.name() == name).ok_or_else(fault)?;
        if value.is_empty() || value.len() > SELECTOR_BYTES {
            return Err(Malformed::new(format!("a selector's value has 1 to {SELECTOR_BYTES} bytes")));
        }
        // One way to write each value: it is compared as text.
        let value = match fact {
            Fact::Uid | Fact::Gid | Fact::PidNs => {
                let number: u32 = value.parse().map_err(|_| Malformed::new(format!("{} is a number", fact.name())))?;
                number.to_string()
            }
            Fact::ExeSha256 => value.to_ascii_lowercase(),
            Fact::Unit | Fact::Cgroup | Fact::Exe | Fact::Socket => value.to_owned(),
        };
        Ok(Self { fact, value })
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

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
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

    /// Whether this very fact is known of it. A path that is no UTF-8 is no text's: it must not be made to fit by
    /// replacement characters.
    pub fn is(&self, Selector { fact, value }: &Selector) -> bool {
        match fact {
            Fact::Exe => self.exe.as_ref().and_then(|path| path.to_str()) == Some(value),
            fact => self.fact(*fact).as_ref() == Some(value),
        }
    }

    /// Whether a fact of it is known, if only that it has none. What could not be read is no proof of anything.
    pub fn tells(&self, fact: Fact) -> bool {
        match fact {
            // A process of no unit has a cgroup all the same.
            Fact::Unit => self.cgroup.is_some(),
            fact => self.fact(fact).is_some(),
        }
    }

    /// A peer that exists only in a question. Of what is not told it has nothing: its numbers stand for nobody.
    ///
    /// # Errors
    /// A number that is none.
    pub fn imagined(selectors: &[Selector]) -> Result<Self, Malformed> {
        let mut principal = Self {
            uid: u32::MAX,
            gid: u32::MAX,
            pid: 0,
            unit: None,
            cgroup: None,
            exe: None,
            exe_sha256: None,
            pid_ns: None,
            socket: "broker",
        };
        for Selector { fact, value } in selectors {
            let number = || value.parse().map_err(|_| Malformed(format!("{} is a number", fact.name())));
            match fact {
                Fact::Uid => principal.uid = number()?,
                Fact::Gid => principal.gid = number()?,
                Fact::Unit => principal.unit = Some(value.clone()),
                Fact::Cgroup => principal.cgroup = Some(value.clone()),
                Fact::Exe => principal.exe = Some(value.into()),
                Fact::ExeSha256 => principal.exe_sha256 = Some(value.clone()),
                Fact::PidNs => principal.pid_ns = Some(number()?.into()),
                Fact::Socket => {}
            }
        }
        Ok(principal)
    }

    /// All facts that are known, in a fixed order.
    pub fn selectors(&self) -> Vec<Selector> {
        Fact::ALL.into_iter().filter_map(|fact| self.fact(fact).map(|value| Selector { fact, value })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_has_one_spelling_and_a_bound() {
        let read = |text: &str| text.parse::<Selector>().map(|selector| selector.to_string()).ok();
        assert_eq!(read("uid:+01000").as_deref(), Some("uid:1000"));
        assert_eq!(read("exe_sha256:ABC").as_deref(), Some("exe_sha256:abc"));
        assert_eq!(read("unit:Ci.service").as_deref(), Some("unit:Ci.service"));
        assert_eq!(
            read(&format!("exe:{}", "x".repeat(SELECTOR_BYTES))).map(|text| text.len()),
            Some(SELECTOR_BYTES + 4)
        );
        for bad in ["", "uid:", "uid:me", "exe", "name:x", &format!("exe:{}", "x".repeat(SELECTOR_BYTES + 1))] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_could_not_be_read_tells_nothing() {
        let mut principal = Principal::imagined(&["uid:1".parse().unwrap()]).unwrap();
        let told =
            |principal: &Principal| Fact::ALL.into_iter().filter(|fact| principal.tells(*fact)).collect::<Vec<_>>();
        assert_eq!(told(&principal), [Fact::Uid, Fact::Gid, Fact::Socket]);
        principal.cgroup = Some("/init.scope".into());
        assert!(principal.tells(Fact::Unit) && principal.unit.is_none(), "it surely is no unit's");
    }

    #[test]
    fn a_path_that_is_no_text_is_nobodys() {
        use std::os::unix::ffi::OsStringExt;
        let mut principal = Principal::imagined(&["exe:/bin/x".parse().unwrap()]).unwrap();
        assert!(principal.is(&"exe:/bin/x".parse().unwrap()) && !principal.is(&"exe:/bin/y".parse().unwrap()));
        assert!(!principal.is(&"unit:x.service".parse().unwrap()), "an absent fact is nobody's");
        principal.exe = Some(std::ffi::OsString::from_vec(b"/bin/\xff".to_vec()).into());
        assert!(!principal.is(&"exe:/bin/\u{fffd}".parse().unwrap()));
    }
}
