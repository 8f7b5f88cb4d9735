//! A scenario: what a plugin is put before, and what is expected of it, as TOML.
//!
//! Owns the format, which `guest-plugins/TESTING.md` explains. Refuses to run anything. Fails with file, line and what is
//! wrong with it.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;

use crate::{
    config::plugins::{Grants, OnFailure, Plugin as Configured, PluginLimits},
    dns::Told,
    plugin::hook::{Hook, State},
};

/// The time at which a scenario begins unless it says so: 2026-01-01, 00:00 UTC, in seconds since 1970.
const START: u32 = 1_767_225_600;

/// Why a scenario can not be played.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// A file.
    #[error("{}: {problem}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        problem: String,
    },
    /// Something in it.
    #[error("step {step}: {problem}")]
    Step {
        /// Counted from 1.
        step: usize,
        /// What.
        problem: String,
    },
    /// What the DNS says.
    #[error("dns: {0}")]
    Network(String),
    /// The database of the plugin.
    #[error("the plugin's database: {0}")]
    Database(#[from] crate::plugin::BucketError),
}

/// A plugin's settings and what happens to it, step by step.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// What it shows, in a sentence.
    pub about: String,
    /// As `[[plugin]]` of the configuration.
    pub plugin: PluginPart,
    /// The session of every step.
    pub session: Session,
    /// When it begins, seconds since 1970.
    pub start: Option<u32>,
    /// What the plugin has kept before.
    pub keyvalue: BTreeMap<String, Kept>,
    /// What the DNS says; nothing else is there.
    pub dns: BTreeMap<String, Told>,
    /// What servers answer; the first that fits.
    pub http: Vec<Server>,
    /// One after the other.
    pub step: Vec<Step>,
}

/// What the operator says about the plugin.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "documented in config::plugins::Plugin")]
pub struct PluginPart {
    pub grants: Grants,
    pub limits: PluginLimits,
    pub on_failure: OnFailure,
    pub postmaster: bool,
    pub settings: BTreeMap<String, toml::Value>,
}

impl PluginPart {
    /// As the configuration would say it.
    ///
    /// # Errors
    /// A name that is none.
    pub fn configured(&self, name: &str, file: &Path) -> Result<Configured, String> {
        let mut table = toml::Table::new();
        table.insert("name".into(), name.into());
        table.insert("file".into(), file.display().to_string().into());
        let bare: Configured = table.try_into().map_err(|error: toml::de::Error| error.to_string())?;
        Ok(Configured {
            grants: self.grants.clone(),
            limits: self.limits.clone(),
            on_failure: self.on_failure,
            postmaster: self.postmaster,
            settings: self.settings.clone(),
            file: file.to_owned(),
            ..bare
        })
    }
}

/// A value of the plugin's database.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Kept {
    /// For ever.
    Text(String),
    /// For so many seconds.
    Expiring {
        /// The value.
        text: String,
        /// From the beginning on.
        seconds: u32,
    },
}

/// What a server answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Server {
    /// Requests for this, in which `*` stands for anything.
    pub url: String,
    /// With this method; none: any.
    #[serde(default)]
    pub method: Option<String>,
    /// 200, unless it is said.
    #[serde(default)]
    pub status: Option<u16>,
    /// Of the response.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// Of the response.
    #[serde(default)]
    pub body: String,
    /// It does not answer.
    #[serde(default)]
    pub unavailable: bool,
}

/// What is known of the session: `interface facts`. What is not said is as in [`Session::over`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "documented in wit/plugin/context.wit")]
pub struct Session {
    pub listener: Option<String>,
    pub listener_kind: Option<String>,
    pub client_address: Option<IpAddr>,
    pub unix: bool,
    pub client_name: Option<String>,
    pub hello_name: Option<String>,
    pub identity: Option<String>,
    pub tls_version: Option<String>,
}

impl Session {
    /// This, and where it says nothing, `other`.
    #[must_use]
    pub fn over(&self, other: &Self) -> Self {
        let or = |mine: &Option<String>, theirs: &Option<String>| mine.clone().or_else(|| theirs.clone());
        Self {
            listener: or(&self.listener, &other.listener),
            listener_kind: or(&self.listener_kind, &other.listener_kind),
            client_address: self.client_address.or(other.client_address),
            unix: self.unix || other.unix,
            client_name: or(&self.client_name, &other.client_name),
            hello_name: or(&self.hello_name, &other.hello_name),
            identity: or(&self.identity, &other.identity),
            tls_version: or(&self.tls_version, &other.tls_version),
        }
    }
}

/// What a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// MAIL, RCPT, and the content where there is a message.
    #[default]
    Mail,
    /// The queue's attempt to deliver the last message.
    Delivery,
    /// The report about it.
    Report,
}

/// One step.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// What it is.
    pub kind: Kind,
    /// Seconds since the step before.
    pub wait: u32,
    /// It goes on with the transaction of the step before, which had no message yet.
    pub continues: bool,
    /// What is different in this session.
    pub session: Session,
    /// The reverse-path; empty: the null reverse-path.
    pub from: String,
    /// The recipients.
    pub to: Vec<To>,
    /// As the parameter of MAIL; none: if an address needs it.
    pub smtputf8: Option<bool>,
    /// As the parameter BODY; none: what the content needs.
    pub body: Option<String>,
    /// As the parameter SIZE.
    pub size: Option<u64>,
    /// The message; its lines may end with LF.
    pub message: Option<String>,
    /// A file with the message, beside the scenario; its lines may end with LF.
    pub message_file: Option<PathBuf>,
    /// The message, octet by octet.
    pub message_base64: Option<String>,
    /// Of a delivery or a report: attempts so far.
    pub attempt: u32,
    /// Of a report.
    pub state: State,
    /// Of a report.
    pub status: Option<String>,
    /// Of a report.
    pub text: String,
    /// What is expected.
    pub expect: Vec<Expect>,
    /// The requests that are sent over HTTP: all, in their order, as `METHOD URL`, in which `*` stands for anything.
    pub requests: Option<Vec<String>>,
    /// What the plugin has kept afterwards.
    pub keyvalue: BTreeMap<String, KeptThen>,
}

impl Default for Step {
    fn default() -> Self {
        Self {
            kind: Kind::default(),
            wait: 0,
            continues: false,
            session: Session::default(),
            from: "sender@example.com".into(),
            to: vec![To::Text("recipient@example.org".into())],
            smtputf8: None,
            body: None,
            size: None,
            message: None,
            message_file: None,
            message_base64: None,
            attempt: 1,
            state: State::Delivered,
            status: None,
            text: String::new(),
            expect: Vec::new(),
            requests: None,
            keyvalue: BTreeMap::new(),
        }
    }
}

/// A recipient.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum To {
    /// A local one, whose mailbox is its address.
    Text(String),
    /// Another one.
    Full {
        /// As RCPT has it.
        address: String,
        /// Whose it is, if that differs.
        #[serde(default)]
        mailbox: Option<String>,
        /// It is of another server.
        #[serde(default)]
        relay: bool,
    },
}

impl To {
    /// As RCPT has it.
    #[must_use]
    pub fn address(&self) -> &str {
        match self {
            Self::Text(address) | Self::Full { address, .. } => address,
        }
    }
}

/// What a verdict is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "documented in wit/plugin/types.wit")]
pub enum Word {
    Proceed,
    Accept,
    Discard,
    Defer,
    Reject,
    Delivered,
    Retry,
    Fail,
}

/// What is expected of the calls of one hook; or, without a hook, of what became of recipients. What is left out is not
/// looked at. In texts `*` stands for anything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expect {
    /// Whose calls.
    pub hook: Option<Hook>,
    /// For this recipient; none: for each.
    pub to: Option<String>,
    /// False: the hook is not called at all.
    pub called: Option<bool>,
    /// What it says.
    pub verdict: Option<Word>,
    /// `4.7.1`.
    pub status: Option<String>,
    /// What the peer reads.
    pub text: Option<String>,
    /// The changes of the header, each a line: `+ Name: value` or `- Name: value`, all of them and in this order.
    pub edits: Option<Vec<String>>,
    /// Recipients instead of this one.
    pub redirect: Option<Vec<String>>,
    /// Recipients beside this one.
    pub add: Option<Vec<String>>,
    /// Why it is kept aside; empty: it is not.
    pub quarantine: Option<String>,
    /// Of a delivery: not before so many seconds.
    pub retry_after: Option<u32>,
    /// Lines of the log; there may be others.
    pub log: Vec<String>,
    /// Why it fails; without this a failure is never expected.
    pub failed: Option<String>,
    /// Calls of the host at most.
    pub calls_at_most: Option<usize>,
}

/// What is kept after a step.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum KeptThen {
    /// Is there something?
    There(bool),
    /// This text, in which `*` stands for anything.
    Text(String),
}

impl Scenario {
    /// Reads one, with the messages that are in files of their own.
    ///
    /// # Errors
    /// [`ScenarioError::File`].
    pub fn load(file: &Path) -> Result<Self, ScenarioError> {
        let problem = |problem: String| ScenarioError::File { file: file.to_owned(), problem };
        let text = fs::read_to_string(file).map_err(|error| problem(format!("can not be read: {error}")))?;
        let mut scenario: Self = toml::from_str(&text).map_err(|error| problem(error.to_string()))?;
        if scenario.step.is_empty() {
            return Err(problem("it has no [[step]], so nothing would happen".into()));
        }
        let folder = file.parent().unwrap_or(Path::new("."));
        for step in &mut scenario.step {
            if let Some(message) = &mut step.message_file {
                *message = folder.join(&*message);
            }
        }
        Ok(scenario)
    }

    /// When it begins, seconds since 1970.
    #[must_use]
    pub fn begins(&self) -> u32 {
        self.start.unwrap_or(START)
    }
}

impl Step {
    /// The message's octets, if it has one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn content(&self) -> Result<Option<Vec<u8>>, String> {
        match (&self.message, &self.message_file, &self.message_base64) {
            (None, None, None) => Ok(None),
            (Some(text), None, None) => Ok(Some(with_crlf(text.as_bytes()))),
            (None, Some(file), None) => {
                let octets = fs::read(file).map_err(|error| format!("{} can not be read: {error}", file.display()))?;
                Ok(Some(with_crlf(&octets)))
            }
            (None, None, Some(text)) => {
                let text: String = text.split_whitespace().collect();
                BASE64_STANDARD.decode(text).map(Some).map_err(|error| format!("message-base64: {error}"))
            }
            _ => Err("message, message-file and message-base64 exclude each other".into()),
        }
    }
}

/// As a server gets it.
#[must_use]
pub fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(octets.len() + octets.len() / 32);
    for &octet in octets {
        if octet == b'\n' && content.last() != Some(&b'\r') {
            content.push(b'\r');
        }
        content.push(octet);
    }
    content
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let content = |step: &str| toml::from_str::<Step>(step).unwrap().content();
        assert_eq!(content(""), Ok(None));
        assert_eq!(content("message = \"A: 1\\n\\r\\nb\\r\\n\""), Ok(Some(b"A: 1\r\n\r\nb\r\n".to_vec())));
        assert_eq!(content("message-base64 = \"AAoN\\nCg==\""), Ok(Some(vec![0, b'\n', b'\r', b'\n'])));
        assert!(content("message-base64 = \"?\"").unwrap_err().contains("message-base64"));
        assert!(content("message-file = \"/no/such\"").unwrap_err().contains("/no/such"));
        assert!(content("message = \"\"\nmessage-base64 = \"\"").unwrap_err().contains("exclude each other"));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("one.toml");
        for (text, named) in [
            ("", "no [[step]]"),
            ("[[step]]\nform = \"a\"\n", "line 2"),
            ("[[step]]\n[[step.expect]]\nverdict = \"maybe\"\n", "maybe"),
            ("[plugin]\ngrants = { fly = true }\n[[step]]\n", "fly"),
        ] {
            fs::write(&file, text).unwrap();
            let error = Scenario::load(&file).unwrap_err().to_string();
            assert!(error.starts_with(&file.display().to_string()) && error.contains(named), "{text}: {error}");
        }
    }
}
