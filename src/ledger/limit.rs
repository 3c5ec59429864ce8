//! Limits that are taken together before a call and settled together after it: tokens and cost of a lease, a day or a
//! month, of whom they are charged to, and calls at the same time. All of a call's limits are held or none; what is held is never given to another.

use super::{
    Ledger, Spending, Terms,
    pass::{Cut, Taken},
};
use crate::{
    model::{Day, LeaseId, Per, Purse},
    policy::Taking,
};
use std::{collections::HashMap, sync::Arc};

/// What a call may use, or did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Claim {
    /// Input and output.
    pub tokens: u64,
    /// Millionths of the owner's unit of money.
    pub cost_micros: u64,
}

/// What a call takes before it goes out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// What it may use.
    pub claim: Claim,
    /// The budgets that it shares with others' calls.
    pub shares: &'a [Share],
    /// Which use it takes.
    pub taking: Taking,
}

/// A budget of a key, a workspace or an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// What it is of.
    pub purse: Purse,
    /// Its name.
    pub name: Arc<str>,
    /// A day or a month.
    pub per: Per,
    /// Tokens.
    pub tokens: Option<u64>,
    /// Millionths of the owner's unit of money.
    pub cost_micros: Option<u64>,
}

/// Which limit has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Over {
    /// Seconds to wait.
    #[error("calls are made more often than the rule's budget allows")]
    Rate(u32),
    /// Some call must end first.
    #[error("as many calls run as the rule's budget allows")]
    Running,
    /// What would be left is held by calls that run.
    #[error("what is left of the budget is held by calls that run")]
    Held,
    /// Of a principal's day or month: seconds until the next one.
    #[error("what is left of the {0}'s budget is less than the call may use")]
    Window(Per, u32),
    /// Of a day or month of the key, or of its workspace or owner.
    #[error("what is left of the {0}'s budget for the {1} is less than the call may use")]
    Shared(Purse, Per),
    /// More would not be remembered, and what is not remembered is not bounded.
    #[error("more budgets are in use than are kept")]
    Full,
    /// For good.
    #[error("what is left of the lease's budget is less than the call may use")]
    Lease,
}

/// One limit of a call, and what the call holds of it.
#[derive(Debug)]
pub(super) struct Line {
    account: Account,
    most: u64,
    held: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Account {
    whose: Whose,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    Lease(LeaseId),
    /// By the window's first day.
    Window(Purse, Per, Day, Arc<str>),
    Now(Arc<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Tokens,
    Cost,
    Calls,
}

impl What {
    fn of(self, claim: &Claim) -> u64 {
        match self {
            What::Tokens => claim.tokens,
            What::Cost => claim.cost_micros,
            What::Calls => 1,
        }
    }

    /// What stays spent when the call is over.
    fn spent(self, used: &Claim) -> u64 {
        if self == What::Calls { 0 } else { self.of(used) }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    spent: u64,
    held: u64,
}

/// Limits that are kept at once. A principal has as many as it has programs, where its rule looks at those.
const ACCOUNTS: usize = 1 << 18;

/// What is spent and held of every limit that somebody has touched.
#[derive(Default)]
pub(super) struct Meter {
    tallies: HashMap<Account, Tally>,
    today: Day,
}

/// The limits of a call on a lease.
pub(super) fn lines(terms: &Terms, lease: LeaseId, wanted: &Wanted<'_>, wall: u64) -> Vec<Line> {
    let (budget, claim) = (&terms.budget, &wanted.claim);
    let window = |purse, per: Per, name: &Arc<str>| match per.window(wall) {
        Some((first, _)) => Whose::Window(purse, per, first, name.clone()),
        None => Whose::Lease(lease),
    };
    let whose = || window(Purse::Principal, budget.per, &terms.holder);
    let line = |whose, what: What, most| Line { account: Account { whose, what }, most, held: what.of(claim) };
    let tokens = budget.tokens.map(|most| line(whose(), What::Tokens, most));
    let cost = budget.cost_micros.map(|most| line(whose(), What::Cost, most));
    let calls = budget.concurrent.map(|most| line(Whose::Now(terms.holder.clone()), What::Calls, most.into()));
    let shared = wanted.shares.iter().flat_map(|share| {
        let whose = || window(share.purse, share.per, &share.name);
        let tokens = share.tokens.map(|most| line(whose(), What::Tokens, most));
        tokens.into_iter().chain(share.cost_micros.map(|most| line(whose(), What::Cost, most)))
    });
    let mut lines: Vec<Line> = tokens.into_iter().chain(cost).chain(calls).collect();
    for line in shared {
        // Two budgets of the same are one account, and the tighter one bounds it.
        match lines.iter_mut().find(|known| known.account == line.account) {
            Some(known) => known.most = known.most.min(line.most),
            None => lines.push(line),
        }
    }
    lines
}

impl Meter {
    /// Whether every line has room at this moment in Unix seconds.
    pub(super) fn fits(&self, lines: &[Line], wall: u64) -> Result<(), Over> {
        lines.iter().try_for_each(|line| {
            let known = self.tallies.get(&line.account).copied();
            if known.is_none() && self.tallies.len() >= ACCOUNTS {
                return Err(Over::Full);
            }
            let Tally { spent, held } = known.unwrap_or_default();
            match &line.account.whose {
                _ if spent.saturating_add(held).saturating_add(line.held) <= line.most => Ok(()),
                Whose::Now(_) => Err(Over::Running),
                _ if spent.saturating_add(line.held) <= line.most => Err(Over::Held),
                Whose::Window(Purse::Principal, per, ..) => {
                    Err(Over::Window(*per, per.window(wall).map_or(0, |(_, left)| left)))
                }
                Whose::Window(purse, per, ..) => Err(Over::Shared(*purse, *per)),
                Whose::Lease(_) => Err(Over::Lease),
            }
        })
    }

    /// Holds all lines; they fit.
    pub(super) fn hold(&mut self, lines: &[Line], wall: u64) {
        if std::mem::replace(&mut self.today, Day::of(wall)) != Day::of(wall) {
            let lasts = |per: Per, first| per.window(wall).is_some_and(|(now, _)| now == first);
            self.tallies.retain(|account, tally| match account.whose {
                Whose::Window(_, per, first, _) => lasts(per, first) || tally.held > 0,
                Whose::Lease(_) | Whose::Now(_) => true,
            });
        }
        for line in lines {
            let tally = self.tallies.entry(line.account.clone()).or_default();
            tally.held = tally.held.saturating_add(line.held);
        }
    }

    /// Holds as much as this claim, where a line holds less. False: there is no room, and nothing changes.
    fn cover(&mut self, lines: &mut [Line], claim: &Claim) -> bool {
        let more = |line: &Line| line.account.what.of(claim).saturating_sub(line.held);
        let fits = lines.iter().all(|line| {
            // A lease that is gone has no tally, and no room.
            let tally = self.tallies.get(&line.account);
            tally.is_some_and(|tally| tally.spent.saturating_add(tally.held).saturating_add(more(line)) <= line.most)
        });
        for line in lines.iter_mut().filter(|_| fits) {
            let more = more(line);
            line.held += more;
            if let Some(tally) = self.tallies.get_mut(&line.account) {
                tally.held += more;
            }
        }
        fits
    }

    /// Lets go of what was held, and spends what was used.
    fn settle(&mut self, lines: &[Line], used: &Claim) {
        for line in lines {
            let Some(tally) = self.tallies.get_mut(&line.account) else { continue };
            tally.held = tally.held.saturating_sub(line.held);
            tally.spent = tally.spent.saturating_add(line.account.what.spent(used));
            if (tally.held, tally.spent) == (0, 0) {
                self.tallies.remove(&line.account);
            }
        }
    }

    /// A lease is gone, and its budget with it.
    pub(super) fn forget(&mut self, lease: LeaseId) {
        if !self.tallies.is_empty() {
            for what in [What::Tokens, What::Cost] {
                self.tallies.remove(&Account { whose: Whose::Lease(lease), what });
            }
        }
    }

    /// What is spent of the budgets of days and months.
    pub(super) fn spendings(&self) -> Vec<Spending> {
        let mut all: HashMap<_, Spending> = HashMap::new();
        for (account, tally) in &self.tallies {
            let Whose::Window(purse, per, day, holder) = &account.whose else { continue };
            let window = (*purse, *per, *day);
            let one = all.entry((window, holder)).or_insert_with(|| Spending::new(window, holder));
            match account.what {
                What::Tokens => one.tokens = tally.spent,
                What::Cost => one.cost_micros = tally.spent,
                What::Calls => {}
            }
        }
        all.into_values().collect()
    }

    /// What is spent of leases' own budgets: tokens and cost.
    pub(super) fn of_leases(&self) -> HashMap<LeaseId, (u64, u64)> {
        let mut all: HashMap<_, (u64, u64)> = HashMap::new();
        for (account, tally) in &self.tallies {
            let Whose::Lease(lease) = account.whose else { continue };
            let spent = all.entry(lease).or_default();
            match account.what {
                What::Tokens => spent.0 = tally.spent,
                What::Cost => spent.1 = tally.spent,
                What::Calls => {}
            }
        }
        all
    }

    /// Puts back what was spent of a lease's own.
    pub(super) fn restore_lease(&mut self, lease: LeaseId, (tokens, cost): (u64, u64)) {
        for (what, spent) in [(What::Tokens, tokens), (What::Cost, cost)] {
            self.tallies.insert(Account { whose: Whose::Lease(lease), what }, Tally { spent, held: 0 });
        }
    }

    /// Puts back what was spent before a restart.
    pub(super) fn restore(&mut self, spent: Vec<Spending>) {
        for Spending { day, per, purse, holder, tokens, cost_micros } in spent {
            let whose = Whose::Window(purse, per, day, holder.into());
            for (what, spent) in [(What::Tokens, tokens), (What::Cost, cost_micros)] {
                self.tallies.insert(Account { whose: whose.clone(), what }, Tally { spent, held: 0 });
            }
        }
    }
}

/// One use of a lease, with all that it holds of limits. Dropped, all of it is given back.
#[must_use = "a reservation that is dropped is given back"]
pub struct Reservation {
    ledger: Ledger,
    lease: LeaseId,
    taken: Taken,
    taking: Taking,
    open: bool,
}

impl Reservation {
    pub(super) fn new(ledger: Ledger, lease: LeaseId, taken: Taken, taking: Taking) -> Self {
        Self { ledger, lease, taken, taking, open: true }
    }

    /// What tells when the call must end.
    pub fn cut(&self) -> Cut {
        self.taken.cut.clone()
    }

    /// Holds as much as this claim. False: there is no room for it.
    pub fn cover(&mut self, claim: &Claim) -> bool {
        let lines = &mut self.taken.lines;
        lines.is_empty() || self.ledger.book().meter.cover(lines, claim)
    }

    /// The call was made, and used so much.
    pub fn settle(mut self, used: &Claim) {
        self.open = false;
        if !self.taken.lines.is_empty() {
            self.ledger.book().meter.settle(&self.taken.lines, used);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Taken { cut, lines, end } = &self.taken;
        if self.open {
            let mut book = self.ledger.book();
            book.give_back(self.lease, &cut.chain, self.taking);
            book.meter.settle(lines, &Claim::default());
        }
        self.ledger.book().ends.forget(*end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_would_not_be_kept_is_no_limit_to_give() {
        let line = |number: usize| Line {
            account: Account {
                whose: Whose::Window(Purse::Principal, Per::Day, Day(1), number.to_string().into()),
                what: What::Tokens,
            },
            most: 9,
            held: 1,
        };
        let mut meter = Meter::default();
        (0..ACCOUNTS).for_each(|number| meter.hold(&[line(number)], 86_400));
        assert_eq!((meter.fits(&[line(0)], 1), meter.fits(&[line(ACCOUNTS)], 1)), (Ok(()), Err(Over::Full)));
        meter.settle(&[line(0)], &Claim::default());
        assert_eq!(meter.fits(&[line(ACCOUNTS)], 1), Ok(()), "what is back to nothing is forgotten");
    }

    #[test]
    fn a_day_that_is_over_is_forgotten_and_what_runs_is_not() {
        let line = |day| Line {
            account: Account {
                whose: Whose::Window(Purse::Principal, Per::Day, Day(day), "h".into()),
                what: What::Cost,
            },
            most: 9,
            held: 1,
        };
        let mut meter = Meter::default();
        meter.restore(vec![Spending {
            tokens: 1,
            cost_micros: 1,
            ..Spending::new((Purse::Principal, Per::Day, Day(1)), "h")
        }]);
        meter.hold(&[line(2)], 2 * 86_400);
        assert_eq!(meter.tallies.len(), 1);
        meter.hold(&[line(3)], 3 * 86_400);
        assert_eq!(meter.tallies.len(), 2);
    }
}
