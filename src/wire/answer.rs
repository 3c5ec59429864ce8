//! A lease → the bytes of its answer, with a placeholder where the token will be put in below hyper.

use super::swap::{Delivered, Expect, Swap};
use crate::model::Lease;
use serde::Serialize;
use std::{collections::BTreeMap, io};

/// An answer's body, and the swap that makes it whole.
pub struct Encoded {
    /// JSON with a placeholder.
    pub body: Vec<u8>,
    /// To be armed before the answer is given to hyper.
    pub swap: Swap,
}

#[derive(Serialize)]
struct LeaseAnswer<'a> {
    id: String,
    key: &'a str,
    provider: &'a str,
    kind: &'static str,
    token: &'a str,
    expires_at: u64,
    expires_in: u32,
    revocable: bool,
    base_urls: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct StudioAnswer<'a> {
    token: &'a str,
    expires_at: u64,
}

/// `POST /v1/leases`, 201. Spends the lease.
pub fn lease(lease: Lease, receipt: Box<dyn Delivered>) -> io::Result<Encoded> {
    let Lease { id, key, provider, kind, token, expires_at, expires_in, revocable, base_urls } = lease;
    let swap = Swap::new(token.len(), Box::new(token), Expect::Later)?.telling(receipt);
    let body = serde_json::to_vec(&LeaseAnswer {
        id: id.to_string(),
        key: key.as_str(),
        provider: &provider,
        kind: kind.name(),
        token: swap.placeholder(),
        expires_at,
        expires_in,
        revocable,
        base_urls: base_urls.iter().map(|(name, url)| (name.as_str(), url.as_str())).collect(),
    })?;
    Ok(Encoded { body, swap })
}

/// `POST /api/v1/tokens` in Model Studio's own shape, 200. Spends the lease.
pub fn studio_token(lease: Lease, receipt: Box<dyn Delivered>) -> io::Result<Encoded> {
    let expires_at = lease.expires_at;
    let swap = Swap::new(lease.token.len(), Box::new(lease.token), Expect::Later)?.telling(receipt);
    let body = serde_json::to_vec(&StudioAnswer { token: swap.placeholder(), expires_at })?;
    Ok(Encoded { body, swap })
}
