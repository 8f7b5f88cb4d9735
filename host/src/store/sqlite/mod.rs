//! The store on one machine: SQLite for envelopes, entries and small contents; files for large ones.
//!
//! Owns the folder `store` below the data folder: `store.db` (with `-wal` and `-shm`), `bodies/`, `lock`. Refuses to know
//! where mail goes and how often it is tried. Fails with [`OpenError`] at start (the operator's to mend) and with
//! [`StoreError`] later.
//!
//! ```text
//!   begin ──► writing ──accept──► queued ◄───────┐ Retry, Postponed; Becomes (other entries)
//!                │ dropped          │ claim      │
//!                ▼                  ▼            │            ┌─► gone    Delivered; Failed with a notice; Becomes nothing
//!             nothing            leased ─────────┴── settle ──┤
//!                                   │ expired,                └─► held    Held; Failed with nobody to tell
//!                                   │ or the process died
//!                                   ▼                  with each of them, in the same transaction, if the outcome has them:
//!                                queued (unsure)       ─► queued   a notice, which is a message as any other
//!                                                      ─► report   for plugins ── told ─► gone
//! ```
//!
//! # What if the process is killed, or the power fails, between any two steps?
//!
//! What SQLite commits with `synchronous=FULL` in WAL mode is on the disk when COMMIT returns, whole; what was not
//! committed is not there after a crash. Beside it there are the files of large bodies, and the Maildirs:
//!
//! 1. *Writing.* Octets are in memory, or in a file that no row names. The peer was not told 250. At start, files
//!    without a row are removed; this happens under the lock and before the first `begin`, so no file in use is hit.
//! 2. *Accepting.* The file is synced, then its folder, then the row commits, then the peer hears 250. A crash before
//!    the commit leaves an orphan file (see 1); after it, a row with a whole file. A crash before the 250 is
//!    written leaves a message that the peer sends again: RFC 1047, and the lesser evil.
//! 3. *COMMIT fails.* The peer hears 4xx. The frames might be in the log for all that, and be found at the next start;
//!    so the file is kept, and the next start decides by the row.
//! 4. *Leased.* Leases are in memory, and go on as long as whoever works renews them. A lease of a dead process is void,
//!    and there is no other process (the lock is the kernel's, and goes with its process): after a restart every entry may
//!    be claimed at once. Such a lease is `unsure`, as after a failed attempt or an expired lease: a copy may be delivered already, and delivery looks for it.
//!    Tokens grow over restarts, since their upper half counts the runs.
//! 5. *Delivered, not settled.* `crate::deliver::maildir` has made the copy durable before it settles. A crash in between
//!    leaves the copy and an unsure entry; the copy's name is made of the entry's id, so it is found and not made twice.
//! 6. *Settled.* The last entry takes its message's row along in one transaction. A file is removed after the commit; a
//!    crash before the removal leaves an orphan (see 1).
//! 7. *Settled with a notice.* The notice's rows are inserted by the transaction that takes its entry away or marks it as
//!    late, and only if the lease is valid. So there is no moment at which the entry is done and the sender not told, or
//!    the sender told and the entry to be told of again. A notice is never a file, so nothing has to be synced before.
//!    One that tells of several entries is stored with the end of all of them or, if the lease of one is stale, with that of
//!    none: whoever holds the lease now tells of that one, and the others are settled again, each with a notice of its own.
//! 8. *Settled with a report.* The same. The report's row goes when the plugins have been told; a crash before that tells
//!    them again.
//! 9. *An attempt that is counted.* What a plugin delivers can not be looked for. The attempt's number is committed before
//!    the plugin is called; whoever calls it again after a crash has the next number, and the same idempotency key.
//! 10. *Judged again.* The entry becomes what the judges made of it in one transaction, and is delivered after that: a
//!     crash before it has them asked again, and nothing has been delivered.
//! 11. *Changed by an operator.* One transaction, by the thread that gives the leases: what is leased is refused, what was
//!     leased too long is fenced, and what plugins are to be told and what `hermetic why` is to show goes with the entry.
//! 12. *A row whose file is missing or short* can not come from a crash. It is damage: an error is logged at start, and
//!     the entries are held.
//!
//! The WAL is written back by the writer thread after it has answered, whenever about 32 MiB were added; see `writer`.

mod beside;
mod bodies;
mod claim;
mod ids;
mod incoming;
mod leases;
mod lock;
mod manage;
mod rows;
mod schema;
mod space;
mod writer;

#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _};
use tokio::{
    sync::{Notify, oneshot},
    task::spawn_blocking,
};

#[cfg(test)]
pub(crate) use self::beside::list;
pub use self::beside::{Beside, verdicts};
pub(crate) use self::ids::now;
use self::{
    bodies::Bodies,
    ids::key,
    incoming::Arriving,
    leases::Leases,
    manage::Part,
    schema::State,
    space::Space,
    writer::{Job, Settling, Writer, failed},
};
pub(in crate::store) use self::{
    ids::{Ids, clock_set},
    lock::Lock,
};
use super::{
    Body, Change, Changed, Content, Counts, Details, EntryId, Filter, Incoming, Lease, MessageId, Outcome, Page,
    Report, Right, Store, StoreError, Timestamp, Told, Verdicts, durable,
};
use crate::observe::{
    Metrics,
    point::{Point, pass},
};

/// Why the store can not be opened. The operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the data folder {data} is in use by another hermetic (process {process}); stop it, or choose another `data`"
    )]
    InUse {
        /// The data folder.
        data: PathBuf,
        /// Its process id.
        process: String,
    },
    /// A later version made it.
    #[error(
        "{path} has schema {found}, this version knows {known}; use the version of hermetic that made it, or a later one"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// An earlier version made it.
    #[error("{path} was made by an earlier version; `hermetic serve` brings it up to date when it starts")]
    Earlier {
        /// The database.
        path: PathBuf,
    },
    /// The file system says no.
    #[error("{path}: {error}")]
    Io {
        /// What was tried.
        path: PathBuf,
        /// Why it failed.
        error: std::io::Error,
    },
    /// SQLite says no.
    #[error("the store's database: {0}")]
    Database(#[from] rusqlite::Error),
}

/// Verdicts on refused mail that may wait for the writer; more are not recorded.
const RECORDING: usize = 4096;

/// When something is due next.
#[derive(Debug)]
struct Agenda {
    at: AtomicU64,
    changed: Notify,
}

impl Agenda {
    /// Something is due at this time, or before.
    fn at_latest(&self, at: Timestamp) {
        if self.at.fetch_min(at, Ordering::AcqRel) > at {
            self.changed.notify_one();
        }
    }

    /// Nothing is due before. Only the writer says so.
    fn set(&self, at: Timestamp) {
        self.at.store(at, Ordering::Release);
    }
}

/// What sessions and the writer share.
struct Shared {
    ids: Ids,
    space: Space,
    bodies: Arc<Bodies>,
    /// Each sender waits for its answer, so there are at most as many jobs as sessions and delivery tasks.
    jobs: mpsc::Sender<Job>,
    /// Messages that have begun and are not accepted yet.
    arriving: Arc<AtomicUsize>,
    /// Verdicts on refused mail that are waiting to be recorded.
    recording: Arc<AtomicUsize>,
    _lock: Arc<Lock>,
}

impl Shared {
    fn submit(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.send(job).map_err(|_| Self::closed())
    }

    fn closed() -> StoreError {
        StoreError::Failed("the store is closed".into())
    }
}

/// Connections for reading, as many as are in use at a time.
struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    fn with<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.path).map_err(|error| StoreError::Failed(error.to_string()))?,
        };
        let read = read(&connection).map_err(|error| failed(&error));
        self.idle.lock().push(connection);
        read
    }
}

/// See the module.
pub struct SqliteStore {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    leases: Arc<Mutex<Leases>>,
    agenda: Arc<Agenda>,
}

/// The store's folder below the data folder.
fn folder(data: &Path) -> PathBuf {
    data.join("store")
}

impl SqliteStore {
    /// Opens the store below `data`, makes it if need be, and repairs what a crash left. `reserve` are the octets that must
    /// stay free on its disk.
    pub fn open(data: &Path, reserve: u64, metrics: Arc<Metrics>) -> Result<Arc<Self>, OpenError> {
        let folder = folder(data);
        let io = |error| OpenError::Io { path: folder.clone(), error };
        durable::make(&folder, |_| false).map_err(io)?;
        if durable::CRIPPLED {
            tracing::error!("this build leaves out fsync; it is for tests and loses mail when the power fails");
        }
        let lock = Arc::new(Lock::take(data, &folder)?);
        let path = folder.join("store.db");
        let (connection, run) = schema::open_writer(&path)?;
        let bodies = Arc::new(Bodies::open(&folder).map_err(io)?);
        pass(Point::Opened);
        bodies.reconcile(&connection)?;
        pass(Point::Repaired);

        let last: Option<i64> = connection.query_row("SELECT max(key) FROM message", (), |row| row.get(0))?;
        let ids = Ids::after(last.unwrap_or(0));
        let leases = Arc::new(Mutex::new(Leases::new(run)));
        let agenda = Arc::new(Agenda { at: AtomicU64::new(0), changed: Notify::new() });
        let (jobs, waiting) = mpsc::channel();
        let arriving = Arc::new(AtomicUsize::new(0));
        let recording = Arc::new(AtomicUsize::new(0));
        let writer = Writer {
            connection,
            bodies: bodies.clone(),
            leases: leases.clone(),
            agenda: agenda.clone(),
            metrics,
            arriving: arriving.clone(),
            first: ids.first,
            logged: 0,
            recording: recording.clone(),
            // So that old ones go soon after a start too.
            verdicts: writer::TIDY,
            _lock: lock.clone(),
        };
        #[cfg(test)]
        let clock = simulated::here();
        let run = move || {
            #[cfg(test)]
            simulated::inherit(clock);
            writer.run(&waiting);
        };
        std::thread::Builder::new().name("store".into()).spawn(run).map_err(io)?;
        let shared = Arc::new(Shared {
            ids,
            space: Space::new(folder.clone(), reserve),
            bodies,
            jobs,
            arriving,
            recording,
            _lock: lock,
        });
        let readers = Arc::new(Readers { path, idle: Mutex::default() });
        Ok(Arc::new(Self { shared, readers, leases, agenda }))
    }

    async fn ask<T>(&self, job: impl FnOnce(writer::Reply<T>) -> Job) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.shared.submit(job(reply))?;
        answer.await.map_err(|_| Shared::closed())?
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = self.readers.clone();
        spawn_blocking(move || readers.with(read)).await.map_err(|error| StoreError::Failed(error.to_string()))?
    }
}

#[cfg(test)]
impl SqliteStore {
    /// All entries, oldest first.
    pub(crate) async fn list(&self) -> Result<Vec<super::Listed>, StoreError> {
        let leased = self.leases.lock().entries(now());
        self.read(move |connection| manage::find(connection, &Part::all(), &leased)).await.map(|page| page.entries)
    }
}

/// The transaction that made them needless is durable whatever becomes of this; the next start removes what is left.
async fn remove(files: Vec<PathBuf>) {
    if !files.is_empty() {
        pass(Point::FileNeedless);
        let _ = spawn_blocking(move || files.iter().for_each(|path| bodies::remove(path))).await;
    }
}

fn read_body(connection: &Connection, bodies: &Bodies, id: MessageId) -> Result<Body, StoreError> {
    let row = connection.prepare_cached("SELECT prefix, content FROM message WHERE key = ?1 AND id = ?2").and_then(
        |mut statement| statement.query_row((key(id), id.to_bytes()), |row| Ok((row.get(0)?, row.get(1)?))).optional(),
    );
    let (prefix, content): (_, Option<Vec<u8>>) =
        row.map_err(|error| failed(&error))?.ok_or_else(|| StoreError::Unknown(id.to_string()))?;
    let content = match content {
        Some(octets) => Content::Inline(octets),
        None => {
            let path = bodies.path(id);
            Content::File(
                File::open(&path).map_err(|error| StoreError::Failed(format!("{}: {error}", path.display())))?,
            )
        }
    };
    Ok(Body { prefix, content })
}

#[async_trait]
impl Store for SqliteStore {
    fn begin(&self) -> Result<Box<dyn Incoming>, StoreError> {
        self.shared.space.check()?;
        Ok(Box::new(Arriving::new(self.shared.clone())))
    }

    async fn claim(&self, now: Timestamp, n: usize, lease: Duration) -> Result<Vec<Lease>, StoreError> {
        let set = clock_set();
        self.ask(|reply| Job::Claim { now, set, n, lease, reply }).await
    }

    async fn renew(&self, rights: Vec<Right>, lease: Duration) -> Result<Vec<EntryId>, StoreError> {
        self.ask(|reply| Job::Renew { rights, lease, reply }).await
    }

    async fn begin_attempts(&self, leases: Vec<Lease>) -> Result<Vec<EntryId>, StoreError> {
        self.ask(|reply| Job::Begin(leases, reply)).await
    }

    async fn release(&self, reason: &str) -> Result<(), StoreError> {
        let reason = reason.to_owned();
        self.ask(|reply| Job::Release(reason, reply)).await
    }

    async fn settle(&self, outcomes: Vec<Outcome>) -> Result<Vec<EntryId>, StoreError> {
        let outcomes = outcomes.into_iter().map(|outcome| Settling::new(outcome, &self.shared.ids)).collect();
        let settled = self.ask(|reply| Job::Settle(outcomes, reply)).await?;
        remove(settled.remove).await;
        Ok([settled.stale, settled.spoilt].concat())
    }

    async fn change(&self, changes: Vec<(EntryId, Change)>) -> Result<Vec<Changed>, StoreError> {
        let settled = self.ask(|reply| Job::Change(changes, reply)).await?;
        remove(settled.remove).await;
        Ok(settled.changed)
    }

    async fn reports(&self, now: Timestamp, n: usize) -> Result<(Vec<Report>, Option<Timestamp>), StoreError> {
        self.read(move |connection| rows::read_reports(connection, now, n)).await
    }

    async fn told(&self, reports: Vec<(Report, Told)>) -> Result<(), StoreError> {
        self.ask(|reply| Job::Told(reports, reply)).await
    }

    async fn bodies(&self, messages: Vec<MessageId>) -> Vec<Result<Body, StoreError>> {
        let (readers, bodies, n) = (self.readers.clone(), self.shared.bodies.clone(), messages.len());
        let read = spawn_blocking(move || {
            readers.with(|connection| Ok(messages.iter().map(|id| read_body(connection, &bodies, *id)).collect()))
        });
        let read = read.await.map_err(|error| StoreError::Failed(error.to_string())).flatten();
        read.unwrap_or_else(|error| (0..n).map(|_| Err(error.clone())).collect())
    }

    async fn due(&self) {
        loop {
            let changed = self.agenda.changed.notified();
            let at = self.agenda.at.load(Ordering::Acquire);
            let Some(wait) = at.checked_sub(now()).filter(|wait| *wait > 0) else { return };
            // Never longer than an hour: the clock may be set.
            let sleep = tokio::time::sleep(Duration::from_millis(wait.min(3_600_000)));
            tokio::select! { () = changed => {} () = sleep => {} }
        }
    }

    async fn find(&self, filter: Filter, after: Option<EntryId>, most: usize) -> Result<Page, StoreError> {
        let leased = self.leases.lock().entries(now());
        let part = Part { filter, after, most, looked_at: manage::LOOKED_AT };
        self.read(move |connection| manage::find(connection, &part, &leased)).await
    }

    async fn show(&self, message: MessageId) -> Result<Option<Details>, StoreError> {
        let leased = self.leases.lock().entries(now());
        self.read(move |connection| manage::show(connection, message, &leased)).await
    }

    async fn verdicts(&self, id: &str) -> Result<Vec<Verdicts>, StoreError> {
        let id = id.to_owned();
        self.read(move |connection| rows::read_verdicts(connection, &id)).await
    }

    fn record(&self, verdicts: Verdicts) {
        let waiting = &self.shared.recording;
        // Whoever sends gives the count back, if the writer can not.
        if waiting.fetch_add(1, Ordering::Relaxed) > RECORDING || self.shared.jobs.send(Job::Record(verdicts)).is_err()
        {
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        self.read(|connection| {
            let mut counts = Counts::default();
            let mut statement = connection.prepare("SELECT state, count(*) FROM entry GROUP BY state")?;
            let mut rows = statement.query(())?;
            while let Some(row) = rows.next()? {
                let n = row.get(1)?;
                match State::word(row.get(0)?) {
                    "queued" => counts.queued = n,
                    "held" => counts.held = n,
                    _ => counts.owed = n,
                }
            }
            Ok(counts)
        })
        .await
    }

    async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.shared.submit(Job::Close(reply)).is_ok() {
            self.readers.idle.lock().clear();
            // An error means that the writer has gone already.
            let _ = answer.await;
        }
    }
}
