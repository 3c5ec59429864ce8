//! One call where many ask at one moment, and tokens that a rule lets its principals share for a while.
//! A waiter that leaves does not end the call, and one principal never gets another's token unless the rule says so.

use super::MintError;
use crate::{
    clock::Boottime,
    model::KeyName,
    policy::Permit,
    secret::Secret,
    sys::lock::{Mutex, MutexGuard},
};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::watch;

/// A token that several leases may carry.
pub(super) struct Landed {
    pub(super) token: Secret,
    pub(super) deadline: Boottime,
    pub(super) expires_at: u64,
    pub(super) provider: String,
    pub(super) base_urls: Vec<(String, String)>,
    /// When it was minted.
    pub(super) at: Boottime,
}

pub(super) type Outcome = Result<Arc<Landed>, MintError>;
type Result<T, E> = std::result::Result<T, E>;

/// The calls that are under way, and what of them may be shared.
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<Place, State>>>);

/// Who may sit in one flight.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    key: String,
    ttl: u32,
    /// The principal as its rule sees it; or the rule alone, when it shares.
    who: String,
}

impl Place {
    pub(super) fn of(permit: &Permit) -> Self {
        let who = if permit.share().is_some() { permit.rule() } else { permit.holder() };
        Self { key: permit.key().to_string(), ttl: permit.ttl().seconds(), who: who.to_owned() }
    }
}

enum State {
    Flying(watch::Receiver<Option<Outcome>>),
    Kept(Arc<Landed>, Boottime),
}

/// Either a seat in a flight that others began, a token that is kept, or the task to fly.
pub(super) enum Boarding {
    /// Wait here.
    Wait(watch::Receiver<Option<Outcome>>),
    /// Take this.
    Kept(Arc<Landed>),
    /// Nobody flies: call, then tell it here.
    Fly(watch::Sender<Option<Outcome>>, watch::Receiver<Option<Outcome>>),
}

impl Flights {
    /// Boards. A kept token is given only with as much life left as the permit wants.
    pub(super) fn board(&self, place: &Place, permit: &Permit, now: Boottime) -> Boarding {
        let mut states = self.states();
        match states.get(place) {
            Some(State::Flying(seat)) => return Boarding::Wait(seat.clone()),
            Some(State::Kept(landed, until)) if *until > now && suits(landed, permit, now) => {
                return Boarding::Kept(landed.clone());
            }
            _ => {}
        }
        let (tell, seat) = watch::channel(None);
        states.insert(place.clone(), State::Flying(seat.clone()));
        Boarding::Fly(tell, seat)
    }

    /// Ends a flight, and keeps its token for as long as the rule shares it; then tells who waits for it. One that was
    /// forgotten while it flew touches nothing: the place may be a newer flight's.
    pub(super) fn land(&self, place: &Place, permit: &Permit, outcome: Outcome, tell: &watch::Sender<Option<Outcome>>) {
        let mut states = self.states();
        let ours = |state: &State| matches!(state, State::Flying(seat) if seat.same_channel(&tell.subscribe()));
        if states.get(place).is_some_and(ours) {
            states.remove(place);
            if let (Ok(landed), Some(share)) = (&outcome, permit.share()) {
                states.insert(place.clone(), State::Kept(landed.clone(), landed.at.plus(share)));
            }
        }
        drop(states);
        tell.send_replace(Some(outcome));
    }

    /// Drops the tokens that may not be shared any more.
    pub(super) fn sweep(&self, now: Boottime) {
        self.states().retain(|_, state| !matches!(state, State::Kept(_, until) if *until <= now));
    }

    /// The same for one key.
    pub(super) fn forget_key(&self, key: &KeyName) {
        self.states().retain(|place, _| place.key != key.as_str());
    }

    /// Drops what is kept, and lets flights end without being kept.
    pub(super) fn forget(&self) {
        self.states().clear();
    }

    fn states(&self) -> MutexGuard<'_, HashMap<Place, State>> {
        self.0.lock()
    }
}

fn suits(landed: &Landed, permit: &Permit, now: Boottime) -> bool {
    landed.deadline.since(now).as_secs() >= u64::from(permit.min_remaining()).max(1)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        model::{Principal, Request},
        policy::{Condition, Rules, judge},
    };
    use std::time::Duration;

    pub(in crate::issuer) fn permit(now: Boottime, share: Option<Duration>) -> Permit {
        let mut rules = Rules::operator(1);
        rules.0[0].peer = vec![Condition::Uid(1)];
        rules.0[0].share = share;
        let facts = Principal {
            uid: 1,
            gid: 1,
            pid: 7,
            unit: None,
            cgroup: None,
            exe: None,
            exe_sha256: None,
            pid_ns: None,
            socket: "broker",
        };
        let request: Request = serde_json::from_str(r#"{"key":"dashscope/main"}"#).unwrap();
        judge(&rules, &facts, &request, now).unwrap()
    }

    pub(in crate::issuer) fn landed(now: Boottime) -> Outcome {
        Ok(Arc::new(Landed {
            token: Secret::copied(b"st-0123456789abcdef"),
            deadline: now.plus(Duration::from_secs(60)),
            expires_at: 1060,
            provider: "dashscope".into(),
            base_urls: Vec::new(),
            at: now,
        }))
    }

    #[test]
    fn a_flight_that_was_forgotten_leaves_the_next_one_alone() {
        let now = Boottime::from_nanos(1);
        let (flights, permit) = (Flights::default(), permit(now, Some(Duration::from_secs(15))));
        let place = Place::of(&permit);
        let Boarding::Fly(old, _) = flights.board(&place, &permit, now) else { unreachable!() };
        flights.forget();
        let Boarding::Fly(new, _) = flights.board(&place, &permit, now) else { unreachable!() };
        flights.land(&place, &permit, landed(now), &old);
        assert!(matches!(flights.board(&place, &permit, now), Boarding::Wait(_)), "the new flight is still under way");
        flights.land(&place, &permit, landed(now), &new);
        assert!(matches!(flights.board(&place, &permit, now), Boarding::Kept(_)), "its token is shared");
    }
}
