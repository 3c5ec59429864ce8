//! The control protocol, for the owner alone: keys, lock, leases, reload, status, audit, metrics.
//! A key comes in here and never goes out.

use super::{
    CONTROL_OPENAPI, EndpointOptions,
    native::{lost, malformed, page, whole_body},
    reply::Reply,
    route::{self, Astray, Way},
};
use crate::{
    audit::Follow,
    broker::{NewDecoy, NewKey, Operator, OperatorError, Rollback, Session},
    ledger::{Ended, Revoked, Which},
    model::{By, Code, Day, KeyName, Kind, Malformed, Place, Refusal, Revocable},
    sys::scrub,
    wire::{self, Approve, DecoyPut, KeyPut, KeyRotate, Unlock, Why},
};
use hyper::{
    Method, Request,
    body::{Bytes, Incoming},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::sync::Arc;
use tokio::{
    net::UnixStream,
    sync::{
        broadcast::{self, error::RecvError},
        mpsc,
    },
};

/// What other floors put behind the control socket's routes.
pub struct ControlOptions {
    /// `GET /v1/status`.
    pub status: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// `GET /metrics`, OpenMetrics text.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// `POST /v1/takeover`: who deals with the connection of a new process, one at a time.
    pub takeover: mpsc::Sender<UnixStream>,
}

/// What is spoken with a new process that takes over; another name for every change of it.
pub const TAKEOVER: &str = "sixty-takeover-1";

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const DECOY_FIELDS: &str = "provider, kind, account, workspace, region, owner";
const PUT_FIELDS: &str = "provider, secret, account, workspace, region, endpoint, owner, set";

/// Why a request on the control socket is not done.
enum No {
    Refused(Refusal),
    Failed(OperatorError),
    Words(Malformed),
    Astray(Astray),
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

impl From<Astray> for No {
    fn from(astray: Astray) -> Self {
        No::Astray(astray)
    }
}

/// One request, taken apart.
struct Ask<'a> {
    session: &'a Session,
    operator: Operator<'a>,
    options: &'a EndpointOptions,
    way: Way,
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
                let mut refusal = Refusal::new(fault.code(), session.broker().request_id());
                refusal.retry = fault.retry().unwrap_or(refusal.retry);
                refusal.after = fault.wait().or(refusal.after);
                refusal.class = fault.class();
                Reply::refusal(&refusal.at(fault.status()).saying(fault.to_string()))
            }
            Err(No::Words(fault)) => Reply::refusal(&malformed(session, &fault)),
            Err(No::Astray(astray)) => lost(session, &astray),
        }
    }

    async fn done(
        &self,
        session: &Session,
        options: &EndpointOptions,
        request: Request<Incoming>,
    ) -> Result<Reply, No> {
        let operator = session.operator().await?;
        let way = route::find(route::CONTROL, &request)?;
        let (method, path) = (request.method().clone(), way.path);
        let ask = Ask { session, operator, options, way, request };
        match (&method, path) {
            (&Method::GET, "/v1/status") => Ok(Reply::json(200, &(self.status)())),
            (&Method::GET, "/metrics") => Ok(Reply::bytes(200, OPENMETRICS, (self.metrics)().into_bytes())),
            (&Method::GET, "/v1/openapi.json") => Ok(Reply::bytes(200, "application/json", CONTROL_OPENAPI.into())),
            (&Method::GET, "/v1/keys") => Ok(Reply::json(200, &json!({ "keys": ask.operator.keys()? }))),
            (_, path) if path.starts_with("/v1/keys/") => ask.key(&method).await,
            (&Method::GET, "/v1/decoys") => Ok(Reply::json(200, &json!({ "decoys": ask.operator.decoys()? }))),
            (_, "/v1/decoys/{name}") => ask.decoy(&method).await,
            (&Method::GET, "/v1/leases") => ask.leases(),
            (&Method::DELETE, "/v1/leases") => ask.revoke().await,
            (&Method::GET, "/v1/usage") => ask.usage(),
            (&Method::GET, "/v1/approvals") => Ok(Reply::json(200, &json!({ "approvals": ask.operator.approvals() }))),
            (&Method::POST, "/v1/approvals/{id}") => ask.approve().await,
            (&Method::POST, "/v1/lock") => {
                ask.operator.lock()?;
                Ok(Reply::json(200, &json!({ "locked": true })))
            }
            (&Method::POST, "/v1/unlock") => ask.unlock().await,
            (&Method::POST, "/v1/reload") => {
                ask.operator.reload()?;
                Ok(Reply::json(200, &json!({ "reloaded": true })))
            }
            (&Method::GET, "/v1/audit") => {
                let follow = ask.flag("follow")?;
                Ok(audit(ask.operator.follow(), follow))
            }
            (&Method::POST, "/v1/why") => ask.why().await,
            (&Method::POST, "/v1/takeover") => self.takeover(ask),
            _ => Err(Astray::Path.into()),
        }
    }

    /// A new process of the owner's wants to serve in this one's place.
    fn takeover(&self, ask: Ask<'_>) -> Result<Reply, No> {
        if ask.request.headers().get("upgrade").is_none_or(|wanted| wanted != TAKEOVER) {
            return Err(Malformed(format!("a takeover is asked for with `Upgrade: {TAKEOVER}`")).into());
        }
        let Ok(successor) = self.takeover.clone().try_reserve_owned() else {
            let busy = Refusal::new(Code::Busy, ask.session.broker().request_id());
            return Err(busy.saying("another process takes over already").into());
        };
        Ok(Reply::switching(TAKEOVER, successor))
    }
}

impl Ask<'_> {
    async fn key(self, method: &Method) -> Result<Reply, No> {
        let name = self.way.value.parse()?;
        match (method, self.way.path) {
            (&Method::GET, _) => Ok(Reply::json(200, &self.operator.key(&name)?)),
            (&Method::PUT, _) => self.add(name).await,
            (&Method::DELETE, _) => Ok(gone(self.operator.remove(&name).await?)),
            (&Method::POST, "/v1/keys/{name}/test") => Ok(Reply::json(200, &self.operator.test(&name).await?)),
            (&Method::POST, "/v1/keys/{name}/rotate") => {
                let KeyRotate { secret } = said(self.session, self.options, self.request, "secret").await?;
                Ok(Reply::json(200, &self.operator.rotate(&name, secret).await?))
            }
            _ => Err(Astray::Path.into()),
        }
    }

    async fn add(self, name: KeyName) -> Result<Reply, No> {
        let put: KeyPut = said(self.session, self.options, self.request, PUT_FIELDS).await?;
        let KeyPut { provider, secret, account, workspace, region, endpoint, owner, set } = put;
        let place = Place { account, workspace, region, endpoint };
        Ok(Reply::json(201, &self.operator.add(NewKey { name, provider, place, owner, set, secret }).await?))
    }

    async fn decoy(self, method: &Method) -> Result<Reply, No> {
        let name = self.way.value.parse()?;
        if method == Method::DELETE {
            return Ok(gone(self.operator.unbait(&name).await?));
        }
        let put: DecoyPut = said(self.session, self.options, self.request, DECOY_FIELDS).await?;
        let DecoyPut { provider, kind, account, workspace, region, owner } = put;
        let place = Place { account, workspace, region, endpoint: None };
        let kind = kind.unwrap_or(Kind::Upstream);
        let (listed, text) = self.operator.bait(NewDecoy { name, provider, place, owner, kind }).await?;
        let text = String::from_utf8_lossy(&text);
        Ok(Reply::json(201, &json!({ "decoy": listed, "secret": text })))
    }

    /// A query parameter that is there, `true` or `false`.
    fn flag(&self, name: &str) -> Result<bool, No> {
        match self.way.parameter(name) {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(_) => Err(Malformed(format!("{name} is true or false")).into()),
        }
    }

    fn leases(&self) -> Result<Reply, No> {
        let ended = if self.flag("all")? { Ended::Shown } else { Ended::Left };
        let page = page(&self.way, self.options, ended)?;
        Ok(Reply::json(200, &self.operator.leases(page)))
    }

    fn usage(&self) -> Result<Reply, No> {
        let by = self.way.parameter("by").map_or(Ok(By::Key), str::parse)?;
        let (since, sums) = self.operator.usage(by, self.way.parameter("since"))?;
        let since = Some(since).filter(|since| *since > Day::default());
        Ok(Reply::json(200, &json!({ "by": by, "since": since, "usage": sums, "budgets": self.operator.budgets() })))
    }

    async fn revoke(&self) -> Result<Reply, No> {
        let fault = || Malformed("say which: id=…, key=…, peer=… or all=true".into());
        let which = match self.way.only_parameter().ok_or_else(fault)? {
            ("id", id) => match id.parse()? {
                Revocable::Lease(id) => Which::Id(id),
                Revocable::Node(id) => Which::Node(id, None),
            },
            ("key", key) => Which::Key(key.parse()?),
            ("peer", peer) => Which::Peer(peer.parse()?),
            ("all", "true") => Which::All,
            _ => return Err(fault().into()),
        };
        let revoked = self.operator.revoke(&which).await?;
        let Revoked { leases, unread, .. } = revoked;
        Ok(Reply::json(200, &json!({ "revoked": leases, "unread": unread, "residual": residual(revoked) })))
    }

    async fn approve(self) -> Result<Reply, No> {
        let id = self.way.value.parse()?;
        let Approve { approve } = said(self.session, self.options, self.request, "approve").await?;
        let callers = self.operator.approve(id, approve)?;
        Ok(Reply::json(200, &json!({ "approved": approve, "callers": callers })))
    }

    async fn unlock(self) -> Result<Reply, No> {
        let unlock = said(self.session, self.options, self.request, "passphrase, accept_rollback").await?;
        let Unlock { passphrase, accept_rollback } = unlock;
        let rollback = if accept_rollback { Rollback::Accept } else { Rollback::Refuse };
        self.operator.unlock(passphrase, rollback).await?;
        Ok(Reply::json(200, &json!({ "locked": false })))
    }

    async fn why(self) -> Result<Reply, No> {
        let Why { key, peer } = said(self.session, self.options, self.request, "key, peer").await?;
        let peer: Option<Vec<_>> = match peer {
            Some(texts) => Some(texts.iter().map(|text| text.parse()).collect::<Result<_, Malformed>>()?),
            None => None,
        };
        let (selectors, told) = self.operator.why(&key, peer.as_deref()).await?;
        let known = self.operator.knows(&key);
        let all = json!({ "decides": told.decides, "steps": told.steps, "gives": told.gives, "selectors": selectors, "known": known });
        Ok(Reply::json(200, &all))
    }
}

/// What a body says; none says nothing. The body is wiped before anything is waited for: a secret in it is in a place of
/// its own by then.
async fn said<T: DeserializeOwned>(
    session: &Session,
    options: &EndpointOptions,
    request: Request<Incoming>,
    fields: &str,
) -> Result<T, No> {
    let body = whole_body(session, options, request).await?;
    Ok(wire::parse(if body.is_empty() { b"{}" } else { &body }, fields)?)
}

fn gone(removed: Revoked) -> Reply {
    Reply::json(200, &json!({ "removed": true, "revoked": removed.leases, "residual": residual(removed) }))
}

fn residual(revoked: Revoked) -> serde_json::Value {
    json!({ "leases": revoked.upstream, "upstream_seconds": revoked.upstream_seconds })
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
