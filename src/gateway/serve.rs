//! Accepting: a slot is taken before a connection is; what goes wrong is the peer's, a shortage, or the end.

use super::{
    GatewayOptions,
    connection::{House, Stream, attend},
};
use crate::{broker::Broker, sys::scrub};
use nix::errno::Errno;
use std::{
    io, net,
    os::unix,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Handle,
    sync::{Semaphore, watch},
    task::JoinHandle,
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
    pub fn new(broker: Broker, options: GatewayOptions, loops: Vec<Handle>) -> Self {
        let slots = Arc::new(Semaphore::new(options.connections));
        Self { house: Arc::new(House { broker, options, slots, ended: AtomicU64::new(0) }), loops }
    }

    /// How many connections have ended since it was made.
    pub fn ended(&self) -> u64 {
        self.house.ended.load(Ordering::Relaxed)
    }

    /// Serves a listener until the server is drained. It comes from outside, so that tests choose it.
    pub fn serve(&self, listener: &unix::net::UnixListener) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        self.serve_each(|| listener.try_clone().map(Plain::Unix))
    }

    /// The same for one on loopback TCP.
    pub fn serve_tcp(&self, listener: &net::TcpListener) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        self.serve_each(|| listener.try_clone().map(Plain::Tcp))
    }

    fn serve_each(&self, listener: impl Fn() -> io::Result<Plain>) -> io::Result<Server> {
        let (closing, closed) = watch::channel(false);
        let mut accepting = Vec::with_capacity(self.loops.len());
        for each in &self.loops {
            let (listener, house, closed) = (listener()?, self.house.clone(), closed.clone());
            accepting.push(scrub::spawn_shallow_on(each, accept(listener, house, closed)));
        }
        Ok(Server { accepting, closing })
    }
}

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

/// A listener before it is a loop's.
enum Plain {
    Unix(unix::net::UnixListener),
    Tcp(net::TcpListener),
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    fn of(plain: Plain) -> io::Result<Self> {
        match plain {
            Plain::Unix(listener) => UnixListener::from_std(listener).map(Self::Unix),
            Plain::Tcp(listener) => TcpListener::from_std(listener).map(Self::Tcp),
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
        }
    }
}

async fn accept(listener: Plain, house: Arc<House>, closing: watch::Receiver<bool>) {
    let Ok(listener) = Listener::of(listener) else { return };
    loop {
        let Ok(slot) = house.slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok(stream) => {
                let (house, closing) = (house.clone(), closing.clone());
                scrub::spawn(async move {
                    attend(house.clone(), stream, closing).await;
                    house.ended.fetch_add(1, Ordering::Relaxed);
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
                    error!(%fault, socket = "gateway", "the socket can accept no more");
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
