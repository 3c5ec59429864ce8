//! Which leases are over when, by the second. A lease that ends before its time stays written here until its second
//! has more of those than of others: so the book is never twice as long as there are leases, and no lease needs to know
//! its place in it.

use super::slots::Slots;
use crate::clock::Boottime;
use std::collections::BTreeMap;

const NANOS: u64 = 1_000_000_000;

#[derive(Default)]
pub(super) struct Deadlines(BTreeMap<u64, Second>);

/// The slots whose leases are over in one second.
#[derive(Default)]
struct Second {
    numbers: Vec<u32>,
    /// Of these, how many stand for leases that have ended. A slot that was taken again in its old second is here twice.
    ended: usize,
}

impl Deadlines {
    /// Tells when the reaper will find it over.
    pub(super) fn put(&mut self, deadline: u64, number: u32) -> Boottime {
        let at = second(deadline);
        self.0.entry(at).or_default().numbers.push(number);
        Boottime::from_nanos(at.saturating_mul(NANOS))
    }

    /// A lease has ended before its time; its slot is free by now.
    pub(super) fn forget(&mut self, deadline: u64, slots: &Slots) {
        let at = second(deadline);
        let Some(bucket) = self.0.get_mut(&at) else { return };
        bucket.ended += 1;
        if bucket.ended * 2 > bucket.numbers.len() {
            bucket.numbers.sort_unstable();
            bucket.numbers.dedup();
            bucket.numbers.retain(|number| over_in(slots, *number, at));
            bucket.numbers.shrink_to_fit();
            bucket.ended = 0;
        }
        if bucket.numbers.is_empty() {
            self.0.remove(&at);
        }
    }

    /// When the reaper must look next.
    pub(super) fn earliest(&self) -> Option<Boottime> {
        let (second, _) = self.0.first_key_value()?;
        Some(Boottime::from_nanos(second.saturating_mul(NANOS)))
    }

    /// Takes out at most `most` entries of the earliest second, if that has come: none when nothing is over.
    pub(super) fn due(&mut self, now: Boottime, most: usize, slots: &Slots) -> Option<Due> {
        let mut bucket = self.0.first_entry().filter(|bucket| bucket.key().saturating_mul(NANOS) <= now.nanos())?;
        let at = *bucket.key();
        let Second { numbers, ended } = bucket.get_mut();
        let mut over = numbers.split_off(numbers.len().saturating_sub(most));
        let taken = over.len();
        // A slot that was freed and taken again has a second of its own.
        over.retain(|number| over_in(slots, *number, at));
        *ended = ended.saturating_sub(taken - over.len());
        if numbers.is_empty() {
            bucket.remove();
        }
        Some(Due { over, taken })
    }

    /// Entries, of leases that have ended too.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.0.values().map(|second| second.numbers.len()).sum()
    }
}

/// What is over.
pub(super) struct Due {
    /// The slots, one perhaps twice.
    pub(super) over: Vec<u32>,
    /// Entries that were looked at for it.
    pub(super) taken: usize,
}

fn over_in(slots: &Slots, number: u32, at: u64) -> bool {
    slots.at(number).is_some_and(|slot| second(slot.deadline) == at)
}

/// The second in which the reaper will find a deadline passed.
fn second(deadline: u64) -> u64 {
    deadline.div_ceil(NANOS)
}
