//! A vault file that anybody may have written: its header, and its contents once they are open.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| sixty::vault::fuzz(file));
