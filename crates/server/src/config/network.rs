//! Networks: an address and how many of its leading bits count.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// A network, such as `10.0.0.0/8`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// In canonical form: an IPv4 address in an IPv6 one is the IPv4 address.
    address: IpAddr,
    /// At most 32 of IPv4, 128 of IPv6.
    prefix: u8,
}

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It has another form.
    #[error("{0:?} is no network; write it as 10.0.0.0/8, 2001:db8::/32, or one address")]
    Form(String),
    /// Its prefix is longer than the address.
    #[error("{0:?}: the prefix is at most {1} bits long")]
    Prefix(String, u8),
    /// Bits are set behind the prefix, so that it is unclear what is meant.
    #[error("{0:?} has bits beyond its prefix; write {1}, or the one address without a prefix")]
    HostBits(String, Network),
    /// It is partly IPv4 and partly not.
    #[error("{0:?} is partly IPv4 and partly not; write the IPv4 network as such")]
    Mapped(String),
}

impl Network {
    /// Whether `address` lies in it. An IPv4 address that came as an IPv6 one is taken as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == self.address
    }

    /// The address of the network, with no bits beyond the prefix.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Leading bits that count.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }
}

const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// `address` without the bits beyond `prefix`.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let beyond = u32::from(bits(address).saturating_sub(prefix));
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(beyond).unwrap_or(0)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(beyond).unwrap_or(0)).into()),
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let form = || NetworkError::Form(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let given: IpAddr = address.parse().map_err(|_| form())?;
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| if digits.is_empty() { form() } else { too_long(text, given) })?
            }
            Some(_) => return Err(form()),
            None => bits(given),
        };
        if prefix > bits(given) {
            return Err(too_long(text, given));
        }
        let address = given.to_canonical();
        // 96 bits say that it is an IPv4 address.
        let prefix = match bits(given) - bits(address) {
            0 => prefix,
            mapped => prefix.checked_sub(mapped).ok_or_else(|| NetworkError::Mapped(text.to_owned()))?,
        };
        let network = Self { address: masked(address, prefix), prefix };
        if network.address == address { Ok(network) } else { Err(NetworkError::HostBits(text.to_owned(), network)) }
    }
}

fn too_long(text: &str, address: IpAddr) -> NetworkError {
    NetworkError::Prefix(text.to_owned(), bits(address))
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_lie_in_networks() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.1.2.3"),
            ("0.0.0.0/0", "255.1.2.3", "::2"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("::1", "::1", "127.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("10.0.0.1/32", "10.0.0.1", "10.0.0.0"),
        ] {
            assert!(network(text).contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!network(text).contains(outside.parse().unwrap()), "{text} {outside}");
        }
    }

    #[test]
    fn networks_are_shown_in_canonical_form() {
        assert_eq!(network("::ffff:10.0.0.0/104").to_string(), "10.0.0.0/8");
        assert_eq!(network("2001:DB8::/32").to_string(), "2001:db8::/32");
        assert_eq!(network("::1").to_string(), "::1/128");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let refused = |text: &str| text.parse::<Network>().unwrap_err().to_string();
        for text in ["", "10.0.0.0/", "10.0.0/8", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/8/8", "host/8"] {
            assert_eq!(
                refused(text),
                format!("{text:?} is no network; write it as 10.0.0.0/8, 2001:db8::/32, or one address")
            );
        }
        assert_eq!(refused("10.0.0.0/33"), "\"10.0.0.0/33\": the prefix is at most 32 bits long");
        assert_eq!(refused("::/999"), "\"::/999\": the prefix is at most 128 bits long");
        assert_eq!(
            refused("10.1.0.0/8"),
            "\"10.1.0.0/8\" has bits beyond its prefix; write 10.0.0.0/8, or the one address without a prefix"
        );
        assert_eq!(
            refused("::ffff:0.0.0.0/90"),
            "\"::ffff:0.0.0.0/90\" is partly IPv4 and partly not; write the IPv4 network as such"
        );
    }
}
