//! What an operator does with entries: which ones are meant, what is wanted of them, and what came of it.
//!
//! Owns the words and which entry a [`Filter`] means. Refuses to know who asks and how entries are kept. Nothing here
//! fails: what can not be done is a [`Changed`].

use std::{ops::Range, str::FromStr, sync::Arc};

use super::{Address, EntryId, Envelope, Listed, MessageId, NewEntry, Pending, Timestamp, Verdicts};

/// Whether an entry is worked on or waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// Due at some time.
    Queued,
    /// Being worked on.
    Leased,
    /// Waits for an operator.
    Held,
    /// Of an earlier version: delivered, and its sender was not told.
    Owed,
}

impl EntryState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Queued, Self::Leased, Self::Held, Self::Owed];

    /// As [`Listed::state`] has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Held => "held",
            Self::Owed => "owed",
        }
    }
}

impl FromStr for EntryState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no state; use one of queued, leased, held, owed"))
    }
}

impl FromStr for EntryId {
    type Err = String;

    /// `ULID.index`, as it is displayed.
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('.').and_then(|(message, index)| {
            let digits = !index.is_empty() && index.bytes().all(|octet| octet.is_ascii_digit());
            let index = index.parse().ok().filter(|_| digits)?;
            Some(Self { message: MessageId::from_string(message).ok()?, index })
        });
        parsed.ok_or_else(|| format!("{text:?} is no entry of the queue, such as 01M8756VKN000395ZBJ89VS1ZC.0"))
    }
}

/// Which entries. All that is given must be so; nothing given means every entry. Case never matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In one of these states; none: in any.
    pub states: Vec<EntryState>,
    /// The reverse-path: an address, `@domain`, or `<>`.
    pub sender: Option<String>,
    /// The recipient: an address or `@domain`.
    pub recipient: Option<String>,
    /// The recipient's domain.
    pub domain: Option<String>,
    /// Of this message.
    pub message: Option<MessageId>,
    /// These began to arrive at this time or after: what the message's id says.
    pub since: Option<Timestamp>,
    /// These began to arrive before this time.
    pub before: Option<Timestamp>,
    /// A part of the reason why it is in its state, or of what is pending.
    pub reason: Option<String>,
}

impl Filter {
    /// Does it mean this state?
    #[must_use]
    pub fn state(&self, state: &str) -> bool {
        self.states.is_empty() || self.states.iter().any(|one| one.as_str() == state)
    }

    /// Does it mean this recipient?
    #[must_use]
    pub fn recipient(&self, recipient: &Address) -> bool {
        let domain = self.domain.as_ref();
        domain.is_none_or(|domain| domain.to_lowercase() == recipient.domain.to_lowercase())
            && self.recipient.as_deref().is_none_or(|wanted| is(wanted, &recipient.to_string()))
    }

    /// Does it mean this reverse-path?
    #[must_use]
    pub fn sender(&self, sender: Option<&Address>) -> bool {
        let shown = || sender.map_or_else(|| "<>".into(), ToString::to_string);
        self.sender.as_deref().is_none_or(|wanted| is(wanted, &shown()))
    }

    /// Does it mean an entry of which this is said?
    #[must_use]
    pub fn reason(&self, reason: Option<&str>, pending: &Pending) -> bool {
        let Some(wanted) = &self.reason else { return true };
        let pending = match pending {
            Pending::Nothing | Pending::Expanded => None,
            Pending::Rejudge { reason, .. } | Pending::Bounce { reason, .. } => Some(reason.as_str()),
        };
        let wanted = wanted.to_lowercase();
        [reason, pending].into_iter().flatten().any(|said| said.to_lowercase().contains(&wanted))
    }

    /// The times that it means.
    #[must_use]
    pub fn times(&self) -> Range<Timestamp> {
        self.since.unwrap_or(0)..self.before.unwrap_or(Timestamp::MAX)
    }
}

/// An address, or all of a domain.
fn is(wanted: &str, shown: &str) -> bool {
    let (wanted, shown) = (wanted.to_lowercase(), shown.to_lowercase());
    if wanted.starts_with('@') { shown.ends_with(&wanted) } else { shown == wanted }
}

/// A part of the queue, in the order of the ids.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What the filter means.
    pub entries: Vec<Listed>,
    /// The last entry that was looked at, if there may be more behind it. A page may be empty and not the last: only so
    /// many entries are looked at for one.
    pub next: Option<EntryId>,
}

/// A message with all of its entries.
#[derive(Clone, Debug)]
pub struct Details {
    /// The message.
    pub id: MessageId,
    /// Its envelope.
    pub envelope: Arc<Envelope>,
    /// Its entries that are not done, in their order.
    pub entries: Vec<Detail>,
}

/// One entry of a message.
#[derive(Clone, Debug)]
pub struct Detail {
    /// As a list shows it.
    pub listed: Listed,
    /// As it was accepted.
    pub entry: NewEntry,
    /// It is known to be late.
    pub late: bool,
}

/// What is wanted of an entry. An entry that is being worked on is never changed: whoever works on it settles it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// What is queued is due now; what its sender wants to go at a later time is not (RFC 4865).
    Retry,
    /// What is queued is held.
    Hold {
        /// Who, and why.
        reason: String,
    },
    /// What is held is due now, or when its sender wants it to go.
    Release,
    /// It is gone, and its sender is not told.
    Drop {
        /// Who, and why: for `hermetic why`.
        record: Verdicts,
        /// What plugins are to be told, as [`Outcome::report`](super::Outcome::report).
        report: Option<String>,
    },
    /// It fails as soon as the queue gets to it, and its sender is told.
    Bounce {
        /// RFC 3463, class 5.
        status: String,
        /// For the sender.
        reason: String,
        /// Who, and why: for `hermetic why`.
        record: Verdicts,
    },
}

/// What came of a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was done.
    Done,
    /// It is so already, or there is nothing in this entry to be changed so.
    Unneeded,
    /// Not done: it is being worked on.
    Leased,
    /// Not retried: it is held, and has to be released.
    Held,
    /// Not retried: the time that its sender has chosen is still to come.
    Early,
    /// Not bounced: nobody sent it. RFC 5321 section 4.5.5.
    NoSender,
    /// There is no such entry (any more).
    Gone,
}

impl Changed {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Done, Self::Unneeded, Self::Leased, Self::Held, Self::Early, Self::NoSender, Self::Gone];

    /// One word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unneeded => "unneeded",
            Self::Leased => "leased",
            Self::Held => "held",
            Self::Early => "early",
            Self::NoSender => "no-sender",
            Self::Gone => "gone",
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn entries_by_name() {
        let id = EntryId { message: MessageId::from(7u128), index: 12 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", ".", "00000000000000000000000007", "00000000000000000000000007.", "x.0", "0.0"] {
            assert!(wrong.parse::<EntryId>().is_err(), "{wrong:?}");
        }
        for wrong in ["+1", "-1", "1 ", "4294967296"] {
            assert!(format!("00000000000000000000000007.{wrong}").parse::<EntryId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_a_filter_means() {
        let anna = Address { local: "Anna b".into(), domain: "Example.test".into() };
        let wanted = |filter: &Filter| {
            filter.sender(Some(&anna))
                && filter.recipient(&anna)
                && filter.reason(Some("451 4.2.1 Full"), &Pending::Nothing)
        };
        let some = |text: &str| Some(text.to_owned());
        let none = Filter::default();
        for (filter, expected) in [
            (none.clone(), true),
            (Filter { sender: some("\"anna B\"@EXAMPLE.test"), ..none.clone() }, true),
            (Filter { sender: some("@example.test"), ..none.clone() }, true),
            (Filter { sender: some("@ample.test"), ..none.clone() }, false),
            (Filter { sender: some("example.test"), ..none.clone() }, false),
            (Filter { sender: some("<>"), ..none.clone() }, false),
            (Filter { recipient: some("\"anna b\"@example.test"), ..none.clone() }, true),
            (Filter { recipient: some("b@example.test"), ..none.clone() }, false),
            (Filter { domain: some("EXAMPLE.test"), ..none.clone() }, true),
            (Filter { domain: some("ample.test"), ..none.clone() }, false),
            (Filter { reason: some("full"), ..none.clone() }, true),
            (Filter { reason: some("empty"), domain: some("example.test"), ..none.clone() }, false),
        ] {
            assert_eq!(wanted(&filter), expected, "{filter:?}");
        }
        assert!(Filter { sender: some("<>"), ..none.clone() }.sender(None));
        assert!(!Filter { sender: some("@example.test"), ..none.clone() }.sender(None));
        let again = Pending::Rejudge { transaction: String::new(), reason: "Greylisted".into(), asked: None };
        let grey = Filter { reason: some("greylist"), ..none };
        assert_eq!((grey.reason(None, &again), grey.reason(None, &Pending::Nothing)), (true, false));
    }
}
