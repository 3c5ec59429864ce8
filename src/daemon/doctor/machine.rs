//! What this kernel gives us, and what it keeps from us.

use crate::{
    clock::Clock,
    model::Finding,
    sys::{
        page::{self, Protection},
        peer::{self, Method},
    },
};
use nix::sys::resource::{Resource, getrlimit};

/// Pages of secret memory that a vault of some hundred keys needs, in bytes.
const LOCKED: u64 = 4 << 20;
/// Open files below which a busy machine runs short.
const FILES: u64 = 4096;

pub(super) fn all() -> Vec<Finding> {
    vec![identity(), memory(), locked(), files(), clock(&Clock::system())]
}

fn identity() -> Finding {
    match peer::method() {
        Method::PeerPidfd => Finding::good("identity", "callers are held by pidfd (SO_PEERPIDFD)"),
        other => Finding::weak(
            "identity",
            format!("callers are told by {}", other.name()),
            "Linux 6.5 and later hold a caller by pidfd, which nobody can take over",
        ),
    }
}

fn memory() -> Finding {
    match page::protection() {
        Protection::SecretMemory => Finding::good("memory", "keys lie in pages that even root cannot read"),
        Protection::Shield => Finding::weak(
            "memory",
            "this kernel gives no secret memory: keys lie encrypted instead",
            "boot Linux 5.14 to 6.4 with secretmem.enable=1; a container needs memfd_secret in its seccomp profile",
        ),
    }
}

fn locked() -> Finding {
    let (most, _) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap_or_default();
    match most >= LOCKED {
        true => Finding::good("locked memory", "enough for hundreds of keys"),
        false => Finding::weak(
            "locked memory",
            format!("{} KiB may be locked: one key takes 4", most / 1024),
            "raise `ulimit -l`, or LimitMEMLOCK= in the unit",
        ),
    }
}

fn files() -> Finding {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    match most >= FILES {
        true => Finding::good("open files", format!("up to {most}")),
        false => Finding::weak(
            "open files",
            format!("no more than {most}, for callers, their processes and providers together"),
            "raise `ulimit -Hn`, or LimitNOFILE= in the unit",
        ),
    }
}

fn clock(clock: &Clock) -> Finding {
    match clock.is_set() {
        true => Finding::good("clock", "it was set"),
        false => Finding::bad(
            "clock",
            "it was never set: no certificate of a provider can be valid",
            "set the time: timedatectl set-ntp true",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Health;

    #[test]
    fn a_clock_of_1970_is_bad_and_says_how_to_set_it() {
        assert_eq!(clock(&Clock::manual(1_800_000_000).0).health, Health::Good);
        let finding = clock(&Clock::manual(3600).0);
        assert_eq!(finding.health, Health::Bad);
        assert!(finding.advice.unwrap().contains("timedatectl"));
    }
}
