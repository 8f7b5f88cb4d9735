//! How mail leaves for other servers.

use std::{fmt, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Config, domain, network::Endpoint, validate::Finding};

/// Mail to other servers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Outbound {
    /// Nothing leaves: it waits, and `hermetic queue list` shows it.
    pub hold: bool,
    /// The port of the servers that the DNS names.
    pub port: u16,
    /// The port on which domains publish their MTA-STS policies.
    pub https_port: u16,
    /// Addresses of ours to connect from, at most one of each family.
    pub source: Vec<IpAddr>,
    /// Certificates to believe instead of the system's: a file in PEM.
    pub roots: Option<PathBuf>,
    /// Connections to one destination at a time, at most.
    pub connections: usize,
    /// The same until more is known of it.
    pub initial_connections: usize,
    /// Connections in all.
    pub most_connections: usize,
    /// To establish a connection, seconds.
    pub connect_timeout: u64,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            hold: false,
            port: 25,
            https_port: 443,
            source: Vec::new(),
            roots: None,
            connections: 10,
            initial_connections: 3,
            most_connections: 200,
            connect_timeout: 30,
        }
    }
}

/// What protects mail on its way to a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// What the destination publishes (DANE, MTA-STS), else TLS where it is offered.
    #[default]
    Published,
    /// No TLS.
    None,
    /// TLS where it is offered, whatever is published.
    Opportunistic,
    /// TLS always, with any certificate.
    Encrypted,
    /// TLS always, with a certificate that this machine trusts for the server's name.
    Verified,
    /// As DANE says, and never otherwise.
    Dane,
}

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "RFC 5321 and RFC 2033")]
pub enum Protocol {
    #[default]
    Smtp,
    Lmtp,
}

/// What is different for some domains; the first one that matches counts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Destination {
    /// `example.org`, `*.example.org` for all below it, or `*` for all.
    pub domains: Vec<String>,
    /// Where their mail goes instead of where the DNS says, in order: `smtp.example.net:587`, `[2001:db8::1]:25`,
    /// `unix:/run/lmtp`.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// How it is protected.
    #[serde(default)]
    pub tls: Security,
    /// TLS from the first octet on (RFC 8314).
    #[serde(default)]
    pub implicit_tls: bool,
    /// SMTP or LMTP.
    #[serde(default)]
    pub protocol: Protocol,
    /// Log in as this user.
    #[serde(default)]
    pub login: Option<String>,
    /// Its password is the first line of this file.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// EHLO keywords that count as not offered.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Connections at a time, at most.
    #[serde(default)]
    pub connections: Option<usize>,
    /// The same until more is known of it.
    #[serde(default)]
    pub initial_connections: Option<usize>,
    /// Messages in a time; see [`rate`].
    #[serde(default)]
    pub rate: Option<String>,
    /// Messages in one connection.
    #[serde(default)]
    pub messages_per_connection: Option<usize>,
}

/// Reads [`Destination::rate`]: milliseconds from one message to the next, and how many may go at once, which is what a second
/// may bring. Fails with what is wrong and how to mend it.
pub fn rate(text: &str) -> Result<(f64, f64), String> {
    let read = || {
        let (messages, period) = text.split_once('/')?;
        let messages: u32 = messages.trim().parse().ok().filter(|messages| *messages > 0)?;
        let seconds = match period.trim() {
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        let apart = seconds * 1000.0 / f64::from(messages);
        Some((apart, (1000.0 / apart).max(1.0)))
    };
    read().ok_or_else(|| format!("{text:?} is no rate; write it like \"100/min\", with s, min, h or d"))
}

impl Destination {
    /// Is it for this domain, in canonical form?
    #[must_use]
    pub fn is_for(&self, domain: &str) -> bool {
        self.domains.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => domain.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            None => pattern == "*" || pattern == domain,
        })
    }
}

/// A host that the operator named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NamedHost {
    /// A name and a port.
    Name(String, u16),
    /// An address, or the path of a socket.
    At(Endpoint),
}

impl fmt::Display for NamedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::At(endpoint) => endpoint.fmt(f),
        }
    }
}

/// Reads one of [`Destination::hosts`]. Fails with what is wrong and how to mend it.
pub fn named_host(text: &str) -> Result<NamedHost, String> {
    if let Ok(endpoint) = text.parse::<Endpoint>() {
        return Ok(NamedHost::At(endpoint));
    }
    let named = text.rsplit_once(':').and_then(|(name, port)| {
        let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
        Some(NamedHost::Name(domain::strict(name)?.into_owned(), port))
    });
    named.ok_or_else(|| format!("{text:?} is no host with a port; write it like \"smtp.example.net:25\""))
}

/// What is to say about `[outbound]` and `[[destination]]`.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    let outbound = &config.outbound;
    let mut error = |path: &[&str], text: String| {
        found.push(Finding { error: true, path: path.iter().map(ToString::to_string).collect(), text });
    };
    for (key, value, most) in [
        ("port", u64::from(outbound.port), 65_535),
        ("https-port", u64::from(outbound.https_port), 65_535),
        ("connections", outbound.connections as u64, 1_000),
        ("initial-connections", outbound.initial_connections as u64, 1_000),
        ("most-connections", outbound.most_connections as u64, 10_000),
        ("connect-timeout", outbound.connect_timeout, 600),
    ] {
        if !(1..=most).contains(&value) {
            error(&["outbound", key], format!("{value} is too little or too much; use 1 to {most}"));
        }
    }
    let (v4, v6): (Vec<&IpAddr>, Vec<&IpAddr>) = outbound.source.iter().partition(|address| address.is_ipv4());
    if v4.len() > 1 || v6.len() > 1 {
        error(&["outbound", "source"], "there are two addresses of a family; leave at most one of each".into());
    }
    for (index, one) in config.destinations.iter().enumerate() {
        let index = index.to_string();
        let mut error = |key: &str, text: String| error(&["destination", &index, key], text);
        if one.domains.is_empty() {
            error("domains", "the list is empty, so it is for nobody; name a domain, or \"*\" for all".into());
        }
        for pattern in &one.domains {
            if pattern != "*" && domain::strict(pattern.strip_prefix("*.").unwrap_or(pattern)).is_none() {
                error(
                    "domains",
                    format!("{pattern:?} is no domain; write it like \"example.org\" or \"*.example.org\""),
                );
            }
        }
        let hosts: Vec<_> = one.hosts.iter().map(|text| named_host(text)).collect();
        for problem in hosts.iter().filter_map(|host| host.as_ref().err()) {
            error("hosts", problem.clone());
        }
        let socket = hosts.iter().any(|host| matches!(host, Ok(NamedHost::At(Endpoint::Unix(_)))));
        if one.protocol == Protocol::Lmtp && one.hosts.is_empty() {
            error("protocol", "LMTP is for hosts that you name; add `hosts`".into());
        }
        if one.protocol == Protocol::Smtp && socket {
            error("hosts", "a Unix socket is for LMTP; add `protocol = \"lmtp\"`".into());
        }
        if one.login.is_some() != one.password_file.is_some() {
            error("login", "`login` and `password-file` go together; add the other one".into());
        }
        if one.login.is_some() && (one.hosts.is_empty() || matches!(one.tls, Security::None | Security::Opportunistic))
        {
            error(
                "login",
                "a password goes only to `hosts` that you name and with `tls` that can not be left out, such as \"verified\"".into(),
            );
        }
        for (key, value) in [("connections", one.connections), ("initial-connections", one.initial_connections)] {
            if value == Some(0) {
                error(key, "0 connections take no mail away; use 1 or more".into());
            }
        }
        if one.messages_per_connection == Some(0) {
            error("messages-per-connection", "a connection without a message is no use; use 1 or more".into());
        }
        if let Some(Err(problem)) = one.rate.as_deref().map(rate) {
            error("rate", problem);
        }
    }
    let places = config.destinations.iter().enumerate();
    found.extend(places.flat_map(|(index, one)| one.domains.iter().filter_map(move |name| idle(config, index, name))));
    found
}

/// Mail for a domain of ours goes where the domain says.
fn idle(config: &Config, index: usize, name: &str) -> Option<Finding> {
    let domain = config.domains.iter().find(|domain| domain.name == name)?;
    let where_to = match config.lmtp(&domain.name) {
        Some(host) => format!("its mail goes by LMTP to {host}, as `domain.deliver` says"),
        None => "its mail stays here".into(),
    };
    let path = vec!["destination".into(), index.to_string(), "domains".into()];
    let text = format!("{name} is a [[domain]] of ours and {where_to}; this [[destination]] has no effect on it");
    Some(Finding { error: false, path, text })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_destination_is_for() {
        let check = |pattern: &str, domain: &str, expected: bool| {
            let one = Destination { domains: vec![pattern.into()], ..toml::from_str("domains = []").unwrap() };
            assert_eq!(one.is_for(domain), expected, "{pattern} {domain}");
        };
        check("example.org", "example.org", true);
        check("example.org", "a.example.org", false);
        check("*.example.org", "a.example.org", true);
        check("*.example.org", "a.b.example.org", true);
        check("*.example.org", "example.org", false);
        check("*.example.org", ".example.org", false);
        check("*.example.org", "badexample.org", false);
        check("*", "example.org", true);
    }

    #[test]
    fn rates() {
        for (text, apart, at_once) in
            [("1/s", 1000.0, 1.0), ("100/min", 600.0, 1000.0 / 600.0), ("50/s", 20.0, 50.0), ("24/d", 3_600_000.0, 1.0)]
        {
            assert_eq!(rate(text), Ok((apart, at_once)), "{text}");
        }
        for text in ["", "/", "1", "1/", "1/week", "-1/s", "1.5/s", "0/h", "a/s", "1/s/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_can_not_work_is_refused() {
        for (text, expected) in [
            ("[[destination]]\ndomains = [\"a.example\"]\nhosts = [\"b.example:25\", \"[::1]:25\"]", ""),
            ("[[destination]]\ndomains = [\"a.example\"]\nhosts = [\"unix:/x\"]\nprotocol = \"lmtp\"", ""),
            (
                "[[destination]]\ndomains = [\"a.example\"]\nhosts = [\"b.example\"]",
                "hosts: \"b.example\" is no host with a port",
            ),
            ("[[destination]]\ndomains = [\"a.example\"]\nhosts = [\"unix:/x\"]", "a Unix socket is for LMTP"),
            ("[[destination]]\ndomains = []", "domains: the list is empty"),
            ("[[destination]]\ndomains = [\"a b\"]", "domains: \"a b\" is no domain"),
            ("[[destination]]\ndomains = [\"*\"]\nlogin = \"x\"", "go together"),
            ("[[destination]]\ndomains = [\"*\"]\nlogin = \"x\"\npassword-file = \"y\"", "a password goes only to"),
            (
                "[[destination]]\ndomains = [\"*\"]\nhosts = [\"b.example:25\"]\ntls = \"encrypted\"\nlogin = \"x\"\npassword-file = \"y\"",
                "",
            ),
            ("[[destination]]\ndomains = [\"*\"]\nrate = \"100/min\"", ""),
            ("[[destination]]\ndomains = [\"*\"]\nrate = \"0/min\"", "rate: \"0/min\" is no rate"),
            ("[[destination]]\ndomains = [\"*\"]\nrate = \"100\"", "is no rate"),
            ("[[destination]]\ndomains = [\"*\"]\ninitial-connections = 0", "0 connections take no mail away"),
            ("[[destination]]\ndomains = [\"*\"]\nmessages-per-connection = 0", "is no use"),
            (
                "[[destination]]\ndomains = [\"*\", \"a.example\"]\n[[domain]]\nname = \"a.example\"\nmailboxes = [\"*\"]\ndeliver = \"lmtp:[::1]:24\"",
                "destination.domains: a.example is a [[domain]] of ours and its mail goes by LMTP to [::1]:24",
            ),
            (
                "[[destination]]\ndomains = [\"a.example\"]\n[[domain]]\nname = \"a.example\"\nmailboxes = [\"*\"]",
                "its mail stays here",
            ),
            ("[outbound]\nport = 0", "outbound.port: 0 is too little"),
            ("[outbound]\nsource = [\"192.0.2.1\", \"192.0.2.2\"]", "two addresses of a family"),
        ] {
            let config: Config = toml::from_str(text).unwrap();
            let shown: Vec<_> = findings(&config).iter().map(ToString::to_string).collect();
            let fits = if expected.is_empty() { shown.is_empty() } else { shown.join("\n").contains(expected) };
            assert!(fits, "{text}: {shown:?}");
        }
    }
}
