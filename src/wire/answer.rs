//! A lease → the bytes of its answer, with a placeholder where the token will be put in below hyper.

use super::swap::{Delivered, Expect, Swap};
use crate::model::{Lease, LeaseId};
use serde::{Serialize, Serializer};
use std::io;

/// An answer's body, and the swap that makes it whole.
pub struct Encoded {
    /// JSON with a placeholder.
    pub body: Vec<u8>,
    /// To be armed before the answer is given to hyper.
    pub swap: Swap,
}

#[derive(Serialize)]
struct LeaseAnswer<'a> {
    id: LeaseId,
    key: &'a str,
    provider: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<&'a str>,
    expires_at: u64,
    expires_in: u32,
    revocable: bool,
    #[serde(serialize_with = "as_map")]
    base_urls: &'a [(String, String)],
}

fn as_map<S: Serializer>(pairs: &&[(String, String)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(pairs.iter().map(|(name, url)| (name, url)))
}

#[derive(Serialize)]
struct StudioAnswer<'a> {
    token: &'a str,
    expires_at: u64,
}

/// `POST /v1/leases`, 201, and a redeemed ticket. Spends the lease.
pub fn lease(lease: Lease, receipt: Box<dyn Delivered>) -> io::Result<Encoded> {
    let Lease { id, key, provider, kind, token, ticket, expires_at, expires_in, revocable, base_urls } = lease;
    let swap = Swap::new(token.len(), Box::new(token), Expect::Later)?.telling(receipt);
    let body = json(&LeaseAnswer {
        id,
        key: key.as_str(),
        provider: &provider,
        kind: kind.name(),
        token: Some(swap.placeholder()).filter(|_| !ticket),
        ticket: Some(swap.placeholder()).filter(|_| ticket),
        expires_at,
        expires_in,
        revocable,
        base_urls: &base_urls,
    })?;
    Ok(Encoded { body, swap })
}

/// `POST /api/v1/tokens` in Model Studio's own shape, 200. Spends the lease.
pub fn studio_token(lease: Lease, receipt: Box<dyn Delivered>) -> io::Result<Encoded> {
    let expires_at = lease.expires_at;
    let swap = Swap::new(lease.token.len(), Box::new(lease.token), Expect::Later)?.telling(receipt);
    let body = json(&StudioAnswer { token: swap.placeholder(), expires_at })?;
    Ok(Encoded { body, swap })
}

/// Into a buffer that nearly every answer fits: one that grows is copied and wiped each time.
fn json(answer: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut body = Vec::with_capacity(1024);
    serde_json::to_writer(&mut body, answer)?;
    Ok(body)
}
