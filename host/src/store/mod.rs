//! The store's contract: bodies, entries and their states change together, and `accept` returns only when the message
//! is on stable storage.
//!
//! Owns the words: message, entry, lease, settlement. Refuses to know SMTP and Maildirs. Fails with [`StoreError`], which is
//! never the peer's fault. The states, and what a crash does to each, are drawn in [`sqlite`].

pub(crate) mod durable;
pub mod jetstream;
pub mod manage;
pub mod sqlite;

use std::{fmt, fmt::Write as _, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use self::jetstream::Placement;
pub use self::manage::{Change, Changed, Detail, Details, EntryState, Filter, Page};
pub use crate::edit::Edit;

/// A message's id: a ULID, so ids sort by time. Shown to peers ("queued as") and operators.
pub type MessageId = ulid::Ulid;

/// Milliseconds since the Unix epoch.
pub type Timestamp = u64;

/// An address, parsed. Its display form quotes the local part where RFC 5321 needs it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    /// Unquoted.
    pub local: String,
    /// A domain as it was written, or `[literal]` with its brackets. Empty for a bare `postmaster`.
    pub domain: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 5321 section 4.1.2: a Dot-string needs no quotes; RFC 6531 section 3.3 adds what is not ASCII.
        let atom = |atom: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
            !atom.is_empty() && atom.chars().all(|c| plain(c) || (!c.is_ascii() && !c.is_control()))
        };
        if self.local.split('.').all(atom) {
            f.write_str(&self.local)?;
        } else {
            f.write_char('"')?;
            // What no quoted string may hold can not have come from a parsed address; it must not break a line.
            for c in self.local.chars().filter(|c| !c.is_control()) {
                if matches!(c, '"' | '\\') {
                    f.write_char('\\')?;
                }
                f.write_char(c)?;
            }
            f.write_char('"')?;
        }
        if !self.domain.is_empty() {
            f.write_char('@')?;
            self.domain.chars().filter(|c| !c.is_control()).try_for_each(|c| f.write_char(c))?;
        }
        Ok(())
    }
}

/// BODY= of MAIL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "RFC 6152, RFC 3030")]
pub enum BodyKind {
    #[default]
    SevenBit,
    EightBitMime,
    BinaryMime,
}

/// RET= of MAIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "RFC 3461 section 4.3")]
pub enum ReturnContent {
    Full,
    Headers,
}

/// NOTIFY= of RCPT; all false is NEVER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "RFC 3461 section 4.1")]
pub struct Notify {
    pub success: bool,
    pub failure: bool,
    pub delay: bool,
}

/// HOLDFOR= or HOLDUNTIL= of MAIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "RFC 4865: seconds, and seconds since the Unix epoch")]
pub enum Hold {
    For(u32),
    Until(u64),
}

/// BY= of MAIL. RFC 2852.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliverBy {
    /// The time that was left when it was accepted, or will be when it is released.
    pub seconds: i32,
    /// `R`: it goes back when that is over. Otherwise its sender is told.
    pub returns: bool,
    /// `T`: the sender is told of each relay.
    pub trace: bool,
}

/// When a message is to go. Almost always nothing of it was said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// HOLDFOR= or HOLDUNTIL=.
    #[serde(default)]
    pub hold: Option<Hold>,
    /// BY=.
    #[serde(default)]
    pub deliver_by: Option<DeliverBy>,
    /// MT-PRIORITY=, as it was granted: -9 to 9. RFC 6710.
    #[serde(default)]
    pub priority: Option<i8>,
}

/// All that is true of a message for all of its recipients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// None is the null reverse-path.
    pub reverse_path: Option<Address>,
    /// BODY=.
    pub body: BodyKind,
    /// SMTPUTF8 was given.
    pub smtputf8: bool,
    /// REQUIRETLS was given.
    pub require_tls: bool,
    /// RET=.
    pub ret: Option<ReturnContent>,
    /// ENVID=, decoded.
    pub envid: Option<String>,
    /// AUTH= of MAIL, decoded; `<>` as it is.
    pub submitter: Option<String>,
    /// Where the client is; none on a Unix socket.
    pub client: Option<IpAddr>,
    /// What the client called itself.
    pub hello: Option<String>,
    /// The login, if there was one.
    pub identity: Option<String>,
    /// The TLS version and cipher, if any.
    pub tls: Option<String>,
    /// The session's id, as on every log line.
    pub session: String,
    /// The listener's name.
    pub listener: String,
    /// When the content was complete.
    pub received_at: Timestamp,
    /// Octets of the content, without `prefix`.
    pub size: u64,
    /// The content has octets above 127.
    pub eight_bit: bool,
    /// Bare CR or LF in the content (only under BODY=BINARYMIME).
    pub bare_line_ends: bool,
    /// When it is to go.
    #[serde(default)]
    pub wishes: Wishes,
}

impl Envelope {
    /// When it was accepted, or is to be released: all other times are counted from here (RFC 4865).
    #[must_use]
    pub fn begins(&self) -> Timestamp {
        match self.wishes.hold {
            None => self.received_at,
            Some(Hold::For(seconds)) => self.received_at.saturating_add(u64::from(seconds) * 1000),
            Some(Hold::Until(time)) => self.received_at.max(time.saturating_mul(1000)),
        }
    }

    /// When the time of BY= is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let by = self.wishes.deliver_by?;
        Some(self.begins().saturating_add_signed(i64::from(by.seconds) * 1000))
    }

    /// When it is to be given back undelivered, if it is.
    #[must_use]
    pub fn returns_at(&self) -> Option<Timestamp> {
        self.deadline().filter(|_| self.wishes.deliver_by.is_some_and(|by| by.returns))
    }

    /// 0 is that of almost all mail.
    #[must_use]
    pub fn priority(&self) -> i8 {
        self.wishes.priority.unwrap_or_default()
    }
}

/// Where an entry goes. Paths are looked up at delivery, so that a changed configuration is obeyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// A local mailbox, canonical: `local@domain`, lower-case domain, without subaddress.
    Local(String),
    /// Needs outbound delivery.
    Relay,
}

impl Route {
    /// The mailbox, if it is local.
    #[must_use]
    pub fn mailbox(&self) -> Option<&str> {
        match self {
            Self::Local(mailbox) => Some(mailbox),
            Self::Relay => None,
        }
    }
}

/// A recipient of a message that is about to be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEntry {
    /// As the client gave it.
    pub recipient: Address,
    /// NOTIFY=.
    pub notify: Option<Notify>,
    /// ORCPT=: type and address, decoded.
    pub orcpt: Option<(String, String)>,
    /// Where to.
    pub route: Route,
    /// It is a copy that is sent on to another server: in a name of ours, if there is one when it goes (`srs.domain`). Notices
    /// of ours go to the envelope's.
    #[serde(default)]
    pub sent_on: bool,
    /// Held from the start, with the reason; never claimed until released.
    pub held: Option<String>,
    /// Changes of the header in this recipient's copy alone, in their order.
    #[serde(default)]
    pub edits: Vec<Edit>,
    /// What comes before delivery.
    #[serde(default)]
    pub pending: Pending,
}

/// What is still to be decided or told about an entry that was accepted for want of a reply of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pending {
    /// Nothing: deliver it.
    #[default]
    Nothing,
    /// A plugin deferred this recipient beside others that were accepted: its chain is asked again before delivery.
    Rejudge {
        /// What the plugins called the transaction.
        transaction: String,
        /// What was said.
        reason: String,
        /// What it had asked for by RCPT, beside the entry's edits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<Box<Asked>>,
    },
    /// A plugin refused this recipient beside others that were accepted, and the operator wants its sender told.
    Bounce {
        /// RFC 3463, class 5.
        status: String,
        /// For the sender.
        reason: String,
    },
    /// Others get it instead, and the sender, who wants to hear of success, is told that (RFC 3461 section 5.2.7).
    Expanded,
}

/// What a recipient's plugins asked for before the content: what is judged again goes on from there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Those who judge the envelope have yet to agree: they deferred somebody to whom a copy was to be sent on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub envelope: bool,
    /// Instead of this recipient these.
    pub redirect: Option<Vec<String>>,
    /// And these.
    pub add: Vec<String>,
    /// Keep aside, for this reason.
    pub quarantine: Option<String>,
    /// An answer to the sender.
    pub reply: Option<Vec<u8>>,
    /// Who asked for other recipients.
    pub forwarded_by: Option<String>,
    /// Who asked for it to be kept aside.
    pub quarantined_by: Option<String>,
}

impl NewEntry {
    /// Somebody who is due now, and of whom nothing more was said.
    #[must_use]
    pub fn to(recipient: Address, route: Route) -> Self {
        Self {
            recipient,
            notify: None,
            orcpt: None,
            route,
            sent_on: false,
            held: None,
            edits: Vec::new(),
            pending: Pending::Nothing,
        }
    }
}

/// How recipients of one message, or those of a batch that were refused, were judged: for `hermetic why`. One row, so
/// that a message with many recipients costs little more than one with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// What the judges called the transaction.
    pub transaction: String,
    /// The message, if it was accepted.
    pub message: Option<MessageId>,
    /// How many recipients this is about; at least 1.
    pub recipients: u32,
    /// What was said of each, in the form of whoever reads it.
    pub judged: String,
    /// When.
    pub at: Timestamp,
}

/// How long verdicts are kept.
pub const VERDICTS_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How many recipients' are kept.
pub const VERDICTS_MOST: u64 = 100_000;

/// One recipient of one message: `message` and its place in the order of RCPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId {
    /// The message.
    pub message: MessageId,
    /// Counted from 0.
    pub index: u32,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.message, self.index)
    }
}

/// The right to work on an entry until it expires, which [`Store::renew`] puts off. Whoever settles with an old token is refused.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The entry.
    pub entry: EntryId,
    /// The fencing token: grows with every claim of this entry.
    pub token: u64,
    /// The message's envelope, shared by its entries.
    pub envelope: Arc<Envelope>,
    /// The entry as it was accepted.
    pub recipient: NewEntry,
    /// Recipients that the message had.
    pub recipients: u32,
    /// Attempts made before this one.
    pub attempts: u32,
    /// An earlier attempt may have got further than its record says: look for a copy before a second one is made.
    pub unsure: bool,
    /// It is known to be late: whoever is to be told has been.
    pub late: bool,
}

impl Lease {
    /// What the store knows it by.
    #[must_use]
    pub fn right(&self) -> Right {
        Right { entry: self.entry, token: self.token }
    }
}

/// An entry and the token of one of its leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// The entry.
    pub entry: EntryId,
    /// As [`Lease::token`].
    pub token: u64,
}

/// What becomes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The entry is done.
    Delivered,
    /// Try again at this time.
    Retry {
        /// Not before.
        at: Timestamp,
        /// For `queue list`.
        reason: String,
    },
    /// Nothing was tried, for want of a turn; that comes at this time.
    Postponed {
        /// Not before.
        at: Timestamp,
        /// For `queue list`, if it is more than a full lane.
        reason: Option<String>,
    },
    /// Failed for good: done, if the [`Outcome`] brings the notice that tells the sender, or another one does; held, if nobody
    /// is told.
    Failed {
        /// RFC 3463, class 5.
        status: String,
        /// For the sender and `queue list`.
        reason: String,
    },
    /// Not now, and not without an operator or a later feature.
    Held {
        /// For `queue list`.
        reason: String,
    },
    /// It becomes these, the first in its place; a recipient that has an entry of this message already gets no second
    /// copy. What is held or only told of ([`Pending::Expanded`]) is no copy, and always kept. None: nobody gets it.
    Becomes(Vec<NewEntry>),
}

/// A lease's end: what becomes of the entry, and what is stored in the same transaction, so that a crash neither loses
/// nor doubles it. If the lease is stale nothing of it is stored.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The right to say so.
    pub lease: Lease,
    /// What becomes of the entry.
    pub settlement: Settlement,
    /// A message that this causes: a notice to the sender.
    pub notice: Option<Notice>,
    /// Another outcome of the same settling has the notice that tells of this one too. All whom one notice tells of are settled
    /// together: if one of their leases is stale, none of them is.
    pub told_with: Option<EntryId>,
    /// What plugins are to be told of it, in the form of whoever tells them.
    pub report: Option<String>,
    /// How it was judged.
    pub verdicts: Option<Verdicts>,
    /// From now on [`Lease::late`].
    pub late: bool,
}

impl From<(Lease, Settlement)> for Outcome {
    fn from((lease, settlement): (Lease, Settlement)) -> Self {
        Self { late: lease.late, lease, settlement, notice: None, told_with: None, report: None, verdicts: None }
    }
}

/// A message of our own making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `size` is set to what the content has.
    pub envelope: Envelope,
    /// Header and body. It is kept in the database: at most some MiB.
    pub content: Vec<u8>,
    /// Whom it goes to.
    pub entries: Vec<NewEntry>,
}

/// Something that plugins have yet to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Names it.
    pub number: i64,
    /// Times that it was tried.
    pub tries: u32,
    /// As the [`Outcome`] had it, or the last try left it.
    pub text: String,
}

/// What became of a try to tell a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is done with.
    Done,
    /// Not all of it: this is tried again.
    Again {
        /// Not before.
        at: Timestamp,
        /// What is left to tell.
        text: String,
    },
}

/// A line of `hermetic queue list`.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// `ULID.index`.
    pub entry: String,
    /// `queued`, `leased`, `held`; of an earlier version also `owed`.
    pub state: String,
    /// Why it is in this state.
    pub reason: Option<String>,
    /// Display form; `<>` for the null reverse-path.
    pub reverse_path: String,
    /// Display form.
    pub recipient: String,
    /// Octets.
    pub size: u64,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// Attempts so far.
    pub attempts: u32,
    /// The next attempt, if one is planned.
    pub next_attempt: Option<Timestamp>,
    /// What comes before delivery.
    pub pending: Pending,
}

/// How many entries are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// To be delivered, or being delivered.
    pub queued: u64,
    /// Waiting for an operator or a later feature.
    pub held: u64,
    /// Delivered by an earlier version, which could not tell the sender.
    pub owed: u64,
}

/// Why the store could not do it. All are ours or the operator's, never the peer's.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full, or below the configured reserve.
    #[error("no space: {0}")]
    Full(String),
    /// No such message.
    #[error("no message {0}")]
    Unknown(String),
    /// Anything else.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// Bodies, entries, leases.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// May a message begin (is there space)? Then write to what is returned.
    fn begin(&self) -> Result<Box<dyn Incoming>, StoreError>;
    /// Up to `n` entries that are due, each leased for `lease`.
    async fn claim(&self, now: Timestamp, n: usize, lease: Duration) -> Result<Vec<Lease>, StoreError>;
    /// These leases go on for `lease` from now, whether they have expired or not. Those that are stale are returned: somebody else
    /// has the entry, or it is gone.
    async fn renew(&self, _rights: Vec<Right>, _lease: Duration) -> Result<Vec<EntryId>, StoreError> {
        Ok(Vec::new())
    }
    /// An attempt begins that whoever it is made at counts: it is counted before it is made. A stale lease is returned.
    async fn begin_attempts(&self, _leases: Vec<Lease>) -> Result<Vec<EntryId>, StoreError> {
        Ok(Vec::new())
    }
    /// What became of them, all in one transaction. A stale lease is skipped and returned; with it, though their leases go on,
    /// those that share its notice ([`Outcome::told_with`]).
    async fn settle(&self, outcomes: Vec<Outcome>) -> Result<Vec<EntryId>, StoreError>;
    /// Whatever is held for exactly this reason is due.
    async fn release(&self, _reason: &str) -> Result<(), StoreError> {
        Ok(())
    }
    /// Up to `n` reports that are due, the longest due first; and when the next one is. There is one reader at a time.
    async fn reports(&self, _now: Timestamp, _n: usize) -> Result<(Vec<Report>, Option<Timestamp>), StoreError> {
        Ok((Vec::new(), None))
    }
    /// What became of them.
    async fn told(&self, _reports: Vec<(Report, Told)>) -> Result<(), StoreError> {
        Ok(())
    }
    /// A message's prefix (trace and added fields) and content.
    async fn body(&self, message: MessageId) -> Result<Body, StoreError> {
        let none = || Err(StoreError::Unknown(message.to_string()));
        self.bodies(vec![message]).await.pop().unwrap_or_else(none)
    }
    /// The same for many at once, in their order.
    async fn bodies(&self, messages: Vec<MessageId>) -> Vec<Result<Body, StoreError>>;
    /// Resolves when entries may be due: after an accept, or at the time of the next planned attempt.
    async fn due(&self);
    /// Up to `most` of the entries that the filter means, behind `after`. However many entries there are, one call looks at
    /// a bounded part of them.
    async fn find(&self, filter: Filter, after: Option<EntryId>, most: usize) -> Result<Page, StoreError>;
    /// A message with its entries; None: there is none (any more).
    async fn show(&self, message: MessageId) -> Result<Option<Details>, StoreError>;
    /// Changes entries, all in one transaction, and says of each what came of it. What is being worked on is left alone; a
    /// lease that has expired is void from then on.
    async fn change(&self, changes: Vec<(EntryId, Change)>) -> Result<Vec<Changed>, StoreError>;
    /// How the recipients of a message, a transaction, or all transactions of a session were judged, and what an operator
    /// did with them.
    async fn verdicts(&self, id: &str) -> Result<Vec<Verdicts>, StoreError>;
    /// Keeps how refused mail was judged. Returns at once and may fail silently under load: nothing depends on it.
    fn record(&self, _verdicts: Verdicts) {}
    /// How many servers take entries out of this store, this one included, as far as it knows.
    fn sharing(&self) -> usize {
        1
    }
    /// How many entries are in which state.
    async fn counts(&self) -> Result<Counts, StoreError>;
    /// Nothing more is coming: flush and close.
    async fn close(&self);
}

/// Whether [`Incoming::write`] wants a [`Incoming::flush`] before more is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Go on.
    None,
    /// Await `flush` first.
    Flush,
}

/// A message on its way in. Dropping it abandons the message and leaves nothing behind.
#[async_trait]
pub trait Incoming: Send {
    /// The id that the message will have.
    fn id(&self) -> MessageId;
    /// Octets of the content, as they arrive. Only buffers.
    fn write(&mut self, octets: &[u8]) -> Result<Pressure, StoreError>;
    /// The buffered octets go to the disk, if they are many. May return while they are being written: the next call waits.
    async fn flush(&mut self) -> Result<(), StoreError>;
    /// The header block so far (up to its empty line and without it, at most 64 KiB), for policy to look at.
    fn header(&self) -> &[u8];
    /// All that was written so far, for whoever must see it before it is accepted. Holds the message in memory.
    async fn content(&mut self) -> Result<Vec<u8>, StoreError>;
    /// How its recipients were judged: kept with the message if it is accepted.
    fn judged(&mut self, _verdicts: Verdicts) {}
    /// `prefix` goes before the content; `envelope.size` is set to what was written. Returns when all of it is on stable storage, in one transaction.
    async fn accept(
        self: Box<Self>,
        envelope: Envelope,
        prefix: Vec<u8>,
        entries: Vec<NewEntry>,
    ) -> Result<MessageId, StoreError>;
}

/// A stored body.
#[derive(Debug)]
pub enum Content {
    /// Small: in memory.
    Inline(Vec<u8>),
    /// Large: an open file, at its start.
    File(std::fs::File),
}

/// A stored message's octets: `prefix`, then `content`.
#[derive(Debug)]
pub struct Body {
    /// Received, and fields added at submission.
    pub prefix: Vec<u8>,
    /// What the peer sent.
    pub content: Content,
}

#[cfg(test)]
mod contract;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_quoted_where_they_must_be() {
        let cases = [
            ("anna", "example.test", "anna@example.test"),
            ("anna.b+c", "[192.0.2.1]", "anna.b+c@[192.0.2.1]"),
            ("änna", "exämple.test", "änna@exämple.test"),
            ("postmaster", "", "postmaster"),
            ("", "example.test", r#"""@example.test"#),
            ("a b", "example.test", r#""a b"@example.test"#),
            (".a", "example.test", r#"".a"@example.test"#),
            ("a..b", "example.test", r#""a..b"@example.test"#),
            (r#"a"\b"#, "example.test", r#""a\"\\b"@example.test"#),
            ("a\r\nX: y", "e\n.test", r#""aX: y"@e.test"#),
        ];
        for (local, domain, expected) in cases {
            assert_eq!(Address { local: local.into(), domain: domain.into() }.to_string(), expected);
        }
    }
}
