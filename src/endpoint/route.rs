//! Every route of both sockets, in one list: what is not on it is not reached, and what is on it the OpenAPI files
//! describe. It answers nothing, and never quotes what was asked.

use hyper::Request;

/// One path and what may be asked of it.
#[derive(Debug)]
pub struct Route {
    /// As OpenAPI writes it; `{…}` stands for a value that may hold slashes.
    pub path: &'static str,
    /// Methods, each with the query parameters that it knows.
    pub methods: &'static [(&'static str, &'static [&'static str])],
}

/// The routes of the broker socket.
pub const BROKER: &[Route] = &[
    Route { path: "/v1/leases", methods: &[("GET", &["limit", "after"]), ("POST", &[])] },
    Route { path: "/v1/leases/{id}", methods: &[("DELETE", &[])] },
    Route { path: "/v1/tickets/redeem", methods: &[("POST", &[])] },
    Route { path: "/v1/whoami", methods: &[("GET", &[])] },
    Route { path: "/v1/providers", methods: &[("GET", &[])] },
    Route { path: "/v1/openapi.json", methods: &[("GET", &[])] },
    Route { path: super::studio::PATH, methods: &[("POST", &["expire_in_seconds"])] },
    Route { path: "/healthz", methods: &[("GET", &[]), ("HEAD", &[])] },
    Route { path: "/readyz", methods: &[("GET", &[]), ("HEAD", &[])] },
];

/// The routes of the control socket.
pub const CONTROL: &[Route] = &[
    Route { path: "/v1/keys", methods: &[("GET", &[])] },
    // Before the next: a key's name holds slashes too.
    Route { path: "/v1/keys/{name}/rotate", methods: &[("POST", &[])] },
    Route { path: "/v1/keys/{name}/test", methods: &[("POST", &[])] },
    Route { path: "/v1/keys/{name}", methods: &[("GET", &[]), ("PUT", &[]), ("DELETE", &[])] },
    Route { path: "/v1/decoys", methods: &[("GET", &[])] },
    Route { path: "/v1/decoys/{name}", methods: &[("PUT", &[]), ("DELETE", &[])] },
    Route {
        path: "/v1/leases",
        methods: &[("GET", &["all", "limit", "after"]), ("DELETE", &["id", "key", "peer", "all"])],
    },
    Route { path: "/v1/approvals", methods: &[("GET", &[])] },
    Route { path: "/v1/approvals/{id}", methods: &[("POST", &[])] },
    Route { path: "/v1/lock", methods: &[("POST", &[])] },
    Route { path: "/v1/unlock", methods: &[("POST", &[])] },
    Route { path: "/v1/reload", methods: &[("POST", &[])] },
    Route { path: "/v1/status", methods: &[("GET", &[])] },
    Route { path: "/v1/usage", methods: &[("GET", &["by", "since"])] },
    Route { path: "/v1/audit", methods: &[("GET", &["follow"])] },
    Route { path: "/v1/why", methods: &[("POST", &[])] },
    Route { path: "/v1/takeover", methods: &[("POST", &[])] },
    Route { path: "/v1/openapi.json", methods: &[("GET", &[])] },
    Route { path: "/metrics", methods: &[("GET", &[])] },
];

/// What was asked for, found on the list.
#[derive(Debug)]
pub(super) struct Way {
    /// The route's path, as on the list.
    pub(super) path: &'static str,
    /// What stands for its `{…}`, decoded; empty where it has none.
    pub(super) value: String,
    /// The query's parameters, decoded, each at most once.
    query: Vec<(String, String)>,
}

/// Why a request finds no way.
#[derive(Debug)]
pub(super) enum Astray {
    /// No such path.
    Path,
    /// The path has other methods.
    Method(&'static Route),
    /// An unknown parameter, one given twice, or one that is not percent-encoded UTF-8.
    Query(&'static Route),
}

impl Way {
    /// The value of a query parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_str())
    }

    /// The only query parameter.
    pub(super) fn only_parameter(&self) -> Option<(&str, &str)> {
        match &self.query[..] {
            [(name, value)] => Some((name, value)),
            _ => None,
        }
    }
}

/// Finds the way of a request.
pub(super) fn find<B>(routes: &'static [Route], request: &Request<B>) -> Result<Way, Astray> {
    let (uri, method) = (request.uri(), request.method().as_str());
    let matched = |route: &'static Route| value(route.path, uri.path()).map(|value| (route, value));
    let (route, value) = routes.iter().find_map(matched).ok_or(Astray::Path)?;
    let known = route.methods.iter().find(|known| known.0 == method).ok_or(Astray::Method(route))?.1;
    let value = percent_decoded(value).ok_or(Astray::Path)?;
    let query = pairs(uri.query().unwrap_or_default(), known).ok_or(Astray::Query(route))?;
    Ok(Way { path: route.path, value, query })
}

/// What stands for `{…}` in a path that fits.
fn value<'a>(template: &str, path: &'a str) -> Option<&'a str> {
    let Some((before, rest)) = template.split_once('{') else { return (template == path).then_some("") };
    let after = rest.split_once('}').map_or("", |rest| rest.1);
    path.strip_prefix(before)?.strip_suffix(after).filter(|value| !value.is_empty())
}

fn pairs(query: &str, known: &[&str]) -> Option<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !known.contains(&name) || pairs.iter().any(|pair| pair.0 == name) {
            return None;
        }
        pairs.push((name.to_owned(), percent_decoded(value)?));
    }
    Some(pairs)
}

/// RFC 3986's %XX; nothing else is special, `+` neither.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        (rest, _) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => (tail, bytes.push(digit(*high)? << 4 | digit(*low)?)),
            (b'%', _) => return None,
            (byte, tail) => (tail, bytes.push(*byte)),
        };
    }
    String::from_utf8(bytes).ok()
}

fn digit(hex: u8) -> Option<u8> {
    char::from(hex).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(method: &str, uri: &str) -> Result<Way, Astray> {
        find(CONTROL, &Request::builder().method(method).uri(uri).body(()).unwrap())
    }

    #[test]
    fn a_text_is_decoded_once_and_whole() {
        assert_eq!(percent_decoded("exe%3A/usr/bin/a%20b+c").as_deref(), Some("exe:/usr/bin/a b+c"));
        assert_eq!(percent_decoded("%2541").as_deref(), Some("%41"));
        for bad in ["a%2", "a%zz", "%+1", "%FF"] {
            assert_eq!(percent_decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_keys_name_may_hold_slashes_of_both_spellings() {
        for uri in ["/v1/keys/dashscope/main", "/v1/keys/dashscope%2Fmain"] {
            let way = way("GET", uri).unwrap();
            assert_eq!((way.path, way.value.as_str()), ("/v1/keys/{name}", "dashscope/main"));
        }
        let rotate = way("POST", "/v1/keys/dashscope/main/rotate").unwrap();
        assert_eq!((rotate.path, rotate.value.as_str()), ("/v1/keys/{name}/rotate", "dashscope/main"));
    }

    #[test]
    fn what_is_not_on_the_list_is_not_reached() {
        assert!(matches!(way("GET", "/v1/keys/"), Err(Astray::Path)));
        assert!(matches!(way("GET", "/v2"), Err(Astray::Path)));
        assert!(matches!(way("PUT", "/v1/keys"), Err(Astray::Method(_))));
        assert!(matches!(way("HEAD", "/v1/keys/a"), Err(Astray::Method(_))));
        for query in ["all=true&all=true", "al=true", "all=%FF", "follow"] {
            assert!(matches!(way("GET", &format!("/v1/leases?{query}")), Err(Astray::Query(_))), "{query}");
        }
        assert_eq!(way("GET", "/v1/audit?follow").unwrap().parameter("follow"), Some(""));
    }
}
