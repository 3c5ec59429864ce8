//! One request through the gateway, from its head to the provider's: the only way there is, for every method, path and
//! upgrade. It reads no rule and holds no key; it asks the broker.

use super::{
    GatewayOptions,
    answer::{self, Outgoing},
    arriving::{Arriving, Broken, Course},
    connection::Running,
    head::{Bad, Head, written},
    inspect::{Inspected, Need, inspect, tell_length},
    key::{self, KeyFault},
    plain::{coding, strip_packed},
    stream::Stream,
    upgrade::{self, Websocket},
    web,
};
use crate::{
    broker::{self, Session, Upload, Way},
    model::{Code, Refusal, Shape},
    wire::{Framing, UsageReader},
};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{self, HeaderName, HeaderValue},
};
use std::sync::{Mutex, PoisonError};

/// How a request came.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    /// The Unix socket, which no web page can reach.
    Unix,
    /// TCP.
    Tcp,
}

/// What a call and the connection that it came by know of each other.
pub(super) struct Told {
    /// How the connection came.
    pub(super) by: By,
    /// What would cut the call.
    pub(super) running: Running,
    /// What the connection becomes when it has been answered.
    pub(super) websocket: Mutex<Option<Websocket>>,
    /// How far the body has come.
    pub(super) course: Course,
}

/// Passes one request on.
pub(super) async fn forward(
    session: &Session,
    options: &GatewayOptions,
    request: Request<Incoming>,
    told: &Told,
) -> Response<Outgoing> {
    told.running.over();
    let target = request.uri().clone();
    match passed(session, options, request, told).await {
        Ok(response) => response,
        Err(refusal) => {
            // Nothing runs that could be cut: this answer has its time.
            told.running.over();
            answer::refusal(session.broker().shape(target.path()), &refusal)
        }
    }
}

async fn passed(
    session: &Session,
    options: &GatewayOptions,
    mut request: Request<Incoming>,
    told: &Told,
) -> Result<Response<Outgoing>, Refusal> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let body = Arriving::new(body, options.upload_idle, &told.course);
    if matches!(told.by, By::Tcp) {
        let id = session.broker().request_id();
        web::check(&parts.headers, &options.origins).map_err(|why| Refusal::new(Code::Denied, id).saying(why))?;
    }
    if session.is_wary() {
        session.look_at(key::shown(&parts.headers, parts.uri.query())).await;
    }
    let mut head = Head::read(parts).map_err(|bad| badly(session, bad))?;
    let key = head.key.presented(&options.narrowed).map_err(|fault| badly(session, Bad::Key(fault)))?;
    let holding = session.holding(&key, &head.call()).await?;
    let way = holding.way().cloned().ok_or_else(|| malformed(session, "nothing is there"))?;
    if head.websocket && !way.websocket {
        return Err(malformed(session, "no websocket is there"));
    }
    let need = if holding.wants_look() { Need::Judged } else { Need::Counted };
    let Inspected { upload, length, seen, fate } = inspect(&head, &way, body, need, options)
        .await
        .map_err(|bad| Refusal::new(bad.code, session.broker().request_id()).saying(bad.why))?;
    let body = seen.as_ref().zip(length).map(|(seen, bytes)| broker::Body {
        models: &seen.models,
        max_output: seen.max_output,
        answers: seen.answers,
        bytes,
    });
    let mut passage = holding.pass(&head.call(), body).await?;
    told.running.begin(passage.cut());
    let mut request = outgoing(&mut head, &way, upload);
    tell_length(&mut request, length);
    let silent = told.course.stands(options.answer_idle);
    let answered = passage.call(request, silent).await;
    let response = answered.map_err(|refusal| fate.broken().map_or(refusal, |why| broken(session, why)))?;
    let hides = seen.is_some_and(|seen| seen.edit.is_some());
    let mut response = response.map(|body| Stream::new(body, passage, options.answer_idle));
    checked(session, &mut response, head.websocket)?;
    if let Ok(Some(coding)) = coding(response.headers()) {
        response.body_mut().unpack(coding, options.unpack);
        strip_packed(response.headers_mut());
    }
    answer::clean(&mut response, &head.provider);
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        told.course.switch();
        let (answer, websocket) = upgrade::join(response, upgrade);
        *told.websocket.lock().unwrap_or_else(PoisonError::into_inner) = Some(websocket);
        return Ok(answer);
    }
    let framing = content_type(&response).and_then(Framing::of);
    let reader = framing.filter(|_| way.shape != Shape::None).map(|framing| UsageReader::new(way.shape, framing));
    response.body_mut().count(reader, hides);
    if response.body().size_hint().exact().is_none() {
        // What is not known any more, or was told beside another framing.
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let stream = response.body();
    told.running.answers(stream.passage().cut(), stream.gone().clone());
    Ok(response.map(|stream| Outgoing::Stream(Box::new(stream))))
}

/// The request as the provider is to see it, but for its host and the key.
fn outgoing(head: &mut Head, way: &Way, upload: Upload) -> Request<Upload> {
    let body = if head.websocket { Empty::new().map_err(|never| match never {}).boxed_unsync() } else { upload };
    head.drop_words(&way.drop);
    let mut request = Request::new(body);
    request.method_mut().clone_from(&head.method);
    *request.headers_mut() = std::mem::take(&mut head.headers);
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

/// An answer that carries the key in its head, that nobody can look into, or that switches to what nobody asked for, goes
/// no further.
fn checked(session: &Session, response: &mut Response<Stream>, websocket: bool) -> Result<(), Refusal> {
    let upstream = || Refusal::new(Code::Upstream, session.broker().request_id());
    let headers = response.headers();
    let only = |name: HeaderName, word: &str| {
        headers.get_all(name).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(word.as_bytes()))
    };
    let opaque = coding(headers).is_err() || !only(header::TRANSFER_ENCODING, "chunked");
    if opaque || headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err(upstream().saying("the provider packed its answer in a way that cannot be looked into"));
    }
    let to_websocket = websocket && headers.contains_key(header::UPGRADE) && only(header::UPGRADE, "websocket");
    if response.status() == StatusCode::SWITCHING_PROTOCOLS && !to_websocket {
        return Err(upstream());
    }
    if response.body().passage().is_in(&written(headers)) {
        response.body_mut().echoed();
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

/// Why a call came to nothing whose body broke off.
fn broken(session: &Session, why: Broken) -> Refusal {
    match why {
        Broken::Leaked => badly(session, Bad::Key(KeyFault::Leaked)),
        Broken::Silent => malformed(session, "nothing more came of the body for as long as `upload_idle` allows"),
    }
}

fn badly(session: &Session, bad: Bad) -> Refusal {
    match bad {
        Bad::Key(fault) => answer::key_fault(fault, session.broker().request_id()),
        Bad::Form(why) => malformed(session, why),
    }
}
