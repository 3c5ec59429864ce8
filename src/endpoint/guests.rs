//! Who is in the house, so that one who says nothing can be asked to leave for one who waits at the door.
//! It never ends a connection that was asked something and owes an answer, nor one that had no moment to speak.

use super::pace::Pace;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The open connections of one socket.
#[derive(Default)]
pub(super) struct Guests(Mutex<HashMap<usize, Pace>>);

/// A connection's entry in the list, struck off by being dropped.
pub(super) struct Guest<'a> {
    guests: &'a Guests,
    name: usize,
}

impl Guests {
    /// Enters a connection.
    pub(super) fn enter(&self, pace: &Pace) -> Guest<'_> {
        let name = pace.name();
        self.list().insert(name, pace.clone());
        Guest { guests: self, name }
    }

    /// Ends the connection that has said nothing for longest: whoever has many processes or subordinate users takes
    /// the places of those who say nothing, and is the first to lose them.
    pub(super) fn dismiss_the_most_silent(&self) {
        let list = self.list();
        let silent = list.values().filter_map(|pace| Some((pace.silence()?, pace)));
        if let Some((_, pace)) = silent.max_by_key(|(silence, _)| *silence) {
            pace.dismiss();
        }
    }

    fn list(&self) -> MutexGuard<'_, HashMap<usize, Pace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.guests.list().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, endpoint::pace::Phase};
    use std::time::Duration;

    #[test]
    fn only_who_says_nothing_and_has_for_longest_is_asked_to_leave() {
        let (clock, winder) = Clock::manual(1);
        let guests = Guests::default();
        let paces: Vec<_> = (0..4)
            .map(|_| {
                winder.advance(Duration::from_secs(1));
                Pace::new(clock.clone())
            })
            .collect();
        let _entered: Vec<_> = paces.iter().map(|pace| guests.enter(pace)).collect();
        let gone = || paces.iter().map(Pace::is_dismissed).collect::<Vec<_>>();
        winder.advance(Duration::from_secs(1));
        paces[0].enter(Phase::Working);
        paces[1].enter(Phase::Idle);
        winder.advance(Duration::from_millis(10));
        guests.dismiss_the_most_silent();
        assert_eq!(gone(), [false, false, true, false], "the first owes an answer, the second just had one");
        let fresh = Pace::new(clock);
        let alone = Guests::default();
        let _entered = alone.enter(&fresh);
        alone.dismiss_the_most_silent();
        assert!(!fresh.is_dismissed(), "it had no moment to speak");
    }
}
