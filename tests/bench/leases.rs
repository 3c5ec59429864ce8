//! A million live leases: how much memory each takes, and for how long their end can hold up the loop.

use crate::{
    Done, proc,
    report::{Report, Row, Target},
};
use nix::time::{ClockId, clock_gettime};
use sixty::{
    clock::Clock,
    ledger::{Ledger, LedgerOptions, New, Terms},
    model::Kind,
};
use std::{sync::Arc, time::Duration};

const COUNT: usize = 1_000_000;
/// As many as the daemon's reaper takes at once.
const STEP: usize = 512;

pub(crate) fn measure(report: &mut Report) -> Done {
    // A process of its own, so that nothing else is in its memory.
    let output = proc::again()?.arg("leases").output()?;
    let told = String::from_utf8(output.stdout)?;
    let mut figures = told.split_whitespace().map(str::parse::<f64>);
    let mut next = || figures.next().ok_or("the child told nothing")?.map_err(crate::Fault::from);
    report.add(Row::alone("a live lease, of 1,000,000", "B", next()?, Target::AtMost(200.0)));
    report.add(Row::alone("longest step entering 1,000,000", "µs", next()?, Target::AtMost(1000.0)));
    report.add(Row::alone("longest step expiring 1,000,000", "µs", next()?, Target::AtMost(1000.0)));
    Ok(())
}

/// The child's main.
pub(crate) fn child() -> Done {
    let (clock, winder) = Clock::manual(1_700_000_000);
    let ledger = Ledger::new(LedgerOptions { leases: COUNT, leases_per_uid: COUNT, narrowed_keys: 1 }, clock.clone());
    ledger.enter(lease(&clock, COUNT)?, None)?;
    winder.advance(Duration::from_secs(3600));
    ledger.reap(STEP);
    let before = proc::resident_kb(std::process::id())?;
    let mut entering = 0.0_f64;
    for number in 0..COUNT {
        let new = lease(&clock, number)?;
        let began = cpu_micros()?;
        ledger.enter(new, None)?;
        entering = entering.max(cpu_micros()? - began);
    }
    let each = (proc::resident_kb(std::process::id())? - before) * 1024.0 / COUNT as f64;
    winder.advance(Duration::from_secs(3600));
    let mut expiring = 0.0_f64;
    while ledger.count() > 0 {
        let began = cpu_micros()?;
        ledger.reap(STEP);
        expiring = expiring.max(cpu_micros()? - began);
    }
    println!("{each} {entering} {expiring}");
    Ok(())
}

/// This thread's own time: another process's turn is no step of ours.
fn cpu_micros() -> Done<f64> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?).as_secs_f64() * 1e6)
}

fn lease(clock: &Clock, number: usize) -> Done<New> {
    let mut digest = [0; 32];
    getrandom::fill(&mut digest)?;
    let terms = Terms {
        key: "bench/main".parse()?,
        rule: "bench".into(),
        kind: Kind::Virtual,
        peer: vec!["uid:1000".into(), "exe:/usr/bin/curl".into()],
        uid: 1000,
        recipient: None,
        scopes: Vec::new(),
        risky: Default::default(),
        approve: Default::default(),
        budget: Default::default(),
        holder: "5:bench|4:1000".into(),
    };
    let life = Duration::from_millis(60_000 + number as u64 / 100);
    Ok(New {
        ticket: None,
        seal: [0; 16],
        terms: Arc::new(terms),
        digest: Some(digest),
        deadline: clock.boot().plus(life),
        expires_at: clock.wall() + life.as_secs(),
        uses: Some(100),
    })
}
