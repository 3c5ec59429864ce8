//! Calls that are passed on: streamed both ways, over connections that are kept for the next call with the same key.
//! The key is put in below hyper, as everywhere; a connection whose answer was not read to its end is never kept.

use super::{
    CallError,
    heard::Heard,
    warm::{Connection, Pool},
};
use crate::{
    model::{Fingerprint, KeyName},
    recipe::Endpoint,
    sys::scrub,
    wire::swap::{Expect, Lend, Swap, Swaps},
};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{
    Request, Response,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    client::conn::http1::SendRequest,
    header::{HeaderName, HeaderValue},
};
use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

/// A body on its way to the provider.
pub type Upload = UnsyncBoxBody<Bytes, io::Error>;

/// Which calls may share connections: those to one place with one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lane {
    /// Where.
    pub endpoint: Endpoint,
    /// Whose.
    pub key: KeyName,
    /// Which of that name's keys: a rotated one begins anew.
    pub fingerprint: Fingerprint,
}

/// The one place where the key is put in.
pub struct Inject {
    /// Lower-case.
    pub header: HeaderName,
    /// What stands before the key in it.
    pub prefix: String,
    /// The key's bytes.
    pub length: usize,
    /// Puts it in; asked anew where the call is tried on another connection.
    pub lend: Box<dyn Fn() -> Box<dyn Lend> + Send>,
}

/// A connection that has had its last answer read to the end.
struct Idle {
    sender: SendRequest<Upload>,
    swaps: Swaps,
    heard: Heard,
    /// Whether it was here when the sweeper last came.
    seen: bool,
}

type Kept = HashMap<Lane, Vec<Idle>>;

/// The connections that are kept between calls.
#[derive(Clone)]
pub(super) struct Lanes {
    pool: Pool,
    kept: Arc<Mutex<Kept>>,
    idle: Duration,
    /// For one lane.
    most: usize,
}

impl Lanes {
    pub(super) fn new(pool: Pool, idle: Duration, most: usize) -> Self {
        Self { pool, kept: Arc::default(), idle, most }
    }

    /// Makes one call; a kept connection that turns out to be closed costs another try, and nothing is sent twice.
    pub(super) async fn call(
        &self,
        lane: Lane,
        mut request: Request<Upload>,
        inject: Inject,
    ) -> Result<Response<Download>, CallError> {
        let host = || lane.endpoint.to_string();
        loop {
            let (mut idle, fresh) = match self.take(&lane) {
                Some(idle) => (idle, false),
                None => (self.open(&lane.endpoint).await?, true),
            };
            let swap =
                Swap::new(inject.length, (inject.lend)(), Expect::InNextWrite).map_err(|_| CallError::Request)?;
            let value = HeaderValue::from_str(&format!("{}{}", inject.prefix, swap.placeholder()));
            request.headers_mut().insert(inject.header.clone(), value.map_err(|_| CallError::Request)?);
            idle.swaps.arm(swap);
            idle.heard.forget();
            match idle.sender.try_send_request(request).await {
                Ok(response) => {
                    let back = Some(Back { lanes: self.clone(), lane, idle });
                    return Ok(response.map(|body| Download { body, back }));
                }
                Err(mut fault) => match fault.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    _ => return Err(super::why(fault.error(), &idle.heard, host())),
                },
            }
        }
    }

    /// Drops what is kept.
    pub(super) fn clear(&self) {
        self.kept().clear();
    }

    fn take(&self, lane: &Lane) -> Option<Idle> {
        let mut kept = self.kept();
        let idle = kept.get_mut(lane)?;
        while let Some(mut one) = idle.pop() {
            if one.sender.is_ready() {
                one.seen = false;
                return Some(one);
            }
        }
        None
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<Idle, CallError> {
        let connection: Connection = self.pool.connect(endpoint).await?;
        let (swaps, heard) = (Swaps::default(), Heard::default());
        let (sender, driver) = connection
            .handshake(swaps.clone(), heard.clone())
            .await
            .map_err(|_| CallError::Unanswered(endpoint.to_string()))?;
        scrub::spawn_shallow(async move {
            let _ = driver.with_upgrades().await;
        });
        Ok(Idle { sender, swaps, heard, seen: false })
    }

    fn keep(&self, lane: Lane, idle: Idle) {
        let mut kept = self.kept();
        let alone = kept.is_empty();
        let lane = kept.entry(lane).or_default();
        if lane.len() < self.most {
            lane.push(idle);
        }
        drop(kept);
        if alone {
            scrub::spawn_shallow(self.clone().sweep());
        }
    }

    /// Drops connections that nobody took for one to two idle limits; ends when there are none.
    async fn sweep(self) {
        loop {
            tokio::time::sleep(self.idle).await;
            let mut kept = self.kept();
            for lane in kept.values_mut() {
                lane.retain_mut(|idle| !std::mem::replace(&mut idle.seen, true) && !idle.sender.is_closed());
            }
            kept.retain(|_, lane| !lane.is_empty());
            if kept.is_empty() {
                return;
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Back {
    lanes: Lanes,
    lane: Lane,
    idle: Idle,
}

/// An answer's body. Read to its end, it gives its connection back; dropped before that, it closes it, and with it
/// what the provider still does for the call.
pub struct Download {
    body: Incoming,
    back: Option<Back>,
}

impl Download {
    /// Its connection is not kept, however much of it is read.
    pub fn close(&mut self) {
        self.back = None;
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Some(Back { lanes, lane, idle }) = self.back.take_if(|_| self.body.is_end_stream()) {
            lanes.keep(lane, idle);
        }
    }
}
