//! Which entries are claimed next.
//!
//! Owns the order: what is due of a higher priority first, and of one priority what has been due for longest. So that nobody
//! starves, each priority of which something is due has a share of every batch; and so that a backlog, as of a bulk sender,
//! delays nobody who comes after it, so has what has been due for the shortest time. Refuses to know leases beyond when they
//! end. What is not due is never read, however much of it there is: each priority is a range of an index.

use std::cmp::Reverse;

use rusqlite::Connection;

use super::leases::Place;
use crate::store::Timestamp;

/// Of a batch, each priority gets at least one in so many.
const SHARE: usize = 32;
/// If more is due than a batch holds, one in so many is what came last.
const FRESH: usize = 4;

/// What [`due`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) entries: Vec<Place>,
    /// When there is something to claim again.
    pub(super) next: Timestamp,
}

/// Up to `n` entries. `leased`: until when somebody has an entry.
pub(super) fn due(
    connection: &Connection,
    now: Timestamp,
    n: usize,
    leased: impl Fn(Place) -> Option<Timestamp>,
) -> rusqlite::Result<Due> {
    let mut next = Timestamp::MAX;
    let mut levels = Vec::new();
    for level in levels_of(connection)? {
        let found = level_due(connection, level, now, n, &leased)?;
        next = next.min(found.next);
        levels.push((level, found.entries));
    }
    levels.sort_by_key(|(level, _)| Reverse(*level));
    let share = (n / SHARE).max(1);
    let mut entries = Vec::with_capacity(n.min(levels.iter().map(|(_, found)| found.len()).sum()));
    // Their shares, for those of low priority first: should there be too little for all, the high ones have the rest.
    let mut shares: Vec<_> = levels.iter().map(|(_, found)| found.len().min(share)).collect();
    let mut left = n.saturating_sub(shares.iter().sum());
    for (share, (_, found)) in shares.iter_mut().zip(&levels) {
        let more = found.len().saturating_sub(*share).min(left);
        *share += more;
        left -= more;
    }
    for (share, (_, found)) in shares.into_iter().zip(&levels) {
        if found.len() > share {
            next = next.min(now);
        }
        entries.extend(found.iter().take(share.min(n - entries.len().min(n))));
    }
    Ok(Due { entries, next })
}

/// The priorities of what is queued; 0 is always among them.
fn levels_of(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut below = connection.prepare_cached(
        "SELECT max(priority) FROM entry INDEXED BY ranked WHERE state = 0 AND priority <> 0 AND priority < ?1",
    )?;
    let mut levels = vec![0];
    let mut last = i64::MAX;
    while let Some(level) = below.query_row([last], |row| row.get::<_, Option<i64>>(0))? {
        levels.push(level);
        last = level;
    }
    Ok(levels)
}

/// Up to `n` of one priority.
fn level_due(
    connection: &Connection,
    level: i64,
    now: Timestamp,
    n: usize,
    leased: &impl Fn(Place) -> Option<Timestamp>,
) -> rusqlite::Result<Due> {
    let mut statement = connection.prepare_cached(match level {
        0 => {
            "SELECT message, place, next_attempt FROM entry INDEXED BY due
             WHERE state = 0 AND priority = 0 ORDER BY next_attempt"
        }
        _ => {
            "SELECT message, place, next_attempt FROM entry INDEXED BY ranked
             WHERE state = 0 AND priority <> 0 AND priority = ?1 ORDER BY next_attempt"
        }
    })?;
    let mut found = Due { entries: Vec::new(), next: Timestamp::MAX };
    let mut rows = if level == 0 { statement.query(())? } else { statement.query([level])? };
    while let Some(row) = rows.next()? {
        let entry = (row.get(0)?, row.get(1)?);
        let planned: Timestamp = row.get(2)?;
        // What is leased stays in the index: there are only as many as are being worked on.
        let at = leased(entry).unwrap_or(0).max(planned);
        if at > now {
            found.next = found.next.min(at);
        } else if found.entries.len() < n {
            found.entries.push(entry);
        } else {
            found.next = found.next.min(at);
            break;
        }
        if planned > now {
            break;
        }
    }
    if found.next <= now && n >= FRESH {
        let fresh = freshest(connection, level, now, n / FRESH, &found.entries, leased)?;
        found.entries.truncate(n - fresh.len());
        found.entries.extend(fresh);
    }
    Ok(found)
}

/// Up to `n` of one priority of what has been due for the shortest time, but for these.
fn freshest(
    connection: &Connection,
    level: i64,
    now: Timestamp,
    n: usize,
    but: &[Place],
    leased: &impl Fn(Place) -> Option<Timestamp>,
) -> rusqlite::Result<Vec<Place>> {
    let mut statement = connection.prepare_cached(match level {
        0 => {
            "SELECT message, place FROM entry INDEXED BY due
             WHERE state = 0 AND priority = 0 AND ?1 = 0 AND next_attempt <= ?2 ORDER BY next_attempt DESC"
        }
        _ => {
            "SELECT message, place FROM entry INDEXED BY ranked
             WHERE state = 0 AND priority <> 0 AND priority = ?1 AND next_attempt <= ?2 ORDER BY next_attempt DESC"
        }
    })?;
    let mut found = Vec::with_capacity(n);
    let mut rows = statement.query((level, now))?;
    while let Some(row) = rows.next()? {
        let entry = (row.get(0)?, row.get(1)?);
        // They meet: the rest is among those that have been due for longest.
        if found.len() == n || but.contains(&entry) {
            break;
        }
        if leased(entry).is_none_or(|until| until <= now) {
            found.push(entry);
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn store(rows: &[(i64, i8, u64)]) -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let (connection, _) = super::super::schema::open_writer(&folder.path().join("store.db")).unwrap();
        for (message, priority, at) in rows {
            connection
                .execute(
                    "INSERT INTO entry (message, place, state, next_attempt, attempts, recipient_local,
                         recipient_domain, priority) VALUES (?1, 0, 0, ?2, 0, '', '', ?3)",
                    (message, at, priority),
                )
                .unwrap();
        }
        (folder, connection)
    }

    fn claimed(connection: &Connection, now: u64, n: usize) -> (Vec<i64>, u64) {
        let found = due(connection, now, n, |_| None).unwrap();
        (found.entries.iter().map(|entry| entry.0).collect(), found.next)
    }

    #[test]
    fn higher_priorities_go_first_and_none_starves() {
        let (_folder, connection) =
            store(&[(1, 0, 10), (2, 0, 5), (3, 9, 20), (4, -9, 1), (5, 9, 15), (6, 4, 30), (7, -1, 2)]);
        assert_eq!(claimed(&connection, 20, 64), (vec![5, 3, 2, 1, 7, 4], 30));
        assert_eq!(claimed(&connection, 30, 64), (vec![5, 3, 6, 2, 1, 7, 4], u64::MAX));
        assert_eq!(claimed(&connection, 4, 64), (vec![7, 4], 5));
        assert_eq!(claimed(&connection, 20, 5), (vec![5, 3, 2, 7, 4], 20), "each has its share");
        assert_eq!(claimed(&connection, 20, 2), (vec![5, 2], 20));
        assert_eq!(claimed(&connection, 0, 2), (vec![], 1));
        let many: Vec<_> = (0..1000).map(|n| (n, 9, 1)).chain([(1000, 0, 1), (1001, -9, 1)]).collect();
        let (_folder, connection) = store(&many);
        let (found, next) = claimed(&connection, 1, 64);
        assert_eq!((found.len(), &found[62..], next), (64, &[1000, 1001][..], 1));
    }

    #[test]
    fn a_backlog_delays_nobody_who_comes_after_it() {
        let rows: Vec<_> = (0..1000_i64).map(|n| (n, 0, 1000 + n.unsigned_abs())).collect();
        let (_folder, connection) = store(&rows);
        let (found, next) = claimed(&connection, 5000, 8);
        assert_eq!((found, next), (vec![0, 1, 2, 3, 4, 5, 999, 998], 1008));
        let (found, _) = claimed(&connection, 1008, 8);
        assert_eq!(found, [0, 1, 2, 3, 4, 5, 6, 8], "of nine the one too many");
        let (found, _) = claimed(&connection, 1007, 8);
        assert_eq!(found, [0, 1, 2, 3, 4, 5, 6, 7], "all there are");
    }

    #[test]
    fn what_is_leased_is_passed_over() {
        let (_folder, connection) = store(&[(1, 0, 10), (2, 0, 11), (3, 0, 12), (4, 0, 99)]);
        let found = due(&connection, 50, 1, |entry| (entry.0 < 3).then_some(60)).unwrap();
        assert_eq!(found, Due { entries: vec![(3, 0)], next: 60 });
        let found = due(&connection, 60, 2, |entry| (entry.0 < 3).then_some(60)).unwrap();
        assert_eq!(found, Due { entries: vec![(1, 0), (2, 0)], next: 12 });
    }

    /// However much is queued, claiming reads ranges of an index.
    #[test]
    fn nothing_is_scanned_or_sorted() {
        let (_folder, connection) = store(&[]);
        for query in [
            "SELECT max(priority) FROM entry INDEXED BY ranked WHERE state = 0 AND priority <> 0 AND priority < 5",
            "SELECT message, place, next_attempt FROM entry INDEXED BY ranked
             WHERE state = 0 AND priority <> 0 AND priority = 5 ORDER BY next_attempt",
            "SELECT message, place FROM entry INDEXED BY ranked
             WHERE state = 0 AND priority <> 0 AND priority = 5 AND next_attempt <= 9 ORDER BY next_attempt DESC",
            "SELECT message, place FROM entry INDEXED BY due
             WHERE state = 0 AND priority = 0 AND next_attempt <= 9 ORDER BY next_attempt DESC",
        ] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
            let steps: Vec<String> = plan.query_map((), |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            let bad = steps.iter().any(|step| step.contains("SCAN entry") || step.contains("TEMP B-TREE"));
            assert!(!bad, "{query}: {steps:?}");
        }
    }
}
