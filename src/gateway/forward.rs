//! One request through the gateway, from its head to the provider's: the only way there is, for every method, path and
//! upgrade. It reads no rule and holds no key; it asks the broker.

use super::{
    answer::{self, Outgoing, Stream},
    head::{Bad, Head},
    upgrade,
};
use crate::{
    broker::{Session, Upload, Way},
    ledger::Cut,
    model::{Code, Refusal},
};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use std::io;

/// Passes one request on. `running` is told what would cut it.
pub(super) async fn forward(
    session: &Session,
    request: Request<Incoming>,
    running: impl FnOnce(Cut),
) -> Response<Outgoing> {
    let shape = session.broker().shape(request.uri().path());
    match passed(session, request, running).await {
        Ok(response) => response,
        Err(refusal) => answer::refusal(shape, &refusal),
    }
}

async fn passed(
    session: &Session,
    mut request: Request<Incoming>,
    running: impl FnOnce(Cut),
) -> Result<Response<Outgoing>, Refusal> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let head = Head::read(parts).map_err(|bad| badly(session, bad))?;
    let holding = session.holding(&head.key.digest(), &head.call()).await?;
    let way = holding.way().cloned().ok_or_else(|| malformed(session, "nothing is there"))?;
    if head.websocket && !way.websocket {
        return Err(malformed(session, "no websocket is there"));
    }
    let mut passage = holding.pass(&head.call(), None).await?;
    running(passage.cut());
    let response = passage.call(outgoing(&head, &way, body)).await?;
    let mut response = response.map(|body| Stream { body, _passage: passage });
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return match head.websocket {
            true => Ok(upgrade::join(response, upgrade)),
            false => Err(Refusal::new(Code::Upstream, session.broker().request_id())),
        };
    }
    answer::clean(&mut response, &head.provider);
    Ok(response.map(|stream| Outgoing::Stream(Box::new(stream))))
}

/// The request as the provider is to see it, but for its host and the key.
fn outgoing(head: &Head, way: &Way, body: Incoming) -> Request<Upload> {
    let body = if head.websocket {
        Empty::new().map_err(|never| match never {}).boxed_unsync()
    } else {
        body.map_err(io::Error::other).boxed_unsync()
    };
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.headers.clone();
    let query = if head.query.is_empty() { String::new() } else { format!("?{}", head.query) };
    // Every part of it has been part of a URI.
    *request.uri_mut() = format!("{}{query}", way.path).parse().unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if head.websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    request
}

fn malformed(session: &Session, why: &'static str) -> Refusal {
    Refusal::new(Code::Malformed, session.broker().request_id()).saying(why)
}

fn badly(session: &Session, bad: Bad) -> Refusal {
    match bad {
        Bad::Key(fault) => answer::key_fault(fault, session.broker().request_id()),
        Bad::Form(why) => malformed(session, why),
    }
}
