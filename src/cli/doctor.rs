//! `sixty doctor` as people and programs read it: findings, the worst last, each with how to mend it.

use super::{
    failure::{Exit, Failure},
    output::{BAD, DIM, GOOD, WARN, exactly, show as print},
    table::{Cell, Table},
};
use crate::model::{Finding, Health};
use serde_json::json;
use std::process::ExitCode;

/// Shows what was found. Exit 1 when something does not work.
pub fn doctor(mut findings: Vec<Finding>, as_json: bool) -> ExitCode {
    findings.sort_by_key(|finding| finding.health);
    let well = findings.iter().all(|finding| finding.health < Health::Bad);
    let shown = if as_json { told(&findings, well) } else { print(table(&findings)) };
    match shown {
        Err(failure) => failure.report().into(),
        Ok(()) if well => ExitCode::SUCCESS,
        Ok(()) => Exit::Other.into(),
    }
}

fn told(findings: &[Finding], well: bool) -> Result<(), Failure> {
    exactly(json!({ "well": well, "findings": findings }).to_string().as_bytes())
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::pairs();
    for Finding { about, health, says, advice } in findings {
        let style = match health {
            Health::Good => GOOD,
            Health::Weak => WARN,
            Health::Bad => BAD,
        };
        table.row([Cell::new(about).styled(style), Cell::new(says)]);
        if let Some(advice) = advice {
            table.row([Cell::new(""), Cell::new(format!("→ {advice}")).styled(DIM)]);
        }
    }
    table
}
