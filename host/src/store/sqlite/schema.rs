//! The tables, and how a connection is set up.
//!
//! Owns the schema, the way from earlier ones, and the settings that durability hangs on. Refuses to know what the rows mean. Fails
//! with [`OpenError`]: a later version's database is left as it is.
//!
//! `message.key` is the front of the message's ULID (see `ids`). `content` is NULL when the content is a file. It is the
//! last column, so that what only reads an envelope never touches it. An entry of state [`State::Queued`] is in the
//! index `due`, or with a priority that is not 0 in `ranked`, so that almost all mail pays for one index; whether it is leased
//! is known to the running process only, because no lease outlives its process.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, types::ToSql};

use super::OpenError;
use crate::store::durable;

/// `user_version` of the schema below.
const VERSION: i64 = 4;

/// What an entry's `state` column says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// To be delivered at `next_attempt`.
    Queued = 0,
    /// Waits for an operator or a later feature.
    Held = 1,
}

impl State {
    /// As `queue list` has it.
    pub(super) fn word(state: i64) -> &'static str {
        match state {
            0 => "queued",
            1 => "held",
            // Of version 2: delivered, and the sender, who wanted to know, was not told.
            3 => "owed",
            _ => "unknown",
        }
    }
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok((*self as i64).into())
    }
}

const TABLES: &str = "
CREATE TABLE message (
    key INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    size INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    reverse_local TEXT,
    reverse_domain TEXT,
    body INTEGER NOT NULL,
    smtputf8 INTEGER NOT NULL,
    require_tls INTEGER NOT NULL,
    eight_bit INTEGER NOT NULL,
    bare_line_ends INTEGER NOT NULL,
    ret INTEGER,
    envid TEXT,
    submitter TEXT,
    client TEXT,
    hello TEXT,
    identity TEXT,
    tls TEXT,
    session TEXT NOT NULL,
    listener TEXT NOT NULL,
    prefix BLOB NOT NULL,
    content BLOB
);
CREATE INDEX filed ON message (key) WHERE content IS NULL;
CREATE TABLE entry (
    message INTEGER NOT NULL,
    place INTEGER NOT NULL,
    state INTEGER NOT NULL,
    next_attempt INTEGER,
    attempts INTEGER NOT NULL,
    recipient_local TEXT NOT NULL,
    recipient_domain TEXT NOT NULL,
    notify INTEGER,
    orcpt_type TEXT,
    orcpt TEXT,
    mailbox TEXT,
    reason TEXT,
    edits TEXT,
    pending TEXT,
    warned INTEGER NOT NULL DEFAULT 0,
    priority INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (message, place)
) WITHOUT ROWID;
CREATE TABLE run (number INTEGER NOT NULL);
INSERT INTO run VALUES (0);
";

/// When messages are to go of which something was said: few, and so not a column of all.
const WISHES: &str = "
CREATE TABLE wishes (
    message INTEGER PRIMARY KEY,
    wishes TEXT NOT NULL
);
CREATE INDEX due ON entry (next_attempt) WHERE state = 0 AND priority = 0;
CREATE INDEX ranked ON entry (priority, next_attempt) WHERE state = 0 AND priority <> 0;
";

/// How recipients were judged; `number` grows, and `upto` counts the recipients of this row and all before it.
const VERDICTS: &str = "
CREATE TABLE verdicts (
    number INTEGER PRIMARY KEY,
    upto INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    at INTEGER NOT NULL,
    transaction_id TEXT NOT NULL,
    message TEXT,
    judged TEXT NOT NULL
);
CREATE INDEX judged_transaction ON verdicts (transaction_id);
CREATE INDEX judged_message ON verdicts (message) WHERE message IS NOT NULL;
";

/// What plugins have yet to be told, each until it is.
const REPORTS: &str = "
CREATE TABLE report (
    number INTEGER PRIMARY KEY,
    due INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX report_due ON report (due);
";

/// From version 1, which knew no plugins. What it stored stays as it is.
const FROM_1: &str = "ALTER TABLE entry ADD COLUMN edits TEXT;";

/// From version 2, where failures waited for somebody who tells the sender: the queue does now.
const FROM_2: &str = r#"
ALTER TABLE entry ADD COLUMN pending TEXT;
ALTER TABLE entry ADD COLUMN warned INTEGER NOT NULL DEFAULT 0;
UPDATE entry SET state = 0, next_attempt = 0,
    pending = json_object('Bounce', json_object('status', '5.0.0', 'reason', coalesce(reason, 'undeliverable')))
    WHERE state = 2;
"#;

/// From version 3, which knew no priorities and held nothing for later. Whoever was judged again was judged from the beginning
/// then, and is judged from its edits on now: they are taken away, or what the plugins changed would be changed twice.
const FROM_3: &str = "
ALTER TABLE entry ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
UPDATE entry SET edits = CASE json_type(edits) WHEN 'object' THEN json_set(edits, '$.edits', json('[]')) END
    WHERE edits IS NOT NULL AND json_type(pending, '$.Rejudge') IS NOT NULL
        AND json_type(pending, '$.Rejudge.asked') IS NULL;
DROP INDEX due;
";

/// Opens the database for the writer, makes it if need be, and counts this run.
pub(super) fn open_writer(path: &Path) -> Result<(Connection, u32), OpenError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(super::writer::BUSY)?;
    // An empty file takes these two. Three messages of 4 KiB fill a page; in 8 KiB each would have one for itself, half empty.
    connection.pragma_update(None, "page_size", super::writer::PAGE)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", durable::DATABASE)?;
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update_and_check(None, "journal_size_limit", super::writer::WAL_MOST, |_| Ok(()))?;
    // The writer does this itself, after it has answered.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.set_prepared_statement_cache_capacity(64);
    match version(&connection)? {
        0 => connection.execute_batch(&change(&format!("{TABLES} {VERDICTS} {REPORTS} {WISHES}")))?,
        1 => connection.execute_batch(&change(&format!("{FROM_1} {VERDICTS} {FROM_2} {REPORTS} {FROM_3} {WISHES}")))?,
        2 => connection.execute_batch(&change(&format!("{FROM_2} {REPORTS} {FROM_3} {WISHES}")))?,
        3 => connection.execute_batch(&change(&format!("{FROM_3} {WISHES}")))?,
        VERSION => {}
        found => return Err(OpenError::Newer { path: path.to_owned(), found, known: VERSION }),
    }
    let run = connection.query_row("UPDATE run SET number = number + 1 RETURNING number", (), |row| row.get(0))?;
    Ok((connection, run))
}

/// All of it, or none.
fn change(statements: &str) -> String {
    format!("BEGIN IMMEDIATE; {statements} PRAGMA user_version = {VERSION}; COMMIT;")
}

/// Opens the database for reading beside the writer. It must be there.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(super::writer::BUSY)?;
    match version(&connection)? {
        // Readers ask for what is new since version 1, the verdicts and `pending`, before they use it; `Beside::show` needs all.
        1..=VERSION => Ok(connection),
        found => Err(OpenError::Newer { path: path.to_owned(), found, known: VERSION }),
    }
}

/// Is this the schema that a writer of this version has?
pub(super) fn is_current(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(version(connection)? == VERSION)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", (), |row| row.get(0))
}
