//! Is a configuration that has the right shape also one that can work?
//!
//! Owns every rule between keys and every bound. A [`Finding`] that is an error stops the start; one that is a warning is
//! shown by `hermetic check`. Refuses to look at the machine: files and sockets are for whoever opens them.

use std::{collections::HashSet, fmt};

use tracing_subscriber::EnvFilter;

use super::{
    Config, ConfigError, Delivery, Domain, Endpoint, Found, Kind, Limits, Listener, Mailboxes, dkim, dns, domain,
    error::Place, mailboxes::target, outbound, plugins, record, srs, store, tls_reports,
};

/// Something that the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// It stops the start.
    pub error: bool,
    /// The way to the key from the top: tables, indices counted from 0, keys.
    pub path: Vec<String>,
    /// What is wrong and how to mend it.
    pub text: String,
}

impl Finding {
    /// The key as an operator would name it: `domain.catch-all`.
    #[must_use]
    pub fn key(&self) -> String {
        let names: Vec<_> =
            self.path.iter().filter(|part| part.parse::<usize>().is_err()).map(String::as_str).collect();
        names.join(".")
    }
}

impl From<Finding> for ConfigError {
    /// Without a file to point into.
    fn from(finding: Finding) -> Self {
        let place = Place { file: None, line: 0 };
        Self::Value { place, key: finding.key(), problem: finding.text }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key(), self.text)
    }
}

/// All that is to say about it, in the order of the file. Domain names are expected in canonical form.
#[must_use]
pub fn validate(config: &Config) -> Vec<Finding> {
    let mut found = Findings::default();
    server(config, &mut found);
    listeners(config, &mut found);
    found.0.extend(domains(config));
    limits(&config.limits, &mut found);
    operation(config, &mut found);
    found.0.extend(dns::findings(&config.dns));
    found.0.extend(plugins::findings(config));
    found.0.extend(dkim::findings(config));
    found.0.extend(srs::findings(config));
    found.0.extend(store::findings(config));
    found.0.extend(tls_reports::findings(config));
    found.0.extend(outbound::findings(config));
    found.0.extend(record::findings(config));
    found.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, error: bool, path: &[&str], text: impl Into<String>) {
        self.0.push(Finding { error, path: path.iter().map(ToString::to_string).collect(), text: text.into() });
    }

    fn error(&mut self, path: &[&str], text: impl Into<String>) {
        self.add(true, path, text);
    }

    fn warning(&mut self, path: &[&str], text: impl Into<String>) {
        self.add(false, path, text);
    }
}

fn server(config: &Config, found: &mut Findings) {
    match domain::strict(&config.name) {
        None => found.error(&["name"], format!("{:?} is no domain; use the name that the server's address resolves to, such as \"mx.example.org\"", config.name)),
        Some(name) if !name.contains('.') && config.listeners.iter().any(is_public) => found.warning(
            &["name"],
            format!("other servers may not trust a server called {name:?}; use the name that the server's address resolves to"),
        ),
        Some(_) => {}
    }
    if config.data.as_os_str().is_empty() {
        found.error(&["data"], "the path is empty; name a folder such as \"/var/lib/hermetic\"");
    }
    match (&config.tls.certificate, &config.tls.key) {
        (Some(_), None) => {
            found.error(&["tls", "certificate"], "a certificate needs its private key; add `key` to [tls]")
        }
        (None, Some(_)) => {
            found.error(&["tls", "key"], "a private key needs its certificate; add `certificate` to [tls]")
        }
        _ => {}
    }
    if config.relay.networks.iter().any(super::Network::is_everyone) {
        found.error(&["relay", "networks"], "this lets everyone relay; name only networks whose every host you trust");
    }
}

/// Reachable from other machines.
fn is_public(listener: &Listener) -> bool {
    matches!(listener.endpoint(), Ok(Endpoint::Tcp(address)) if !address.ip().to_canonical().is_loopback())
}

fn listeners(config: &Config, found: &mut Findings) {
    if config.listeners.is_empty() {
        found.error(
            &["listener"],
            "there is no listener, so no mail could come in; add [[listener]] with `kind` and `address`",
        );
    }
    let needed = config.listeners.iter().any(|listener| matches!(listener.kind, Kind::Mx | Kind::Lmtp));
    if config.domains.is_empty() && needed && config.relay.networks.is_empty() {
        found.error(
            &["domain"],
            "there is no local domain, so all mail would be refused; add [[domain]] with `name` and `mailboxes`",
        );
    }
    let mut addresses = HashSet::new();
    let mut names = HashSet::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        let number = index.to_string();
        let at = |key: &'static str| ["listener", number.as_str(), key].map(str::to_owned);
        let mut error = |key, text: String| found.0.push(Finding { error: true, path: at(key).to_vec(), text });
        match listener.endpoint() {
            Err(problem) => error(
                "address",
                format!("{problem}; write it like \"127.0.0.1:2525\", \"[::1]:2525\" or \"unix:/run/hermetic/lmtp\""),
            ),
            Ok(Endpoint::Unix(_)) if listener.kind != Kind::Lmtp => error(
                "address",
                format!(
                    "only an \"lmtp\" listener may be a Unix socket; give the \"{}\" listener an address and a port",
                    listener.kind.as_str()
                ),
            ),
            Ok(Endpoint::Unix(_)) if listener.proxy.is_some() || !listener.xclient.is_empty() => {
                error(
                    if listener.proxy.is_some() { "proxy" } else { "xclient" },
                    "a Unix socket has no client address to compare with these networks; leave it out here".into(),
                );
            }
            Ok(Endpoint::Tcp(address)) if listener.kind == Kind::Lmtp && address.port() == 25 => {
                error("address", "RFC 2033 section 5 forbids LMTP on port 25; use another port, such as 24".into())
            }
            Ok(endpoint) => {
                let port_is_chosen = matches!(endpoint, Endpoint::Tcp(address) if address.port() != 0);
                if (port_is_chosen || matches!(endpoint, Endpoint::Unix(_))) && !addresses.insert(endpoint) {
                    error(
                        "address",
                        format!("another listener has {:?} already; give this one its own port", listener.address),
                    );
                }
            }
        }
        if listener.name.as_deref() == Some("") {
            error("name", "a name can not be empty; leave it out for the kind and address".into());
        } else if !names.insert(listener.label()) {
            error(
                "name",
                format!(
                    "another listener is called {:?} already; log lines could not tell them apart",
                    listener.label()
                ),
            );
        }
        if listener.proxy.as_ref().is_some_and(Vec::is_empty) {
            error(
                "proxy",
                "the list is empty, so nobody could connect; name your proxies, or leave it out if there are none"
                    .into(),
            );
        }
        if listener.auth && listener.kind == Kind::Lmtp {
            error("auth", "an \"lmtp\" listener has no logins; leave it out".into());
        }
        if listener.auth_without_tls && (listener.kind == Kind::Lmtp || (listener.kind == Kind::Mx && !listener.auth)) {
            error(
                "auth-without-tls",
                format!("this \"{}\" listener offers no AUTH at all; leave it out", listener.kind.as_str()),
            );
        }
        if listener.future_release > 999_999_999 {
            error(
                "future-release",
                format!("{} has more than the nine digits of RFC 4865; use less", listener.future_release),
            );
        }
        if listener.greeting_delay > 60_000 {
            error(
                "greeting-delay",
                format!(
                    "{} milliseconds are too long, as clients would give up; 60000 is the most",
                    listener.greeting_delay
                ),
            );
        }
        let mut warning = |key, text: String| found.0.push(Finding { error: false, path: at(key).to_vec(), text });
        if listener.auth_without_tls {
            warning("auth-without-tls", "passwords cross the network readable".into());
        }
        if listener.require_tls && listener.kind == Kind::Mx && is_public(listener) {
            warning(
                "require-tls",
                "servers without TLS can not send you mail; RFC 3207 section 4 forbids this on a public server".into(),
            );
        }
        if listener.xclient.iter().any(super::Network::is_everyone) {
            warning("xclient", "every client may claim to be any other and so get around every rule".into());
        }
        if listener.kind == Kind::Lmtp && is_public(listener) {
            warning("address", "LMTP clients are trusted; let no stranger reach this address".into());
        }
        if listener.discard {
            warning("discard", "every message is thrown away".into());
        }
    }
}

/// The part of it that is about local addresses.
#[must_use]
pub fn domains(config: &Config) -> Vec<Finding> {
    let mut found = Findings::default();
    let mailboxes = Mailboxes::new(config);
    let mut names = HashSet::new();
    for (index, domain) in config.domains.iter().enumerate() {
        let number = index.to_string();
        let base = ["domain", number.as_str()];
        let mut error = |keys: &[&str], text: String| found.error(&[&base[..], keys].concat(), text);
        if domain::strict(&domain.name).is_none() {
            error(&["name"], format!("{:?} is no domain; write it like \"example.org\"", domain.name));
            continue;
        }
        if !names.insert(&domain.name) {
            error(&["name"], format!("the domain {:?} is there twice; put both into one [[domain]]", domain.name));
            continue;
        }
        local_parts(domain, &mut error);
        for (alias, to) in &domain.aliases {
            if let Err(problem) = target(config, domain, to) {
                error(
                    &["aliases", alias],
                    format!("{problem}; name a mailbox of this domain, or one of another local domain with its domain"),
                );
            }
        }
        if let Some(to) = &domain.catch_all
            && let Err(problem) = target(config, domain, to)
        {
            error(&["catch-all"], format!("{problem}; name a mailbox"));
        }
        if domain.subaddress.contains('@') || domain.subaddress.chars().any(char::is_control) {
            error(
                &["subaddress"],
                format!(
                    "{:?} can not divide a mailbox from its detail; use \"+\" or \"-\", or \"\" for none",
                    domain.subaddress
                ),
            );
        }
        template(domain, &mut error);
        match domain.delivery() {
            Err(problem) => error(&["deliver"], problem),
            Ok(Delivery::Lmtp(_)) if domain.maildir != Domain::new("", &[]).maildir => {
                error(
                    &["maildir"],
                    "mail that goes by LMTP is in no Maildir of ours; leave out this or `deliver`".into(),
                );
            }
            Ok(_) => {}
        }
        if !matches!(mailboxes.at_domain("postmaster", &domain.name), Found::Mailbox(_)) {
            error(
                &[],
                format!(
                    "mail for postmaster@{} would go nowhere, which RFC 5321 section 4.5.1 forbids; add `aliases = {{ postmaster = \"...\" }}`",
                    domain.name
                ),
            );
        }
        if domain.mailboxes.iter().any(|name| name == "*")
            && config.listeners.iter().any(|listener| listener.kind == Kind::Mx && is_public(listener))
        {
            found.warning(
                &[&base[..], &["mailboxes"]].concat(),
                "strangers can fill the disk with mailboxes that they invent; name your mailboxes",
            );
        }
    }
    found.0
}

fn local_parts(domain: &Domain, error: &mut impl FnMut(&[&str], String)) {
    let mut seen = HashSet::new();
    for name in &domain.mailboxes {
        if name.contains('@') {
            error(&["mailboxes"], format!("{name:?} has a domain; give only what is before the \"@\""));
        } else if name.is_empty() || name.chars().any(char::is_control) {
            error(&["mailboxes"], format!("{name:?} is no local part; leave it out"));
        } else if !seen.insert(name.to_lowercase()) {
            error(&["mailboxes"], format!("{name:?} is there twice, as case does not matter; leave one out"));
        }
    }
    for name in domain.aliases.keys() {
        if name.contains('@') {
            error(&["aliases", name], format!("{name:?} has a domain; give only what is before the \"@\""));
        } else if name.is_empty() || name == "*" {
            error(&["aliases", name], format!("{name:?} is no local part; for all others use `catch-all`"));
        } else if !seen.insert(name.to_lowercase()) {
            error(&["aliases", name], format!("{name:?} is a mailbox or an alias already; leave one out"));
        }
    }
}

fn template(domain: &Domain, error: &mut impl FnMut(&[&str], String)) {
    let bare = domain.maildir.replace("{domain}", "").replace("{local}", "");
    if bare.contains(['{', '}']) {
        error(
            &["maildir"],
            format!("{:?} has an unknown placeholder; the two that exist are {{domain}} and {{local}}", domain.maildir),
        );
    } else if domain.maildir.is_empty() {
        error(&["maildir"], "the path is empty; leave it out for \"mail/{domain}/{local}\"".into());
    } else if !domain.maildir.contains("{local}")
        && (domain.mailboxes.len() > 1 || domain.mailboxes.iter().any(|name| name == "*"))
    {
        error(
            &["maildir"],
            format!("all mailboxes of {} would share one Maildir; put {{local}} into the path", domain.name),
        );
    }
}

fn limits(limits: &Limits, found: &mut Findings) {
    const SIZE: &str = "RFC 5321 section 4.5.3.1.7";
    let mut least = |key: &str, value: u64, least: u64, why: &str| {
        if value < least {
            found.error(&["limits", key], format!("{value} is too little; {why}the least is {least}"));
        }
    };
    least("judged-content", limits.judged_content, 65_536, "");
    if limits.message_size != 0 {
        least("message-size", limits.message_size, 65_536, &format!("by {SIZE} "));
    }
    least("recipients", limits.recipients.into(), 100, "by RFC 5321 section 4.5.3.1.8 ");
    least("errors", limits.errors.into(), 1, "");
    least("idle-commands", limits.idle_commands.into(), 10, "");
    least("auth-failures", limits.auth_failures.into(), 1, "");
    least("command-timeout", limits.command_timeout, 1, "");
    least("data-timeout", limits.data_timeout, 1, "");
    least("data-allowance", limits.data_allowance, 1, "");
    least("handshake-timeout", limits.handshake_timeout, 1, "");
    least("write-timeout", limits.write_timeout, 1, "");
    least("sessions", limits.sessions as u64, 1, "");
    least("sessions-per-client", limits.sessions_per_client as u64, 1, "");
    least("received-fields", limits.received_fields as u64, 1, "");
    for (key, value, least, section) in [
        ("command-timeout", limits.command_timeout, 300, "4.5.3.2.7"),
        ("data-timeout", limits.data_timeout, 180, "4.5.3.2.5"),
        ("data-allowance", limits.data_allowance, 600, "4.5.3.2.6"),
        ("received-fields", limits.received_fields as u64, 100, "6.3"),
    ] {
        if (1..least).contains(&value) {
            found.warning(
                &["limits", key],
                format!("{value} is less than the {least} that RFC 5321 section {section} asks for"),
            );
        }
    }
    // Milliseconds of these cross the boundary of the engine.
    const YEAR: u64 = 366 * 24 * 3600;
    for (key, value) in [
        ("command-timeout", limits.command_timeout),
        ("data-timeout", limits.data_timeout),
        ("data-allowance", limits.data_allowance),
        ("handshake-timeout", limits.handshake_timeout),
        ("write-timeout", limits.write_timeout),
        ("session", limits.session),
        ("drain", limits.drain),
    ] {
        if value > YEAR {
            found.error(&["limits", key], format!("{value} seconds are more than a year; use less"));
        }
    }
}

fn operation(config: &Config, found: &mut Findings) {
    let queue = &config.queue;
    if queue.retry_first == 0 {
        found.error(&["queue", "retry-first"], "0 would retry without a pause; use at least 1");
    }
    if queue.retry_most < queue.retry_first {
        found.error(
            &["queue", "retry-most"],
            format!("{} is less than `retry-first`, {}; use at least that", queue.retry_most, queue.retry_first),
        );
    }
    if queue.expire < queue.retry_first {
        found.error(
            &["queue", "expire"],
            format!(
                "{} is less than `retry-first`, {}, so nothing would be tried again; use more",
                queue.expire, queue.retry_first
            ),
        );
    } else if queue.expire < 345_600 {
        found.warning(
            &["queue", "expire"],
            format!("{} is less than the 4 days (345600) that RFC 5321 section 4.5.4.1 asks for", queue.expire),
        );
    }
    if queue.concurrency == 0 {
        found.error(
            &["queue", "concurrency"],
            "0 would deliver nothing; use at least 1, or `hold = true` if that is what you want",
        );
    }
    if queue.return_size > 1024 * 1024 {
        found.error(
            &["queue", "return-size"],
            format!("{} octets are much for a notice; use at most 1048576", queue.return_size),
        );
    }
    let engine = &config.engine;
    if !(1..=60_000).contains(&engine.deadline) {
        found
            .error(&["engine", "deadline"], format!("{} milliseconds is no deadline; use 1 to 60000", engine.deadline));
    }
    if !(2 << 20..=4_usize << 30).contains(&engine.memory) {
        found.error(
            &["engine", "memory"],
            format!("{} octets is too little or too much; use 2097152 (2 MiB) to 4294967296 (4 GiB)", engine.memory),
        );
    }
    if let Some(address) = config.observe.http.filter(|address| !address.ip().to_canonical().is_loopback()) {
        found.error(
            &["observe", "http"],
            format!(
                "{address} can be reached by others, and the metrics have no password; use 127.0.0.1:{0} or [::1]:{0}",
                address.port()
            ),
        );
    }
    level(&config.observe.level, found);
    if let Err(problem) = config.admin.endpoint(&config.data) {
        found.error(&["admin", "listen"], problem);
    }
}

fn level(level: &str, found: &mut Findings) {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let path = ["observe", "level"];
    if !level.contains(['=', ',', '[']) {
        // A filter of one word that is no level would be taken for the name of a module.
        if !LEVELS.contains(&level.to_lowercase().as_str()) {
            found.error(&path, format!("{level:?} is no level; use one of {}", LEVELS.join(", ")));
        }
    } else if let Err(error) = level.parse::<EnvFilter>() {
        found.error(&path, format!("{level:?} is no filter ({error}); write it like \"info,hermetic::queue=debug\""));
    }
}
