//! One call, from its head to its answer: which path, who asks, which fault was ordered, what to say.
//!
//! It must never let a dead or unknown credential through, whatever fault was ordered.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::answer::{self, Dialect, No, json_answer};
use super::books::{Digest, Standing, digest};
use super::fault::{Fault, Moment};
use super::reel::Reel;
use super::{Desk, gemini, messages, model, socket};

/// Largest request body that is read.
const LARGEST_BODY: usize = 32 << 20;
/// Lifetimes that the vendor documents for `expire_in_seconds`.
const TTL: std::ops::RangeInclusive<u64> = 1..=1800;
const DEFAULT_TTL: u64 = 60;

/// Why a connection ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Dropped {
    #[error("closed on order")]
    Close,
    #[error("reset on order")]
    Reset,
    #[error("the request broke off")]
    Broken,
}

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Mint,
    Chat,
    Generation,
    Models,
    Messages,
    Gemini,
    Socket,
}

struct Call {
    purpose: Option<Purpose>,
    dialect: Dialect,
    head: Parts,
    body: Vec<u8>,
    credential: Option<Digest>,
}

/// Reads the request and answers it, or says how the connection is to end.
pub(super) async fn answer(desk: &Desk, request: Request<Incoming>) -> Result<Response<Reel>, Dropped> {
    let _inside = desk.counters.busy.enter();
    desk.counters.requests.add();
    let (head, body) = request.into_parts();
    let dialect = dialect(head.uri.path());
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => body.to_bytes().to_vec(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => return Ok(answer::TOO_LARGE.say(dialect)),
        Err(_) => return Err(Dropped::Broken),
    };
    let credential = credential(&head.headers).map(digest);
    let call = Call { purpose: purpose(head.uri.path()), dialect, head, body, credential };
    match desk.fault(call.credential, call.moment()) {
        Some(fault) => call.spoiled(desk, fault).await,
        None => Ok(call.answered(desk, None)),
    }
}

impl Call {
    fn moment(&self) -> Moment {
        if self.purpose == Some(Purpose::Mint) { Moment::Mint } else { Moment::Use }
    }

    /// The answer with an ordered fault in it.
    async fn spoiled(self, desk: &Desk, fault: Fault) -> Result<Response<Reel>, Dropped> {
        if let Some(no) = refusal(fault) {
            return Ok(no.say(self.dialect));
        }
        match fault {
            Fault::Garbage => Ok(answer::typed("application/json", Reel::whole(b"<html>{\"token\": st".to_vec()))),
            Fault::Huge(bytes) => Ok(json_answer(&json!({"token": "st-".to_owned() + &"x".repeat(bytes)}))),
            Fault::Redirect => Ok(redirect()),
            Fault::SlowHead(pause) => {
                sleep(pause).await;
                Ok(self.answered(desk, None))
            }
            Fault::SlowBody(pause) => Ok(self.answered(desk, None).map(|body| body.slowly(pause))),
            Fault::EchoBody => Ok(self.echoed()),
            Fault::EchoHead => Ok(self.with_header(desk, "x-debug-request", self.head.headers.get(AUTHORIZATION))),
            Fault::Compressed => {
                Ok(self.with_header(desk, "content-encoding", Some(&HeaderValue::from_static("gzip"))))
            }
            Fault::CutBody => Ok(self.answered(desk, None).map(Reel::cut)),
            Fault::Hang => {
                sleep(Duration::MAX).await;
                Err(Dropped::Close)
            }
            Fault::CloseOnRequest => Err(Dropped::Close),
            Fault::ResetOnRequest => Err(Dropped::Reset),
            other => Ok(self.answered(desk, Some(other))),
        }
    }

    /// What a careless provider's debug page shows.
    fn echoed(&self) -> Response<Reel> {
        let said = self.head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        json_answer(&json!({ "you_sent": { "authorization": said }, "more": "x".repeat(200) }))
            .map(|body| body.slowly(Duration::from_millis(5)))
    }

    fn with_header(&self, desk: &Desk, name: &'static str, value: Option<&HeaderValue>) -> Response<Reel> {
        let mut answer = self.answered(desk, None);
        if let Some(value) = value {
            answer.headers_mut().insert(name, value.clone());
        }
        answer
    }

    /// The documented answer; a mint may be told to go wrong in its fields.
    fn answered(&self, desk: &Desk, fault: Option<Fault>) -> Response<Reel> {
        let answer = self.authorized(desk).and_then(|key| match (self.purpose, &self.head.method) {
            (None, _) => Err(answer::NO_PATH),
            (Some(Purpose::Mint), &Method::POST) => self.minted(desk, key, fault),
            (Some(Purpose::Chat), &Method::POST) => desk.used(model::chat(&self.body, desk)),
            (Some(Purpose::Generation), &Method::POST) => desk.used(model::generation(&self.head, &self.body, desk)),
            (Some(Purpose::Messages), &Method::POST) => desk.used(messages::messages(&self.body, desk)),
            (Some(Purpose::Gemini), &Method::POST) => desk.used(gemini::generate(&self.head, &self.body, desk)),
            (Some(Purpose::Socket), &Method::GET) => desk.used(socket::switch(&self.head)),
            (Some(Purpose::Models), &Method::GET) => desk.used(Ok(model::list())),
            (Some(_), _) => Err(answer::BAD_METHOD),
        });
        answer.unwrap_or_else(|no| {
            if no.status == StatusCode::UNAUTHORIZED {
                desk.counters.unauthorized.add();
            }
            no.say(self.dialect)
        })
    }

    /// The credential, if it may make this call. A token may not mint another: undocumented, so the safe answer.
    fn authorized(&self, desk: &Desk) -> Result<Digest, No> {
        let credential = self.credential.ok_or(answer::NO_KEY)?;
        match desk.books().standing(&credential, (desk.now)()) {
            Standing::Key => Ok(credential),
            Standing::Token if self.purpose != Some(Purpose::Mint) => Ok(credential),
            Standing::Token | Standing::Nothing => Err(answer::BAD_KEY),
        }
    }

    fn minted(&self, desk: &Desk, key: Digest, fault: Option<Fault>) -> Result<Response<Reel>, No> {
        let ttl = match fault {
            Some(Fault::ExpiresIn(seconds)) => seconds,
            _ => ttl(self.head.uri.query())?,
        };
        let token = match fault {
            Some(Fault::StrangeToken) => format!("st-\"\r\nX-Evil: 1\u{7f}{}", answer::random_hex::<16>()),
            _ => format!("st-{}", answer::random_letters::<48>()),
        };
        let now = (desk.now)();
        let until = now.saturating_add(ttl);
        desk.books().enter(&token, key, until, now);
        desk.counters.mints.add();
        let mut body = json!({"token": token, "expires_at": until});
        match fault {
            Some(Fault::NoExpiry) => drop(body.as_object_mut().map(|fields| fields.remove("expires_at"))),
            Some(Fault::ZeroExpiry) => body["expires_at"] = Value::from(0),
            _ => {}
        }
        Ok(json_answer(&body))
    }
}

fn dialect(path: &str) -> Dialect {
    match path {
        _ if path.starts_with("/compatible-mode/") => Dialect::Compatible,
        _ if path.starts_with("/apps/anthropic/") => Dialect::Anthropic,
        _ if gemini::is_call(path) => Dialect::Gemini,
        _ => Dialect::Native,
    }
}

fn purpose(path: &str) -> Option<Purpose> {
    match path {
        "/api/v1/tokens" => Some(Purpose::Mint),
        "/compatible-mode/v1/chat/completions" => Some(Purpose::Chat),
        "/apps/anthropic/v1/messages" => Some(Purpose::Messages),
        "/compatible-mode/v1/models" | "/v1/models" => Some(Purpose::Models),
        "/api/v1/services/aigc/text-generation/generation" => Some(Purpose::Generation),
        socket::PATH => Some(Purpose::Socket),
        _ if gemini::is_call(path) => Some(Purpose::Gemini),
        _ => None,
    }
}

/// A bearer, or what stands where Gemini takes its key.
fn credential(headers: &HeaderMap) -> Option<&[u8]> {
    bearer(headers).or_else(|| headers.get("x-goog-api-key").map(HeaderValue::as_bytes))
}

/// The bytes after `Bearer `; the scheme's letters may be of either case (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, credential) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then_some(credential.trim_ascii())
        .filter(|credential| !credential.is_empty())
}

/// Seconds of `expire_in_seconds`: plain digits from 1 to 1800, 60 when absent.
fn ttl(query: Option<&str>) -> Result<u64, No> {
    let mut pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, asked)) = pairs.find(|(name, _)| *name == "expire_in_seconds") else { return Ok(DEFAULT_TTL) };
    let digits = !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = digits.then(|| asked.parse().ok()).flatten().filter(|seconds| TTL.contains(seconds));
    seconds.ok_or(answer::BAD_TTL)
}

fn refusal(fault: Fault) -> Option<No> {
    Some(match fault {
        Fault::Throttled => answer::THROTTLED,
        Fault::PrepaidBillOverdue => answer::OVERDUE,
        Fault::Arrearage => answer::ARREARAGE,
        Fault::BadKey => answer::BAD_KEY,
        Fault::Denied => answer::DENIED,
        Fault::CodeInOk => answer::IN_OK,
        Fault::InternalError => answer::INTERNAL,
        Fault::SystemError => answer::SYSTEM,
        _ => return None,
    })
}

fn redirect() -> Response<Reel> {
    let mut answer = Response::new(Reel::whole(Vec::new()));
    *answer.status_mut() = StatusCode::FOUND;
    answer.headers_mut().insert(LOCATION, HeaderValue::from_static("/compatible-mode/v1/models"));
    answer
}
