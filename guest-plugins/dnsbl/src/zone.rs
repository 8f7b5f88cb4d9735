//! How a list is asked, and which answers mean that somebody is on it (RFC 5782 section 2).

use std::net::{IpAddr, Ipv4Addr};

use hermetic_plugin::Failure;

/// The name that is asked about an address: its octets, or the nibbles of an IPv6 address, backwards.
pub(crate) fn question(client: IpAddr, zone: &str) -> String {
    let zone = zone.trim_matches('.');
    match client.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.{zone}")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            let labels: String = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
            format!("{labels}{zone}")
        }
    }
}

/// No list knows addresses that many networks use for themselves.
pub(crate) fn can_be_listed(client: IpAddr) -> bool {
    match client.to_canonical() {
        IpAddr::V4(v4) => !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unique_local() || v6.is_unspecified())
        }
    }
}

/// 127.255.255.0/24 is how some lists say that they will not answer, because they are asked too much or through a public
/// resolver. To take it for a listing would refuse everybody.
pub(crate) fn is_refusal(answer: &str) -> bool {
    answer.parse::<Ipv4Addr>().is_ok_and(|answer| answer.octets()[..3] == [127, 255, 255])
}

/// The answers of a list that count.
#[derive(Debug, PartialEq)]
pub(crate) struct Replies(Vec<(Ipv4Addr, Ipv4Addr)>);

impl Replies {
    /// Addresses (`127.0.0.2`), ranges (`127.0.0.2-127.0.0.11`) and networks (`127.0.0.0/28`). None: all of 127.0.0.0/8 but
    /// 127.0.0.1, which no list gives (RFC 5782 section 5).
    pub(crate) fn of(texts: &[String]) -> Result<Self, Failure> {
        if texts.is_empty() {
            return Ok(Self(vec![(Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 255, 254, 255))]));
        }
        let ranges = texts.iter().map(|text| {
            range(text).ok_or_else(|| {
                Failure::new(format!("{text:?} is no answer of a list; write it like \"127.0.0.2-127.0.0.11\""))
            })
        });
        ranges.collect::<Result<_, _>>().map(Self)
    }

    /// Does this answer count?
    pub(crate) fn count(&self, answer: &str) -> bool {
        let Ok(answer) = answer.parse::<Ipv4Addr>() else { return false };
        !is_refusal(&answer.to_string()) && self.0.iter().any(|(first, last)| (*first..=*last).contains(&answer))
    }
}

fn range(text: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        return (first <= last).then_some((first, last));
    }
    let Some((address, bits)) = text.split_once('/') else {
        let address = text.parse().ok()?;
        return Some((address, address));
    };
    let (address, bits) = (address.parse::<Ipv4Addr>().ok()?.to_bits(), bits.parse::<u32>().ok()?);
    let rest = u32::MAX.checked_shr(bits).unwrap_or(0);
    (bits <= 32 && address & rest == 0).then(|| (address.into(), (address | rest).into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        for (client, expected) in [
            ("192.0.2.99", "99.2.0.192.bad.example"),
            ("::ffff:192.0.2.99", "99.2.0.192.bad.example"),
            // The example of RFC 5782 section 2.4.
            (
                "2001:db8:1:2:3:4:567:89ab",
                "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bad.example",
            ),
        ] {
            assert_eq!(question(client.parse().unwrap(), "bad.example."), expected);
        }
    }

    #[test]
    fn answers() {
        let count = |replies: &[&str], answer: &str| {
            let replies: Vec<_> = replies.iter().map(|text| (*text).to_owned()).collect();
            Replies::of(&replies).unwrap().count(answer)
        };
        assert!(count(&[], "127.0.0.2") && count(&[], "127.1.2.3"));
        assert!(!count(&[], "127.0.0.1") && !count(&[], "127.255.255.252") && !count(&[], "192.0.2.1"));
        assert!(!count(&[], "::ffff:127.0.0.2") && !count(&[], ""));
        assert!(count(&["127.0.0.2"], "127.0.0.2") && !count(&["127.0.0.2"], "127.0.0.3"));
        assert!(count(&["127.0.0.9", "127.0.0.4-127.0.0.7"], "127.0.0.7"));
        assert!(count(&["127.0.0.0/30"], "127.0.0.3") && !count(&["127.0.0.0/30"], "127.0.0.4"));
        assert!(count(&["127.0.0.0/8"], "127.9.9.9") && !count(&["127.0.0.0/8"], "127.255.255.254"));
        for bad in ["", "x", "127.0.0.9-127.0.0.2", "127.0.0.1/8", "127.0.0.0/33", "127.0.0.2-", "::1"] {
            assert!(Replies::of(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
