//! HTTP as tests speak it: bytes on a socket, so that nothing of a client's own stands between.

use crate::harness::remember;
use serde_json::Value;
use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// An HTTP answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// The token of a lease.
    pub fn token(&self) -> String {
        assert!(self.status == 201 || self.status == 200, "{} {}", self.status, self.text());
        let token = self.json()["token"].as_str().unwrap().to_owned();
        remember(&token);
        token
    }

    /// Status and code of a refusal.
    pub fn refused(&self) -> (u16, String) {
        (self.status, self.code())
    }

    /// Seconds to wait, as the head says.
    pub fn retry_after(&self) -> u64 {
        let value = self.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
        value.unwrap_or_else(|| panic!("{}", self.head)).parse().unwrap()
    }

    /// The code of a refusal: in problem+json, or in OpenAI's shape.
    pub fn code(&self) -> String {
        let json = self.json();
        json["code"].as_str().or(json["error"]["code"].as_str()).unwrap_or_default().to_owned()
    }
}

/// A request as bytes.
pub fn request(method: &str, target: &str, body: Option<&str>, connection: &str) -> String {
    let body = body.unwrap_or_default();
    format!(
        "{method} {target} HTTP/1.1\r\nhost: sixty\r\nconnection: {connection}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What came up to the end of a head.
pub fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// One exchange on a connection of its own; none when the daemon closed it without an answer.
pub fn exchange(socket: &Path, method: &str, target: &str, body: Option<&str>) -> Option<Answer> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    // Whoever is refused before all is read closes the connection: the answer is there all the same.
    let _ = stream.write_all(request(method, target, body, "close").as_bytes());
    read_answer(&mut stream)
}

/// Reads one answer, on a kept-alive connection too.
pub fn read_answer(stream: &mut impl Read) -> Option<Answer> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(answer) = whole(&bytes, false) {
            return Some(answer);
        }
        match stream.read(&mut chunk) {
            // A read with a time limit is not begun again by the kernel (signal(7)): a child that ended is no end of this.
            Err(fault) if fault.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return whole(&bytes, true),
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

fn whole(bytes: &[u8], ended: bool) -> Option<Answer> {
    let split = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..split]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    let body = &bytes[split + 4..];
    let complete = match length {
        Some(length) => body.len() >= length,
        None => ended,
    };
    let status = head.split(' ').nth(1)?.parse().ok()?;
    complete.then(|| Answer { status, head, body: body.to_vec() })
}

/// One more exchange on a connection that is kept; none when it is closed.
pub fn over(stream: &mut UnixStream, text: &str) -> Option<Answer> {
    let _ = stream.write_all(text.as_bytes());
    read_answer(stream)
}
