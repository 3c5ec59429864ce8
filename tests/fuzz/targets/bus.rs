//! D-Bus messages: anybody on the machine can send the daemon one.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sixty::daemon::fuzz(bytes));
