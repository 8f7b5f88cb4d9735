//! The counts and what has become of their reports, in a SQLite file of their own.
//!
//! Owns the file `tls-reports.db` below the data folder. Refuses to know when a report is due and how it goes. Fails with what SQLite
//! says. It is no part of the mail store, and what is committed is on the disk (`synchronous=FULL`): a commit comes once in a
//! while for the counts of all domains, and for each step of a report.

use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::counts::{DOMAINS, Days, Tally, add};

/// The file below the data folder.
pub const FILE: &str = "tls-reports.db";

/// What is known of a domain's report of one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Days since 1970.
    pub day: u64,
    /// In A-labels.
    pub domain: String,
    /// Not before this time, seconds since 1970.
    pub at: u64,
    /// How far it is.
    pub job: Job,
}

/// How far a report is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Names the report.
    pub id: String,
    /// When something was tried first, seconds since 1970.
    pub since: Option<u64>,
    /// How often.
    pub tries: u32,
    /// Where it goes; None: the domain has not been asked.
    pub to: Option<Vec<Destination>>,
}

/// One place that a report goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// As the domain has it.
    pub uri: String,
    /// How far it is.
    pub state: State,
}

/// How far a report is on its way to one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not sent.
    Due,
    /// About to be accepted by the store as this message, held; perhaps it was.
    Sending(String),
    /// The store has it; it has to be released.
    Accepted(String),
    /// It is sent.
    Done,
    /// It can not be sent there.
    Failed,
}

/// The open file.
#[derive(Debug)]
pub struct Book(Mutex<Connection>);

impl Book {
    /// Opens the file, made if need be.
    ///
    /// # Errors
    /// SQLite's.
    pub fn open(file: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS page (
                 day INTEGER NOT NULL,   -- since 1970, UTC
                 domain TEXT NOT NULL,
                 tallies TEXT NOT NULL,  -- JSON
                 at INTEGER,             -- seconds since 1970; NULL: the day was not over when it was last looked at
                 job TEXT,               -- JSON
                 PRIMARY KEY (day, domain)
             ) WITHOUT ROWID;
             CREATE INDEX IF NOT EXISTS page_at ON page (at);",
        )?;
        Ok(Self(Mutex::new(connection)))
    }

    /// Adds what was counted, in one transaction. Of a day that has as many domains as there may be, others are left out; so is
    /// what comes after its report was planned.
    ///
    /// # Errors
    /// SQLite's. Nothing was added.
    pub fn add(&self, days: &Days) -> rusqlite::Result<()> {
        if days.is_empty() {
            return Ok(());
        }
        let mut connection = self.0.lock();
        let transaction = connection.transaction()?;
        for ((day, domain), tallies) in days {
            let known: Option<(String, Option<u64>)> = transaction
                .prepare_cached("SELECT tallies, at FROM page WHERE day = ?1 AND domain = ?2")?
                .query_row(params![day, domain], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let mut all = match known {
                Some((_, Some(_))) => continue,
                Some((text, None)) => json(&text),
                None => {
                    let domains: u64 = transaction
                        .prepare_cached("SELECT count(*) FROM page WHERE day = ?1")?
                        .query_row([day], |row| row.get(0))?;
                    if domains >= DOMAINS as u64 {
                        continue;
                    }
                    Vec::new()
                }
            };
            tallies.iter().for_each(|tally| add(&mut all, tally.clone()));
            transaction
                .prepare_cached(
                    "INSERT INTO page (day, domain, tallies) VALUES (?1, ?2, ?3)
                     ON CONFLICT (day, domain) DO UPDATE SET tallies = excluded.tallies",
                )?
                .execute(params![day, domain, text(&all)])?;
        }
        transaction.commit()
    }

    /// Plans a report for each page of a day before this one that has none: when, and by which name.
    ///
    /// # Errors
    /// SQLite's.
    pub fn plan(&self, before: u64, mut when: impl FnMut(u64) -> (u64, String)) -> rusqlite::Result<()> {
        let mut connection = self.0.lock();
        let transaction = connection.transaction()?;
        let ended: Vec<(u64, String)> = transaction
            .prepare_cached("SELECT day, domain FROM page WHERE at IS NULL AND day < ?1")?
            .query_map([before], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (day, domain) in ended {
            let (at, id) = when(day);
            let job = Job { id, ..Job::default() };
            transaction
                .prepare_cached("UPDATE page SET at = ?3, job = ?4 WHERE day = ?1 AND domain = ?2")?
                .execute(params![day, domain, at, text(&job)])?;
        }
        transaction.commit()
    }

    /// Up to `most` that are due, the longest due first.
    ///
    /// # Errors
    /// SQLite's.
    pub fn due(&self, now: u64, most: u32) -> rusqlite::Result<Vec<Page>> {
        let connection = self.0.lock();
        let mut statement =
            connection.prepare_cached("SELECT day, domain, at, job FROM page WHERE at <= ?1 ORDER BY at LIMIT ?2")?;
        let pages = statement.query_map([now, most.into()], |row| {
            let job: String = row.get(3)?;
            Ok(Page { day: row.get(0)?, domain: row.get(1)?, at: row.get(2)?, job: json(&job) })
        })?;
        pages.collect()
    }

    /// What was counted.
    ///
    /// # Errors
    /// SQLite's; there has to be such a page.
    pub fn tallies(&self, page: &Page) -> rusqlite::Result<Vec<Tally>> {
        let text: String = self
            .0
            .lock()
            .prepare_cached("SELECT tallies FROM page WHERE day = ?1 AND domain = ?2")?
            .query_row(params![page.day, page.domain], |row| row.get(0))?;
        Ok(json(&text))
    }

    /// Keeps how far it is. It is on the disk when this returns.
    ///
    /// # Errors
    /// SQLite's.
    pub fn put(&self, page: &Page) -> rusqlite::Result<()> {
        self.0
            .lock()
            .prepare_cached("UPDATE page SET at = ?3, job = ?4 WHERE day = ?1 AND domain = ?2")?
            .execute(params![page.day, page.domain, page.at, text(&page.job)])
            .map(drop)
    }

    /// It is done with.
    ///
    /// # Errors
    /// SQLite's.
    pub fn remove(&self, page: &Page) -> rusqlite::Result<()> {
        self.0
            .lock()
            .prepare_cached("DELETE FROM page WHERE day = ?1 AND domain = ?2")?
            .execute(params![page.day, page.domain])
            .map(drop)
    }
}

/// What was written here is read again; damage counts as nothing.
fn json<T: Default + for<'a> Deserialize<'a>>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_default()
}

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
