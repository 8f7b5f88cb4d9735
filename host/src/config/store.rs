//! Where accepted mail is kept: `[store]`.
//!
//! Owns the keys, their bounds, and which node a Maildir is on. Refuses to ask the servers. Fails with findings.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, Delivery, domain, validate::Finding};

/// What keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// This machine, below `data`.
    #[default]
    Sqlite,
    /// NATS servers.
    Jetstream,
}

/// Who says that NATS servers sync before they acknowledge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreSync {
    /// Their monitoring ports.
    #[default]
    Checked,
    /// The operator.
    Declared,
    /// Nobody.
    Weak,
}

/// Where Maildirs are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Maildirs {
    /// Each on the node that `domain.node` names.
    #[default]
    Bound,
    /// On a file system that all nodes have.
    Shared,
}

/// Where accepted mail is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StoreKeys {
    /// By what.
    pub kind: StoreKind,
    /// NATS servers.
    pub servers: Vec<String>,
    /// Their monitoring ports.
    pub monitor: Vec<String>,
    /// Who says that they sync.
    pub sync: StoreSync,
    /// This node; absent: the server's name, with `-` for `.`.
    pub node: Option<String>,
    /// What streams and subjects begin with.
    pub stream: String,
    /// Copies.
    pub replicas: usize,
    /// Seconds that a node may be silent.
    pub lease: u64,
    /// Where Maildirs are.
    pub maildirs: Maildirs,
    /// The login.
    pub user: Option<String>,
    /// The password, or without `user` a token.
    pub password_file: Option<PathBuf>,
    /// A credentials file or an NKey's seed.
    pub credentials: Option<PathBuf>,
    /// Whom to trust instead of the system's roots.
    pub roots: Option<PathBuf>,
    /// Our certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

impl Default for StoreKeys {
    fn default() -> Self {
        Self {
            kind: StoreKind::Sqlite,
            servers: Vec::new(),
            monitor: Vec::new(),
            sync: StoreSync::Checked,
            node: None,
            stream: "HERMETIC".into(),
            replicas: 3,
            lease: 15,
            maildirs: Maildirs::Bound,
            user: None,
            password_file: None,
            credentials: None,
            roots: None,
            certificate: None,
            key: None,
        }
    }
}

impl Config {
    /// This node's name.
    #[must_use]
    pub fn node(&self) -> String {
        self.store.node.clone().unwrap_or_else(|| self.name.replace('.', "-"))
    }

    /// The node that alone can deliver to this canonical mailbox, if there is one.
    #[must_use]
    pub fn node_of(&self, mailbox: &str) -> Option<String> {
        if self.store.maildirs == Maildirs::Shared {
            return None;
        }
        let name = domain::of_address(mailbox)?;
        let domain = self.domains.iter().find(|domain| domain.name == name)?;
        domain.node.clone().filter(|_| matches!(domain.delivery(), Ok(Delivery::Maildir)))
    }
}

/// A level of a subject.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

/// What is to say about `[store]`.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let store = &config.store;
    let mut found = Vec::new();
    let mut error = |key: &str, text: String| {
        found.push(Finding { error: true, path: vec!["store".into(), key.into()], text });
    };
    if store.kind == StoreKind::Sqlite {
        if *store != StoreKeys::default() {
            error("kind", "the other keys of [store] are for kind = \"jetstream\"; set that, or leave them out".into());
        }
        return found;
    }
    if store.servers.is_empty() {
        error("servers", "name the NATS servers, such as [\"nats://127.0.0.1:4222\"]".into());
    }
    if let Some(server) =
        store.servers.iter().find(|server| !server.starts_with("nats://") && !server.starts_with("tls://"))
    {
        error("servers", format!("{server:?} is no NATS server; write nats://HOST:PORT, or tls://HOST:PORT for TLS"));
    }
    // What is in an address is in every log line that names it.
    if store.servers.iter().any(|server| server.contains('@')) {
        error("servers", "a login has no place in an address, which is logged; use `user` and `password-file`".into());
    }
    let tls = store.servers.iter().filter(|server| server.starts_with("tls://")).count();
    if tls != 0 && tls != store.servers.len() {
        error("servers", "either all servers are reached by tls:// or none".into());
    }
    if let Some(url) = store.monitor.iter().find(|url| !url.starts_with("http://")) {
        error("monitor", format!("{url:?} is no monitoring port; write http://HOST:8222"));
    }
    if store.sync == StoreSync::Checked && store.monitor.is_empty() {
        error(
            "monitor",
            "name the monitoring port of each NATS server, such as [\"http://127.0.0.1:8222\"], so that it can be seen whether they \
             sync what they acknowledge; or declare it with sync = \"declared\""
                .into(),
        );
    }
    let node = config.node();
    if !is_name(&node) || node == "any" {
        error("node", format!("{node:?} can not be a node's name; use letters, digits and -, and not \"any\""));
    }
    if !is_name(&store.stream) {
        error("stream", format!("{:?} can not be a stream's name; use letters, digits and -", store.stream));
    }
    if !matches!(store.replicas, 1 | 3 | 5) {
        error("replicas", format!("{} copies are not possible; use 3, or 5, or 1 to try it out", store.replicas));
    }
    if !(3..=60).contains(&store.lease) {
        error("lease", format!("{} is out of bounds; use 3 to 60 seconds", store.lease));
    }
    if store.user.is_some() && store.password_file.is_none() {
        error("user", "a login needs its password; add `password-file`".into());
    }
    if store.credentials.is_some() && store.password_file.is_some() {
        error("credentials", "one login is enough; leave out either `credentials` or `password-file`".into());
    }
    if store.certificate.is_some() != store.key.is_some() {
        error("certificate", "a certificate needs its private key, and a key its certificate".into());
    }
    for (number, domain) in config.domains.iter().enumerate() {
        let bound = store.maildirs == Maildirs::Bound && matches!(domain.delivery(), Ok(Delivery::Maildir));
        let path = vec!["domain".into(), number.to_string(), "node".into()];
        match &domain.node {
            None if bound => found.push(Finding {
                error: true,
                path,
                text: format!(
                    "say which node has the Maildirs of {}, such as {node:?}; or set store.maildirs = \"shared\" if all nodes have them",
                    domain.name
                ),
            }),
            Some(name) if !is_name(name) || name == "any" => {
                found.push(Finding { error: true, path, text: format!("{name:?} can not be a node's name") });
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::path::Path;

    use super::*;

    fn said(store: &str, domain: &str) -> String {
        let text = format!(
            "name = \"mx.example.org\"\n[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:2525\"\n\
             [[domain]]\nname = \"example.org\"\nmailboxes = [\"anna\", \"postmaster\"]\n{domain}\n[store]\n{store}\n"
        );
        match Config::parse(&text, Path::new("x.toml")) {
            Ok(_) => "good".into(),
            Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let all =
            "kind = \"jetstream\"\nservers = [\"nats://127.0.0.1:4222\"]\nmonitor = [\"http://127.0.0.1:8222\"]\n";
        let here = "node = \"mx-example-org\"";
        for (store, domain, expected) in [
            (String::new(), "", "good"),
            (all.to_owned(), here, "good"),
            (format!("{all}maildirs = \"shared\""), "", "good"),
            (all.to_owned(), "deliver = \"lmtp:127.0.0.1:24\"", "good"),
            (all.to_owned(), "", "say which node has the Maildirs of example.org, such as \"mx-example-org\""),
            (all.to_owned(), "node = \"a.b\"", "\"a.b\" can not be a node's name"),
            ("servers = [\"nats://127.0.0.1:4222\"]".into(), here, "are for kind = \"jetstream\""),
            ("kind = \"jetstream\"\nsync = \"declared\"".into(), here, "name the NATS servers"),
            (all.replace("nats://", ""), here, "is no NATS server"),
            (all.replace("127.0.0.1:4222", "a:b@127.0.0.1:4222"), here, "a login has no place in an address"),
            (all.replace("monitor", "#"), here, "name the monitoring port of each NATS server"),
            (all.replace("monitor", "sync = \"weak\" #"), here, "good"),
            (all.replace("http:", "https:"), here, "is no monitoring port"),
            (format!("{all}node = \"any\""), here, "\"any\" can not be a node's name"),
            (format!("{all}replicas = 2"), here, "2 copies are not possible"),
            (format!("{all}lease = 1"), here, "1 is out of bounds"),
            (format!("{all}user = \"a\""), here, "a login needs its password"),
            (format!("{all}credentials = \"a\"\npassword-file = \"b\""), here, "one login is enough"),
            (format!("{all}key = \"a\""), here, "a certificate needs its private key"),
            (format!("{all}stream = \"a.b\""), here, "can not be a stream's name"),
        ] {
            let said = said(&store, domain);
            assert!(said.contains(expected), "{store}: {said}");
        }
    }

    #[test]
    fn who_delivers() {
        let mut config = Config::local_default();
        config.domains[0].node = Some("mx1".into());
        assert_eq!(config.node_of("anna@localhost").as_deref(), Some("mx1"));
        assert_eq!(config.node_of("anna@example.test"), None);
        config.store.maildirs = Maildirs::Shared;
        assert_eq!(config.node_of("anna@localhost"), None);
        config.name = "mx.example.org".into();
        assert_eq!(config.node(), "mx-example-org");
    }
}
