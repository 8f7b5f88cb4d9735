//! Domains in one form, so that they can be compared: A-labels in lower case (RFC 5890, UTS #46).

use std::borrow::Cow;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// A domain that a peer named. None: it can not be a domain, so nothing here has that name. RFC 5321 section 2.3.5.
#[must_use]
pub fn canonical(domain: &str) -> Option<Cow<'_, str>> {
    Uts46::new().to_ascii(domain.as_bytes(), AsciiDenyList::URL, Hyphens::Allow, DnsLength::Verify).ok()
}

/// A domain that the operator named: the same, but strictly letters, digits and hyphens.
#[must_use]
pub fn strict(domain: &str) -> Option<Cow<'_, str>> {
    Uts46::new().to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify).ok()
}

/// The domain of an address that a message's header or the operator names; an SMTP path arrives parsed.
#[must_use]
pub fn of_address(address: &str) -> Option<&str> {
    address.rsplit_once('@').map(|(_, domain)| domain)
}

/// Both parts of an address that the operator names, the local part as it is, without quotes.
#[must_use]
pub fn parts_of_address(address: &str) -> Option<(&str, &str)> {
    address.rsplit_once('@').filter(|(local, domain)| !local.is_empty() && !domain.is_empty())
}

/// With U-labels where that is possible, for text that may hold UTF-8.
#[must_use]
pub fn unicode(domain: &str) -> String {
    Uts46::new().to_unicode(domain.as_bytes(), AsciiDenyList::URL, Hyphens::Allow).0.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form() {
        for (domain, lenient, strictly) in [
            ("Example.ORG", Some("example.org"), Some("example.org")),
            ("MÜNCHEN.example", Some("xn--mnchen-3ya.example"), Some("xn--mnchen-3ya.example")),
            ("xn--mnchen-3ya.example", Some("xn--mnchen-3ya.example"), Some("xn--mnchen-3ya.example")),
            ("münchen。example", Some("xn--mnchen-3ya.example"), Some("xn--mnchen-3ya.example")),
            ("under_score.example", Some("under_score.example"), None),
            ("-a.example", Some("-a.example"), None),
            ("a..example", None, None),
            ("example.org.", None, None),
            ("a b.example", None, None),
            ("a@b.example", None, None),
            ("", None, None),
        ] {
            assert_eq!(canonical(domain).as_deref(), lenient, "{domain:?}");
            assert_eq!(strict(domain).as_deref(), strictly, "{domain:?}");
        }
    }
}
