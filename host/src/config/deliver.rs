//! Where the mail of a domain's mailboxes ends: in Maildirs, or with a store of mailboxes that takes it by LMTP.
//!
//! Owns the form of `domain.deliver`, and what such a store is told of whom a message is for. Refuses to connect. Fails with what
//! is wrong and how to mend it.

use super::{
    Config, Domain, Endpoint, domain,
    mailboxes::{names_a_host, without_detail},
    outbound::{NamedHost, named_host},
};

/// Who keeps the mail of a domain's mailboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// We do.
    Maildir,
    /// A server that speaks LMTP (RFC 2033).
    Lmtp(NamedHost),
}

impl Domain {
    /// Reads [`Domain::deliver`]. Fails with what is wrong and how to mend it.
    pub fn delivery(&self) -> Result<Delivery, String> {
        if self.deliver == "maildir" {
            return Ok(Delivery::Maildir);
        }
        let host = self.deliver.strip_prefix("lmtp:").and_then(|host| named_host(host).ok()).ok_or_else(|| {
            format!(
                "{:?} is no way to deliver; write \"maildir\", \"lmtp:unix:/run/dovecot/lmtp\" or \"lmtp:127.0.0.1:24\"",
                self.deliver
            )
        })?;
        match host {
            NamedHost::Name(_, 25) => Err(NO_PORT_25.into()),
            NamedHost::At(Endpoint::Tcp(address)) if address.port() == 25 => Err(NO_PORT_25.into()),
            host => Ok(Delivery::Lmtp(host)),
        }
    }
}

const NO_PORT_25: &str = "RFC 2033 section 5 forbids LMTP on port 25; use another port, such as 24";

impl Config {
    /// Who takes the mail of this canonical domain by LMTP. None: nobody, or the domain is not local.
    #[must_use]
    pub fn lmtp(&self, domain: &str) -> Option<NamedHost> {
        let found = self.domains.iter().find(|one| one.name == domain)?;
        match found.delivery() {
            Ok(Delivery::Lmtp(host)) => Some(host),
            // What can not be read was refused when the configuration was.
            Ok(Delivery::Maildir) | Err(_) => None,
        }
    }

    /// Whom the server behind [`Config::lmtp`] is given a message for, as local part and domain: the canonical mailbox, with the
    /// detail (RFC 5233) of the address that led to it, unless that names another host, which the server might obey. None: the mailbox is no longer configured, or is not delivered so.
    #[must_use]
    pub fn lmtp_recipient(&self, mailbox: &str, local: &str, at: &str) -> Option<(String, String)> {
        let (target, name) = self.mailbox(mailbox)?;
        self.lmtp(&target.name)?;
        let given = domain::canonical(at).and_then(|at| self.domains.iter().find(|one| one.name == at));
        let detail = given.and_then(|given| given.detail(local)).filter(|_| !target.subaddress.is_empty());
        let detail = detail.filter(|detail| !names_a_host(detail));
        let name = match detail {
            Some(detail) => format!("{name}{}{detail}", target.subaddress),
            None => name.to_owned(),
        };
        Some((name, target.name.clone()))
    }
}

impl Domain {
    /// What is behind the mark, if what is before it names a mailbox or an alias. To a catch-all there is no detail: what is
    /// before the mark is another's.
    fn detail<'a>(&self, local: &'a str) -> Option<&'a str> {
        let has = |name: &str| {
            let name = name.to_lowercase();
            let of = |other: &String| other.to_lowercase() == name;
            self.mailboxes.iter().any(of) || self.aliases.keys().any(of)
        };
        if has(local) {
            return None;
        }
        let base = without_detail(local, &self.subaddress);
        let known = has(base) || self.mailboxes.iter().any(|name| name == "*");
        local.get(base.len() + self.subaddress.len()..).filter(|_| known && base.len() < local.len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn ways() {
        let way = |text: &str| Domain { deliver: text.into(), ..Domain::new("example.org", &["anna"]) }.delivery();
        let lmtp = |host| Ok(Delivery::Lmtp(host));
        assert_eq!(way("maildir"), Ok(Delivery::Maildir));
        assert_eq!(way("lmtp:unix:/run/lmtp"), lmtp(NamedHost::At(Endpoint::Unix("/run/lmtp".into()))));
        assert_eq!(way("lmtp:[::1]:24"), lmtp(NamedHost::At(Endpoint::Tcp("[::1]:24".parse().unwrap()))));
        assert_eq!(way("lmtp:store.example:24"), lmtp(NamedHost::Name("store.example".into(), 24)));
        for (text, words) in [
            ("", "no way to deliver"),
            ("Maildir", "no way to deliver"),
            ("lmtp", "no way to deliver"),
            ("lmtp:unix:", "no way to deliver"),
            ("lmtp:127.0.0.1", "no way to deliver"),
            ("smtp:127.0.0.1:24", "no way to deliver"),
            ("lmtp:127.0.0.1:25", "port 25"),
            ("lmtp:store.example:25", "port 25"),
        ] {
            let why = way(text).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }

    #[test]
    fn whom_it_is_for() {
        let by_lmtp = |name: &str, mailboxes: &[&str]| Domain {
            deliver: "lmtp:unix:/run/lmtp".into(),
            ..Domain::new(name, mailboxes)
        };
        let mut first = by_lmtp("example.org", &["Anna", "a+b"]);
        first.aliases.insert("abuse".into(), "anna".into());
        first.catch_all = Some("anna".into());
        let minus = Domain { subaddress: "-".into(), ..by_lmtp("minus.example", &["*"]) };
        let none = Domain { subaddress: String::new(), ..by_lmtp("none.example", &["anna"]) };
        let config =
            Config { domains: vec![first, minus, none, Domain::new("files.example", &["*"])], ..Config::default() };
        for (mailbox, local, at, expected) in [
            ("anna@example.org", "anna", "example.org", Some("anna@example.org")),
            ("anna@example.org", "ANNA+Books+old", "EXAMPLE.org", Some("anna+Books+old@example.org")),
            ("a+b@example.org", "a+b", "example.org", Some("a+b@example.org")),
            ("a+b@example.org", "A+B", "example.org", Some("a+b@example.org")),
            ("anna@example.org", "abuse+x", "example.org", Some("anna+x@example.org")),
            ("anna@example.org", "whoever+x", "example.org", Some("anna@example.org")),
            ("anna@example.org", "anna+", "example.org", Some("anna+@example.org")),
            ("anna@example.org", "anna+x%evil.example", "example.org", Some("anna@example.org")),
            ("anna@example.org", "anna+evil.example!x", "example.org", Some("anna@example.org")),
            ("anna@example.org", "abuse+x@evil.example", "example.org", Some("anna@example.org")),
            ("anna@example.org", "anna+a b", "example.org", Some("anna+a b@example.org")),
            ("anna@example.org", "postmaster", "", Some("anna@example.org")),
            ("bert@minus.example", "bert-x", "minus.example", Some("bert-x@minus.example")),
            ("anna@example.org", "bert-x", "minus.example", Some("anna+x@example.org")),
            ("anna@none.example", "abuse+x", "example.org", Some("anna@none.example")),
            ("bert@example.org", "bert", "example.org", None),
            ("anna@files.example", "anna", "files.example", None),
            ("anna@elsewhere.example", "anna", "elsewhere.example", None),
        ] {
            let found = config.lmtp_recipient(mailbox, local, at).map(|(local, domain)| format!("{local}@{domain}"));
            assert_eq!(found.as_deref(), expected, "{mailbox} of {local:?} at {at:?}");
        }
    }
}
