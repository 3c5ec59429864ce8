//! The table: what was measured, its baseline, their ratio, the target, and whether it is held.

use serde_json::{Value, json};

/// How the report is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Table,
    Json,
}

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Told for its own sake.
    None,
    /// At most so many times the baseline.
    Times(f64),
    /// At least so many times the baseline.
    AtLeastTimes(f64),
    /// At most so much more than the baseline.
    Above(f64),
    /// At most this.
    AtMost(f64),
}

/// One figure.
pub(crate) struct Row {
    what: String,
    unit: &'static str,
    ours: f64,
    baseline: Option<f64>,
    target: Target,
}

impl Row {
    /// A figure with a baseline of its own.
    pub(crate) fn against(what: impl Into<String>, unit: &'static str, sides: (f64, f64), target: Target) -> Self {
        Self { what: what.into(), unit, ours: sides.0, baseline: Some(sides.1), target }
    }

    /// A figure that stands alone.
    pub(crate) fn alone(what: impl Into<String>, unit: &'static str, ours: f64, target: Target) -> Self {
        Self { what: what.into(), unit, ours, baseline: None, target }
    }

    fn ratio(&self) -> Option<f64> {
        self.baseline.map(|baseline| self.ours / baseline)
    }

    fn target(&self) -> String {
        match self.target {
            Target::None => String::new(),
            Target::Times(most) => format!("≤ {most} ×"),
            Target::AtLeastTimes(least) => format!("≥ {least} ×"),
            Target::Above(most) => format!("≤ + {most} {}", self.unit),
            Target::AtMost(most) => format!("≤ {most} {}", self.unit),
        }
    }

    fn held(&self) -> Option<bool> {
        let ratio = self.ratio().unwrap_or(f64::NAN);
        match self.target {
            Target::None => None,
            Target::Times(most) => Some(ratio <= most),
            Target::AtLeastTimes(least) => Some(ratio >= least),
            Target::Above(most) => Some(self.ours - self.baseline.unwrap_or(f64::NAN) <= most),
            Target::AtMost(most) => Some(self.ours <= most),
        }
    }

    fn verdict(&self) -> &'static str {
        self.held().map_or("", |held| if held { "held" } else { "missed" })
    }

    fn line(&self) -> String {
        let figure = |value: f64| format!("{} {}", rounded(value), self.unit);
        let baseline = self.baseline.map(figure).unwrap_or_default();
        let ratio = self.ratio().map(|ratio| format!("{ratio:.2} ×")).unwrap_or_default();
        let (ours, target) = (figure(self.ours), self.target());
        format!("{:<44}{ours:>14}{baseline:>14}{ratio:>10}  {target:<12}{}", self.what, self.verdict())
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what, "unit": self.unit, "ours": self.ours, "baseline": self.baseline,
            "ratio": self.ratio(), "target": self.target(), "held": self.held(),
        })
    }
}

/// All figures, shown as they come in.
pub(crate) struct Report {
    style: Style,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(style: Style) -> Self {
        if style == Style::Table {
            println!("{:<44}{:>14}{:>14}{:>10}  {:<12}", "what", "ours", "baseline", "ratio", "target");
        }
        Self { style, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, row: Row) {
        if self.style == Style::Table {
            println!("{}", row.line().trim_end());
        }
        self.rows.push(row);
    }

    /// What is left to print at the end.
    pub(crate) fn print(&self) {
        let judged: Vec<bool> = self.rows.iter().filter_map(Row::held).collect();
        let held = judged.iter().filter(|held| **held).count();
        match self.style {
            Style::Table => println!("{held} of {} targets held", judged.len()),
            Style::Json => println!("{}", Value::Array(self.rows.iter().map(Row::json).collect())),
        }
    }
}

/// As many digits as mean something.
fn rounded(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
