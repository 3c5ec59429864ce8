//! Between a book and the lines of an estate. What does not fit together is refused before anything is watched.

use super::{
    EstateError, Lines,
    line::{Common, Lease, Living, State},
};
use crate::{
    clock::Boottime,
    ledger::{
        book::Book,
        node::Nodes,
        owners::Owners,
        slots::{self, NONE, Slots},
        terms::Terms,
        ticket,
    },
    model::Kind,
    sys::process::Process,
};
use std::{collections::HashMap, io, sync::Arc};
use tokio::task::AbortHandle;

impl Book {
    pub(super) fn write_down(&self, now: Boottime, lines: &mut Lines<'_>) -> io::Result<()> {
        let live = || self.slots.iter().filter(|(_, slot)| slot.deadline > now.nanos());
        let over = || self.slots.iter().filter(|(_, slot)| slot.deadline <= now.nanos());
        let roll = Roll::of(self);
        let (owners, at) = living(&self.owners);
        lines.line(&Common {
            at: now.nanos(),
            terms: roll.terms.iter().map(|terms| terms.as_ref().into()).collect(),
            owners,
            rates: self.rates.kept(now),
            spent: self.meter.spendings(),
            leases: live().count(),
            ended: self.ended.len() + over().count(),
        })?;
        let spent = self.meter.of_leases();
        for (number, slot) in live() {
            let id = slots::id(number, slot.tag);
            lines.line(&Lease {
                terms: self.shelf.at(slot.terms).map_or(NOWHERE, |terms| roll.place(terms)),
                owner: (slot.owner != NONE).then(|| at.get(&slot.owner).copied().unwrap_or(NOWHERE)),
                ticket: self.tickets.left(number),
                narrowed: self.nodes.get(&number).map(Nodes::left),
                spent: spent.get(&id).copied(),
                ..Lease::of(id, slot)
            })?;
        }
        for (number, slot) in over() {
            lines.line(&Lease {
                terms: self.shelf.at(slot.terms).map_or(NOWHERE, |terms| roll.place(terms)),
                ticket: self.tickets.left(number),
                ended: Some((State::Expired, None)),
                ..Lease::of(slots::id(number, slot.tag), slot)
            })?;
        }
        self.ended.iter().try_for_each(|entry| {
            let state = State::ALL.into_iter().find(|state| state.word() == entry.state).unwrap_or(State::Revoked);
            lines.line(&Lease {
                terms: roll.place(&entry.terms),
                ticket: entry.ticket.as_ref().map(|digest| ticket::halves(digest, true)),
                ended: Some((state, entry.owner_pid)),
                ..Lease::of(entry.id, &entry.slot)
            })
        })
    }

    /// Into an empty book. Nothing is watched before all is known to fit.
    pub(super) fn inherit(
        &mut self,
        common: Common,
        leases: Vec<Lease>,
        now: Boottime,
        watch: impl Fn(u32, Process) -> AbortHandle,
    ) -> Result<(), EstateError> {
        let terms: Vec<Arc<Terms>> = common.terms.into_iter().map(|held| Arc::new(held.into())).collect();
        let processes: Vec<Option<Process>> =
            common.owners.iter().map(|living| Process::again(living.pid, living.began)).collect();
        let mut slots = Slots::new();
        let mut live = Vec::new();
        for (line, lease) in (3..).zip(leases) {
            let terms = terms.get(lease.terms).ok_or(EstateError::Line(line))?;
            let mut ended = lease.ended;
            if ended.is_none() && lease.deadline <= now.nanos() {
                ended = Some((State::Expired, None));
            }
            let process = match lease.owner {
                None => None,
                Some(at) => match processes.get(at) {
                    Some(Some(process)) => Some(process.clone()),
                    None if at != NOWHERE => return Err(EstateError::Line(line)),
                    _ => {
                        let dead = Some((State::Revoked, None)).filter(|_| terms.kind == Kind::Virtual);
                        ended = ended.or(dead);
                        None
                    }
                },
            };
            if let Some(ended) = ended {
                self.note_end(lease.entry(terms.clone(), ended));
                continue;
            }
            let number = slots.settle(&lease.id, lease.slot()).ok_or(EstateError::Line(line))?;
            live.push((number, lease, terms.clone(), process));
        }
        slots.free_the_rest();
        self.slots = slots;
        for (number, lease, terms, process) in live {
            self.enlist(number, terms, process, &watch);
            self.remember(number, &lease);
        }
        self.rates.restore(common.rates);
        self.meter.restore(common.spent);
        Ok(())
    }

    /// What not all leases have.
    fn remember(&mut self, number: u32, lease: &Lease) {
        // Of a lease that has no virtual key, or not yet, it is nothing.
        if lease.digest != 0 {
            self.index.put(&lease.digest.to_be_bytes(), number);
        }
        if let Some(ticket) = lease.ticket {
            self.tickets.restore(number, ticket);
        }
        if let Some(narrowed) = &lease.narrowed {
            self.nodes.insert(number, Nodes::restored(narrowed));
        }
        if let Some(spent) = lease.spent {
            self.meter.restore_lease(lease.id, spent);
        }
    }
}

/// In the place of an owner that had ended: a number that none has.
const NOWHERE: usize = u32::MAX as usize;

/// The terms of all leases, and where each stands among them.
struct Roll<'a> {
    terms: Vec<&'a Arc<Terms>>,
    places: HashMap<&'a Terms, usize>,
}

impl<'a> Roll<'a> {
    fn of(book: &'a Book) -> Self {
        let mut roll = Self { terms: Vec::new(), places: HashMap::new() };
        for terms in book.shelf.iter().chain(book.ended.iter().map(|entry| &entry.terms)) {
            roll.places.entry(terms).or_insert_with(|| {
                roll.terms.push(terms);
                roll.terms.len() - 1
            });
        }
        roll
    }

    fn place(&self, terms: &Terms) -> usize {
        self.places.get(terms).copied().unwrap_or(NOWHERE)
    }
}

/// The owners that are alive, and where each stands among them.
fn living(owners: &Owners) -> (Vec<Living>, HashMap<u32, usize>) {
    let (mut all, mut places) = (Vec::new(), HashMap::new());
    for (number, process) in owners.iter() {
        if let Some(began) = process.began() {
            places.insert(number, all.len());
            all.push(Living { pid: process.pid, began });
        }
    }
    (all, places)
}
