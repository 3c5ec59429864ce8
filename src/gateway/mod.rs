//! The gateway: a virtual key in, the provider's answer out. An injecting reverse proxy for HTTP/1.1, on a Unix
//! socket and on loopback TCP.
//! It never holds the real key, never takes the provider's host from a request, and passes nothing on that it has not
//! understood.

mod answer;
mod connection;
mod forward;
mod head;
mod held;
mod inspect;
mod key;
mod plain;
mod serve;
mod stream;
mod upgrade;
mod watch;
mod web;

#[cfg(fuzzing)]
pub use head::fuzz;
pub use serve::{Entrance, entrance};

use std::time::Duration;

/// Bounds of every connection.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Open connections in all.
    pub connections: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// For a head, and between requests.
    pub idle_time: Duration,
    /// For a body that is looked into before it goes out.
    pub body_time: Duration,
    /// The largest body that is looked into, in bytes.
    pub look_bytes: usize,
    /// How large a narrower key may be.
    pub narrowed: crate::wire::narrow::Bounds,
    /// How far an answer that came packed may unpack.
    pub unpack: crate::wire::UnpackBounds,
    /// Origins of web pages that may call by TCP.
    pub origins: Vec<String>,
}
