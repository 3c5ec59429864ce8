//! The words of the house as types: plain data, parsed and not validated, with no I/O, no clock and no async.
//! Nothing here may decide anything: that is the policy's.

pub mod ancestry;
pub mod approval;
pub mod budget;
pub mod day;
pub mod finding;
mod hex;
pub mod key;
pub mod lease;
pub mod narrowing;
mod object;
pub mod path;
pub mod pattern;
mod plain;
pub mod principal;
pub mod refusal;
pub mod request;
pub mod shape;
pub mod span;
pub mod usage;

pub use ancestry::Ancestry;
pub use approval::{ApprovalId, Approver};
pub use budget::{Budget, Per, Purse, SharedBudget};
pub use day::Day;
pub use finding::{Finding, Health};
pub use key::{Fingerprint, KeyMeta, KeyName, Place};
pub use lease::{Lease, LeaseId, LeaseSummary};
pub use narrowing::{Mark, Narrowing, Node, NodeId, Revocable};
pub use object::Object;
pub use path::CallPath;
pub use pattern::Pattern;
pub use plain::{cut, plain};
pub use principal::{Fact, Principal, Selector};
pub use refusal::{Code, Refusal, RequestId, Retry};
pub use request::{Kind, Owner, Request, Scope};
pub use shape::{CallFields, Shape, UsageFields};
pub use span::{Rate, Ttl};
pub use usage::{By, Usage};

/// A word that could not be read as what it should be: a lower-case sentence that never quotes a secret's source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

impl Malformed {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
