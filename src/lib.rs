//! `sixty` holds long-lived API keys and hands out 60-second ones over a Unix socket.

pub mod attest;
pub mod audit;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod demo;
pub mod issuer;
pub mod ledger;
pub mod model;
pub mod policy;
pub mod recipe;
pub mod secret;
pub mod sys;
pub mod upstream;
pub mod vault;
pub mod wire;

/// Every block of the heap is zeroed when it is freed; the feature is the leak test's negative control.
#[cfg(not(feature = "leaky-allocator"))]
#[global_allocator]
static ALLOCATOR: sys::alloc::WipingAllocator = sys::alloc::WipingAllocator;

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
