//! What plugins said, as a reply and as a record.

use serde::{Deserialize, Serialize};

use crate::{
    engine::types::Refusal,
    plugin::hook::{Ran, Reason, Verdict},
};

/// What whoever has to come apart is told.
const APART: &str = "This recipient's mail is judged apart; please send the message to it again.";

/// A hook that ran, for `hermetic why`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// How it went.
    pub ran: Ran,
    /// Changes of the header that it asked for.
    pub edits: usize,
}

/// How a recipient was judged, for `hermetic why`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Display form.
    pub recipient: String,
    /// What came of it, for people.
    pub outcome: String,
    /// Every hook that ran.
    pub steps: Vec<Step>,
    /// How its copies were judged that plugins sent on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<Record>,
}

/// What became of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Delivered.
    Accepted,
    /// Accepted and not delivered.
    Discarded,
    /// Not now, says this plugin.
    Deferred(String, Reason),
    /// Never, says this plugin.
    Refused(String, Reason),
    /// Not in this transaction: others than those who judge its first recipient judge this one.
    Apart,
}

impl Fate {
    /// What a final verdict makes of a recipient; None: the next plugin is asked.
    #[must_use]
    pub fn of(plugin: &str, verdict: &Verdict) -> Option<Self> {
        match verdict {
            Verdict::Proceed => None,
            Verdict::Accept => Some(Self::Accepted),
            Verdict::Discard => Some(Self::Discarded),
            Verdict::Defer(reason) => Some(Self::Deferred(plugin.to_owned(), reason.clone())),
            Verdict::Reject(reason) => Some(Self::Refused(plugin.to_owned(), reason.clone())),
        }
    }

    /// A positive reply.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted | Self::Discarded)
    }

    /// The negative reply, if it is one. RFC 5321 section 4.2.1: 4yz and 5yz.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        let (code, reason) = match self {
            Self::Accepted | Self::Discarded => return None,
            Self::Deferred(_, reason) => (451, reason),
            Self::Refused(_, reason) => (550, reason),
            // RFC 5321 section 4.5.3.1.10: the client sends to the rest in another transaction.
            Self::Apart => return Some(Refusal { code: 452, subject: 5, detail: 3, text: APART.into() }),
        };
        // What the runtime let through is within these bounds; the engine would end the session over more.
        let (subject, detail) = (reason.subject.min(7), reason.detail.min(999));
        Some(Refusal { code, subject, detail, text: reason.text.clone() })
    }

    /// Why the entry of a recipient is held that could not be answered by itself, because another one was accepted.
    #[must_use]
    pub fn held(&self) -> Option<String> {
        match self {
            Self::Accepted | Self::Discarded | Self::Apart => None,
            Self::Deferred(plugin, reason) => Some(format!("deferred by plugin {plugin}: {}", reason.text)),
            Self::Refused(plugin, reason) => Some(format!("refused by plugin {plugin}: {}", reason.text)),
        }
    }

    /// For `hermetic why`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Accepted => "accepted".into(),
            Self::Discarded => "accepted and discarded".into(),
            Self::Deferred(..) | Self::Refused(..) => self.held().unwrap_or_default(),
            Self::Apart => {
                "told to come in another transaction, as other plugins judge it than the first recipient".into()
            }
        }
    }
}

/// One reply stands for all (plain SMTP), it is positive, and some of the recipients were not accepted: theirs must not
/// vanish.
#[must_use]
pub fn mixed(fates: &[Fate]) -> bool {
    fates.iter().any(Fate::is_accepted) && !fates.iter().all(Fate::is_accepted)
}
