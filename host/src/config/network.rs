//! Addresses as an operator writes them: where to listen ([`Endpoint`]) and whom to trust ([`Network`]).

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de::Error as _};

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `127.0.0.1:25`, `[::]:25`.
    Tcp(SocketAddr),
    /// `unix:/run/hermetic/lmtp`.
    Unix(PathBuf),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err("the path of the socket is missing".into())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| format!("{text:?} is no address with a port"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address and how many of its first bits matter: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Is the address in it? An IPv4 address mapped into IPv6 is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == self.address
    }

    /// Every address of its family is in it.
    #[must_use]
    pub fn is_everyone(&self) -> bool {
        self.prefix == 0
    }
}

/// The address with all but its first bits zero. A prefix that is longer than the address keeps all of it; as a network
/// of the other family never equals it, that does not matter.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("{text:?} is no network; write it like \"10.0.0.0/8\" or \"2001:db8::/32\""))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix =
            match prefix {
                None => most,
                Some(digits) => digits.parse().ok().filter(|prefix| *prefix <= most).ok_or_else(|| {
                    format!("{text:?} is no network, as the number behind the slash must be 0 to {most}")
                })?,
            };
        let network = Self { address: masked(address, prefix), prefix };
        if network.address != address {
            return Err(format!("{text:?} is an address inside a network; write \"{network}\" or \"{address}\""));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = if self.address.is_ipv4() { 32 } else { 128 };
        if self.prefix == most { self.address.fmt(f) } else { write!(f, "{}/{}", self.address, self.prefix) }
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.0/31", "192.0.2.1", true),
            ("192.0.2.0/31", "192.0.2.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.9", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), inside, "{address} in {network}");
            assert_eq!(parsed.to_string(), network);
        }
    }

    #[test]
    fn what_is_no_network() {
        for (text, expected) in [
            ("10.0.0/8", "\"10.0.0/8\" is no network; write it like \"10.0.0.0/8\" or \"2001:db8::/32\""),
            ("example.org", "\"example.org\" is no network; write it like \"10.0.0.0/8\" or \"2001:db8::/32\""),
            ("10.0.0.0/33", "\"10.0.0.0/33\" is no network, as the number behind the slash must be 0 to 32"),
            ("::/x", "\"::/x\" is no network, as the number behind the slash must be 0 to 128"),
            ("10.1.0.0/8", "\"10.1.0.0/8\" is an address inside a network; write \"10.0.0.0/8\" or \"10.1.0.0\""),
        ] {
            assert_eq!(text.parse::<Network>().unwrap_err(), expected);
        }
    }

    #[test]
    fn endpoints() {
        for (text, expected) in [
            ("127.0.0.1:25", Ok("127.0.0.1:25")),
            ("[::]:587", Ok("[::]:587")),
            ("unix:/run/lmtp", Ok("unix:/run/lmtp")),
            ("unix:", Err("the path of the socket is missing")),
            ("localhost:25", Err("\"localhost:25\" is no address with a port")),
            ("25", Err("\"25\" is no address with a port")),
        ] {
            let parsed = text.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
            assert_eq!(parsed.as_deref().map_err(String::as_str), expected, "{text}");
        }
    }
}
