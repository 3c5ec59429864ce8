//! What goes back: the provider's answer by a written rule, or a refusal.
//!
//! Passed: status, body, and headers that are the message's own, `www-authenticate` among them (git asks for it).
//! Dropped: what belongs to the provider's connection; `set-cookie` and `alt-svc`, which would make the client remember
//! the provider; `location`, unless it is a path, which then gets the gateway's prefix; trailers, and the reason's words.

use super::{head::strip_answer, key::KeyFault, stream::Stream};
use crate::{
    model::{Code, Refusal, RequestId, Shape},
    wire,
};
use http_body_util::Full;
use hyper::{
    Response, StatusCode, Version,
    body::{Body, Bytes, Frame, SizeHint},
    header::{self, HeaderValue},
};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

/// What goes out: something of ours, or the provider's stream with what must outlive it.
pub(super) enum Outgoing {
    Whole(Full<Bytes>),
    Stream(Box<Stream>),
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Outgoing::Whole(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Outgoing::Stream(stream) => Pin::new(&mut **stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Whole(full) => full.is_end_stream(),
            Outgoing::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Whole(full) => full.size_hint(),
            Outgoing::Stream(stream) => stream.size_hint(),
        }
    }
}

/// Applies the rule above to an answer's head.
pub(super) fn clean<B>(response: &mut Response<B>, provider: &str) {
    response.extensions_mut().remove::<hyper::ext::ReasonPhrase>();
    *response.version_mut() = Version::HTTP_11;
    let headers = response.headers_mut();
    strip_answer(headers);
    headers.remove(header::SET_COOKIE);
    headers.remove(header::ALT_SVC);
    if let Some(location) = headers.remove(header::LOCATION) {
        let path = location.to_str().ok().filter(|text| text.starts_with('/') && !text.starts_with("//"));
        if let Some(value) = path.and_then(|path| HeaderValue::from_str(&format!("/{provider}{path}")).ok()) {
            headers.insert(header::LOCATION, value);
        }
    }
}

/// A refusal, as the clients of the route that was asked for read it.
pub(super) fn refusal(shape: Shape, refusal: &Refusal) -> Response<Outgoing> {
    let (kind, body) = wire::refusal(shape, refusal);
    let mut response = Response::new(Outgoing::Whole(Full::new(body.into())));
    *response.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if refusal.is_last {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if refusal.status == 401 {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"sixty\""));
    }
    if let Some(seconds) = refusal.after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if matches!(refusal.code, Code::Malformed | Code::TooLarge) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What a fault of a request's keys is told as. Without one the client is asked for it: git sends none unasked.
pub(super) fn key_fault(fault: KeyFault, id: RequestId) -> Refusal {
    match fault {
        KeyFault::Missing => {
            Refusal::new(Code::Denied, id).at(401).saying("no virtual key: `sixty mint --kind virtual`")
        }
        KeyFault::Damaged => Refusal::new(Code::Malformed, id).saying("the virtual key was cut or mistyped"),
        KeyFault::Ticket => {
            Refusal::new(Code::Denied, id).saying("a ticket is no key: `sixty redeem` gives the key for it")
        }
        KeyFault::TooLarge => Refusal::new(Code::TooLarge, id)
            .saying("the key was narrowed more often, or by more, than `narrowed_steps` and `narrowed_bytes` allow"),
        KeyFault::Foreign => Refusal::new(Code::Denied, id).saying("the only credential here is one virtual key"),
        KeyFault::Leaked => Refusal::new(Code::Malformed, id).saying("the virtual key stands where no key belongs"),
    }
}
