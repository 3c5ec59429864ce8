//! One connection from admission to its end, or to the end of the lease that it uses.
//! The peer is identified before a byte is read.

use super::{
    GatewayOptions,
    answer::{Outgoing, refusal},
    forward::forward,
};
use crate::{
    broker::{Broker, Session},
    ledger::Cut,
    model::{Code, Refusal, Shape},
};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    os::fd::AsFd,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};
use tokio::{
    net::UnixStream,
    sync::{Semaphore, watch},
};

/// What connections have in common.
pub(super) struct House {
    pub(super) broker: Broker,
    pub(super) options: GatewayOptions,
    /// One for each open connection.
    pub(super) slots: Arc<Semaphore>,
    /// How many connections have ended.
    pub(super) ended: AtomicU64,
}

/// How long a call whose lease has ended may take to say so.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Serves one connection until it ends, says nothing for too long, its lease ends, or the house closes.
pub(super) async fn attend(house: Arc<House>, stream: UnixStream, mut closing: watch::Receiver<bool>) {
    let admitted = match house.broker.admit(stream.as_fd(), "gateway") {
        Err(refusal) if refusal.code != Code::Busy => return,
        admitted => admitted,
    };
    let (running, mut run) = watch::channel(None);
    let service = service_fn(|request| {
        let (admitted, options, running) = (&admitted, &house.options, &running);
        async move { Ok::<_, Infallible>(reply(admitted, options, request, running).await) }
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

async fn reply(
    admitted: &Result<Session, Refusal>,
    options: &GatewayOptions,
    request: Request<Incoming>,
    running: &watch::Sender<Option<Cut>>,
) -> Response<Outgoing> {
    match admitted {
        Ok(session) => forward(session, options, request, |cut| drop(running.send_replace(Some(cut)))).await,
        Err(busy) => refusal(Shape::None, busy),
    }
}

/// Returns a moment after the lease of the last call has ended.
async fn ended(run: &mut watch::Receiver<Option<Cut>>) {
    loop {
        let cut = run.borrow_and_update().clone();
        let cut = async {
            match cut {
                Some(mut cut) => cut.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = cut => break,
            changed = run.changed() => if changed.is_err() { std::future::pending::<()>().await },
        }
    }
    tokio::time::sleep(LAST_WORDS).await;
}
