//! The processes that leases live and die with: each is held and watched only while it has a lease.
//! It must never take one process for another because both had one number.

use super::slots::NONE;
use crate::sys::{pidfd::Pidfd, process::Process};
use std::{collections::HashMap, sync::Arc};
use tokio::task::AbortHandle;

/// All owners, by number.
#[derive(Default)]
pub(super) struct Owners {
    list: Vec<Option<Owner>>,
    free: Vec<u32>,
    /// The owner that was last taken under a process number.
    by_pid: HashMap<u32, u32>,
}

/// One process that has leases.
pub(super) struct Owner {
    process: Process,
    /// Its newest lease.
    pub(super) first: u32,
    /// What waits for its end.
    watch: AbortHandle,
}

impl Owners {
    /// The number of this process as an owner. A new one is watched.
    pub(super) fn own(&mut self, process: Process, watch: impl FnOnce(u32, Process) -> AbortHandle) -> u32 {
        let known = self.by_pid.get(&process.pid).copied();
        let known = known.filter(|number| self.at(*number).is_some_and(|known| known.process.is(&process)));
        if let Some(number) = known {
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.list.push(None);
            (self.list.len() - 1) as u32
        });
        self.by_pid.insert(process.pid, number);
        let watch = watch(number, process.clone());
        self.list[number as usize] = Some(Owner { process, first: NONE, watch });
        number
    }

    /// The process that an owner is.
    pub(super) fn process(&self, number: u32) -> Option<&Process> {
        self.at(number).map(|owner| &owner.process)
    }

    /// Those of these process numbers that are owners.
    pub(super) fn among(&self, pids: &[u32]) -> Vec<Process> {
        let numbers = pids.iter().filter_map(|pid| self.by_pid.get(pid));
        numbers.filter_map(|number| self.process(*number).cloned()).collect()
    }

    /// The newest lease of an owner, by the handle that we hold.
    pub(super) fn first(&self, process: &Process) -> Option<u32> {
        let owner = self.at(*self.by_pid.get(&process.pid)?)?;
        Arc::ptr_eq(&owner.process.pidfd, &process.pidfd).then_some(owner.first)
    }

    /// The process number of an owner, for people.
    pub(super) fn pid(&self, number: u32) -> Option<u32> {
        self.at(number).map(|owner| owner.process.pid)
    }

    pub(super) fn at_mut(&mut self, number: u32) -> Option<&mut Owner> {
        self.list.get_mut(number as usize)?.as_mut()
    }

    /// Lets go of a process that has no lease any more, and its handle with it.
    pub(super) fn let_go(&mut self, number: u32) {
        if self.at(number).is_some_and(|owner| owner.first == NONE)
            && let Some(owner) = self.take(number)
        {
            owner.watch.abort();
        }
    }

    /// The process of this handle has ended: its newest lease. None if the number is another's by now.
    pub(super) fn bury(&mut self, number: u32, ended: &Arc<Pidfd>) -> Option<u32> {
        self.at(number).filter(|owner| Arc::ptr_eq(&owner.process.pidfd, ended))?;
        self.take(number).map(|owner| owner.first)
    }

    fn take(&mut self, number: u32) -> Option<Owner> {
        let owner = self.list.get_mut(number as usize)?.take()?;
        // The process number may be another owner's by now.
        if self.by_pid.get(&owner.process.pid) == Some(&number) {
            self.by_pid.remove(&owner.process.pid);
        }
        self.free.push(number);
        Some(owner)
    }

    /// All of them, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Process)> {
        (0..).zip(&self.list).filter_map(|(number, owner)| Some((number, &owner.as_ref()?.process)))
    }

    fn at(&self, number: u32) -> Option<&Owner> {
        self.list.get(number as usize)?.as_ref()
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.list.iter().flatten().count()
    }
}
