//! When each provider answered last, and what kept it from answering since. It keeps no word of an answer.

use super::CallError;
use crate::{clock::Clock, recipe::Endpoint};
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

/// Endpoints that are remembered: more than any vault has. The one that was asked longest ago makes room.
const MOST: usize = 256;

/// How asking one endpoint went, in Unix seconds by the clock of the moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Reached {
    /// When it answered last, whatever it said.
    pub answered_at: Option<u64>,
    /// When it last did not, if that was later.
    pub failed_at: Option<u64>,
    /// Why not.
    pub fault: Option<String>,
}

impl Reached {
    fn asked_at(&self) -> Option<u64> {
        self.answered_at.max(self.failed_at)
    }
}

/// What is remembered of all.
#[derive(Clone)]
pub(super) struct Memory {
    clock: Clock,
    all: Arc<Mutex<HashMap<Endpoint, Reached>>>,
}

impl Memory {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, all: Arc::default() }
    }

    /// Remembers how a call went; a fault that is ours tells nothing.
    pub(super) fn note<T>(&self, endpoint: &Endpoint, outcome: &Result<T, CallError>) {
        let fault = match outcome {
            Ok(_) => None,
            Err(CallError::KeyChanged | CallError::Request) => return,
            // It was there, after all.
            Err(CallError::TooLarge(_)) => None,
            Err(fault) => Some(fault.to_string()),
        };
        let now = self.clock.wall();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(endpoint) {
            if all.len() >= MOST {
                let oldest = all.iter().min_by_key(|(_, reached)| reached.asked_at()).map(|(oldest, _)| oldest.clone());
                oldest.and_then(|oldest| all.remove(&oldest));
            }
            all.insert(endpoint.clone(), Reached::default());
        }
        let Some(reached) = all.get_mut(endpoint) else { return };
        match fault {
            None => *reached = Reached { answered_at: Some(now), ..Reached::default() },
            fault => (reached.failed_at, reached.fault) = (Some(now), fault),
        }
    }

    pub(super) fn all(&self) -> BTreeMap<String, Reached> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(endpoint, reached)| (endpoint.to_string(), reached.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Scheme;
    use std::time::Duration;

    fn endpoint(port: usize) -> Endpoint {
        Endpoint { scheme: Scheme::Https, host: "a.example".into(), port: port as u16 }
    }

    #[test]
    fn an_answer_ends_a_fault_and_a_fault_keeps_the_last_answer() {
        let (clock, winder) = Clock::manual(1000);
        let (memory, at) = (Memory::new(clock), endpoint(443));
        memory.note(&at, &Ok(()));
        winder.advance(Duration::from_secs(5));
        memory.note::<()>(&at, &Err(CallError::Unanswered("a.example".into())));
        memory.note::<()>(&at, &Err(CallError::KeyChanged));
        let told = memory.all().remove(&at.to_string()).unwrap();
        assert_eq!((told.answered_at, told.failed_at), (Some(1000), Some(1005)));
        memory.note(&at, &Ok(()));
        let told = memory.all().remove(&at.to_string()).unwrap();
        assert_eq!((told.answered_at, told.failed_at, told.fault), (Some(1005), None, None));
    }

    #[test]
    fn who_stores_keys_for_ever_new_endpoints_fills_nothing() {
        let (clock, winder) = Clock::manual(1000);
        let memory = Memory::new(clock);
        for port in 1..=MOST + 2 {
            memory.note(&endpoint(port), &Ok(()));
            winder.advance(Duration::from_secs(1));
        }
        let all = memory.all();
        assert_eq!(all.len(), MOST);
        assert!(!all.contains_key(&endpoint(1).to_string()) && all.contains_key(&endpoint(3).to_string()));
    }
}
