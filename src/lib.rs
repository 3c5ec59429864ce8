//! `sixty` holds long-lived API keys and hands out 60-second ones over a Unix socket.

use cli::Invocation;
use config::Mode;
use daemon::{DaemonOptions, InitOptions};
use std::process::ExitCode;

pub mod attest;
pub mod audit;
pub mod broker;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod endpoint;
pub mod issuer;
pub mod ledger;
pub mod model;
pub mod observe;
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

/// Runs the program: the one place where the programs meet.
pub fn main() -> ExitCode {
    match cli::parse() {
        Invocation::Demo(arguments) => demo::demo(arguments.keep, arguments.json),
        Invocation::Init(arguments) => init(arguments.system, arguments.passphrase),
        Invocation::Daemon(arguments) => daemon::daemon(&DaemonOptions {
            config: arguments.config,
            socket: arguments.sockets.socket,
            control_socket: arguments.sockets.control_socket,
            readable_by_parent: arguments.readable_by_parent,
        }),
        Invocation::Check(arguments) if arguments.files.is_empty() => daemon::check_usual(),
        Invocation::Check(arguments) => daemon::check(&arguments.files),
        Invocation::Client(command) => cli::run(command),
    }
}

fn init(system: bool, passphrase: bool) -> ExitCode {
    let mode = if system { Mode::System } else { Mode::User };
    match passphrase.then(cli::new_passphrase).transpose() {
        Ok(passphrase) => daemon::init(InitOptions { mode, passphrase }),
        Err(exit) => exit,
    }
}
