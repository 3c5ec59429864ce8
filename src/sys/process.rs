//! A process held by a handle, with what tells it from every other that ever had its number.
//! It must never be compared by its number alone.

use super::pidfd::Pidfd;

/// One process, alive when it was taken.
#[derive(Debug)]
pub struct Process {
    /// Readable once the process has ended.
    pub pidfd: Pidfd,
    /// Its number, for people.
    pub pid: u32,
    /// When it started, in clock ticks since boot; with the number it names one process.
    pub started: u64,
}
