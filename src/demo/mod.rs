//! What `sixty demo` and the tests need to show the whole life of a key: a pretend Model Studio and a memory scanner.
//!
//! Nothing here may be reached from the daemon: it exists to be talked to, never to serve a real key.

pub mod scan;
pub mod studio;

/// Runs the demo.
pub fn demo(_keep: bool, _json: bool) -> std::process::ExitCode {
    std::process::ExitCode::from(1)
}
