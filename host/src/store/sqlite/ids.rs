//! Message ids: ULIDs whose first 63 bits are also the row's key.
//!
//! 48 bits are milliseconds, the next 15 count within the millisecond, 65 are random. So the key is unique within the
//! store, grows with every message (rows are appended, never inserted between others), and the id as a whole is unique
//! in the world, which the names in a Maildir need.
//!
//! Owns how ids are made and which key each has. Refuses to know what they name. Cannot fail: where the clock goes back, or too
//! many come within a millisecond, keys go on from the last one.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crate::store::{MessageId, Timestamp};

/// Bits of an id that are random.
const RANDOM: u32 = 65;
/// Bits of the key that count within a millisecond.
const COUNT: u32 = 15;

/// Milliseconds since the Unix epoch.
pub(crate) fn now() -> Timestamp {
    #[cfg(test)]
    if let Some(now) = super::simulated::now() {
        return now;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// By how many milliseconds the clock was set, forward or back, since this process first asked. How long something lasts is
/// not to depend on that.
pub(in crate::store) fn clock_set() -> i64 {
    static FIRST: LazyLock<(Instant, Timestamp)> = LazyLock::new(|| (Instant::now(), now()));
    #[cfg(test)]
    if let Some(set) = super::simulated::clock_set() {
        return set;
    }
    let passed = u64::try_from(FIRST.0.elapsed().as_millis()).unwrap_or(u64::MAX);
    now().wrapping_sub(FIRST.1.saturating_add(passed)).cast_signed()
}

/// The key of an id's row.
pub(super) fn key(id: MessageId) -> i64 {
    i64::try_from(u128::from(id) >> RANDOM).unwrap_or(i64::MAX)
}

/// No id that was made at this time or later has a key below this one.
pub(super) fn first_of(time: Timestamp) -> i64 {
    i64::try_from(time.min(Timestamp::MAX >> COUNT) << COUNT).unwrap_or(i64::MAX)
}

/// Makes ids.
#[derive(Debug)]
pub(in crate::store) struct Ids {
    last: AtomicU64,
    /// Ids below this key are of an earlier run.
    pub(super) first: i64,
}

impl Ids {
    /// `last` is the greatest key in the store: a clock that was set back brings no key twice.
    pub(in crate::store) fn after(last: i64) -> Self {
        let first = (last.unsigned_abs() + 1).max(now() << COUNT);
        Self { last: AtomicU64::new(first), first: i64::try_from(first).unwrap_or(i64::MAX) }
    }

    /// The next id.
    pub(in crate::store) fn next(&self) -> MessageId {
        let clock = now() << COUNT;
        let next = |last: u64| (last + 1).max(clock);
        let key = match self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last))) {
            Ok(last) | Err(last) => next(last),
        };
        MessageId::from((u128::from(key) << RANDOM) | (rand::random::<u128>() & ((1 << RANDOM) - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_whatever_the_clock_says() {
        let future = i64::try_from((now() + 3_600_000) << COUNT).unwrap_or(i64::MAX);
        let ids = Ids::after(future);
        let made: Vec<MessageId> = (0..100_000).map(|_| ids.next()).collect();
        assert!(key(made[0]) > future);
        assert!(made.windows(2).all(|pair| key(pair[0]) < key(pair[1]) && pair[0] < pair[1]));
    }
}
