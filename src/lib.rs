//! `sixty` holds long-lived API keys and hands out 60-second ones over a Unix socket.

pub mod clock;
pub mod model;
pub mod policy;
pub mod recipe;
pub mod secret;
pub mod wire;

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
