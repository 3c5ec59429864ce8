//! The pretend Model Studio's sockets: accept, shake hands, serve, and end as ordered.
//!
//! It must never outlive its [`Studio`](super::Studio): when the last handle is dropped every connection ends.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Desk;
use super::call::{self, Dropped};
use super::fault::{Fault, Moment};
use super::socket;
use crate::sys::scrub::spawn;

/// Pause after an accept that failed for want of file descriptors or memory.
const BREATH: Duration = Duration::from_millis(20);

/// What the handle tells the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Serve; those connected under another number hang up.
    Serve(u64),
    /// Close the listener and every connection.
    Stop,
}

/// Accepts until told to stop.
pub(super) async fn listen(
    listener: TcpListener,
    server: Option<Arc<ServerConfig>>,
    desk: Arc<Desk>,
    mut orders: watch::Receiver<Order>,
) {
    loop {
        let stream = tokio::select! {
            () = stopped(&mut orders) => return,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, _)) => {
                drop(spawn(connection(stream, server.clone(), Arc::clone(&desk), orders.clone())));
            }
            Err(_) => sleep(BREATH).await,
        }
    }
}

async fn stopped(orders: &mut watch::Receiver<Order>) {
    // A sender that is gone stops us as well.
    let _ = orders.wait_for(|order| *order == Order::Stop).await;
}

/// Serves one connection until it ends, is told to end, or the handle hangs up on all of them.
async fn connection(
    stream: TcpStream,
    server: Option<Arc<ServerConfig>>,
    desk: Arc<Desk>,
    mut orders: watch::Receiver<Order>,
) {
    desk.counters.connections.add();
    let _inside = desk.counters.open.enter();
    if *orders.borrow_and_update() == Order::Stop {
        return;
    }
    tokio::select! {
        _ = orders.changed() => {}
        () = greet(stream, server, &desk) => {}
    }
}

async fn greet(stream: TcpStream, server: Option<Arc<ServerConfig>>, desk: &Arc<Desk>) {
    let _ = stream.set_nodelay(true);
    match desk.fault(None, Moment::Accept) {
        Some(Fault::ResetOnAccept) => return reset(&stream),
        Some(Fault::HangOnAccept) => return sleep(Duration::MAX).await,
        _ => {}
    }
    let Some(server) = server else { return serve(stream, desk).await };
    if let Ok(stream) = TlsAcceptor::from(server).accept(stream).await {
        desk.counters.handshakes.add();
        if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
            desk.counters.resumptions.add();
        }
        serve(stream, desk).await;
    }
}

/// Speaks HTTP/1.1 until the client leaves or a call says how the connection is to end.
async fn serve<S: Wire>(stream: S, desk: &Arc<Desk>) {
    let switched = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| {
        let (desk, switched) = (Arc::clone(desk), Arc::clone(&switched));
        Box::pin(async move {
            let answer = call::answer(&desk, request).await;
            let switches = answer.as_ref().is_ok_and(|answer| answer.status() == StatusCode::SWITCHING_PROTOCOLS);
            switched.store(switches, Ordering::Relaxed);
            answer
        })
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    match ended {
        Ok(()) if switched.load(Ordering::Relaxed) => {
            let _ = socket::talk(&mut stream, parts.read_buf.to_vec()).await;
            drop(stream.shutdown().await);
        }
        Ok(()) => drop(stream.shutdown().await),
        Err(error) if dropped(&error) == Some(Dropped::Reset) => reset(stream.tcp()),
        Err(_) => {}
    }
}

fn dropped(error: &hyper::Error) -> Option<Dropped> {
    std::error::Error::source(error)?.downcast_ref().copied()
}

/// A socket that lingers for no time sends RST when it is closed (socket(7)).
fn reset(stream: &TcpStream) {
    let _: io::Result<()> = stream.set_zero_linger();
}

/// A stream that HTTP is spoken on, with or without TLS.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}
