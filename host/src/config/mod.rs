//! What the operator wants: one TOML file, every key with a default, unknown keys refused.
//!
//! Owns the shape and its validation. Refuses to act on it. Fails with one sentence that names the file, the line,
//! the key and the fix.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The server's name in greetings, EHLO replies and trace fields.
    pub name: String,
    /// The folder that holds the store, keys and, by default, mail.
    pub data: PathBuf,
    /// Where mail comes in.
    #[serde(rename = "listener")]
    pub listeners: Vec<Listener>,
    /// Domains whose mail ends here.
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
    /// Retries and expiry.
    pub queue: Queue,
    /// The sealed engine.
    pub engine: Engine,
    /// Logs, metrics, health.
    pub observe: Observe,
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

/// One listening socket.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Listener {
    /// What it is for.
    pub kind: Kind,
    /// `127.0.0.1:2525`, `[::1]:2525`, or `unix:/path/to/socket`.
    pub address: String,
    /// Its name in logs and metrics; by default the kind and address.
    #[serde(default)]
    pub name: Option<String>,
    /// Networks that speak the PROXY protocol here. Given: every connection must begin with a PROXY header, and only these may connect.
    #[serde(default)]
    pub proxy: Option<Vec<String>>,
    /// Networks that may use XCLIENT.
    #[serde(default)]
    pub xclient: Vec<String>,
    /// Offer AUTH without TLS. Passwords cross the network readable.
    #[serde(default)]
    pub auth_without_tls: bool,
    /// Offer AUTH on an `mx` listener too (inside TLS).
    #[serde(default)]
    pub auth: bool,
    /// Refuse mail before TLS (mx: RFC 3207 warns against it on a public MX).
    #[serde(default)]
    pub require_tls: bool,
    /// Refuse EHLO whose argument is no domain or address literal.
    #[serde(default)]
    pub strict_hello: bool,
    /// Wait so long before the greeting and refuse clients that speak first. Milliseconds; 0: no wait.
    #[serde(default)]
    pub greeting_delay: u64,
    /// Answer 250 and throw the message away. For measuring only.
    #[serde(default)]
    pub discard: bool,
}

/// A domain whose mail ends here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Domain {
    /// `example.org`; U-labels and A-labels are the same.
    pub name: String,
    /// The mailboxes by local part; `["*"]` accepts any.
    #[serde(default)]
    pub mailboxes: Vec<String>,
    /// Local part -> mailbox, for example `postmaster = "anna"`.
    #[serde(default)]
    pub aliases: std::collections::BTreeMap<String, String>,
    /// The mailbox for everything else. Absent: unknown ones are refused (550 5.1.1).
    #[serde(default)]
    pub catch_all: Option<String>,
    /// What divides a mailbox from its detail; empty: nothing does.
    #[serde(default = "plus")]
    pub subaddress: String,
    /// The Maildir: `{domain}` and `{local}` are replaced. Relative paths are below `data`.
    #[serde(default = "maildir")]
    pub maildir: String,
}

fn plus() -> String {
    "+".into()
}

fn maildir() -> String {
    "mail/{domain}/{local}".into()
}

/// Certificates.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tls {
    /// PEM chain. Absent: a self-signed one is made below `data` and kept.
    pub certificate: Option<PathBuf>,
    /// PEM key.
    pub key: Option<PathBuf>,
}

/// Logins.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Users {
    /// The file that `hermetic user add` writes. Default: `users.toml` below `data`.
    pub file: Option<PathBuf>,
}

/// Who may send to other domains without a login.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Relay {
    /// `10.0.0.0/8`, `2001:db8::/32`. Empty: nobody.
    pub networks: Vec<String>,
}

/// Bounds. Sizes in octets, times in seconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// The largest message.
    pub message_size: u64,
    /// Recipients of one message; at least 100.
    pub recipients: u32,
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
    /// TLS handshake.
    pub handshake_timeout: u64,
    /// A peer that reads no replies is dropped after this.
    pub write_timeout: u64,
    /// Sessions in all.
    pub sessions: usize,
    /// Sessions of one client address.
    pub sessions_per_client: usize,
    /// Received fields; more is a loop (554 5.4.6).
    pub received_fields: usize,
    /// Octets that must stay free on the disk (452 4.3.1 below it).
    pub free_space: u64,
    /// How long open transactions may take to finish at the end.
    pub drain: u64,
}

/// Retries and expiry. Seconds.
#[derive(Clone, Debug, Deserialize)]
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
}

/// The sealed engine.
#[derive(Clone, Debug, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Logs, metrics, health.
#[derive(Clone, Debug, Deserialize)]
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
            queue: Queue::default(),
            engine: Engine::default(),
            observe: Observe::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: 50 * 1024 * 1024,
            recipients: 1000,
            errors: 40,
            idle_commands: 500,
            auth_failures: 5,
            command_timeout: 300,
            data_timeout: 180,
            handshake_timeout: 60,
            write_timeout: 120,
            sessions: 10_000,
            sessions_per_client: 100,
            received_fields: 100,
            free_space: 64 * 1024 * 1024,
            drain: 30,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { hold: false, retry_first: 60, retry_most: 14_400, expire: 432_000, concurrency: 8 }
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

/// Stand-in until the real one is merged.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);
