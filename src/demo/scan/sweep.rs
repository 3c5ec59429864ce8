//! Leads bytes past the index piece by piece and keeps what was found, each copy once.
//!
//! It must never lose a copy that lies across two pieces, and it keeps places, not bytes.

use std::collections::HashMap;

use zeroize::{Zeroize, Zeroizing};

use super::index::{Index, Run};

/// Bytes read at once.
pub(super) const PIECE: usize = 1 << 20;

/// A run, by its address in the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) shape: usize,
    pub(super) begin: u64,
    pub(super) from: usize,
    pub(super) length: usize,
}

impl Found {
    fn end(&self) -> u64 {
        self.begin + self.length as u64
    }
}

/// One pass over bytes that have addresses.
pub(super) struct Sweep<'a> {
    index: &'a Index,
    buffer: Zeroizing<Vec<u8>>,
    /// Bytes at the buffer's begin that were searched already and may be the first part of a copy.
    tail: usize,
    /// The address after the last byte searched.
    end: u64,
    found: Vec<Found>,
    /// Places in `found`, by shape and by the address where the whole shape would begin.
    seen: HashMap<(usize, u64), Vec<usize>>,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(index: &'a Index) -> Self {
        let buffer = Zeroizing::new(Vec::new());
        Self { index, buffer, tail: 0, end: 0, found: Vec::new(), seen: HashMap::new() }
    }

    /// Where to put the next `size` bytes, which lie at `address`; [`searched`](Self::searched) is to follow.
    pub(super) fn room(&mut self, address: u64, size: usize) -> &mut [u8] {
        if address != self.end {
            self.tail = 0;
        }
        let need = self.tail + size;
        if self.buffer.len() < need {
            self.buffer.reserve_exact(need);
            self.buffer.resize(need, 0);
        }
        &mut self.buffer[self.tail..need]
    }

    /// Searches the bytes that were put into the room.
    pub(super) fn searched(&mut self, address: u64, size: usize) {
        let Self { index, buffer, tail, found, seen, .. } = self;
        let (base, length) = (address - *tail as u64, *tail + size);
        index.search(&buffer[..length], |run| keep(found, seen, run, base));
        let tail = length.min(index.longest().saturating_sub(1));
        self.buffer.copy_within(length - tail..length, 0);
        self.tail = tail;
        self.end = address + size as u64;
    }

    /// Searches bytes that lie apart from all others.
    pub(super) fn alone(index: &Index, bytes: &[u8]) -> Vec<Found> {
        let mut sweep = Sweep::new(index);
        sweep.room(0, bytes.len()).copy_from_slice(bytes);
        sweep.searched(0, bytes.len());
        sweep.finish()
    }

    pub(super) fn finish(mut self) -> Vec<Found> {
        self.buffer.zeroize();
        self.found.sort_by_key(|found| (found.begin, found.shape));
        self.found
    }
}

/// A run seen from two windows, or in part at the end of one piece and whole in the next, is one find.
fn keep(found: &mut Vec<Found>, seen: &mut HashMap<(usize, u64), Vec<usize>>, run: Run, base: u64) {
    let new = Found { shape: run.shape, begin: base + run.at as u64, from: run.from, length: run.length };
    let places = seen.entry((run.shape, new.begin.wrapping_sub(run.from as u64))).or_default();
    for &place in places.iter() {
        let old = &mut found[place];
        if new.begin <= old.end() && old.begin <= new.end() {
            let end = old.end().max(new.end());
            if new.begin < old.begin {
                (old.begin, old.from) = (new.begin, new.from);
            }
            old.length = usize::try_from(end - old.begin).expect("invariant: no longer than the shape");
            return;
        }
    }
    places.push(found.len());
    found.push(new);
}
