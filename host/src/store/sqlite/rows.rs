//! Rust values to rows and back.
//!
//! Owns the statements that add, read and remove messages, entries, verdicts and reports, and the text of columns that hold more
//! than one value. Refuses to know transactions, leases and when anything is due: whoever calls has begun one and says so. Fails
//! with SQLite's error, and for a column that can not be read, which only damage brings.

use std::{borrow::Cow, collections::HashMap, net::IpAddr, sync::Arc};

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::{ids::key, schema::State};
use crate::store::{
    Address, BodyKind, Edit, EntryId, Envelope, MessageId, NewEntry, Notify, Pending, Report, ReturnContent, Route,
    Timestamp, Told, VERDICTS_AGE, VERDICTS_MOST, Verdicts, Wishes,
};

/// An accepted message, on its way into the tables.
#[derive(Debug)]
pub(super) struct NewMessage {
    pub(super) id: MessageId,
    pub(super) envelope: Envelope,
    pub(super) prefix: Vec<u8>,
    /// None: it is a file.
    pub(super) content: Option<Vec<u8>>,
    pub(super) entries: Vec<NewEntry>,
    pub(super) verdicts: Option<Verdicts>,
}

const MESSAGE: &str = "INSERT INTO message VALUES
    (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)";
const ENTRY: &str = "INSERT INTO entry VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?15, ?14)";

/// Adds the message and its entries.
pub(super) fn insert(connection: &Connection, message: &NewMessage) -> rusqlite::Result<()> {
    let NewMessage { id, envelope: e, prefix, content, entries, verdicts } = message;
    let key = key(*id);
    connection.prepare_cached(MESSAGE)?.execute(params![
        key,
        id.to_bytes(),
        e.received_at,
        e.size,
        entries.len(),
        e.reverse_path.as_ref().map(|path| &path.local),
        e.reverse_path.as_ref().map(|path| &path.domain),
        match e.body {
            BodyKind::SevenBit => 0,
            BodyKind::EightBitMime => 1,
            BodyKind::BinaryMime => 2,
        },
        e.smtputf8,
        e.require_tls,
        e.eight_bit,
        e.bare_line_ends,
        e.ret.map(|ret| match ret {
            ReturnContent::Full => 0,
            ReturnContent::Headers => 1,
        }),
        e.envid,
        e.submitter,
        e.client.map(|client| client.to_string()),
        e.hello,
        e.identity,
        e.tls,
        e.session,
        e.listener,
        prefix,
        content,
    ])?;
    if e.wishes != Wishes::default() {
        let wishes = wishes_to_text(&e.wishes)?;
        connection.prepare_cached("INSERT INTO wishes VALUES (?1, ?2)")?.execute((key, wishes))?;
    }
    for (place, entry) in (0..).zip(entries) {
        let due = Due { at: e.begins(), chosen: e.begins() > e.received_at, priority: e.priority(), warned: false };
        insert_entry(connection, key, place, due, entry)?;
    }
    verdicts.as_ref().map_or(Ok(()), |verdicts| insert_verdicts(connection, verdicts))
}

/// What an entry does not say of itself.
#[derive(Clone, Copy)]
struct Due {
    /// To be delivered then, if it is not held.
    at: Timestamp,
    /// That is a time that its sender chose.
    chosen: bool,
    priority: i8,
    /// It is known to be late.
    warned: bool,
}

/// Adds an entry.
fn insert_entry(connection: &Connection, key: i64, place: u32, due: Due, entry: &NewEntry) -> rusqlite::Result<()> {
    let Due { at, chosen, priority, warned } = due;
    let waits = || chosen.then(|| format!("held until {}, as its sender asked", date(at)));
    connection.prepare_cached(ENTRY)?.execute(params![
        key,
        place,
        if entry.held.is_some() { State::Held } else { State::Queued },
        entry.held.is_none().then_some(at),
        entry.recipient.local,
        entry.recipient.domain,
        entry.notify.map(|n| i64::from(n.success) | i64::from(n.failure) << 1 | i64::from(n.delay) << 2),
        entry.orcpt.as_ref().map(|orcpt| &orcpt.0),
        entry.orcpt.as_ref().map(|orcpt| &orcpt.1),
        entry.route.mailbox(),
        entry.held.clone().or_else(waits),
        changes_to_text(entry)?,
        pending_to_text(&entry.pending)?,
        priority,
        warned,
    ])?;
    Ok(())
}

/// RFC 3339.
fn date(at: Timestamp) -> jiff::Timestamp {
    i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok()).unwrap_or(jiff::Timestamp::MAX)
}

/// An entry becomes these: see [`crate::store::Settlement::Becomes`]. There is at least one. `warned`: its sender knows that it
/// is late, and is not told so of those that it becomes.
pub(super) fn replace(
    connection: &Connection,
    (key, place): (i64, u32),
    at: Timestamp,
    warned: bool,
    entries: &[NewEntry],
) -> rusqlite::Result<bool> {
    let gone = connection
        .prepare_cached("DELETE FROM entry WHERE message = ?1 AND place = ?2 RETURNING priority")?
        .query_row((key, place), |row| row.get(0))
        .optional()?;
    let Some(priority) = gone else { return Ok(false) };
    // Places that were used before stay used: an entry's id is the name of its copy.
    let next: u32 = connection
        .prepare_cached("UPDATE message SET recipients = recipients + ?2 WHERE key = ?1 RETURNING recipients - ?2")?
        .query_row((key, entries.len().saturating_sub(1)), |row| row.get(0))?;
    let places = std::iter::once(place).chain(next..);
    // Nobody gets a second copy. What is only told of is none; and what was kept aside a line above stands for itself.
    let mut there = connection.prepare_cached(
        "SELECT 1 FROM entry WHERE message = ?1 AND (mailbox = ?2 OR
             (?2 IS NULL AND mailbox IS NULL AND recipient_local = ?3 AND lower(recipient_domain) = lower(?4)))
             AND pending IS NOT ?5 AND NOT (state = ?6 AND (place = ?7 OR place >= ?8))",
    )?;
    let expanded = pending_to_text(&Pending::Expanded)?;
    for (at_place, entry) in places.zip(entries) {
        let Address { local, domain } = &entry.recipient;
        let copy = entry.held.is_none() && entry.pending != Pending::Expanded;
        if !(copy && there.exists((key, entry.route.mailbox(), local, domain, &expanded, State::Held, place, next))?) {
            insert_entry(connection, key, at_place, Due { at, chosen: false, priority, warned }, entry)?;
        }
    }
    Ok(true)
}

/// See [`crate::store::Store::release`]; how many there were.
pub(super) fn release(connection: &Connection, reason: &str, at: Timestamp) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "UPDATE entry SET state = ?1, next_attempt = ?2, reason = NULL WHERE state = ?3 AND reason = ?4",
        )?
        .execute((State::Queued, at, State::Held, reason))
}

/// Adds what plugins are to be told.
pub(super) fn insert_report(connection: &Connection, at: Timestamp, text: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT INTO report VALUES (NULL, ?1, 0, ?2)")?.execute((at, text))?;
    Ok(())
}

/// See [`crate::store::Store::reports`].
pub(super) fn read_reports(
    connection: &Connection,
    now: Timestamp,
    n: usize,
) -> rusqlite::Result<(Vec<Report>, Option<Timestamp>)> {
    let mut statement =
        connection.prepare_cached("SELECT number, tries, text FROM report WHERE due <= ?1 ORDER BY due LIMIT ?2")?;
    let due = statement
        .query_map((now, n), |row| Ok(Report { number: row.get(0)?, tries: row.get(1)?, text: row.get(2)? }))?;
    let due = due.collect::<rusqlite::Result<_>>()?;
    let next =
        connection.prepare_cached("SELECT min(due) FROM report WHERE due > ?1")?.query_row([now], |row| row.get(0))?;
    Ok((due, next))
}

/// See [`crate::store::Store::told`].
pub(super) fn settle_report(connection: &Connection, report: &Report, told: &Told) -> rusqlite::Result<()> {
    match told {
        Told::Done => connection.prepare_cached("DELETE FROM report WHERE number = ?1")?.execute([report.number])?,
        Told::Again { at, text } => connection
            .prepare_cached("UPDATE report SET due = ?2, tries = ?3, text = ?4 WHERE number = ?1")?
            .execute((report.number, at, report.tries + 1, text))?,
    };
    Ok(())
}

/// The recipients of all verdicts that were ever recorded.
const UPTO: &str = "coalesce((SELECT upto FROM verdicts ORDER BY number DESC LIMIT 1), 0)";

/// Adds how recipients were judged.
pub(super) fn insert_verdicts(connection: &Connection, verdicts: &Verdicts) -> rusqlite::Result<()> {
    let message = verdicts.message.map(|id| id.to_string());
    connection
        .prepare_cached(&format!("INSERT INTO verdicts VALUES (NULL, {UPTO} + ?1, ?1, ?2, ?3, ?4, ?5)"))?
        .execute(params![verdicts.recipients, verdicts.at, verdicts.transaction, message, verdicts.judged])?;
    Ok(())
}

/// Removes verdicts that are too old or too many, the oldest first and at most `n` at a time.
pub(super) fn expire_verdicts(connection: &Connection, now: Timestamp, n: usize) -> rusqlite::Result<()> {
    let age = u64::try_from(VERDICTS_AGE.as_millis()).unwrap_or(u64::MAX);
    connection
        .prepare_cached(&format!(
            "DELETE FROM verdicts WHERE number IN (SELECT number FROM verdicts ORDER BY number LIMIT ?1)
             AND (upto <= {UPTO} - ?2 OR at < ?3)"
        ))?
        .execute((n, VERDICTS_MOST, now.saturating_sub(age)))?;
    Ok(())
}

/// How the recipients of a message (those that were refused before it too), a transaction or all of a session's transactions (`SESSION.1`, …) were judged, oldest
/// first.
pub(super) fn read_verdicts(connection: &Connection, id: &str) -> rusqlite::Result<Vec<Verdicts>> {
    let there = connection.prepare("SELECT 1 FROM sqlite_master WHERE name = 'verdicts'")?.exists(())?;
    if !there {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare(
        "SELECT at, transaction_id, message, recipients, judged FROM verdicts
         WHERE transaction_id IN (SELECT transaction_id FROM verdicts WHERE message = ?1)
             OR transaction_id = ?1 OR (transaction_id > ?1 || '.' AND transaction_id < ?1 || '/')
         ORDER BY number",
    )?;
    let found = statement.query_map([id], |row| {
        Ok(Verdicts {
            at: row.get(0)?,
            transaction: row.get(1)?,
            message: row.get::<_, Option<String>>(2)?.and_then(|id| MessageId::from_string(&id).ok()),
            recipients: row.get(3)?,
            judged: row.get(4)?,
        })
    })?;
    found.collect()
}

fn wishes_to_text(wishes: &Wishes) -> rusqlite::Result<String> {
    serde_json::to_string(wishes).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn wishes_from_text(text: Option<String>) -> rusqlite::Result<Wishes> {
    let wishes = text.map(|text| serde_json::from_str(&text)).transpose();
    let wishes = wishes
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(20, rusqlite::types::Type::Text, Box::new(error)))?;
    Ok(wishes.unwrap_or_default())
}

/// What the column `edits` holds.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Changes<'a> {
    Edits(Cow<'a, [Edit]>),
    More {
        edits: Cow<'a, [Edit]>,
        sent_on: bool,
    },
    /// Of an earlier version, which made the name when the copy was accepted.
    Named {
        edits: Cow<'a, [Edit]>,
        reverse_path: Address,
    },
}

/// None for none, which is what almost every entry has.
fn changes_to_text(entry: &NewEntry) -> rusqlite::Result<Option<String>> {
    let edits = Cow::Borrowed(entry.edits.as_slice());
    let changes = match entry.sent_on {
        true => Some(Changes::More { edits, sent_on: true }),
        false => (!edits.is_empty()).then_some(Changes::Edits(edits)),
    };
    let text = changes.map(|changes| serde_json::to_string(&changes)).transpose();
    text.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn changes_from_text(text: Option<String>) -> rusqlite::Result<(Vec<Edit>, bool)> {
    let Some(text) = text else { return Ok((Vec::new(), false)) };
    let changes = serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(7, rusqlite::types::Type::Text, Box::new(error)))?;
    Ok(match changes {
        Changes::Edits(edits) => (edits.into_owned(), false),
        Changes::More { edits, sent_on } => (edits.into_owned(), sent_on),
        Changes::Named { edits, reverse_path: _ } => (edits.into_owned(), true),
    })
}

pub(super) fn pending_to_text(pending: &Pending) -> rusqlite::Result<Option<String>> {
    let text = (*pending != Pending::Nothing).then(|| serde_json::to_string(pending)).transpose();
    text.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

pub(super) fn pending_from_text(text: Option<String>) -> rusqlite::Result<Pending> {
    let pending = text.map(|text| serde_json::from_str(&text)).transpose();
    let pending = pending
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(8, rusqlite::types::Type::Text, Box::new(error)))?;
    Ok(pending.unwrap_or_default())
}

const ENVELOPE: &str = "SELECT id, received_at, size, recipients, reverse_local, reverse_domain, body, smtputf8,
    require_tls, eight_bit, bare_line_ends, ret, envid, submitter, client, hello, identity, tls, session, listener,
    (SELECT wishes FROM wishes WHERE message = key) FROM message WHERE key = ?1";
const READ_ENTRY: &str =
    "SELECT attempts, recipient_local, recipient_domain, notify, orcpt_type, orcpt, mailbox, edits, pending,
        warned
    FROM entry WHERE message = ?1 AND place = ?2";

/// A message without its octets.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) id: MessageId,
    pub(super) recipients: u32,
    pub(super) envelope: Arc<Envelope>,
}

/// An entry as it is stored.
pub(super) struct Found {
    pub(super) id: EntryId,
    pub(super) message: Stored,
    /// As it was accepted.
    pub(super) entry: NewEntry,
    /// Attempts so far.
    pub(super) attempts: u32,
    pub(super) late: bool,
}

/// Reads entries with their envelopes; entries of one message share its envelope.
pub(super) struct EntryReader<'a> {
    envelope: CachedStatement<'a>,
    entry: CachedStatement<'a>,
    messages: HashMap<i64, Stored>,
}

impl<'a> EntryReader<'a> {
    pub(super) fn new(connection: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            envelope: connection.prepare_cached(ENVELOPE)?,
            entry: connection.prepare_cached(READ_ENTRY)?,
            messages: HashMap::new(),
        })
    }

    /// The entry with its message.
    pub(super) fn read(&mut self, key: i64, place: u32) -> rusqlite::Result<Found> {
        let message = match self.messages.get(&key) {
            Some(message) => message.clone(),
            None => {
                let message = self.envelope.query_row([key], read_envelope)?;
                self.messages.insert(key, message.clone());
                message
            }
        };
        self.entry.query_row((key, place), |row| {
            Ok(Found {
                id: EntryId { message: message.id, index: place },
                message,
                entry: read_entry(row)?,
                attempts: row.get(0)?,
                late: row.get(9)?,
            })
        })
    }
}

fn read_envelope(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let reverse: (Option<String>, Option<String>) = (row.get(4)?, row.get(5)?);
    let envelope = Envelope {
        reverse_path: reverse.0.zip(reverse.1).map(|(local, domain)| Address { local, domain }),
        body: match row.get(6)? {
            0 => BodyKind::SevenBit,
            1 => BodyKind::EightBitMime,
            _ => BodyKind::BinaryMime,
        },
        smtputf8: row.get(7)?,
        require_tls: row.get(8)?,
        ret: row.get::<_, Option<i64>>(11)?.map(|ret| match ret {
            0 => ReturnContent::Full,
            _ => ReturnContent::Headers,
        }),
        envid: row.get(12)?,
        submitter: row.get(13)?,
        client: row.get_ref(14)?.as_str_or_null().ok().flatten().and_then(|client| client.parse::<IpAddr>().ok()),
        hello: row.get(15)?,
        identity: row.get(16)?,
        tls: row.get(17)?,
        session: row.get(18)?,
        listener: row.get(19)?,
        received_at: row.get(1)?,
        size: row.get(2)?,
        eight_bit: row.get(9)?,
        bare_line_ends: row.get(10)?,
        wishes: wishes_from_text(row.get(20)?)?,
    };
    Ok(Stored { id: MessageId::from_bytes(row.get(0)?), recipients: row.get(3)?, envelope: Arc::new(envelope) })
}

fn read_entry(row: &Row<'_>) -> rusqlite::Result<NewEntry> {
    let orcpt: (Option<String>, Option<String>) = (row.get(4)?, row.get(5)?);
    let (edits, sent_on) = changes_from_text(row.get(7)?)?;
    Ok(NewEntry {
        recipient: Address { local: row.get(1)?, domain: row.get(2)? },
        notify: row.get::<_, Option<i64>>(3)?.map(|bits| Notify {
            success: bits & 1 != 0,
            failure: bits & 2 != 0,
            delay: bits & 4 != 0,
        }),
        orcpt: orcpt.0.zip(orcpt.1),
        route: row.get::<_, Option<String>>(6)?.map_or(Route::Relay, Route::Local),
        sent_on,
        held: None,
        edits,
        pending: pending_from_text(row.get(8)?)?,
    })
}

/// Removes the entry. If it was the message's last one the message goes too; the answer is then whether its content is
/// a file. None if there is no such entry.
pub(super) fn remove(
    connection: &Connection,
    key: i64,
    place: u32,
    recipients: u32,
) -> rusqlite::Result<Option<Removed>> {
    let gone =
        connection.prepare_cached("DELETE FROM entry WHERE message = ?1 AND place = ?2")?.execute((key, place))?;
    if gone == 0 {
        return Ok(None);
    }
    if recipients > 1 && connection.prepare_cached("SELECT 1 FROM entry WHERE message = ?1 LIMIT 1")?.exists([key])? {
        return Ok(Some(Removed::Entry));
    }
    connection.prepare_cached("DELETE FROM wishes WHERE message = ?1")?.execute([key])?;
    let file = connection
        .prepare_cached("DELETE FROM message WHERE key = ?1 RETURNING content IS NULL")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(Some(if file == Some(true) { Removed::MessageWithFile } else { Removed::Message }))
}

/// What [`remove`] removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// Other entries of the message remain.
    Entry,
    /// The message with all its octets.
    Message,
    /// The message; its file is still there.
    MessageWithFile,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    /// What an earlier version wrote of a copy that is sent on.
    #[test]
    fn a_name_of_its_own_means_that_it_is_sent_on() {
        let text = r#"{"edits":[],"reverse_path":{"local":"SRS0=x","domain":"y.test"}}"#;
        assert_eq!(changes_from_text(Some(text.into())).unwrap(), (vec![], true));
        assert_eq!(changes_from_text(Some("[]".into())).unwrap(), (vec![], false));
    }
}
