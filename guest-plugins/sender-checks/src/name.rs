//! What kind of name a client gives itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The argument of HELO or EHLO, RFC 5321 sections 4.1.1.1 and 4.1.3.
#[derive(Debug, PartialEq)]
pub(crate) enum Name {
    /// A domain of two labels or more.
    Domain,
    /// One label.
    Unqualified,
    /// `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
    Address(IpAddr),
    /// A literal of another kind: `[tag:content]`.
    OtherLiteral,
    /// Nothing of the kind.
    Malformed,
}

impl Name {
    pub(crate) fn of(text: &str) -> Self {
        if let Some(literal) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            return Self::literal(literal);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let labels: Vec<&str> = name.split('.').collect();
        let numeric = labels.last().is_some_and(|last| last.bytes().all(|octet| octet.is_ascii_digit()));
        if name.len() > 255 || numeric || !labels.iter().all(|label| is_label(label)) {
            Self::Malformed
        } else if labels.len() == 1 {
            Self::Unqualified
        } else {
            Self::Domain
        }
    }

    fn literal(text: &str) -> Self {
        let v6 = text.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:")).map(|tag| &text[tag.len()..]);
        match (v6, text.split_once(':')) {
            (Some(address), _) => address.parse::<Ipv6Addr>().map_or(Self::Malformed, |ip| Self::Address(ip.into())),
            // An IPv6 address needs its tag; without, it would be a literal of the unknown kind `2001`.
            (None, Some(_)) if text.parse::<Ipv6Addr>().is_ok() => Self::Malformed,
            (None, Some((tag, content))) if is_label(tag) && !content.is_empty() => Self::OtherLiteral,
            (None, Some(_)) => Self::Malformed,
            (None, None) => text.parse::<Ipv4Addr>().map_or(Self::Malformed, |ip| Self::Address(ip.into())),
        }
    }
}

/// Letters, digits and hyphens inside; with SMTPUTF8 (RFC 6531) also what is not ASCII.
fn is_label(label: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || (!c.is_ascii() && c.is_alphanumeric());
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(inside)
}

/// Whether mail can be sent to the domain of an address: two labels, or a literal.
pub(crate) fn domain_is_qualified(domain: &str) -> bool {
    matches!(Name::of(domain), Name::Domain | Name::Address(_) | Name::OtherLiteral)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_names() {
        let v4 = Name::Address("192.0.2.1".parse().unwrap());
        let v6 = Name::Address("2001:db8::1".parse().unwrap());
        for (text, expected) in [
            ("mail.example.org", Name::Domain),
            ("mail.example.org.", Name::Domain),
            ("xn--bcher-kva.example", Name::Domain),
            ("bücher.example", Name::Domain),
            ("1.example", Name::Domain),
            ("localhost", Name::Unqualified),
            ("DESKTOP-1", Name::Unqualified),
            ("[192.0.2.1]", v4),
            ("[ipv6:2001:db8::1]", v6),
            ("[tag:content]", Name::OtherLiteral),
            ("192.0.2.1", Name::Malformed),
            ("[192.0.2.256]", Name::Malformed),
            ("[2001:db8::1]", Name::Malformed),
            ("[]", Name::Malformed),
            ("[IPv6:]", Name::Malformed),
            ("", Name::Malformed),
            (".", Name::Malformed),
            ("a..b", Name::Malformed),
            ("-a.example", Name::Malformed),
            ("my_pc.example", Name::Malformed),
            ("a b.example", Name::Malformed),
        ] {
            assert_eq!(Name::of(text), expected, "{text:?}");
        }
        assert_eq!(Name::of(&format!("{}.example", "a".repeat(64))), Name::Malformed);
        assert_eq!(Name::of(&"a.".repeat(129)), Name::Malformed);
    }
}
