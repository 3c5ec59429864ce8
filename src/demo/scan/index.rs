//! Finds every run of many needles in one pass over the bytes.
//!
//! It must never miss a run that is long enough: a shortcut may only cost time.
//!
//! Any run of at least `shortest` bytes holds a window of `window` bytes that begins at a multiple of `stride`, when
//! `stride + window - 1 = shortest`. So only every `stride`-th place is looked at, and only there is the window
//! compared, first by a bit that its hash chooses, then byte by byte.

use super::Needle;
use super::form::{Form, Forms, Written, written};

/// log2 of the number of bits in the filter: 256 KiB, which stays in the second cache.
const FILTER: u32 = 21;
/// log2 of the number of buckets.
const BUCKETS: u32 = 16;

/// A needle in one of its forms.
pub(super) struct Shape {
    /// Which of the caller's needles.
    pub(super) needle: usize,
    pub(super) form: Form,
    text: Written,
    /// The fewest bytes of `text` that count as found.
    least: usize,
}

impl Shape {
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }
}

/// A run of a shape in the bytes that were searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) shape: usize,
    /// Where it begins in the bytes.
    pub(super) at: usize,
    /// Where it begins in the shape.
    pub(super) from: usize,
    pub(super) length: usize,
}

pub(super) struct Index {
    pub(super) shapes: Vec<Shape>,
    window: usize,
    stride: usize,
    filter: Vec<u64>,
    /// Shape and place of each window, by the hash of the window.
    buckets: Vec<Vec<(u32, u32)>>,
}

impl Index {
    /// `shortest` is the fewest bytes of a secret that count; an encoded copy must hold as many of the secret.
    pub(super) fn new(needles: &[Needle], shortest: usize, forms: Forms) -> Self {
        let window = (shortest / 2 + 1).min(8);
        let shapes = needles.iter().enumerate().flat_map(|(needle, known)| shapes(needle, known, shortest, forms));
        let mut index = Self {
            shapes: shapes.collect(),
            window,
            stride: shortest - window + 1,
            filter: vec![0; 1 << (FILTER - 6)],
            buckets: vec![Vec::new(); 1 << BUCKETS],
        };
        index.fill();
        index
    }

    fn fill(&mut self) {
        for (shape, known) in self.shapes.iter().enumerate() {
            for (place, window) in known.text.windows(self.window).enumerate() {
                let hash = hash(word(window));
                self.filter[bit(hash).0] |= bit(hash).1;
                let entry = (number(shape), number(place));
                self.buckets[bucket(hash)].push(entry);
            }
        }
    }

    /// The longest shape: bytes that must be kept from one chunk to the next, less one.
    pub(super) fn longest(&self) -> usize {
        self.shapes.iter().map(Shape::len).max().unwrap_or(0)
    }

    /// Calls `found` for each run in `bytes`; it may be told of one run several times.
    pub(super) fn search(&self, bytes: &[u8], mut found: impl FnMut(Run)) {
        let mask = u64::MAX >> (64 - 8 * self.window);
        let mut at = 0;
        // Eight bytes are loaded at once; the last few places are done with care below.
        while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            self.probe(bytes, at, u64::from_le_bytes(*eight) & mask, &mut found);
            at += self.stride;
        }
        while let Some(window) = bytes.get(at..at + self.window) {
            self.probe(bytes, at, word(window), &mut found);
            at += self.stride;
        }
    }

    #[inline]
    fn probe(&self, bytes: &[u8], at: usize, word: u64, found: &mut impl FnMut(Run)) {
        let hash = hash(word);
        let (place, bit) = bit(hash);
        if self.filter[place] & bit == 0 {
            return;
        }
        for &(shape, place) in &self.buckets[bucket(hash)] {
            if let Some(run) = self.run(bytes, at, shape as usize, place as usize) {
                found(run);
            }
        }
    }

    /// The run through this place, if the window is really there and the run is long enough.
    fn run(&self, bytes: &[u8], at: usize, shape: usize, place: usize) -> Option<Run> {
        let text = &self.shapes[shape].text[..];
        let same = |(a, b): &(&u8, &u8)| a == b;
        let ahead = bytes[at..].iter().zip(&text[place..]).take_while(same).count();
        if ahead < self.window {
            return None;
        }
        let behind = bytes[..at].iter().rev().zip(text[..place].iter().rev()).take_while(same).count();
        let length = ahead + behind;
        (length >= self.shapes[shape].least).then_some(Run { shape, at: at - behind, from: place - behind, length })
    }
}

/// The forms of one needle that are long enough to be told from noise.
fn shapes(needle: usize, known: &Needle, shortest: usize, forms: Forms) -> impl Iterator<Item = Shape> {
    let secret = known.bytes();
    written(secret, forms).into_iter().filter_map(move |(form, text)| {
        let least = (shortest * text.len()).div_ceil(secret.len()).max(shortest).min(text.len());
        (text.len() >= shortest).then_some(Shape { needle, form, text, least })
    })
}

/// Up to eight bytes as a number.
fn word(window: &[u8]) -> u64 {
    window.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Fibonacci hashing: the high bits are good.
fn hash(word: u64) -> u64 {
    word.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn bit(hash: u64) -> (usize, u64) {
    let bit = hash >> (64 - FILTER);
    ((bit >> 6) as usize, 1 << (bit & 63))
}

fn bucket(hash: u64) -> usize {
    (hash >> (64 - BUCKETS)) as usize
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("invariant: needles are at most 64 KiB, and so are few")
}
