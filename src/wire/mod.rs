//! What goes over the socket: JSON messages, and the one place where a token is encoded.

pub mod swap;
