//! From where a key is kept to the host that is called. The host comes from the recipe or from a checked `--endpoint`;
//! never from a request.

use super::{
    Recipe,
    gateway::Address,
    host::{Host, Reach, Region, is_label},
    set::{Set, SetFault},
};
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

impl Endpoint {
    /// A host over TLS at the usual port.
    pub(super) fn https(host: String) -> Self {
        Self { scheme: Scheme::Https, host, port: 443 }
    }
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
        self.host == "localhost" || self.address().is_some_and(|address| address.is_loopback())
    }

    /// The host, where it is an address and no name.
    fn address(&self) -> Option<IpAddr> {
        self.host.trim_matches(['[', ']']).parse().ok()
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
    /// A provider without hosts of its own.
    #[error("{0} is no provider in particular: give --endpoint https://HOST")]
    NeedsEndpoint(String),
    /// Letters that could redirect a DNS name.
    #[error("a workspace id is 1 to 64 letters, digits, - and _, and begins with a letter or digit")]
    Workspace,
    /// An endpoint that is not to be trusted with a key.
    #[error("endpoint refused: {0}")]
    Endpoint(&'static str),
    /// A value that the host is made of.
    #[error(transparent)]
    Set(#[from] SetFault),
}

impl Recipe {
    /// The host for a key kept at this address; without a region the recipe's first.
    ///
    /// # Errors
    /// The operator's: the address is none that the provider has.
    pub fn endpoint(&self, address: Address<'_>, loopback: Loopback) -> Result<Endpoint, PlaceFault> {
        let host = self.host(address)?;
        match (&address.place.endpoint, host) {
            (None, Some(host)) => Ok(Endpoint::https(host)),
            (None, None) => Err(PlaceFault::NeedsEndpoint(self.name.clone())),
            (Some(url), _) => {
                let endpoint = parse(url)?;
                self.allow(&endpoint, loopback)?;
                Ok(endpoint)
            }
        }
    }

    /// The provider's own name of a region or of its alias.
    pub fn region_name(&self, word: &str) -> Option<&str> {
        let known = |region: &&Region| region.name == word || region.alias.iter().any(|alias| alias == word);
        self.upstream.region.iter().find(known).map(|region| region.name.as_str())
    }

    /// The provider's own host for an address; none for a provider that has no hosts.
    fn host(&self, Address { place, set }: Address<'_>) -> Result<Option<String>, PlaceFault> {
        let hosts = &self.upstream;
        if hosts.region.is_empty() {
            if let Some(region) = &place.region {
                return Err(self.no_region(region));
            }
            return hosts.host.as_ref().map(|host| self.rendered(host, set)).transpose();
        }
        let wanted = place.region.as_deref().unwrap_or(hosts.region[0].name.as_str());
        let name = self.region_name(wanted).ok_or_else(|| self.no_region(wanted))?;
        if let (Some(workspace), Some(template)) = (&place.workspace, &hosts.workspace_host) {
            is_label(workspace).then_some(()).ok_or(PlaceFault::Workspace)?;
            return Ok(Some(template.0.replace("{workspace}", workspace).replace("{region}", name)));
        }
        let shared = hosts.region.iter().find(|region| region.name == name).and_then(|region| region.host.as_ref());
        let missing = || PlaceFault::NeedsWorkspace { provider: self.name.clone(), region: name.to_owned() };
        shared.ok_or_else(missing).and_then(|host| self.rendered(host, set)).map(Some)
    }

    /// A host with its value put in.
    pub(super) fn rendered(&self, host: &Host, set: &Set) -> Result<String, PlaceFault> {
        let Some(name) = host.placeholder() else { return Ok(host.0.clone()) };
        Ok(host.0.replace(&format!("{{{name}}}"), &self.value(name, set)?.to_ascii_lowercase()))
    }

    fn no_region(&self, region: &str) -> PlaceFault {
        let known = self.upstream.region.iter().map(spoken).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none".to_owned() } else { known };
        PlaceFault::Region { provider: self.name.clone(), region: region.to_owned(), known }
    }

    /// An endpoint is one of the provider's hosts over TLS, or loopback where stand-ins are allowed.
    fn allow(&self, endpoint: &Endpoint, loopback: Loopback) -> Result<(), PlaceFault> {
        match (endpoint.is_loopback(), loopback, endpoint.scheme) {
            (true, Loopback::Allowed, _) => Ok(()),
            (true, Loopback::Refused, _) => {
                Err(PlaceFault::Endpoint("loopback needs `allow_loopback = true` under [upstream]"))
            }
            (false, _, Scheme::Http) => Err(PlaceFault::Endpoint("a key goes out over https only")),
            (false, _, Scheme::Https) if self.upstream.own(&endpoint.host) => Ok(()),
            (false, _, Scheme::Https) if self.upstream.reach == Reach::Any => {
                named(endpoint, endpoint.address().is_some())
            }
            (false, _, Scheme::Https) => Err(PlaceFault::Endpoint("it is not one of the provider's hosts")),
        }
    }
}

/// Any host is reached by its name: an address could be anybody's, and no certificate says whose.
fn named(endpoint: &Endpoint, address: bool) -> Result<(), PlaceFault> {
    let last = endpoint.host.rsplit('.').next().unwrap_or_default();
    if address || !endpoint.host.contains('.') || !last.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(PlaceFault::Endpoint("it is a full DNS name, no address"));
    }
    Ok(())
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

/// A region as people say it, and as the provider does.
fn spoken(region: &Region) -> String {
    match region.alias.first() {
        Some(alias) => format!("{alias} ({})", region.name),
        None => region.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::at, *};
    use crate::model::Place;

    fn host(place: Place) -> Result<String, PlaceFault> {
        at("dashscope", &place, &[], Loopback::Refused).map(|endpoint| endpoint.to_string())
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
            at("dashscope", &place, &[], loopback).map(|endpoint| endpoint.to_string())
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
    #[test]
    fn a_providers_own_host_is_made_of_a_checked_value() {
        let azure = |resource: &str, endpoint: Option<&str>| {
            let place = Place { endpoint: endpoint.map(Into::into), ..Default::default() };
            at("azure-openai", &place, &[("resource", resource)], Loopback::Refused)
                .map(|endpoint| endpoint.to_string())
        };
        assert_eq!(azure("Mine-1", None).unwrap(), "https://mine-1.openai.azure.com");
        assert_eq!(
            azure("x", Some("https://y.cognitiveservices.azure.com")).unwrap(),
            "https://y.cognitiveservices.azure.com"
        );
        assert!(matches!(azure("evil.example/", None), Err(PlaceFault::Set(_))));
        assert!(azure("x", Some("https://a.b.openai.azure.com")).is_err());
        assert!(azure("x", Some("https://openai.azure.com")).is_err());
        let none = Place::default();
        assert!(matches!(
            at("azure-openai", &none, &[], Loopback::Refused),
            Err(PlaceFault::Set(SetFault::Missing { .. }))
        ));
    }

    #[test]
    fn a_generic_key_goes_to_its_own_endpoint_by_name_and_over_tls() {
        let generic = |endpoint: Option<&str>| {
            let place = Place { endpoint: endpoint.map(Into::into), ..Default::default() };
            at("generic", &place, &[], Loopback::Refused).map(|endpoint| endpoint.to_string())
        };
        assert_eq!(generic(None), Err(PlaceFault::NeedsEndpoint("generic".into())));
        assert_eq!(generic(Some("https://api.example.com:8443")).unwrap(), "https://api.example.com:8443");
        for bad in [
            "http://api.example.com",
            "https://10.0.0.1",
            "https://[fe80::1]",
            "https://169.254.169.254",
            "https://metadata",
            "https://localhost",
            "https://127.1",
            "https://0x7f.0.0.1.0x1",
            "https://2130706433",
        ] {
            assert!(generic(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_provider_without_regions_says_so() {
        let place = Place { region: Some("mars".into()), ..Default::default() };
        let told = at("openai", &place, &[], Loopback::Refused).unwrap_err().to_string();
        assert!(told.contains("none"), "{told}");
        let place = Place { workspace: Some("for cost allocation: any letters".into()), ..Default::default() };
        assert_eq!(at("openai", &place, &[], Loopback::Refused).unwrap().to_string(), "https://api.openai.com");
    }
}
