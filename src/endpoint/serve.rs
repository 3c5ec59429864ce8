//! Accepting: a slot is taken before a connection is; what goes wrong is the peer's, a shortage, or the end.

use super::{
    Door, EndpointOptions,
    connection::{House, attend},
    guests::Guests,
};
use crate::{
    broker::Broker,
    clock::Clock,
    sys::{scrub, socket::somebody_waits},
};
use nix::errno::Errno;
use std::{
    io,
    os::{fd::AsFd, unix::net::UnixListener as StdListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{UnixListener, UnixStream},
    runtime::Handle,
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};
use tracing::{error, warn};

/// What a socket leads to. Serves any number of listeners, one after the other, on one loop or more.
#[derive(Clone)]
pub struct Entrance {
    house: Arc<House>,
    loops: Vec<Handle>,
}

/// A socket that is served.
pub struct Server {
    accepting: Vec<JoinHandle<()>>,
    closing: watch::Sender<bool>,
}

impl Entrance {
    /// An entrance whose connections are spread over these loops by the kernel.
    pub fn new(door: Door, broker: Broker, clock: Clock, options: EndpointOptions, loops: Vec<Handle>) -> Self {
        let slots = Arc::new(Semaphore::new(options.connections));
        let (turned_away, ended) = (Arc::new(Semaphore::new(TURNED_AWAY)), AtomicU64::new(0));
        let guests = Guests::default();
        Self { house: Arc::new(House { broker, door, options, clock, slots, guests, ended, turned_away }), loops }
    }

    /// How many connections have ended since it was made.
    pub fn ended(&self) -> u64 {
        self.house.ended.load(Ordering::Relaxed)
    }

    /// Serves a listener until the server is drained. It comes from outside, so that tests choose it.
    pub fn serve(&self, listener: &StdListener) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        let (closing, closed) = watch::channel(false);
        let mut accepting = Vec::with_capacity(self.loops.len());
        for each in &self.loops {
            let (listener, house, closed) = (listener.try_clone()?, self.house.clone(), closed.clone());
            accepting.push(scrub::spawn_shallow_on(each, accept(listener, house, closed)));
        }
        Ok(Server { accepting, closing })
    }
}

/// Connections that are only told `busy`: so few that they cannot take the places of others.
const TURNED_AWAY: usize = 16;

impl Server {
    /// Accepts nothing more, lets answers that are under way end, and gives up on them after `within`.
    pub async fn drain(self, within: Duration) {
        self.closing.send_replace(true);
        self.accepting.iter().for_each(JoinHandle::abort);
        // Every connection holds a receiver.
        let _ = tokio::time::timeout(within, self.closing.closed()).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

async fn accept(listener: StdListener, house: Arc<House>, closing: watch::Receiver<bool>) {
    let Ok(listener) = UnixListener::from_std(listener) else { return };
    loop {
        let Ok(slot) = slot(&house, &listener).await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = serve(house.clone(), stream, closing.clone(), slot);
                match house.door {
                    Door::Broker => scrub::spawn_shallow(served),
                    // Keys come in here, and are tried at their provider.
                    Door::Control(_) => scrub::spawn(served),
                };
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

/// A place for one connection. When all are taken, whoever says nothing makes room for whoever waits at the door.
async fn slot(house: &House, listener: &UnixListener) -> Result<OwnedSemaphorePermit, AcquireError> {
    loop {
        match timeout(LOOK, house.slots.clone().acquire_owned()).await {
            Ok(slot) => return slot,
            Err(_) if somebody_waits(listener.as_fd()) => house.guests.dismiss_the_most_silent(),
            Err(_) => {}
        }
    }
}

/// How often a full house looks whether somebody waits.
const LOOK: Duration = Duration::from_millis(10);

async fn serve(house: Arc<House>, stream: UnixStream, closing: watch::Receiver<bool>, slot: OwnedSemaphorePermit) {
    attend(house.clone(), stream, closing).await;
    house.ended.fetch_add(1, Ordering::Relaxed);
    drop(slot);
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
