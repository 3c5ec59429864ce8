//! What one call is charged to, and with what: the provider's own count, else an estimate that is marked as one.
//! It never sees what was said.

use super::{Inner, refuse::Stop, shared::Bounds};
use crate::{
    ledger::{Chain, Claim, Counts, Cut, OTHER, Reservation, Row, Terms, Wanted},
    model::{Day, LeaseId, Usage},
    recipe::Way,
};

/// What the body of a call says, where it was looked into.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    /// Every model that may serve the call.
    pub models: &'a [String],
    /// The greatest limit of an answer's tokens that stands there.
    pub max_output: Option<u64>,
    /// How many answers are asked for.
    pub answers: u64,
    /// Its length.
    pub bytes: usize,
}

/// What an answer told of its usage.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    /// By the provider's count.
    pub usage: Option<Usage>,
    /// Tokens of output that were seen to pass; none where nobody could read the answer.
    pub output: Option<u64>,
}

/// One call's charge.
pub(super) struct Charge {
    row: Row,
    provider: String,
    models: Vec<String>,
    /// Tokens of input, estimated.
    input: u64,
    /// Of the body.
    max_output: Option<u64>,
    answers: u64,
    /// Tokens of output that are held; none where no budget goes by them.
    held: Option<u64>,
    /// Tokens of output after which the answer is cut.
    most: Option<u64>,
    reservation: Option<Reservation>,
    pub(super) told: Told,
}

/// A token for so many bytes.
const BYTES: u64 = 4;
/// Tokens that are held for an answer of which nothing is said; it may be longer while the budget has room.
const USUAL_OUTPUT: u64 = 4096;
/// More is held by so many tokens at once.
const STEP: u64 = 256;
/// The longest name of a model that is counted by itself.
const MODEL: usize = 128;

impl Charge {
    pub(super) fn new(broker: &Inner, terms: &Terms, way: &Way, body: Option<&Body<'_>>) -> Self {
        let meta = broker.vault.meta(&terms.key).ok().map(|listed| listed.meta);
        let (provider, owner, workspace) =
            meta.map(|meta| (meta.provider, meta.owner, meta.place.workspace)).unwrap_or_default();
        let models = way.model.iter().chain(body.into_iter().flat_map(|body| body.models));
        let models: Vec<String> = models.cloned().collect();
        let row = Row {
            day: Day::of(broker.clock.wall()),
            owner: owner.unwrap_or_default(),
            workspace: workspace.unwrap_or_default(),
            key: terms.key.to_string(),
            peer: peer(terms),
            model: models.first().map(|model| shown(model)).unwrap_or_default(),
        };
        let input = body.map_or(0, |body| tokens(body.bytes));
        Self {
            row,
            provider,
            models,
            input,
            max_output: body.and_then(|body| body.max_output),
            answers: body.map_or(1, |body| body.answers.max(1)),
            held: None,
            most: None,
            reservation: None,
            told: Told::default(),
        }
    }

    /// Every model that may serve the call, as path and body name them.
    pub(super) fn models(&self) -> Vec<&str> {
        self.models.iter().map(String::as_str).collect()
    }

    /// Takes one use, and holds what the call may use.
    pub(super) fn reserve(
        &mut self,
        broker: &Inner,
        lease: LeaseId,
        chain: &Chain,
        bounds: &Bounds,
    ) -> Result<Cut, Stop> {
        let budget = &bounds.budget;
        let mut claim = Claim::default();
        if budget.weighs() {
            let each = self.max_output.or(budget.max_output).unwrap_or(USUAL_OUTPUT);
            let output = each.saturating_mul(self.answers);
            self.held = Some(output);
            // What the body itself bounds, the provider keeps to: it counts better than we do.
            self.most = budget.max_output.filter(|_| self.max_output.is_none()).map(|_| output);
            claim = self.claim(broker, output);
        }
        if budget.cost_micros.is_some() && self.cost(broker, &self.estimate(0)).is_none() {
            return Err(Stop::Unpriced);
        }
        let wanted = Wanted { claim, shares: &bounds.shares };
        let reservation = broker.ledger.take_narrowed(lease, chain.clone(), &wanted)?;
        Ok(self.reservation.insert(reservation).cut())
    }

    /// Whether an answer may go on that has so many tokens of output. One of which the body says no bound holds more as
    /// it grows.
    pub(super) fn goes_on(&mut self, broker: &Inner, output: u64) -> bool {
        let Some(held) = self.held.filter(|held| self.max_output.is_none() && output > *held) else { return true };
        if self.most.is_some() {
            return false;
        }
        let (next, claims) = (held + STEP.max(output - held), |output| self.claim(broker, output));
        let (wide, least) = (claims(next), claims(output));
        let Some(reservation) = &mut self.reservation else { return false };
        let covered = [(wide, next), (least, output)].into_iter().find(|(claim, _)| reservation.cover(claim));
        self.held = covered.map(|(_, output)| output).or(self.held);
        covered.is_some()
    }

    /// Nothing came of it.
    pub(super) fn refund(&mut self) {
        self.reservation = None;
    }

    fn claim(&self, broker: &Inner, output: u64) -> Claim {
        let usage = self.estimate(output);
        Claim { tokens: usage.total, cost_micros: self.cost(broker, &usage).unwrap_or(0) }
    }

    /// The bill, once nothing more comes. `status` is the answer's, none where nobody heard it.
    pub(super) fn settle(&mut self, broker: &Inner, status: Option<u16>) {
        let taken = status.is_none_or(|status| (200..300).contains(&status));
        // Where a budget goes by an answer of which nobody could read a word, all that was held for it is spent.
        let seen = match self.told.output {
            None | Some(0) => self.held.or(self.told.output),
            seen => seen,
        };
        let (usage, estimated) = match self.told.usage {
            Some(usage) => raised(usage, self.told.output.unwrap_or(0)),
            None if taken && (seen.is_some() || self.input > 0) => (self.estimate(seen.unwrap_or(0)), true),
            // Nothing was used, or nobody can say what.
            None => (Usage::default(), false),
        };
        let cost = self.cost(broker, &usage).unwrap_or(0);
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(&Claim { tokens: usage.total, cost_micros: cost });
        }
        let mut row = std::mem::take(&mut self.row);
        if !taken {
            // A name that the provider never took for a model is the caller's text, and no model.
            row.model.clear();
        }
        let Usage { input, output, total, .. } = usage;
        let counts = Counts { calls: 1, input, output, total, cost_micros: cost, estimated: u64::from(estimated) };
        broker.usage.count(row, &counts);
    }

    fn estimate(&self, output: u64) -> Usage {
        Usage { input: self.input, output, total: self.input.saturating_add(output), ..Usage::default() }
    }

    /// The dearest of the models that may have served it; none where nobody knows a price.
    fn cost(&self, broker: &Inner, usage: &Usage) -> Option<u64> {
        let of = |model: &str| broker.prices.cost(&self.provider, model, usage);
        self.models.iter().map(|model| of(model)).max().unwrap_or(usage.cost_micros)
    }
}

/// Tokens in so many bytes, estimated.
fn tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES)
}

/// With the output that was seen to pass after the provider last counted; and whether there was any.
fn raised(usage: Usage, output: u64) -> (Usage, bool) {
    let more = output.saturating_sub(usage.output);
    let raised = Usage { output: usage.output + more, total: usage.total.saturating_add(more), ..usage };
    (raised, more > 0)
}

/// The user, and its unit where a rule looks at units.
fn peer(terms: &Terms) -> String {
    let unit = terms.peer.iter().find(|selector| selector.starts_with("unit:"));
    unit.map_or_else(|| format!("uid:{}", terms.uid), |unit| format!("uid:{} {unit}", terms.uid))
}

/// A model's name, if it looks like one: it is the caller's text.
fn shown(model: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b);
    let short = (1..=MODEL).contains(&model.len()) && model.bytes().all(plain);
    if short { model } else { OTHER }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passed_after_the_last_count_is_added_and_marked() {
        let told = Usage { input: 5, output: 7, total: 12, ..Usage::default() };
        assert_eq!(raised(told, 7), (told, false));
        assert_eq!(raised(told, 10), (Usage { output: 10, total: 15, ..told }, true));
    }

    #[test]
    fn what_is_no_models_name_is_not_written_down() {
        for good in ["qwen-plus", "anthropic/claude-x@1:free", "gpt-5.2"] {
            assert_eq!(shown(good), good);
        }
        for bad in ["", "please say hello", "x\ny", "é", &"a".repeat(MODEL + 1)] {
            assert_eq!(shown(bad), OTHER);
        }
    }
}
