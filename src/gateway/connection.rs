//! One connection from admission to its end, or to the end of the lease that it uses.
//! The peer is identified before a byte is read.

use super::{
    GatewayOptions,
    answer::refusal,
    forward::{By, Told, forward},
};
use crate::{
    broker::{Broker, Session},
    ledger::Cut,
    model::{Code, Refusal, Shape},
    sys::accept::Closing,
};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::watch,
};

/// What connections have in common.
pub struct House {
    pub(super) broker: Broker,
    pub(super) options: GatewayOptions,
}

/// How long a call whose lease has ended may take to say so.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Identifies a connection and serves it. Who cannot be identified is told nothing.
pub(super) async fn attend(house: Arc<House>, stream: UnixStream, closing: Closing) {
    match house.broker.admit(stream.as_fd(), "gateway") {
        Err(refusal) if refusal.code != Code::Busy => {}
        admitted => serve(&house, By::Unix, admitted, stream, closing).await,
    }
}

/// The same for one that came by TCP.
pub(super) async fn attend_tcp(house: Arc<House>, stream: TcpStream, closing: Closing) {
    match house.broker.admit_tcp(stream.as_fd(), "gateway").await {
        Err(refusal) if refusal.code != Code::Busy => {}
        admitted => {
            // Events of a stream are small, and each is awaited.
            let _ = stream.set_nodelay(true);
            serve(&house, By::Tcp, admitted, stream, closing).await;
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
) {
    let (running, run) = watch::channel(None);
    let told = Told { by, running, websocket: Mutex::default() };
    speak(house, &admitted, stream, (&told, run), &mut closing).await;
    let websocket = told.websocket.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(websocket) = websocket {
        tokio::select! {
            () = websocket.pass() => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }
}

/// Speaks HTTP.
async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    house: &House,
    admitted: &Result<Session, Refusal>,
    stream: S,
    (told, mut run): (&Told, watch::Receiver<Option<Cut>>),
    closing: &mut Closing,
) {
    let service = service_fn(|request| async move {
        Ok::<_, Infallible>(match admitted {
            Ok(session) => forward(session, &house.options, request, told).await,
            Err(busy) => refusal(Shape::None, busy),
        })
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(house.options.idle_time)
        .keep_alive(admitted.is_ok())
        .max_buf_size(house.options.header_bytes.max(8192))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = ended(&mut run) => return,
        _ = closing.wait_for(|closing| *closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = ended(&mut run) => {}
    }
}

/// Returns a moment after the lease of the last call has ended, unless another call has begun by then.
async fn ended(run: &mut watch::Receiver<Option<Cut>>) {
    loop {
        let cut = run.borrow_and_update().clone();
        let cut = async {
            match cut {
                Some(mut cut) => cut.wait().await,
                None => std::future::pending().await,
            }
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = cut => return,
            changed = run.changed() => if changed.is_err() { std::future::pending::<()>().await },
        }
    }
}
