//! What may come by TCP, where a web browser can reach: a request that its user did not mean, made by a page.
//! It never takes a name for this machine's that a page's own server could have given (DNS rebinding).

use hyper::{HeaderMap, header};
use std::net::IpAddr;

/// Why a request by TCP is refused, in words for its sender.
pub(super) fn check(headers: &HeaderMap, origins: &[String]) -> Result<(), &'static str> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_here) {
        return Err("by TCP the host is 127.0.0.1, localhost or [::1]");
    }
    let known = |origin: &header::HeaderValue| origins.iter().any(|known| known.as_bytes() == origin.as_bytes());
    match headers.get_all(header::ORIGIN).iter().all(known) {
        true => Ok(()),
        false => Err("this origin may not call: `origins` under [gateway] names those that may"),
    }
}

/// A loopback address or `localhost`, with a port or without.
fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) if rest.is_empty() || rest.starts_with(':') => name,
        Some(_) => return false,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(lines: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        check(&headers, &["http://localhost:3000".to_owned()]).is_ok()
    }

    #[test]
    fn a_name_of_another_machine_is_refused_even_if_it_leads_here() {
        for host in ["127.0.0.1", "127.0.0.1:6160", "127.1.2.3", "localhost:1", "LocalHost", "[::1]", "[::1]:6160"] {
            assert!(checked(&[("host", host)]), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "[::2]",
            "[::1]x",
            "0.0.0.0",
        ] {
            assert!(!checked(&[("host", host)]), "{host}");
        }
        assert!(!checked(&[]));
    }

    #[test]
    fn a_page_calls_only_from_an_origin_that_is_named() {
        let from = |origin| checked(&[("host", "localhost"), ("origin", origin)]);
        assert!(from("http://localhost:3000"));
        for origin in ["http://localhost:3001", "https://localhost:3000", "null", "http://localhost:3000.evil.example"]
        {
            assert!(!from(origin), "{origin}");
        }
        let two = [("host", "localhost"), ("origin", "http://localhost:3000"), ("origin", "http://evil.example")];
        assert!(!checked(&two));
    }
}
