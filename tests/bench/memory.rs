//! The daemon's resident memory: idle, with idle connections, at 64 TLS calls at once, and after all of it.

use crate::{
    Done, caller,
    house::House,
    proc::{most_resident_kb, resident_kb},
    report::{Report, Row, Target},
};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

const CONNECTIONS: usize = 400;
const CALLS: usize = 64;

pub(crate) fn measure(report: &mut Report) -> Done {
    let house = House::open("")?;
    let pid = house.pid();
    let megabytes = |kb: f64| kb / 1024.0;
    // Until it has let go of what its start needed.
    std::thread::sleep(Duration::from_millis(1500));
    let idle = resident_kb(pid)?;
    report.add(Row::alone("memory, idle", "MB", megabytes(idle), Target::AtMost(6.0)));

    let each = connections(&house)?;
    report.add(Row::alone("memory, an idle connection", "kB", each, Target::AtMost(12.0)));

    calls(&house)?;
    report.add(Row::alone("memory, after 64 TLS calls", "MB", megabytes(resident_kb(pid)?), Target::AtMost(12.0)));
    report.add(Row::alone("memory, most of it all", "MB", megabytes(most_resident_kb(pid)?), Target::None));

    std::thread::sleep(Duration::from_secs(3));
    let after = megabytes(resident_kb(pid)? - idle);
    report.add(Row::alone("memory, after close beyond idle", "MB", after, Target::AtMost(2.0)));
    Ok(())
}

/// Kilobytes of one connection that has had an answer and is kept.
fn connections(house: &House) -> Done<f64> {
    let side = house.mints("virtual");
    let request = side.request("keep-alive");
    // Code that was let go comes back with the first answer: no connection's.
    caller::first(&mut UnixStream::connect(&side.socket)?, &request)?;
    let before = resident_kb(house.pid())?;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = UnixStream::connect(&side.socket)?;
        caller::first(&mut stream, &request)?;
        open.push(stream);
    }
    let each = (resident_kb(house.pid())? - before) / CONNECTIONS as f64;
    drop(open);
    std::thread::sleep(Duration::from_secs(1));
    Ok(each)
}

/// All at once; each with a lifetime of its own, so that none shares another's call.
fn calls(house: &House) -> Done {
    let mut side = house.mints("upstream");
    let mut open = Vec::new();
    for number in 0..CALLS {
        side.body = format!(r#"{{"key":"bench/main","kind":"upstream","ttl":{}}}"#, 60 + number);
        let mut stream = UnixStream::connect(&side.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(&side.request("close"))?;
        open.push(stream);
    }
    for mut stream in open {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        if !answer.starts_with(b"HTTP/1.1 201") {
            return Err(String::from_utf8_lossy(&answer).into());
        }
    }
    Ok(())
}
