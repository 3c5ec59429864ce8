//! `cargo bench`: what a mint and a call through the gateway cost, beside a baseline that is measured in the same run: absolute figures differ from
//! machine to machine, ratios hardly. Everything shares one CPU, since waking another one costs ten times a mint.
//! It judges nothing: a missed target is printed as missed, and only what could not be measured is a failure.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark tells its figures")]

mod bare;
mod caller;
mod durable;
mod events;
mod gateway;
mod house;
mod leases;
mod load;
mod memory;
mod mint;
mod nginx;
mod proc;
mod provider;
mod report;
mod start;
mod upstream;

use report::{Report, Style};
use std::process::ExitCode;

/// Anything that keeps a figure from being measured.
type Fault = Box<dyn std::error::Error>;
type Done<T = ()> = Result<T, Fault>;

/// So often each side is measured, turn and turn about; the median counts.
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["bare-server", socket, bytes] => bare::serve(socket, bytes),
        ["stand-in", ca_file, key] => house::stand_in(ca_file, key),
        ["provider", place] => provider::serve(place),
        ["leases"] => leases::child(),
        ["crowd", socket, count] => load::crowd(socket, count),
        _ => measure(&words),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("bench: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// Everything, or the parts that are named on the command line (`cargo bench -- mint memory`).
fn measure(words: &[&str]) -> Done {
    type Part = (&'static str, fn(&mut Report) -> Done);
    let parts: [Part; 8] = [
        ("mint", mint::measure),
        ("upstream", upstream::measure),
        ("leases", leases::measure),
        ("start", start::measure),
        ("memory", memory::measure),
        ("durable", durable::measure),
        ("gateway", gateway::measure),
        ("load", load::measure),
    ];
    proc::share_one_cpu()?;
    let style = if words.contains(&"--json") { Style::Json } else { Style::Table };
    let named = parts.iter().any(|(name, _)| words.contains(name));
    let mut report = Report::new(style);
    let mut missing = Vec::new();
    for (name, part) in parts.iter().filter(|(name, _)| !named || words.contains(name)) {
        if let Err(fault) = part(&mut report) {
            missing.push(format!("{name}: {fault}"));
        }
    }
    report.print();
    if missing.is_empty() { Ok(()) } else { Err(missing.join("\nbench: ").into()) }
}

/// Both sides in turn, so that a machine that grows slower grows slower for both.
fn in_turn<A, B>(mut ours: impl FnMut() -> Done<A>, mut theirs: impl FnMut() -> Done<B>) -> Done<(Vec<A>, Vec<B>)> {
    let mut sides = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        sides.0.push(ours()?);
        sides.1.push(theirs()?);
    }
    Ok(sides)
}

/// The middle one of what `of` takes out of each.
fn median<T>(samples: &[T], of: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
