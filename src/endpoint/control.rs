//! The control protocol, for the owner alone: keys, lock, leases, reload, status, audit, metrics.
//! A key comes in here and never goes out.

use super::{
    EndpointOptions,
    native::{malformed, unknown, whole_body},
    reply::Reply,
};
use crate::{
    audit::Follow,
    broker::{NewKey, Operator, OperatorError, Rollback, Session},
    ledger::{Ended, Revoked, Which},
    model::{Malformed, Place, Refusal},
    sys::scrub,
    wire::{self, KeyPut, KeyRotate, Unlock, Why},
};
use hyper::{
    Method, Request,
    body::{Bytes, Incoming},
};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::{
    broadcast::{self, error::RecvError},
    mpsc,
};

/// What other floors put behind the control socket's routes.
pub struct ControlOptions {
    /// `GET /v1/status`.
    pub status: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// `GET /metrics`, OpenMetrics text.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PUT_FIELDS: &str = "provider, secret, account, workspace, region, endpoint, owner, set";

/// Why a request on the control socket is not done.
enum No {
    Refused(Refusal),
    Failed(OperatorError),
    Words(Malformed),
    Route,
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        No::Refused(refusal)
    }
}
impl From<OperatorError> for No {
    fn from(fault: OperatorError) -> Self {
        No::Failed(fault)
    }
}
impl From<Malformed> for No {
    fn from(fault: Malformed) -> Self {
        No::Words(fault)
    }
}

/// One request, taken apart.
struct Ask<'a> {
    session: &'a Session,
    operator: Operator<'a>,
    options: &'a EndpointOptions,
    query: String,
    request: Request<Incoming>,
}

impl ControlOptions {
    /// Answers one request of a session.
    pub(super) async fn answer(
        &self,
        session: &Session,
        options: &EndpointOptions,
        request: Request<Incoming>,
    ) -> Reply {
        match self.done(session, options, request).await {
            Ok(reply) => reply,
            Err(No::Refused(refusal)) => Reply::refusal(&refusal),
            Err(No::Failed(fault)) => {
                let refusal = Refusal::new(fault.code(), session.broker().request_id());
                Reply::refusal(&refusal.saying(fault.to_string()))
            }
            Err(No::Words(fault)) => Reply::refusal(&malformed(session, &fault)),
            Err(No::Route) => unknown(session),
        }
    }

    async fn done(
        &self,
        session: &Session,
        options: &EndpointOptions,
        request: Request<Incoming>,
    ) -> Result<Reply, No> {
        let operator = session.operator()?;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let query = request.uri().query().unwrap_or_default().to_owned();
        let ask = Ask { session, operator, options, query, request };
        match (&method, path.as_str()) {
            (&Method::GET, "/v1/status") => Ok(Reply::json(200, &(self.status)())),
            (&Method::GET, "/metrics") => Ok(Reply::bytes(200, OPENMETRICS, (self.metrics)().into_bytes())),
            (&Method::GET, "/v1/keys") => Ok(Reply::json(200, &json!({ "keys": ask.operator.keys()? }))),
            (_, path) if path.starts_with("/v1/keys/") => key(ask, &method, &path["/v1/keys/".len()..]).await,
            (&Method::GET, "/v1/leases") => Ok(ask.leases()),
            (&Method::DELETE, "/v1/leases") => ask.revoke(),
            (&Method::POST, "/v1/lock") => {
                ask.operator.lock()?;
                Ok(Reply::json(200, &json!({ "locked": true })))
            }
            (&Method::POST, "/v1/unlock") => ask.unlock().await,
            (&Method::POST, "/v1/reload") => {
                ask.operator.reload()?;
                Ok(Reply::json(200, &json!({ "reloaded": true })))
            }
            (&Method::GET, "/v1/audit") => Ok(audit(ask.operator.follow(), ask.query.contains("follow"))),
            (&Method::POST, "/v1/why") => ask.why().await,
            _ => Err(No::Route),
        }
    }
}

async fn key(ask: Ask<'_>, method: &Method, rest: &str) -> Result<Reply, No> {
    if let (&Method::POST, Some(name)) = (method, rest.strip_suffix("/rotate")) {
        let name = name.parse()?;
        let (session, options) = (ask.session, ask.options);
        let body = whole_body(session, options, ask.request).await?;
        let KeyRotate { secret } = wire::parse(&body, "secret")?;
        return Ok(Reply::json(200, &ask.operator.rotate(&name, secret)?));
    }
    if let (&Method::POST, Some(name)) = (method, rest.strip_suffix("/test")) {
        return Ok(Reply::json(200, &ask.operator.test(&name.parse()?).await?));
    }
    let name = rest.parse()?;
    match *method {
        Method::GET => Ok(Reply::json(200, &ask.operator.key(&name)?)),
        Method::PUT => {
            let body = whole_body(ask.session, ask.options, ask.request).await?;
            let KeyPut { provider, secret, account, workspace, region, endpoint, owner, set } =
                wire::parse(&body, PUT_FIELDS)?;
            let place = Place { account, workspace, region, endpoint };
            Ok(Reply::json(201, &ask.operator.add(NewKey { name, provider, place, owner, set, secret })?))
        }
        Method::DELETE => {
            let removed = ask.operator.remove(&name)?;
            let residual = residual(removed);
            Ok(Reply::json(200, &json!({ "removed": true, "revoked": removed.leases, "residual": residual })))
        }
        _ => Err(No::Route),
    }
}

impl Ask<'_> {
    fn leases(&self) -> Reply {
        let ended = if self.query == "all=true" { Ended::Shown } else { Ended::Left };
        Reply::json(200, &json!({ "leases": self.operator.leases(ended) }))
    }

    fn revoke(&self) -> Result<Reply, No> {
        let fault = || Malformed("say which: id=…, key=…, peer=… or all=true".into());
        let (what, value) = self.query.split_once('=').ok_or_else(fault)?;
        let value = percent_decoded(value).ok_or_else(fault)?;
        let which = match what {
            "id" => Which::Id(value.parse()?),
            "key" => Which::Key(value.parse()?),
            "peer" => Which::Peer(value.parse()?),
            "all" if value == "true" => Which::All,
            _ => return Err(fault().into()),
        };
        let revoked = self.operator.revoke(&which)?;
        Ok(Reply::json(200, &json!({ "revoked": revoked.leases, "residual": residual(revoked) })))
    }

    async fn unlock(self) -> Result<Reply, No> {
        let body = whole_body(self.session, self.options, self.request).await?;
        let words = if body.is_empty() { b"{}".as_slice() } else { &body };
        let Unlock { passphrase, accept_rollback } = wire::parse(words, "passphrase, accept_rollback")?;
        drop(body);
        let rollback = if accept_rollback { Rollback::Accept } else { Rollback::Refuse };
        self.operator.unlock(passphrase, rollback).await?;
        Ok(Reply::json(200, &json!({ "locked": false })))
    }

    async fn why(self) -> Result<Reply, No> {
        let body = whole_body(self.session, self.options, self.request).await?;
        let Why { key, peer } = wire::parse(&body, "key, peer")?;
        let peer: Option<Vec<_>> = match peer {
            Some(texts) => Some(texts.iter().map(|text| text.parse()).collect::<Result<_, Malformed>>()?),
            None => None,
        };
        let (selectors, told) = self.operator.why(&key, peer.as_deref())?;
        let all = json!({ "decides": told.decides, "steps": told.steps, "selectors": selectors });
        Ok(Reply::json(200, &all))
    }
}

fn residual(revoked: Revoked) -> serde_json::Value {
    json!({ "leases": revoked.upstream, "upstream_seconds": revoked.upstream_seconds })
}

/// RFC 3986's %XX; nothing else is special in a query of one pair.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        (rest, _) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok()?;
                (tail, bytes.push(u8::from_str_radix(digits, 16).ok()?))
            }
            (b'%', _) => return None,
            (byte, tail) => (tail, bytes.push(*byte)),
        };
    }
    String::from_utf8(bytes).ok()
}

/// The records so far, and with `follow` those to come, for as long as the reader reads.
fn audit(follow: Follow, on: bool) -> Reply {
    let (send, receive) = mpsc::channel(64);
    scrub::spawn(async move {
        let Follow { past, mut next } = follow;
        for line in past.map_while(Result::ok) {
            if send.send(Bytes::from(line + "\n")).await.is_err() {
                return;
            }
        }
        if on {
            while let Some(line) = coming(&mut next).await {
                if send.send(line).await.is_err() {
                    return;
                }
            }
        }
    });
    Reply::lines(receive)
}

/// The next record; for a reader that was too slow, how many it missed.
async fn coming(next: &mut broadcast::Receiver<Arc<str>>) -> Option<Bytes> {
    match next.recv().await {
        Ok(line) => Some(Bytes::copy_from_slice(line.as_bytes())),
        Err(RecvError::Lagged(lost)) => Some(Bytes::from(format!("{{\"lost\":{lost}}}\n"))),
        Err(RecvError::Closed) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_once_and_whole() {
        assert_eq!(percent_decoded("exe%3A/usr/bin/a%20b").as_deref(), Some("exe:/usr/bin/a b"));
        assert_eq!(percent_decoded("a%2").as_deref(), None);
        assert_eq!(percent_decoded("a%zz").as_deref(), None);
        assert_eq!(percent_decoded("%FF").as_deref(), None);
        assert_eq!(percent_decoded("%2541").as_deref(), Some("%41"));
    }
}
