//! Taking leases back: which ones are meant, and what is dead by it.
//! It must never call a token dead that lives on at its provider.

use super::{Ledger, book::Book, terms::Terms};
use crate::model::{KeyName, Kind, LeaseId, NodeId, Selector};
use std::collections::HashMap;

/// Which leases to take back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// One.
    Id(LeaseId),
    /// One, if it is this user's.
    OwnId(LeaseId, u32),
    /// A narrower key, and what is derived from it; of any user's lease or of this one's.
    Node(NodeId, Option<u32>),
    /// All of a key.
    Key(KeyName),
    /// All of principals with this selector.
    Peer(Selector),
    /// All.
    All,
}

/// What a revocation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Leases taken back, and those that were being minted.
    pub leases: usize,
    /// Of these, tokens that live on at the provider.
    pub upstream: usize,
    /// How long the last of them lives on, in seconds.
    pub upstream_seconds: u64,
    /// Leases left as they were because nobody knows this fact of their peer: no rule named it, or it was not readable.
    pub unread: usize,
}

impl Ledger {
    /// Takes leases back, and tells what of them lives on upstream.
    pub fn revoke(&self, which: &Which) -> Revoked {
        let mut walk = Walk::begin(self, which);
        while walk.goes_on() {}
        walk.done
    }

    /// The same by portions, between which others are served: for what may be many. What was live when it began, or was being
    /// minted, is dead when it ends; and it is done to its end, whether or not anybody waits for it.
    pub async fn revoke_many(&self, which: &Which) -> Revoked {
        let mut walk = Walk::begin(self, which);
        while walk.goes_on() {
            tokio::task::yield_now().await;
        }
        walk.done
    }
}

/// Slots that are looked at before others get the lock: far below a millisecond's work.
const PORTION: u32 = 512;

/// A revocation on its way through all slots.
struct Walk<'a> {
    ledger: &'a Ledger,
    which: &'a Which,
    /// The slot to go on with.
    next: Option<u32>,
    done: Revoked,
}

impl<'a> Walk<'a> {
    fn begin(ledger: &'a Ledger, which: &'a Which) -> Self {
        let (done, next) = ledger.book().begin_to_revoke(which, ledger.clock.wall());
        Self { ledger, which, next, done }
    }

    /// Takes back one portion. Whether there are more.
    fn goes_on(&mut self) -> bool {
        let Some(from) = self.next else { return false };
        self.next = self.ledger.book().revoke_some(self.which, from, (&mut self.done, self.ledger.clock.wall()));
        self.next.is_some()
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        while self.goes_on() {}
    }
}

impl Book {
    /// Takes back what is told by its id and what is on its way; and says where to look for the rest, if there is any.
    fn begin_to_revoke(&mut self, which: &Which, wall: u64) -> (Revoked, Option<u32>) {
        let mut done = Revoked::default();
        match which {
            Which::Node(id, uid) => done.leases = self.revoke_node(id, *uid),
            Which::Id(id) => self.revoke_found(self.slots.find(*id), (&mut done, wall)),
            Which::OwnId(id, uid) => {
                let own = |number: &u32| self.terms(*number).is_some_and(|terms| terms.uid == *uid);
                self.revoke_found(self.slots.find(*id).filter(own), (&mut done, wall));
            }
            Which::Key(_) | Which::Peer(_) | Which::All => {
                done.leases = self.clear_rooms(|terms| which.means(terms));
                done.unread = self.rooms.count(|terms| which.is_unread(terms));
                return (done, Some(0));
            }
        }
        (done, None)
    }

    /// Takes back what is meant of one portion of slots. Gives the next one.
    fn revoke_some(&mut self, which: &Which, from: u32, (done, wall): (&mut Revoked, u64)) -> Option<u32> {
        // Asked once for all leases that have their terms in common.
        let mut known: HashMap<u32, Fate> = HashMap::new();
        let next = from.saturating_add(PORTION);
        for number in from..next {
            let Some(on) = self.slots.at(number).map(|slot| slot.terms) else { continue };
            match *known.entry(on).or_insert_with(|| self.shelf.at(on).map_or(Fate::Stays, |terms| which.fate(terms))) {
                Fate::Ends => self.revoke_found(Some(number), (done, wall)),
                Fate::Unread => done.unread += 1,
                Fate::Stays => {}
            }
        }
        (next < self.slots.end()).then_some(next)
    }

    fn revoke_found(&mut self, found: Option<u32>, (done, wall): (&mut Revoked, u64)) {
        let Some(number) = found else { return };
        let upstream = self.terms(number).is_some_and(|terms| terms.kind == Kind::Upstream);
        let slot = self.remove(number, "revoked");
        done.leases += 1;
        if upstream {
            done.upstream += 1;
            done.upstream_seconds = done.upstream_seconds.max(slot.expires_at.saturating_sub(wall));
        }
    }
}

/// What a revocation means for leases of some terms.
#[derive(Clone, Copy)]
enum Fate {
    Ends,
    Unread,
    Stays,
}

impl Which {
    fn fate(&self, terms: &Terms) -> Fate {
        match () {
            () if self.means(terms) => Fate::Ends,
            () if self.is_unread(terms) => Fate::Unread,
            () => Fate::Stays,
        }
    }

    /// Whether the fact that is asked for is not known of such a lease's peer.
    fn is_unread(&self, terms: &Terms) -> bool {
        let Self::Peer(selector) = self else { return false };
        let name = selector.fact.name();
        let tells = |text: &String| text.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
        !terms.peer.iter().any(tells) && !is_of(terms, selector)
    }

    /// Whether all leases of such terms are meant: what is told by its id is not.
    fn means(&self, terms: &Terms) -> bool {
        match self {
            Self::Id(_) | Self::OwnId(..) | Self::Node(..) => false,
            Self::Key(key) => terms.key == *key,
            Self::Peer(selector) => is_of(terms, selector),
            Self::All => true,
        }
    }
}

/// Whether a lease was given to a peer like this, or for one.
fn is_of(terms: &Terms, selector: &Selector) -> bool {
    terms.recipient.as_ref() == Some(selector) || terms.peer.contains(&selector.to_string())
}
