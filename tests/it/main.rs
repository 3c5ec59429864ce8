//! One binary for all tests that look at the program from outside.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    dead_code,
    unreachable_pub,
    reason = "a test may panic, talk, and look at its environment; not every build uses all of the harness"
)]

mod actor;
mod approval;
mod attack;
mod audit;
mod bridge;
mod budgets;
mod cli;
mod clients;
mod clipboard;
mod confinement;
mod crash;
mod decoys;
mod demo;
mod disk;
mod doctor;
mod examples;
mod exec;
mod faults;
mod flood;
mod floors;
mod gateway;
mod harness;
mod herd;
mod hostile;
mod http;
mod identity;
mod launcher;
mod leak;
mod lifecycle;
mod locking;
mod loopback;
mod manager;
mod mask;
mod metrics;
mod minting;
mod mistakes;
mod model_studio;
mod narrowing;
mod native;
mod needs;
mod openapi;
mod owners;
mod policy;
mod presets;
mod recipients;
mod restart;
mod sandboxes;
mod selftest;
mod shared_budgets;
mod slow_disk;
mod snapshot;
mod suspend;
mod system;
mod takeover;
mod top;
mod tour;
mod units;
mod usage;
mod warm;
