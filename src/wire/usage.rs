//! Reads what a call used out of its answer while it flows by, whatever the provider's shape. It keeps numbers alone,
//! never what was said, and never holds the answer up.

use super::{
    scan::{Item, Scanner, Sink},
    sse::{Events, Piece},
};
use crate::model::{Shape, Usage, UsageFields};
use std::collections::BTreeMap;

/// How an answer's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One JSON value.
    Json,
    /// Server-sent events with a JSON value each.
    Sse,
}

impl Framing {
    /// By the `content-type`; none for anything else, of which nothing can be read.
    pub fn of(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "text/event-stream" => Some(Self::Sse),
            "application/json" => Some(Self::Json),
            kind if kind.starts_with("application/") && kind.ends_with("+json") => Some(Self::Json),
            _ => None,
        }
    }
}

/// A reader for one answer.
#[derive(Debug)]
pub struct UsageReader {
    events: Option<Events>,
    document: Document,
    known: Known,
}

/// The JSON value that is being read.
#[derive(Debug)]
struct Document {
    scanner: Scanner,
    broken: bool,
    heard: Heard,
}

/// What it told so far.
#[derive(Debug)]
struct Heard {
    fields: &'static UsageFields,
    counts: BTreeMap<&'static str, u64>,
    cost_micros: Option<u64>,
    /// Bytes of new output.
    said: u64,
}

/// What whole values told; a later one's word replaces an earlier one's, number by number.
#[derive(Debug, Default)]
struct Known {
    counts: BTreeMap<&'static str, u64>,
    cost_micros: Option<u64>,
    /// Bytes of output since the provider last counted it.
    said: u64,
}

impl UsageReader {
    /// A reader for an answer of this shape.
    pub fn new(shape: Shape, framing: Framing) -> Self {
        let heard = Heard { fields: shape.usage(), counts: BTreeMap::new(), cost_micros: None, said: 0 };
        Self {
            events: (framing == Framing::Sse).then(Events::default),
            document: Document { scanner: Scanner::default(), broken: false, heard },
            known: Known::default(),
        }
    }

    /// Reads on; pieces of any size. What cannot be read is passed over.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Self { events, document, known } = self;
        match events {
            None => document.feed(bytes),
            Some(events) => events.feed(bytes, |piece| match piece {
                Piece::Data(bytes) => document.feed(bytes),
                Piece::NewLine => document.feed(b"\n"),
                Piece::End => document.end(known),
            }),
        }
    }

    /// Tokens of output so far, for whoever cuts a stream at its budget: what the provider last counted, and a token for
    /// every four bytes since.
    pub fn output_so_far(&self) -> u64 {
        let counted = sum(&self.known.counts, self.document.heard.fields.output).unwrap_or_default();
        counted.saturating_add((self.known.said + self.document.heard.said).div_ceil(4))
    }

    /// What the whole answer used; none when it did not say, or was not understood.
    pub fn finish(mut self) -> Option<Usage> {
        self.document.end(&mut self.known);
        self.known.usage(self.document.heard.fields)
    }
}

impl Document {
    fn feed(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.broken = self.scanner.feed(bytes, &mut self.heard).is_err();
        }
    }

    /// The value is over: it counts if it was whole.
    fn end(&mut self, known: &mut Known) {
        let whole = !self.broken && self.scanner.finish(&mut self.heard).is_ok();
        let Heard { fields, counts, cost_micros, said } = &mut self.heard;
        known.said += std::mem::take(said);
        if whole {
            if sum(counts, fields.output).is_some() {
                known.said = 0;
            }
            known.counts.append(counts);
            known.cost_micros = cost_micros.or(known.cost_micros);
        }
        counts.clear();
        *cost_micros = None;
        (self.scanner, self.broken) = (Scanner::default(), false);
    }
}

impl Sink for Heard {
    fn see(&mut self, place: &str, item: Item<'_>, _at: usize) {
        match item {
            Item::Number(Some(number)) => {
                let within = self.fields.at.iter().find_map(|at| place.strip_prefix(at));
                within.into_iter().for_each(|name| self.number(name, number));
            }
            Item::Text(_, bytes) if self.fields.delta.contains(&place) => self.said += bytes as u64,
            _ => {}
        }
    }
}

impl Heard {
    fn number(&mut self, name: &str, number: &str) {
        let fields = self.fields;
        if fields.cost.contains(&name) {
            self.cost_micros = number.parse().ok().and_then(|cost: f64| rounded_up(cost * 1e6)).or(self.cost_micros);
        }
        let lists =
            [fields.input, fields.output, fields.cached_input, fields.cache_write, fields.total, fields.reasoning];
        let known = lists.into_iter().flatten().find(|known| **known == name);
        let count = number.parse().ok().or_else(|| number.parse().ok().and_then(rounded_up));
        if let (Some(known), Some(count)) = (known, count) {
            self.counts.insert(known, count);
        }
    }
}

impl Known {
    fn usage(&self, fields: &UsageFields) -> Option<Usage> {
        let all = |names| sum(&self.counts, names);
        let most = |names: &[&str]| names.iter().filter_map(|name| self.counts.get(name)).max().copied().unwrap_or(0);
        let (input, output, total) = (all(fields.input), all(fields.output), all(fields.total));
        input.or(output).or(total).or(self.cost_micros)?;
        let said = output.unwrap_or(0);
        let input = input.unwrap_or_else(|| total.unwrap_or(0).saturating_sub(said));
        // What the total has beyond both was written: some count their reasoning there alone.
        let output = said.max(total.unwrap_or(0).saturating_sub(input));
        let cached_input = most(fields.cached_input).min(input);
        Some(Usage {
            input,
            output,
            cached_input,
            cache_write: most(fields.cache_write).min(input - cached_input),
            total: total.unwrap_or(0).max(input.saturating_add(output)),
            reasoning: most(fields.reasoning).min(output),
            cost_micros: self.cost_micros,
        })
    }
}

/// None when none of them is known.
fn sum(counts: &BTreeMap<&str, u64>, names: &[&str]) -> Option<u64> {
    names.iter().filter_map(|name| counts.get(name)).copied().reduce(u64::saturating_add)
}

/// A number that is none (or less than none) counts as unsaid; one beyond all bounds as the greatest.
fn rounded_up(number: f64) -> Option<u64> {
    // Prices are decimal: what binary fractions add to them is no millionth.
    let near = number.round();
    let up = if (number - near).abs() < 1e-6 { near } else { number.ceil() };
    (up >= 0.0).then_some(up as u64)
}

#[cfg(test)]
mod tests;
