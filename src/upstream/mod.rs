//! The one HTTP and TLS client, and the one place where a key meets a header.
//! It follows no redirect, keeps no used connection, reads no more than its bound, and never sees the key: the layer
//! below hyper puts it in.

mod address;
mod heard;
mod reached;
mod relay;
mod tls;
mod warm;

pub use address::Private;
pub use reached::Reached;
pub use relay::{Download, Inject, Lane, Upload};
pub use tls::TlsError;

use crate::{
    clock::Clock,
    recipe::{Call, Expects},
    sys::scrub,
    wire::swap::{Expect, Lend, Swap, Swaps},
};
use heard::Heard;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    rt::Write,
};
use relay::Lanes;
use std::{collections::BTreeMap, future::poll_fn, path::PathBuf, pin::Pin, time::Duration};
use tokio::{task::JoinHandle, time::timeout};
use warm::{Connection, Pool};
use zeroize::Zeroizing;

/// What the client needs to know.
#[derive(Debug, Clone)]
pub struct UpstreamOptions {
    /// Added to the built-in roots.
    pub ca_file: Option<PathBuf>,
    /// For TCP and TLS.
    pub connect_time: Duration,
    /// For a whole call.
    pub total_time: Duration,
    /// The largest answer, in bytes.
    pub body_bytes: usize,
    /// How long a connection that was never used is kept ready.
    pub warm_idle: Duration,
    /// Connections to one place with one key that are kept between calls.
    pub kept_connections: usize,
    /// Whether a provider's name may lead into a private network.
    pub private: Private,
    /// The ports that are connected to; none: any.
    pub ports: Vec<u16>,
}

/// A provider's answer.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// At most `body_bytes`; nothing where the call expects a status alone.
    pub body: Zeroizing<Vec<u8>>,
}

/// Why there is no answer. No variant carries a byte that was sent or received.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Not even a connection: nothing was sent.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, std::io::Error),
    /// TCP or TLS took too long: nothing was sent.
    #[error("connecting to {0} took longer than `connect_time`")]
    ConnectTime(String),
    /// The connection broke before a byte of an answer: it was not answered.
    #[error("{0} closed the connection without an answer")]
    Unanswered(String),
    /// The key was taken away or changed before it was sent.
    #[error("the key changed before the request was sent")]
    KeyChanged,
    /// Anything after the first byte of an answer.
    #[error("the answer of {0} broke off or is no HTTP")]
    Broken(String),
    /// The answer is larger than `body_bytes`.
    #[error("the answer of {0} is larger than `body_bytes` allows")]
    TooLarge(String),
    /// `total_time` is over.
    #[error("{0} did not answer within `total_time`")]
    TimedOut(String),
    /// The request could not be built, or no random number was to be had.
    #[error("the request could not be built")]
    Request,
}

impl CallError {
    /// Whether the provider is known not to have answered, so that asking once more does nothing twice.
    pub fn surely_unanswered(&self) -> bool {
        match self {
            CallError::Connect(..) | CallError::ConnectTime(_) | CallError::Unanswered(_) | CallError::KeyChanged => {
                true
            }
            CallError::Broken(_) | CallError::TooLarge(_) | CallError::TimedOut(_) | CallError::Request => false,
        }
    }
}

/// The client. Clones share the connections that are kept ready.
#[derive(Clone)]
pub struct Upstream {
    pool: Pool,
    lanes: Lanes,
    reached: reached::Memory,
    options: UpstreamOptions,
}

impl Upstream {
    /// A client with its trust anchors read.
    pub fn new(options: UpstreamOptions, clock: Clock) -> Result<Self, TlsError> {
        let tls = tls::client(options.ca_file.as_deref())?;
        let pool = Pool::new(tls, &options);
        let idle = options.warm_idle.max(Duration::from_secs(1));
        let lanes = Lanes::new(pool.clone(), idle, options.kept_connections);
        Ok(Self { pool, lanes, reached: reached::Memory::new(clock), options })
    }

    /// Whether a port may be connected to.
    pub fn dials(&self, port: u16) -> bool {
        self.pool.dials(port)
    }

    /// Makes one call on a connection of its own; `key` is put in while the head is written.
    pub async fn call(&self, call: &Call, key_length: usize, key: Box<dyn Lend>) -> Result<Answer, CallError> {
        let host = call.endpoint.to_string();
        let whole = async {
            let connection = self.pool.take(&call.endpoint).await?;
            let answer = self.exchange(connection, call, key_length, key).await;
            self.pool.warm_up(&call.endpoint);
            answer
        };
        let outcome = timeout(self.options.total_time, whole).await.unwrap_or(Err(CallError::TimedOut(host)));
        self.reached.note(&call.endpoint, &outcome);
        outcome
    }

    /// Passes one call on and streams its answer; `inject` is put in while the head is written.
    pub async fn relay(
        &self,
        lane: Lane,
        request: Request<Upload>,
        inject: Inject,
    ) -> Result<Response<Download>, CallError> {
        let endpoint = lane.endpoint.clone();
        let outcome = self.lanes.call(lane, request, inject).await;
        self.reached.note(&endpoint, &outcome);
        outcome
    }

    /// How asking each endpoint went, by its name.
    pub fn reached(&self) -> BTreeMap<String, Reached> {
        self.reached.all()
    }

    /// Drops the connections that are kept.
    pub fn cool(&self) {
        self.pool.cool();
        self.lanes.clear();
    }

    async fn exchange(
        &self,
        connection: Connection,
        call: &Call,
        key_length: usize,
        key: Box<dyn Lend>,
    ) -> Result<Answer, CallError> {
        let host = || call.endpoint.to_string();
        let swap = Swap::new(key_length, key, Expect::InNextWrite).map_err(|_| CallError::Request)?;
        let request = request(call, swap.placeholder())?;
        let swaps = Swaps::default();
        swaps.arm(swap);
        let heard = Heard::default();
        let handshake = connection.handshake(swaps, heard.clone()).await;
        let (mut sender, driver) = handshake.map_err(|_| CallError::Unanswered(host()))?;
        let most = self.options.total_time;
        let driver = Aborted(Some(scrub::spawn_shallow(async move {
            let Ok(Ok(mut parts)) = timeout(most, driver.without_shutdown()).await else { return };
            // Who asked has its answer first: to close TLS and TCP takes as long as to write it.
            tokio::task::yield_now().await;
            let closed = poll_fn(|cx| Pin::new(&mut parts.io).poll_shutdown(cx));
            let _ = timeout(most, closed).await;
        })));
        let answer = sender.send_request(request).await.map_err(|fault| why(&fault, &heard, host()))?;
        let answer = match call.expects {
            Expects::Body => self.read(answer, host()).await?,
            // What is not read does not end by itself.
            Expects::Status => return Ok(Answer { status: answer.status().as_u16(), body: Zeroizing::default() }),
        };
        driver.let_end();
        Ok(answer)
    }

    async fn read(&self, answer: Response<Incoming>, host: String) -> Result<Answer, CallError> {
        let status = answer.status().as_u16();
        let mut body = Limited::new(answer.into_body(), self.options.body_bytes);
        let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
        while !body.is_end_stream()
            && let Some(frame) = body.frame().await
        {
            let frame = frame.map_err(|fault| match fault.is::<http_body_util::LengthLimitError>() {
                true => CallError::TooLarge(host.clone()),
                false => CallError::Broken(host.clone()),
            })?;
            if let Some(data) = frame.data_ref() {
                bytes.extend_from_slice(data);
            }
        }
        Ok(Answer { status, body: bytes })
    }
}

fn request(call: &Call, placeholder: &str) -> Result<Request<Empty<hyper::body::Bytes>>, CallError> {
    let request = Request::builder()
        .method(call.method.as_str())
        .uri(call.target.as_str())
        .header("host", call.endpoint.authority())
        .header("user-agent", concat!("sixty/", env!("CARGO_PKG_VERSION")))
        .header("accept", "application/json")
        .header("connection", "close")
        .header("content-length", "0")
        .header(call.header.as_str(), format!("{}{placeholder}", call.prefix));
    let headed = call.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    headed.body(Empty::new()).map_err(|_| CallError::Request)
}

/// hyper's error → ours. Its text is not kept: it could quote what was received.
fn why(fault: &hyper::Error, heard: &Heard, host: String) -> CallError {
    use std::error::Error;
    let swap = fault.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    if swap.is_some_and(|fault| fault.kind() == std::io::ErrorKind::Other) {
        CallError::KeyChanged
    } else if heard.anything() {
        CallError::Broken(host)
    } else {
        CallError::Unanswered(host)
    }
}

/// A task that ends with its owner.
struct Aborted(Option<JoinHandle<()>>);

impl Aborted {
    /// Lets it end by itself: a connection that has given its whole answer is closed by whoever drives it.
    fn let_end(mut self) {
        self.0 = None;
    }
}

impl Drop for Aborted {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
