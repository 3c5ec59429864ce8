//! From where a key is kept to the host that is called. The host comes from the recipe or from a checked `--endpoint`;
//! never from a request.

use super::Recipe;
use crate::model::Place;
use std::{fmt, net::IpAddr};

/// Scheme, host and port of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whether it is spoken to in the clear; only ever on loopback.
    pub scheme: Scheme,
    /// A DNS name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// How an endpoint is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TLS.
    Https,
    /// In the clear.
    Http,
}

impl Endpoint {
    /// Whether it is this machine: a loopback address, or `localhost`.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// What stands in `Host`: the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        match (self.scheme, self.port) {
            (Scheme::Https, 443) | (Scheme::Http, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// Whether `--endpoint` may name a loopback address (`[upstream] allow_loopback`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Loopback {
    /// Only the provider's own hosts.
    #[default]
    Refused,
    /// Stand-ins too, also without TLS.
    Allowed,
}

/// Why a place is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceFault {
    /// Not one of the provider's regions.
    #[error("{provider} has no region `{region}`; it has {known}")]
    Region {
        /// The provider.
        provider: String,
        /// What was asked.
        region: String,
        /// What there is.
        known: String,
    },
    /// A region without a shared host needs a workspace.
    #[error("{provider} in {region} is reached by a workspace's own host: give --workspace")]
    NeedsWorkspace {
        /// The provider.
        provider: String,
        /// The region.
        region: String,
    },
    /// Letters that could redirect a DNS name.
    #[error("a workspace id is 1 to 64 letters, digits, - and _, and begins with a letter or digit")]
    Workspace,
    /// An endpoint that is not to be trusted with a key.
    #[error("endpoint refused: {0}")]
    Endpoint(&'static str),
}

impl Recipe {
    /// The host for a key kept at `place`; without a region the recipe's first.
    pub fn endpoint(&self, place: &Place, loopback: Loopback) -> Result<Endpoint, PlaceFault> {
        let hosts = self.hosts(place)?;
        match &place.endpoint {
            None => Ok(Endpoint { scheme: Scheme::Https, host: hosts, port: 443 }),
            Some(url) => {
                let endpoint = parse(url)?;
                self.allow(&endpoint, loopback)?;
                Ok(endpoint)
            }
        }
    }

    /// The provider's own name of a region or of its alias.
    pub fn region_name(&self, word: &str) -> Option<&str> {
        let known = |region: &&super::Region| region.name == word || region.alias.iter().any(|alias| alias == word);
        self.region.iter().find(known).map(|region| region.name.as_str())
    }

    fn hosts(&self, place: &Place) -> Result<String, PlaceFault> {
        let fault = |region: &str| PlaceFault::Region {
            provider: self.name.clone(),
            region: region.to_owned(),
            known: self.region.iter().map(spoken).collect::<Vec<_>>().join(", "),
        };
        let wanted = place.region.as_deref().or(self.region.first().map(|region| region.name.as_str())).unwrap_or("");
        let name = self.region_name(wanted).ok_or_else(|| fault(wanted))?;
        if let Some(workspace) = &place.workspace {
            check_label(workspace)?;
            return Ok(self.workspace.host.replace("{workspace}", workspace).replace("{region}", name));
        }
        let region = self.region.iter().find(|region| region.name == name).ok_or_else(|| fault(wanted))?;
        let missing = || PlaceFault::NeedsWorkspace { provider: self.name.clone(), region: name.to_owned() };
        region.host.clone().ok_or_else(missing)
    }

    /// An endpoint is one of the provider's hosts over TLS, or loopback where stand-ins are allowed.
    fn allow(&self, endpoint: &Endpoint, loopback: Loopback) -> Result<(), PlaceFault> {
        match (endpoint.is_loopback(), loopback, endpoint.scheme) {
            (true, Loopback::Allowed, _) => Ok(()),
            (true, Loopback::Refused, _) => {
                Err(PlaceFault::Endpoint("loopback needs `allow_loopback = true` under [upstream]"))
            }
            (false, _, Scheme::Http) => Err(PlaceFault::Endpoint("a key goes out over https only")),
            (false, _, Scheme::Https) if self.own_host(&endpoint.host) => Ok(()),
            (false, _, Scheme::Https) => Err(PlaceFault::Endpoint("it is not one of the provider's hosts")),
        }
    }

    fn own_host(&self, host: &str) -> bool {
        let shared = self.region.iter().any(|region| region.host.as_deref() == Some(host));
        let workspace = || {
            let (label, rest) = host.split_once('.')?;
            check_label(label).ok()?;
            let fits = |region: &super::Region| {
                self.workspace.host.replace("{workspace}.", "").replace("{region}", &region.name) == rest
            };
            self.region.iter().any(fits).then_some(())
        };
        shared || workspace().is_some()
    }
}

fn parse(url: &str) -> Result<Endpoint, PlaceFault> {
    let fault = PlaceFault::Endpoint("it is written https://HOST[:PORT], without a path");
    let (scheme, rest, usual) = match url.split_once("://") {
        Some(("https", rest)) => (Scheme::Https, rest, 443),
        Some(("http", rest)) => (Scheme::Http, rest, 80),
        _ => return Err(fault),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| fault.clone())?),
        _ => (rest, usual),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).is_some_and(|h| h.parse::<IpAddr>().is_ok());
    if host.is_empty() || port == 0 || !(address || host.chars().all(plain)) {
        return Err(fault);
    }
    Ok(Endpoint { scheme, host: host.to_ascii_lowercase(), port })
}

/// The provider's own SDK checks this too: the id becomes a DNS label, and `evil.example/` would redirect the key.
fn check_label(text: &str) -> Result<(), PlaceFault> {
    let head = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let body = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if head && body && text.len() <= 64 { Ok(()) } else { Err(PlaceFault::Workspace) }
}

/// A region as people say it, and as the provider does.
fn spoken(region: &super::Region) -> String {
    match region.alias.first() {
        Some(alias) => format!("{alias} ({})", region.name),
        None => region.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::dashscope, *};

    fn host(place: Place) -> Result<String, PlaceFault> {
        dashscope().endpoint(&place, Loopback::Refused).map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn every_documented_host_is_reached() {
        let at = |region: &str, workspace: Option<&str>| {
            host(Place { region: Some(region.into()), workspace: workspace.map(Into::into), ..Default::default() })
        };
        assert_eq!(at("beijing", None).unwrap(), "https://dashscope.aliyuncs.com");
        assert_eq!(at("singapore", None).unwrap(), "https://dashscope-intl.aliyuncs.com");
        assert_eq!(at("us-east-1", None).unwrap(), "https://dashscope-us.aliyuncs.com");
        assert_eq!(at("hongkong", None).unwrap(), "https://cn-hongkong.dashscope.aliyuncs.com");
        assert!(matches!(at("frankfurt", None), Err(PlaceFault::NeedsWorkspace { .. })));
        assert_eq!(at("tokyo", Some("ws_1")).unwrap(), "https://ws_1.ap-northeast-1.maas.aliyuncs.com");
        assert!(matches!(at("mars", None), Err(PlaceFault::Region { .. })));
    }

    #[test]
    fn a_workspace_id_cannot_redirect_the_key() {
        for evil in ["evil.example/", "a.b", "", "-a", "a@b", "a:1", &"a".repeat(65)] {
            let place = Place { workspace: Some(evil.into()), ..Default::default() };
            assert_eq!(host(place), Err(PlaceFault::Workspace), "{evil}");
        }
    }

    #[test]
    fn an_endpoint_is_the_providers_or_an_allowed_loopback() {
        let at = |url: &str, loopback| {
            let place = Place { endpoint: Some(url.into()), ..Default::default() };
            dashscope().endpoint(&place, loopback).map(|endpoint| endpoint.to_string())
        };
        assert!(at("https://dashscope.aliyuncs.com", Loopback::Refused).is_ok());
        assert!(at("https://ws1.eu-central-1.maas.aliyuncs.com/", Loopback::Refused).is_ok());
        for bad in [
            "http://dashscope.aliyuncs.com",
            "https://dashscope.aliyuncs.com.evil.example",
            "https://evil.maas.aliyuncs.com",
            "https://a.b.eu-central-1.maas.aliyuncs.com",
            "https://user@dashscope.aliyuncs.com",
            "https://dashscope.aliyuncs.com/path",
            "dashscope.aliyuncs.com",
            "https://",
            "https://169.254.169.254",
        ] {
            assert!(at(bad, Loopback::Allowed).is_err(), "{bad}");
        }
        for local in ["http://127.0.0.1:8080", "https://localhost:1", "https://[::1]:8443"] {
            assert_eq!(at(local, Loopback::Allowed).unwrap(), local);
            assert!(at(local, Loopback::Refused).is_err());
        }
    }
}
