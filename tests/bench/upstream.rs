//! What a broker adds to the provider's own answer: an upstream mint against the same TLS call made bare.

use crate::{
    Done, bare, caller,
    house::{House, KEY},
    in_turn, median,
    report::{Report, Row, Target},
};
use sixty::clock::Clock;
use std::{os::unix::net::UnixStream, time::Duration};

/// Calls of one round.
const CALLS: usize = 60;
/// Between calls: the daemon makes its next connection ready in it.
const REST: Duration = Duration::from_millis(8);

pub(crate) fn measure(report: &mut Report) -> Done {
    let house = House::open("")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tls = bare::Tls::new(&house.ca_file(), house.provider, KEY)?;
    let side = house.mints("upstream");
    let request = side.request("keep-alive");
    let mut stream = UnixStream::connect(&side.socket)?;
    caller::first(&mut stream, &request)?;
    let (ours, theirs) =
        in_turn(|| middle(|| minted(&mut stream, &request)), || middle(|| runtime.block_on(tls.call(REST))))?;
    let sides = (median(&ours, |each| *each), median(&theirs, |each| *each));
    report.add(Row::against("upstream mint: p50", "µs", sides, Target::Above(30.0)));
    Ok(())
}

fn minted(stream: &mut UnixStream, request: &[u8]) -> Done<f64> {
    let clock = Clock::system();
    std::thread::sleep(REST);
    let began = clock.boot();
    caller::first(stream, request)?;
    Ok(clock.boot().since(began).as_nanos() as f64)
}

/// The middle call of a round, in microseconds.
fn middle(mut call: impl FnMut() -> Done<f64>) -> Done<f64> {
    let nanos = (0..CALLS).map(|_| call()).collect::<Done<Vec<f64>>>()?;
    Ok(median(&nanos, |nanos| nanos / 1000.0))
}
