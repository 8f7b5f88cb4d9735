//! Which mailbox an address belongs to: local domains, mailboxes, aliases, catch-all, subaddresses.
//!
//! Built once from a configuration. A canonical mailbox is `local@domain` with both in lower case, the domain in
//! A-labels, without detail; `Config::maildir` says where its mail goes. Local parts come unquoted and are opaque, save
//! for the operator's own subaddress mark and for what other servers might read as a route.

use std::{collections::HashMap, net::IpAddr};

use super::{Config, Domain, Endpoint};

/// What became of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It belongs to this canonical mailbox.
    Mailbox(String),
    /// The domain is local, but has no such mailbox.
    Unknown,
    /// As `Unknown`; besides, the local part names another host (`user%host`, `host!user`, `user@host`), which some
    /// servers would obey. We never do, not even where any mailbox is accepted.
    Route,
    /// The domain is not local.
    Foreign,
}

/// All local addresses.
#[derive(Clone, Debug, Default)]
pub struct Mailboxes {
    domains: HashMap<String, Names>,
    /// The first domain, which has the bare `postmaster`.
    first: Option<String>,
    /// Addresses that are ours, from the listeners. A wildcard such as `0.0.0.0` names none.
    own: Vec<IpAddr>,
}

#[derive(Clone, Debug, Default)]
struct Names {
    /// Mailboxes and aliases by local part, with their canonical mailbox.
    known: HashMap<String, String>,
    /// `*` is among the mailboxes.
    any: bool,
    /// The canonical mailbox for everything else.
    catch_all: Option<String>,
    subaddress: String,
}

impl Mailboxes {
    /// The addresses of a loaded configuration. An alias that leads nowhere (which loading refuses) is left out.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut domains = HashMap::new();
        for domain in &config.domains {
            domains.entry(domain.name.clone()).or_insert_with(|| Names::new(config, domain));
        }
        let own = config.listeners.iter().filter_map(|listener| match listener.endpoint() {
            Ok(Endpoint::Tcp(address)) if !address.ip().is_unspecified() => Some(address.ip().to_canonical()),
            _ => None,
        });
        Self { domains, first: config.domains.first().map(|domain| domain.name.clone()), own: own.collect() }
    }

    /// The mailbox of a local part (unquoted) at a domain, in any case and with U-labels or A-labels.
    #[must_use]
    pub fn at_domain(&self, local: &str, domain: &str) -> Found {
        let Some(domain) = super::domain::canonical(domain) else { return Found::Foreign };
        self.domains.get(domain.as_ref()).map_or(Found::Foreign, |names| names.find(local, &domain))
    }

    /// The mailbox of a local part at an address literal: one of our own addresses is a name for the server itself,
    /// whose only mailbox is the postmaster (RFC 5321 section 4.5.1). All others are foreign.
    #[must_use]
    pub fn at_address(&self, local: &str, address: IpAddr) -> Found {
        if !self.own.contains(&address.to_canonical()) {
            Found::Foreign
        } else if local.eq_ignore_ascii_case("postmaster") {
            self.postmaster()
        } else if names_a_host(local) {
            Found::Route
        } else {
            Found::Unknown
        }
    }

    /// Whose is mail for `postmaster` without a domain? RFC 5321 section 4.5.1.
    #[must_use]
    pub fn postmaster(&self) -> Found {
        self.first.as_deref().map_or(Found::Unknown, |domain| self.at_domain("postmaster", domain))
    }

    /// The local part (unquoted) and domain of an address as text, which the operator or one of their plugins wrote, and
    /// its mailbox. None: it is no address.
    #[must_use]
    pub fn of_text(&self, address: &str) -> Option<(String, String, Found)> {
        let (local, domain) = address.rsplit_once('@')?;
        let local = match local.strip_prefix('"').and_then(|local| local.strip_suffix('"')) {
            Some(quoted) => unquoted(quoted)?,
            None => local.to_owned(),
        };
        if local.is_empty() || local.chars().chain(domain.chars()).any(char::is_control) {
            return None;
        }
        let literal = domain.strip_prefix('[').and_then(|domain| domain.strip_suffix(']'));
        let found = match literal {
            Some(literal) => {
                let literal = literal.strip_prefix("IPv6:").unwrap_or(literal);
                self.at_address(&local, literal.parse().ok()?)
            }
            None => {
                super::domain::strict(domain)?;
                self.at_domain(&local, domain)
            }
        };
        Some((local, domain.to_owned(), found))
    }

    /// Does this canonical mailbox belong to that login? `anna@example.org` is its own; `anna` has `anna` at every
    /// local domain.
    #[must_use]
    pub fn belongs(&self, mailbox: &str, login: &str) -> bool {
        let login = login.to_lowercase();
        if mailbox == login {
            return true;
        }
        let Some(domain) = mailbox.strip_prefix(login.as_str()).and_then(|rest| rest.strip_prefix('@')) else {
            // A login with U-labels: `anna@münchen.example`.
            return self.domains.keys().any(|domain| {
                mailbox
                    .strip_suffix(domain.as_str())
                    .is_some_and(|local| login == format!("{local}{}", super::domain::unicode(domain)))
            });
        };
        self.domains.contains_key(domain)
    }
}

/// RFC 5321 section 4.1.2: what a backslash stands before stands for itself.
fn unquoted(quoted: &str) -> Option<String> {
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return None,
            '\\' => text.push(characters.next()?),
            character => text.push(character),
        }
    }
    Some(text)
}

impl Names {
    fn new(config: &Config, domain: &Domain) -> Self {
        let own = |name: &String| (name.to_lowercase(), format!("{}@{}", name.to_lowercase(), domain.name));
        let mut known: HashMap<_, _> = domain.mailboxes.iter().filter(|name| *name != "*").map(own).collect();
        for name in domain.aliases.keys() {
            if let Ok(mailbox) = target(config, domain, name) {
                known.entry(name.to_lowercase()).or_insert(mailbox);
            }
        }
        Self {
            known,
            any: domain.mailboxes.iter().any(|name| name == "*"),
            catch_all: domain.catch_all.as_deref().and_then(|name| target(config, domain, name).ok()),
            subaddress: domain.subaddress.clone(),
        }
    }

    fn find(&self, local: &str, domain: &str) -> Found {
        let local = local.to_lowercase();
        if let Some(mailbox) = self.known.get(&local) {
            return Found::Mailbox(mailbox.clone());
        }
        let base = without_detail(&local, &self.subaddress);
        if let Some(mailbox) = self.known.get(base) {
            Found::Mailbox(mailbox.clone())
        } else if names_a_host(&local) {
            Found::Route
        } else if self.any && !base.is_empty() {
            Found::Mailbox(format!("{base}@{domain}"))
        } else {
            self.catch_all.clone().map_or(Found::Unknown, Found::Mailbox)
        }
    }
}

/// `anna+books` without `+books`. A mark at the very start divides nothing.
#[must_use]
pub fn without_detail<'a>(local: &'a str, mark: &str) -> &'a str {
    match local.find(mark) {
        Some(at) if at > 0 && !mark.is_empty() => &local[..at],
        _ => local,
    }
}

/// The routes of old mail systems inside a local part. RFC 5321 section 5.1 leaves them to the host that owns the
/// domain; obeying them is how relays came to be open.
pub(super) fn names_a_host(local: &str) -> bool {
    local.contains(['%', '!', '@'])
}

/// The canonical mailbox that a name in a domain's configuration leads to: one of its mailboxes, an alias (which may
/// lead to another), or a mailbox of another local domain named in full. Fails with what is wrong.
pub(super) fn target(config: &Config, domain: &Domain, name: &str) -> Result<String, String> {
    let mut domain = domain;
    let mut name = name.to_lowercase();
    // Longer than any chain without a loop.
    let most = 1 + config.domains.iter().map(|domain| domain.aliases.len()).sum::<usize>();
    for _ in 0..=most {
        if domain.mailboxes.iter().any(|mailbox| mailbox != "*" && mailbox.to_lowercase() == name) {
            return Ok(format!("{name}@{}", domain.name));
        }
        if let Some((_, next)) = domain.aliases.iter().find(|(alias, _)| alias.to_lowercase() == name) {
            name = next.to_lowercase();
        } else if let Some((other, local)) = config
            .domains
            .iter()
            .find_map(|other| Some((other, name.strip_suffix(other.name.as_str())?.strip_suffix('@')?.to_owned())))
        {
            (domain, name) = (other, local);
        } else if domain.mailboxes.iter().any(|mailbox| mailbox == "*") && !names_a_host(&name) && !name.is_empty() {
            return Ok(format!("{name}@{}", domain.name));
        } else {
            return Err(format!("{name:?} is no mailbox of {}", domain.name));
        }
    }
    Err(format!("the aliases of {name:?} at {} lead in a circle", domain.name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::config::{Kind, Listener};

    fn config() -> Config {
        let aliases = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, to)| ((*name).into(), (*to).into())).collect();
        Config {
            listeners: vec![Listener::new(Kind::Mx, "192.0.2.1:25"), Listener::new(Kind::Mx, "[::]:25")],
            domains: vec![
                Domain {
                    aliases: aliases(&[("Postmaster", "Anna"), ("abuse", "postmaster"), ("bert", "b@other.example")]),
                    ..Domain::new("example.org", &["Anna", "odd%name", "a+b", "user name"])
                },
                Domain { catch_all: Some("b".into()), subaddress: "-".into(), ..Domain::new("other.example", &["b"]) },
                Domain::new("any.example", &["*"]),
                Domain { subaddress: String::new(), ..Domain::new("xn--mnchen-3ya.example", &["jürgen"]) },
            ],
            ..Config::default()
        }
    }

    #[test]
    fn addresses() {
        let config = config();
        let mailboxes = Mailboxes::new(&config);
        let found = |mailbox: &str| Found::Mailbox(mailbox.into());
        for (local, domain, expected) in [
            ("anna", "example.org", found("anna@example.org")),
            ("ANNA", "EXAMPLE.org", found("anna@example.org")),
            ("anna+books+old", "example.org", found("anna@example.org")),
            ("a+b", "example.org", found("a+b@example.org")),
            ("postMASTER", "example.org", found("anna@example.org")),
            ("abuse+x", "example.org", found("anna@example.org")),
            ("bert", "example.org", found("b@other.example")),
            ("user name", "example.org", found("user name@example.org")),
            ("odd%name", "example.org", found("odd%name@example.org")),
            ("nobody", "example.org", Found::Unknown),
            ("+anna", "example.org", Found::Unknown),
            ("anna%evil.example", "example.org", Found::Route),
            ("evil.example!anna", "example.org", Found::Route),
            ("anna@evil.example", "example.org", Found::Route),
            ("anna", "sub.example.org", Found::Foreign),
            ("anna", "example.org.evil.example", Found::Foreign),
            ("anna", "evilexample.org", Found::Foreign),
            ("anna", "not a domain", Found::Foreign),
            ("b-list", "other.example", found("b@other.example")),
            ("whoever", "other.example", found("b@other.example")),
            ("postmaster", "other.example", found("b@other.example")),
            ("u%evil.example", "other.example", Found::Route),
            ("Whoever+x", "any.example", found("whoever@any.example")),
            ("+x", "any.example", found("+x@any.example")),
            ("../etc", "any.example", found("../etc@any.example")),
            ("", "any.example", Found::Unknown),
            ("u%evil.example", "any.example", Found::Route),
            ("evil.example!u", "any.example", Found::Route),
            ("u@evil.example", "any.example", Found::Route),
            ("Jürgen", "MÜNCHEN.example", found("jürgen@xn--mnchen-3ya.example")),
            ("jürgen+x", "xn--mnchen-3ya.example", Found::Unknown),
        ] {
            let found = mailboxes.at_domain(local, domain);
            if let Found::Mailbox(mailbox) = &found {
                assert!(config.maildir(mailbox).is_some(), "{local:?} at {domain:?} has no Maildir");
            }
            assert_eq!(found, expected, "{local:?} at {domain:?}");
        }
        assert_eq!(mailboxes.postmaster(), found("anna@example.org"));
        assert_eq!(Mailboxes::default().postmaster(), Found::Unknown);
    }

    #[test]
    fn own_addresses() {
        let mailboxes = Mailboxes::new(&config());
        for (local, address, expected) in [
            ("Postmaster", "192.0.2.1", Found::Mailbox("anna@example.org".into())),
            ("anna", "192.0.2.1", Found::Unknown),
            ("u%evil.example", "192.0.2.1", Found::Route),
            ("postmaster", "192.0.2.2", Found::Foreign),
            ("postmaster", "::", Found::Foreign),
        ] {
            assert_eq!(mailboxes.at_address(local, address.parse().unwrap()), expected, "{local:?} at [{address}]");
        }
    }

    #[test]
    fn logins() {
        let mailboxes = Mailboxes::new(&config());
        for (mailbox, login, expected) in [
            ("anna@example.org", "anna@example.org", true),
            ("anna@example.org", "Anna@Example.org", true),
            ("anna@example.org", "anna", true),
            ("anna@example.org", "ann", false),
            ("anna@example.org", "", false),
            ("anna@example.org", "anna@other.example", false),
            ("b@other.example", "anna", false),
            ("jürgen@xn--mnchen-3ya.example", "Jürgen@MÜNCHEN.example", true),
            ("jürgen@xn--mnchen-3ya.example", "jürgen", true),
        ] {
            assert_eq!(mailboxes.belongs(mailbox, login), expected, "{mailbox} of {login}");
        }
    }

    #[test]
    fn circles_end() {
        let mut config = config();
        config.domains[0].aliases.insert("x".into(), "y".into());
        config.domains[0].aliases.insert("y".into(), "x".into());
        assert_eq!(
            target(&config, &config.domains[0], "x").unwrap_err(),
            "the aliases of \"y\" at example.org lead in a circle"
        );
        assert_eq!(target(&config, &config.domains[0], "z").unwrap_err(), "\"z\" is no mailbox of example.org");
    }
}
