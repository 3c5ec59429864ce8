//! Accepting: a slot is taken before a connection is; what goes wrong is the peer's, a shortage, or the end.

use super::{
    Door, EndpointOptions,
    connection::{House, attend},
};
use crate::{broker::Broker, clock::Clock, sys::scrub};
use nix::errno::Errno;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::UnixListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tracing::{error, warn};

/// A socket that is served.
pub struct Server {
    accepting: JoinHandle<()>,
    closing: watch::Sender<bool>,
}

/// Serves a socket until the server is drained. The listener comes from outside, so that tests choose it.
pub fn serve(listener: UnixListener, door: Door, broker: Broker, clock: Clock, options: EndpointOptions) -> Server {
    let (closing, closed) = watch::channel(false);
    let turned_away = Arc::new(Semaphore::new(16));
    let house = Arc::new(House { broker, door, options, clock, turned_away });
    Server { accepting: scrub::spawn(accept(listener, house, closed)), closing }
}

impl Server {
    /// Accepts nothing more, lets answers that are under way end, and gives up on them after `within`.
    pub async fn drain(self, within: Duration) {
        self.closing.send_replace(true);
        self.accepting.abort();
        // Every connection holds a receiver.
        let _ = tokio::time::timeout(within, self.closing.closed()).await;
    }
}

async fn accept(listener: UnixListener, house: Arc<House>, closing: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(house.options.connections));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (house, closing) = (house.clone(), closing.clone());
                scrub::spawn(async move {
                    attend(house, stream, closing).await;
                    drop(slot);
                });
            }
            Err(fault) => match class(&fault) {
                Class::Peer => {}
                Class::Shortage => {
                    warn!(%fault, "short of something; accepting again in a moment");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Class::Fatal => {
                    error!(%fault, socket = house.door.name(), "the socket can accept no more");
                    return;
                }
            },
        }
    }
}

/// Whose fault it is: accept(2).
enum Class {
    Peer,
    Shortage,
    Fatal,
}

fn class(fault: &io::Error) -> Class {
    match fault.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ECONNABORTED | Errno::EINTR | Errno::EPERM | Errno::EPROTO) => Class::Peer,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => Class::Shortage,
        _ => Class::Fatal,
    }
}
