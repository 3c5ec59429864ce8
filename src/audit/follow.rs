//! Reading the audit while it is written: the lines so far, then each new one.
//! It must never slow the writer: a reader that is too far behind loses lines, and is told how many.

use super::line::LINE_MAX;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tokio::sync::broadcast;

/// What was and what comes: see [`super::Audit::follow`].
pub struct Follow {
    /// The lines of the current file up to now.
    pub past: Lines,
    /// Each line after them, its newline included.
    pub next: broadcast::Receiver<Arc<str>>,
}

/// Lines of a file up to a place, without their newlines, in pieces of at most [`LINE_MAX`] bytes.
pub struct Lines(BufReader<Slice>);

impl Lines {
    pub(super) fn new(file: Arc<File>, end: u64) -> Self {
        Self(BufReader::with_capacity(4 * LINE_MAX, Slice { file, at: 0, end }))
    }
}

impl Iterator for Lines {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        match (&mut self.0).take(LINE_MAX as u64).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => {
                line.pop_if(|last| *last == b'\n');
                Some(Ok(String::from_utf8_lossy(&line).into_owned()))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// Reads by place, so that readers share one descriptor.
struct Slice {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Slice {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..room], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
