//! Time.

/// Nanoseconds on CLOCK_BOOTTIME.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boottime(pub u64);
