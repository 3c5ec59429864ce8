//! `sixty` holds long-lived API keys and hands out 60-second ones over a Unix socket.

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
