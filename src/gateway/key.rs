//! Where clients put a key, and how the virtual one is taken out of there. Every such place is emptied, whatever stood
//! in it; a key anywhere else is a leak.

use crate::{
    broker::Presented,
    recipe::KEY_HEADERS,
    wire::{
        Echo, EchoGuard, echoes,
        key::{Shape, digest, shape},
        narrow::{Bounds, NarrowFault, Narrowed},
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL},
};
use zeroize::Zeroizing;

/// Query parameters whose value is a key.
const PARAMETERS: [&str; 7] = ["key", "$key", "api_key", "api-key", "access_token", "oauth_token", "token"];
/// A subprotocol that carries a key, from browsers that can set no header.
const PROTOCOL: &str = "openai-insecure-api-key.";

/// The one virtual key of a request.
#[derive(Clone)]
pub(super) struct Key(Zeroizing<Vec<u8>>);

/// What is wrong with a request's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyFault {
    /// There is none.
    Missing,
    /// Begins like one of ours, but was mistyped or cut.
    Damaged,
    /// It is a ticket.
    Ticket,
    /// It is a narrower key, and narrower than the config allows.
    TooLarge,
    /// Another credential, or a second virtual key, stands beside it or in its place.
    Foreign,
    /// It stands where no key belongs.
    Leaked,
}

impl Key {
    /// Takes the key out of headers and query; afterwards no place that can carry one is left in either.
    pub(super) fn take(headers: &mut HeaderMap, query: &mut String) -> Result<Self, KeyFault> {
        if headers.get_all(AUTHORIZATION).iter().any(|value| bearer(value.as_bytes()).is_none()) {
            return Err(KeyFault::Foreign);
        }
        let mut found = take_all(headers, query);
        let key = found.pop().ok_or(KeyFault::Missing)?;
        match shape(&key) {
            Shape::Ours | Shape::Narrowed if found.iter().all(|other| *other == key) => Ok(Self(key)),
            Shape::Ours | Shape::Narrowed | Shape::Foreign => Err(KeyFault::Foreign),
            Shape::Damaged => Err(KeyFault::Damaged),
            Shape::Ticket => Err(KeyFault::Ticket),
        }
    }

    /// As the broker is to see it.
    pub(super) fn presented(&self, bounds: &Bounds) -> Result<Presented, KeyFault> {
        match shape(&self.0) {
            Shape::Narrowed => Narrowed::parse(&self.0, bounds).map(Presented::Narrowed).map_err(|fault| match fault {
                NarrowFault::TooLarge => KeyFault::TooLarge,
                NarrowFault::Damaged => KeyFault::Damaged,
            }),
            Shape::Ours | Shape::Ticket | Shape::Damaged | Shape::Foreign => Ok(Presented::Key(digest(&self.0))),
        }
    }

    /// Bytes of its text.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it stands in some text too.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        echoes(&self.0, text)
    }

    /// The same for the next piece of a stream.
    pub(super) fn search(&self, guard: &mut EchoGuard, piece: &[u8]) -> Echo {
        guard.search(&self.0, piece)
    }
}

/// The key of an `Authorization` value: Bearer and token as they are, Basic by its password, or its user where that is
/// all there is (RFC 7617; git).
fn bearer(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let at = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = (&value[..at], value[at..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"token") {
        return Some(Zeroizing::new(rest.to_vec()));
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = Zeroizing::new(STANDARD.decode(rest).ok()?);
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let (user, password) = (&pair[..colon], &pair[colon + 1..]);
    Some(Zeroizing::new(if password.is_empty() || password == b"x-oauth-basic" { user } else { password }.to_vec()))
}

/// All that stands where clients put keys, as SHA-256; it stays there.
pub(super) fn shown(headers: &HeaderMap, query: Option<&str>) -> Vec<[u8; 32]> {
    let found = take_all(&mut headers.clone(), &mut query.unwrap_or_default().to_owned());
    found.iter().map(|text| digest(text)).collect()
}

fn take_all(headers: &mut HeaderMap, query: &mut String) -> Vec<Zeroizing<Vec<u8>>> {
    let whole = |value: &HeaderValue| Zeroizing::new(value.as_bytes().to_vec());
    let bearers = headers.get_all(AUTHORIZATION).iter();
    let mut found: Vec<_> = bearers.map(|value| bearer(value.as_bytes()).unwrap_or_else(|| whole(value))).collect();
    headers.remove(AUTHORIZATION);
    // Of all others the whole value is the key.
    for name in KEY_HEADERS.map(HeaderName::from_static) {
        found.extend(headers.get_all(&name).iter().map(whole));
        headers.remove(name);
    }
    take_parameters(query, &mut found);
    take_protocol(headers, &mut found);
    found
}

fn take_parameters(query: &mut String, found: &mut Vec<Zeroizing<Vec<u8>>>) {
    retain_parameters(query, |name, part| {
        let is_key = PARAMETERS.contains(&name);
        if is_key {
            let value = part.split_once('=').map_or("", |(_, value)| value);
            found.push(Zeroizing::new(value.as_bytes().to_vec()));
        }
        !is_key
    });
}

/// Takes out the parts of a query that are not kept.
pub(super) fn retain_parameters(query: &mut String, mut keep: impl FnMut(&str, &str) -> bool) {
    let mut kept = String::with_capacity(query.len());
    for (_, part) in parameters(query).filter(|(name, part)| keep(name, part)) {
        kept.push_str(if kept.is_empty() { "" } else { "&" });
        kept.push_str(part);
    }
    *query = kept;
}

/// The parts of a query that say something, each with its name in small letters as the provider reads it.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (String, &str)> {
    let name = |part: &str| unescaped(part.split_once('=').map_or(part, |(name, _)| name));
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(move |part| (String::from_utf8_lossy(&name(part)).to_ascii_lowercase(), part))
}

/// A name as the provider reads it: a key's place may be written with percent signs.
pub(super) fn unescaped(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        let letter = hex.and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(letter.unwrap_or(*first));
        rest = &tail[if letter.is_some() { 2 } else { 0 }..];
    }
    bytes
}

fn take_protocol(headers: &mut HeaderMap, found: &mut Vec<Zeroizing<Vec<u8>>>) {
    retain_protocols(headers, |one| {
        let key = one.strip_prefix(PROTOCOL);
        found.extend(key.map(|key| Zeroizing::new(key.as_bytes().to_vec())));
        key.is_none()
    });
}

/// Takes out the subprotocols that are not kept, and lines that are no text. One line is left of several.
pub(super) fn retain_protocols(headers: &mut HeaderMap, mut keep: impl FnMut(&str) -> bool) {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL);
    let read: Vec<&str> = lines.iter().filter_map(|line| line.to_str().ok()).collect();
    let all: Vec<&str> = read.iter().flat_map(|line| line.split(',')).map(str::trim).collect();
    let kept: Vec<&str> = all.iter().copied().filter(|one| keep(one)).collect();
    if kept.len() == all.len() && read.len() == lines.iter().count() {
        return;
    }
    let line = HeaderValue::from_str(&kept.join(", ")).ok().filter(|line| !line.is_empty());
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Some(line) = line {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::key::{Form, generate};
    use sha2::{Digest, Sha256};

    fn key() -> String {
        generate(Form::Key).unwrap().0.expose(|text| String::from_utf8(text.to_vec()).unwrap())
    }

    fn taken(lines: &[(&str, &str)], query: &str) -> (Result<Key, KeyFault>, HeaderMap, String) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let mut query = query.to_owned();
        let key = Key::take(&mut headers, &mut query);
        (key, headers, query)
    }

    #[test]
    fn a_key_is_taken_from_wherever_clients_put_it_and_nothing_is_left_there() {
        let key = key();
        let basic = |pair: String| format!("Basic {}", STANDARD.encode(pair));
        let places: [(&str, String); 10] = [
            ("authorization", format!("Bearer {key}")),
            ("authorization", format!("bearer  {key}")),
            ("authorization", format!("token {key}")),
            ("authorization", basic(format!("x:{key}"))),
            ("authorization", basic(format!("{key}:"))),
            ("authorization", basic(format!("{key}:x-oauth-basic"))),
            ("x-api-key", key.clone()),
            ("api-key", key.clone()),
            ("x-goog-api-key", key.clone()),
            ("sec-websocket-protocol", format!("realtime, openai-insecure-api-key.{key}")),
        ];
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        for (name, value) in places {
            let (found, headers, _) = taken(&[(name, &value), ("x-other", "1")], "");
            assert_eq!(
                found.ok().map(|found| <[u8; 32]>::from(Sha256::digest(&found.0[..]))),
                Some(digest),
                "{name}: {value}"
            );
            assert!(headers.values().all(|value| !value.to_str().unwrap().contains(&key)), "{name}");
            assert_eq!(headers["x-other"], "1");
        }
        let (found, _, query) = taken(&[], &format!("alt=sse&key={key}&n=1"));
        assert!(found.is_ok());
        assert_eq!(query, "alt=sse&n=1");
    }

    #[test]
    fn one_key_in_two_places_is_one_key_and_any_other_beside_it_is_refused() {
        let (key, other) = (key(), key());
        let bearer = format!("Bearer {key}");
        assert!(taken(&[("authorization", &bearer), ("x-api-key", &key)], "").0.is_ok());
        let beside = |name, value: &str| taken(&[("authorization", &bearer), (name, value)], "").0.err();
        assert_eq!(beside("x-api-key", &other), Some(KeyFault::Foreign));
        assert_eq!(beside("x-api-key", "sk-0123456789abcdef"), Some(KeyFault::Foreign));
        assert_eq!(beside("authorization", "Bearer sk-0123456789abcdef"), Some(KeyFault::Foreign));
        assert_eq!(beside("authorization", "Digest x=y"), Some(KeyFault::Foreign));
        assert_eq!(taken(&[("x-api-key", "sk-0123456789abcdef")], "").0.err(), Some(KeyFault::Foreign));
        assert_eq!(taken(&[("x-api-key", &key[..40])], "").0.err(), Some(KeyFault::Damaged));
        assert_eq!(taken(&[], "").0.err(), Some(KeyFault::Missing));
    }
}
