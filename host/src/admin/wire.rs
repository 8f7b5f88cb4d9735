//! What crosses the admin API, as JSON; what `hermetic queue` prints with `--json` has the same form.
//!
//! Owns names and forms, which `openapi.json` describes. Times are milliseconds since the Unix epoch. What the store
//! has is taken apart by name, so that nothing new is left out unseen. Refuses fields that it does not know; ids and
//! states that are none fail with one sentence.

use serde::{Deserialize, Serialize};

use crate::{
    policy::chain::Record,
    store::{
        BodyKind, Detail, Details, EntryId, EntryState, Envelope, Filter, Listed, MessageId, NewEntry, Notify, Pending,
        ReturnContent, Timestamp, Verdicts,
    },
};

/// One recipient of one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// `ULID.index`.
    pub entry: String,
    /// `queued`, `leased`, `held`, `owed`.
    pub state: String,
    /// Why it is in this state: what was last said.
    pub reason: Option<String>,
    /// `<>` for the null reverse-path.
    pub reverse_path: String,
    /// The recipient.
    pub recipient: String,
    /// Octets of the content.
    pub size: u64,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// Attempts so far.
    pub attempts: u32,
    /// The next attempt, if one is planned.
    pub next_attempt: Option<Timestamp>,
    /// What comes before delivery: `judge` (its plugins are asked again), `bounce` (its sender is told), `expanded` (others get
    /// it instead, and its sender is told that).
    pub pending: Option<String>,
    /// Why that is so.
    pub pending_reason: Option<String>,
}

impl Entry {
    /// `on_hold`: the whole queue is (`queue.hold`).
    #[must_use]
    pub fn new(listed: Listed, on_hold: bool) -> Self {
        let Listed {
            entry,
            state,
            reason,
            reverse_path,
            recipient,
            size,
            received_at,
            attempts,
            next_attempt,
            pending,
        } = listed;
        let (pending, pending_reason) = match pending {
            Pending::Nothing => (None, None),
            Pending::Rejudge { transaction: _, reason, asked: _ } => (Some("judge".into()), Some(reason)),
            Pending::Bounce { status, reason } => (Some("bounce".into()), Some(format!("{status} {reason}"))),
            Pending::Expanded => (Some("expanded".into()), None),
        };
        let waits = on_hold && state == EntryState::Queued.as_str();
        Self {
            reason: reason.or_else(|| waits.then(|| "the queue is on hold (queue.hold)".into())),
            next_attempt: next_attempt.filter(|_| !waits),
            entry,
            state,
            reverse_path,
            recipient,
            size,
            received_at,
            attempts,
            pending,
            pending_reason,
        }
    }
}

/// A part of a list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Page {
    /// In the order of their ids.
    pub entries: Vec<Entry>,
    /// Give this as `after` for what follows; none: nothing does. A page may be empty and have one.
    pub next: Option<String>,
    /// The queue is on hold (`queue.hold`): nothing is delivered.
    pub on_hold: bool,
}

/// How many entries a part of the queue has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Count {
    /// Of those that the filter means.
    pub count: u64,
    /// As in [`Page`].
    pub next: Option<String>,
}

/// A message with its recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// `<>` for the null reverse-path.
    pub reverse_path: String,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// Octets of the content.
    pub size: u64,
    /// `7bit`, `8bitmime`, `binarymime`.
    pub body: String,
    /// SMTPUTF8 was given.
    pub smtputf8: bool,
    /// REQUIRETLS was given.
    pub require_tls: bool,
    /// `full`, `hdrs`.
    pub ret: Option<String>,
    /// The sender's id of it.
    pub envid: Option<String>,
    /// Who submitted it, if somebody said so.
    pub submitter: Option<String>,
    /// Where the client was.
    pub client: Option<String>,
    /// What it called itself.
    pub hello: Option<String>,
    /// Its login.
    pub identity: Option<String>,
    /// TLS version and cipher.
    pub tls: Option<String>,
    /// The session's id, as in the log.
    pub session: String,
    /// The listener's name.
    pub listener: String,
    /// It goes at this time or later, as its sender wants.
    pub not_before: Option<Timestamp>,
    /// It is to be there by then.
    pub deliver_by: Option<Timestamp>,
    /// If it is not, it goes back.
    pub returns: bool,
    /// -9 to 9.
    pub priority: i8,
    /// The header of the message as it is stored, with what this server added; the first 64 KiB.
    pub header: String,
    /// Those that are not done.
    pub recipients: Vec<Recipient>,
}

/// A recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// As in a list.
    #[serde(flatten)]
    pub entry: Entry,
    /// Whose mailbox it is; none: it is for another server.
    pub mailbox: Option<String>,
    /// `success`, `failure`, `delay`; empty: never; none: not said.
    pub notify: Option<Vec<String>>,
    /// The original recipient, with its type.
    pub orcpt: Option<String>,
    /// It is a copy that is sent on to another server: in a name of ours, if there is one when it goes (`srs.domain`).
    pub sent_on: bool,
    /// Changes of the header in this recipient's copy.
    pub edits: usize,
    /// Whoever is to be told that it is late has been.
    pub late: bool,
}

impl Message {
    /// `header`: what the message begins with.
    #[must_use]
    pub fn new(details: &Details, header: &[u8], on_hold: bool) -> Self {
        let Details { id, envelope, entries } = details;
        let Envelope {
            reverse_path,
            body,
            smtputf8,
            require_tls,
            ret,
            envid,
            submitter,
            client,
            hello,
            identity,
            tls,
            session,
            listener,
            received_at,
            size,
            // For delivery alone.
            eight_bit: _,
            bare_line_ends: _,
            // As what they come to, below.
            wishes: _,
        } = &**envelope;
        Self {
            id: id.to_string(),
            reverse_path: reverse_path.as_ref().map_or_else(|| "<>".into(), ToString::to_string),
            received_at: *received_at,
            size: *size,
            body: match body {
                BodyKind::SevenBit => "7bit",
                BodyKind::EightBitMime => "8bitmime",
                BodyKind::BinaryMime => "binarymime",
            }
            .into(),
            smtputf8: *smtputf8,
            require_tls: *require_tls,
            ret: ret.map(|ret| match ret {
                ReturnContent::Full => "full".into(),
                ReturnContent::Headers => "hdrs".into(),
            }),
            envid: envid.clone(),
            submitter: submitter.clone(),
            client: client.map(|client| client.to_string()),
            hello: hello.clone(),
            identity: identity.clone(),
            tls: tls.clone(),
            session: session.clone(),
            listener: listener.clone(),
            not_before: Some(envelope.begins()).filter(|begins| begins > received_at),
            deliver_by: envelope.deadline(),
            returns: envelope.returns_at().is_some(),
            priority: envelope.priority(),
            header: head(header),
            recipients: entries.iter().map(|detail| Recipient::new(detail, on_hold)).collect(),
        }
    }
}

/// The front up to the empty line that ends a header.
fn head(front: &[u8]) -> String {
    let end = front.windows(4).position(|window| window == b"\r\n\r\n").map_or(front.len(), |end| end + 2);
    String::from_utf8_lossy(front.get(..end).unwrap_or(front)).into_owned()
}

impl Recipient {
    fn new(detail: &Detail, on_hold: bool) -> Self {
        let Detail { listed, entry, late } = detail;
        // Recipient, reason and what comes before delivery are listed.
        let NewEntry { recipient: _, notify, orcpt, route, sent_on, held: _, edits, pending: _ } = entry;
        Self {
            mailbox: route.mailbox().map(str::to_owned),
            notify: notify.map(|Notify { success, failure, delay }| {
                let named = [("success", success), ("failure", failure), ("delay", delay)];
                named.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name.to_owned()).collect()
            }),
            orcpt: orcpt.as_ref().map(|(kind, address)| format!("{kind};{address}")),
            sent_on: *sent_on,
            edits: edits.len(),
            late: *late,
            entry: Entry::new(listed.clone(), on_hold),
        }
    }
}

/// What is known of a message, a transaction or a session.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Why {
    /// Its entries that are not done.
    pub entries: Vec<Entry>,
    /// How its recipients were judged, and what operators did.
    pub judged: Vec<Judged>,
}

/// How one recipient was judged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judged {
    /// What the judges called the transaction.
    pub transaction: String,
    /// The message; none: nothing was stored.
    pub message: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Who said what.
    #[serde(flatten)]
    pub record: Record,
}

impl Judged {
    /// One for each recipient. What a later version wrote may have another form, and is left out.
    #[must_use]
    pub fn all(found: &[Verdicts]) -> Vec<Self> {
        let one = |verdicts: &Verdicts| {
            let Verdicts { transaction, message, recipients: _, judged, at } = verdicts;
            let records: Vec<Record> = serde_json::from_str(judged).unwrap_or_default();
            let (transaction, message, at) = (transaction.clone(), message.map(|id| id.to_string()), *at);
            let judged = move |record| Self { transaction: transaction.clone(), message: message.clone(), at, record };
            records.into_iter().map(judged)
        };
        found.iter().flat_map(one).collect()
    }
}

/// Which entries: see [`Filter`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// States.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<String>,
    /// An address, `@domain` or `<>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// An address or `@domain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// The recipient's domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// A message's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Began to arrive then or after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Began to arrive before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Timestamp>,
    /// A part of the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl TryFrom<Selection> for Filter {
    type Error = String;

    fn try_from(selection: Selection) -> Result<Self, String> {
        let Selection { state, sender, recipient, domain, message: id, since, before, reason } = selection;
        Ok(Self {
            states: state.iter().map(|state| state.parse()).collect::<Result<_, _>>()?,
            sender,
            recipient,
            domain,
            message: id.as_deref().map(message).transpose()?,
            since,
            before,
            reason,
        })
    }
}

/// A message's id.
pub fn message(id: &str) -> Result<MessageId, String> {
    MessageId::from_string(id).map_err(|_| {
        format!("{id:?} is no message's id, such as 01M8756VKN000395ZBJ89VS1ZC; the log and the queue have them")
    })
}

/// A message's id, or an entry's.
pub fn message_or_entry(id: &str) -> Result<(MessageId, Option<EntryId>), String> {
    match id.parse::<EntryId>() {
        Ok(entry) => Ok((entry.message, Some(entry))),
        Err(_) => message(id).map(|message| (message, None)),
    }
}

/// What is wanted of entries. Either `entries` or `filter` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    /// Ids of entries, or of messages with all of their entries; at most 1000, which mean at most 20000 entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<String>>,
    /// All of these; an empty one means every entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Selection>,
    /// With a filter: where the last answer ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Who wants it, for the log and for `hermetic why`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why. `hold` and `drop` must have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `drop`: the sender is told.
    pub bounce: bool,
    /// Seconds to wait for entries that are being worked on; at most 30.
    pub wait: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Came {
    /// Of each entry.
    pub entries: Vec<Each>,
    /// With a filter: give this as `after` to go on; none: it is done.
    pub next: Option<String>,
}

/// What came of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Each {
    /// Its id, or that of a message that has no entries.
    pub entry: String,
    /// `done`, `unneeded`, `leased`, `held`, `early`, `no-sender`, `gone`.
    pub result: String,
}

/// Why it was not done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// One sentence.
    pub error: String,
}
