//! Whether a key is good, by its provider's word: a token minted and thrown away, or a call that costs nothing.
//! It says no more of the provider's answer than its class.

use super::{Issuer, MintError, hold::Payer};
use crate::{clock::Boottime, policy::Permit};
use std::sync::Arc;

/// How a provider showed that it takes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It minted a token that would have lived until then.
    Minted(Boottime),
    /// It answered a call that only good keys may make.
    Answered,
}

impl Issuer {
    /// Has the provider say whether it takes the permit's key. A key that it refuses is quarantined.
    ///
    /// # Errors
    /// As for [`Issuer::mint`]; and the operator's: the recipe knows no way to ask.
    pub async fn prove(&self, permit: Permit) -> Result<Proof, MintError> {
        let key = self.lent(permit.key())?.meta;
        let recipe = self.recipe(&key.provider)?;
        if recipe.minting().is_ok() {
            return Ok(Proof::Minted(self.mint(permit).await?.deadline));
        }
        let probe = recipe.probe((&key).into(), self.0.options.loopback)?;
        let (probe, call) = probe.ok_or_else(|| MintError::NoProbe(key.provider.clone()))?;
        let status = self.call(&Arc::new(permit), &call).await?.status;
        probe.read(status).map_err(|rejected| self.rejected(&key, &rejected))?;
        self.0.holds.served(&Payer::of(&key));
        Ok(Proof::Answered)
    }
}
