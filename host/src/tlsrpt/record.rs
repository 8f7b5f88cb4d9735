//! To whom a domain wants its reports sent: the TXT record at `_smtp._tls` (RFC 8460 section 3).
//!
//! Owns its grammar and that of the two kinds of URI. Refuses to ask the DNS. What can not be read is left out; a domain all of
//! whose record is wrong wants no reports.
//!
//! `mail-auth` reads such records too, but takes `=41` within a URI for an octet, as tags of DKIM have it: of
//! `https://reports.example/?key=41` something else is left.

use hyper::Uri;
use percent_encoding::percent_decode_str;

use crate::{config::domain, store::Address};

/// Destinations of one record.
const MOST: usize = 8;
/// Octets of a URI.
const URI: usize = 1000;

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// By mail.
    Mail(Address),
    /// By POST: the host, its port if it is not the usual one, path and query.
    Https(String, Option<u16>, String),
}

/// The URIs of a domain's one record (section 3); None: it wants no reports.
pub(super) fn read(records: &[Vec<u8>]) -> Option<Vec<String>> {
    let mut found = records.iter().filter_map(|record| of(std::str::from_utf8(record).ok()?));
    let (Some(uris), None) = (found.next(), found.next()) else { return None };
    (!uris.is_empty()).then_some(uris)
}

/// The URIs of a record of version TLSRPTv1.
fn of(record: &str) -> Option<Vec<String>> {
    let mut fields = record.split(';').map(str::trim);
    (fields.next()? == "v=TLSRPTv1").then_some(())?;
    // Fields that nobody knows are for later versions.
    let rua = fields.filter_map(|field| field.split_once('=')).find(|(name, _)| name.trim() == "rua");
    let uris = rua.map(|(_, uris)| uris).unwrap_or_default().split(',').map(str::trim);
    let mut known: Vec<String> = Vec::new();
    for uri in uris.filter(|uri| place(uri).is_some()) {
        if known.len() < MOST && !known.iter().any(|one| one == uri) {
            known.push(uri.to_owned());
        }
    }
    Some(known)
}

/// Reads a URI; None: it is of another kind, or wrong.
pub(super) fn place(uri: &str) -> Option<Place> {
    if uri.len() > URI || !uri.bytes().all(|octet| octet.is_ascii_graphic()) {
        return None;
    }
    let (scheme, rest) = uri.split_once(':')?;
    if scheme.eq_ignore_ascii_case("mailto") {
        // RFC 6068; what would be fields of the header is not for us.
        let address = percent_decode_str(rest.split('?').next()?).decode_utf8().ok()?;
        let (local, name) = domain::parts_of_address(&address)?;
        let plain = |c: char| c.is_ascii_graphic() && !"\"\\,;:<>()[]@".contains(c);
        if local.len() > 64 || !local.chars().all(plain) {
            return None;
        }
        let name = domain::strict(name)?.into_owned();
        return Some(Place::Mail(Address { local: local.to_owned(), domain: name }));
    }
    let uri: Uri = uri.split('#').next()?.parse().ok()?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https"))?;
    // A password or a port that is none, and addresses for which nobody has a certificate.
    let odd = authority.as_str().contains('@') || authority.as_str().ends_with(':');
    let host = domain::strict(authority.host()).filter(|host| !odd && host.contains(char::is_alphabetic))?.into_owned();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Some(Place::Https(host, authority.port_u16(), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        type Case<'a> = (&'a [&'a str], Option<&'a [&'a str]>);
        let cases: &[Case<'_>] = &[
            (&["v=TLSRPTv1; rua=mailto:reports@example.com"], Some(&["mailto:reports@example.com"])),
            (&["other", "v=TLSRPTv1;rua=https://r.example/v1?key=41"], Some(&["https://r.example/v1?key=41"])),
            (
                &[
                    "v=TLSRPTv1; new=x; rua = mailto:a@b.example , https://r.example, ftp://x.example, mailto:a@b.example;",
                ],
                Some(&["mailto:a@b.example", "https://r.example"]),
            ),
            (&["v=TLSRPTv1;rua=mailto:a@b.example", "v=TLSRPTv1;rua=mailto:a@b.example"], None),
            (
                &["v=TLSRPTv1;rua=mailto:a@b.example", "v=TLSRPTv2;rua=mailto:b@b.example"],
                Some(&["mailto:a@b.example"]),
            ),
            (&["v=TLSRPTv1"], None),
            (&["v=TLSRPTv1;"], None),
            (&["v=TLSRPTv1;rua=ftp://x.example"], None),
            (&["rua=mailto:a@b.example;v=TLSRPTv1"], None),
            (&["v=TLSRPTv10;rua=mailto:a@b.example"], None),
            (&[], None),
        ];
        for (records, expected) in cases {
            let records: Vec<_> = records.iter().map(|record| record.as_bytes().to_vec()).collect();
            let expected = expected.map(|uris| uris.iter().map(ToString::to_string).collect());
            assert_eq!(read(&records), expected, "{records:?}");
        }
        let many: Vec<_> = (0..100).map(|n| format!("mailto:a{n}@b.example")).collect();
        let many = format!("v=TLSRPTv1;rua={}", many.join(","));
        assert_eq!(read(&[many.into_bytes()]).map(|uris| uris.len()), Some(MOST));
    }

    #[test]
    fn places() {
        let mail =
            |local: &str, domain: &str| Some(Place::Mail(Address { local: local.into(), domain: domain.into() }));
        let https = |host: &str, port, path: &str| Some(Place::Https(host.into(), port, path.into()));
        for (uri, expected) in [
            ("mailto:reports@Example.com", mail("reports", "example.com")),
            ("MAILTO:a%2bb@example.com?subject=x", mail("a+b", "example.com")),
            ("mailto:a@b@example.com", None),
            ("mailto:a%0d%0aDATA@example.com", None),
            ("mailto:%22a%20b%22@example.com", None),
            ("mailto:example.com", None),
            ("mailto:a@", None),
            ("mailto:a@[127.0.0.1]", None),
            ("https://r.example", https("r.example", None, "/")),
            ("https://R.example:8443/a%20b?c=d", https("r.example", Some(8443), "/a%20b?c=d")),
            ("https://r.example?x", https("r.example", None, "/?x")),
            ("https://r.example/#part", https("r.example", None, "/")),
            ("http://r.example/", None),
            ("https://user@r.example/", None),
            ("https://127.0.0.1/", None),
            ("https://[::1]/", None),
            ("https://r.example:/", None),
            ("https://r.example/ x", None),
            ("https:", None),
            ("", None),
        ] {
            assert_eq!(place(uri), expected, "{uri}");
        }
    }
}
