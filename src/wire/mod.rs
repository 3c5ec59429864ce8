//! What goes over the sockets: JSON messages, and the one place where a token is encoded. Pure but for the layer that
//! puts tokens in; it never decides what to send.

mod answer;
pub mod assuan;
mod coded;
mod echo;
mod hide;
pub mod key;
mod look;
mod message;
pub mod narrow;
mod problem;
mod scan;
mod sse;
pub mod swap;
mod unpack;
mod usage;

pub use answer::{Encoded, lease, studio_token};
pub use echo::{Echo, EchoGuard, echoes};
pub use hide::UsageHider;
pub use look::{Edit, Look, LookFault, Seen};
pub use message::{Approve, DecoyPut, KeyPut, KeyRotate, Redeem, Unlock, Why, parse};
pub use problem::{problem, refusal, studio_error};
pub use unpack::{Coding, UnpackBounds, Unpacker};
pub use usage::{Framing, UsageReader};
