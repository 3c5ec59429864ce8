//! Which addresses a provider's name may lead to. The address that was looked at is the one that is dialled, so that a
//! name which means another one a moment later gains nothing. It must never let a key go to the machine's own network
//! because a resolver said so.

use crate::recipe::Endpoint;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether providers may live in private networks (`[upstream] allow_private`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Private {
    /// Only addresses of the public Internet.
    #[default]
    Refused,
    /// Private ones too, such as a provider's endpoint in one's own cloud network; metadata services never.
    Allowed,
}

/// Whether this address may be dialled for this endpoint.
///
/// An endpoint that is itself a loopback address was allowed by `allow_loopback` and leads to loopback alone.
pub(super) fn may_dial(endpoint: &Endpoint, address: SocketAddr, private: Private) -> bool {
    let address = plain(address.ip());
    if endpoint.is_loopback() {
        return address.is_loopback();
    }
    match kind(address) {
        Kind::Public => true,
        Kind::Private => private == Private::Allowed,
        Kind::Never => false,
    }
}

enum Kind {
    Public,
    Private,
    Never,
}

/// An IPv4 address in IPv6's clothes is looked at as what it is: RFC 4291 §2.5.5.2, RFC 6052 §2.1.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else { return address };
    match six.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        _ => six.to_canonical(),
    }
}

/// The special ranges of the IANA registries: RFC 6890.
fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(four) => kind_of_four(four),
        IpAddr::V6(six) => kind_of_six(six),
    }
}

fn kind_of_four(address: Ipv4Addr) -> Kind {
    let [a, b, ..] = address.octets();
    // Alibaba Cloud's metadata service lies in the carriers' shared range.
    let metadata = address == Ipv4Addr::new(100, 100, 100, 200);
    if metadata || address.is_link_local() || address.is_loopback() || a == 0 || a >= 224 {
        Kind::Never
    } else if address.is_private()
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (18..20).contains(&b))
        || address.is_documentation()
        || address.octets()[..3] == [192, 0, 0]
    {
        Kind::Private
    } else {
        Kind::Public
    }
}

fn kind_of_six(address: Ipv6Addr) -> Kind {
    // AWS's metadata service over IPv6.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    let first = address.segments()[0];
    match first {
        _ if address == METADATA => Kind::Never,
        0x2000..=0x3fff if address.segments()[..2] != [0x2001, 0xdb8] => Kind::Public,
        0xfc00..=0xfdff => Kind::Private,
        _ => Kind::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Scheme;

    fn may(host: &str, address: &str, private: Private) -> bool {
        let endpoint = Endpoint { scheme: Scheme::Https, host: host.into(), port: 443 };
        may_dial(&endpoint, SocketAddr::new(address.parse().unwrap(), 443), private)
    }

    #[test]
    fn a_name_that_leads_into_the_machines_own_network_is_not_dialled() {
        let own = [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.100.100.200",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "100.64.0.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2001:db8::1",
            "192.0.0.192",
        ];
        for address in own {
            assert!(!may("api.example", address, Private::Refused), "{address}");
        }
        for address in ["8.8.8.8", "47.74.0.1", "2606:4700::1111", "64:ff9b::808:808"] {
            assert!(may("api.example", address, Private::Refused), "{address}");
        }
    }

    #[test]
    fn private_networks_can_be_allowed_and_metadata_services_cannot() {
        for address in ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::1"] {
            assert!(may("api.example", address, Private::Allowed), "{address}");
        }
        for address in ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "127.0.0.1", "::1"] {
            assert!(!may("api.example", address, Private::Allowed), "{address}");
        }
    }

    #[test]
    fn a_stand_in_on_loopback_stays_there() {
        assert!(may("127.0.0.1", "127.0.0.1", Private::Refused) && may("localhost", "::1", Private::Refused));
        assert!(!may("localhost", "8.8.8.8", Private::Refused));
    }
}
