//! One request through the gateway, from its head to the provider's: the only way there is, for every method, path and
//! upgrade. It reads no rule and holds no key; it asks the broker.

use super::{
    answer::{self, Outgoing, Stream},
    head::{Bad, Head},
    upgrade, web,
};
use crate::{
    broker::{Session, Upload},
    ledger::Cut,
    model::{Code, Refusal},
    policy::Use,
};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use std::io;

/// How a request came.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way<'a> {
    /// By the Unix socket, which no web page can reach.
    Unix,
    /// By TCP; these pages may call.
    Tcp {
        /// Their origins.
        origins: &'a [String],
    },
}

/// Passes one request on. `running` is told what would cut it.
pub(super) async fn forward(
    session: &Session,
    way: Way<'_>,
    request: Request<Incoming>,
    running: impl FnOnce(Cut),
) -> Response<Outgoing> {
    match passed(session, way, request, running).await {
        Ok(response) => response,
        Err(refusal) => answer::refusal(&refusal),
    }
}

async fn passed(
    session: &Session,
    way: Way<'_>,
    mut request: Request<Incoming>,
    running: impl FnOnce(Cut),
) -> Result<Response<Outgoing>, Refusal> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    if let Way::Tcp { origins } = way {
        let id = session.broker().request_id();
        web::check(&parts.headers, origins).map_err(|why| Refusal::new(Code::Denied, id).saying(why))?;
    }
    let head = Head::read(parts).map_err(|bad| badly(session, bad))?;
    let holding = session.holding(&head.key.digest(), &head.provider)?;
    let wanted = Use { method: head.method.as_str(), path: &head.path, model: None };
    let mut passage = holding.pass(&wanted)?;
    running(passage.cut());
    let websocket = head.websocket;
    let response = passage.call(outgoing(&head, body)?).await?;
    let mut response = response.map(|body| Stream { body, _passage: passage });
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return match websocket {
            true => Ok(upgrade::join(response, upgrade)),
            false => Err(Refusal::new(Code::Upstream, session.broker().request_id())),
        };
    }
    answer::clean(&mut response, &head.provider);
    Ok(response.map(|stream| Outgoing::Stream(Box::new(stream))))
}

/// The request as the provider is to see it, but for its host and the key.
fn outgoing(head: &Head, body: Incoming) -> Result<Request<Upload>, Refusal> {
    let body = if head.websocket {
        Empty::new().map_err(|never| match never {}).boxed_unsync()
    } else {
        body.map_err(io::Error::other).boxed_unsync()
    };
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.headers.clone();
    // What was a URI still is one without its first part.
    *request.uri_mut() = head.target().parse().unwrap_or_default();
    request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if head.websocket {
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    Ok(request)
}

fn badly(session: &Session, bad: Bad) -> Refusal {
    let id = session.broker().request_id();
    match bad {
        Bad::Key(fault) => answer::key_fault(fault, id),
        Bad::Form(why) => Refusal::new(Code::Malformed, id).saying(why),
    }
}
