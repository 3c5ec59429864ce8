//! The shield, for kernels without secret memory: a secret sealed under the hash of 16 KiB of random bytes, as in
//! OpenSSH's sshkey_shield_private. It must never keep the hash: who misses one bit of the 16 KiB gets nothing.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use sha2::{Digest, Sha512};

use super::map::Area;
use super::page::PageError;
use super::scrub;

const PREKEY: usize = 16 * 1024;

/// One sealed secret.
pub(super) struct Shield {
    prekey: Area,
    sealed: Area,
    tag: Tag,
    len: usize,
}

impl Shield {
    /// Lets `write` fill up to `capacity` bytes of locked memory and seals what it wrote.
    pub(super) fn over(capacity: usize, write: impl FnOnce(&mut [u8]) -> usize) -> Result<Self, PageError> {
        let mut prekey = Area::locked(PREKEY)?;
        getrandom::fill(prekey.bytes_mut()).map_err(|_| PageError::Random)?;
        let mut sealed = Area::locked(capacity)?;
        let len = write(&mut sealed.bytes_mut()[..capacity]).min(capacity);
        zeroize::Zeroize::zeroize(&mut sealed.bytes_mut()[len..]);
        // The prekey is used for this one message, so the nonce may be any constant.
        let tag = cipher(&prekey)
            .encrypt_inout_detached(&Nonce::default(), &[], (&mut sealed.bytes_mut()[..len]).into())
            .map_err(|_| PageError::Random)?;
        scrub::wipe();
        Ok(Self { prekey, sealed, tag, len })
    }

    /// How many bytes it holds.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Unseals into locked memory for the length of one call. An empty slice if the kernel gives none.
    pub(super) fn expose<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        let open = self.open();
        scrub::wipe();
        look(open.as_ref().map_or(&[], |area| &area.bytes()[..self.len]))
    }

    /// What a scanner of the memory sees.
    #[cfg(test)]
    pub(super) fn at_rest(&self) -> &[u8] {
        self.sealed.bytes()
    }

    fn open(&self) -> Option<Area> {
        let mut open = Area::locked(self.len).ok()?;
        let room = &mut open.bytes_mut()[..self.len];
        room.copy_from_slice(&self.sealed.bytes()[..self.len]);
        cipher(&self.prekey).decrypt_inout_detached(&Nonce::default(), &[], room.into(), &self.tag).ok()?;
        Some(open)
    }
}

fn cipher(prekey: &Area) -> ChaCha20Poly1305 {
    let mut hash = Sha512::digest(&prekey.bytes()[..PREKEY]);
    let mut key = chacha20poly1305::Key::default();
    key.copy_from_slice(&hash[..32]);
    let cipher = ChaCha20Poly1305::new(&key);
    zeroize::Zeroize::zeroize(hash.as_mut_slice());
    zeroize::Zeroize::zeroize(key.as_mut_slice());
    cipher
}
