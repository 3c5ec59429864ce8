//! Seeds of virtual keys, sealed: with one, narrower keys are told from forged ones, and whoever had it could forge them.
//! So the ledger keeps it masked, and the mask's key lies in a page of its own: derived from the vault's, it is the same in
//! the next process, and never leaves this one. It never lends a seed to anybody else.

use super::{Issuer, MintError};
use crate::{
    model::Mark,
    secret::Secret,
    sys::scrub,
    vault::Vault,
    wire::narrow::{Link, Narrowed, Seed, hashed},
};
use std::sync::OnceLock;
use zeroize::Zeroizing;

/// The mask's key, taken from the vault when it is first needed. It lives as long as the daemon.
#[derive(Default)]
pub(super) struct Sealer(OnceLock<Secret>);

/// What the key is derived for.
const PURPOSE: &str = "seeds of narrower keys";

/// A seed as the ledger keeps it.
pub type Seal = [u8; 16];

impl Sealer {
    /// The seed with its mask on, or without it again.
    pub(super) fn masked(&self, vault: &Vault, mark: &Mark, seed: &[u8; 16]) -> Result<Seed, MintError> {
        let key = self.key(vault)?;
        Ok(scrub::apart(|| {
            let mask = key.expose(|key| hashed(key, mark));
            Zeroizing::new(std::array::from_fn(|at| seed[at] ^ mask[at]))
        }))
    }

    fn key(&self, vault: &Vault) -> Result<&Secret, MintError> {
        if let Some(key) = self.0.get() {
            return Ok(key);
        }
        let derived = vault.derived(PURPOSE)?;
        Ok(self.0.get_or_init(|| derived))
    }
}

impl Issuer {
    /// What each step of a narrower key takes away, if it was derived from the virtual key that is kept under this seal.
    ///
    /// # Errors
    /// The vault is locked, and the mask's key was never needed before.
    pub fn verified(&self, key: &Narrowed, seal: &Seal) -> Result<Option<Vec<Link>>, MintError> {
        let seed = self.0.sealer.masked(&self.0.parts.vault, key.mark(), seal)?;
        Ok(key.verified(&seed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        vault::{Cost, Rollback, UnlockWith},
    };

    async fn vault(key: &[u8]) -> (tempfile::TempDir, Vault) {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = (folder.path().join("key"), folder.path().join("vault.sealed"));
        crate::sys::file::replace(&file, 0o600, key).unwrap();
        let vault = Vault::create(path, Clock::system(), UnlockWith::KeyFile(file), Cost::default()).await.unwrap();
        (folder, vault)
    }

    #[tokio::test]
    async fn a_seal_opens_for_its_own_mark_and_vault_alone_and_is_not_the_seed() {
        let ((folder, vault), (_other, another)) = (vault(&[1; 32]).await, vault(&[2; 32]).await);
        let (mark, seed) = ([7; 16], [9; 16]);
        let masked = |vault, mark, seed| *Sealer::default().masked(vault, mark, seed).unwrap();
        let seal = masked(&vault, &mark, &seed);
        assert_ne!(seal, seed);
        assert_eq!(masked(&vault, &mark, &seal), seed);
        assert_ne!(masked(&vault, &[8; 16], &seal), seed);
        assert_ne!(masked(&another, &mark, &seal), seed);
        vault.lock();
        assert!(Sealer::default().masked(&vault, &mark, &seal).is_err(), "a locked vault makes no key");
        let next = Vault::open(folder.path().join("vault.sealed"), Clock::system()).unwrap();
        next.unlock(UnlockWith::KeyFile(folder.path().join("key")), Rollback::Refuse).await.unwrap();
        assert_eq!(masked(&next, &mark, &seal), seed, "the next process opens it");
    }
}
