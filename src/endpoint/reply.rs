//! An answer before it is HTTP: status, kind, bytes, and the swap that puts a token in on the way out.

use super::body::Outgoing;
use crate::{
    model::{Code, Refusal},
    wire::{self, Encoded, swap::Swap},
};
use http_body_util::Full;
use hyper::{Response, StatusCode, body::Bytes, header::HeaderValue};
use serde::Serialize;
use tokio::{
    net::UnixStream,
    sync::mpsc::{self, OwnedPermit},
};

/// One answer.
pub(super) struct Reply {
    status: u16,
    kind: &'static str,
    body: Outgoing,
    retry_after: Option<u32>,
    allow: Option<HeaderValue>,
    /// The code of a refusal.
    refused: Option<Code>,
    is_last: bool,
    /// The protocol that the connection goes on with, and who speaks it.
    upgrade: Option<&'static str>,
    pub(super) successor: Option<OwnedPermit<UnixStream>>,
    pub(super) swap: Option<Swap>,
}

impl Reply {
    pub(super) fn json(status: u16, value: &impl Serialize) -> Self {
        Self::bytes(status, "application/json", serde_json::to_vec(value).unwrap_or_default())
    }

    pub(super) fn bytes(status: u16, kind: &'static str, body: Vec<u8>) -> Self {
        let body = Outgoing::Whole(Full::new(Bytes::from(body)));
        let (retry_after, allow, refused, swap) = (None, None, None, None);
        let (is_last, upgrade, successor) = (false, None, None);
        Self { status, kind, body, retry_after, allow, refused, is_last, upgrade, successor, swap }
    }

    /// The last answer in HTTP: the connection goes to a successor who speaks something else.
    pub(super) fn switching(upgrade: &'static str, successor: OwnedPermit<UnixStream>) -> Self {
        let none = Self::bytes(101, "application/octet-stream", Vec::new());
        Self { upgrade: Some(upgrade), successor: Some(successor), ..none }
    }

    /// An answer that carries a token.
    pub(super) fn token(status: u16, encoded: Encoded) -> Self {
        let Encoded { body, swap } = encoded;
        Self { swap: Some(swap), ..Self::bytes(status, "application/json", body) }
    }

    pub(super) fn lines(lines: mpsc::Receiver<Bytes>) -> Self {
        Self { body: Outgoing::Lines(lines), ..Self::bytes(200, "application/x-ndjson", Vec::new()) }
    }

    pub(super) fn refusal(refusal: &Refusal) -> Self {
        let body = wire::problem(refusal);
        let reply = Self::bytes(refusal.status, "application/problem+json", body);
        reply.refusing(refusal)
    }

    /// A refusal in Model Studio's own shape.
    pub(super) fn studio_error(refusal: &Refusal) -> Self {
        let (status, body) = wire::studio_error(refusal);
        let reply = Self::bytes(status, "application/json", body);
        reply.refusing(refusal)
    }

    fn refusing(self, refusal: &Refusal) -> Self {
        let is_last = refusal.is_last || is_last(refusal.code);
        Self { retry_after: refusal.after, refused: Some(refusal.code), is_last, ..self }
    }

    /// Names the methods that there are: RFC 9110 §15.5.6 wants it in a 405.
    pub(super) fn allowing(self, methods: &[&str]) -> Self {
        Self { allow: HeaderValue::from_str(&methods.join(", ")).ok(), ..self }
    }

    /// The last answer of its connection.
    pub(super) fn closing(self) -> Self {
        Self { is_last: true, ..self }
    }

    /// Why it is a refusal, if it is one.
    pub(super) fn refused(&self) -> Option<Code> {
        self.refused
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self.body, Outgoing::Lines(_))
    }

    pub(super) fn into_response(self) -> Response<Outgoing> {
        let mut response = Response::new(self.body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static(self.kind));
        headers.insert("cache-control", HeaderValue::from_static("no-store"));
        if self.is_last {
            headers.insert("connection", HeaderValue::from_static("close"));
        }
        if let Some(protocol) = self.upgrade {
            headers.insert("connection", HeaderValue::from_static("upgrade"));
            headers.insert("upgrade", HeaderValue::from_static(protocol));
        }
        if let Some(methods) = self.allow {
            headers.insert("allow", methods);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert("retry-after", HeaderValue::from(seconds));
        }
        response
    }
}

/// What was sent in a wrong place or shape may have been a secret: hyper's buffers must not keep it for the next request.
fn is_last(refused: Code) -> bool {
    matches!(refused, Code::Malformed | Code::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RequestId;

    #[test]
    fn what_came_in_a_wrong_shape_is_not_kept_for_the_next_request() {
        let last = |code| {
            let refusal = Refusal::new(code, RequestId(1));
            let replies = [Reply::refusal(&refusal), Reply::studio_error(&refusal)];
            replies.map(|reply| reply.into_response().headers().get("connection").is_some())
        };
        assert_eq!((last(Code::Malformed), last(Code::TooLarge)), ([true; 2], [true; 2]));
        assert_eq!(last(Code::Denied), [false; 2]);
    }
}
