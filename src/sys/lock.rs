//! The lock of what several loops share: std's, without its poison, since a panic ends the process. Under the feature
//! `loom` it is one whose takers are tried in every order (`.ci/run`); a program with that must never be shipped.

use std::sync::PoisonError;

#[cfg(feature = "loom")]
use loom::sync as kind;
#[cfg(not(feature = "loom"))]
use std::sync as kind;

/// What the one who has it holds.
pub type MutexGuard<'a, T> = kind::MutexGuard<'a, T>;

/// One at a time.
#[derive(Debug)]
pub struct Mutex<T>(kind::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock that nobody has.
    pub fn new(value: T) -> Self {
        Self(kind::Mutex::new(value))
    }

    /// Waits until nobody else has it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}
