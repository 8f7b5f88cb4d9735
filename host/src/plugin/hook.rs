//! What a plugin is asked and may answer: `wit/plugin` in the host's own words.
//!
//! Owns the verdicts, the facts and the edits. Refuses to know WebAssembly and SMTP. Whoever runs plugins implements
//! [`Plugin`] and [`Phase`]; whoever asks them does not know how they run.

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use crate::edit::Edit;

/// Why something is deferred or refused; the class comes from the verdict (RFC 3463).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// 0 to 7.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
    /// One clean line, at most 400 octets; never empty.
    pub text: String,
}

/// What any hook before delivery says. [`Verdict::Discard`] comes from hooks after the content only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The next plugin is asked.
    Proceed,
    /// No later one is.
    Accept,
    /// Accepted and not delivered.
    Discard,
    /// 4yz.
    Defer(Reason),
    /// 5yz.
    Reject(Reason),
}

/// The hooks that a plugin may export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "documented in wit/plugin/hooks.wit")]
pub enum Hook {
    Connection,
    Sender,
    Recipient,
    Message,
    RecipientMessage,
    Delivery,
    Report,
}

impl Hook {
    /// All of them, in the order in which a message meets them.
    pub const ALL: [Self; 7] = [
        Self::Connection,
        Self::Sender,
        Self::Recipient,
        Self::Message,
        Self::RecipientMessage,
        Self::Delivery,
        Self::Report,
    ];

    /// As the WIT's interface is called: `on-` and this.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Sender => "sender",
            Self::Recipient => "recipient",
            Self::Message => "message",
            Self::RecipientMessage => "recipient-message",
            Self::Delivery => "delivery",
            Self::Report => "report",
        }
    }
}

/// What is known of the session and the envelope: `interface facts`. Addresses are in display form.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "documented in wit/plugin/context.wit")]
pub struct Facts {
    pub transaction_id: String,
    pub listener: String,
    pub listener_kind: String,
    pub client_address: Option<IpAddr>,
    pub client_name: Option<String>,
    pub hello_name: Option<String>,
    pub identity: Option<String>,
    pub tls_version: Option<String>,
    /// Some of the empty string is the null reverse-path.
    pub reverse_path: Option<String>,
    pub body_type: String,
    pub smtputf8: bool,
    pub message_size: u64,
    /// For the hook `delivery`: `interface attempt`.
    pub attempt: Option<Attempt>,
    /// For the hook `report`: `interface fate`.
    pub report: Option<Report>,
    /// Where it is written down what plugins are asked, if the session is recorded.
    pub witness: Option<Arc<super::ledger::Witness>>,
}

/// The queue's attempt that a delivery hook is called for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented in wit/plugin/context.wit")]
pub struct Attempt {
    pub idempotency_key: String,
    /// Counted from 1.
    pub number: u32,
    /// Seconds since 1970.
    pub queued_at: u32,
}

/// What became of the recipient that a report hook is called for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented in wit/plugin/context.wit")]
pub struct Report {
    pub state: State,
    /// `5.1.1`.
    pub status: Option<String>,
    pub text: String,
    pub attempts: u32,
}

/// The states of `interface fate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "they say it")]
pub enum State {
    Delivered,
    Discarded,
    Deferred,
    Refused,
    Quarantined,
    Redirected,
    Failed,
    Expired,
}

impl State {
    /// As the WIT says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Discarded => "discarded",
            Self::Deferred => "deferred",
            Self::Refused => "refused",
            Self::Quarantined => "quarantined",
            Self::Redirected => "redirected",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }
}

/// The recipient that a hook is called for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented in wit/plugin/context.wit")]
pub struct Forward {
    pub forward_path: String,
    pub mailbox: Option<String>,
}

/// What a recipient's hooks asked for beside the verdict; each hook gets what earlier ones left and returns its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// In the order in which they were made.
    pub edits: Vec<Edit>,
    /// Instead of this recipient these.
    pub redirect: Option<Vec<String>>,
    /// And these.
    pub add: Vec<String>,
    /// Keep aside, for this reason.
    pub quarantine: Option<String>,
    /// An answer to the sender, header and all, with CRLF line ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Vec<u8>>,
}

/// A message's octets for hooks after the content, shared by all of them.
#[derive(Debug)]
pub struct Message {
    /// The trace fields that the host puts above, with their CRLFs.
    pub prefix: Vec<u8>,
    /// Header and body as they came.
    pub content: Vec<u8>,
}

/// How a call went, for `hermetic why`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of its component, in hexadecimal.
    pub hash: String,
    /// Which hook.
    pub hook: Hook,
    /// What it said; the failure policy's verdict where it failed. Of a delivery, [`Verdict::Accept`] is delivered.
    pub verdict: Verdict,
    /// Of a delivery that may work later: not before so many seconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// Why it failed, if it did: trap, deadline, memory, budget.
    pub failure: Option<String>,
    /// How long it took.
    pub time: Duration,
    /// Linear memory at its end, octets.
    pub memory: u64,
}

/// A loaded plugin.
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// As it is configured.
    fn name(&self) -> &str;
    /// SHA-256 of the component in hexadecimal.
    fn hash(&self) -> &str;
    /// What it exports.
    fn hooks(&self) -> &[Hook];
    /// Its hook `delivery` delivers for its recipients: it has the hook, and the operator grants that.
    fn delivers(&self) -> bool {
        self.hooks().contains(&Hook::Delivery)
    }
    /// A fresh instance for one phase of one transaction (the envelope, or the message). It never outlives a wait for the
    /// client. `scratch` goes from phase to phase of the same transaction.
    fn phase(self: Arc<Self>, facts: Arc<Facts>, scratch: Scratch, message: Option<Arc<Message>>) -> Box<dyn Phase>;
}

/// What a plugin's hooks leave for later ones of the same transaction: name and octets.
pub type Scratch = Arc<parking_lot::Mutex<std::collections::BTreeMap<String, Vec<u8>>>>;

/// One phase. After a trap the next call gets a fresh instance.
#[async_trait]
pub trait Phase: Send {
    /// Calls one hook; never fails, for a failure is a verdict by the plugin's failure policy. `forward` is the recipient,
    /// `recipients` are those of this plugin that were accepted so far, `wishes` what was asked for before; what this
    /// call asks for is added only where it succeeds and its verdict lets the recipient go on.
    async fn call(&mut self, hook: Hook, forward: Option<&Forward>, recipients: &[String], wishes: &mut Wishes) -> Ran;
}
