//! What plugins keep: one SQLite file for all of them, and in it a bucket for each.
//!
//! Owns the file, the quota and expiry. Refuses to know what values mean. It is no part of the mail store: a flood here
//! waits for itself, and what was written in the last moment before a power failure may be lost.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};

/// How long a plugin waits while another one writes.
const BUSY: Duration = Duration::from_millis(500);
/// What a row costs beside its key and value.
const ROW: u64 = 32;
/// Octets of a key.
pub(super) const KEY: usize = 512;

/// What a counter may be.
pub(super) type Range = std::ops::RangeInclusive<i128>;

/// Why nothing was read or kept.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The quota or the length of a key.
    #[error("{0}")]
    Limit(String),
    /// Not what it was taken for.
    #[error("{0}")]
    Invalid(String),
    /// SQLite's.
    #[error("the database does not answer: {0}")]
    Database(#[from] rusqlite::Error),
}

/// The parts that are open. A plugin that is being replaced shares its own with its successor, so that both know how much
/// is in use.
#[derive(Debug, Default)]
pub(super) struct Buckets(Mutex<HashMap<String, Weak<Mutex<Inner>>>>);

impl Buckets {
    /// Opens one plugin's part of the file, made if need be. All have to be of the same file.
    pub(super) fn open(&self, file: &Path, plugin: &str, quota: u64) -> Result<Bucket, BucketError> {
        let mut open = self.0.lock();
        let inner = match open.get(plugin).and_then(Weak::upgrade) {
            Some(inner) => inner,
            None => {
                let inner = Arc::new(Mutex::new(Inner::open(file, plugin)?));
                open.retain(|_, inner| inner.strong_count() > 0);
                open.insert(plugin.to_owned(), Arc::downgrade(&inner));
                inner
            }
        };
        Ok(Bucket { plugin: plugin.to_owned(), quota, inner, turns: Arc::default() })
    }
}

/// One plugin's part.
#[derive(Debug)]
pub(super) struct Bucket {
    plugin: String,
    quota: u64,
    inner: Arc<Mutex<Inner>>,
    turns: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
pub(super) struct Inner {
    connection: Connection,
    /// Octets in use, expired ones included.
    used: u64,
    /// When what had expired was last thrown out, seconds since 1970: once a second is enough.
    swept: u32,
}

impl Inner {
    fn open(file: &Path, plugin: &str) -> Result<Self, BucketError> {
        let connection = Connection::open(file)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS pair (
                 plugin TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
                 expires INTEGER NOT NULL, -- seconds since 1970; 0: never
                 PRIMARY KEY (plugin, key)
             ) WITHOUT ROWID",
        )?;
        let used = used(&connection, plugin)?;
        Ok(Self { connection, used, swept: 0 })
    }
}

impl Bucket {
    /// Waits until nobody else is at it, so that at most one thread is: the others are needed for mail.
    pub(super) async fn turn(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.turns).lock_owned().await
    }

    pub(super) fn get(&self, key: &str, now: u32) -> Result<Option<Vec<u8>>, BucketError> {
        let inner = self.inner.lock();
        let live = self.live(&inner.connection, key, now)?;
        Ok(live.map(|(value, _)| value))
    }

    pub(super) fn set(&self, key: &str, value: &[u8], seconds: u32, now: u32) -> Result<(), BucketError> {
        let expires = if seconds == 0 { 0 } else { u64::from(now) + u64::from(seconds) };
        self.put(&mut self.inner.lock(), key, value, expires, now)
    }

    pub(super) fn delete(&self, key: &str) -> Result<(), BucketError> {
        let mut inner = self.inner.lock();
        let held = self.held(&inner.connection, key)?;
        inner
            .connection
            .prepare_cached("DELETE FROM pair WHERE plugin = ?1 AND key = ?2")?
            .execute(params![self.plugin, key])?;
        inner.used = inner.used.saturating_sub(held);
        Ok(())
    }

    /// Counters are kept as decimal text. One that is not in the range is none.
    pub(super) fn increment(
        &self,
        key: &str,
        by: i128,
        range: &Range,
        seconds: u32,
        now: u32,
    ) -> Result<i128, BucketError> {
        let mut inner = self.inner.lock();
        let (before, expires) = match self.live(&inner.connection, key, now)? {
            Some((value, expires)) => {
                let count = std::str::from_utf8(&value).ok().and_then(|text| text.parse::<i128>().ok());
                let count = count.filter(|count| range.contains(count));
                (count.ok_or_else(|| BucketError::Invalid(format!("{key} holds no counter")))?, expires)
            }
            None => (0, if seconds == 0 { 0 } else { u64::from(now) + u64::from(seconds) }),
        };
        let sum = before.checked_add(by).filter(|sum| range.contains(sum));
        let sum = sum.ok_or_else(|| BucketError::Limit(format!("{key} would overflow")))?;
        self.put(&mut inner, key, sum.to_string().as_bytes(), expires, now)?;
        Ok(sum)
    }

    /// All that has not expired.
    pub(super) fn all(&self, now: u32) -> Result<BTreeMap<String, Vec<u8>>, BucketError> {
        let inner = self.inner.lock();
        let mut query = inner
            .connection
            .prepare_cached("SELECT key, value FROM pair WHERE plugin = ?1 AND (expires = 0 OR expires > ?2)")?;
        let pairs = query.query_map(params![self.plugin, now], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(pairs.collect::<Result<_, _>>()?)
    }

    /// Forgets everything.
    pub(super) fn clear(&self) -> Result<(), BucketError> {
        let mut inner = self.inner.lock();
        inner.connection.execute("DELETE FROM pair WHERE plugin = ?1", params![self.plugin])?;
        inner.used = 0;
        Ok(())
    }

    /// Keys that are there, at most so many, without the first `from`, in their order.
    pub(super) fn keys(&self, from: u64, most: u32, now: u32) -> Result<Vec<String>, BucketError> {
        let inner = self.inner.lock();
        let mut found = inner.connection.prepare_cached(
            "SELECT key FROM pair WHERE plugin = ?1 AND (expires = 0 OR expires > ?2) ORDER BY key LIMIT ?3 OFFSET ?4",
        )?;
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let keys = found.query_map(params![self.plugin, now, most, from], |row| row.get(0))?;
        Ok(keys.collect::<Result<_, _>>()?)
    }

    /// What is there and has not expired, and when it will.
    fn live(&self, connection: &Connection, key: &str, now: u32) -> Result<Option<(Vec<u8>, u64)>, BucketError> {
        let found = connection
            .prepare_cached(
                "SELECT value, expires FROM pair WHERE plugin = ?1 AND key = ?2 AND (expires = 0 OR expires > ?3)",
            )?
            .query_row(params![self.plugin, key, now], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(found)
    }

    /// Octets of a row, if there is one.
    fn held(&self, connection: &Connection, key: &str) -> Result<u64, BucketError> {
        let length: Option<u64> = connection
            .prepare_cached("SELECT length(value) FROM pair WHERE plugin = ?1 AND key = ?2")?
            .query_row(params![self.plugin, key], |row| row.get(0))
            .optional()?;
        Ok(length.map_or(0, |length| length + key.len() as u64 + ROW))
    }

    fn put(&self, inner: &mut Inner, key: &str, value: &[u8], expires: u64, now: u32) -> Result<(), BucketError> {
        if key.len() > KEY {
            return Err(BucketError::Limit(format!("a key has at most {KEY} octets")));
        }
        let wants = (key.len() + value.len()) as u64 + ROW;
        let mut held = self.held(&inner.connection, key)?;
        if inner.used - held.min(inner.used) + wants > self.quota && inner.swept != now {
            inner.swept = now;
            inner
                .connection
                .prepare_cached("DELETE FROM pair WHERE plugin = ?1 AND expires <> 0 AND expires <= ?2")?
                .execute(params![self.plugin, now])?;
            inner.used = used(&inner.connection, &self.plugin)?;
            held = self.held(&inner.connection, key)?;
        }
        let used = inner.used.saturating_sub(held) + wants;
        if used > self.quota {
            return Err(BucketError::Limit(format!("grants.keyvalue allows {} octets", self.quota)));
        }
        inner
            .connection
            .prepare_cached("INSERT OR REPLACE INTO pair (plugin, key, value, expires) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![self.plugin, key, value, expires])?;
        inner.used = used;
        Ok(())
    }
}

fn used(connection: &Connection, plugin: &str) -> Result<u64, BucketError> {
    Ok(connection.query_row(
        "SELECT coalesce(sum(length(value) + length(CAST(key AS BLOB)) + ?2), 0) FROM pair WHERE plugin = ?1",
        params![plugin, ROW],
        |row| row.get(0),
    )?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const SMALL: Range = -128..=127;

    #[test]
    fn kept_expired_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plugins.sqlite");
        let bucket = Buckets::default().open(&file, "one", 1000).unwrap();
        let other = Buckets::default().open(&file, "two", 1000).unwrap();
        bucket.set("a", b"1", 0, 100).unwrap();
        bucket.set("b", b"2", 10, 100).unwrap();
        assert_eq!(bucket.get("b", 109).unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!(bucket.get("b", 110).unwrap(), None);
        assert_eq!(other.get("a", 100).unwrap(), None, "nobody else's");

        assert_eq!(bucket.increment("n", 2, &SMALL, 10, 100).unwrap(), 2);
        assert_eq!(bucket.increment("n", -5, &SMALL, 10, 109).unwrap(), -3);
        assert_eq!(bucket.increment("n", 1, &SMALL, 10, 110).unwrap(), 1, "it expires after it began");
        assert!(matches!(bucket.increment("n", 127, &SMALL, 0, 111), Err(BucketError::Limit(_))));
        bucket.set("text", b"x", 0, 1).unwrap();
        assert!(matches!(bucket.increment("text", 1, &SMALL, 0, 1), Err(BucketError::Invalid(_))));

        assert_eq!(bucket.keys(0, 10, 111).unwrap(), ["a", "n", "text"], "b has expired");
        assert_eq!(bucket.keys(1, 1, 111).unwrap(), ["n"]);

        let all = |now| bucket.all(now).unwrap().into_keys().collect::<Vec<_>>();
        assert_eq!(
            (all(109), all(110)),
            (vec!["a".into(), "b".into(), "n".into(), "text".into()], vec!["a".to_owned(), "n".into(), "text".into()])
        );
        bucket.delete("a").unwrap();
        drop(bucket);
        let again = Buckets::default().open(&file, "one", 1000).unwrap();
        assert_eq!((again.get("a", 1).unwrap(), again.get("n", 111).unwrap()), (None, Some(b"1".to_vec())));
    }

    #[test]
    fn the_quota_holds_and_what_expired_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Buckets::default().open(&folder.path().join("plugins.sqlite"), "one", 1000).unwrap();
        let value = [0; 400];
        bucket.set("a", &value, 10, 100).unwrap();
        bucket.set("b", &value, 0, 100).unwrap();
        assert!(matches!(bucket.set("c", &value, 0, 100), Err(BucketError::Limit(_))));
        bucket.set("b", &value, 0, 100).unwrap();
        bucket.set("c", &value, 0, 110).unwrap();
        assert!(matches!(bucket.set("a", &value, 0, 110), Err(BucketError::Limit(_))));
        bucket.delete("b").unwrap();
        bucket.set("a", &value, 0, 110).unwrap();
        assert!(matches!(bucket.set(&"k".repeat(KEY + 1), b"", 0, 1), Err(BucketError::Limit(_))));
        for n in 0..1000 {
            let _ = bucket.set(&format!("flood {n}"), b"", 0, 110);
        }
        let inner = bucket.inner.lock();
        assert_eq!(inner.used, used(&inner.connection, "one").unwrap());
        assert!(inner.used <= 1000, "{}", inner.used);
    }
}
