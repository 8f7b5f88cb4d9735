//! What plugins keep: one SQLite file for all of them, and in it a bucket for each; or the same [`Elsewhere`], for several nodes.
//!
//! Owns the file, the quota and expiry. Refuses to know what values mean. It is no part of the mail store: a flood here
//! waits for itself, and what was written in the last moment before a power failure may be lost. Elsewhere the quota is only kept
//! about: each node counts what is there now and then ([`COUNTED`]), and what it has put there itself since.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Weak},
    time::{Duration, Instant},
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
    /// Elsewhere.
    #[error("the database does not answer: {0}")]
    Elsewhere(String),
}

/// How long a count of what is elsewhere is good for.
const COUNTED: Duration = Duration::from_secs(30);
/// Times that a counter is tried while others count too.
const COUNTING: usize = 50;

/// What is kept elsewhere under a key.
#[derive(Clone, Debug)]
pub struct Kept {
    /// As it was put.
    pub value: Vec<u8>,
    /// Seconds since 1970; 0: never.
    pub expires: u64,
    /// Changes with each put.
    pub version: u64,
}

/// Where several nodes keep what plugins keep. All of it blocks, for a few seconds at most.
#[allow(clippy::missing_errors_doc, reason = "whoever does not answer says why")]
pub trait Elsewhere: Send + Sync + std::fmt::Debug {
    /// What is there.
    fn get(&self, plugin: &str, key: &str) -> Result<Option<Kept>, String>;
    /// Puts it there. `after`: only if what is there has this version (0: there is nothing). False: it has not.
    fn put(&self, plugin: &str, key: &str, kept: &Kept, now: u64, after: Option<u64>) -> Result<bool, String>;
    /// Nothing is there any more.
    fn remove(&self, plugin: &str, key: &str) -> Result<(), String>;
    /// All that a plugin has there.
    fn all(&self, plugin: &str) -> Result<Vec<(String, Kept)>, String>;
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
        Ok(Bucket { plugin: plugin.to_owned(), quota, place: Place::File(inner), turns: Arc::default() })
    }
}

/// Where a bucket is.
#[derive(Debug)]
enum Place {
    File(Arc<Mutex<Inner>>),
    Elsewhere(Arc<dyn Elsewhere>, Mutex<Count>),
}

/// What is elsewhere, about.
#[derive(Debug, Default)]
struct Count {
    used: u64,
    at: Option<Instant>,
}

/// One plugin's part.
#[derive(Debug)]
pub(super) struct Bucket {
    plugin: String,
    quota: u64,
    place: Place,
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

/// A counter as it is kept: decimal text.
fn counted(key: &str, value: &[u8], range: &Range) -> Result<i128, BucketError> {
    let count = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i128>().ok());
    let count = count.filter(|count| range.contains(count));
    count.ok_or_else(|| BucketError::Invalid(format!("{key} holds no counter")))
}

fn sum(key: &str, before: i128, by: i128, range: &Range) -> Result<i128, BucketError> {
    let sum = before.checked_add(by).filter(|sum| range.contains(sum));
    sum.ok_or_else(|| BucketError::Limit(format!("{key} would overflow")))
}

/// Seconds since 1970; 0: never.
fn expiry(seconds: u32, now: u32) -> u64 {
    if seconds == 0 { 0 } else { u64::from(now) + u64::from(seconds) }
}

impl Bucket {
    /// One that is not in a file.
    pub(super) fn elsewhere(place: Arc<dyn Elsewhere>, plugin: &str, quota: u64) -> Self {
        let place = Place::Elsewhere(place, Mutex::default());
        Self { plugin: plugin.to_owned(), quota, place, turns: Arc::default() }
    }

    /// Waits until nobody else is at it, so that at most one thread is: the others are needed for mail.
    pub(super) async fn turn(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.turns).lock_owned().await
    }

    pub(super) fn get(&self, key: &str, now: u32) -> Result<Option<Vec<u8>>, BucketError> {
        match &self.place {
            Place::File(inner) => {
                let inner = inner.lock();
                let live = self.live(&inner.connection, key, now)?;
                Ok(live.map(|(value, _)| value))
            }
            Place::Elsewhere(place, _) => Ok(self.there(&**place, key, now)?.0.map(|kept| kept.value)),
        }
    }

    pub(super) fn set(&self, key: &str, value: &[u8], seconds: u32, now: u32) -> Result<(), BucketError> {
        let expires = expiry(seconds, now);
        match &self.place {
            Place::File(inner) => self.put(&mut inner.lock(), key, value, expires, now),
            Place::Elsewhere(place, count) => self.put_there(&**place, count, key, value, expires, now, None).map(drop),
        }
    }

    pub(super) fn delete(&self, key: &str) -> Result<(), BucketError> {
        let inner = match &self.place {
            Place::File(inner) => inner,
            Place::Elsewhere(place, _) => return place.remove(&self.plugin, key).map_err(BucketError::Elsewhere),
        };
        let mut inner = inner.lock();
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
        let inner = match &self.place {
            Place::File(inner) => inner,
            Place::Elsewhere(place, count) => {
                for _ in 0..COUNTING {
                    let (kept, version) = self.there(&**place, key, now)?;
                    let (before, expires) = match &kept {
                        Some(kept) => (counted(key, &kept.value, range)?, kept.expires),
                        None => (0, expiry(seconds, now)),
                    };
                    let sum = sum(key, before, by, range)?;
                    let value = sum.to_string();
                    if self.put_there(&**place, count, key, value.as_bytes(), expires, now, Some(version))? {
                        return Ok(sum);
                    }
                }
                return Err(BucketError::Elsewhere(format!("{key} is counted by too many at once")));
            }
        };
        let mut inner = inner.lock();
        let (before, expires) = match self.live(&inner.connection, key, now)? {
            Some((value, expires)) => (counted(key, &value, range)?, expires),
            None => (0, expiry(seconds, now)),
        };
        let sum = sum(key, before, by, range)?;
        self.put(&mut inner, key, sum.to_string().as_bytes(), expires, now)?;
        Ok(sum)
    }

    /// All that has not expired.
    pub(super) fn all(&self, now: u32) -> Result<BTreeMap<String, Vec<u8>>, BucketError> {
        let inner = match &self.place {
            Place::File(inner) => inner.lock(),
            Place::Elsewhere(place, _) => {
                let all = place.all(&self.plugin).map_err(BucketError::Elsewhere)?;
                let live = all.into_iter().filter(|(_, kept)| kept.expires == 0 || kept.expires > u64::from(now));
                return Ok(live.map(|(key, kept)| (key, kept.value)).collect());
            }
        };
        let mut query = inner
            .connection
            .prepare_cached("SELECT key, value FROM pair WHERE plugin = ?1 AND (expires = 0 OR expires > ?2)")?;
        let pairs = query.query_map(params![self.plugin, now], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(pairs.collect::<Result<_, _>>()?)
    }

    /// Forgets everything.
    pub(super) fn clear(&self) -> Result<(), BucketError> {
        let mut inner = match &self.place {
            Place::File(inner) => inner.lock(),
            Place::Elsewhere(..) => return self.all(0)?.keys().try_for_each(|key| self.delete(key)),
        };
        inner.connection.execute("DELETE FROM pair WHERE plugin = ?1", params![self.plugin])?;
        inner.used = 0;
        Ok(())
    }

    /// Keys that are there, at most so many, without the first `from`, in their order.
    pub(super) fn keys(&self, from: u64, most: u32, now: u32) -> Result<Vec<String>, BucketError> {
        let inner = match &self.place {
            Place::File(inner) => inner.lock(),
            Place::Elsewhere(..) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                return Ok(self.all(now)?.into_keys().skip(from).take(most as usize).collect());
            }
        };
        let mut found = inner.connection.prepare_cached(
            "SELECT key FROM pair WHERE plugin = ?1 AND (expires = 0 OR expires > ?2) ORDER BY key LIMIT ?3 OFFSET ?4",
        )?;
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let keys = found.query_map(params![self.plugin, now, most, from], |row| row.get(0))?;
        Ok(keys.collect::<Result<_, _>>()?)
    }

    /// What is there elsewhere and has not expired; and the version of what is there, expired or not.
    fn there(&self, place: &dyn Elsewhere, key: &str, now: u32) -> Result<(Option<Kept>, u64), BucketError> {
        let kept = place.get(&self.plugin, key).map_err(BucketError::Elsewhere)?;
        let version = kept.as_ref().map_or(0, |kept| kept.version);
        Ok((kept.filter(|kept| kept.expires == 0 || kept.expires > u64::from(now)), version))
    }

    #[allow(clippy::too_many_arguments, reason = "a row, and where it goes")]
    fn put_there(
        &self,
        place: &dyn Elsewhere,
        count: &Mutex<Count>,
        key: &str,
        value: &[u8],
        expires: u64,
        now: u32,
        after: Option<u64>,
    ) -> Result<bool, BucketError> {
        if key.len() > KEY {
            return Err(BucketError::Limit(format!("a key has at most {KEY} octets")));
        }
        let wants = (key.len() + value.len()) as u64 + ROW;
        let old = count.lock().at.is_none_or(|at| at.elapsed() > COUNTED);
        if old {
            let all = place.all(&self.plugin).map_err(BucketError::Elsewhere)?;
            let used = all.iter().map(|(key, kept)| (key.len() + kept.value.len()) as u64 + ROW).sum();
            *count.lock() = Count { used, at: Some(Instant::now()) };
        }
        let used = count.lock().used;
        // What replaces something takes no more room.
        let new = || place.get(&self.plugin, key).map(|kept| kept.is_none_or(|kept| kept.value.len() < value.len()));
        if used + wants > self.quota && new().map_err(BucketError::Elsewhere)? {
            return Err(BucketError::Limit(format!("grants.keyvalue allows {} octets", self.quota)));
        }
        let kept = Kept { value: value.to_vec(), expires, version: 0 };
        let put = place.put(&self.plugin, key, &kept, now.into(), after).map_err(BucketError::Elsewhere)?;
        if put && after.unwrap_or(0) == 0 {
            count.lock().used += wants;
        }
        Ok(put)
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
        let Place::File(inner) = &bucket.place else { unreachable!() };
        let inner = inner.lock();
        assert_eq!(inner.used, used(&inner.connection, "one").unwrap());
        assert!(inner.used <= 1000, "{}", inner.used);
    }

    /// Two nodes' plugins, as if on two machines.
    #[derive(Debug, Default)]
    struct Table(Mutex<(u64, Rows)>);

    type Rows = BTreeMap<(String, String), Kept>;

    impl Elsewhere for Table {
        fn get(&self, plugin: &str, key: &str) -> Result<Option<Kept>, String> {
            Ok(self.0.lock().1.get(&(plugin.to_owned(), key.to_owned())).cloned())
        }
        fn put(&self, plugin: &str, key: &str, kept: &Kept, _: u64, after: Option<u64>) -> Result<bool, String> {
            let mut table = self.0.lock();
            let place = (plugin.to_owned(), key.to_owned());
            let found = table.1.get(&place).map_or(0, |kept| kept.version);
            if after.is_some_and(|after| after != found) {
                return Ok(false);
            }
            table.0 += 1;
            let version = table.0;
            table.1.insert(place, Kept { version, ..kept.clone() });
            Ok(true)
        }
        fn remove(&self, plugin: &str, key: &str) -> Result<(), String> {
            self.0.lock().1.remove(&(plugin.to_owned(), key.to_owned()));
            Ok(())
        }
        fn all(&self, plugin: &str) -> Result<Vec<(String, Kept)>, String> {
            let table = self.0.lock();
            let mine = table.1.iter().filter(|((of, _), _)| of == plugin);
            Ok(mine.map(|((_, key), kept)| (key.clone(), kept.clone())).collect())
        }
    }

    #[test]
    fn elsewhere_it_is_the_same() {
        let table = Arc::new(Table::default());
        let bucket = |plugin| Bucket::elsewhere(table.clone(), plugin, 1000);
        let (one, again, other) = (bucket("one"), bucket("one"), bucket("two"));
        one.set("a", b"1", 0, 100).unwrap();
        one.set("b", b"2", 10, 100).unwrap();
        assert_eq!(again.get("b", 109).unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!((again.get("b", 110).unwrap(), other.get("a", 100).unwrap()), (None, None));
        assert_eq!(one.increment("n", 2, &SMALL, 10, 100).unwrap(), 2);
        assert_eq!(again.increment("n", -5, &SMALL, 10, 109).unwrap(), -3);
        assert_eq!(one.increment("n", 1, &SMALL, 10, 110).unwrap(), 1, "it expires after it began");
        assert!(matches!(one.increment("n", 127, &SMALL, 0, 111), Err(BucketError::Limit(_))));
        assert_eq!(again.keys(0, 10, 111).unwrap(), ["a", "n"], "b has expired");
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let bucket = bucket("one");
                std::thread::spawn(move || {
                    for _ in 0..10 {
                        bucket.increment("m", 1, &SMALL, 0, 1).unwrap();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(one.get("m", 1).unwrap().as_deref(), Some(&b"40"[..]), "none is lost");
        assert!(matches!(bucket("one").set("c", &[0; 900], 0, 1), Err(BucketError::Limit(_))));
        one.clear().unwrap();
        assert!(again.all(1).unwrap().is_empty());
    }
}
