//! From a token's digest to its slot: 256 small tables, so that none ever grows for longer than the loop can wait.

use std::collections::HashMap;

/// Slots by the first bytes of a digest. Digests of random tokens are spread by themselves and nobody can aim at one.
pub(super) struct Index(Vec<HashMap<u64, u32>>);

impl Index {
    pub(super) fn new() -> Self {
        Self(vec![HashMap::new(); 256])
    }

    pub(super) fn put(&mut self, digest: &[u8], number: u32) {
        self.0[usize::from(digest[0])].insert(prefix(digest), number);
    }

    pub(super) fn at(&self, digest: &[u8]) -> Option<u32> {
        self.0[usize::from(digest[0])].get(&prefix(digest)).copied()
    }

    /// Forgets a digest, if it is this slot's.
    pub(super) fn remove(&mut self, digest: &[u8], number: u32) {
        let table = &mut self.0[usize::from(digest[0])];
        if table.get(&prefix(digest)) == Some(&number) {
            table.remove(&prefix(digest));
        }
    }
}

fn prefix(digest: &[u8]) -> u64 {
    digest[1..9].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
