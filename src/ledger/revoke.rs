//! Taking leases back: which ones are meant, and what is dead by it.
//! It must never call a token dead that lives on at its provider.

use super::{book::Book, terms::Terms};
use crate::model::{KeyName, Kind, LeaseId, NodeId, Selector};

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

impl Book {
    pub(super) fn revoke(&mut self, which: &Which, wall: u64) -> Revoked {
        let chosen: Vec<u32> = match which {
            Which::Node(id, uid) => {
                return Revoked { leases: self.revoke_node(id, *uid), ..Default::default() };
            }
            Which::Id(id) => self.slots.find(*id).into_iter().collect(),
            Which::OwnId(id, uid) => {
                let own = |number: &u32| self.terms(*number).is_some_and(|terms| terms.uid == *uid);
                self.slots.find(*id).filter(own).into_iter().collect()
            }
            Which::Key(_) | Which::Peer(_) | Which::All => self.numbers(|terms| which.means(terms)),
        };
        let under_way = self.clear_rooms(|terms| which.means(terms));
        let (leases, unread) = (chosen.len() + under_way, self.unread(which));
        let mut revoked = Revoked { leases, unread, ..Default::default() };
        for number in chosen {
            let upstream = self.terms(number).is_some_and(|terms| terms.kind == Kind::Upstream);
            let slot = self.remove(number, "revoked");
            if upstream {
                revoked.upstream += 1;
                revoked.upstream_seconds = revoked.upstream_seconds.max(slot.expires_at.saturating_sub(wall));
            }
        }
        revoked
    }

    /// Leases of whose peer the fact that is asked for is not known.
    fn unread(&self, which: &Which) -> usize {
        let Which::Peer(selector) = which else { return 0 };
        let name = selector.fact.name();
        let tells = |text: &String| text.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
        let unread = |terms: &Terms| !terms.peer.iter().any(tells) && !is_of(terms, selector);
        self.numbers(unread).len() + self.rooms.count(unread)
    }
}

impl Which {
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
