//! Who may have which key: rules, and the one function that turns a request into a permit.
//! Pure: it reads no file, no clock and no counter, and it never denies by accident what it cannot parse.

mod explain;
mod given;
mod judge;
mod pass;
mod permit;
mod rule;

pub use explain::{Explanation, Step, explain};
pub use given::{Given, asked, given};
pub use judge::{Denial, judge};
pub use pass::{Granted, OutOfScope, Taking, Use, looks_at_models, pass};
pub use permit::Permit;
pub use rule::{Approve, Bearer, Condition, Detach, Needs, Risky, Rule, Rules, Theft, TtlRange};
