//! Networks of IPv4 and IPv6 addresses.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::Failure;

/// An address and how many of its bits count, written `192.0.2.0/24`; without bits: one address. For lists in settings: parse
/// all of them before one is asked, so that a mistake shows at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl FromStr for Network {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let wrong = || Failure::new(format!("{text:?} is neither an address nor a network"));
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = width(address);
        match bits.unwrap_or(width) {
            bits if bits <= width => Ok(Self { address, bits }),
            _ => Err(wrong()),
        }
    }
}

impl Network {
    /// The network of this address that has so many bits, of each family.
    #[must_use]
    pub fn around(address: IpAddr, v4_bits: u32, v6_bits: u32) -> Self {
        let address = address.to_canonical();
        let bits = if address.is_ipv4() { v4_bits.min(32) } else { v6_bits.min(128) };
        Self { address, bits }
    }

    /// Whether the address is in it; an IPv4 address in IPv6's clothes is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        width(address) == width(self.address) && self.prefix(address) == self.prefix(self.address)
    }

    /// Its bits; others are the same for another address of it.
    fn prefix(&self, address: IpAddr) -> u128 {
        let number = match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        number.checked_shr(width(address) - self.bits).unwrap_or(0)
    }
}

/// The same text for all addresses of the network.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shift = width(self.address) - self.bits;
        let first = self.prefix(self.address).checked_shl(shift).unwrap_or(0);
        let first = match self.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(first).unwrap_or_default())),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(first)),
        };
        write!(f, "{first}/{}", self.bits)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_network() {
        for (network, address, inside) in [
            ("0.0.0.0/0", "203.0.113.9", true),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.9", false),
            ("192.0.2.128/25", "192.0.2.127", false),
            ("192.0.2.128/25", "192.0.2.255", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::/32", "2001:db8:ffff::", true),
            ("2001:db8::/32", "2001:db9::", false),
        ] {
            let parsed: Network = network.parse().expect(network);
            assert_eq!(parsed.contains(address.parse().expect(address)), inside, "{address} in {network}");
        }
        for wrong in ["", "192.0.2.0/", "192.0.2.0/-1", "2001:db8::/129", "example"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_of_one_network_are_called_the_same() {
        for (address, name) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.78", "192.0.2.0/24"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(Network::around(address.parse().expect(address), 24, 64).to_string(), name);
        }
        assert_eq!(Network::around("192.0.2.1".parse().expect("v4"), 0, 0).to_string(), "0.0.0.0/0");
        assert_eq!(Network::around("2001:db8::1".parse().expect("v6"), 0, 0).to_string(), "::/0");
    }
}
