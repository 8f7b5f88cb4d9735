//! What plugins keep: one SQLite file for all of them, and in it a bucket for each.
//!
//! Owns the file, the quota and expiry. Refuses to know what values mean. It is no part of the mail store: a flood here
//! waits for itself, and what was written in the last moment before a power failure may be lost.

use std::{path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};

/// How long a plugin waits while another one writes.
const BUSY: Duration = Duration::from_millis(500);
/// What a row costs beside its key and value.
const ROW: u64 = 32;
/// Octets of a key.
pub(super) const KEY: usize = 512;

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

/// One plugin's part.
#[derive(Debug)]
pub(super) struct Bucket {
    plugin: String,
    quota: u64,
    inner: Mutex<Inner>,
    turns: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    /// Octets in use, expired ones included.
    used: u64,
    /// When what had expired was last thrown out, seconds since 1970: once a second is enough.
    swept: u32,
}

impl Bucket {
    /// Opens the file, made if need be.
    pub(super) fn open(file: &Path, plugin: &str, quota: u64) -> Result<Self, BucketError> {
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
        let inner = Mutex::new(Inner { connection, used, swept: 0 });
        Ok(Self { plugin: plugin.to_owned(), quota, inner, turns: Arc::default() })
    }

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

    /// Counters are kept as decimal text.
    pub(super) fn increment(&self, key: &str, by: i32, seconds: u32, now: u32) -> Result<i32, BucketError> {
        let mut inner = self.inner.lock();
        let (sum, expires) = match self.live(&inner.connection, key, now)? {
            Some((value, expires)) => {
                let count = std::str::from_utf8(&value).ok().and_then(|text| text.parse::<i32>().ok());
                let count = count.ok_or_else(|| BucketError::Invalid(format!("{key} holds no counter")))?;
                let sum = count.checked_add(by);
                (sum.ok_or_else(|| BucketError::Limit(format!("{key} would overflow")))?, expires)
            }
            None => (by, if seconds == 0 { 0 } else { u64::from(now) + u64::from(seconds) }),
        };
        self.put(&mut inner, key, sum.to_string().as_bytes(), expires, now)?;
        Ok(sum)
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

    #[test]
    fn kept_expired_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plugins.sqlite");
        let bucket = Bucket::open(&file, "one", 1000).unwrap();
        let other = Bucket::open(&file, "two", 1000).unwrap();
        bucket.set("a", b"1", 0, 100).unwrap();
        bucket.set("b", b"2", 10, 100).unwrap();
        assert_eq!(bucket.get("b", 109).unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!(bucket.get("b", 110).unwrap(), None);
        assert_eq!(other.get("a", 100).unwrap(), None, "nobody else's");

        assert_eq!(bucket.increment("n", 2, 10, 100).unwrap(), 2);
        assert_eq!(bucket.increment("n", -5, 10, 109).unwrap(), -3);
        assert_eq!(bucket.increment("n", 1, 10, 110).unwrap(), 1, "it expires after it began");
        assert!(matches!(bucket.increment("n", i32::MAX, 0, 111), Err(BucketError::Limit(_))));
        bucket.set("text", b"x", 0, 1).unwrap();
        assert!(matches!(bucket.increment("text", 1, 0, 1), Err(BucketError::Invalid(_))));

        bucket.delete("a").unwrap();
        drop(bucket);
        let again = Bucket::open(&file, "one", 1000).unwrap();
        assert_eq!((again.get("a", 1).unwrap(), again.get("n", 111).unwrap()), (None, Some(b"1".to_vec())));
    }

    #[test]
    fn the_quota_holds_and_what_expired_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(&folder.path().join("plugins.sqlite"), "one", 1000).unwrap();
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
