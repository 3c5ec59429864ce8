//! Streams of events as a client sees them: how late each comes, whether one is missing, and whether two came as one.

use crate::{Done, caller::Side, provider::EVENTS};
use sixty::clock::Clock;
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

/// What one stream showed.
pub(crate) struct Seen {
    /// Nanoseconds from the provider's write to our read: of the middle event, and of the last but one in a hundred.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Events that did not come, or not as a chunk of their own.
    pub(crate) wrong: f64,
}

/// Reads one stream to its end.
pub(crate) fn read(side: &Side) -> Done<Seen> {
    let (mut stream, mut bytes) = open(side)?;
    let (clock, mut delays, mut whole) = (Clock::system(), Vec::with_capacity(EVENTS), 0);
    let mut piece = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut piece)?;
        let now = clock.boot().nanos();
        bytes.extend_from_slice(&piece[..read]);
        while let Some(chunk) = chunk(&mut bytes)? {
            let times: Vec<u64> = chunk.split("\"t\":").skip(1).filter_map(leading).collect();
            let mine = chunk.starts_with(&format!("data: {{\"n\":{},", delays.len())) && chunk.ends_with("\n\n");
            whole += usize::from(mine && times.len() == 1);
            delays.extend(times.iter().map(|time| now.saturating_sub(*time)));
            if chunk.is_empty() {
                return seen(delays, whole);
            }
        }
        if read == 0 {
            return Err("the stream broke off".into());
        }
    }
}

/// Asks for a stream; the connection, and what has come behind the head.
pub(crate) fn open(side: &Side) -> Done<(UnixStream, Vec<u8>)> {
    let mut stream = UnixStream::connect(&side.socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(&side.request("keep-alive"))?;
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut piece)?;
        bytes.extend_from_slice(&piece[..read]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            bytes.drain(..end + 4);
            return if head.starts_with("HTTP/1.1 200") { Ok((stream, bytes)) } else { Err(head.into()) };
        }
        if read == 0 {
            return Err("no head came".into());
        }
    }
}

fn seen(mut delays: Vec<u64>, whole: usize) -> Done<Seen> {
    delays.sort_unstable();
    let at = |part: f64| delays.get((delays.len() as f64 * part) as usize).map_or(f64::NAN, |delay| *delay as f64);
    Ok(Seen { p50: at(0.5), p99: at(0.99), wrong: (EVENTS - whole) as f64 })
}

/// Takes the first chunk out, if it is whole; the last one is empty.
fn chunk(bytes: &mut Vec<u8>) -> Done<Option<String>> {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end])?, 16)?;
    if bytes.len() < end + 2 + length + 2 {
        return Ok(None);
    }
    let chunk = String::from_utf8_lossy(&bytes[end + 2..end + 2 + length]).into_owned();
    bytes.drain(..end + 2 + length + 2);
    Ok(Some(chunk))
}

fn leading(text: &str) -> Option<u64> {
    text.split(',').next()?.parse().ok()
}
