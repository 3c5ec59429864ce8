//! The gateway against nginx: the same calls, with a virtual key checked and an audit on one side, a header set and an
//! access log on the other. Plain and TLS, small and large, events, and streams that say nothing.

use crate::{
    Done,
    caller::{Sample, Side},
    events::{self, Seen},
    house::House,
    in_turn, median,
    nginx::Nginx,
    proc::resident_kb,
    provider::{LARGE, Provider},
    report::{Report, Row, Target},
};
use sixty::clock::Clock;
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

/// Streams that are open and silent.
const SILENT: usize = 1000;
const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"Who are you?"}]}"#;
const STREAM: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"Who are you?"}]}"#;

pub(crate) fn measure(report: &mut Report) -> Done {
    // Sockets lie where paths are short; the logs of both lie on the same disk.
    let place = tempfile::Builder::new().prefix("sixty-").tempdir()?;
    let provider = Provider::start(place.path())?;
    let nginx = Nginx::start(place.path(), &provider)?;
    let mut house = House::open("")?;
    std::fs::OpenOptions::new().append(true).open(house.ca_file())?.write_all(provider.certificate.as_bytes())?;
    house.start()?;
    let mut ways = Vec::new();
    for (name, at) in [("plain", format!("http://{}", provider.plain)), ("tls", format!("https://{}", provider.tls))] {
        let key = format!("bench/{name}");
        house.add_key(&key, &format!(r#""provider":"generic","endpoint":"{at}""#))?;
        ways.push(Way { name, ours: bearer(&house.virtual_key(&key)?), house: &house, nginx: &nginx });
    }
    let direct = |start: &str, body: &str| Side {
        socket: place.path().join("provider.sock"),
        pid: provider.pid(),
        start: start.into(),
        lines: bearer("none"),
        body: body.into(),
        rest: Duration::ZERO,
    };
    for way in &ways {
        calls(report, way, &direct("GET /v1/things", ""))?;
        looked_into(report, way)?;
        bodies(report, way)?;
        streams(report, way)?;
    }
    silent(report, &ways[0])
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// One kind of upstream, through either.
struct Way<'a> {
    name: &'static str,
    ours: String,
    house: &'a House,
    nginx: &'a Nginx,
}

impl Way<'_> {
    fn ours(&self, method: &str, path: &str, body: &str) -> Side {
        Side {
            socket: self.house.socket("gateway.sock"),
            pid: self.house.pid(),
            start: format!("{method} /generic{path}"),
            lines: self.ours.clone(),
            body: body.into(),
            rest: Duration::ZERO,
        }
    }

    /// `place` is one of nginx's own.
    fn theirs(&self, place: &str, method: &str, path: &str, body: &str) -> Side {
        let start = format!("{method} /{place}{path}");
        Side { socket: self.nginx.socket.clone(), pid: self.nginx.pid(), start, ..self.ours(method, path, body) }
    }

    fn row(&self, what: &str) -> String {
        format!("gateway, {}: {what}", self.name)
    }

    fn is_tls(&self) -> bool {
        self.name == "tls"
    }
}

/// A call without a body, of which nothing is counted.
fn calls(report: &mut Report, way: &Way<'_>, direct: &Side) -> Done {
    let (ours, theirs) = (way.ours("GET", "/v1/things", ""), way.theirs(way.name, "GET", "/v1/things", ""));
    let (mine, others) = in_turn(|| ours.kept(), || Ok((theirs.kept()?, direct.kept()?)))?;
    for (what, of, target) in [("p50", p50 as fn(&Sample) -> f64, Target::Times(1.1)), ("p99", p99, Target::None)] {
        let (us, them) = (median(&mine, of), median(&others, |sides| of(&sides.0)));
        let bare = median(&others, |sides| of(&sides.1));
        let target = if way.is_tls() { target } else { Target::None };
        report.add(Row::against(way.row(what), "µs", (us, them), target));
        report.add(Row::against(
            way.row(&format!("{what} beyond direct")),
            "µs",
            (us - bare, them - bare),
            Target::None,
        ));
    }
    let crowds = in_turn(|| ours.crowd(64), || theirs.crowd(64))?;
    crowd(report, way, "64 callers", &crowds, Target::Times(if way.is_tls() { 1.0 } else { 1.1 }));
    Ok(())
}

/// A call whose body is looked into and whose usage is counted: nginx does nothing of the kind.
fn looked_into(report: &mut Report, way: &Way<'_>) -> Done {
    let path = "/v1/chat/completions";
    let (ours, theirs) = (way.ours("POST", path, CHAT), way.theirs(way.name, "POST", path, CHAT));
    let crowds = in_turn(|| ours.crowd(64), || theirs.crowd(64))?;
    crowd(report, way, "64 counted", &crowds, Target::None);
    Ok(())
}

fn crowd(report: &mut Report, way: &Way<'_>, who: &str, sides: &(Vec<Sample>, Vec<Sample>), target: Target) {
    let both = |of: fn(&Sample) -> f64| (median(&sides.0, of), median(&sides.1, of));
    report.add(Row::against(way.row(&format!("{who}: rate")), "/s", both(|sample| sample.rate), Target::None));
    report.add(Row::against(way.row(&format!("{who}: CPU each")), "µs", both(|sample| sample.cpu / 1000.0), target));
}

fn p50(sample: &Sample) -> f64 {
    sample.p50 / 1000.0
}

fn p99(sample: &Sample) -> f64 {
    sample.p99 / 1000.0
}

/// Large bodies, with nginx's buffers as they are and, without TLS, as wide as it likes them.
fn bodies(report: &mut Report, way: &Way<'_>) -> Done {
    let (place, least) = if way.is_tls() { ("tls", 1.3) } else { ("wide", 1.0) };
    let target = Target::AtLeastTimes(least);
    let (ours, theirs) = (way.ours("GET", "/v1/large", ""), way.theirs(place, "GET", "/v1/large", ""));
    let down = in_turn(|| load(&ours, 0, LARGE), || load(&theirs, 0, LARGE))?;
    let middle = |rates: &[f64]| median(rates, |rate| *rate);
    report.add(Row::against(way.row("100 MiB down"), "MB/s", (middle(&down.0), middle(&down.1)), target));
    let (ours, theirs) = (way.ours("POST", "/v1/sink", ""), way.theirs(place, "POST", "/v1/sink", ""));
    let up = in_turn(|| load(&ours, LARGE, 0), || load(&theirs, LARGE, 0))?;
    report.add(Row::against(way.row("100 MiB up"), "MB/s", (middle(&up.0), middle(&up.1)), target));
    Ok(())
}

/// Sends so many bytes and reads at least so many; megabytes a second.
fn load(side: &Side, up: usize, down: usize) -> Done<f64> {
    let (clock, piece) = (Clock::system(), vec![b'x'; 256 * 1024]);
    let head = String::from_utf8(side.request("close"))?.replace("content-length: 0", &format!("content-length: {up}"));
    let mut stream = UnixStream::connect(&side.socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let began = clock.boot();
    stream.write_all(head.as_bytes())?;
    for _ in 0..up / piece.len() {
        stream.write_all(&piece)?;
    }
    let (mut answer, mut read) = (piece, 0);
    loop {
        let more = stream.read(&mut answer)?;
        if read == 0 && !answer.starts_with(b"HTTP/1.1 200") {
            return Err(String::from_utf8_lossy(&answer[..more]).into());
        }
        if more == 0 {
            break;
        }
        read += more;
    }
    let took = clock.boot().since(began).as_secs_f64();
    if read < down { Err("the answer broke off".into()) } else { Ok((up + down) as f64 / 1e6 / took) }
}

fn streams(report: &mut Report, way: &Way<'_>) -> Done {
    let path = "/v1/chat/completions?events";
    let ours = way.ours("POST", path, STREAM);
    let theirs = way.theirs(&format!("events/{}", way.name), "POST", path, STREAM);
    let (mine, others) = in_turn(|| events::read(&ours), || events::read(&theirs))?;
    let both = |of: fn(&Seen) -> f64| (median(&mine, of), median(&others, of));
    report.add(Row::against(way.row("event p50"), "µs", both(|seen| seen.p50 / 1000.0), Target::Times(1.4)));
    report.add(Row::against(way.row("event p99"), "µs", both(|seen| seen.p99 / 1000.0), Target::Times(1.1)));
    let wrong = mine.iter().map(|seen| seen.wrong).sum();
    report.add(Row::alone(way.row("events lost or merged"), "", wrong, Target::AtMost(0.0)));
    Ok(())
}

/// Streams that wait for their next event.
fn silent(report: &mut Report, way: &Way<'_>) -> Done {
    let path = "/v1/chat/completions?hold";
    let ours = way.ours("POST", path, STREAM);
    let theirs = way.theirs(&format!("events/{}", way.name), "POST", path, STREAM);
    let sides = (each_silent(&ours)?, each_silent(&theirs)?);
    report.add(Row::against(way.row("a silent stream, of 1,000"), "kB", sides, Target::None));
    Ok(())
}

fn each_silent(side: &Side) -> Done<f64> {
    let before = resident_kb(side.pid)?;
    let open = (0..SILENT).map(|_| events::open(side)).collect::<Done<Vec<_>>>()?;
    // Until each has had its first event.
    std::thread::sleep(Duration::from_millis(300));
    let each = (resident_kb(side.pid)? - before) / open.len() as f64;
    Ok(each)
}
