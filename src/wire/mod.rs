//! What goes over the sockets: JSON messages, and the one place where a token is encoded. Pure but for the layer that
//! puts tokens in; it never decides what to send.

mod answer;
pub mod key;
mod message;
mod problem;
pub mod swap;

pub use answer::{Encoded, lease, studio_token};
pub use message::{KeyPut, KeyRotate, Unlock, Why, parse};
pub use problem::{problem, refusal, studio_error};
