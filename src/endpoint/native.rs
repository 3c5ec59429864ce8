//! The native protocol on the broker socket: leases, whoami, providers, health. `Host` is ignored, unknown fields are refused.

use super::{
    EndpointOptions, OPENAPI,
    body::{Unread, read},
    reply::Reply,
    route::{self, Astray, Way},
    studio,
};
use crate::{
    broker::{Grant, Point, Provider, Session},
    ledger::{Ended, Page, Revoked},
    model::{Code, Malformed, Refusal},
    recipe::KEY_HEADERS,
    wire::{self, Redeem, key::digest},
};
use hyper::{HeaderMap, Method, Request, body::Incoming};
use serde::Serialize;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

const FIELDS: &str = "key, kind, ttl, min_remaining, uses, owner, scope, for, ticket";

#[derive(Serialize)]
struct Providers {
    providers: BTreeMap<String, Provider>,
}

#[derive(Serialize)]
struct OneRevoked {
    revoked: bool,
    residual: Residual,
}

#[derive(Serialize)]
struct Residual {
    upstream_seconds: u64,
}

/// Answers one request of a session.
pub(super) async fn answer(session: &Session, options: &EndpointOptions, request: Request<Incoming>) -> Reply {
    let way = match route::find(route::BROKER, &request) {
        Ok(way) => way,
        Err(astray) => return lost(session, &astray),
    };
    if session.is_wary() {
        session.look_at(shown(request.headers())).await;
    }
    match (request.method(), way.path) {
        (&Method::POST, "/v1/leases") => lease(session, options, request).await,
        // What came in is worth something until it is redeemed: nothing of it outlives the request.
        (&Method::POST, "/v1/tickets/redeem") => redeem(session, options, request).await.closing(),
        (&Method::GET, "/v1/leases") => match page(&way, options, Ended::Left) {
            Ok(page) => session.leases(page).map_or_else(|no| Reply::refusal(&no), |listed| Reply::json(200, &listed)),
            Err(fault) => Reply::refusal(&malformed(session, &fault)),
        },
        (&Method::DELETE, "/v1/leases/{id}") => revoke(session, &way).await,
        (&Method::GET, "/v1/whoami") => match session.whoami().await {
            Ok(whoami) => Reply::json(200, &whoami),
            Err(refusal) => Reply::refusal(&refusal),
        },
        (&Method::GET, "/v1/providers") => Reply::json(200, &Providers { providers: session.broker().providers() }),
        (&Method::POST, studio::PATH) => studio::answer(session, &way, &request).await,
        (&Method::GET | &Method::HEAD, "/healthz") => Reply::bytes(200, "text/plain", b"ok\n".to_vec()),
        (&Method::GET | &Method::HEAD, "/readyz") => match session.broker().unready() {
            None => Reply::bytes(200, "text/plain", told("ready", &session.broker().readiness())),
            Some(why) => Reply::bytes(503, "text/plain", told(why, &session.broker().readiness())),
        },
        (&Method::GET, "/v1/openapi.json") => Reply::bytes(200, "application/json", OPENAPI.into()),
        _ => lost(session, &Astray::Path),
    }
}

/// What stands where clients put keys, as SHA-256. A scheme stands before some.
fn shown(headers: &HeaderMap) -> Vec<[u8; 32]> {
    let values = KEY_HEADERS.iter().flat_map(|name| headers.get_all(*name)).map(|value| value.as_bytes());
    values.filter_map(|value| value.rsplit(|byte| *byte == b' ').next()).map(digest).collect()
}

/// In the first line whether, below it why.
fn told(ready: &str, points: &[Point]) -> Vec<u8> {
    points.iter().fold(format!("{ready}\n"), |text, Point { name, says, .. }| text + name + ": " + says + "\n").into()
}

/// Which part of a list of leases is asked for.
pub(super) fn page(way: &Way, options: &EndpointOptions, ended: Ended) -> Result<Page, Malformed> {
    let most = options.leases_per_page;
    let whole = |text: &str| text.bytes().all(|b| b.is_ascii_digit()) && text.bytes().any(|b| b != b'0');
    // However large: never more than the config allows.
    let limit = |text: &str| whole(text).then(|| text.parse().unwrap_or(most).min(most));
    let wrong = || Malformed("limit is a whole number, at least 1".into());
    let most = way.parameter("limit").map_or(Ok(most), |text| limit(text).ok_or_else(wrong))?;
    let after = way.parameter("after").map(str::parse).transpose()?;
    Ok(Page { after, most, ended })
}

/// Says which way there would have been.
pub(super) fn lost(session: &Session, astray: &Astray) -> Reply {
    let refusal = Refusal::new(Code::Malformed, session.broker().request_id());
    let studio = |route: &route::Route| route.path == studio::PATH;
    match astray {
        Astray::Path => Reply::refusal(&refusal.at(404).saying("there is no such route: see /v1/openapi.json")),
        Astray::Method(route) => {
            let methods: Vec<_> = route.methods.iter().map(|known| known.0).collect();
            let refusal = refusal.at(405).saying(format!("the methods are {}", methods.join(", ")));
            let reply = if studio(route) { Reply::studio_error(&refusal) } else { Reply::refusal(&refusal) };
            reply.allowing(&methods)
        }
        Astray::Query(route) if studio(route) => Reply::studio_error(&refusal),
        Astray::Query(_) => Reply::refusal(&refusal.saying("the query has an unknown, doubled or undecodable part")),
    }
}

/// The body, or the refusal that says why not.
pub(super) async fn whole_body(
    session: &Session,
    options: &EndpointOptions,
    request: Request<Incoming>,
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let refusal = |code| Refusal::new(code, session.broker().request_id());
    read(request.into_body(), options.request_bytes, options.body_time).await.map_err(|unread| match unread {
        Unread::TooLarge => {
            refusal(Code::TooLarge).saying(format!("the request has more than {} bytes", options.request_bytes))
        }
        Unread::Late => refusal(Code::Malformed).saying("the body did not arrive whole and in time"),
    })
}

/// A refusal of the caller's own words.
pub(super) fn malformed(session: &Session, fault: &crate::model::Malformed) -> Refusal {
    Refusal::new(Code::Malformed, session.broker().request_id()).saying(fault.to_string())
}

async fn lease(session: &Session, options: &EndpointOptions, request: Request<Incoming>) -> Reply {
    given(session, granted(session, options, request).await)
}

async fn redeem(session: &Session, options: &EndpointOptions, request: Request<Incoming>) -> Reply {
    let redeemed = async {
        let body = whole_body(session, options, request).await?;
        let Redeem { ticket } = wire::parse(&body, "ticket").map_err(|fault| malformed(session, &fault))?;
        drop(body);
        session.redeem(&ticket).await
    };
    given(session, redeemed.await)
}

fn given(session: &Session, granted: Result<Grant, Refusal>) -> Reply {
    match granted {
        Ok(Grant { lease, receipt }) => match wire::lease(lease, Box::new(receipt)) {
            Ok(encoded) => Reply::token(201, encoded),
            Err(_) => Reply::refusal(&Refusal::new(Code::Unavailable, session.broker().request_id())),
        },
        Err(refusal) => Reply::refusal(&refusal),
    }
}

async fn granted(session: &Session, options: &EndpointOptions, request: Request<Incoming>) -> Result<Grant, Refusal> {
    let body = whole_body(session, options, request).await?;
    let wish = wire::parse(&body, FIELDS).map_err(|fault| malformed(session, &fault))?;
    session.ask(wish).await
}

async fn revoke(session: &Session, way: &Way) -> Reply {
    let revoked = match way.value.parse() {
        Ok(id) => session.revoke(id).await,
        Err(fault) => Err(malformed(session, &fault)),
    };
    match revoked {
        // Another's lease and none at all are the same to a stranger.
        Ok(Revoked { leases: 0, .. }) => Reply::refusal(&Refusal::new(Code::Denied, session.broker().request_id())),
        Ok(Revoked { upstream_seconds, .. }) => {
            Reply::json(200, &OneRevoked { revoked: true, residual: Residual { upstream_seconds } })
        }
        Err(refusal) => Reply::refusal(&refusal),
    }
}
