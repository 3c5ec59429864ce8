//! The demo as a program that wants a token: it asks the broker, and calls the stand-in with what it got.
//! It must never have another way to the broker than any program has.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use zeroize::Zeroizing;

use super::step::{StepError, system};
use crate::client::{Client, Method, Problem};
use crate::clock::Clock;
use crate::recipe::{Call, Endpoint, Expects, Scheme};
use crate::secret::Secret;
use crate::sys::scrub;
use crate::upstream::{Upstream, UpstreamOptions};

const LEASES: &str = "/v1/leases";

/// Both sockets, and a way to the stand-in.
pub(super) struct Caller {
    /// Where any process asks.
    pub(super) broker: Client,
    /// Where the owner commands.
    pub(super) control: Client,
    provider: Provider,
}

/// A lease as it was given to us.
#[derive(Deserialize)]
pub(super) struct Minted {
    pub(super) id: String,
    pub(super) token: Secret,
    pub(super) kind: String,
    pub(super) expires_at: u64,
    pub(super) expires_in: u64,
    pub(super) revocable: bool,
}

/// What the broker makes of us.
#[derive(Deserialize)]
pub(super) struct Whoami {
    pub(super) selectors: Vec<String>,
    pub(super) rules: Vec<String>,
    pub(super) keys: Vec<String>,
}

#[derive(Deserialize)]
struct Leases {
    leases: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    state: String,
}

#[derive(Deserialize)]
struct Revoked {
    residual: Residual,
}

#[derive(Deserialize)]
struct Residual {
    upstream_seconds: u64,
}

impl Caller {
    /// Of the broker with these sockets and the stand-in at this address.
    ///
    /// # Errors
    /// When `ca_file` is no authority's certificate, or there is no event loop.
    pub(super) fn new(
        broker: PathBuf,
        control: PathBuf,
        studio: SocketAddr,
        ca_file: &Path,
    ) -> Result<Self, StepError> {
        let provider = Provider::new(studio, ca_file)?;
        Ok(Self { broker: Client::broker(broker), control: Client::control(control), provider })
    }

    /// Whether the broker says that it can mint.
    pub(super) fn ready(&self) -> bool {
        self.broker.request(Method::GET, "/readyz", None).is_ok_and(|answer| answer.status == 200)
    }

    /// Asks for a lease.
    pub(super) fn mint(&self, wish: &Value) -> Result<Minted, StepError> {
        understood(LEASES, &self.broker.request(Method::POST, LEASES, json(wish))?.accepted()?)
    }

    /// Asks for a lease that is not to be had; the refusal.
    pub(super) fn refused(&self, wish: &Value) -> Result<Problem, StepError> {
        match self.broker.request(Method::POST, LEASES, json(wish))?.accepted() {
            Ok(_) => Err(StepError::Otherwise("a token was given".to_owned())),
            Err(problem) => Ok(*problem),
        }
    }

    /// Who the broker takes us for.
    pub(super) fn whoami(&self) -> Result<Whoami, StepError> {
        understood("/v1/whoami", &self.broker.request(Method::GET, "/v1/whoami", None)?.accepted()?)
    }

    /// Whether a lease is among our live ones.
    pub(super) fn holds(&self, id: &str) -> Result<bool, StepError> {
        let told: Leases = understood(LEASES, &self.broker.request(Method::GET, LEASES, None)?.accepted()?)?;
        Ok(told.leases.iter().any(|lease| lease.id == id && lease.state == "live"))
    }

    /// Gives a lease back; for how many seconds its token lives on.
    pub(super) fn revoke(&self, id: &str) -> Result<u64, StepError> {
        let answer = self.broker.request(Method::DELETE, &format!("{LEASES}/{id}"), None)?.accepted()?;
        Ok(understood::<Revoked>(LEASES, &answer)?.residual.upstream_seconds)
    }

    /// As the owner: a command with or without a body; its answer.
    pub(super) fn command(
        &self,
        method: Method,
        target: &str,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Zeroizing<Vec<u8>>, StepError> {
        Ok(self.control.request(method, target, body)?.accepted()?)
    }

    /// Lists the stand-in's models with this token; the HTTP status.
    pub(super) fn call(&self, token: &Secret) -> Result<u16, StepError> {
        self.provider.call(token)
    }
}

/// The stand-in, as a client of Model Studio's sees it.
struct Provider {
    upstream: Upstream,
    endpoint: Endpoint,
    runtime: Runtime,
}

impl Provider {
    fn new(studio: SocketAddr, ca_file: &Path) -> Result<Self, StepError> {
        let time = Duration::from_secs(5);
        let options = UpstreamOptions {
            ca_file: Some(ca_file.to_owned()),
            connect_time: time,
            total_time: time,
            body_bytes: 64 << 10,
            warm_idle: Duration::ZERO,
            kept_connections: 0,
            private: Default::default(),
            ports: Vec::new(),
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(system("no event loop"))?;
        let endpoint = Endpoint { scheme: Scheme::Https, host: studio.ip().to_string(), port: studio.port() };
        Ok(Self { upstream: Upstream::new(options, Clock::system())?, endpoint, runtime })
    }

    fn call(&self, token: &Secret) -> Result<u16, StepError> {
        let call = Call {
            method: "GET".to_owned(),
            endpoint: self.endpoint.clone(),
            target: "/compatible-mode/v1/models".to_owned(),
            header: "authorization".to_owned(),
            prefix: "Bearer ".to_owned(),
            encoding: crate::recipe::Encoding::Plain,
            headers: Default::default(),
            expects: Expects::Status,
        };
        let ours = Box::new(token.expose(Secret::copied));
        Ok(scrub::run(&self.runtime, self.upstream.call(&call, token.len(), ours))?.status)
    }
}

/// An answer, read; nothing of it is quoted if it cannot be.
pub(super) fn understood<T: DeserializeOwned>(target: &str, answer: &[u8]) -> Result<T, StepError> {
    serde_json::from_slice(answer).map_err(|_| StepError::Answer(target.to_owned()))
}

fn json(wish: &Value) -> Option<Zeroizing<Vec<u8>>> {
    Some(Zeroizing::new(wish.to_string().into_bytes()))
}
