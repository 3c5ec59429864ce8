//! Attacks by what is said: requests that can be read in two ways, that are too large, that are no requests.

use super::{Outcome, Target};

/// One body with two lengths, or a head that two readers read in two ways; behind each a second request.
const TWO_FACED: [&str; 5] = [
    "POST /v1/leases HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /v1/leases HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\ncontent-length: 61\r\n\r\n",
    "POST /v1/leases HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "GET /v1/leases HTTP/1.1\r\nhost: x\r\ncontent-length: +0\r\n\r\n",
    "GET /v1/leases HTTP/1.1\r\nhost: x\r\nx: y\r\n z: folded\r\ncontent-length : 5\r\n\r\n",
];
const SECOND: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
/// Bytes of a head, and of a body that is announced and never sent.
const HUGE: usize = 4 << 20;

/// What begins like no request, or asks for more than there is.
const BROKEN: [&[u8]; 5] = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET http://elsewhere.example/healthz HTTP/9.9\r\n\r\n",
    b"CONNECT elsewhere.example:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"\0\0\0\0\r\n\r\n\r\n\r\n",
];

pub(super) fn smuggling(target: &Target) -> Outcome {
    for socket in [&target.broker, &target.gateway] {
        for first in TWO_FACED {
            match target.says(socket, format!("{first}{SECOND}").as_bytes()) {
                Ok(answer) if answer.matches("HTTP/1.1 ").count() > 1 || answer.contains("HTTP/1.1 200 ") => {
                    return Outcome::Failed(format!("what stood behind a body was answered on {}", socket.display()));
                }
                Ok(_) => {}
                Err(fault) => return Outcome::Untried(format!("{}: {fault}", socket.display())),
            }
        }
    }
    still(target, "what stands behind a body with two lengths is not read")
}

pub(super) fn oversize(target: &Target) -> Outcome {
    let head = format!("GET /v1/whoami HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(HUGE));
    let body = "POST /v1/leases HTTP/1.1\r\nhost: x\r\ncontent-length: 1099511627776\r\n\r\n{".to_owned();
    let deep = "[".repeat(HUGE / 64);
    let deep = format!(
        "POST /v1/leases HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{deep}",
        deep.len()
    );
    for (what, request) in [("a head", head), ("a body", body), ("a nest", deep)] {
        match target.says(&target.broker, request.as_bytes()) {
            Ok(answer) if answer.starts_with("HTTP/1.1 4") || answer.is_empty() => {}
            Ok(_) => return Outcome::Failed(format!("{what} of megabytes was taken")),
            Err(fault) => return Outcome::Untried(fault.to_string()),
        }
    }
    still(target, "heads, bodies and nests of megabytes are refused before they are read")
}

pub(super) fn malformed(target: &Target) -> Outcome {
    for socket in [&target.broker, &target.gateway] {
        for bytes in BROKEN {
            match target.says(socket, bytes) {
                Ok(answer) if !answer.is_empty() && !answer.starts_with("HTTP/1.1 4") => {
                    return Outcome::Failed(format!("it was answered as a request: {answer:.40}"));
                }
                Ok(_) => {}
                Err(fault) => return Outcome::Untried(format!("{}: {fault}", socket.display())),
            }
        }
    }
    still(target, "TLS, HTTP/2, proxies and zeros are no requests")
}

fn still(target: &Target, held: &str) -> Outcome {
    match target.serves() {
        true => Outcome::Held(held.into()),
        false => Outcome::Failed("afterwards the daemon does not answer any more".into()),
    }
}
