//! Narrower keys of live leases, as far as something must be remembered of them: uses that are counted, and those that
//! were taken back. Nobody tells the ledger when one is derived; it knows of one what a call or a revocation told.

use super::{
    book::Book,
    pass::{Cut, Spent},
};
use crate::{
    clock::{Boottime, Clock},
    model::{Mark, Node, NodeId},
};
use std::collections::{BTreeMap, HashMap};
use tokio::sync::watch;

/// What a call with a narrower key goes by: every step of the key, the first one first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Each step's name, and how often it may be used in all.
    pub steps: Vec<(Node, Option<u32>)>,
    /// When the first of them is over.
    pub until: Option<Boottime>,
}

/// The same as numbers: counted uses by node, and the nodes that were taken back.
pub(super) type Left = (Vec<(u64, u32)>, Vec<u64>);

/// What is remembered of one lease's.
#[derive(Default)]
pub(super) struct Nodes {
    used: HashMap<Node, u32>,
    revoked: Vec<Node>,
}

impl Nodes {
    /// As numbers.
    pub(super) fn left(&self) -> Left {
        let used = self.used.iter().map(|(node, used)| (u64::from_be_bytes(*node), *used));
        (used.collect(), self.revoked.iter().copied().map(u64::from_be_bytes).collect())
    }

    /// What was left.
    pub(super) fn restored((used, revoked): &Left) -> Self {
        Self {
            used: used.iter().map(|(node, used)| (node.to_be_bytes(), *used)).collect(),
            revoked: revoked.iter().copied().map(u64::to_be_bytes).collect(),
        }
    }

    fn len(&self) -> usize {
        self.used.len() + self.revoked.len()
    }
}

/// When calls that run must end, with the slots of their leases: with the lease or a narrower key, to the moment. The reaper
/// looks here as at leases' deadlines, so that the time counts in which the machine slept.
#[derive(Default)]
pub(super) struct Ends {
    calls: BTreeMap<End, u32>,
    next: u64,
}

/// One call's: the moment, and a number that no other has.
pub(super) type End = (Boottime, u64);

impl Ends {
    pub(super) fn put(&mut self, until: Boottime, number: u32) -> End {
        self.next += 1;
        self.calls.insert((until, self.next), number);
        (until, self.next)
    }

    /// The call is over by itself.
    pub(super) fn forget(&mut self, end: End) {
        self.calls.remove(&end);
    }

    pub(super) fn earliest(&self) -> Option<Boottime> {
        self.calls.first_key_value().map(|((until, _), _)| *until)
    }

    /// Takes out the slot of one call that must end.
    fn due(&mut self, now: Boottime) -> Option<u32> {
        self.calls.first_entry().filter(|first| first.key().0 <= now).map(|first| first.remove())
    }
}

impl Chain {
    fn has(&self, node: &Node) -> bool {
        self.steps.iter().any(|(step, _)| step == node)
    }

    fn counted(&self) -> impl Iterator<Item = (&Node, u32)> {
        self.steps.iter().filter_map(|(node, most)| Some((node, (*most)?)))
    }
}

/// Who hears of it when a lease ends, or some of its narrower keys are taken back.
pub(super) type Bell = watch::Sender<Vec<Node>>;

impl Cut {
    pub(super) fn new(bell: &Bell, chain: Chain, clock: Clock) -> Self {
        Self { bell: bell.subscribe(), chain, clock }
    }

    /// Returns when what runs on the lease must end.
    pub async fn wait(&mut self) {
        while !self.is_over() && self.bell.changed().await.is_ok() {
            if self.bell.borrow_and_update().iter().any(|node| self.chain.has(node)) {
                return;
            }
        }
    }

    /// Whether the lease or the narrower key has come to its own end.
    pub fn is_over(&self) -> bool {
        self.chain.until.is_some_and(|until| until <= self.clock.boot())
    }
}

impl Book {
    /// Whether every step of a chain is live and has a use left.
    pub(super) fn stands(&self, number: u32, chain: &Chain, now: Boottime) -> Result<(), Spent> {
        if chain.until.is_some_and(|until| until <= now) {
            return Err(Spent::Expired);
        }
        let Some(nodes) = self.nodes.get(&number) else { return Ok(()) };
        if nodes.revoked.iter().any(|node| chain.has(node)) {
            return Err(Spent::Revoked);
        }
        let spent = |(node, most): (&Node, u32)| nodes.used.get(node).is_some_and(|used| *used >= most);
        if chain.counted().any(spent) { Err(Spent::Exhausted) } else { Ok(()) }
    }

    /// The same, and whether it can be remembered.
    pub(super) fn may_go(&self, number: u32, chain: &Chain, now: Boottime) -> Result<(), Spent> {
        self.stands(number, chain, now)?;
        let none = Nodes::default();
        let nodes = self.nodes.get(&number).unwrap_or(&none);
        let new = chain.counted().filter(|(node, _)| !nodes.used.contains_key(*node)).count();
        if nodes.len() + new > self.options.narrowed_keys { Err(Spent::Crowded) } else { Ok(()) }
    }

    /// Tells at most `most` calls that their time is over; how many.
    pub(super) fn ring_over(&mut self, now: Boottime, most: usize) -> usize {
        let over: Vec<u32> = std::iter::from_fn(|| self.ends.due(now)).take(most).collect();
        for bell in over.iter().filter_map(|number| self.cuts.get(number)) {
            bell.send_modify(|_| ());
        }
        over.len()
    }

    /// Counts one use for every step that is counted.
    pub(super) fn go(&mut self, number: u32, chain: &Chain) {
        for (node, _) in chain.counted() {
            *self.nodes.entry(number).or_default().used.entry(*node).or_insert(0) += 1;
        }
    }

    /// The use came to nothing. What was counted stays known: else somebody could count from the beginning again.
    pub(super) fn come_back(&mut self, number: u32, chain: &Chain) {
        let Some(nodes) = self.nodes.get_mut(&number) else { return };
        for (node, _) in chain.counted() {
            nodes.used.entry(*node).and_modify(|used| *used = used.saturating_sub(1));
        }
    }

    /// The lease of a virtual key that has this mark.
    pub(super) fn marked(&self, mark: &Mark) -> Option<u32> {
        let number = self.index.at(mark)?;
        self.slots.at(number).filter(|slot| slot.digest == *mark).map(|_| number)
    }

    /// Takes back a narrower key with all that is derived from it. Where no room is left to remember that, the whole lease
    /// ends: what was to end must not live.
    pub(super) fn revoke_node(&mut self, id: &NodeId, uid: Option<u32>) -> usize {
        let own = |number: &u32| {
            let terms = self.slots.at(*number).and_then(|slot| self.shelf.at(slot.terms));
            terms.is_some_and(|terms| uid.is_none_or(|uid| terms.uid == uid))
        };
        let Some(number) = self.marked(&id.mark).filter(own) else { return 0 };
        let most = self.options.narrowed_keys;
        let nodes = self.nodes.entry(number).or_default();
        if nodes.revoked.contains(&id.node) {
            return 0;
        }
        if nodes.len() >= most {
            self.remove(number, "revoked");
            return 1;
        }
        nodes.revoked.push(id.node);
        if let Some(bell) = self.cuts.get(&number) {
            bell.send_replace(nodes.revoked.clone());
        }
        1
    }
}
