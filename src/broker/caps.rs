//! How many connections each user has, so that one cannot take them all. A seat is given back by being dropped.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

#[derive(Clone)]
pub(super) struct Caps {
    each: usize,
    taken: Arc<Mutex<HashMap<u32, usize>>>,
}

/// One connection of one user.
pub(super) struct Seat {
    caps: Caps,
    uid: u32,
}

impl Caps {
    pub(super) fn new(each: usize) -> Self {
        Self { each, taken: Arc::default() }
    }

    /// A seat, if the user has one left.
    pub(super) fn take(&self, uid: u32) -> Option<Seat> {
        let mut taken = self.taken();
        let count = taken.entry(uid).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(Seat { caps: self.clone(), uid })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.caps.taken();
        if let Some(count) = taken.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_comes_back_when_its_connection_ends() {
        let caps = Caps::new(2);
        let seats = (caps.take(1), caps.take(1));
        assert!(seats.0.is_some() && seats.1.is_some() && caps.take(1).is_none() && caps.take(2).is_some());
        drop(seats);
        assert!(caps.take(1).is_some());
    }
}
