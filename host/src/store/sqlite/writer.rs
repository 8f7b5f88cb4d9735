//! The one thread that changes the database: whatever is waiting becomes one transaction, committed once, so that one
//! fsync makes many messages durable. The answers go out after the commit, and the log is checkpointed after those.
//!
//! Owns the connection that writes, the order of jobs, and which leases count when something is settled. Refuses to know who waits
//! for an answer. Fails by job, with [`StoreError`]: one that can not be done spoils no other.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;
use tracing::{error, warn};

use super::{
    Agenda,
    bodies::{self, Bodies, BodyFile},
    claim::{self, Due},
    ids::{Ids, clock_set, key, now},
    leases::Leases,
    lock::Lock,
    rows::{self, EntryReader, NewMessage, Removed},
    schema::State,
};
use crate::observe::{
    Metrics, events,
    point::{Point, pass},
};
use crate::store::{
    Change, Changed, EntryId, Lease, Outcome, Report, Right, Settlement, StoreError, Timestamp, Told, Verdicts,
};

/// Jobs in one transaction.
const TOGETHER: usize = 256;
/// If at least so many messages are on their way and not here yet,
const MANY: usize = 8;
/// they are waited for so long: a shared fsync costs each of them less than the wait.
const MOMENT: Duration = Duration::from_micros(500);
/// The log is written back into the database when so much was added.
const CHECKPOINT: u64 = 32 * 1024 * 1024;
/// A log of this size is written back even if readers have to wait; and what the file keeps after that.
pub(super) const WAL_MOST: i64 = 128 * 1024 * 1024;
/// Old verdicts are removed when so many were added.
pub(super) const TIDY: usize = 1000;
/// Octets of a page.
pub(super) const PAGE: u64 = 16 * 1024;

/// How long SQLite waits for somebody else's lock (a `sqlite3` in an operator's hand).
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// A message with the file that holds its content, if it is large.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) message: NewMessage,
    pub(super) file: Option<BodyFile>,
}

/// An outcome whose notice, if it has one, has an id.
#[derive(Debug)]
pub(super) struct Settling {
    outcome: Outcome,
    notice: Option<NewMessage>,
}

impl Settling {
    pub(super) fn new(mut outcome: Outcome, ids: &Ids) -> Self {
        let notice = outcome.notice.take().map(|mut notice| {
            notice.envelope.size = notice.content.len() as u64;
            NewMessage {
                id: ids.next(),
                envelope: notice.envelope,
                prefix: Vec::new(),
                content: Some(notice.content),
                entries: notice.entries,
                verdicts: None,
            }
        });
        Self { outcome, notice }
    }
}

/// What the settling of some leases, or the change of some entries, left to do and to tell.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Leases that were no longer valid.
    pub(super) stale: Vec<EntryId>,
    /// Leases that are, of entries whose notice would have told of a stale one too.
    pub(super) spoilt: Vec<EntryId>,
    /// What came of each change.
    pub(super) changed: Vec<Changed>,
    /// Files of messages that are gone.
    pub(super) remove: Vec<PathBuf>,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Work for the writer.
#[derive(Debug)]
pub(super) enum Job {
    Accept(Box<Arrival>, Reply<()>),
    Begin(Vec<Lease>, Reply<Vec<EntryId>>),
    Settle(Vec<Settling>, Reply<Settled>),
    Told(Vec<(Report, Told)>, Reply<()>),
    Release(String, Reply<()>),
    Change(Vec<(EntryId, Change)>, Reply<Settled>),
    Record(Verdicts),
    /// `set`: by how much the clock had been set when it was `now`.
    Claim {
        now: Timestamp,
        set: i64,
        n: usize,
        lease: Duration,
        reply: Reply<Vec<Lease>>,
    },
    Renew {
        rights: Vec<Right>,
        lease: Duration,
        reply: Reply<Vec<EntryId>>,
    },
    Close(oneshot::Sender<()>),
}

impl Job {
    /// The points before its commit and behind it.
    fn points(&self) -> Option<(Point, Point)> {
        Some(match self {
            Self::Accept(..) => (Point::AcceptBeforeCommit, Point::AcceptCommitted),
            Self::Begin(..) => (Point::BeginBeforeCommit, Point::BeginCommitted),
            Self::Settle(..) => (Point::SettleBeforeCommit, Point::SettleCommitted),
            Self::Told(..) => (Point::ToldBeforeCommit, Point::ToldCommitted),
            Self::Release(..) => (Point::ReleaseBeforeCommit, Point::ReleaseCommitted),
            Self::Change(..) => (Point::ChangeBeforeCommit, Point::ChangeCommitted),
            Self::Record(_) | Self::Claim { .. } | Self::Renew { .. } | Self::Close(_) => return None,
        })
    }
}

/// The writer's own things.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) bodies: Arc<Bodies>,
    pub(super) leases: Arc<Mutex<Leases>>,
    pub(super) agenda: Arc<Agenda>,
    pub(super) metrics: Arc<Metrics>,
    /// Messages that have begun; those of them that wait for this thread are counted too.
    pub(super) arriving: Arc<AtomicUsize>,
    /// Messages below this key were accepted by an earlier run.
    pub(super) first: i64,
    /// Octets that went into the log since the last checkpoint, about.
    pub(super) logged: u64,
    /// Verdicts that are waiting to be recorded without a message.
    pub(super) recording: Arc<AtomicUsize>,
    /// Rows of verdicts that were added since the old ones were removed.
    pub(super) verdicts: usize,
    /// Nobody else opens the store before this connection is closed.
    pub(super) _lock: Arc<Lock>,
}

impl Writer {
    /// Works until the store is closed or dropped.
    pub(super) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        let mut batch = Vec::with_capacity(TOGETHER);
        let mut closing = None;
        while closing.is_none() {
            let Ok(first) = jobs.recv() else { break };
            batch.push(first);
            self.gather(jobs, &mut batch);
            let (mut claims, mut renewals) = (Vec::new(), Vec::new());
            let mut writes = Vec::with_capacity(batch.len());
            for job in batch.drain(..) {
                match job {
                    // Whoever wanted it has gone, and nobody was told that it was accepted.
                    Job::Accept(_, reply) if reply.is_closed() => {}
                    Job::Claim { now, set, n, lease, reply } => {
                        // Set since it was asked: by an older time than theirs, all leases would seem to have ended.
                        let now = now.saturating_add_signed(clock_set().saturating_sub(set));
                        claims.push((now, n, lease, reply));
                    }
                    Job::Renew { rights, lease, reply } => renewals.push((rights, lease, reply)),
                    Job::Close(reply) => closing = Some(reply),
                    job => writes.push(job),
                }
            }
            // Before somebody else changes or is given what has expired while this thread was busy.
            for (rights, lease, reply) in renewals {
                let _ = reply.send(Ok(self.renew(&rights, lease)));
            }
            self.write(writes);
            for (now, n, lease, reply) in claims {
                let _ = reply.send(self.claim(now, n, lease).map_err(|error| failed(&error)));
            }
            self.checkpoint();
        }
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            warn!(%error, "the last checkpoint failed; the next start does it");
        }
        pass(Point::Closing);
        drop(self);
        if let Some(reply) = closing {
            let _ = reply.send(());
        }
    }

    /// What is waiting already; and if many messages are on their way, those that come within a moment.
    fn gather(&self, jobs: &mpsc::Receiver<Job>, batch: &mut Vec<Job>) {
        let until = Instant::now() + MOMENT;
        while batch.len() < TOGETHER {
            let next = jobs.try_recv().or_else(|_| {
                let others = self.arriving.load(Ordering::Relaxed).saturating_sub(batch.len());
                let left = until.saturating_duration_since(Instant::now());
                if others < MANY || left.is_zero() { Err(()) } else { jobs.recv_timeout(left).map_err(drop) }
            });
            match next {
                Ok(job) => batch.push(job),
                Err(()) => break,
            }
        }
    }

    /// All in one transaction; if that fails each in one of its own, so that a bad one spoils no other.
    fn write(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        match self.transaction(&jobs) {
            Ok(settled) => self.answer(jobs, settled),
            Err(error) if jobs.len() == 1 => refuse(jobs, &error, &self.recording),
            Err(error) => {
                warn!(%error, jobs = jobs.len(), "a transaction failed; its parts are tried one by one");
                for job in jobs {
                    let job = vec![job];
                    match self.transaction(&job) {
                        Ok(settled) => self.answer(job, settled),
                        Err(error) => refuse(job, &error, &self.recording),
                    }
                }
            }
        }
    }

    fn transaction(&mut self, jobs: &[Job]) -> Result<Vec<Settled>, rusqlite::Error> {
        let began = Instant::now();
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
        let done = self.perform(jobs).and_then(|settled| {
            jobs.iter().filter_map(Job::points).for_each(|(before, _)| pass(before));
            self.connection.prepare_cached("COMMIT")?.execute(())?;
            jobs.iter().filter_map(Job::points).for_each(|(_, behind)| pass(behind));
            Ok(settled)
        });
        if done.is_err() && !self.connection.is_autocommit() {
            // If this fails too, the next BEGIN fails, and says so to whoever wanted it.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        let messages = jobs.iter().filter(|job| matches!(job, Job::Accept(..))).count();
        if done.is_ok() && messages > 0 {
            self.metrics.committed(began.elapsed(), messages);
        }
        done
    }

    fn perform(&mut self, jobs: &[Job]) -> Result<Vec<Settled>, rusqlite::Error> {
        let mut settled = Vec::new();
        let mut octets = 4 * PAGE;
        for job in jobs {
            match job {
                Job::Accept(arrival, _) => {
                    let message = &arrival.message;
                    rows::insert(&self.connection, message)?;
                    let stored = message.prefix.len() + message.content.as_ref().map_or(0, Vec::len);
                    octets += stored as u64 * 5 / 4 + 512 + message.entries.len() as u64 * 256;
                    octets += self.verdicts(message.verdicts.as_ref())?;
                }
                Job::Settle(outcomes, _) => {
                    settled.push(self.settle(outcomes)?);
                    octets += outcomes.len() as u64 * PAGE / 3;
                    for notice in outcomes.iter().filter_map(|settling| settling.notice.as_ref()) {
                        octets += notice.content.as_ref().map_or(0, Vec::len) as u64 * 5 / 4 + 1024;
                    }
                }
                Job::Begin(leases, _) => {
                    settled.push(self.begin(leases)?);
                    octets += leases.len() as u64 * PAGE / 3;
                }
                Job::Told(reports, _) => {
                    reports
                        .iter()
                        .try_for_each(|(report, told)| rows::settle_report(&self.connection, report, told))?;
                    octets += reports.len() as u64 * PAGE / 3;
                }
                Job::Release(reason, _) => {
                    octets += rows::release(&self.connection, reason, now())? as u64 * PAGE / 3;
                }
                Job::Change(changes, _) => {
                    settled.push(self.change(changes)?);
                    octets += changes.len() as u64 * PAGE / 3;
                }
                Job::Record(verdicts) => {
                    rows::insert_verdicts(&self.connection, verdicts)?;
                    octets += self.verdicts(Some(verdicts))?;
                }
                Job::Claim { .. } | Job::Renew { .. } | Job::Close(_) => {}
            }
        }
        self.logged += octets;
        Ok(settled)
    }

    /// Counts what was added, and removes old ones now and then; the answer is about how many octets that wrote.
    pub(super) fn verdicts(&mut self, added: Option<&Verdicts>) -> Result<u64, rusqlite::Error> {
        let Some(added) = added else { return Ok(0) };
        self.verdicts += 1;
        if self.verdicts >= TIDY {
            self.verdicts = 0;
            rows::expire_verdicts(&self.connection, super::now(), 2 * TIDY)?;
        }
        Ok(added.judged.len() as u64 * 5 / 4 + 512)
    }

    /// The transaction is durable.
    fn answer(&mut self, jobs: Vec<Job>, settled: Vec<Settled>) {
        let mut settled = settled.into_iter();
        let mut soonest = None;
        for job in jobs {
            match job {
                Job::Accept(mut arrival, reply) => {
                    if let Some(file) = &mut arrival.file {
                        file.keep();
                    }
                    if arrival.message.entries.iter().any(|entry| entry.held.is_none()) {
                        soonest = Some(0);
                    }
                    let _ = reply.send(Ok(()));
                }
                Job::Settle(outcomes, reply) => {
                    let result = settled.next().unwrap_or_default();
                    let mut leases = self.leases.lock();
                    for Settling { outcome, notice } in outcomes {
                        if result.spoilt.contains(&outcome.lease.entry) {
                            continue;
                        }
                        let entry = (key(outcome.lease.entry.message), outcome.lease.entry.index);
                        if leases.valid(entry, outcome.lease.token) {
                            leases.end(entry);
                        }
                        let again = match outcome.settlement {
                            // Of a delay, too, the sender is told now.
                            _ if notice.is_some() => Some(0),
                            Settlement::Retry { at, .. } | Settlement::Postponed { at, .. } => Some(at),
                            Settlement::Becomes(_) => Some(0),
                            _ => None,
                        };
                        soonest = again.map_or(soonest, |at| Some(soonest.unwrap_or(at).min(at)));
                    }
                    drop(leases);
                    if let Err(Ok(unheard)) = reply.send(Ok(result)) {
                        unheard.remove.iter().for_each(|path| bodies::remove(path));
                    }
                }
                Job::Begin(_, reply) => {
                    let _ = reply.send(Ok(settled.next().unwrap_or_default().stale));
                }
                Job::Told(_, reply) => drop(reply.send(Ok(()))),
                Job::Release(_, reply) => {
                    soonest = Some(0);
                    let _ = reply.send(Ok(()));
                }
                Job::Change(changes, reply) => {
                    let result = settled.next().unwrap_or_default();
                    let mut leases = self.leases.lock();
                    for ((entry, change), changed) in changes.iter().zip(&result.changed) {
                        if *changed == Changed::Done {
                            match change {
                                Change::Drop { .. } => leases.end((key(entry.message), entry.index)),
                                Change::Retry | Change::Release | Change::Bounce { .. } => soonest = Some(0),
                                Change::Hold { .. } => {}
                            }
                        }
                    }
                    drop(leases);
                    if let Err(Ok(unheard)) = reply.send(Ok(result)) {
                        unheard.remove.iter().for_each(|path| bodies::remove(path));
                    }
                }
                Job::Record(_) => drop(self.recording.fetch_sub(1, Ordering::Relaxed)),
                Job::Claim { .. } | Job::Renew { .. } | Job::Close(_) => {}
            }
        }
        if let Some(at) = soonest {
            self.agenda.at_latest(at);
        }
    }

    /// Counts attempts before they are made.
    fn begin(&self, leases: &[Lease]) -> Result<Settled, rusqlite::Error> {
        let given = self.leases.lock();
        let mut settled = Settled::default();
        for lease in leases {
            let (message, place) = (key(lease.entry.message), lease.entry.index);
            let known = given.valid((message, place), lease.token)
                && self
                    .connection
                    .prepare_cached("UPDATE entry SET attempts = ?1 WHERE message = ?2 AND place = ?3")?
                    .execute((lease.attempts + 1, message, place))?
                    > 0;
            if !known {
                settled.stale.push(lease.entry);
            }
        }
        Ok(settled)
    }

    fn settle(&mut self, outcomes: &[Settling]) -> Result<Settled, rusqlite::Error> {
        let mut settled = Settled::default();
        let mut verdicts = Vec::new();
        let leases = self.leases.lock();
        let spoilt = self.spoilt(outcomes, &leases)?;
        for Settling { outcome, notice } in outcomes {
            let entry = outcome.lease.entry;
            let valid = leases.valid((key(entry.message), entry.index), outcome.lease.token);
            if spoilt.contains(&outcome.told_with.unwrap_or(entry)) {
                if valid { &mut settled.spoilt } else { &mut settled.stale }.push(entry);
                continue;
            }
            let told = notice.is_some() || outcome.told_with.is_some();
            if !(valid && self.end(outcome, told, &mut settled)?) {
                settled.stale.push(entry);
                continue;
            }
            if let Some(notice) = notice {
                rows::insert(&self.connection, notice)?;
            }
            if let Some(report) = &outcome.report {
                rows::insert_report(&self.connection, super::now(), report)?;
            }
            verdicts.extend(&outcome.verdicts);
        }
        drop(leases);
        for one in verdicts {
            rows::insert_verdicts(&self.connection, one)?;
            self.logged += self.verdicts(Some(one))?;
        }
        Ok(settled)
    }

    /// The notices that tell of several entries, one of which is not ours to settle, or gone; each by the entry that brings it.
    fn spoilt(&self, outcomes: &[Settling], leases: &Leases) -> Result<HashSet<EntryId>, rusqlite::Error> {
        let shared: HashSet<EntryId> = outcomes.iter().filter_map(|settling| settling.outcome.told_with).collect();
        let mut spoilt = shared.clone();
        if shared.is_empty() {
            return Ok(spoilt);
        }
        // One that nobody brings stays among them.
        for entry in outcomes.iter().filter(|settling| settling.notice.is_some()).map(|s| s.outcome.lease.entry) {
            spoilt.remove(&entry);
        }
        let mut there = self.connection.prepare_cached("SELECT 1 FROM entry WHERE message = ?1 AND place = ?2")?;
        for Settling { outcome, .. } in outcomes {
            let entry = outcome.lease.entry;
            let notice = outcome.told_with.unwrap_or(entry);
            let place = (key(entry.message), entry.index);
            if shared.contains(&notice) && !(leases.valid(place, outcome.lease.token) && there.exists(place)?) {
                spoilt.insert(notice);
            }
        }
        Ok(spoilt)
    }

    /// The entry as the outcome leaves it. False: there is none.
    fn end(&self, outcome: &Outcome, told: bool, settled: &mut Settled) -> Result<bool, rusqlite::Error> {
        let lease = &outcome.lease;
        let (message, place) = (key(lease.entry.message), lease.entry.index);
        let attempts = lease.attempts + 1;
        let (state, next, attempts, reason) = match &outcome.settlement {
            Settlement::Becomes(entries) if !entries.is_empty() => {
                return rows::replace(&self.connection, (message, place), super::now(), outcome.late, entries);
            }
            Settlement::Delivered | Settlement::Becomes(_) => return self.remove(lease, settled),
            Settlement::Failed { .. } if told => return self.remove(lease, settled),
            Settlement::Retry { at, reason } => (State::Queued, Some(*at), attempts, Some(reason)),
            Settlement::Postponed { at, reason } => (State::Queued, Some(*at), lease.attempts, reason.as_ref()),
            Settlement::Failed { reason, .. } => (State::Held, None, attempts, Some(reason)),
            Settlement::Held { reason } => (State::Held, None, lease.attempts, Some(reason)),
        };
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE entry SET state = ?1, next_attempt = ?2, attempts = ?3, reason = coalesce(?4, reason),
                     warned = ?5
                 WHERE message = ?6 AND place = ?7",
            )?
            .execute((state, next, attempts, reason, outcome.late, message, place))?;
        Ok(changed > 0)
    }

    fn remove(&self, lease: &Lease, settled: &mut Settled) -> Result<bool, rusqlite::Error> {
        let message = lease.entry.message;
        let removed = rows::remove(&self.connection, key(message), lease.entry.index, lease.recipients)?;
        if removed == Some(Removed::MessageWithFile) {
            settled.remove.push(self.bodies.path(message));
        }
        Ok(removed.is_some())
    }

    /// Reads only, so it costs no fsync. It comes after the commit: what it sees is durable. What can not be read is held, and
    /// stops nobody else.
    fn claim(&mut self, now: Timestamp, n: usize, lease: Duration) -> Result<Vec<Lease>, rusqlite::Error> {
        let mut leases = self.leases.lock();
        let Due { entries, next } = claim::due(&self.connection, now, n, |entry| leases.until(entry))?;
        let mut reader = EntryReader::new(&self.connection)?;
        let mut claimed = Vec::with_capacity(entries.len());
        let mut damaged = Vec::new();
        for entry in entries {
            let found = match reader.read(entry.0, entry.1) {
                Ok(found) => found,
                Err(error @ rusqlite::Error::SqliteFailure(..)) => return Err(error),
                Err(error) => {
                    damaged.push((entry, error));
                    continue;
                }
            };
            let (token, unsettled) = leases.give(entry, now, lease);
            claimed.push(Lease {
                entry: found.id,
                token,
                envelope: found.message.envelope,
                recipient: found.entry,
                recipients: found.message.recipients,
                attempts: found.attempts,
                unsure: found.attempts > 0 || unsettled || entry.0 < self.first,
                late: found.late,
            });
        }
        drop(reader);
        for ((message, place), error) in damaged {
            error!(message, place, %error, "an entry is damaged; it is held");
            let reason = format!("damaged: {error}");
            self.connection
                .prepare_cached(
                    "UPDATE entry SET state = ?1, next_attempt = NULL, reason = ?2 WHERE message = ?3 AND place = ?4",
                )?
                .execute((State::Held, reason, message, place))?;
        }
        // Whoever claimed may come to nothing, and then nobody else says when these may be claimed again.
        let ends = claimed.iter().filter_map(|lease| leases.until((key(lease.entry.message), lease.entry.index))).min();
        self.agenda.set(next.min(ends.unwrap_or(Timestamp::MAX)));
        if !claimed.is_empty() {
            pass(Point::Claimed);
        }
        Ok(claimed)
    }

    /// Leases go on; the answer are those that do not. As with [`Self::claim`], what the leases say then is durable.
    fn renew(&self, rights: &[Right], lease: Duration) -> Vec<EntryId> {
        let (mut leases, now) = (self.leases.lock(), now());
        let stale =
            |right: &&Right| !leases.renew((key(right.entry.message), right.entry.index), right.token, now, lease);
        rights.iter().filter(stale).map(|right| right.entry).collect()
    }

    /// Keeps the log bounded.
    fn checkpoint(&mut self) {
        if self.logged < CHECKPOINT {
            return;
        }
        self.logged = 0;
        let checkpoint = |mode: &str, wait| {
            self.connection.busy_timeout(wait)?;
            self.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), (), |row| row.get::<_, i64>(1))
        };
        let done = checkpoint("PASSIVE", BUSY).and_then(|pages| {
            let Ok(times @ 1..) = u32::try_from(pages.saturating_mul(PAGE.cast_signed()) / WAL_MOST) else {
                return Ok(());
            };
            // Readers that take turns keep the log from starting over: here they wait, and this for them, the longer the more
            // there is of it. One that never ends is not waited for in vain for long.
            checkpoint("RESTART", (Duration::from_millis(250) * times).min(BUSY))?;
            self.connection.busy_timeout(BUSY)
        });
        if let Err(error) = done {
            error!(%error, "the database's log can not be written back");
        }
    }
}

/// Tells that nothing was changed.
fn refuse(jobs: Vec<Job>, error: &rusqlite::Error, recording: &AtomicUsize) {
    events::store_failed(error);
    for job in jobs {
        match job {
            Job::Accept(mut arrival, reply) => {
                // If the log itself failed the row may yet turn up, when the next process reads the log. It would need its file.
                if let Some(file) = arrival.file.as_mut().filter(|_| uncertain(error)) {
                    file.keep();
                }
                let _ = reply.send(Err(failed(error)));
            }
            Job::Settle(_, reply) | Job::Change(_, reply) => {
                let _ = reply.send(Err(failed(error)));
            }
            Job::Begin(_, reply) => drop(reply.send(Err(failed(error)))),
            Job::Told(_, reply) | Job::Release(_, reply) => drop(reply.send(Err(failed(error)))),
            Job::Record(_) => drop(recording.fetch_sub(1, Ordering::Relaxed)),
            Job::Claim { .. } | Job::Renew { .. } | Job::Close(_) => {}
        }
    }
}

fn uncertain(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::DiskFull))
}

/// An error of SQLite's as one of the store's.
pub(super) fn failed(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full(error.to_string()),
        _ => StoreError::Failed(error.to_string()),
    }
}
