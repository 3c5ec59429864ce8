//! A request's head: taken apart, and refused where it could mean two things. What is passed on is built anew from what
//! was understood, so that no trick of framing reaches the provider.

use super::key::{Key, KeyFault, parameters, unescaped};
use crate::{broker::Call, model::CallPath};
use hyper::{
    HeaderMap, Method, Version,
    header::{self, HeaderName},
    http::request::Parts,
};

/// A head that was understood.
#[derive(Debug)]
pub(super) struct Head<K = Key> {
    /// The provider that was asked for: the path's first part.
    pub(super) provider: String,
    /// The provider's own path.
    pub(super) path: CallPath,
    /// The query without keys.
    pub(super) query: String,
    pub(super) method: Method,
    /// What goes to the provider.
    pub(super) headers: HeaderMap,
    /// Whether it asks for a websocket.
    pub(super) websocket: bool,
    pub(super) key: K,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// It has no key of ours, or more than one.
    Key(KeyFault),
    /// It is not understood, or in more than one way.
    Form(&'static str),
}

/// Headers that belong to a connection and not to a message: RFC 9110 §7.6.1.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Ours to set, or ours alone to read. A provider must answer in the clear: what is compressed can't be looked through.
const OURS: [&str; 9] = [
    "host",
    "expect",
    "accept-encoding",
    "sec-websocket-extensions",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "via",
];

/// With these a provider may take a call for another one than was judged.
const OVERRIDES: [&str; 5] =
    ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"];

/// The same in the query: Google's system parameters (cloud.google.com/apis/docs/system-parameters), and what web
/// frameworks read.
const OVERRIDING: [&str; 5] = ["$httpmethod", "$httpheaders", "$ct", "x-http-method-override", "_method"];

impl Head {
    /// Understands a head, or says why not.
    pub(super) fn read(parts: Parts) -> Result<Self, Bad> {
        let Parts { method, uri, version, mut headers, .. } = parts;
        if uri.authority().is_some() || !uri.path().starts_with('/') {
            return Err(Bad::Form("the target is a path and has no other form"));
        }
        if method == Method::CONNECT || method == Method::TRACE {
            return Err(Bad::Form("no CONNECT, and no TRACE, which would send the key back"));
        }
        check_framing(&headers, version)?;
        let (provider, path) = split(uri.path())?;
        let mut query = uri.query().unwrap_or_default().to_owned();
        let websocket = wants_websocket(&headers, &method)?;
        if OVERRIDES.iter().any(|name| headers.contains_key(*name)) {
            return Err(Bad::Form("no header may make another call of this one"));
        }
        if parameters(&query).any(|(name, _)| OVERRIDING.contains(&name.as_str())) {
            return Err(Bad::Form("no query may make another call of this one"));
        }
        strip(&mut headers)?;
        let key = Key::take(&mut headers, &mut query).map_err(Bad::Key)?;
        let head = Self { provider, path, query, method, headers, websocket, key };
        if head.leaks() { Err(Bad::Key(KeyFault::Leaked)) } else { Ok(head) }
    }

    /// The same as the broker judges it.
    pub(super) fn call(&self) -> Call<'_> {
        Call { provider: &self.provider, method: self.method.as_str(), path: &self.path }
    }

    fn leaks(&self) -> bool {
        let places = [&written(&self.headers)[..], self.provider.as_bytes(), self.path.plain().as_bytes()];
        places.iter().any(|text| self.key.is_in(text)) || self.key.is_in(&unescaped(&self.query))
    }
}

/// All names and values, to be searched at once: a line feed, which no key has, is between them.
pub(super) fn written(headers: &HeaderMap) -> Vec<u8> {
    let parts = headers.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
    parts.fold(Vec::with_capacity(1024), |mut all, part| {
        all.extend_from_slice(part);
        all.push(b'\n');
        all
    })
}

/// Hyper has refused what no reading allows; this refuses what two readers could read in two ways.
fn check_framing(headers: &HeaderMap, version: Version) -> Result<(), Bad> {
    if version != Version::HTTP_11 && version != Version::HTTP_10 {
        return Err(Bad::Form("the gateway speaks HTTP/1.1"));
    }
    let count = |name| headers.get_all(name).iter().count();
    if count(header::HOST) > 1 || count(header::CONTENT_LENGTH) > 1 || count(header::TRANSFER_ENCODING) > 1 {
        return Err(Bad::Form("host, content-length and transfer-encoding are told once"));
    }
    match (headers.get(header::TRANSFER_ENCODING), headers.contains_key(header::CONTENT_LENGTH)) {
        (Some(_), true) => Err(Bad::Form("a body has a content-length or a transfer-encoding, not both")),
        (Some(coding), _) if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Err(Bad::Form("the only transfer-encoding is chunked"))
        }
        _ => Ok(()),
    }
}

/// `/provider/path`; the path must be the only way to write what it names, or a scope's pattern could be walked around.
fn split(path: &str) -> Result<(String, CallPath), Bad> {
    let whole = path[1..].split_once('/').filter(|(provider, _)| !provider.is_empty());
    let (provider, _) = whole.ok_or(Bad::Form("the path begins with /PROVIDER/"))?;
    let rest = CallPath::parse(&path[1 + provider.len()..]);
    let rest = rest.map_err(|_| Bad::Form("the path has dots, empty parts or hidden letters"))?;
    Ok((provider.to_owned(), rest))
}

fn wants_websocket(headers: &HeaderMap, method: &Method) -> Result<bool, Bad> {
    let Some(upgrade) = headers.get(header::UPGRADE) else { return Ok(false) };
    let lines = headers.get_all(header::UPGRADE).iter().count();
    let body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    match upgrade.as_bytes().eq_ignore_ascii_case(b"websocket") && lines == 1 && method == Method::GET {
        true if body => Err(Bad::Form("who asks for a websocket sends no body")),
        true => Ok(true),
        false => Err(Bad::Form("the only upgrade is a GET's to websocket")),
    }
}

/// Takes out what belongs to this connection, what a `Connection` header names, and what is ours to set.
fn strip(headers: &mut HeaderMap) -> Result<(), Bad> {
    let mut named = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let text = value.to_str().map_err(|_| Bad::Form("the connection header is no list of names"))?;
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            named.push(HeaderName::from_bytes(name.as_bytes()).map_err(|_| Bad::Form("connection names no header"))?);
        }
    }
    let vital = [header::HOST, header::CONTENT_LENGTH, header::AUTHORIZATION];
    if named.iter().any(|name| vital.contains(name)) {
        return Err(Bad::Form("connection names a header that is not its own"));
    }
    // A proxy's own credential is a key's place too: it is looked at before it is dropped.
    let dropped = HOP_BY_HOP.iter().chain(&OURS).filter(|name| **name != "proxy-authorization");
    named.iter().for_each(|name| drop(headers.remove(name)));
    dropped.for_each(|name| drop(headers.remove(*name)));
    Ok(())
}

/// The same for an answer, whose `Connection` header is the provider's word about its own connection.
pub(super) fn strip_answer(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect();
    named.iter().for_each(|name| drop(headers.remove(name)));
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(*name)));
}

/// Reads a head: where it is understood, no place of it has a key any more.
#[cfg(fuzzing)]
pub fn fuzz(parts: Parts) {
    if let Ok(head) = Head::read(parts) {
        let places = ["authorization", "x-api-key", "api-key", "x-goog-api-key", "transfer-encoding", "connection"];
        assert!(!places.iter().any(|name| head.headers.contains_key(*name)));
        assert!(!parameters(&head.query).any(|(name, _)| name == "key"));
        assert!(!head.leaks());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::key::{Form, generate};
    use hyper::Request;

    fn read(target: &str, lines: &[(&str, &str)]) -> Result<Head, Bad> {
        let key = generate(Form::Key).unwrap().0.expose(|text| String::from_utf8(text.to_vec()).unwrap());
        let mut request = Request::builder().uri(target.replace("KEY", &key)).header("x-api-key", &key);
        for (name, value) in lines {
            request = request.header(*name, value.replace("KEY", &key));
        }
        Head::read(request.body(()).unwrap().into_parts().0)
    }

    fn form(target: &str, lines: &[(&str, &str)]) -> bool {
        matches!(read(target, lines), Err(Bad::Form(_)))
    }

    #[test]
    fn what_is_passed_on_is_the_providers_path_and_the_messages_own_headers() {
        let lines = [
            ("connection", "x-mine, keep-alive"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("accept-encoding", "gzip"),
            ("forwarded", "for=1"),
            ("host", "anything"),
            ("content-type", "application/json"),
        ];
        let head = read("/dashscope/compatible-mode/v1/models?a=1&key=KEY", &lines).unwrap();
        assert_eq!(
            (head.provider.as_str(), head.path.raw(), head.query.as_str()),
            ("dashscope", "/compatible-mode/v1/models", "a=1")
        );
        assert_eq!(head.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["content-type"]);
    }

    #[test]
    fn a_path_that_has_two_spellings_is_refused() {
        for path in ["/p/a/../b", "/p/a/./b", "/p/%2e%2e/b", "/p//b", "/p/a\\b", "/p", "/", "//b", "/p/.."] {
            assert!(form(path, &[]) || path.parse::<hyper::Uri>().is_err(), "{path}");
        }
        assert!(read("/p/", &[]).is_ok() && read("/p/v1/a.b/%20", &[]).is_ok());
    }

    #[test]
    fn a_body_with_two_lengths_is_refused() {
        assert!(form("/p/a", &[("content-length", "1"), ("transfer-encoding", "chunked")]));
        assert!(form("/p/a", &[("transfer-encoding", "gzip, chunked")]));
        assert!(form("/p/a", &[("transfer-encoding", "chunked"), ("transfer-encoding", "identity")]));
        assert!(form("/p/a", &[("host", "a"), ("host", "b")]));
        assert!(form("/p/a", &[("connection", "content-length")]) && form("/p/a", &[("connection", "authorization")]));
        assert!(form("/p/a", &[("upgrade", "h2c")]));
        assert!(form("/p/a", &[("upgrade", "websocket"), ("content-length", "1")]));
        assert!(form("/p/a", &[("x-http-method-override", "DELETE")]));
        assert!(form("http://elsewhere/p/a", &[]));
    }

    #[test]
    fn a_query_does_not_make_another_call_of_it() {
        for query in
            ["$httpMethod=DELETE", "%24httpMethod=DELETE", "a=1&%24HTTPmethod=x", "$httpHeaders=x", "_method=put"]
        {
            assert!(form(&format!("/p/a?{query}"), &[]), "{query}");
        }
        assert!(read("/p/a?$alt=sse&method=x", &[]).is_ok());
    }

    #[test]
    fn a_key_where_none_belongs_is_a_leak() {
        for (target, line) in [
            ("/p/KEY", ("x-a", "1")),
            ("/KEY/a", ("x-a", "1")),
            ("/p/a?q=KEY", ("x-a", "1")),
            ("/p/a?q=%20KEY", ("x-a", "1")),
            ("/p/a", ("user-agent", "me KEY")),
            ("/p/a", ("cookie", "session=KEY")),
        ] {
            assert_eq!(read(target, &[line]).err(), Some(Bad::Key(KeyFault::Leaked)), "{target} {line:?}");
        }
    }
}
