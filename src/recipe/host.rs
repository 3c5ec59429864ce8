//! The names of a provider's hosts, some with a value for their first label. No value may lead to another domain.

use serde::Deserialize;

/// Where a provider's keys may be sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawHosts")]
pub(super) struct Hosts {
    pub(super) host: Option<Host>,
    pub(super) workspace_host: Option<Host>,
    also: Vec<Host>,
    pub(super) region: Vec<Region>,
    pub(super) reach: Reach,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHosts {
    host: Option<Host>,
    workspace_host: Option<Host>,
    /// Further hosts of the provider, which `--endpoint` may name.
    #[serde(default)]
    also: Vec<Host>,
    #[serde(default)]
    region: Vec<Region>,
    #[serde(default)]
    reach: Reach,
}

/// Which hosts `--endpoint` may name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reach {
    /// The provider's own.
    #[default]
    Own,
    /// Any, by name and over TLS: whoever adds the key says where it goes, once.
    Any,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Region {
    pub(super) name: String,
    #[serde(default)]
    pub(super) alias: Vec<String>,
    pub(super) host: Option<Host>,
}

/// A host name whose first label may be a value in braces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Host(pub(super) String);

impl TryFrom<String> for Host {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let value = |label: &str| label.strip_prefix('{').and_then(|label| label.strip_suffix('}')).is_some_and(plain);
        let labels: Vec<_> = text.split('.').collect();
        // A value never stands for a domain that somebody could register.
        let first = plain(labels[0]) || value(labels[0]) && labels.len() > 2;
        // An address is no name: it would say by itself that it may be dialled.
        let named = labels.last().is_some_and(|label| !label.bytes().all(|b| b.is_ascii_digit()));
        if first && named && labels.len() > 1 && labels[1..].iter().all(|label| plain(label) || *label == "{region}") {
            return Ok(Self(text));
        }
        Err("a host is a DNS name in small letters, without scheme, port and path")
    }
}

impl TryFrom<RawHosts> for Hosts {
    type Error = &'static str;

    fn try_from(raw: RawHosts) -> Result<Self, Self::Error> {
        let ways = [raw.host.is_some(), !raw.region.is_empty(), raw.reach == Reach::Any];
        if ways.iter().filter(|way| **way).count() != 1 {
            return Err("[upstream] has either a host, or regions, or reach = \"any\"");
        }
        if raw.workspace_host.is_some() && raw.region.is_empty() {
            return Err("a workspace_host goes with regions");
        }
        let RawHosts { host, workspace_host, also, region, reach } = raw;
        Ok(Self { host, workspace_host, also, region, reach })
    }
}

impl Host {
    /// The value that its first label is, if it is one.
    pub(super) fn placeholder(&self) -> Option<&str> {
        self.0.strip_prefix('{')?.split_once('}').map(|(name, _)| name)
    }

    /// Whether `host` is this one, with some label where a value stands.
    fn fits(&self, host: &str) -> bool {
        match self.placeholder() {
            None => self.0 == host,
            Some(_) => {
                let rest = self.0.split_once('.').map(|(_, rest)| rest);
                host.split_once('.').is_some_and(|(label, tail)| Some(tail) == rest && is_label(label))
            }
        }
    }
}

impl Hosts {
    /// Values of a key that hosts are made of.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = &str> {
        let regions = self.region.iter().filter_map(|region| region.host.as_ref());
        self.host.iter().chain(&self.also).chain(regions).filter_map(Host::placeholder)
    }

    /// Whether `host` is one of the provider's.
    pub(super) fn own(&self, host: &str) -> bool {
        let shared = self.region.iter().filter_map(|region| region.host.as_ref());
        let workspaces = self
            .workspace_host
            .iter()
            .flat_map(|template| self.region.iter().map(|region| Host(template.0.replace("{region}", &region.name))));
        self.host.iter().chain(&self.also).chain(shared).any(|own| own.fits(host))
            || workspaces.into_iter().any(|own| own.fits(host))
    }
}

/// The provider's own SDK checks this too: the id becomes a DNS label, and `evil.example/` would redirect the key.
pub(super) fn is_label(text: &str) -> bool {
    let head = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let body = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    head && body && text.len() <= 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_and_a_value_its_first_label_alone() {
        let read = |text: &str| Host::try_from(text.to_owned());
        for good in ["api.openai.com", "{resource}.openai.azure.com", "{workspace}.{region}.maas.aliyuncs.com"] {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "com",
            "a..b",
            "a.b.",
            "{x}.com",
            "a.{x}.com",
            "a.b/c",
            "a.b:1",
            "A.b",
            "https://a.b",
            "{}.a.b",
            "u@a.b",
            "127.0.0.1",
            "{x}.0.0.1",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
