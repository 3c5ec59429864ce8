//! Passing a call on with the real key: the permit is spent for the length of one head, and the answer is streamed.
//! It never sees the key, and never sends it anywhere but to the key's own provider.

use super::{Issuer, MintError, loan::Loan};
use crate::{
    model::{CallPath, KeyName, Shape},
    policy::Permit,
    recipe::{Inject as Place, Way},
    upstream::{CallError, Download, Inject, Lane, Upload},
    vault::Vault,
    wire::{Echo, EchoGuard, swap::Lend},
};
use hyper::{Request, Response, header::HeaderName};
use std::{io, sync::Arc};

/// Who knows the key that a call was made with, and can say whether some text has it too.
pub struct Witness {
    vault: Arc<Vault>,
    permit: Arc<Permit>,
}

impl Witness {
    /// Searches a piece of a stream.
    ///
    /// # Errors
    /// The key is locked away or gone.
    pub fn search(&self, guard: &mut EchoGuard, piece: &[u8]) -> io::Result<Echo> {
        self.vault.lend(&self.permit, |key| guard.search(key, piece)).map_err(io::Error::other)
    }

    /// The key's name.
    pub fn key(&self) -> &KeyName {
        self.permit.key()
    }
}

impl Issuer {
    /// Where a call with this key would go, and what it would be there; none when it is not this provider's key.
    ///
    /// # Errors
    /// The operator's: the key is locked, gone or quarantined, or kept in a place that its provider does not have.
    pub fn way(&self, key: &KeyName, provider: &str, method: &str, path: &CallPath) -> Result<Option<Way>, MintError> {
        let meta = self.lent(key)?.meta;
        if meta.provider != provider {
            return Ok(None);
        }
        let recipe = self.recipe(provider)?;
        Ok(Some(recipe.way(method, path, (&meta).into(), self.0.options.loopback)?))
    }

    /// How a provider's clients write and read on a path; `none` where nobody knows.
    pub fn shape(&self, provider: &str, path: &CallPath) -> Shape {
        self.recipe(provider).map_or(Shape::None, |recipe| recipe.shape(path))
    }

    /// Makes one call at the provider of the permit's key. `request` has path, query and no credentials; its host, and
    /// the one header that carries the key, are set here.
    ///
    /// # Errors
    /// As for [`Issuer::way`], and the provider's: it can't be reached, or gave no answer that is HTTP.
    pub async fn relay(
        &self,
        permit: Permit,
        way: &Way,
        mut request: Request<Upload>,
    ) -> Result<(Response<Download>, Witness), MintError> {
        let meta = self.lent(permit.key())?.meta;
        let vault = &self.0.parts.vault;
        let _ = vault.note_use(permit.key(), self.0.parts.clock.wall());
        let fault = |_| MintError::Call("the provider's host is no name".into());
        let host = way.endpoint.authority().parse().map_err(fault)?;
        request.headers_mut().insert(hyper::header::HOST, host);
        let lane = Lane { endpoint: way.endpoint.clone(), key: meta.name, fingerprint: meta.fingerprint };
        let (key, length) = (permit.key().clone(), vault.lend_length(&permit)?);
        let permit = Arc::new(permit);
        let inject = self.injected(permit.clone(), length, &way.inject)?;
        let response = self.0.parts.upstream.relay(lane, request, inject).await.map_err(|fault| match fault {
            // Locked or removed between the look and the write; or rotated, and then asking again will do.
            CallError::KeyChanged => self
                .lent(&key)
                .err()
                .map_or_else(|| MintError::Unreached("the key changed while it was being sent".into()), MintError::Key),
            CallError::Connect(..) | CallError::ConnectTime(_) => MintError::Unreached(fault.to_string()),
            fault => MintError::Call(fault.to_string()),
        })?;
        Ok((response, Witness { vault: vault.clone(), permit }))
    }

    fn injected(&self, permit: Arc<Permit>, length: usize, place: &Place) -> Result<Inject, MintError> {
        let fault = |_| MintError::Call("the provider's header has no name".into());
        let header = HeaderName::from_bytes(place.header.as_bytes()).map_err(fault)?;
        let (vault, encoding) = (self.0.parts.vault.clone(), place.encoding);
        let lend = Box::new(move || -> Box<dyn Lend> {
            Box::new(Loan { vault: vault.clone(), permit: permit.clone(), encoding })
        });
        Ok(Inject { header, prefix: place.prefix.clone(), length: encoding.length(length), lend })
    }
}
