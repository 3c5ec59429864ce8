//! Accepting: a slot is taken before a connection is; what goes wrong is the peer's, a shortage, or the end.
//! It must never know what is spoken on a connection, nor let a connection in that has no slot.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::{error, warn};

use super::closing::{Closing, Course, Ends, Server};
use super::scrub;
use super::socket::somebody_waits;

/// What stands behind a socket.
pub trait House: Send + Sync + 'static {
    /// The socket's name, for the log.
    fn name(&self) -> &'static str;

    /// How deep the polls of its connections go.
    fn depth(&self) -> Depth;

    /// Every slot is taken, and somebody waits at the door: time to ask somebody to leave.
    fn crowded(&self) {}
}

/// A house that has connections of this kind.
pub trait Attend<S>: House {
    /// Serves one connection to its end. Gives it back where the house moves and nothing was read of it that is not
    /// answered.
    fn attend(self: Arc<Self>, stream: S, closing: Closing) -> impl Future<Output = Option<S>> + Send;
}

/// How much of the stack is wiped after a poll: see [`scrub`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// [`scrub::spawn_shallow`].
    Shallow,
    /// [`scrub::spawn`].
    Full,
}

/// A listener of this kind of connection.
pub trait Listener: Sized + Send + Sync + 'static {
    /// The same before it is a loop's. It comes from outside, so that tests choose it.
    type Plain: Send + 'static;
    /// What comes in.
    type Stream: Send + 'static;

    /// Another handle on it, for one loop.
    ///
    /// # Errors
    /// The kernel gives no descriptor.
    fn share(plain: &Self::Plain) -> io::Result<Self::Plain>;

    /// Gives it to the loop that this is called on.
    ///
    /// # Errors
    /// The loop cannot watch it.
    fn enter(plain: Self::Plain) -> io::Result<Self>;

    /// The next connection.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// For asking whether somebody waits.
    fn door(&self) -> BorrowedFd<'_>;

    /// Takes a connection from its loop.
    ///
    /// # Errors
    /// The loop cannot let go of it.
    fn leave(stream: Self::Stream) -> io::Result<OwnedFd>;

    /// Gives a connection that another process has accepted to the loop that this is called on.
    ///
    /// # Errors
    /// The loop cannot watch it.
    fn adopt(connection: OwnedFd) -> io::Result<Self::Stream>;
}

/// What a socket leads to. Serves any number of listeners, one after the other, on one loop or more.
pub struct Entrance<H> {
    house: Arc<H>,
    slots: Arc<Semaphore>,
    ended: Arc<AtomicU64>,
    loops: Vec<Handle>,
}

impl<H> Clone for Entrance<H> {
    fn clone(&self) -> Self {
        let (house, slots, ended) = (self.house.clone(), self.slots.clone(), self.ended.clone());
        Self { house, slots, ended, loops: self.loops.clone() }
    }
}

impl<H: House> Entrance<H> {
    /// An entrance to so many slots, whose connections are spread over these loops by the kernel.
    pub fn new(house: H, slots: usize, loops: Vec<Handle>) -> Self {
        Self { house: Arc::new(house), slots: Arc::new(Semaphore::new(slots)), ended: Arc::default(), loops }
    }

    /// How many connections have ended since it was made.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Serves a listener until the server is drained or dropped. The listener is made not to block.
    ///
    /// # Errors
    /// The kernel gives no further descriptor of it.
    pub fn serve<L: Listener>(&self, listener: &L::Plain) -> io::Result<Server>
    where
        H: Attend<L::Stream>,
    {
        self.go_on::<L>(listener, Vec::new())
    }

    /// The same, and first those connections that another process has accepted.
    ///
    /// # Errors
    /// As [`Self::serve`].
    pub fn go_on<L: Listener>(&self, listener: &L::Plain, resting: Vec<OwnedFd>) -> io::Result<Server>
    where
        H: Attend<L::Stream>,
    {
        let mut server = Server::new();
        self.open::<L>(&mut server, listener, resting)?;
        Ok(server)
    }

    /// Serves again what was closed to be moved: its connections at rest, these, and whoever comes.
    ///
    /// # Errors
    /// As [`Self::serve`].
    pub fn come_back<L: Listener>(
        &self,
        server: &mut Server,
        listener: &L::Plain,
        mut resting: Vec<OwnedFd>,
    ) -> io::Result<()>
    where
        H: Attend<L::Stream>,
    {
        resting.extend(server.reopen());
        self.open::<L>(server, listener, resting)
    }

    fn open<L: Listener>(&self, server: &mut Server, listener: &L::Plain, resting: Vec<OwnedFd>) -> io::Result<()>
    where
        H: Attend<L::Stream>,
    {
        let ends = server.ends();
        for each in &self.loops {
            let (listener, entrance, ends) = (L::share(listener)?, self.clone(), ends.clone());
            server.accepting.push(scrub::spawn_shallow_on(each, accept::<L, H>(listener, entrance, ends)));
        }
        for connection in resting {
            // One that cannot be served is closed: its client asks anew.
            let Ok(stream) = L::adopt(connection) else { continue };
            let (entrance, ends) = (self.clone(), ends.clone());
            scrub::spawn(async move {
                let Ok(slot) = entrance.slots.clone().acquire_owned().await else { return };
                entrance.serve_one::<L>(stream, ends, slot).await;
            });
        }
        Ok(())
    }

    /// A place for one connection. While all are taken, the house is told that somebody waits.
    async fn slot(&self, listener: &impl Listener) -> Result<OwnedSemaphorePermit, AcquireError> {
        loop {
            match timeout(LOOK, self.slots.clone().acquire_owned()).await {
                Ok(slot) => return slot,
                Err(_) if somebody_waits(listener.door()) => self.house.crowded(),
                Err(_) => {}
            }
        }
    }

    async fn serve_one<L: Listener>(self, stream: L::Stream, ends: Ends, slot: OwnedSemaphorePermit)
    where
        H: Attend<L::Stream>,
    {
        let mut next = Some(stream);
        while let Some(stream) = next {
            let mut over = ends.closing.clone();
            let is_over = async {
                // Of a socket that was made anew the old connections end by themselves.
                if over.wait_for(|course| *course == Course::Over).await.is_err() {
                    std::future::pending().await
                }
            };
            let left = tokio::select! {
                biased;
                left = self.house.clone().attend(stream, ends.closing.clone()) => left,
                () = is_over => None,
            };
            next = left.and_then(|stream| ends.give_back::<L>(stream));
        }
        self.ended.fetch_add(1, Ordering::Relaxed);
        drop(slot);
    }
}

/// How often a full house looks whether somebody waits.
const LOOK: Duration = Duration::from_millis(10);

async fn accept<L: Listener, H: Attend<L::Stream>>(listener: L::Plain, entrance: Entrance<H>, ends: Ends) {
    let Ok(listener) = L::enter(listener) else { return };
    loop {
        let Ok(slot) = entrance.slot(&listener).await else { return };
        match listener.next().await {
            Ok(stream) => {
                let served = entrance.clone().serve_one::<L>(stream, ends.clone(), slot);
                match entrance.house.depth() {
                    Depth::Shallow => scrub::spawn_shallow(served),
                    Depth::Full => scrub::spawn(served),
                };
            }
            Err(fault) => match class(&fault) {
                Class::Peer => {}
                Class::Shortage => {
                    warn!(%fault, "short of something; accepting again in a moment");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Class::Fatal => {
                    error!(%fault, socket = entrance.house.name(), "the socket can accept no more");
                    return;
                }
            },
        }
    }
}

/// Whose fault it is: accept(2).
#[derive(Debug, PartialEq, Eq)]
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

impl Listener for UnixListener {
    type Plain = StdUnixListener;
    type Stream = UnixStream;

    fn share(plain: &StdUnixListener) -> io::Result<StdUnixListener> {
        plain.set_nonblocking(true)?;
        plain.try_clone()
    }

    fn enter(plain: StdUnixListener) -> io::Result<Self> {
        Self::from_std(plain)
    }

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }

    fn door(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn leave(stream: UnixStream) -> io::Result<OwnedFd> {
        stream.into_std().map(OwnedFd::from)
    }

    fn adopt(connection: OwnedFd) -> io::Result<UnixStream> {
        let plain = std::os::unix::net::UnixStream::from(connection);
        plain.set_nonblocking(true)?;
        UnixStream::from_std(plain)
    }
}

impl Listener for TcpListener {
    type Plain = std::net::TcpListener;
    type Stream = TcpStream;

    fn share(plain: &std::net::TcpListener) -> io::Result<std::net::TcpListener> {
        plain.set_nonblocking(true)?;
        plain.try_clone()
    }

    fn enter(plain: std::net::TcpListener) -> io::Result<Self> {
        Self::from_std(plain)
    }

    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }

    fn door(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn leave(stream: TcpStream) -> io::Result<OwnedFd> {
        stream.into_std().map(OwnedFd::from)
    }

    fn adopt(connection: OwnedFd) -> io::Result<TcpStream> {
        let plain = std::net::TcpStream::from(connection);
        plain.set_nonblocking(true)?;
        TcpStream::from_std(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_at_accept_is_the_peers_a_shortage_or_the_end() {
        let of = |errno: Errno| class(&io::Error::from_raw_os_error(errno as i32));
        assert_eq!([Errno::ECONNABORTED, Errno::EINTR].map(of), [Class::Peer, Class::Peer]);
        assert_eq!([Errno::EMFILE, Errno::ENOMEM].map(of), [Class::Shortage, Class::Shortage]);
        assert_eq!([Errno::EBADF, Errno::EINVAL].map(of), [Class::Fatal, Class::Fatal]);
    }
}
