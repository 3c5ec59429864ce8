//! The chain: each line carries its number and the SHA-256 of the line before, newline included.
//! It must never know what a line means; it holds no key, so it proves order and wholeness, not authorship.

use sha2::{Digest, Sha256};
use std::fmt;

/// A SHA-256 as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash([u8; 64]);

impl Hash {
    /// What the first line of all carries in place of a hash.
    pub(super) const ZERO: Self = Self([b'0'; 64]);

    /// The hash of these bytes: of a whole line with its newline.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(bytes))
    }

    /// The hash of what was fed to `hasher`.
    pub(super) fn finish(hasher: Sha256) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(hasher.finalize()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(hex)
    }

    /// The digits; none when they are not 64 lower-case hex digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let hex: [u8; 64] = text.as_bytes().try_into().ok()?;
        hex.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)).then_some(Self(hex))
    }

    /// The digits as text.
    pub(super) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("invariant: hex digits are ASCII")
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a chain stands: how many records it has, and the hash of the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// The number of the next record, which is the count of those before it.
    pub(super) seq: u64,
    /// The hash that the next record carries.
    pub(super) prev: Hash,
}

impl Link {
    /// Before the first record.
    pub(super) const START: Self = Self { seq: 0, prev: Hash::ZERO };

    /// Behind `line`, which was written here.
    #[must_use]
    pub(super) fn past(self, line: &[u8]) -> Self {
        Self { seq: self.seq + 1, prev: Hash::of(line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_what_sha256sum_prints() {
        let known = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!(Hash::of(b"hello\n").as_str(), known);
        assert_eq!(Hash::parse(known), Some(Hash::of(b"hello\n")));
        assert_eq!(Hash::parse(&known.to_uppercase()), None);
        assert_eq!(Hash::parse(&known[1..]), None);
    }
}
