//! `sixty` is a local credential broker: it holds long-lived API keys, hands out 60-second ones over a Unix socket to
//! processes that it can identify, and leaves no secret behind in memory.
//!
//! # The life of one request
//! Data moves one way; each step takes the last one's value by move and gives a narrower one; only a
//! [`Refusal`](model::Refusal) comes back.
//!
//! | # | step | where |
//! |---|---|---|
//! | 1 | accept: a slot is taken first | [`endpoint`] |
//! | 2 | identify, before a byte is read | [`sys`], [`attest`] |
//! | 3 | parse | [`wire`] |
//! | 4 | judge: pure, deny by default | [`policy`] |
//! | 5 | record the decision, or refuse | [`audit`] |
//! | 6 | mint: the [`Permit`](policy::Permit) is spent, the key lent for one header | [`issuer`], [`vault`], [`upstream`] |
//! | 7 | look again: still that process? | [`attest`] |
//! | 8 | answer: the token is put in below hyper | [`wire::swap`] |
//! | 9 | record the outcome | [`audit`], [`ledger`] |
//! | 10 | wipe | `Drop` |
//!
//! [`broker::Session::ask`] is this table as code.
//!
//! A virtual key lives the same life at the [`gateway`]: the key and its holder are known again
//! ([`broker::Session::holding`]), the use is judged, taken and recorded ([`broker::Holding::pass`]), and the call is made
//! with the real key put in below hyper ([`broker::Passage::call`]); the door only streams. A ticket becomes a virtual key
//! by [`broker::Session::redeem`]; a narrower key is derived by its holder alone ([`wire::narrow`]).
//!
//! # The floors
//! A module imports only from lower floors, and never from its own: a test reads the `use` lines.
//! 0 [`clock`] [`sys`] [`manual`] · 1 [`secret`] · 2 [`model`] · 3 [`policy`] [`recipe`] [`wire`] · 4 [`attest`] [`vault`]
//! [`upstream`] [`audit`] [`ledger`] · 5 [`issuer`] · 6 [`broker`] · 7 [`endpoint`] [`gateway`] [`observe`] [`client`] [`config`] ·
//! 8 [`daemon`] [`cli`] [`demo`]. `unsafe` lives in [`sys`] alone.

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
pub mod gateway;
pub mod issuer;
pub mod ledger;
pub mod manual;
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
            takeover: arguments.takeover,
            readable_by_parent: arguments.readable_by_parent,
        }),
        Invocation::Check(arguments) if arguments.files.is_empty() => daemon::check_usual(),
        Invocation::Check(arguments) => daemon::check(&arguments.files),
        Invocation::Doctor(arguments) => {
            let options = DaemonOptions {
                config: arguments.config,
                control_socket: arguments.sockets.control_socket,
                ..DaemonOptions::default()
            };
            cli::doctor(daemon::examine(&options), arguments.json)
        }
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
