//! Which sessions are kept as files.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Config, Network, plugins::Pattern, validate::Finding};

/// Why a session is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Something went wrong.
    OnError,
    /// It is one of those that were drawn.
    Sampled,
    /// It is of those that are looked for.
    Matching,
}

impl Keep {
    /// As it is written in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnError => "on-error",
            Self::Sampled => "sampled",
            Self::Matching => "matching",
        }
    }
}

/// What becomes of addresses in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addresses {
    /// They stay.
    #[default]
    Kept,
    /// Others of the same length and grammar stand in their place.
    Masked,
}

/// Sessions as files. Without `keep` there are none.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Record {
    /// Which.
    pub keep: Vec<Keep>,
    /// Where.
    pub folder: PathBuf,
    /// What part of all sessions is drawn.
    pub share: f64,
    /// Of these clients only.
    pub clients: Vec<Network>,
    /// At these listeners only.
    pub listeners: Vec<String>,
    /// With mail from or to these only.
    pub mail: Vec<String>,
    /// Content stays readable.
    pub bodies: bool,
    /// Addresses stay readable, or not.
    pub addresses: Addresses,
    /// Octets that are held of one session.
    pub largest: usize,
    /// Octets that are held of all.
    pub memory: usize,
    /// Files in the folder.
    pub files: usize,
    /// Octets in the folder.
    pub octets: u64,
    /// Seconds until a file is removed.
    pub expire: u64,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            keep: Vec::new(),
            folder: "sessions".into(),
            share: 0.01,
            clients: Vec::new(),
            listeners: Vec::new(),
            mail: Vec::new(),
            bodies: false,
            addresses: Addresses::Kept,
            largest: 1 << 20,
            memory: 64 << 20,
            files: 1000,
            octets: 256 << 20,
            expire: 604_800,
        }
    }
}

impl Record {
    /// Where the files are.
    #[must_use]
    pub fn place(&self, data: &Path) -> PathBuf {
        data.join(&self.folder)
    }

    /// Something is kept at all.
    #[must_use]
    pub fn keeps(&self, keep: Keep) -> bool {
        self.keep.contains(&keep)
    }
}

/// What is to say about `[record]`.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let one = &config.record;
    let mut found = Vec::new();
    let mut add = |error: bool, key: &str, text: String| {
        found.push(Finding { error, path: vec!["record".into(), key.into()], text });
    };
    if one.folder.as_os_str().is_empty() {
        add(true, "folder", "the path is empty; name a folder such as \"sessions\"".into());
    }
    if !(one.share > 0.0 && one.share <= 1.0) {
        add(
            true,
            "share",
            format!("{} is no part of all sessions; write 1 for all, 0.01 for one in a hundred", one.share),
        );
    }
    for pattern in &one.mail {
        if let Err(problem) = Pattern::parse(pattern) {
            add(true, "mail", problem);
        }
    }
    for (key, value, least) in [
        ("largest", one.largest as u64, 4096),
        ("memory", one.memory as u64, one.largest as u64),
        ("files", one.files as u64, 1),
        ("octets", one.octets, 4096),
        ("expire", one.expire, 1),
    ] {
        if value < least {
            add(true, key, format!("{value} is too little to keep anything; use at least {least}"));
        }
    }
    for name in &one.listeners {
        if !config.listeners.iter().any(|listener| listener.label() == *name) {
            let known: Vec<_> = config.listeners.iter().map(super::Listener::label).collect();
            add(true, "listeners", format!("there is no listener {name:?}; there are {}", known.join(", ")));
        }
    }
    let looks = !(one.clients.is_empty() && one.listeners.is_empty() && one.mail.is_empty());
    if one.keeps(Keep::Matching) && !looks {
        add(true, "keep", "`matching` wants `clients`, `listeners` or `mail`, or every session would match".into());
    }
    if looks && !one.keeps(Keep::Matching) {
        add(false, "keep", "`clients`, `listeners` and `mail` count only with `matching`".into());
    }
    if !one.keep.is_empty() && one.bodies && one.addresses == Addresses::Masked {
        add(false, "addresses", "content is kept as it is, and may name addresses that are masked elsewhere".into());
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_work_is_refused() {
        for (text, expected) in [
            ("", ""),
            ("keep = [\"on-error\", \"sampled\"]", ""),
            (
                "keep = [\"matching\"]\nclients = [\"192.0.2.0/24\"]\nmail = [\"anna@example.org\", \"@example.net\"]",
                "",
            ),
            ("keep = [\"matching\"]", "record.keep: `matching` wants"),
            ("clients = [\"192.0.2.1\"]", "record.keep: `clients`, `listeners` and `mail` count only"),
            ("share = 0.0", "record.share: 0 is no part"),
            ("share = 1.5", "record.share: 1.5 is no part"),
            ("share = nan", "record.share"),
            ("folder = \"\"", "record.folder"),
            ("largest = 10", "record.largest: 10 is too little"),
            ("memory = 5000", "record.memory: 5000 is too little"),
            ("expire = 0", "record.expire"),
            ("mail = [\"example.org\"]", "record.mail: \"example.org\" has no domain"),
            ("listeners = [\"inbound\"]", "record.listeners: there is no listener \"inbound\"; there are"),
            ("keep = [\"sampled\"]\nbodies = true\naddresses = \"masked\"", "record.addresses: content is kept"),
        ] {
            let record: Record = toml::from_str(text).unwrap();
            let config = Config { record, ..Config::local_default() };
            let shown: Vec<_> = findings(&config).iter().map(ToString::to_string).collect();
            let fits = if expected.is_empty() { shown.is_empty() } else { shown.join("\n").contains(expected) };
            assert!(fits, "{text}: {shown:?}");
        }
        assert!(toml::from_str::<Record>("keep = [\"always\"]").is_err());
    }
}
