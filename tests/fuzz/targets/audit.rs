//! An audit that anybody may have written into.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sixty::audit;
use std::{io::Write, os::fd::AsRawFd};

fuzz_target!(|text: &[u8]| {
    let mut file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path()).unwrap();
    file.write_all(text).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
    if let Ok(verified) = audit::verify(&[path], None) {
        assert!(verified.records <= text.iter().filter(|byte| **byte == b'\n').count() as u64);
    }
});

fn path() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("sixty-fuzz-audit-{}", std::process::id()))
}
