//! A pretend Model Studio on loopback: TLS by a run-made authority, the documented answers and errors, tokens that end.
//!
//! It must never be given a real key, and it listens on loopback alone.
//!
//! The contract is that of the vendor's page "Generate a temporary API key" and of its error-code page. Faults can be
//! ordered, for the next call or for all, for one key or for all:
//!
//! ```no_run
//! # async fn example(now: sixty::demo::studio::Now) -> Result<(), sixty::demo::studio::StudioError> {
//! use sixty::demo::studio::{Fault, Studio, StudioOptions};
//! let studio = Studio::start(StudioOptions::new(now)).await?;
//! studio.register("sk-made-up");
//! studio.next(Fault::Throttled);
//! println!("{} trusts\n{}", studio.url(), studio.ca_pem());
//! # Ok(()) }
//! ```

mod answer;
mod books;
mod call;
mod certificate;
mod counts;
mod fault;
mod gemini;
mod line;
mod messages;
mod model;
mod reel;
mod socket;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use tokio::net::TcpListener;
use tokio::sync::watch;

use self::books::{Books, Digest, digest};
use self::certificate::Identity;
use self::counts::Counters;
pub use self::fault::Fault;
use self::fault::{Moment, Orders, Whose};
use self::line::Order;
pub use self::model::MODELS;
use crate::sys::scrub::spawn;

/// Unix time in seconds, from whichever clock the caller keeps.
pub type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Why the pretend Model Studio did not start.
#[derive(Debug, thiserror::Error)]
pub enum StudioError {
    /// The loopback port could not be had.
    #[error("cannot listen on 127.0.0.1:{port}: {source}\nleave the port out to get a free one")]
    Listen {
        /// The port that was asked for; 0 means any.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
    /// The run-made authority or its certificate failed.
    #[error("cannot make a certificate for loopback: {0}")]
    Certificate(rcgen::Error),
    /// rustls refused the run-made certificate.
    #[error("cannot set up TLS: {0}")]
    Tls(rustls::Error),
    /// The authority's certificate could not be written.
    #[error("cannot write the authority's certificate to {}: {source}", path.display())]
    CaFile {
        /// Where it was to go.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// How the connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// TLS 1.2 or 1.3 with a certificate for 127.0.0.1, ::1 and localhost.
    #[default]
    Tls,
    /// Plain HTTP: a baseline for benchmarks.
    Plain,
}

/// How to start a [`Studio`].
#[derive(Clone)]
pub struct StudioOptions {
    /// TLS or plain.
    pub transport: Transport,
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Where to write the authority's certificate (PEM), for clients that want a file.
    pub ca_file: Option<PathBuf>,
    /// The pause before each event of a streamed answer but the first.
    pub pause: Duration,
    /// Unix seconds, by which tokens end.
    pub now: Now,
}

impl StudioOptions {
    /// TLS on a free port, no file, no pauses.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { transport: Transport::Tls, port: 0, ca_file: None, pause: Duration::ZERO, now }
    }
}

/// A running pretend Model Studio. Clones are handles to the same one; it stops when the last is dropped.
#[derive(Clone)]
pub struct Studio {
    desk: Arc<Desk>,
    orders: Arc<watch::Sender<Order>>,
    address: SocketAddr,
    transport: Transport,
    ca_pem: Arc<str>,
}

impl Studio {
    /// Listens on loopback and serves from tasks of the current tokio runtime.
    ///
    /// # Errors
    /// When the port is taken, the certificate cannot be made or its file cannot be written.
    pub async fn start(options: StudioOptions) -> Result<Self, StudioError> {
        let port = options.port;
        let listen = |source| StudioError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let identity = match options.transport {
            Transport::Tls => Some(Identity::fresh()?),
            Transport::Plain => None,
        };
        let (server, ca_pem) = identity.map_or((None, String::new()), |known| (Some(known.server), known.ca_pem));
        if let Some(path) = options.ca_file {
            std::fs::write(&path, &ca_pem).map_err(|source| StudioError::CaFile { path, source })?;
        }
        let desk = Arc::new(Desk::new(options.now, options.pause));
        let (orders, told) = watch::channel(Order::Serve(0));
        drop(spawn(line::listen(listener, server, Arc::clone(&desk), told)));
        Ok(Self { desk, orders: Arc::new(orders), address, transport: options.transport, ca_pem: ca_pem.into() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://127.0.0.1:PORT`, without a slash at the end (`http` for [`Transport::Plain`]).
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = match self.transport {
            Transport::Tls => "https",
            Transport::Plain => "http",
        };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate to trust, as PEM; empty without TLS.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Makes a made-up long-lived key valid. Only its SHA-256 is kept.
    pub fn register(&self, key: &str) {
        self.desk.books().register(key);
    }

    /// Makes a key invalid at once. Tokens minted from it live on until they end.
    pub fn retire(&self, key: &str) {
        self.desk.books().retire(key);
    }

    /// Ends every token that was minted so far.
    pub fn revoke_all(&self) {
        self.desk.books().revoke_all();
    }

    /// Orders a fault for one call, the next that it suits. Several orders are served oldest first.
    pub fn next(&self, fault: Fault) {
        self.desk.orders().once(Whose::Anyone, fault);
    }

    /// As [`next`](Self::next), for calls by this key or by tokens minted from it.
    /// `ResetOnAccept` and `HangOnAccept` strike before a key is known and cannot be ordered so.
    pub fn next_for(&self, key: &str, fault: Fault) {
        self.desk.orders().once(Whose::Key(digest(key.as_bytes())), fault);
    }

    /// Orders a fault for every call that it suits, until [`clear`](Self::clear).
    pub fn always(&self, fault: Fault) {
        self.desk.orders().always(Whose::Anyone, fault);
    }

    /// As [`always`](Self::always), for calls by this key or by tokens minted from it.
    pub fn always_for(&self, key: &str, fault: Fault) {
        self.desk.orders().always(Whose::Key(digest(key.as_bytes())), fault);
    }

    /// Takes back every order.
    pub fn clear(&self) {
        self.desk.orders().clear();
    }

    /// Closes every connection and goes on listening.
    pub fn hang_up(&self) {
        self.orders.send_modify(|order| {
            if let Order::Serve(number) = order {
                *number += 1;
            }
        });
    }

    /// Closes every connection and the listener: from now on connections are refused. It cannot be undone.
    pub fn stop(&self) {
        self.orders.send_replace(Order::Stop);
    }
}

/// What it has seen so far.
impl Studio {
    /// TCP connections accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.desk.counters.connections.read()
    }

    /// TLS handshakes finished, resumed ones included.
    #[must_use]
    pub fn handshakes(&self) -> u64 {
        self.desk.counters.handshakes.read()
    }

    /// TLS handshakes that resumed an earlier session.
    #[must_use]
    pub fn resumptions(&self) -> u64 {
        self.desk.counters.resumptions.read()
    }

    /// Requests whose head was read, answered or not.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.desk.counters.requests.read()
    }

    /// Tokens minted, also those whose answer was then spoiled on order.
    #[must_use]
    pub fn mints(&self) -> u64 {
        self.desk.counters.mints.read()
    }

    /// Other calls that were served.
    #[must_use]
    pub fn uses(&self) -> u64 {
        self.desk.counters.uses.read()
    }

    /// Calls refused with 401, those ordered by [`Fault::BadKey`] not included.
    #[must_use]
    pub fn unauthorized(&self) -> u64 {
        self.desk.counters.unauthorized.read()
    }

    /// Ordered faults that struck.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.desk.counters.faults.read()
    }

    /// Orders for one call that wait for it.
    #[must_use]
    pub fn waiting_faults(&self) -> usize {
        self.desk.orders().waiting()
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.desk.counters.open.now()
    }

    /// The most connections that were ever open at once.
    #[must_use]
    pub fn most_open(&self) -> u64 {
        self.desk.counters.open.most()
    }

    /// The most requests that were ever in work at once.
    #[must_use]
    pub fn most_busy(&self) -> u64 {
        self.desk.counters.busy.most()
    }

    /// Tokens that still work.
    #[must_use]
    pub fn live_tokens(&self) -> usize {
        self.desk.books().live_tokens((self.desk.now)())
    }
}

impl fmt::Debug for Studio {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Studio({})", self.url())
    }
}

/// What every connection shares.
struct Desk {
    books: Mutex<Books>,
    orders: Mutex<Orders>,
    counters: Counters,
    now: Now,
    pause: Duration,
}

impl Desk {
    fn new(now: Now, pause: Duration) -> Self {
        let (books, orders) = (Mutex::default(), Mutex::default());
        Self { books, orders, counters: Counters::default(), now, pause }
    }

    /// A holder that panicked left whole entries behind, so the lock is as good as before.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault ordered for this credential at this moment.
    fn fault(&self, credential: Option<Digest>, moment: Moment) -> Option<Fault> {
        let key = credential.map(|credential| self.books().root(&credential));
        let fault = self.orders().take(key, moment)?;
        self.counters.faults.add();
        Some(fault)
    }

    /// Counts a call that was served.
    fn used<T, E>(&self, answer: Result<T, E>) -> Result<T, E> {
        answer.inspect(|_| self.counters.uses.add())
    }
}

#[cfg(test)]
#[cfg(test)]
mod tests;
