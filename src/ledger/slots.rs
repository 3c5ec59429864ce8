//! The leases themselves: 80 bytes each, in chunks that never move, so that growth never stops the loop.

use super::Spent;
use crate::{
    model::{LeaseId, Mark},
    policy::Taking,
};
use serde::{Deserialize, Serialize};

/// One lease. `NONE` ends a list.
#[derive(Clone)]
pub(super) struct Slot {
    /// The first half of the SHA-256 of a virtual key's token; zeros for an upstream one.
    pub(super) digest: Mark,
    /// What its narrower keys are told by, sealed.
    pub(super) seal: [u8; 16],
    /// Nanoseconds of CLOCK_BOOTTIME.
    pub(super) deadline: u64,
    /// Unix seconds.
    pub(super) expires_at: u64,
    /// Random: tells this lease from the next in the same slot. 0: the slot is free.
    pub(super) tag: u32,
    /// On the shelf.
    pub(super) terms: u32,
    /// The process that it dies with.
    pub(super) owner: u32,
    /// Among the owner's leases; of a free slot, `next` is the next free one.
    pub(super) of_owner: Links,
    /// Among the user's leases.
    pub(super) of_user: Links,
    pub(super) uses: Uses,
}

const _: () = assert!(size_of::<Slot>() == 80, "at a million leases each byte of one counts");

/// How often a virtual key may still be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Uses(u32);

impl Uses {
    /// As often as its holder likes.
    const NO_LIMIT: Self = Self(u32::MAX);
    /// Never again: the last use was taken as the last one, and what others give back is no more.
    const OVER: Self = Self(u32::MAX - 1);

    pub(super) fn new(uses: Option<u32>) -> Self {
        uses.map_or(Self::NO_LIMIT, |uses| Self(uses.min(Self::OVER.0 - 1)))
    }

    /// None: no limit.
    pub(super) fn left(self) -> Option<u32> {
        match self {
            Self::NO_LIMIT => None,
            Self::OVER => Some(0),
            Self(left) => Some(left),
        }
    }

    /// What is left when a call has taken its use.
    pub(super) fn after(self, taking: Taking) -> Result<Self, Spent> {
        match (self.left(), taking) {
            (Some(0), _) => Err(Spent::Exhausted),
            (None, Taking::Any) => Ok(self),
            (Some(left), Taking::Any) => Ok(Self(left - 1)),
            (Some(1), Taking::Last) => Ok(Self::OVER),
            (_, Taking::Last) => Err(Spent::NotLast),
        }
    }

    /// What is left when a use of which nothing came is given back.
    pub(super) fn back(self, taking: Taking) -> Self {
        match (self, taking) {
            (Self::NO_LIMIT, _) | (Self::OVER, Taking::Any) => self,
            (_, Taking::Last) => Self(1),
            (Self(left), Taking::Any) => Self(left + 1),
        }
    }
}

/// The neighbours in a list.
#[derive(Clone, Copy)]
pub(super) struct Links {
    pub(super) next: u32,
    pub(super) before: u32,
}

impl Links {
    /// In no list.
    pub(super) const NONE: Self = Self { next: NONE, before: NONE };
}

/// Which of the lists that a lease is in.
pub(super) type List = fn(&mut Slot) -> &mut Links;

impl Slot {
    pub(super) fn of_owner(&mut self) -> &mut Links {
        &mut self.of_owner
    }

    pub(super) fn of_user(&mut self) -> &mut Links {
        &mut self.of_user
    }
}

/// No slot, no owner.
pub(super) const NONE: u32 = u32::MAX;
const CHUNK: usize = 4096;
/// More slots than any config allows leases.
const SLOTS: u32 = 1 << 21;

/// All slots.
pub(super) struct Slots {
    chunks: Vec<Box<[Slot]>>,
    free: u32,
    live: usize,
}

impl Slots {
    pub(super) fn new() -> Self {
        Self { chunks: Vec::new(), free: NONE, live: 0 }
    }

    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// The number that no slot has yet.
    pub(super) fn end(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    /// Puts a lease into a free slot.
    pub(super) fn insert(&mut self, slot: Slot) -> u32 {
        if self.free == NONE {
            self.grow();
        }
        let number = self.free;
        let place = self.place(number);
        let next_free = place.of_owner.next;
        *place = slot;
        self.free = next_free;
        self.live += 1;
        number
    }

    /// Puts a lease into the slot that its id names, before any other is put anywhere. None: it is taken, or there is none.
    pub(super) fn settle(&mut self, id: &LeaseId, slot: Slot) -> Option<u32> {
        let number = number(*id);
        if slot.tag == 0 || number >= SLOTS {
            return None;
        }
        while self.chunks.len() * CHUNK <= number as usize {
            self.chunks.push(vec![EMPTY; CHUNK].into());
        }
        let place = self.place(number);
        let free = place.tag == 0;
        if free {
            *place = slot;
            self.live += 1;
        }
        free.then_some(number)
    }

    /// Every slot that was not settled is free, the first one first.
    pub(super) fn free_the_rest(&mut self) {
        self.free = NONE;
        for number in (0..(self.chunks.len() * CHUNK) as u32).rev() {
            let free = self.free;
            let place = self.place(number);
            if place.tag == 0 {
                place.of_owner = Links { next: free, before: NONE };
                self.free = number;
            }
        }
    }

    /// Takes a lease out.
    pub(super) fn remove(&mut self, number: u32) -> Slot {
        let free = self.free;
        let place = self.place(number);
        let taken = place.clone();
        *place = Slot { of_owner: Links { next: free, before: NONE }, ..EMPTY };
        self.free = number;
        self.live -= 1;
        taken
    }

    /// The lease in a slot; none when it is free.
    pub(super) fn at(&self, number: u32) -> Option<&Slot> {
        let chunk = self.chunks.get(number as usize / CHUNK)?;
        Some(&chunk[number as usize % CHUNK]).filter(|slot| slot.tag != 0)
    }

    /// The same, to change.
    pub(super) fn at_mut(&mut self, number: u32) -> Option<&mut Slot> {
        let chunk = self.chunks.get_mut(number as usize / CHUNK)?;
        Some(&mut chunk[number as usize % CHUNK]).filter(|slot| slot.tag != 0)
    }

    /// The slot of a lease that is still in it.
    pub(super) fn find(&self, id: LeaseId) -> Option<u32> {
        let number = number(id);
        self.at(number).filter(|slot| slot.tag == tag(id)).map(|_| number)
    }

    /// Every live lease with its slot, from this one on.
    pub(super) fn iter_from(&self, number: u32) -> impl Iterator<Item = (u32, &Slot)> {
        let numbered = self.chunks.iter().zip(0..).skip(number as usize / CHUNK);
        let all = numbered.flat_map(|(chunk, at)| chunk.iter().zip(at * CHUNK as u32..));
        all.map(|(slot, at)| (at, slot)).filter(move |(at, slot)| slot.tag != 0 && *at >= number)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        let all = self.chunks.iter().flat_map(|chunk| chunk.iter()).enumerate();
        all.filter(|(_, slot)| slot.tag != 0).map(|(number, slot)| (number as u32, slot))
    }

    /// Puts a lease before all others of a list.
    pub(super) fn link(&mut self, number: u32, first: &mut u32, list: List) {
        if let Some(after) = self.at_mut(*first) {
            list(after).before = number;
        }
        if let Some(slot) = self.at_mut(number) {
            *list(slot) = Links { next: *first, before: NONE };
        }
        *first = number;
    }

    /// Takes a lease that was at this place out of a list.
    pub(super) fn unlink(&mut self, was: Links, first: &mut u32, list: List) {
        if let Some(after) = self.at_mut(was.next) {
            list(after).before = was.before;
        }
        match self.at_mut(was.before) {
            Some(before) => list(before).next = was.next,
            None => *first = was.next,
        }
    }

    fn place(&mut self, number: u32) -> &mut Slot {
        &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    fn grow(&mut self) {
        let first = (self.chunks.len() * CHUNK) as u32;
        let link = |n: usize| if n + 1 < CHUNK { first + n as u32 + 1 } else { NONE };
        let slot = |n| Slot { of_owner: Links { next: link(n), before: NONE }, ..EMPTY };
        self.chunks.push((0..CHUNK).map(slot).collect());
        self.free = first;
    }
}

/// The slot that an id names.
pub(super) fn number(id: LeaseId) -> u32 {
    (id.0 >> 32) as u32
}

/// The tag of the lease that has this id.
pub(super) fn tag(id: LeaseId) -> u32 {
    id.0 as u32
}

/// The id of the lease with this tag in this slot.
pub(super) fn id(number: u32, tag: u32) -> LeaseId {
    LeaseId(u64::from(number) << 32 | u64::from(tag))
}

const EMPTY: Slot = Slot {
    digest: [0; 16],
    seal: [0; 16],
    deadline: 0,
    expires_at: 0,
    tag: 0,
    terms: NONE,
    owner: NONE,
    of_owner: Links::NONE,
    of_user: Links::NONE,
    uses: Uses::NO_LIMIT,
};
