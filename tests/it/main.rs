//! One binary for all tests that look at the program from outside.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and may look at its environment")]

mod examples;
mod harness;
mod native;
