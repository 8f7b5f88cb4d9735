//! What the operator wants: one TOML file, every key with a default, unknown keys refused.
//!
//! Owns the shape of the configuration, its documentation ([`keys`]), its reading ([`load`]) and its validation
//! ([`validate`]). Refuses to act on it. Fails with [`ConfigError`]: one sentence that names the file, the line, the
//! key and the fix.

pub mod admin;
pub mod deliver;
pub mod dkim;
pub mod dns;
pub mod domain;
pub mod error;
pub mod http_host;
pub mod keys;
pub mod load;
pub mod mailboxes;
pub mod network;
pub mod outbound;
pub mod plugins;
pub mod record;
pub mod srs;
pub mod store;
pub mod tls_reports;
pub mod validate;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use admin::Admin;
pub use deliver::Delivery;
pub use dkim::Dkim;
pub use dns::Dns;
pub use error::ConfigError;
pub use http_host::HttpHost;
pub use load::Loaded;
pub use mailboxes::{Found, Mailboxes};
pub use network::{Endpoint, Network};
pub use outbound::{Destination, Outbound};
pub use plugins::{Plugin, PluginRoute};
pub use record::Record;
pub use srs::Srs;
pub use store::{Maildirs, StoreKeys, StoreKind, StoreSync};
pub use tls_reports::TlsReports;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The server's name in greetings, EHLO replies and trace fields.
    pub name: String,
    /// The folder that holds the store, keys and, by default, mail.
    pub data: PathBuf,
    /// Where mail comes in.
    #[serde(rename = "listener")]
    pub listeners: Vec<Listener>,
    /// Domains whose mail ends here. The first one's postmaster is the server's.
    #[serde(rename = "domain")]
    pub domains: Vec<Domain>,
    /// Certificates.
    pub tls: Tls,
    /// Logins.
    pub users: Users,
    /// Who may send to other domains without a login.
    pub relay: Relay,
    /// Bounds.
    pub limits: Limits,
    /// Where accepted mail is kept.
    pub store: StoreKeys,
    /// Retries and expiry.
    pub queue: Queue,
    /// Mail to other servers.
    pub outbound: Outbound,
    /// What is different for some of them; the first one that matches counts.
    #[serde(rename = "destination")]
    pub destinations: Vec<Destination>,
    /// Keys that sign what leaves.
    pub dkim: Vec<Dkim>,
    /// In whose name mail is sent on.
    pub srs: Srs,
    /// What domains are told of TLS on the way to them.
    pub tls_reports: TlsReports,
    /// Questions to the DNS.
    pub dns: Dns,
    /// The sealed engine.
    pub engine: Engine,
    /// Logs, metrics, health.
    pub observe: Observe,
    /// Sessions as files.
    pub record: Record,
    /// Where operators reach the server.
    pub admin: Admin,
    /// Judges of mail.
    #[serde(rename = "plugin")]
    pub plugins: Vec<Plugin>,
    /// Whom they judge; the first route that matches counts.
    #[serde(rename = "route")]
    pub routes: Vec<PluginRoute>,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// From other servers: for local domains only, unless relaying is allowed.
    Mx,
    /// From users, STARTTLS and AUTH required (RFC 6409).
    Submission,
    /// The same with implicit TLS (RFC 8314).
    Submissions,
    /// RFC 2033. Never on port 25.
    Lmtp,
}

impl Kind {
    /// As it is written in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mx => "mx",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Lmtp => "lmtp",
        }
    }

    /// Mail comes from users, who must log in: `submission` and `submissions`.
    #[must_use]
    pub fn is_submission(self) -> bool {
        matches!(self, Self::Submission | Self::Submissions)
    }
}

/// One listening socket.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Listener {
    /// What it is for.
    pub kind: Kind,
    /// `127.0.0.1:2525`, `[::1]:2525`, or `unix:/path/to/socket`; see [`Listener::endpoint`].
    pub address: String,
    /// Its name in logs and metrics; see [`Listener::label`].
    #[serde(default)]
    pub name: Option<String>,
    /// Networks that speak the PROXY protocol here. Given: every connection must begin with a PROXY header, and only
    /// these may connect.
    #[serde(default)]
    pub proxy: Option<Vec<Network>>,
    /// Networks that may use XCLIENT.
    #[serde(default)]
    pub xclient: Vec<Network>,
    /// Offer AUTH without TLS. Passwords cross the network readable.
    #[serde(default)]
    pub auth_without_tls: bool,
    /// Offer AUTH on an `mx` listener too (inside TLS).
    #[serde(default)]
    pub auth: bool,
    /// Refuse mail before TLS (mx: RFC 3207 section 4 warns against it on a public MX).
    #[serde(default)]
    pub require_tls: bool,
    /// Refuse EHLO whose argument is no domain or address literal.
    #[serde(default)]
    pub strict_hello: bool,
    /// Wait so long before the greeting and refuse clients that speak first. Milliseconds; 0: no wait.
    #[serde(default)]
    pub greeting_delay: u64,
    /// Ask the `connection` and `sender` hooks of the plugins of the route for all recipients at MAIL, for everybody.
    #[serde(default)]
    pub early_refusal: bool,
    /// How long users may have their mail held (RFC 4865), on submission listeners. Seconds; 0: not at all.
    #[serde(default = "future_release")]
    pub future_release: u64,
    /// Offer DELIVERBY (RFC 2852).
    #[serde(default = "yes")]
    pub deliver_by: bool,
    /// Offer MT-PRIORITY (RFC 6710).
    #[serde(default = "yes")]
    pub priority: bool,
    /// Answer 250 and throw the message away. For measuring only.
    #[serde(default)]
    pub discard: bool,
}

impl Listener {
    /// A listener with every other key at its default.
    #[must_use]
    pub fn new(kind: Kind, address: &str) -> Self {
        Self {
            kind,
            address: address.into(),
            name: None,
            proxy: None,
            xclient: Vec::new(),
            auth_without_tls: false,
            auth: false,
            require_tls: false,
            strict_hello: false,
            greeting_delay: 0,
            early_refusal: false,
            future_release: future_release(),
            deliver_by: true,
            priority: true,
            discard: false,
        }
    }

    /// The configured name, or the kind and address: `mx 127.0.0.1:2525`.
    #[must_use]
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("{} {}", self.kind.as_str(), self.address))
    }

    /// The parsed address. Fails with what is wrong with it, which a loaded configuration never does.
    pub fn endpoint(&self) -> Result<Endpoint, String> {
        self.address.parse()
    }
}

/// A domain whose mail ends here.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Domain {
    /// `example.org`; U-labels and A-labels are the same. Once loaded: A-labels in lower case.
    pub name: String,
    /// The mailboxes by local part; `["*"]` accepts any.
    #[serde(default)]
    pub mailboxes: Vec<String>,
    /// Local part -> mailbox, for example `postmaster = "anna"`.
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
    /// The mailbox for everything else. Absent: unknown ones are refused (550 5.1.1).
    #[serde(default)]
    pub catch_all: Option<String>,
    /// What divides a mailbox from its detail (RFC 5233); empty: nothing does.
    #[serde(default = "plus")]
    pub subaddress: String,
    /// The Maildir: `{domain}` and `{local}` are replaced. Relative paths are below `data`.
    #[serde(default = "maildir")]
    pub maildir: String,
    /// `maildir`, or `lmtp:` and a host; see [`Domain::delivery`].
    #[serde(default = "deliver")]
    pub deliver: String,
    /// The node that has its Maildirs.
    #[serde(default)]
    pub node: Option<String>,
}

impl Domain {
    /// A domain with these mailboxes and every other key at its default.
    #[must_use]
    pub fn new(name: &str, mailboxes: &[&str]) -> Self {
        Self {
            name: name.into(),
            mailboxes: mailboxes.iter().map(ToString::to_string).collect(),
            aliases: BTreeMap::new(),
            catch_all: None,
            subaddress: plus(),
            maildir: maildir(),
            deliver: deliver(),
            node: None,
        }
    }
}

fn future_release() -> u64 {
    30 * 24 * 3600
}

fn yes() -> bool {
    true
}

fn plus() -> String {
    "+".into()
}

fn maildir() -> String {
    "mail/{domain}/{local}".into()
}

fn deliver() -> String {
    "maildir".into()
}

/// Certificates.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tls {
    /// PEM chain. Absent: a self-signed one is made below `data` and kept.
    pub certificate: Option<PathBuf>,
    /// PEM key.
    pub key: Option<PathBuf>,
}

/// Logins.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Users {
    /// The file that `hermetic user add` writes; see [`Config::users_file`].
    pub file: Option<PathBuf>,
}

/// Who may send to other domains without a login.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Relay {
    /// `10.0.0.0/8`, `2001:db8::/32`. Empty: nobody.
    pub networks: Vec<Network>,
    /// Whose MT-PRIORITY above 0 is believed.
    pub priority_from: Vec<Network>,
}

/// Bounds. Sizes in octets, times in seconds.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// The largest message; 0: no limit.
    pub message_size: u64,
    /// Recipients of one message; at least 100.
    pub recipients: u32,
    /// Messages in one session; 0: no limit.
    pub messages: u32,
    /// Faulty commands until 421.
    pub errors: u32,
    /// Commands that bring no mail until 421.
    pub idle_commands: u32,
    /// Failed logins in a session until 421.
    pub auth_failures: u32,
    /// Waiting for a command.
    pub command_timeout: u64,
    /// Waiting for content.
    pub data_timeout: u64,
    /// For a whole message's content, besides a second for each `data_rate` octets received.
    pub data_allowance: u64,
    /// Octets a second that a peer must at least sustain; 0: no rule.
    pub data_rate: u32,
    /// TLS handshake.
    pub handshake_timeout: u64,
    /// A peer that reads no replies is dropped after this.
    pub write_timeout: u64,
    /// A whole session; 0: no limit.
    pub session: u64,
    /// Sessions in all.
    pub sessions: usize,
    /// Sessions of one client address.
    pub sessions_per_client: usize,
    /// Received fields; more is a loop (554 5.4.6).
    pub received_fields: usize,
    /// Octets that must stay free on the disk (452 4.3.1 below it).
    pub free_space: u64,
    /// Octets of messages that are in memory for plugins at a time, over all sessions (451 4.3.1 if there is no room).
    pub judged_content: u64,
    /// How long open transactions may take to finish at the end.
    pub drain: u64,
}

/// Retries and expiry. Seconds.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Queue {
    /// Accept and hold everything (`hermetic queue list`); nothing is delivered.
    pub hold: bool,
    /// The first wait after a temporary failure; it doubles up to `retry-most`.
    pub retry_first: u64,
    /// The longest wait.
    pub retry_most: u64,
    /// Given up after this.
    pub expire: u64,
    /// Deliveries at a time.
    pub concurrency: usize,
    /// The sender is told of mail that is late by this; 0: never.
    pub delay_warning: u64,
    /// Also senders that nobody has authenticated are told what became of their mail.
    pub notify_strangers: bool,
    /// Octets of a message that go back to its sender with a failure.
    pub return_size: usize,
}

/// The sealed engine.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Engine {
    /// Deadline of one call, milliseconds.
    pub deadline: u64,
    /// Memory of one instance, octets.
    pub memory: usize,
    /// An idle session is frozen to a few hundred octets after this, milliseconds.
    pub freeze_after: u64,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Logs, metrics, health.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Observe {
    /// `human` or `json`.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter in tracing's syntax.
    pub level: String,
    /// Replace local parts in logs.
    pub redact: bool,
    /// Where `/metrics` and `/health` are served; loopback. Absent: nowhere.
    pub http: Option<SocketAddr>,
}

impl Config {
    /// What `hermetic serve` does without a file: loopback listeners, any mailbox at two domains that are nobody's,
    /// Maildirs below `./hermetic-data`.
    #[must_use]
    pub fn local_default() -> Self {
        Self {
            listeners: vec![
                Listener::new(Kind::Mx, "127.0.0.1:2525"),
                Listener::new(Kind::Submission, "127.0.0.1:2587"),
                Listener::new(Kind::Submissions, "127.0.0.1:2465"),
            ],
            domains: vec![Domain::new("localhost", &["*"]), Domain::new("example.test", &["*"])],
            ..Self::default()
        }
    }

    /// The file of `hermetic user add`: `users.file`, or `users.toml` below `data`.
    #[must_use]
    pub fn users_file(&self) -> PathBuf {
        self.users.file.clone().unwrap_or_else(|| self.data.join("users.toml"))
    }

    /// Where mail for this canonical mailbox (as [`Mailboxes`] and `store::Route::Local` have it) is put. None if the
    /// mailbox is no longer configured.
    #[must_use]
    pub fn maildir(&self, mailbox: &str) -> Option<PathBuf> {
        let (domain, local) = self.mailbox(mailbox)?;
        Some(self.data.join(domain.expand(local)))
    }

    /// The domain and local part of a canonical mailbox. None if it is no longer configured.
    fn mailbox<'a>(&self, mailbox: &'a str) -> Option<(&Domain, &'a str)> {
        let (domain, local) = self.domains.iter().find_map(|domain| {
            // A domain has no `@`, so a mailbox that ends with `@domain` has no other.
            Some((domain, mailbox.strip_suffix(domain.name.as_str())?.strip_suffix('@')?))
        })?;
        let exists = domain.mailboxes.iter().any(|name| name == "*" || name.to_lowercase() == local);
        exists.then_some((domain, local))
    }
}

impl Domain {
    /// The Maildir of a local part. Each part is replaced once, so a local part can not name a placeholder.
    fn expand(&self, local: &str) -> PathBuf {
        let mut path = String::new();
        let mut rest = self.maildir.as_str();
        while let Some(start) = rest.find('{') {
            let (before, after) = rest.split_at(start);
            path.push_str(before);
            if let Some(after) = after.strip_prefix("{local}") {
                path.push_str(&path_segment(local));
                rest = after;
            } else if let Some(after) = after.strip_prefix("{domain}") {
                path.push_str(&path_segment(&self.name));
                rest = after;
            } else {
                path.push('{');
                rest = &after[1..];
            }
        }
        path.push_str(rest);
        Path::new(&path).to_path_buf()
    }
}

/// A name that is one segment of a path, whatever the name: letters, digits and `-_+=~.` stay, everything else (`/`,
/// NUL, `%`, blanks) and a dot at the start become `%XX`, so that different names never share a folder.
fn path_segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for (index, character) in name.char_indices() {
        let plain = character.is_alphanumeric() || "-_+=~".contains(character) || (character == '.' && index > 0);
        if plain {
            segment.push(character);
        } else {
            let mut octets = [0; 4];
            for octet in character.encode_utf8(&mut octets).bytes() {
                segment.push_str(&format!("%{octet:02X}"));
            }
        }
    }
    segment
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "localhost".into(),
            data: "./hermetic-data".into(),
            listeners: Vec::new(),
            domains: Vec::new(),
            tls: Tls::default(),
            users: Users::default(),
            relay: Relay::default(),
            limits: Limits::default(),
            store: StoreKeys::default(),
            queue: Queue::default(),
            outbound: Outbound::default(),
            destinations: Vec::new(),
            dkim: Vec::new(),
            srs: Srs::default(),
            tls_reports: TlsReports::default(),
            dns: Dns::default(),
            engine: Engine::default(),
            observe: Observe::default(),
            record: Record::default(),
            admin: Admin::default(),
            plugins: Vec::new(),
            routes: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: 50 * 1024 * 1024,
            recipients: 1000,
            messages: 0,
            errors: 40,
            idle_commands: 500,
            auth_failures: 5,
            command_timeout: 300,
            data_timeout: 180,
            data_allowance: 600,
            data_rate: 512,
            handshake_timeout: 60,
            write_timeout: 120,
            session: 0,
            sessions: 10_000,
            sessions_per_client: 100,
            received_fields: 100,
            free_space: 64 * 1024 * 1024,
            judged_content: 256 * 1024 * 1024,
            drain: 30,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            hold: false,
            retry_first: 60,
            retry_most: 14_400,
            expire: 432_000,
            concurrency: 8,
            delay_warning: 14_400,
            notify_strangers: false,
            return_size: 50_000,
        }
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self { deadline: 100, memory: 16 * 1024 * 1024, freeze_after: 1000 }
    }
}

impl Default for Observe {
    fn default() -> Self {
        Self { format: LogFormat::Human, level: "info".into(), redact: false, http: None }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn maildirs() {
        let mut config = Config { data: "/data".into(), ..Config::default() };
        config.domains = vec![
            Domain::new("example.org", &["anna", "Jürgen"]),
            Domain { maildir: "/srv/{local}/{domain}/{other}".into(), ..Domain::new("any.example", &["*"]) },
        ];
        for (mailbox, expected) in [
            ("anna@example.org", Some("/data/mail/example.org/anna")),
            ("jürgen@example.org", Some("/data/mail/example.org/jürgen")),
            ("bert@example.org", None),
            ("anna@example.com", None),
            ("anna", None),
            ("a.b-c_d+e=f@any.example", Some("/srv/a.b-c_d+e=f/any.example/{other}")),
            ("..@any.example", Some("/srv/%2E./any.example/{other}")),
            ("../../etc/passwd@any.example", Some("/srv/%2E.%2F..%2Fetc%2Fpasswd/any.example/{other}")),
            ("a b@x@any.example", Some("/srv/a%20b%40x/any.example/{other}")),
            ("%2F\0@any.example", Some("/srv/%252F%00/any.example/{other}")),
            ("{domain}@any.example", Some("/srv/%7Bdomain%7D/any.example/{other}")),
        ] {
            assert_eq!(config.maildir(mailbox), expected.map(PathBuf::from), "{mailbox:?}");
        }
    }
}
