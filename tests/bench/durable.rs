//! Records that survive a power cut: a mint against a bare fdatasync, and what many callers share of one.

use crate::{
    Done,
    caller::Sample,
    house::House,
    in_turn, median,
    report::{Report, Row, Target},
};
use sixty::clock::Clock;
use std::{fs::OpenOptions, io::Write, path::Path};

/// Appends of one round.
const APPENDS: usize = 1000;
/// About what a decision and an outcome take.
const LINES: [u8; 600] = [b'x'; 600];

pub(crate) fn measure(report: &mut Report) -> Done {
    let house = House::open("[audit]\nsync = \"each\"\n")?;
    let side = house.mints("virtual");
    let file = house.state().join("bare");
    let serial = |samples: &[Sample]| median(samples, |sample| sample.rate);
    let (alone, bare) = in_turn(|| side.kept().map(|sample| (sample.p50, sample.rate)), || synced(&file))?;
    let micros = |sides: &[(f64, f64)]| median(sides, |side| side.0 / 1000.0);
    report.add(Row::against("durable mint: p50", "µs", (micros(&alone), micros(&bare)), Target::Times(1.3)));
    let crowd: Vec<Sample> = (0..crate::ROUNDS).map(|_| side.crowd(64)).collect::<Done<_>>()?;
    let sides = (serial(&crowd), median(&alone, |side| side.1));
    report.add(Row::against("durable mint, 64 callers against one: rate", "/s", sides, Target::AtLeastTimes(10.0)));
    Ok(())
}

/// Appends and syncs; the middle one's nanoseconds, and how many a second.
fn synced(path: &Path) -> Done<(f64, f64)> {
    let clock = Clock::system();
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut nanos = Vec::with_capacity(APPENDS);
    for _ in 0..APPENDS {
        let began = clock.boot();
        file.write_all(&LINES)?;
        file.sync_data()?;
        nanos.push(clock.boot().since(began).as_nanos() as f64);
    }
    let p50 = median(&nanos, |nanos| *nanos);
    Ok((p50, 1e9 / p50))
}
