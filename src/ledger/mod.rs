//! The live leases: ids, owners, deadlines and rates, each counted in one place under one lock.
//! It holds digests of tokens and never a token, and it judges nothing.

mod book;
mod deadlines;
mod estate;
mod index;
mod kept;
mod limit;
mod node;
mod owners;
mod pass;
mod rate;
mod revoke;
mod room;
mod slots;
mod terms;
mod ticket;
mod usage;
mod watch;

pub use book::{Full, New};
pub use estate::EstateError;
pub use kept::Spending;
pub use limit::{Claim, Over, Reservation, Share, Wanted};
pub use node::Chain;
pub use pass::{Cut, Held, Spent};
pub use revoke::{Revoked, Which};
pub use room::Room;
pub use terms::Terms;
pub use usage::{Counts, OTHER, Row, Sum, UsageBook, UsageOptions};

#[cfg(test)]
use crate::policy::Taking;
use crate::{
    clock::{Boottime, Clock},
    model::{LeaseId, LeaseSummary, Mark, Principal, Rate},
    sys::{
        lock::{Mutex, MutexGuard},
        process::Process,
    },
};
use book::Book;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::Notify;

/// Bounds of the ledger.
#[derive(Debug, Clone, Copy)]
pub struct LedgerOptions {
    /// Live leases in all.
    pub leases: usize,
    /// Live leases of one user.
    pub leases_per_uid: usize,
    /// Narrower keys of one lease that are counted or taken back.
    pub narrowed_keys: usize,
}

/// All live leases. Clones are the same ledger.
#[derive(Clone)]
pub struct Ledger {
    book: Arc<Mutex<Book>>,
    clock: Clock,
    /// Told when the reaper must look sooner than it meant to.
    earlier: Arc<Notify>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(options: LedgerOptions, clock: Clock) -> Self {
        let book = Book::new(options);
        Self { clock, earlier: book.earlier.clone(), book: Arc::new(Mutex::new(book)) }
    }

    /// Enters one lease. With an owner it lives at most as long as that process.
    pub fn enter(&self, new: New, owner: Option<Process>) -> Result<LeaseId, Full> {
        self.room(new.terms.clone())?.enter(new, owner)
    }

    fn entered(&self, room: &Room, new: New, owner: Option<Process>) -> Result<LeaseId, Full> {
        let mut book = self.book();
        book.spend_room(room)?;
        book.enter(new, owner, |number, process| watch::owner(self.clone(), number, process))
    }

    /// One page of the leases of a user, or of all; none when the lease that it is to go on after has ended: then the
    /// list begins anew.
    pub fn page(&self, uid: Option<u32>, page: Page) -> Option<Listed> {
        self.book().page(uid, page, self.clock.boot())
    }

    /// All of them at once.
    #[cfg(test)]
    fn list(&self, uid: Option<u32>, ended: Ended) -> Vec<LeaseSummary> {
        self.book().list(uid, ended, self.clock.boot())
    }

    /// The live lease of the virtual key whose token has this SHA-256.
    pub fn held(&self, digest: &[u8; 32]) -> Result<Held, Spent> {
        self.book().held(digest, self.clock.boot())
    }

    /// The live lease of the virtual key whose token's SHA-256 begins so.
    pub fn marked(&self, mark: &Mark) -> Result<Held, Spent> {
        let book = self.book();
        let number = book.marked(mark).ok_or_else(|| book.ended_as(mark))?;
        book.held_at(number, self.clock.boot())
    }

    /// Whether a narrower key of a lease is live and has a use left: one that has not is nobody's, and no theft.
    pub fn stands(&self, lease: LeaseId, chain: &Chain) -> Result<(), Spent> {
        let book = self.book();
        let number = book.slots.find(lease).ok_or(Spent::Revoked)?;
        book.stands(number, chain, self.clock.boot())
    }

    /// The live lease of the ticket with this SHA-256, redeemed or not.
    pub fn ticketed(&self, digest: &[u8; 32]) -> Result<Held, Spent> {
        self.book().ticketed(digest, self.clock.boot())
    }

    /// Gives a lease the virtual key that its ticket is redeemed for, by the key's SHA-256 and its
    /// sealed seed: once. Another time the lease
    /// ends, so that of many who race for it exactly one is given a key, and not for long.
    pub fn redeem(&self, lease: LeaseId, key: [u8; 32], seal: [u8; 16]) -> Result<(), Spent> {
        self.book().redeem(lease, key, seal, self.clock.boot())
    }

    /// Ends a lease whose key somebody else tried. Whether it was live.
    pub fn freeze(&self, lease: LeaseId) -> bool {
        self.book().freeze(lease)
    }

    /// Ends all leases that were given to this principal, and those on their way to it; how many.
    pub fn freeze_all(&self, principal: &Principal) -> usize {
        self.book().freeze_all(|terms| terms.is_of(principal))
    }

    /// Which of these process numbers own leases.
    pub fn owners(&self, pids: &[u32]) -> Vec<Process> {
        self.book().owners.among(pids)
    }

    /// Ends all leases that one process owns; how many.
    pub fn freeze_owned(&self, owner: &Process) -> usize {
        self.book().freeze_owned(owner)
    }

    /// Takes one use of a lease and holds what the call may use, all under one lock: of many who race for the last of
    /// something exactly as many get it as it is enough for.
    pub fn take_use(&self, lease: LeaseId, wanted: &Wanted<'_>) -> Result<Reservation, Spent> {
        self.take_narrowed(lease, Chain::default(), wanted)
    }

    /// The same with a narrower key: every step of it must be live and have a use left too.
    pub fn take_narrowed(&self, lease: LeaseId, chain: Chain, wanted: &Wanted<'_>) -> Result<Reservation, Spent> {
        let taken = self.book().take_use(lease, &chain, wanted, &self.clock)?;
        Ok(Reservation::new(self.clone(), lease, taken, wanted.taking))
    }

    /// What is spent of the budgets of days and months, to be kept over a restart.
    pub fn spendings(&self) -> Vec<Spending> {
        self.book().meter.spendings()
    }

    /// Puts back what was spent before a restart.
    pub fn restore(&self, spent: Vec<Spending>) {
        self.book().meter.restore(spent);
    }

    /// The rules have changed: takes back the virtual leases whose terms are not to be kept, and says how many. What is being
    /// minted must be judged anew.
    pub fn retire(&self, keep: impl Fn(&Terms) -> bool) -> usize {
        self.book().retire(keep)
    }

    /// Ends what runs on any lease, and what is on its way to be one; the leases themselves stay.
    pub fn cut_all(&self) {
        self.book().cut_all();
    }

    /// Live leases.
    pub fn count(&self) -> usize {
        self.book().count()
    }

    /// Takes one ask from the holder's bucket; else how many seconds to wait.
    pub fn take(&self, holder: &str, rate: Rate) -> Result<(), u32> {
        let now = self.clock.boot();
        self.book().rates.take(holder, rate, now)
    }

    /// Removes at most `most` leases that are over. Gives the next deadline.
    pub fn reap(&self, most: usize) -> Option<Boottime> {
        let now = self.clock.boot();
        self.book().reap(now, most)
    }

    /// Starts the task that removes leases at their deadlines, also right after the machine slept.
    pub fn spawn_reaper(&self) -> Result<tokio::task::JoinHandle<()>, nix::errno::Errno> {
        watch::reaper(self.clone())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock()
    }
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// It begins after this lease; none: at the beginning.
    pub after: Option<LeaseId>,
    /// Live leases at most.
    pub most: usize,
    /// Whether the last page has what is over, too: a thousand or so at most.
    pub ended: Ended,
}

/// A part of a list, by all users in no order, by one the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Leases, without tokens.
    pub leases: Vec<LeaseSummary>,
    /// After which the next page begins, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<LeaseId>,
}

/// Whether a list shows what is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Live leases alone.
    Left,
    /// Those too that ended of late.
    Shown,
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod orders;
#[cfg(test)]
mod proof;
#[cfg(test)]
mod tests;
