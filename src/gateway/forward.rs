//! One request through the gateway, from its head to the provider's: the only way there is, for every method, path and
//! upgrade. It reads no rule and holds no key; it asks the broker.

use super::{
    GatewayOptions,
    answer::{self, Outgoing},
    head::{Bad, Head},
    inspect::{Inspected, Need, inspect, tell_length},
    stream::Stream,
    upgrade,
};
use crate::{
    broker::{Body, Session, Upload, Way},
    ledger::Cut,
    model::{Code, Refusal, Shape},
    wire::{Framing, UsageReader},
};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};

/// Passes one request on. `running` is told what would cut it.
pub(super) async fn forward(
    session: &Session,
    options: &GatewayOptions,
    request: Request<Incoming>,
    running: impl FnOnce(Cut),
) -> Response<Outgoing> {
    let shape = session.broker().shape(request.uri().path());
    match passed(session, options, request, running).await {
        Ok(response) => response,
        Err(refusal) => answer::refusal(shape, &refusal),
    }
}

async fn passed(
    session: &Session,
    options: &GatewayOptions,
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
    let need = if holding.wants_look() { Need::Judged } else { Need::Counted };
    let Inspected { upload, length, seen } = inspect(&head, &way, body, need, options)
        .await
        .map_err(|bad| Refusal::new(bad.code, session.broker().request_id()).saying(bad.why))?;
    let body = seen.as_ref().zip(length).map(|(seen, bytes)| Body {
        models: &seen.models,
        max_output: seen.max_output,
        answers: seen.answers,
        bytes,
    });
    let mut passage = holding.pass(&head.call(), body).await?;
    running(passage.cut());
    let mut request = outgoing(&head, &way, upload);
    tell_length(request.headers_mut(), length);
    let response = passage.call(request).await?;
    let hides = seen.is_some_and(|seen| seen.edit.is_some());
    let mut response = response.map(|body| Stream::new(body, passage));
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return match head.websocket {
            true => Ok(upgrade::join(response, upgrade)),
            false => Err(Refusal::new(Code::Upstream, session.broker().request_id())),
        };
    }
    checked(session, &mut response)?;
    let framing = content_type(&response).and_then(Framing::of);
    let reader = framing.filter(|_| way.shape != Shape::None).map(|framing| UsageReader::new(way.shape, framing));
    response.body_mut().count(reader, hides);
    answer::clean(&mut response, &head.provider);
    Ok(response.map(|stream| Outgoing::Stream(Box::new(stream))))
}

/// The request as the provider is to see it, but for its host and the key.
fn outgoing(head: &Head, way: &Way, upload: Upload) -> Request<Upload> {
    let body = if head.websocket { Empty::new().map_err(|never| match never {}).boxed_unsync() } else { upload };
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

/// An answer that carries the key in its head, or that nobody can look into, goes no further.
fn checked(session: &Session, response: &mut Response<Stream>) -> Result<(), Refusal> {
    let upstream = || Refusal::new(Code::Upstream, session.broker().request_id());
    let coding = response.headers().get(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(upstream().saying("the provider compressed its answer, which was asked for in the clear"));
    }
    let passage = response.body().passage();
    if response.headers().values().any(|value| passage.is_in(value.as_bytes())) {
        passage.echoed();
        return Err(upstream());
    }
    Ok(())
}

fn content_type<B>(response: &Response<B>) -> Option<&str> {
    response.headers().get(header::CONTENT_TYPE)?.to_str().ok()
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
