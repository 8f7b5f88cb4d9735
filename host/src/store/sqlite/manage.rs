//! What an operator sees and does: entries found, shown and changed.
//!
//! Owns the way through the entries, and what each change makes of an entry. An entry is looked at in its own row
//! first; the row of its message, in which the content is too, is read only for what is still meant then. Refuses to
//! change what is being worked on. Fails as SQLite does.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, Params, Row};

use super::{
    ids::{self, key},
    leases::Place,
    rows::{self, EntryReader, Removed},
    schema::State,
    writer::{Settled, Writer},
};
use crate::store::{
    Address, Change, Changed, Detail, Details, EntryId, Filter, Listed, MessageId, Page, Pending, Timestamp,
};

/// Entries that are looked at for one page.
pub(super) const LOOKED_AT: usize = 50_000;

/// What is to be looked through.
pub(super) struct Part {
    pub(super) filter: Filter,
    pub(super) after: Option<EntryId>,
    pub(super) most: usize,
    pub(super) looked_at: usize,
}

#[cfg(test)]
impl Part {
    pub(super) fn all() -> Self {
        Self { filter: Filter::default(), after: None, most: usize::MAX, looked_at: usize::MAX }
    }
}

/// The part of a message's row that a list has.
#[derive(Clone)]
struct Head {
    key: i64,
    id: MessageId,
    received_at: Timestamp,
    size: u64,
    reverse_path: Option<Address>,
}

const HEAD: &str = "SELECT key, id, received_at, size, reverse_local, reverse_domain FROM message WHERE key = ?1";

fn read_head(row: &Row<'_>) -> rusqlite::Result<Head> {
    let reverse: (Option<String>, Option<String>) = (row.get(4)?, row.get(5)?);
    Ok(Head {
        key: row.get(0)?,
        id: MessageId::from_bytes(row.get(1)?),
        received_at: row.get(2)?,
        size: row.get(3)?,
        reverse_path: reverse.0.zip(reverse.1).map(|(local, domain)| Address { local, domain }),
    })
}

/// Goes through the entries by their key. `leased`: what is being worked on.
pub(super) fn find(connection: &Connection, part: &Part, leased: &HashSet<Place>) -> rusqlite::Result<Page> {
    let Part { filter, after, most, looked_at } = part;
    let mut page = Page::default();
    if *most == 0 {
        page.next = *after;
        return Ok(page);
    }
    let times = filter.times();
    let (mut first, mut end) = (ids::first_of(times.start), ids::first_of(times.end));
    if let Some(message) = filter.message {
        (first, end) = (first.max(key(message)), end.min(key(message).saturating_add(1)));
    }
    // Places count from 0, so this is before the first one.
    let start = after.map_or((first, -1), |after| (key(after.message), i64::from(after.index))).max((first, -1));
    // Without a writer the schema may be an earlier one.
    let known = connection.prepare("SELECT 1 FROM pragma_table_info('entry') WHERE name = 'pending'")?.exists(())?;
    let pending = if known { "pending" } else { "NULL" };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT message, place, state, reason, recipient_local, recipient_domain, attempts, next_attempt, {pending}
         FROM entry WHERE (message, place) > (?1, ?2) AND message < ?3 ORDER BY message, place"
    ))?;
    let mut heads = connection.prepare_cached(HEAD)?;
    let mut head: Option<Head> = None;
    let mut rows = statement.query((start.0, start.1, end))?;
    let mut looked = 0;
    while let Some(row) = rows.next()? {
        let place: Place = (row.get(0)?, row.get(1)?);
        looked += 1;
        let last = looked >= *looked_at;
        let wanted = meant(filter, row, place, leased)?;
        if wanted.is_none() && !last {
            continue;
        }
        let of = match head.take().filter(|head| head.key == place.0) {
            Some(head) => Some(head),
            None => heads.query_row([place.0], read_head).optional()?,
        };
        // An entry without its message is damage.
        let Some(of) = of else { continue };
        let id = EntryId { message: of.id, index: place.1 };
        if let Some((recipient, state, reason, pending)) = wanted
            && filter.message.is_none_or(|message| message == of.id)
            && filter.sender(of.reverse_path.as_ref())
        {
            page.entries.push(Listed {
                entry: id.to_string(),
                state: state.into(),
                reason,
                reverse_path: of.reverse_path.as_ref().map_or_else(|| "<>".into(), ToString::to_string),
                recipient: recipient.to_string(),
                size: of.size,
                received_at: of.received_at,
                attempts: row.get(6)?,
                next_attempt: row.get(7)?,
                pending,
            });
        }
        if page.entries.len() >= *most || last {
            page.next = Some(id);
            break;
        }
        head = Some(of);
    }
    Ok(page)
}

type Meant = (Address, &'static str, Option<String>, Pending);

/// As far as the entry's own row says: is it meant?
fn meant(filter: &Filter, row: &Row<'_>, place: Place, leased: &HashSet<Place>) -> rusqlite::Result<Option<Meant>> {
    let state = if leased.contains(&place) { "leased" } else { State::word(row.get(2)?) };
    if !filter.state(state) {
        return Ok(None);
    }
    let recipient = Address { local: row.get(4)?, domain: row.get(5)? };
    if !filter.recipient(&recipient) {
        return Ok(None);
    }
    let (reason, pending): (Option<String>, _) = (row.get(3)?, rows::pending_from_text(row.get(8)?)?);
    Ok(filter.reason(reason.as_deref(), &pending).then_some((recipient, state, reason, pending)))
}

/// A message with its entries.
pub(super) fn show(
    connection: &Connection,
    message: MessageId,
    leased: &HashSet<Place>,
) -> rusqlite::Result<Option<Details>> {
    let filter = Filter { message: Some(message), ..Filter::default() };
    let part = Part { filter, after: None, most: usize::MAX, looked_at: usize::MAX };
    // All of it as it was at one moment: what is settled meanwhile is shown as if it were not.
    let _snapshot = connection.unchecked_transaction()?;
    let mut reader = EntryReader::new(connection)?;
    let mut details: Option<Details> = None;
    for listed in find(connection, &part, leased)?.entries {
        let Ok(EntryId { index, .. }) = listed.entry.parse() else { continue };
        let found = reader.read(key(message), index)?;
        let detail = Detail { listed, entry: found.entry, late: found.late };
        let empty = || Details { id: message, envelope: found.message.envelope, entries: Vec::new() };
        details.get_or_insert_with(empty).entries.push(detail);
    }
    Ok(details)
}

/// The entry's state, if there is such an entry; and whether somebody sent it.
fn state(connection: &Connection, entry: EntryId) -> rusqlite::Result<Option<(i64, bool)>> {
    connection
        .prepare_cached(
            "SELECT state, reverse_local IS NOT NULL FROM entry JOIN message ON key = message
             WHERE message = ?1 AND place = ?2 AND id = ?3",
        )?
        .query_row((key(entry.message), entry.index, entry.message.to_bytes()), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

impl Writer {
    /// What an operator wants. Leases are given by this thread alone, so none is given meanwhile.
    pub(super) fn change(&mut self, changes: &[(EntryId, Change)]) -> Result<Settled, rusqlite::Error> {
        let (now, mut settled) = (ids::now(), Settled::default());
        for (entry, change) in changes {
            let place = (key(entry.message), entry.index);
            if self.leases.lock().until(place).is_some_and(|until| until > now) {
                let there = state(&self.connection, *entry)?.is_some();
                settled.changed.push(if there { Changed::Leased } else { Changed::Gone });
                continue;
            }
            let (changed, removed) = apply(&self.connection, *entry, change, now)?;
            settled.changed.push(changed);
            if changed == Changed::Done {
                self.leases.lock().fence(place);
            }
            if removed == Some(Removed::MessageWithFile) {
                settled.remove.push(self.bodies.path(entry.message));
            }
            if let (Changed::Done, Change::Drop { record, .. } | Change::Bounce { record, .. }) = (changed, change) {
                self.logged += self.verdicts(Some(record))?;
            }
        }
        Ok(settled)
    }
}

/// Changes an entry that nobody works on.
fn apply(
    connection: &Connection,
    entry: EntryId,
    change: &Change,
    now: Timestamp,
) -> rusqlite::Result<(Changed, Option<Removed>)> {
    const QUEUED: i64 = State::Queued as i64;
    const HELD: i64 = State::Held as i64;
    let Some((state, sent)) = state(connection, entry)? else { return Ok((Changed::Gone, None)) };
    let (message, place) = (key(entry.message), entry.index);
    let changed = match (change, state) {
        (Change::Drop { record, report }, _) => {
            // More than one recipient is always looked for.
            let removed = rows::remove(connection, message, place, u32::MAX)?;
            rows::insert_verdicts(connection, record)?;
            if let Some(report) = report {
                rows::insert_report(connection, now, report)?;
            }
            return Ok((Changed::Done, removed));
        }
        (Change::Bounce { .. }, QUEUED | HELD) if !sent => Changed::NoSender,
        (Change::Bounce { status, reason, record }, QUEUED | HELD) => {
            let bounce = Pending::Bounce { status: status.clone(), reason: reason.clone() };
            let pending = rows::pending_to_text(&bounce)?;
            set(connection, "state = 0, next_attempt = ?3, pending = ?4", (message, place, now, pending))?;
            rows::insert_verdicts(connection, record)?;
            Changed::Done
        }
        (Change::Retry, QUEUED) if begins(connection, message, place)? > now => Changed::Early,
        (Change::Retry, QUEUED) => {
            set(connection, "next_attempt = min(next_attempt, ?3)", (message, place, now))?;
            Changed::Done
        }
        (Change::Retry, HELD) => Changed::Held,
        (Change::Hold { reason }, QUEUED) => {
            // What was last said is worth keeping.
            let reason_too = "state = 1, next_attempt = NULL, reason = ?3 || coalesce('; last said: ' || reason, '')";
            set(connection, reason_too, (message, place, reason))?;
            Changed::Done
        }
        (Change::Release, HELD) => {
            let at = now.max(begins(connection, message, place)?);
            // Whoever lists it sees again what was last said; what was never tried has nothing to say.
            let last_said = "state = 0, next_attempt = ?3, reason = CASE
                WHEN instr(reason, '; last said: ') > 0 THEN substr(reason, instr(reason, '; last said: ') + 13)
                WHEN attempts > 0 THEN reason END";
            set(connection, last_said, (message, place, at))?;
            Changed::Done
        }
        (Change::Bounce { .. } | Change::Retry | Change::Hold { .. } | Change::Release, _) => Changed::Unneeded,
    };
    Ok((changed, None))
}

/// When the message may go, as its sender wants it.
fn begins(connection: &Connection, message: i64, place: u32) -> rusqlite::Result<Timestamp> {
    // Almost no message has wishes.
    if !connection.prepare_cached("SELECT 1 FROM wishes WHERE message = ?1")?.exists([message])? {
        return Ok(0);
    }
    Ok(EntryReader::new(connection)?.read(message, place)?.message.envelope.begins())
}

/// Changes columns of the entry whose key and place are the first two parameters.
fn set(connection: &Connection, columns: &str, parameters: impl Params) -> rusqlite::Result<()> {
    let statement = format!("UPDATE entry SET {columns} WHERE message = ?1 AND place = ?2");
    connection.prepare_cached(&statement)?.execute(parameters).map(drop)
}
