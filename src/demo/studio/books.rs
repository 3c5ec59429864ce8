//! Which keys the pretend Model Studio knows and which tokens it has minted.
//!
//! It must never keep a key or a token itself: SHA-256 digests are enough to know them again.

use std::collections::{HashMap, HashSet};

use sha2::{Digest as _, Sha256};

/// SHA-256 of a key or token.
pub(super) type Digest = [u8; 32];

/// Tokens between two sweeps of the dead ones, so that a long benchmark does not grow without end.
const SWEEP: usize = 4096;

pub(super) fn digest(credential: &[u8]) -> Digest {
    Sha256::digest(credential).into()
}

/// What a credential turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A registered `sk-` key.
    Key,
    /// A token that still lives.
    Token,
    /// Unknown, retired, revoked or over.
    Nothing,
}

struct Token {
    parent: Digest,
    /// Unix seconds; it works before, not at, this moment.
    until: u64,
}

#[derive(Default)]
pub(super) struct Books {
    keys: HashSet<Digest>,
    tokens: HashMap<Digest, Token>,
}

impl Books {
    pub(super) fn register(&mut self, key: &str) {
        self.keys.insert(digest(key.as_bytes()));
    }

    /// Tokens minted from the key live on, as the vendor documents no way to end them.
    pub(super) fn retire(&mut self, key: &str) {
        self.keys.remove(&digest(key.as_bytes()));
    }

    pub(super) fn revoke_all(&mut self) {
        self.tokens.clear();
    }

    pub(super) fn enter(&mut self, token: &str, parent: Digest, until: u64, now: u64) {
        if self.tokens.len().is_multiple_of(SWEEP) {
            self.tokens.retain(|_, token| token.until > now);
        }
        self.tokens.insert(digest(token.as_bytes()), Token { parent, until });
    }

    pub(super) fn standing(&self, credential: &Digest, now: u64) -> Standing {
        if self.keys.contains(credential) {
            return Standing::Key;
        }
        match self.tokens.get(credential) {
            Some(token) if now < token.until => Standing::Token,
            _ => Standing::Nothing,
        }
    }

    /// The key that stands behind a credential: a token's parent, or the credential itself.
    pub(super) fn root(&self, credential: &Digest) -> Digest {
        self.tokens.get(credential).map_or(*credential, |token| token.parent)
    }

    pub(super) fn live_tokens(&self, now: u64) -> usize {
        self.tokens.values().filter(|token| now < token.until).count()
    }
}
