//! One connection from admission to its end. The peer is identified before a byte is read; tokens go out below hyper.

use super::{
    Door, EndpointOptions,
    body::Outgoing,
    guests::Guests,
    native,
    pace::{Pace, Paced, Phase},
    reply::Reply,
};
use crate::{
    broker::{Broker, Session},
    clock::Clock,
    model::{Code, Refusal},
    sys::closing::{Closing, closed},
    wire::swap::{SwapIo, Swaps},
};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::Service};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    os::fd::AsFd,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};
use tokio::{
    net::UnixStream,
    sync::{Semaphore, mpsc::OwnedPermit},
    time::sleep,
};

/// What connections of one socket have in common.
pub struct House {
    pub(super) broker: Broker,
    pub(super) door: Door,
    pub(super) options: EndpointOptions,
    pub(super) clock: Clock,
    /// Who has a slot.
    pub(super) guests: Guests,
    /// One for each connection that is only told `busy`.
    pub(super) turned_away: Arc<Semaphore>,
}

/// What every request of a connection is given.
#[derive(Clone)]
pub(super) struct Visitor(Arc<Visit>);

struct Visit {
    house: Arc<House>,
    admitted: Result<Session, Refusal>,
    swaps: Swaps,
    pace: Pace,
    /// For whom the connection is, once it has been answered.
    successor: Mutex<Option<OwnedPermit<UnixStream>>>,
}

/// A connection as hyper has it.
type Served = http1::Connection<SwapIo<Paced<TokioIo<UnixStream>>>, Visitor>;

/// Serves one connection until it ends, takes too long, or the house closes.
pub(super) async fn attend(house: Arc<House>, stream: UnixStream, mut closing: Closing) -> Option<UnixStream> {
    let admitted = house.broker.admit(stream.as_fd(), house.door.name());
    let _away = match &admitted {
        Ok(_) => None,
        Err(refusal) if refusal.code == Code::Busy => match house.turned_away.clone().try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => return None,
        },
        // Who cannot be identified is told nothing.
        Err(_) => return None,
    };
    let welcome = admitted.is_ok();
    let (swaps, pace) = (Swaps::default(), Pace::new(house.clock.clone()));
    let _guest = house.guests.enter(&pace);
    let successor = Mutex::default();
    let visit = Visit { house: house.clone(), admitted, swaps: swaps.clone(), pace: pace.clone(), successor };
    let visitor = Visitor(Arc::new(visit));
    let visit = visitor.0.clone();
    let stream = SwapIo::new(Paced::new(TokioIo::new(stream), pace.clone()), swaps);
    let mut connection = http1::Builder::new()
        // Where secrets come in, nothing of them outlives the request.
        .keep_alive(welcome && matches!(house.door, Door::Broker))
        .max_buf_size(house.options.header_bytes.max(8192))
        .max_headers(64)
        .serve_connection(stream, visitor);
    let limits = if welcome { house.options } else { hurried(house.options) };
    let moves = tokio::select! {
        biased;
        _ = poll_fn(|cx| connection.poll_without_shutdown(cx)) => return visit.over(connection),
        () = pace.overdue(limits) => return None,
        moves = closed(&mut closing) => moves,
    };
    // A stream without an end would keep the house open for as long as it may be.
    if pace.is(Phase::Following) {
        return None;
    }
    let rests = moves && welcome && pace.rests();
    Pin::new(&mut connection).graceful_shutdown();
    if rests && poll_fn(|cx| Poll::Ready(connection.poll_without_shutdown(cx).is_ready())).await {
        return taken(connection);
    }
    tokio::select! {
        biased;
        _ = poll_fn(|cx| connection.poll_without_shutdown(cx)) => {}
        () = pace.overdue(limits) => {}
    }
    None
}

/// The stream again; none when some of a request was read from it already.
fn taken(connection: Served) -> Option<UnixStream> {
    let http1::Parts { io, read_buf, .. } = connection.into_parts();
    read_buf.is_empty().then(|| io.into_inner().into_inner().into_inner())
}

/// Who is only told `busy` gets a second for it.
fn hurried(options: EndpointOptions) -> EndpointOptions {
    let second = Duration::from_secs(1);
    EndpointOptions { header_time: second, idle_time: second, request_time: second, ..options }
}

impl Service<Request<Incoming>> for Visitor {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.0.pace.enter(Phase::Working);
        let visit = self.0.clone();
        Box::pin(async move {
            let reply = visit.reply(request).await;
            visit.pace.enter(if reply.is_stream() { Phase::Following } else { Phase::Answering });
            Ok(visit.send(reply))
        })
    }
}

impl Visit {
    /// The connection was served to its end, or goes on as something else.
    fn over(&self, connection: Served) -> Option<UnixStream> {
        let successor = self.successor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((successor, stream)) = successor.zip(taken(connection)) {
            successor.send(stream);
        }
        None
    }

    async fn reply(&self, request: Request<Incoming>) -> Reply {
        let session = match &self.admitted {
            Ok(session) => session,
            Err(refusal) => return Reply::refusal(refusal),
        };
        let options = &self.house.options;
        let answer = async {
            match &self.house.door {
                Door::Broker => native::answer(session, options, request).await,
                // Apart: each mint would carry its room.
                Door::Control(control) => Box::pin(control.answer(session, options, request)).await,
            }
        };
        tokio::select! {
            biased;
            reply = answer => reply,
            () = self.late(session) => {
                let refusal = Refusal::new(Code::Unavailable, session.broker().request_id());
                Reply::refusal(&refusal.saying("the request took longer than `request_time` allows"))
            }
        }
    }

    /// Returns when the request has taken too long. The time in which a person is asked is not counted: that has a bound
    /// of its own.
    async fn late(&self, session: &Session) {
        let mut begun = self.house.clock.boot();
        loop {
            let left = self.house.options.request_time.saturating_sub(self.house.clock.boot().since(begun));
            if left.is_zero() {
                return;
            }
            sleep(left).await;
            let asked = session.last_asked();
            if asked > begun {
                begun = asked;
                self.pace.enter(Phase::Working);
            }
        }
    }

    /// Arms the swap before hyper sees the answer.
    fn send(&self, mut reply: Reply) -> Response<Outgoing> {
        if let Some(swap) = reply.swap.take() {
            self.swaps.arm(swap);
        }
        if let Some(successor) = reply.successor.take() {
            *self.successor.lock().unwrap_or_else(PoisonError::into_inner) = Some(successor);
        }
        if let Some(code) = reply.refused() {
            self.house.broker.count_refusal(code);
        }
        reply.into_response()
    }
}
