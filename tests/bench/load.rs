//! Load: ten thousand connections of another user (as many as the machine has descriptors for), a million live leases, a
//! hundred thousand of them revoked at once; and what a caller waits meanwhile.

use crate::{
    Done, ROUNDS,
    caller::{self, Sample, Side},
    house::House,
    median, proc,
    report::{Report, Row, Target},
};
use nix::{
    sys::resource::{Resource, setrlimit},
    unistd::geteuid,
};
use sixty::{clock::Clock, sys::confine::raise_fd_limit};
use std::{
    io::{BufRead, BufReader, Read},
    os::unix::{net::UnixStream, process::CommandExt},
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

const CONNECTIONS: usize = 10_000;
/// What one takes the daemon: itself, its process and that one's folder in /proc.
const DESCRIPTORS: u64 = 3;
/// Descriptors that the daemon needs for all else.
const SPARE: u64 = 256;
const LEASES: usize = 1_000_000;
const REVOKED: usize = 100_000;
/// Who mints so many.
const CALLERS: usize = 64;
/// `nobody`, by convention.
const NOBODY: u32 = 65_534;
/// What another may wait, in microseconds.
const LONGEST: Target = Target::AtMost(5000.0);

pub(crate) fn measure(report: &mut Report) -> Done {
    connections(report)?;
    leases(report)
}

fn connections(report: &mut Report) -> Done {
    if !geteuid().is_root() {
        return Err("only root can be two users".into());
    }
    let wanted = CONNECTIONS as u64 * DESCRIPTORS + SPARE;
    // Root may have more than it was given; in a container not always.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted);
    let room = raise_fd_limit()?.saturating_sub(SPARE) / DESCRIPTORS;
    let most = CONNECTIONS.min(usize::try_from(room)?);
    let house = House::open("")?;
    let side = house.mints("virtual");
    let quiet = waits(&side)?;
    let mut command = proc::again()?;
    command.arg("crowd").arg(&side.socket).arg(most.to_string()).uid(NOBODY).gid(NOBODY);
    let mut crowd = proc::Guarded::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let mut open = String::new();
    let told = crowd.child().stdout.take().ok_or("no stdout")?;
    BufReader::new(told).read_line(&mut open)?;
    if open.trim().parse() != Ok(most) {
        return Err(format!("of {most} connections {} were opened", open.trim()).into());
    }
    let crowded = waits(&side)?;
    for (how, at) in [("kept", 0), ("new", 1)] {
        let what = format!("mint beside {most} idle, {how}: p99");
        report.add(Row::against(what, "µs", (crowded[at], quiet[at]), LONGEST));
    }
    Ok(())
}

/// The middle p99 in microseconds of a caller who keeps his connection, and of one who makes one for each request.
fn waits(side: &Side) -> Done<[f64; 2]> {
    let p99 = |samples: Vec<Sample>| median(&samples, |sample| sample.p99 / 1000.0);
    let kept: Done<Vec<_>> = (0..ROUNDS).map(|_| side.kept()).collect();
    let new: Done<Vec<_>> = (0..ROUNDS).map(|_| side.connecting()).collect();
    Ok([p99(kept?), p99(new?)])
}

/// The crowd's main: each was answered once, and says nothing more.
pub(crate) fn crowd(socket: &str, count: &str) -> Done {
    raise_fd_limit()?;
    let ask = b"GET /healthz HTTP/1.1\r\nhost: b\r\n\r\n";
    let open: Done<Vec<_>> = (0..count.parse()?)
        .map(|_| {
            let mut stream = UnixStream::connect(Path::new(socket))?;
            caller::first(&mut stream, ask)?;
            Ok(stream)
        })
        .collect();
    println!("{}", open?.len());
    // Until the benchmark ends.
    Ok(std::io::stdin().read_to_end(&mut Vec::new()).map(drop)?)
}

fn leases(report: &mut Report) -> Done {
    let house = House::open("")?;
    let place = format!(r#""provider":"dashscope","region":"singapore","endpoint":"https://{}""#, house.provider);
    house.add_key("bench/other", &place)?;
    let side = house.mints("virtual");
    let before = proc::resident_kb(house.pid())?;
    let long = |key: &str| Side {
        body: format!(r#"{{"key":"{key}","kind":"virtual","ttl":1800}}"#),
        ..house.mints("virtual")
    };
    long("bench/main").many(CALLERS, LEASES - REVOKED)?;
    long("bench/other").many(CALLERS, REVOKED)?;
    let each = (proc::resident_kb(house.pid())? - before) * 1024.0 / LEASES as f64;
    report.add(Row::alone("daemon's memory for each of 1,000,000", "B", each, Target::None));
    let p99 = side.kept()?.p99 / 1000.0;
    report.add(Row::alone("mint beside 1,000,000 leases: p99", "µs", p99, LONGEST));

    let (clock, over) = (Clock::system(), AtomicBool::new(false));
    let (took, longest) = std::thread::scope(|scope| {
        let caller = scope.spawn(|| side.longest(&over).map_err(|fault| fault.to_string()));
        std::thread::sleep(Duration::from_millis(200));
        let began = clock.boot();
        let revoked = house.revoke("bench/other");
        let took = clock.boot().since(began);
        over.store(true, Ordering::Relaxed);
        let longest = caller.join().map_err(|_| "the caller panicked")??;
        match revoked? {
            REVOKED.. => Ok::<_, crate::Fault>((took, longest)),
            few => Err(format!("{few} leases were revoked").into()),
        }
    })?;
    report.add(Row::alone("revoking 100,000 of 1,000,000", "µs", took.as_secs_f64() * 1e6, Target::None));
    report.add(Row::alone("longest mint meanwhile", "µs", longest / 1000.0, LONGEST));
    Ok(())
}
