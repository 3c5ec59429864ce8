//! What a ledger leaves to the next process: its leases and what is counted of them, as lines of text. Everything is
//! believed or nothing is. It holds digests and never a token, and no upstream token that the issuer shares.

mod book;
mod line;

use super::{Ledger, book::Book, watch};
use crate::clock::Boottime;
use line::{Common, Lease};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::io::{self, Write};

/// The first word; another number for every change of what is below.
const FORMAT: &str = "sixty-estate-1";
/// Before the digits of the last line.
const CHECK: &str = "sha256=";
/// Bytes of the last line.
const LAST: usize = CHECK.len() + 64 + 1;

/// Why an estate is not taken; nothing of it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EstateError {
    /// It is not what was written.
    #[error("it is torn")]
    Torn,
    /// Another program's.
    #[error("it is of another version of the program")]
    Version,
    /// Its numbers of processes and its times mean nothing here.
    #[error("it is of another boot of this machine, or of another container")]
    Era,
    /// It is whole, and what it says cannot be.
    #[error("line {0} of it cannot be")]
    Line(usize),
}

impl Ledger {
    /// Writes down what the next process is to go on with. `era` says what its numbers mean something in: one line.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn leave(&self, era: &str, to: &mut dyn Write) -> io::Result<()> {
        let mut lines = Lines { to, hash: Sha256::new() };
        lines.put(format!("{FORMAT} {era}\n").as_bytes())?;
        self.book().write_down(self.clock.boot(), &mut lines)?;
        let digest = lines.hash.clone().finalize();
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        lines.to.write_all(format!("{CHECK}{digits}\n").as_bytes())
    }

    /// Goes on with what another process left, in the place of all that is known. Leases whose owner or time has ended
    /// are as they would be had that been seen; gives how many live.
    ///
    /// # Errors
    /// [`EstateError`]; then nothing has changed.
    pub fn inherit(&self, era: &str, estate: &[u8]) -> Result<usize, EstateError> {
        let now = self.clock.boot();
        let (common, leases) = parsed(era, estate, now)?;
        let mut book = self.book();
        let watch = |number, process| watch::owner(self.clone(), number, process);
        let mut next = Book::new(book.options);
        // Whom the reaper listens to.
        next.earlier = book.earlier.clone();
        next.inherit(common, leases, now, watch)?;
        *book = next;
        self.earlier.notify_one();
        Ok(book.count())
    }
}

/// Text that is written and hashed.
struct Lines<'a> {
    to: &'a mut dyn Write,
    hash: Sha256,
}

impl Lines<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.to.write_all(bytes)
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(value)?;
        text.push(b'\n');
        self.put(&text)
    }
}

fn parsed(era: &str, estate: &[u8], now: Boottime) -> Result<(Common, Vec<Lease>), EstateError> {
    let (text, last) = estate.split_at_checked(estate.len().wrapping_sub(LAST)).ok_or(EstateError::Torn)?;
    let digits: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    if last != format!("{CHECK}{digits}\n").as_bytes() {
        return Err(EstateError::Torn);
    }
    let mut lines = text.split(|byte| *byte == b'\n');
    let first = lines.next().and_then(|line| str::from_utf8(line).ok()).ok_or(EstateError::Torn)?;
    match first.split_once(' ') {
        Some((FORMAT, of)) if of == era => {}
        Some((FORMAT, _)) => return Err(EstateError::Era),
        _ => return Err(EstateError::Version),
    }
    let mut numbered = (2..).zip(lines);
    let common: Common = one(numbered.next())?;
    if common.at > now.nanos() {
        return Err(EstateError::Era);
    }
    let count = common.leases.saturating_add(common.ended);
    let leases: Vec<Lease> = numbered.by_ref().take(count).map(|line| one(Some(line))).collect::<Result<_, _>>()?;
    match numbered.next() {
        Some((_, [])) if leases.len() == count => Ok((common, leases)),
        _ => Err(EstateError::Torn),
    }
}

fn one<T: DeserializeOwned>(line: Option<(usize, &[u8])>) -> Result<T, EstateError> {
    let (number, line) = line.ok_or(EstateError::Torn)?;
    serde_json::from_slice(line).map_err(|_| EstateError::Line(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        ledger::{
            Chain, Claim, Ended, LedgerOptions, New, Spent, Terms, Wanted, Which,
            tests::{lease, ledger},
        },
        model::{Budget, Kind, NodeId, Per, Rate, Scope},
        sys::process::Process,
        wire::narrow::mark,
    };
    use std::{sync::Arc, time::Duration};

    fn left(ledger: &Ledger) -> Vec<u8> {
        let mut estate = Vec::new();
        ledger.leave("here", &mut estate).unwrap();
        estate
    }

    fn heir(clock: &Clock) -> Ledger {
        Ledger::new(LedgerOptions { leases: 9, leases_per_uid: 9, narrowed_keys: 4 }, clock.clone())
    }

    fn ourselves() -> Process {
        let pidfd = crate::sys::pidfd::Pidfd::open(nix::unistd::getpid().as_raw()).unwrap();
        Process { pidfd: Arc::new(pidfd), pid: std::process::id() }
    }

    fn terms(clock: &Clock, budget: Budget) -> Arc<Terms> {
        let common = lease(clock, 1, Kind::Virtual, 60, 1).terms;
        let paths = (0..40).map(|n| format!("/v1/{n}")).collect();
        let scopes = vec![Scope { paths: Some(paths), ..Scope::default() }];
        Arc::new(Terms { budget, scopes, recipient: Some("uid:7".parse().unwrap()), ..Terms::clone(&common) })
    }

    #[tokio::test]
    async fn all_that_is_known_of_a_lease_goes_on_in_another_process() {
        let (old, winder, clock) = ledger(9, 9);
        let budget = Budget { tokens: Some(10), per: Per::Lease, ..Budget::default() };
        let bounded = New { terms: terms(&clock, budget), uses: Some(3), ..lease(&clock, 1, Kind::Virtual, 60, 7) };
        let ids = [
            old.enter(bounded, Some(ourselves())).unwrap(),
            old.enter(New { ticket: Some([8; 32]), digest: None, ..lease(&clock, 1, Kind::Virtual, 60, 0) }, None)
                .unwrap(),
            old.enter(lease(&clock, 2, Kind::Upstream, 60, 0), None).unwrap(),
        ];
        let claim = Claim { tokens: 6, cost_micros: 0 };
        let wanted = Wanted { claim, ..Wanted::default() };
        let chain = Chain { steps: vec![([5; 8], Some(1))], until: None };
        old.take_narrowed(ids[0], chain.clone(), &wanted).unwrap().settle(&claim);
        old.revoke(&Which::Node(NodeId { mark: mark(&[7; 32]), node: [6; 8] }, None));
        let rate: Rate = "1/min".parse().unwrap();
        old.take("holder", rate).unwrap();
        winder.advance(Duration::from_secs(1));
        let new = heir(&clock);
        assert_eq!(new.inherit("here", &left(&old)), Ok(3));
        let (before, after) = (old.list(None, Ended::Left), new.list(None, Ended::Left));
        assert_eq!(before, after);
        assert!(ids.iter().all(|id| after.iter().any(|summary| summary.id == *id)));
        let held = new.held(&[7; 32]).unwrap();
        assert_eq!((held.lease, &held.terms, held.seal), (ids[0], &terms(&clock, budget), [0; 16]));
        assert!(held.owner.unwrap().is(&ourselves()));
        let spent = |chain: Chain, wanted: &Wanted<'_>| new.take_narrowed(ids[0], chain, wanted).err();
        assert_eq!(spent(chain, &Wanted::default()), Some(Spent::Exhausted), "its one use was counted");
        let dead = Chain { steps: vec![([6; 8], None)], until: None };
        assert_eq!(spent(dead, &Wanted::default()), Some(Spent::Revoked));
        assert!(matches!(spent(Chain::default(), &wanted), Some(Spent::Over(_))), "four tokens are left of ten");
        new.take_use(ids[0], &Wanted::default()).unwrap().settle(&Claim::default());
        assert!(new.take("holder", rate).is_err() && new.take("another", rate).is_ok());
        new.redeem(ids[1], [9; 32], [0; 16]).unwrap();
        assert_eq!((new.held(&[9; 32]).unwrap().lease, new.ticketed(&[8; 32]).unwrap().lease), (ids[1], ids[1]));
        assert_eq!(new.redeem(ids[1], [3; 32], [0; 16]), Err(Spent::Redeemed));
        let again = heir(&clock);
        again.inherit("here", &left(&new)).unwrap();
        assert_eq!(again.list(Some(2), Ended::Left)[0].id, ids[2], "and from that one to the next");
        assert_eq!(again.held(&[9; 32]).err(), Some(Spent::Revoked), "how a lease ended goes on too");
        winder.advance(Duration::from_secs(60));
        again.reap(99);
        assert_eq!(
            (again.count(), heir(&clock).inherit("here", &left(&new))),
            (0, Ok(0)),
            "deadlines are what they were"
        );
    }

    #[tokio::test]
    async fn who_ended_in_between_has_no_virtual_lease() {
        let (old, _, clock) = ledger(9, 9);
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let pidfd = crate::sys::pidfd::Pidfd::open(child.id().cast_signed()).unwrap();
        let owner = Process { pidfd: Arc::new(pidfd), pid: child.id() };
        for (kind, digest) in [(Kind::Virtual, 1), (Kind::Upstream, 2)] {
            old.enter(lease(&clock, 1, kind, 60, digest), Some(owner.clone())).unwrap();
        }
        let alive = left(&old);
        assert_eq!(heir(&clock).inherit("here", &alive), Ok(2));
        child.kill().unwrap();
        child.wait().unwrap();
        for estate in [alive, left(&old)] {
            let new = heir(&clock);
            assert_eq!(new.inherit("here", &estate), Ok(1));
            assert_eq!(new.held(&[1; 32]).err(), Some(Spent::Revoked));
            let leases = new.list(None, Ended::Left);
            assert_eq!((leases[0].kind, leases[0].owner_pid), (Kind::Upstream, None), "it lives on at its provider");
        }
    }

    #[test]
    fn what_is_torn_or_of_elsewhere_is_refused_whole() {
        let (old, _, clock) = ledger(9, 9);
        old.enter(lease(&clock, 1, Kind::Virtual, 60, 7), None).unwrap();
        let whole = left(&old);
        let refused = |estate: &[u8]| {
            let (new, mine) = (heir(&clock), lease(&clock, 3, Kind::Virtual, 60, 1));
            new.enter(mine, None).unwrap();
            let refused = new.inherit("here", estate).unwrap_err();
            assert_eq!(new.list(None, Ended::Left)[0].uid, 3, "nothing has changed");
            refused
        };
        for at in 0..whole.len() {
            assert_eq!(refused(&whole[..at]), EstateError::Torn);
            let mut other = whole.clone();
            other[at] ^= 1;
            assert_eq!(refused(&other), EstateError::Torn, "byte {at}");
        }
        let mut elsewhere = Vec::new();
        old.leave("there", &mut elsewhere).unwrap();
        assert_eq!(refused(&elsewhere), EstateError::Era);
        assert_eq!(refused(&edited(&whole, "sixty-estate-1", "sixty-estate-2")), EstateError::Version);
        assert_eq!(refused(&edited(&whole, "\"at\":3", "\"at\":9")), EstateError::Era, "it was written later than now");
        for (from, to) in [("\"terms\":0", "\"terms\":1"), ("\"uses\"", "\"used\""), ("ls_000", "ls_fff")] {
            assert_eq!(refused(&edited(&whole, from, to)), EstateError::Line(3), "{to}");
        }
        assert_eq!(refused(&edited(&whole, "\"leases\":1", "\"leases\":2")), EstateError::Line(4));
        assert_eq!(refused(&edited(&whole, "\"leases\":1", "\"leases\":0")), EstateError::Torn);
    }

    #[test]
    fn whatever_a_line_says_it_is_taken_whole_or_refused_and_nothing_breaks() {
        let (old, _, clock) = ledger(9, 9);
        old.enter(New { ticket: Some([8; 32]), ..lease(&clock, 1, Kind::Virtual, 60, 7) }, None).unwrap();
        old.freeze(old.enter(lease(&clock, 1, Kind::Virtual, 60, 5), None).unwrap());
        let whole = left(&old);
        for at in 0..whole.len() - LAST {
            for byte in [b'0', b'9', b'"', b'}', b',', b'\n', 0, 0xff] {
                let mut text = whole[..whole.len() - LAST].to_vec();
                text[at] = byte;
                let new = heir(&clock);
                let taken = new.inherit("here", &signed(text));
                assert_eq!(taken.unwrap_or_default(), new.count());
            }
        }
    }

    /// With a check sum that fits: what a program of another version could write.
    fn edited(estate: &[u8], from: &str, to: &str) -> Vec<u8> {
        let text = str::from_utf8(&estate[..estate.len() - LAST]).unwrap();
        assert!(text.contains(from), "{text}");
        let text = text.replacen(from, to, 1);
        signed(text.into_bytes())
    }

    fn signed(mut text: Vec<u8>) -> Vec<u8> {
        let digits: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        text.extend_from_slice(format!("{CHECK}{digits}\n").as_bytes());
        text
    }
}
