//! What can be served now, and until when. Anybody may read it: it names no key, no provider and no path.

use super::Broker;
use crate::{
    clock::Boottime,
    sys::{lookout, peer},
    upstream::Reached,
};
use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

/// The wall clock may be set by so much, in seconds, without a word.
const SET_BY: u64 = 5;

/// One thing that must be well.
#[derive(Debug, PartialEq, Eq)]
pub struct Point {
    /// What it is about.
    pub name: &'static str,
    /// How it is.
    pub says: String,
    /// Whether no lease can be given as it is.
    pub bars: bool,
}

impl Broker {
    /// Why no lease can be given now, if none can.
    pub fn unready(&self) -> Option<&'static str> {
        if self.0.vault.is_locked() {
            return Some("the vault is locked");
        }
        if self.0.audit.status().failing.is_some() {
            return Some("the audit cannot be written");
        }
        (!self.0.clock.is_set()).then_some("the wall clock was never set")
    }

    /// All that a lease needs, and how it is.
    pub fn readiness(&self) -> [Point; 6] {
        let audit = self.0.audit.status().failing.is_some();
        let identity = Point { name: "identity", says: peer::method().name().into(), bars: false };
        let confined = if lookout::is_lost() { "in part" } else { self.0.options.confinement };
        let confinement = Point { name: "confinement", says: confined.into(), bars: false };
        let providers = providers(self.0.clock.wall(), &self.reached());
        let providers = Point { name: "providers", says: providers, bars: false };
        let audit = says("audit", audit, "cannot be written", "writable");
        [self.vault_point(), audit, self.clock_point(), identity, confinement, providers]
    }

    /// How asking each provider went, by its address.
    pub fn reached(&self) -> BTreeMap<String, Reached> {
        self.0.issuer.reached()
    }

    fn vault_point(&self) -> Point {
        let last = Boottime::from_nanos(self.0.last_use.load(Ordering::Relaxed));
        let left = self.0.options.lock_after.map(|after| after.saturating_sub(self.0.clock.boot().since(last)));
        let open = left.map_or("open".into(), |left| format!("open; unused it locks itself in {} s", left.as_secs()));
        says("vault", self.0.vault.is_locked(), "locked", &open)
    }

    fn clock_point(&self) -> Point {
        let (clock, (began, at)) = (&self.0.clock, self.0.began);
        let good = set_since(clock.wall(), began, clock.boot().since(at));
        says("clock", !clock.is_set(), "it was never set: certificates and expiries mean nothing", &good)
    }
}

fn says(name: &'static str, bars: bool, bad: &str, good: &str) -> Point {
    Point { name, says: if bars { bad } else { good }.into(), bars }
}

fn set_since(wall: u64, began: u64, run: Duration) -> String {
    let expected = began.saturating_add(run.as_secs());
    if wall.abs_diff(expected) > SET_BY {
        let way = if wall > expected { "forward" } else { "back" };
        format!("was set {way} by {} s since the start; deadlines go by another", wall.abs_diff(expected))
    } else {
        "sane".into()
    }
}

fn providers(now: u64, reached: &BTreeMap<String, Reached>) -> String {
    if reached.is_empty() {
        return "none was asked yet".into();
    }
    let failing = reached.values().filter(|reached| reached.failed_at.is_some()).count();
    let ago = |at: u64| format!("; the last answer came {} s ago", now.saturating_sub(at));
    let last = reached.values().filter_map(|reached| reached.answered_at).max().map(ago).unwrap_or_default();
    format!("{} of {} answered when last asked{last}", reached.len() - failing, reached.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn a_clock_that_was_set_meanwhile_is_told() {
        let hour = Duration::from_secs(3600);
        assert_eq!(set_since(NOW + 3603, NOW, hour), "sane");
        assert!(set_since(NOW + 7200, NOW, hour).starts_with("was set forward by 3600 s"));
        assert!(set_since(NOW, NOW, hour).starts_with("was set back by 3600 s"));
    }

    #[test]
    fn providers_are_counted_and_not_named() {
        let answered = Reached { answered_at: Some(NOW - 12), ..Reached::default() };
        let failed = Reached { answered_at: Some(NOW - 99), failed_at: Some(NOW), fault: Some("no".into()) };
        assert_eq!(providers(NOW, &BTreeMap::new()), "none was asked yet");
        let both = [("https://a.example".to_owned(), answered), ("https://b.example".to_owned(), failed)].into();
        assert_eq!(providers(NOW, &both), "1 of 2 answered when last asked; the last answer came 12 s ago");
    }
}
