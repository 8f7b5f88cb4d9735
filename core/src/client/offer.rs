//! What a peer offers in its reply to EHLO. RFC 5321 section 4.1.1.1, and the RFC of each extension.
//!
//! Keywords are known in any case, the first of a name counts, and what is unknown or malformed counts as not offered.
//! It cannot fail: a peer that offers nonsense offers nothing.

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

use super::step::Extension;
use crate::reply;

/// The extensions that count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) name: String,
    /// All that was said, for whoever wants to know.
    pub(crate) extensions: Vec<Extension>,
    pub(crate) start_tls: bool,
    pub(super) pipelining: bool,
    pub(super) chunking: bool,
    pub(super) binary_mime: bool,
    pub(super) eight_bit_mime: bool,
    pub(super) smtputf8: bool,
    pub(super) dsn: bool,
    pub(super) require_tls: bool,
    pub(super) prdr: bool,
    pub(super) deliver_by: bool,
    pub(super) priority: bool,
    /// SIZE is offered.
    pub(super) size: bool,
    /// Its limit.
    pub(crate) size_limit: Option<u64>,
    pub(crate) mechanisms: Vec<String>,
    /// LIMITS. RFC 9422.
    pub(super) mail_max: Option<u32>,
    pub(super) rcpt_max: Option<u32>,
    pub(super) domain_max: Option<u32>,
}

impl Offer {
    /// From the lines of a reply to EHLO: the name, then keywords.
    pub(crate) fn read(lines: &[String], ignore: &[String]) -> Self {
        let mut lines = lines.iter().map(|line| reply::printable(line, true));
        let greeting = lines.next().unwrap_or_default();
        let name = greeting.split(' ').next().unwrap_or_default().into();
        let mut offer = Self { name, ..Self::default() };
        for line in lines {
            let line = line.trim();
            let (keyword, parameters) = line.split_once(' ').unwrap_or((line, ""));
            // `AUTH=` is how it was written before RFC 2554.
            let (keyword, parameters) = match keyword.split_at_checked(5) {
                Some((start, first)) if start.eq_ignore_ascii_case("AUTH=") => {
                    (&keyword[..4], alloc::format!("{first} {parameters}"))
                }
                _ => (keyword, String::from(parameters)),
            };
            let extension =
                Extension { keyword: keyword.to_ascii_uppercase(), parameters: String::from(parameters.trim()) };
            if !ignore.iter().any(|name| name.eq_ignore_ascii_case(keyword)) {
                offer.count(&extension);
            }
            offer.extensions.push(extension);
        }
        offer
    }

    fn count(&mut self, extension: &Extension) {
        let parameters = extension.parameters.as_str();
        match extension.keyword.as_str() {
            "STARTTLS" => self.start_tls = true,
            "PIPELINING" => self.pipelining = true,
            "CHUNKING" => self.chunking = true,
            "BINARYMIME" => self.binary_mime = true,
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "DSN" => self.dsn = true,
            "REQUIRETLS" => self.require_tls = true,
            "PRDR" => self.prdr = true,
            "DELIVERBY" => self.deliver_by = true,
            "MT-PRIORITY" => self.priority = true,
            "SIZE" if !self.size => {
                self.size = true;
                self.size_limit = number(parameters).filter(|limit| *limit > 0);
            }
            "AUTH" => {
                for mechanism in parameters.split_ascii_whitespace() {
                    let mechanism = mechanism.to_ascii_uppercase();
                    if is_mechanism(&mechanism) && !self.mechanisms.contains(&mechanism) {
                        self.mechanisms.push(mechanism);
                    }
                }
            }
            "LIMITS" => {
                for limit in parameters.split_ascii_whitespace() {
                    let Some((name, value)) = limit.split_once('=') else { continue };
                    let value = number(value).map(|value| u32::try_from(value).unwrap_or(u32::MAX)).filter(|n| *n > 0);
                    let place = match name.to_ascii_uppercase().as_str() {
                        "MAILMAX" => &mut self.mail_max,
                        "RCPTMAX" => &mut self.rcpt_max,
                        "RCPTDOMAINMAX" => &mut self.domain_max,
                        _ => continue,
                    };
                    *place = place.or(value);
                }
            }
            _ => {}
        }
    }
}

/// `1*DIGIT`; beyond `u64` it is as good as endless.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// RFC 4422 section 3.1.
pub(super) fn is_mechanism(name: &str) -> bool {
    (1..=20).contains(&name.len())
        && name
            .bytes()
            .all(|octet| octet.is_ascii_uppercase() || octet.is_ascii_digit() || matches!(octet, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec};

    use super::*;

    fn read(text: &str, ignore: &[&str]) -> Offer {
        let lines: Vec<String> = text.lines().map(ToString::to_string).collect();
        let ignore: Vec<String> = ignore.iter().map(ToString::to_string).collect();
        Offer::read(&lines, &ignore)
    }

    #[test]
    fn keywords_in_any_case_with_and_without_parameters() {
        let offer = read(
            "mx.test greets you\nstarttls\nPipeLining\nSIZE 5000\nsize 7\nAUTH PLAIN login\nAUTH=PLAIN CRAM-MD5\n\
             limits RCPTMAX=20 mailmax=x RcptDomainMax=3 RCPTMAX=9 other=1\nXODD a  b\n\nDSN",
            &[],
        );
        assert_eq!(offer.name, "mx.test");
        assert!(offer.start_tls && offer.pipelining && offer.dsn && offer.size && !offer.chunking);
        assert_eq!(offer.size_limit, Some(5000));
        assert_eq!(offer.mechanisms, vec!["PLAIN", "LOGIN", "CRAM-MD5"]);
        assert_eq!((offer.mail_max, offer.rcpt_max, offer.domain_max), (None, Some(20), Some(3)));
        assert!(offer.extensions.contains(&Extension { keyword: "XODD".into(), parameters: "a  b".into() }));
    }

    #[test]
    fn what_is_ignored_or_nonsense_is_not_offered() {
        let offer =
            read("\nSIZE 99999999999999999999\nSTARTTLS\nAUTH ä =\nLIMITS RCPTMAX=0 MAILMAX\nDSNX", &["startTLS"]);
        assert_eq!((offer.name.as_str(), offer.size_limit), ("", Some(u64::MAX)));
        assert!(!offer.start_tls && !offer.dsn && offer.mechanisms.is_empty());
        assert_eq!((offer.mail_max, offer.rcpt_max), (None, None));
        assert_eq!(offer.extensions[1].keyword, "STARTTLS", "it is listed all the same");
        assert_eq!(read("a\nSIZE 0", &[]).size_limit, None);
    }
}
