//! `[gateway]`: where it listens by TCP, and which web pages may call. It never takes an address that others can reach.

use super::{options::Gateway, table::Table, value::Value};
use std::net::SocketAddr;

pub(super) fn gateway(mut table: Table<'_>) -> Gateway {
    let origins = table.take("origins").filter(|value| !value.is_empty_list());
    Gateway {
        listen: table.take("listen").filter(|value| !value.is_empty_text()).and_then(listen),
        origins: origins.and_then(|value| all(value)).unwrap_or_default(),
    }
}

fn listen(value: Value<'_>) -> Option<SocketAddr> {
    let text = value.text("\"127.0.0.1:6160\"")?;
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Some(address),
        Ok(_) => value.cannot_be(text, "others could reach it there: write 127.0.0.1:6160 or [::1]:6160"),
        Err(_) => value.cannot_be(text, "write address and port, 127.0.0.1:6160; port 0 is any free one, \"\" is off"),
    }
}

fn all(value: Value<'_>) -> Option<Vec<String>> {
    let list = value.list("\"http://localhost:3000\"", "")?;
    list.iter().map(origin).collect::<Vec<_>>().into_iter().collect()
}

/// As browsers write it: RFC 6454, scheme://host and a port that is not the scheme's own.
fn origin(value: &Value<'_>) -> Option<String> {
    let text = value.text("\"http://localhost:3000\"")?;
    let fits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    match text.split_once("://") {
        Some((scheme, host)) if fits(scheme) && fits(host) && text == text.to_ascii_lowercase() => {
            Some(text.to_owned())
        }
        _ => value.cannot_be(text, "an origin is scheme://host or scheme://host:port in small letters, without a path"),
    }
}
