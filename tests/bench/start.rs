//! From exec to READY and to the first mint, against the bare server's way to its first answer.

use crate::{
    Done, bare,
    caller::{self, Side},
    house::House,
    in_turn, median,
    report::{Report, Row, Target},
};
use sixty::clock::Clock;
use std::os::unix::net::UnixStream;

pub(crate) fn measure(report: &mut Report) -> Done {
    let mut house = House::open("")?;
    let (socket, bytes, mints) = (house.socket("bare"), house.answer_bytes()?, house.mints("virtual"));
    let bare = Side { socket: socket.clone(), pid: 0, ..house.mints("virtual") };
    let ours = || {
        // How the one before ends is no part of it.
        house.stop();
        started(&mints, || house.start())
    };
    let (ours, theirs) = in_turn(ours, || started(&bare, || bare::server(&socket, bytes)))?;
    report.add(Row::alone("start to READY", "ms", median(&ours, |start| start.0), Target::AtMost(10.0)));
    let sides = (median(&ours, |start| start.1), median(&theirs, |start| start.1));
    report.add(Row::against("start to the first answer", "ms", sides, Target::Times(3.0)));
    Ok(())
}

/// Milliseconds until it is ready, and until it has answered.
fn started<T>(side: &Side, start: impl FnOnce() -> Done<T>) -> Done<(f64, f64)> {
    let clock = Clock::system();
    let began = clock.boot();
    let since = || clock.boot().since(began).as_secs_f64() * 1000.0;
    let _running = start()?;
    let ready = since();
    caller::first(&mut UnixStream::connect(&side.socket)?, &side.request("close"))?;
    Ok((ready, since()))
}
