//! Seeds of virtual keys, sealed: with one, narrower keys are told from forged ones, and whoever had it could forge them.
//! So the ledger keeps it masked, and the mask's key lies in a page of its own. It never lends a seed to anybody else.

use super::{Issuer, MintError};
use crate::{
    model::Mark,
    secret::Secret,
    sys::scrub,
    wire::narrow::{Link, Narrowed, Seed, hashed},
};
use std::sync::OnceLock;
use zeroize::Zeroizing;

/// The mask's key, made when it is first needed. It lives as long as the daemon, which is as long as any lease.
#[derive(Default)]
pub(super) struct Sealer(OnceLock<Secret>);

/// A seed as the ledger keeps it.
pub type Seal = [u8; 16];

impl Sealer {
    /// The seed with its mask on, or without it again.
    pub(super) fn masked(&self, mark: &Mark, seed: &[u8; 16]) -> Result<Seed, MintError> {
        let key = self.key()?;
        Ok(scrub::apart(|| {
            let mask = key.expose(|key| hashed(key, mark));
            Zeroizing::new(std::array::from_fn(|at| seed[at] ^ mask[at]))
        }))
    }

    fn key(&self) -> Result<&Secret, MintError> {
        if let Some(key) = self.0.get() {
            return Ok(key);
        }
        let fresh = scrub::apart(|| {
            let mut random = Zeroizing::new([0_u8; 32]);
            getrandom::fill(&mut *random).ok()?;
            Secret::keep(&*random).ok()
        });
        let fresh = fresh.ok_or(MintError::Random)?;
        Ok(self.0.get_or_init(|| fresh))
    }
}

impl Issuer {
    /// What each step of a narrower key takes away, if it was derived from the virtual key that is kept under this seal.
    ///
    /// # Errors
    /// No random numbers: then nothing was ever sealed.
    pub fn verified(&self, key: &Narrowed, seal: &Seal) -> Result<Option<Vec<Link>>, MintError> {
        let seed = self.0.sealer.masked(key.mark(), seal)?;
        Ok(key.verified(&seed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_opens_for_its_own_mark_alone_and_is_not_the_seed() {
        let (sealer, other) = (Sealer::default(), Sealer::default());
        let (mark, seed) = ([7; 16], [9; 16]);
        let seal = *sealer.masked(&mark, &seed).unwrap();
        assert_ne!(seal, seed);
        assert_eq!(*sealer.masked(&mark, &seal).unwrap(), seed);
        assert_ne!(*sealer.masked(&[8; 16], &seal).unwrap(), seed);
        assert_ne!(*other.masked(&mark, &seal).unwrap(), seed);
    }
}
