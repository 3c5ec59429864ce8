//! How many connections each user has on each socket, so that one cannot take them all, and an app that takes all of
//! its user's cannot keep that user from the control socket. A seat is given back by being dropped.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A user on a socket.
type Place = (u32, &'static str);

#[derive(Clone)]
pub(super) struct Caps {
    each: usize,
    taken: Arc<Mutex<HashMap<Place, usize>>>,
}

/// One connection of one user.
pub(super) struct Seat {
    caps: Caps,
    place: Place,
}

impl Caps {
    pub(super) fn new(each: usize) -> Self {
        Self { each, taken: Arc::default() }
    }

    /// A seat, if the user has one left there.
    pub(super) fn take(&self, uid: u32, socket: &'static str) -> Option<Seat> {
        let place = (uid, socket);
        let mut taken = self.taken();
        let count = taken.entry(place).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(Seat { caps: self.clone(), place })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Place, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.caps.taken();
        if let Some(count) = taken.get_mut(&self.place) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.place);
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
        let seats = (caps.take(1, "broker"), caps.take(1, "broker"));
        assert!(seats.0.is_some() && seats.1.is_some() && caps.take(1, "broker").is_none());
        assert!(caps.take(2, "broker").is_some() && caps.take(1, "control").is_some());
        drop(seats);
        assert!(caps.take(1, "broker").is_some());
    }
}
