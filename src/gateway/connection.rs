//! One connection from admission to its end, or to the end of the lease that it uses.
//! The peer is identified before a byte is read.

use super::{
    GatewayOptions,
    answer::refusal,
    arriving::Course,
    forward::{By, Told, forward},
    line::{Line, Lingering},
    stream::Gone,
};
use crate::{
    broker::{Broker, Session},
    ledger::Cut,
    model::{Code, Refusal, Shape},
    sys::closing::{Closing, closed},
};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    future::{Future, pending, poll_fn},
    os::fd::AsFd,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// What connections have in common.
pub struct House {
    pub(super) broker: Broker,
    pub(super) options: GatewayOptions,
}

/// How long a call whose lease has ended may take to say so.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What is read of a body at once, in bytes; hyper begins with less, and grows to it while there is more.
const BODY_PIECE: usize = 64 * 1024;

/// The call that a connection makes now, as far as it may have to be cut.
#[derive(Default)]
pub(super) struct Running(Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>);

impl Running {
    /// A call begins. Told by the connection's own task, whose next poll looks at it.
    pub(super) fn begin(&self, mut cut: Cut) {
        *self.lock() = Some(Box::pin(async move {
            cut.wait().await;
            tokio::time::sleep(LAST_WORDS).await;
        }));
    }

    /// Its answer begins: from now on there are no last words.
    pub(super) fn answers(&self, mut cut: Cut, gone: Gone) {
        *self.lock() = Some(Box::pin(async move {
            cut.wait().await;
            if gone.told() {
                // The connection may serve the next lease.
                pending().await
            }
        }));
    }

    /// The last call is over, and so is what would have cut it.
    pub(super) fn over(&self) {
        *self.lock() = None;
    }

    /// Returns when the lease of the last call has ended: a moment later while nothing was answered, and not at all when
    /// all was, or when another call has begun.
    async fn ended(&self) {
        poll_fn(|cx| self.lock().as_mut().map_or(Poll::Pending, |running| running.as_mut().poll(cx))).await;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pin<Box<dyn Future<Output = ()> + Send>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Identifies a connection and serves it. Who cannot be identified is told nothing.
pub(super) async fn attend(house: Arc<House>, stream: UnixStream, closing: Closing) -> Option<UnixStream> {
    match house.broker.admit(stream.as_fd(), "gateway") {
        Err(refusal) if refusal.code != Code::Busy => None,
        admitted => serve(&house, By::Unix, admitted, stream, closing).await,
    }
}

/// The same for one that came by TCP.
pub(super) async fn attend_tcp(house: Arc<House>, stream: TcpStream, closing: Closing) -> Option<TcpStream> {
    match house.broker.admit_tcp(stream.as_fd(), "gateway").await {
        Err(refusal) if refusal.code != Code::Busy => None,
        admitted => {
            // Events of a stream are small, and each is awaited.
            let _ = stream.set_nodelay(true);
            serve(&house, By::Tcp, admitted, stream, closing).await
        }
    }
}

/// Serves one connection until it ends, says nothing for too long, its lease ends, or the house closes. A websocket is
/// the same connection, and has its place until it ends.
async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    house: &House,
    by: By,
    admitted: Result<Session, Refusal>,
    stream: S,
    mut closing: Closing,
) -> Option<S> {
    let told = Told { by, running: Running::default(), websocket: Mutex::default(), course: Course::default() };
    let resting = speak(house, &admitted, stream, &told, &mut closing).await;
    let websocket = told.websocket.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(websocket) = websocket {
        tokio::select! {
            () = websocket.pass() => {}
            _ = closed(&mut closing) => {}
        }
    }
    resting
}

/// Speaks HTTP. Gives back a connection at rest when the house moves.
async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    house: &House,
    admitted: &Result<Session, Refusal>,
    stream: S,
    told: &Told,
    closing: &mut Closing,
) -> Option<S> {
    let service = service_fn(|request| async move {
        Ok::<_, Infallible>(match admitted {
            Ok(session) => forward(session, &house.options, request, told).await,
            Err(busy) => refusal(Shape::None, busy),
        })
    });
    let GatewayOptions { taking_idle, lingering, .. } = house.options;
    // Who is told `busy` has no place to keep while more comes.
    let lingering = Lingering { bytes: if admitted.is_ok() { lingering.bytes } else { 0 }, ..lingering };
    let stream = Line::new(stream, taking_idle, lingering, told.course.clone());
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(house.options.idle_time)
        .keep_alive(admitted.is_ok())
        .max_header_size(house.options.header_bytes)
        .max_buf_size(house.options.header_bytes.max(BODY_PIECE))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let moves = tokio::select! {
        // The connection first: a call that begins in it is then watched without another turn of this task.
        biased;
        _ = &mut connection => return None,
        () = told.running.ended() => return None,
        moves = closed(closing) => moves,
    };
    // Whoever hyper lets go of at once is at rest: it is not shut down, and goes on elsewhere.
    told.course.keep(moves && admitted.is_ok());
    Pin::new(&mut connection).graceful_shutdown();
    let over = poll_fn(|cx| Poll::Ready(Pin::new(&mut connection).poll(cx).is_ready())).await;
    if over {
        let rests = told.course.is_kept();
        let parts = connection.into_parts().filter(|parts| rests && parts.read_buf.is_empty());
        return parts.map(|parts| parts.io.into_inner().into_inner());
    }
    told.course.keep(false);
    tokio::select! {
        biased;
        _ = connection => {}
        () = told.running.ended() => {}
    }
    None
}
