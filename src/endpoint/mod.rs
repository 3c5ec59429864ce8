//! The doors on Unix sockets: HTTP/1.1 and JSON in, the broker's answers out. One file for each protocol spoken.
//! They judge nothing, hold no key, and never let a token through hyper.

mod body;
mod connection;
mod control;
mod guests;
mod native;
mod pace;
mod reply;
mod route;
mod serve;
mod studio;

pub use control::{ControlOptions, TAKEOVER};
pub use route::{BROKER, CONTROL, Route};
pub use serve::{Entrance, entrance};

use std::{sync::Arc, time::Duration};

/// The OpenAPI description of the broker socket, as it is served.
pub const OPENAPI: &str = include_str!("openapi.json");
/// The OpenAPI description of the control socket, as it is served.
pub const CONTROL_OPENAPI: &str = include_str!("openapi-control.json");

/// Bounds of every connection.
#[derive(Debug, Clone, Copy)]
pub struct EndpointOptions {
    /// Open connections in all.
    pub connections: usize,
    /// Connections that are only told `busy`.
    pub busy_answers: usize,
    /// Bytes of a request's body.
    pub request_bytes: usize,
    /// Leases of one answer to a list.
    pub leases_per_page: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// For the whole head, from its first byte.
    pub header_time: Duration,
    /// For the whole body.
    pub body_time: Duration,
    /// Between requests.
    pub idle_time: Duration,
    /// For one request's answer.
    pub request_time: Duration,
}

/// Which protocols a socket speaks.
#[derive(Clone)]
pub enum Door {
    /// Leases, whoami, and Model Studio's own shape: for everybody.
    Broker,
    /// Keys, lock, status: for the owner.
    Control(Arc<ControlOptions>),
}

impl Door {
    fn name(&self) -> &'static str {
        match self {
            Door::Broker => "broker",
            Door::Control(_) => "control",
        }
    }
}
