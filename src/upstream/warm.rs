//! Connections to providers: one for each endpoint is kept pre-handshaken and unused, taken once and replaced.
//! A connection that carried a call is never used again: its buffers have seen an answer.

use super::{
    CallError, UpstreamOptions,
    address::{self, Private},
    heard::{Heard, Hearing},
};
use crate::{
    recipe::{Endpoint, Scheme},
    sys::scrub,
    wire::swap::{SwapIo, Swaps},
};
use hyper::{
    body::Body,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// What a provider is spoken to over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Bytes of an answer's head, and what hyper buffers of a body.
const HEAD_MOST: usize = 64 * 1024;

/// A connection that nothing was sent on yet.
pub(super) struct Connection(Box<dyn Stream>);

type Driver<B> = http1::Connection<SwapIo<TokioIo<Hearing>>, B>;

impl Connection {
    /// Hands the connection to hyper, with the layer below that puts keys in.
    pub(super) async fn handshake<B>(self, swaps: Swaps, heard: Heard) -> hyper::Result<(SendRequest<B>, Driver<B>)>
    where
        B: Body + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = TokioIo::new(Hearing::new(self.0, heard));
        http1::Builder::new().writev(true).max_buf_size(HEAD_MOST).handshake(SwapIo::new(stream, swaps)).await
    }

    /// Whether the other side has left it open and silent.
    fn is_fresh(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        matches!(Pin::new(&mut self.0).poll_read(&mut cx, &mut buffer), Poll::Pending)
    }
}

#[derive(Clone)]
pub(super) struct Pool {
    tls: TlsConnector,
    connect_time: Duration,
    idle: Duration,
    private: Private,
    ports: Arc<[u16]>,
    ready: Arc<Mutex<HashMap<Endpoint, Ready>>>,
}

/// A slot of the pool: a connection is being made or waits; the task drops it when its idle limit is over.
struct Ready {
    connection: Option<Connection>,
    keeper: JoinHandle<()>,
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Pool {
    pub(super) fn new(tls: Arc<ClientConfig>, options: &UpstreamOptions) -> Self {
        let UpstreamOptions { connect_time, warm_idle: idle, private, .. } = *options;
        let ports = options.ports.clone().into();
        Self { tls: TlsConnector::from(tls), connect_time, idle, private, ports, ready: Arc::default() }
    }

    pub(super) fn dials(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.contains(&port)
    }

    /// The connection that is ready, or a new one.
    pub(super) async fn take(&self, endpoint: &Endpoint) -> Result<Connection, CallError> {
        let mut ready = self.pick(endpoint);
        match ready.take_if(Connection::is_fresh) {
            Some(connection) => Ok(connection),
            None => self.connect(endpoint).await,
        }
    }

    /// Takes a ready connection with its slot, so that `warm_up` makes the next one.
    fn pick(&self, endpoint: &Endpoint) -> Option<Connection> {
        let mut ready = self.ready();
        let connection = ready.get_mut(endpoint)?.connection.take()?;
        ready.remove(endpoint);
        Some(connection)
    }

    /// Makes the next connection in the background, unless one is there or under way.
    pub(super) fn warm_up(&self, endpoint: &Endpoint) {
        if self.idle.is_zero() {
            return;
        }
        let mut ready = self.ready();
        if ready.get(endpoint).is_some_and(|ready| ready.connection.is_some() || !ready.keeper.is_finished()) {
            return;
        }
        let keeper = scrub::spawn(self.clone().keep(endpoint.clone()));
        ready.insert(endpoint.clone(), Ready { connection: None, keeper });
    }

    /// Drops everything that is ready.
    pub(super) fn cool(&self) {
        self.ready().clear();
    }

    /// Connects, waits for the idle limit, and drops what nobody took.
    async fn keep(self, endpoint: Endpoint) {
        // The caller that took the last one gets its answer first.
        tokio::task::yield_now().await;
        let Ok(connection) = self.connect(&endpoint).await else { return };
        if let Some(ready) = self.ready().get_mut(&endpoint) {
            ready.connection = Some(connection);
        }
        tokio::time::sleep(self.idle).await;
        if let Some(ready) = self.ready().get_mut(&endpoint) {
            ready.connection = None;
        }
    }

    pub(super) async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, CallError> {
        // Of all that is done with a connection, a TLS handshake alone goes deep.
        match timeout(self.connect_time, scrub::deep(self.dial(endpoint))).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(fault)) => Err(CallError::Connect(endpoint.to_string(), fault)),
            Err(_) => Err(CallError::ConnectTime(endpoint.to_string())),
        }
    }

    async fn dial(&self, endpoint: &Endpoint) -> std::io::Result<Connection> {
        let host = endpoint.host.trim_matches(['[', ']']);
        let tcp = self.reach(endpoint, host).await?;
        tcp.set_nodelay(true)?;
        match endpoint.scheme {
            Scheme::Http => Ok(Connection(Box::new(tcp))),
            Scheme::Https => {
                let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
                Ok(Connection(Box::new(self.tls.connect(name, tcp).await?)))
            }
        }
    }

    /// Connects to the first address of the name that answers, of those that may be dialled.
    async fn reach(&self, endpoint: &Endpoint, host: &str) -> std::io::Result<TcpStream> {
        if !self.dials(endpoint.port) {
            return Err(std::io::Error::other("its port is not among `ports` under [upstream]"));
        }
        let mut last = std::io::Error::other("its name leads to no address that may be dialled (see `allow_private`)");
        for address in tokio::net::lookup_host((host, endpoint.port)).await? {
            if address::may_dial(endpoint, address, self.private) {
                match TcpStream::connect(address).await {
                    Ok(tcp) => return Ok(tcp),
                    Err(fault) => last = fault,
                }
            }
        }
        Err(last)
    }

    fn ready(&self) -> MutexGuard<'_, HashMap<Endpoint, Ready>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
