//! Passing a call on with the real key: the permit is spent for the length of one head, and the answer is streamed.
//! It never sees the key, and never sends it anywhere but to the key's own provider.

use super::{Issuer, MintError, loan::Loan};
use crate::{
    policy::Permit,
    upstream::{CallError, Download, Inject, Lane, Upload},
    vault::LendError,
};
use hyper::{Request, Response, header::HeaderName};
use std::sync::Arc;

impl Issuer {
    /// Makes one call at the provider of the permit's key. `request` has a path and no credentials; its host, and the
    /// one header that carries the key, are set here.
    pub async fn relay(&self, permit: Permit, mut request: Request<Upload>) -> Result<Response<Download>, MintError> {
        let meta = self.lent(permit.key())?.meta;
        let recipe = self.recipe(&meta.provider)?;
        let endpoint = recipe.endpoint(&meta.place, self.0.options.loopback)?;
        let vault = &self.0.parts.vault;
        let length = vault.lend_length(&permit)?;
        let _ = vault.note_use(permit.key(), self.0.parts.clock.wall());
        let (header, prefix) = recipe.inject();
        let fault = |_| MintError::Call("the provider's header has no name".into());
        let header = HeaderName::from_bytes(header.as_bytes()).map_err(fault)?;
        let host =
            endpoint.authority().parse().map_err(|_| MintError::Call("the provider's host is no name".into()))?;
        request.headers_mut().insert(hyper::header::HOST, host);
        let lane = Lane { endpoint, key: permit.key().clone(), fingerprint: meta.fingerprint };
        let (permit, vault) = (Arc::new(permit), vault.clone());
        let again = permit.clone();
        let lend = Box::new(move || -> Box<dyn crate::wire::swap::Lend> {
            Box::new(Loan { vault: vault.clone(), permit: permit.clone() })
        });
        let inject = Inject { header, prefix: prefix.to_owned(), length, lend };
        self.0.parts.upstream.relay(lane, request, inject).await.map_err(|fault| match fault {
            // Locked or removed between the look and the write; or rotated, and then asking again will do.
            CallError::KeyChanged => self
                .lent(again.key())
                .err()
                .map_or_else(|| MintError::Call("the key changed while it was being sent".into()), MintError::Key),
            fault => MintError::Call(fault.to_string()),
        })
    }

    /// The provider of a key that may be used now.
    pub fn provider(&self, key: &crate::model::KeyName) -> Result<String, LendError> {
        self.lent(key).map(|listed| listed.meta.provider)
    }
}
