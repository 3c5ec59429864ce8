//! Rules as data: one line of policy each. Deny by default: an empty list of rules gives nothing to anybody.

use crate::model::{Budget, Fact, KeyName, Kind, Pattern, Principal, Rate, Scope, Selector, Ttl};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};

/// All rules, in the order in which they are read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules(pub Vec<Rule>);

impl Rules {
    /// What must be known of a peer: attestation reads nothing else on a request's path.
    pub fn needs(&self) -> Needs {
        let hashes = |rule: &&Rule| rule.peer.iter().any(is_hash);
        let cheap = |rule: &Rule| rule.peer.iter().filter(|condition| !is_hash(condition)).cloned().collect();
        Needs {
            facts: self.0.iter().flat_map(|rule| rule.peer.iter().map(Condition::fact)).collect(),
            before_hash: self.0.iter().filter(hashes).map(cheap).collect(),
        }
    }

    /// What the owner on the control socket may do with every key: mint one token of the shortest life, to test it.
    pub fn operator(uid: u32) -> Self {
        Self(vec![Rule {
            name: "operator".into(),
            peer: vec![Condition::Uid(uid), Condition::Socket("control".into())],
            keys: "**".parse().into_iter().collect(),
            kinds: vec![Kind::Upstream],
            ttl: TtlRange { default: Ttl::DEFAULT, max: Ttl::DEFAULT },
            uses: None,
            rate: None,
            scope: Scope::default(),
            share: None,
            detach: Detach::Allowed,
            risky: Risky::default(),
            bearer: Bearer::NotEnough,
            recipients: Vec::new(),
            theft: Theft::default(),
            approve: Approve::Never,
            budget: Budget::default(),
        }])
    }
}

fn is_hash(condition: &Condition) -> bool {
    condition.fact() == Fact::ExeSha256
}

/// The facts that some rule names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    facts: BTreeSet<Fact>,
    /// Of each rule that names a program's hash: what else must hold.
    before_hash: Vec<Vec<Condition>>,
}

impl Needs {
    /// What must be known to tell whether a peer has this one fact.
    pub fn only(fact: Fact) -> Self {
        Self { facts: BTreeSet::from([fact]), before_hash: vec![Vec::new()] }
    }

    /// Whether some rule names it.
    pub fn name(&self, fact: Fact) -> bool {
        self.facts.contains(&fact)
    }

    /// Whether the hash of the program could decide anything. It costs as much as the program is large, and whoever asks
    /// chooses that: nobody is hashed whom no rule would believe anyway.
    pub fn hash_of(&self, principal: &Principal) -> bool {
        self.before_hash.iter().any(|conditions| conditions.iter().all(|condition| condition.holds(principal)))
    }

    /// With further facts.
    #[must_use]
    pub fn and(mut self, further: &[Fact]) -> Self {
        self.facts.extend(further);
        self
    }
}

/// One rule: whom it is about, which keys, and within which bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// For people, the audit and `why`.
    pub name: String,
    /// All must hold.
    pub peer: Vec<Condition>,
    /// One must fit.
    pub keys: Vec<Pattern>,
    /// What may be had; the first is given to whom does not say.
    pub kinds: Vec<Kind>,
    /// How long.
    pub ttl: TtlRange,
    /// The most uses of one virtual key; none: no limit.
    pub uses: Option<u32>,
    /// How often a principal may ask.
    pub rate: Option<Rate>,
    /// What a virtual key is good for.
    pub scope: Scope,
    /// How long a minted token may be given to further principals of this rule.
    pub share: Option<Duration>,
    /// Whether a lease may outlive every process.
    pub detach: Detach,
    /// Whether a virtual key is good for calls that delete, upload, train or start work that goes on alone.
    pub risky: Risky,
    /// Whether a virtual key is good for a peer of which nothing can be told.
    pub bearer: Bearer,
    /// For whom else virtual keys may be minted: one must hold. None: for nobody.
    pub recipients: Vec<Condition>,
    /// What becomes of a lease whose virtual key a stranger tries.
    pub theft: Theft,
    /// Whether a person is asked first.
    pub approve: Approve,
    /// How much virtual keys may use.
    pub budget: Budget,
}

impl Rule {
    /// Whether it is about this peer and this key.
    pub fn speaks_of(&self, principal: &Principal, key: &KeyName) -> bool {
        self.first_failure(principal).is_none() && self.keys.iter().any(|pattern| pattern.matches(key.as_str()))
    }

    /// Whether virtual keys may be minted for whoever has this fact.
    pub fn gives_to(&self, recipient: &Selector) -> bool {
        let fits = |who: Principal| self.recipients.iter().any(|condition| condition.holds(&who));
        Principal::imagined(std::slice::from_ref(recipient)).is_ok_and(fits)
    }

    /// Whether it surely is not about this peer: a fact that is known of it fails.
    pub fn shuts_out(&self, principal: &Principal) -> bool {
        self.peer.iter().any(|condition| !condition.holds(principal) && principal.tells(condition.fact()))
    }

    /// The first condition that this principal fails.
    pub fn first_failure(&self, principal: &Principal) -> Option<&Condition> {
        self.peer.iter().find(|condition| !condition.holds(principal))
    }
}

/// The default and the most of a lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TtlRange {
    /// For whom does not say.
    pub default: Ttl,
    /// Longer wishes are cut to this.
    pub max: Ttl,
}

/// Whether `--detached` leases are given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detach {
    /// A lease dies with its process.
    #[default]
    Refused,
    /// A lease may have no process.
    Allowed,
}

/// What it takes to make a risky call with a virtual key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Risky {
    /// It is never passed on.
    #[default]
    Refused,
    /// The key must have one use left, and is spent by it.
    SingleUse,
    /// A person is asked, for each.
    Approved,
    /// Nothing more than any other call.
    Allowed,
}

/// Whether a person must say yes, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Approve {
    /// The rule is enough.
    #[default]
    Never,
    /// For the first lease of each process; while it runs on, its yes is remembered.
    OncePerProcess,
    /// For every lease.
    Always,
}

impl Approve {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Never, Self::OncePerProcess, Self::Always];

    /// As in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::OncePerProcess => "once_per_process",
            Self::Always => "always",
        }
    }
}

/// Whether having a virtual key is enough where nobody can tell who the caller is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Bearer {
    /// The caller must be seen to be the key's process or a descendant.
    #[default]
    NotEnough,
    /// Whoever has it may use it.
    Enough,
}

/// What becomes of a lease whose virtual key is tried by a process that surely is not its holder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Theft {
    /// Who tried is refused and put on record; the lease lives on.
    #[default]
    Denied,
    /// The lease ends too: the key has got around.
    Frozen,
}

/// One thing that must be true of a peer. An absent fact makes it false.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// This user.
    Uid(u32),
    /// This group.
    Gid(u32),
    /// A systemd unit.
    Unit(Pattern),
    /// A cgroup path.
    Cgroup(Pattern),
    /// A program's path.
    Exe(Pattern),
    /// A program's SHA-256, lower-case hex.
    ExeSha256(String),
    /// A pid namespace's inode.
    PidNs(u64),
    /// The socket asked on.
    Socket(String),
}

impl Condition {
    /// The fact that it looks at.
    pub fn fact(&self) -> Fact {
        match self {
            Condition::Uid(_) => Fact::Uid,
            Condition::Gid(_) => Fact::Gid,
            Condition::Unit(_) => Fact::Unit,
            Condition::Cgroup(_) => Fact::Cgroup,
            Condition::Exe(_) => Fact::Exe,
            Condition::ExeSha256(_) => Fact::ExeSha256,
            Condition::PidNs(_) => Fact::PidNs,
            Condition::Socket(_) => Fact::Socket,
        }
    }

    /// What it wants, as text.
    pub fn wanted(&self) -> String {
        match self {
            Condition::Uid(id) | Condition::Gid(id) => id.to_string(),
            Condition::Unit(pattern) | Condition::Cgroup(pattern) | Condition::Exe(pattern) => pattern.to_string(),
            Condition::ExeSha256(text) | Condition::Socket(text) => text.clone(),
            Condition::PidNs(inode) => inode.to_string(),
        }
    }

    fn holds(&self, principal: &Principal) -> bool {
        let fits = |pattern: &Pattern, fact: Option<&str>| fact.is_some_and(|text| pattern.matches(text));
        match self {
            Condition::Uid(uid) => principal.uid == *uid,
            Condition::Gid(gid) => principal.gid == *gid,
            Condition::Unit(pattern) => fits(pattern, principal.unit.as_deref()),
            Condition::Cgroup(pattern) => fits(pattern, principal.cgroup.as_deref()),
            // A path that is no UTF-8 fits nothing: it must not be made to fit by replacement characters.
            Condition::Exe(pattern) => fits(pattern, principal.exe.as_ref().and_then(|path| path.to_str())),
            Condition::ExeSha256(hash) => principal.exe_sha256.as_ref() == Some(hash),
            Condition::PidNs(inode) => principal.pid_ns == Some(*inode),
            Condition::Socket(name) => principal.socket == name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_that_nobody_could_read_shuts_nobody_out() {
        let mut rule = Rules::operator(1000).0.remove(0);
        rule.peer = vec![Condition::Uid(1000), Condition::Exe("/bin/x".parse().unwrap())];
        let shut = |selectors: &[&str]| {
            let selectors: Vec<Selector> = selectors.iter().map(|text| text.parse().unwrap()).collect();
            let principal = Principal::imagined(&selectors).unwrap();
            assert!(rule.first_failure(&principal).is_some(), "{selectors:?}");
            rule.shuts_out(&principal)
        };
        assert!(!shut(&["uid:1000"]) && shut(&["uid:1001"]) && shut(&["uid:1000", "exe:/bin/y"]));
    }

    #[test]
    fn nobody_is_hashed_whom_no_rule_would_believe_anyway() {
        let mut rules = Rules::operator(1000);
        rules.0[0].peer = vec![Condition::Uid(1000), Condition::ExeSha256("0".repeat(64))];
        let needs = rules.needs();
        let principal = |uid| Principal {
            uid,
            gid: 1,
            pid: 7,
            unit: None,
            cgroup: None,
            exe: None,
            exe_sha256: None,
            pid_ns: None,
            socket: "broker",
        };
        assert!(needs.name(Fact::ExeSha256) && needs.hash_of(&principal(1000)));
        assert!(!needs.hash_of(&principal(1001)) && !Needs::default().hash_of(&principal(1000)));
    }
}
