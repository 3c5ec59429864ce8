//! The bridge from the vault to the layer below hyper: a key is lent for the length of one copy into one write.

use crate::{policy::Permit, recipe::Encoding, vault::Vault, wire::swap::Lend};
use std::{io, sync::Arc};

/// Lends the key of one permit.
pub(super) struct Loan {
    pub(super) vault: Arc<Vault>,
    pub(super) permit: Arc<Permit>,
    pub(super) encoding: Encoding,
}

impl Lend for Loan {
    fn lend(&self, place: &mut [u8]) -> io::Result<()> {
        let lent = self.vault.lend(&self.permit, |key| self.encoding.write(key, place));
        // Locked, rotated or removed since the head was built: nothing is sent.
        if matches!(lent, Ok(true)) { Ok(()) } else { Err(io::Error::other("the key is gone or has changed")) }
    }
}
