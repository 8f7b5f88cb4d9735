//! Which sessions are recorded, and the thread that makes files of them.
//!
//! Owns the draw, the reasons for which a session is kept, and the queue to a thread of its own. Refuses to make anybody wait: a
//! session that is kept is handed over or given up at once. Trouble is counted and logged, and is nobody else's.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::file::Header;
use super::folder::{self, Room};
use super::produce::{Readable, produce};
use super::take::{Bounds, Memory, Take};
use crate::config::plugins::Pattern;
use crate::config::record::{Addresses, Keep, Record};
use crate::engine::Engine;
use crate::engine::types::Options;
use crate::observe::Metrics;

/// Sessions that wait to become files.
const WAITING: usize = 64;
/// How often the folder is swept where nothing is kept.
const SWEEP: Duration = Duration::from_secs(60);

/// How a session ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its name in the log.
    pub session: String,
    /// The listener's.
    pub listener: String,
    /// Who it was.
    pub client: Option<IpAddr>,
    /// For people.
    pub how: String,
    /// The engine or TLS failed, or the session was cut short.
    pub failed: bool,
}

/// What is to become a file.
struct Job {
    take: Box<Take>,
    ended: Ended,
    why: Keep,
    at: jiff::Timestamp,
    order: Order,
}

/// What the configuration says of files.
#[derive(Clone)]
struct Order {
    folder: PathBuf,
    room: Room,
    readable: Readable,
}

/// The thread that writes, and the way to it.
struct Writer {
    queue: SyncSender<Box<Job>>,
    thread: JoinHandle<()>,
}

/// Records sessions.
pub struct Recorder {
    engine: Arc<dyn Engine>,
    metrics: Arc<Metrics>,
    memory: Arc<Memory>,
    writer: Mutex<Option<Writer>>,
    /// When the writer stops, whatever waits.
    stop: Arc<Mutex<Option<Instant>>>,
}

impl Recorder {
    /// Nothing is recorded yet.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, metrics: Arc<Metrics>) -> Self {
        Self { engine, metrics, memory: Arc::default(), writer: Mutex::new(None), stop: Arc::default() }
    }

    /// A session begins. None: nobody wants to know of it.
    #[must_use]
    pub fn begin(
        &self,
        record: &Record,
        listener: &str,
        client: Option<IpAddr>,
        options: &Options,
    ) -> Option<Box<Take>> {
        if record.keep.is_empty() {
            return None;
        }
        let drawn = record.keeps(Keep::Sampled) && rand::random::<f64>() < record.share;
        let client = client.map(|client| client.to_canonical());
        let here = record.listeners.is_empty() || record.listeners.iter().any(|name| name == listener);
        let theirs = record.clients.is_empty()
            || client.is_some_and(|client| record.clients.iter().any(|network| network.contains(client)));
        let looked_for = record.keeps(Keep::Matching) && here && theirs;
        if !(drawn || looked_for || record.keeps(Keep::OnError)) {
            return None;
        }
        let patterns = match looked_for {
            // A validated configuration has none that is wrong; what can not be read matches nobody.
            true => record.mail.iter().filter_map(|pattern| Pattern::parse(pattern).ok()).collect(),
            false => Vec::new(),
        };
        let bounds = Bounds { largest: record.largest, memory: record.memory };
        let take = Take::new(options.clone(), bounds, self.memory.clone());
        Some(Box::new(take.wanted(drawn, looked_for, patterns)))
    }

    /// A session has ended.
    pub fn end(&self, take: Box<Take>, record: &Record, data: &std::path::Path, ended: Ended) {
        let why = [
            (Keep::OnError, ended.failed || take.faulty()),
            (Keep::Matching, take.matches()),
            (Keep::Sampled, take.drawn),
        ];
        let Some((why, _)) = why.into_iter().find(|(why, is)| *is && record.keeps(*why)) else { return };
        if let Some(reason) = take.given_up() {
            self.metrics.recorded("given-up");
            tracing::info!(session = ended.session, "the session is not recorded: {reason}");
            return;
        }
        let order = Order {
            folder: record.place(data),
            room: Room { files: record.files, octets: record.octets, expire: Duration::from_secs(record.expire) },
            readable: Readable { bodies: record.bodies, addresses: record.addresses == Addresses::Kept },
        };
        let job = Job { take, ended, why, at: jiff::Timestamp::now(), order };
        let mut writer = self.writer.lock();
        if writer.is_none() {
            *writer = self.start();
        }
        let sent = writer.as_ref().is_some_and(|writer| writer.queue.try_send(Box::new(job)).is_ok());
        if !sent {
            self.metrics.recorded("given-up");
            tracing::info!("a session is not recorded: too many wait to be written");
        }
    }

    fn start(&self) -> Option<Writer> {
        let (queue, jobs) = sync_channel(WAITING);
        let (engine, metrics, stop) = (self.engine.clone(), self.metrics.clone(), self.stop.clone());
        let work = move || work(&*engine, &metrics, &stop, &jobs);
        let thread = std::thread::Builder::new().name("recorder".into()).spawn(work);
        match thread {
            Ok(thread) => Some(Writer { queue, thread }),
            Err(error) => {
                tracing::warn!(%error, "there is no thread that writes sessions");
                None
            }
        }
    }

    /// Waits until everything that was handed over is a file, but not for longer than this; then only for the one that is
    /// being written.
    pub fn close(&self, most: Duration) {
        *self.stop.lock() = Some(Instant::now() + most);
        let writer = self.writer.lock().take();
        if let Some(Writer { queue, thread }) = writer {
            drop(queue);
            // What it had to say about its end it has said.
            let _ = thread.join();
        }
    }

    /// Octets that are held of sessions that go on.
    #[must_use]
    pub fn held(&self) -> usize {
        self.memory.held()
    }
}

fn work(engine: &dyn Engine, metrics: &Metrics, stop: &Mutex<Option<Instant>>, jobs: &Receiver<Box<Job>>) {
    let mut last: Option<(Order, Instant)> = None;
    let stops = || stop.lock().is_some_and(|stop| Instant::now() >= stop);
    loop {
        match jobs.recv_timeout(SWEEP) {
            Ok(job) if stops() => {
                metrics.recorded("given-up");
                tracing::info!(session = job.ended.session, "the session is not recorded: the server ends");
            }
            Ok(job) => {
                let order = job.order.clone();
                write(engine, metrics, *job);
                last = Some((order, Instant::now()));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Some((order, at)) = &mut last
            && at.elapsed() >= SWEEP
        {
            *at = Instant::now();
            if let Err(error) = folder::sweep(&order.folder, order.room) {
                tracing::warn!(%error, folder = %order.folder.display(), "old sessions can not be removed");
            }
        }
    }
}

fn write(engine: &dyn Engine, metrics: &Metrics, job: Job) {
    let Job { take, ended, why, at, order } = job;
    let session = ended.session.as_str();
    let mut about = BTreeMap::from([
        ("session".to_owned(), ended.session.clone()),
        ("listener".to_owned(), ended.listener.clone()),
        ("end".to_owned(), ended.how.clone()),
        ("software".to_owned(), format!("hermetic {}", env!("CARGO_PKG_VERSION"))),
    ]);
    if order.readable.addresses
        && let Some(client) = ended.client
    {
        about.insert("client".into(), client.to_string());
    }
    let recorded = at.round(jiff::Unit::Second).unwrap_or(at).to_string();
    let name: String = recorded.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let header = Header {
        engine: engine.hash().map(|hash| format!("sha256:{hash}")),
        recorded: Some(recorded),
        why: Some(why.as_str().into()),
        about,
        ..Header::default()
    };
    let recording = match produce(&take, engine, header, order.readable) {
        Ok(recording) => recording,
        Err(error) => {
            metrics.recorded("not-kept");
            tracing::warn!(session, "the session is not recorded: {error}");
            return;
        }
    };
    drop(take);
    let text = recording.write();
    let name = format!("{name}-{session}-{}", why.as_str());
    match folder::keep(&order.folder, &name, text.as_bytes(), order.room) {
        Ok(path) => {
            metrics.recorded("kept");
            tracing::info!(session, why = why.as_str(), file = %path.display(), "the session is recorded");
        }
        Err(error) => {
            metrics.recorded("not-written");
            tracing::warn!(session, folder = %order.folder.display(), "the session can not be written: {error}");
        }
    }
}
