//! Room for leases that are on their way: kept from the judgement on, under the terms that the lease will have, so that
//! whatever takes back leases takes back those too that are being minted. It must never enter what was taken back.

use super::{
    Ledger,
    book::{Book, Full, New},
    terms::Terms,
};
use crate::{model::LeaseId, sys::process::Process};
use std::{collections::HashMap, sync::Arc};

/// The rooms that are kept, by number.
#[derive(Default)]
pub(super) struct Rooms {
    kept: HashMap<u64, Arc<Terms>>,
    next: u64,
    /// How often the rules have changed.
    rules: u64,
}

impl Rooms {
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn count(&self, wanted: impl Fn(&Terms) -> bool) -> usize {
        self.kept.values().filter(|terms| wanted(terms)).count()
    }
}

/// Room for one lease, given back by being dropped.
#[must_use = "room that is dropped is somebody else's"]
pub struct Room {
    ledger: Ledger,
    number: u64,
    /// The rules that its lease was last judged by, or later ones.
    rules: u64,
}

impl Ledger {
    /// Keeps room for one lease of these terms, so that nothing is minted that cannot be entered.
    pub fn room(&self, terms: Arc<Terms>) -> Result<Room, Full> {
        let mut book = self.book();
        let number = book.take_room(terms)?;
        Ok(Room { ledger: self.clone(), number, rules: book.rooms.rules })
    }
}

impl Room {
    /// What it is kept for is about to be judged by the rules of now.
    pub fn renew(&mut self) {
        self.rules = self.ledger.book().rooms.rules;
    }

    /// Enters the lease that the room was kept for. With an owner it lives at most as long as that process.
    ///
    /// # Errors
    /// What it was kept for was taken back meanwhile, the rules changed, or the kernel gave no random number.
    pub fn enter(self, new: New, owner: Option<Process>) -> Result<LeaseId, Full> {
        self.ledger.entered(&self, new, owner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.ledger.book().give_room(self.number);
    }
}

impl Book {
    fn take_room(&mut self, terms: Arc<Terms>) -> Result<u64, Full> {
        if self.slots.live() + self.rooms.len() >= self.options.leases {
            return Err(Full::All);
        }
        if self.of_uid(terms.uid) >= self.options.leases_per_uid {
            return Err(Full::Uid);
        }
        self.join(terms.uid);
        let number = self.rooms.next;
        self.rooms.next += 1;
        self.rooms.kept.insert(number, terms);
        Ok(number)
    }

    /// Ends a room whose lease is entered now.
    pub(super) fn spend_room(&mut self, room: &Room) -> Result<(), Full> {
        match self.give_room(room.number) {
            false => Err(Full::Revoked),
            true if room.rules != self.rooms.rules => Err(Full::Rules),
            true => Ok(()),
        }
    }

    /// Ends a room. Whether it was still kept.
    fn give_room(&mut self, number: u64) -> bool {
        let terms = self.rooms.kept.remove(&number);
        terms.map(|terms| self.leave(terms.uid)).is_some()
    }

    /// The rules have changed: what is on its way must be judged anew.
    pub(super) fn outdate_rooms(&mut self) {
        self.rooms.rules += 1;
    }

    /// Takes back what is on its way to be a lease of such terms, and says how many.
    pub(super) fn clear_rooms(&mut self, wanted: impl Fn(&Terms) -> bool) -> usize {
        let doomed: Vec<u64> =
            self.rooms.kept.iter().filter(|(_, terms)| wanted(terms)).map(|(number, _)| *number).collect();
        doomed.into_iter().filter(|number| self.give_room(*number)).count()
    }
}
