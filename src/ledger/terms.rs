//! What many leases have in common, kept once: at a million leases each byte of one counts.

use crate::{
    model::{Budget, Fact, KeyName, Kind, Principal, Scope, Selector},
    policy::{Approve, Risky},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// The terms of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Terms {
    /// The key behind it.
    pub key: KeyName,
    /// The rule that allowed it.
    pub rule: String,
    /// Who made the token.
    pub kind: Kind,
    /// The principal's selectors, as text (`uid:1000`).
    pub peer: Vec<String>,
    /// The principal's user.
    pub uid: u32,
    /// Whom a virtual key is good for instead of the owner's processes.
    pub recipient: Option<Selector>,
    /// What a virtual key is good for: every one must allow it.
    pub scopes: Vec<Scope>,
    /// What it takes to make a risky call.
    pub risky: Risky,
    /// Whether a person was asked first.
    pub approve: Approve,
    /// How much may be used.
    pub budget: Budget,
    /// The principal as the rule sees it: whose budget it is.
    pub holder: Arc<str>,
}

impl Terms {
    /// Whether they were given to somebody of whom all that was told then is true of this principal. By which socket it
    /// came is no part of who it is.
    pub(super) fn is_of(&self, principal: &Principal) -> bool {
        let told =
            |text: &String| text.parse::<Selector>().is_ok_and(|it| it.fact == Fact::Socket || principal.is(&it));
        self.uid == principal.uid && self.peer.iter().all(told)
    }
}

/// Terms as they are written down for another process.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    key: KeyName,
    rule: String,
    kind: Kind,
    peer: Vec<String>,
    uid: u32,
    recipient: Option<Selector>,
    /// Methods, paths and models: a rule's lists may be longer than those that may be asked for.
    scopes: Vec<[Option<Vec<String>>; 3]>,
    risky: Risky,
    approve: Approve,
    budget: Budget,
    holder: String,
}

impl From<&Terms> for Held {
    fn from(terms: &Terms) -> Self {
        let Terms { key, rule, kind, peer, uid, recipient, scopes, risky, approve, budget, holder } = terms.clone();
        let scopes = scopes.into_iter().map(|Scope { methods, paths, models }| [methods, paths, models]).collect();
        Self {
            key,
            rule,
            kind,
            peer,
            uid,
            recipient,
            scopes,
            risky,
            approve,
            budget,
            holder: holder.as_ref().to_owned(),
        }
    }
}

impl From<Held> for Terms {
    fn from(held: Held) -> Self {
        let Held { key, rule, kind, peer, uid, recipient, scopes, risky, approve, budget, holder } = held;
        let scopes = scopes.into_iter().map(|[methods, paths, models]| Scope { methods, paths, models }).collect();
        Self { key, rule, kind, peer, uid, recipient, scopes, risky, approve, budget, holder: holder.into() }
    }
}

/// Terms by number, counted.
#[derive(Default)]
pub(super) struct Shelf {
    kept: Vec<Option<(Arc<Terms>, u32)>>,
    free: Vec<u32>,
    numbers: HashMap<Arc<Terms>, u32>,
    /// Put last: one caller's next terms mostly are the very same.
    last: u32,
}

impl Shelf {
    /// The number of these terms, which are kept once more often.
    pub(super) fn put(&mut self, terms: Arc<Terms>) -> u32 {
        if let Some(Some((kept, count))) = self.kept.get_mut(self.last as usize)
            && Arc::ptr_eq(kept, &terms)
        {
            *count += 1;
            return self.last;
        }
        if let Some(number) = self.numbers.get(&terms) {
            self.last = *number;
            if let Some(Some((_, count))) = self.kept.get_mut(*number as usize) {
                *count += 1;
            }
            return *number;
        }
        let entry = Some((terms.clone(), 1));
        let number = match self.free.pop() {
            Some(number) => {
                self.kept[number as usize] = entry;
                number
            }
            None => {
                self.kept.push(entry);
                (self.kept.len() - 1) as u32
            }
        };
        self.numbers.insert(terms, number);
        self.last = number;
        number
    }

    /// The terms of a number that is in use.
    pub(super) fn at(&self, number: u32) -> Option<&Arc<Terms>> {
        self.kept.get(number as usize)?.as_ref().map(|(terms, _)| terms)
    }

    /// The numbers of the terms that are wanted.
    pub(super) fn numbers(&self, wanted: impl Fn(&Terms) -> bool) -> HashSet<u32> {
        let fits = |entry: &Option<(Arc<Terms>, u32)>| entry.as_ref().is_some_and(|(terms, _)| wanted(terms));
        let all = self.kept.iter().enumerate().filter(|(_, entry)| fits(entry));
        all.filter_map(|(number, _)| u32::try_from(number).ok()).collect()
    }

    /// All terms.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Terms>> {
        self.kept.iter().flatten().map(|(terms, _)| terms)
    }

    /// Gives back one use; the last one frees the number.
    pub(super) fn release(&mut self, number: u32) {
        let Some(Some((terms, count))) = self.kept.get_mut(number as usize) else { return };
        *count -= 1;
        if *count == 0 {
            self.numbers.remove(terms);
            self.kept[number as usize] = None;
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_of_whom_all_is_true_that_was_told() {
        let terms = |peer: &[&str]| Terms {
            key: "a/b".parse().unwrap(),
            rule: "r".into(),
            kind: Kind::Virtual,
            peer: peer.iter().map(ToString::to_string).collect(),
            uid: 1000,
            recipient: None,
            scopes: Vec::new(),
            risky: Risky::Refused,
            approve: Approve::Never,
            budget: Budget::default(),
            holder: "".into(),
        };
        let one = ["uid:1000", "gid:1000", "exe:/usr/bin/curl", "socket:gateway"];
        let selectors: Vec<Selector> = one.iter().map(|text| text.parse().unwrap()).collect();
        let principal = Principal::imagined(&selectors).unwrap();
        assert!(terms(&["uid:1000", "gid:1000", "socket:broker"]).is_of(&principal));
        assert!(terms(&["uid:1000", "exe:/usr/bin/curl"]).is_of(&principal));
        assert!(!terms(&["uid:1000", "exe:/usr/bin/wget"]).is_of(&principal));
        assert!(!terms(&["uid:1000", "unit:ci.service"]).is_of(&principal), "of which nothing is known");
        assert!(!Terms { uid: 1001, ..terms(&[]) }.is_of(&principal));
    }
}
