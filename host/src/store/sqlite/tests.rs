//! What is accepted, claimed and settled, over restarts and from earlier schemas.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod operators;

use std::{io::Read as _, time::Instant};

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::store::{Address, Edit, Envelope, NewEntry, Pending, Pressure, Route, Settlement};

const LEASE: Duration = Duration::from_secs(60);

pub(super) fn open(folder: &TempDir) -> Arc<SqliteStore> {
    SqliteStore::open(folder.path(), 0, Metrics::new()).unwrap()
}

pub(super) fn entry(mailbox: &str) -> NewEntry {
    let recipient = Address { local: mailbox.into(), domain: "example.test".into() };
    let route = Route::Local(recipient.to_string());
    NewEntry::to(recipient, route)
}

pub(super) fn envelope() -> Envelope {
    Envelope {
        reverse_path: Some(Address { local: "sender".into(), domain: "far.test".into() }),
        received_at: now(),
        ..Envelope::default()
    }
}

async fn arrive(store: &SqliteStore, content: &[u8]) -> Box<dyn Incoming> {
    let mut incoming = store.begin().unwrap();
    for piece in content.chunks(30_000) {
        if incoming.write(piece).unwrap() == Pressure::Flush {
            incoming.flush().await.unwrap();
        }
    }
    incoming
}

async fn accept(store: &SqliteStore, content: &[u8], entries: Vec<NewEntry>) -> MessageId {
    arrive(store, content).await.accept(envelope(), b"Received: x\r\n".to_vec(), entries).await.unwrap()
}

async fn read(store: &SqliteStore, id: MessageId) -> Result<Vec<u8>, StoreError> {
    let body = store.body(id).await?;
    let mut octets = body.prefix;
    match body.content {
        Content::Inline(content) => octets.extend(content),
        Content::File(mut file) => drop(file.read_to_end(&mut octets).unwrap()),
    }
    Ok(octets)
}

fn files(folder: &TempDir) -> usize {
    let shards = std::fs::read_dir(folder.path().join("store/bodies")).unwrap();
    shards.map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap().count()).sum()
}

async fn states(store: &SqliteStore) -> Vec<String> {
    store.list().await.unwrap().into_iter().map(|line| line.state).collect()
}

/// What can not be read is held, with a reason, and stops nobody else.
#[tokio::test]
async fn a_damaged_entry() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    accept(&store, b"x", vec![entry("a"), entry("b"), entry("c")]).await;
    store.close().await;
    drop(store);
    let connection = Connection::open(folder.path().join("store/store.db")).unwrap();
    connection.execute("UPDATE entry SET pending = '{' WHERE place = 1", ()).unwrap();
    drop(connection);
    let store = open(&folder);
    let claimed = store.claim(now(), 10, LEASE).await.unwrap();
    let places: Vec<_> = claimed.iter().map(|lease| lease.entry.index).collect();
    assert_eq!(places, [0, 2]);
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.queued, counts.held), (2, 1));
}

/// The longest due come first; what is not due, held or leased is left; `due` wakes for each.
#[tokio::test]
async fn due_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    timeout(LEASE, store.due()).await.unwrap();
    assert!(store.claim(now(), 10, LEASE).await.unwrap().is_empty());
    assert!(timeout(Duration::from_millis(50), store.due()).await.is_err(), "nothing is due");
    accept(&store, b"x", vec![NewEntry { held: Some("test".into()), ..entry("a") }]).await;
    assert!(timeout(Duration::from_millis(50), store.due()).await.is_err(), "only held");

    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.due().await }
    });
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(accept(&store, b"x", vec![entry("a")]).await);
    }
    timeout(LEASE, waiting).await.unwrap().unwrap();
    let first = store.claim(now(), 2, LEASE).await.unwrap();
    timeout(LEASE, store.due()).await.expect("three are left");
    let rest = store.claim(now(), 10, LEASE).await.unwrap();
    let claimed: Vec<_> = first.iter().chain(&rest).map(|lease| lease.entry.message).collect();
    assert_eq!(claimed, ids);
    assert!(timeout(Duration::from_millis(50), store.due()).await.is_err(), "all are leased");

    let began = Instant::now();
    let retry = Settlement::Retry { at: now() + 200, reason: "later".into() };
    store.settle(vec![(first[0].clone(), retry).into()]).await.unwrap();
    timeout(LEASE, store.due()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(199));
    assert_eq!(store.claim(now(), 10, LEASE).await.unwrap()[0].entry, first[0].entry);
}

/// Nothing else happens in the store: it knows by itself when a lease ends that nobody settles.
#[tokio::test]
async fn what_is_claimed_and_never_settled_is_due_when_its_lease_ends() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let id = accept(&store, b"x", vec![entry("a")]).await;
    let began = Instant::now();
    let lease = Duration::from_millis(200);
    assert_eq!(store.claim(now(), 10, lease).await.unwrap().len(), 1);
    timeout(LEASE, store.due()).await.expect("its lease ends");
    assert!(began.elapsed() >= Duration::from_millis(199));
    assert_eq!(store.claim(now(), 10, lease).await.unwrap()[0].entry.message, id);
}

#[tokio::test]
async fn abandoned_messages_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    drop(arrive(&store, &[b'x'; 1000]).await);
    let large = arrive(&store, &vec![b'x'; 1_000_000]).await;
    let deadline = Instant::now() + LEASE;
    while files(&folder) == 0 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(large);
    while files(&folder) > 0 {
        assert!(Instant::now() < deadline, "the file is still there");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(store.counts().await.unwrap(), Counts::default());
}

#[tokio::test]
async fn one_process_and_one_schema() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let error = SqliteStore::open(folder.path(), 0, Metrics::new()).err().unwrap().to_string();
    assert!(error.contains(&format!("in use by another hermetic (process {})", std::process::id())), "{error}");
    accept(&store, b"x", vec![entry("a")]).await;
    assert_eq!(list(folder.path()).unwrap().unwrap().len(), 1, "readable beside the server");
    store.close().await;
    drop(store);
    assert_eq!(list(folder.path()).unwrap().unwrap().len(), 1, "readable without it");
    assert!(list(&folder.path().join("none")).unwrap().is_none());

    let connection = Connection::open(folder.path().join("store/store.db")).unwrap();
    connection.pragma_update(None, "user_version", 5).unwrap();
    let error = SqliteStore::open(folder.path(), 0, Metrics::new()).err().unwrap().to_string();
    assert!(error.contains("has schema 5, this version knows 4"), "{error}");
}

#[tokio::test]
async fn full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), u64::MAX, Metrics::new()).unwrap();
    assert!(matches!(store.begin(), Err(StoreError::Full(_))));
}

/// Files without rows go at start; rows without files are held.
#[tokio::test]
async fn reconciliation() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let large = vec![b'x'; 200_000];
    let good = accept(&store, &large, vec![entry("a")]).await;
    let missing = accept(&store, &large, vec![entry("b")]).await;
    let short = accept(&store, &large, vec![entry("c")]).await;
    let bodies = store.shared.bodies.clone();
    std::fs::remove_file(bodies.path(missing)).unwrap();
    std::fs::write(bodies.path(short), b"x").unwrap();
    std::fs::write(bodies.path(store.shared.ids.next()), b"orphan").unwrap();
    store.close().await;
    drop(store);
    let store = open(&folder);
    assert_eq!(states(&store).await, ["queued", "held", "held"]);
    assert_eq!(files(&folder), 2);
    assert_eq!(store.counts().await.unwrap(), Counts { queued: 1, held: 2, ..Counts::default() });
    assert_eq!(read(&store, good).await.unwrap().len(), 200_013);
}

/// The log stays bounded while readers come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let log = || std::fs::metadata(folder.path().join("store/store.db-wal")).unwrap().len();
    let reading = tokio::spawn({
        let store = store.clone();
        async move {
            loop {
                store.find(Filter::default(), None, 500).await.unwrap();
            }
        }
    });
    let mut most = 0;
    for _ in 0..100 {
        let mut set = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let store = store.clone();
            set.spawn(async move { accept(&store, &[b'x'; 60_000], vec![entry("a")]).await });
        }
        while set.join_next().await.is_some() {}
        most = most.max(log());
    }
    reading.abort();
    assert!(most < writer::WAL_MOST.unsigned_abs() * 3 / 2, "{most} octets for 300 MB");
}

fn verdict(judged: &str, message: Option<MessageId>, at: Timestamp) -> Verdicts {
    Verdicts { transaction: "s.1".into(), message, recipients: 50, judged: judged.into(), at }
}

#[tokio::test]
async fn verdicts_are_kept_and_expire() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let of = |id: &str| verdicts(folder.path(), id).unwrap().unwrap();
    let settled = async || {
        while store.shared.recording.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    store.record(verdict("old", None, 1));
    let mut incoming = arrive(&store, b"x").await;
    let id = incoming.id();
    incoming.judged(verdict("a", Some(id), now()));
    incoming.accept(envelope(), vec![], vec![entry("a")]).await.unwrap();
    for _ in 0..writer::TIDY {
        store.record(verdict("c", None, now()));
    }
    settled().await;
    let shown: Vec<_> = of(&id.to_string()).into_iter().map(|v| (v.judged, v.message)).collect();
    assert!(shown.contains(&("a".into(), Some(id))) && shown.len() == 1 + writer::TIDY, "its whole transaction");
    assert_eq!(of("s.1").len(), 1 + writer::TIDY, "without the old one");
    assert_eq!((of("s").len(), of("s.").len(), of("s.11").len()), (1 + writer::TIDY, 0, 0), "a session's");
    // 50 recipients each: 100 000 are 2000 rows, and a thousand more until somebody looks.
    for _ in 0..3 * writer::TIDY {
        store.record(verdict("d", None, now()));
    }
    settled().await;
    let left = of("s.1").len();
    assert!((2000..=2000 + writer::TIDY).contains(&left), "{left}");
    assert_eq!(of(&id.to_string()), []);
}

/// What earlier versions stored is read, and changed at the next start: what had failed is now told to its sender.
#[tokio::test]
async fn earlier_schemas_are_carried_over() {
    let third = "DROP TABLE wishes; DROP INDEX due; DROP INDEX ranked; ALTER TABLE entry DROP COLUMN priority;
        CREATE INDEX due ON entry (next_attempt) WHERE state = 0;
        UPDATE entry SET pending = json_object('Bounce', json_object('status', '5.0.0', 'reason', 'it said \"no\"'))
        WHERE place = 1;";
    let second = "DROP TABLE report; ALTER TABLE entry DROP COLUMN pending; ALTER TABLE entry DROP COLUMN warned;
        UPDATE entry SET state = 2, next_attempt = NULL, reason = 'it said \"no\"' WHERE place = 1;";
    let first = "DROP TABLE verdicts; ALTER TABLE entry DROP COLUMN edits;";
    for (version, back) in
        [(1, format!("{third} {second} {first}")), (2, format!("{third} {second}")), (3, third.to_owned())]
    {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let again = |asked| Pending::Rejudge { transaction: "s.1".into(), reason: "later".into(), asked };
        let edits = vec![Edit::Remove(1)];
        let mut all = vec![entry("a"), entry("b")];
        if version == 3 {
            let edited = NewEntry { edits: edits.clone(), ..entry("c") };
            all.push(NewEntry { pending: again(None), ..edited.clone() });
            all.push(NewEntry { pending: again(None), sent_on: true, ..edited.clone() });
            all.push(NewEntry { pending: again(Some(Box::default())), ..edited.clone() });
            all.push(edited);
        }
        let id = accept(&store, b"x", all.clone()).await;
        store.close().await;
        drop(store);
        let path = folder.path().join("store/store.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(&back).unwrap();
        connection.pragma_update(None, "user_version", version).unwrap();
        drop(connection);
        assert_eq!(list(folder.path()).unwrap().unwrap().len(), all.len(), "version {version}");
        assert_eq!(verdicts(folder.path(), "x").unwrap().unwrap(), []);
        let store = open(&folder);
        let mut leases = store.claim(now(), 9, LEASE).await.unwrap();
        leases.sort_by_key(|lease| lease.entry);
        // What is judged from the beginning again begins without edits.
        for lease in leases.split_off(2) {
            let place = lease.entry.index as usize;
            let kept = if place < 4 { Vec::new() } else { edits.clone() };
            assert_eq!(lease.recipient, NewEntry { edits: kept, ..all[place].clone() }, "version {version}");
        }
        let found: Vec<_> = leases.iter().map(|lease| (lease.entry.message, &lease.recipient.pending)).collect();
        let bounce = Pending::Bounce { status: "5.0.0".into(), reason: "it said \"no\"".into() };
        assert_eq!(found, [(id, &Pending::Nothing), (id, &bounce)], "version {version}");
        store.record(verdict("a", None, now()));
        store.close().await;
        assert_eq!(verdicts(folder.path(), "s.1").unwrap().unwrap().len(), 1);
    }
}

/// A job that can not be done spoils no other of its transaction.
#[tokio::test]
async fn a_bad_job_spoils_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let message = |id| rows::NewMessage {
        id,
        envelope: envelope(),
        prefix: vec![],
        content: Some(vec![]),
        entries: vec![entry("a")],
        verdicts: None,
    };
    let (good, other) = (store.shared.ids.next(), store.shared.ids.next());
    let mut answers = Vec::new();
    for id in [good, good, other] {
        let (reply, answer) = oneshot::channel();
        let arrival = writer::Arrival { message: message(id), file: None };
        store.shared.submit(Job::Accept(Box::new(arrival), reply)).unwrap();
        answers.push(answer);
    }
    let mut results = Vec::new();
    for answer in answers {
        results.push(answer.await.unwrap().is_ok());
    }
    assert_eq!(results, [true, false, true]);
    assert_eq!(store.counts().await.unwrap().queued, 2);
}

/// `HERMETIC_MEASURE=N cargo test --release -p hermetic --lib store -- --ignored --nocapture`: N messages of 4 KiB (or
/// `HERMETIC_MEASURE_SIZE`) from 1, 50, 200 tasks.
#[test]
#[ignore = "a measurement"]
fn measure() {
    let n: usize = std::env::var("HERMETIC_MEASURE").map_or(20_000, |n| n.parse().unwrap());
    let size: usize = std::env::var("HERMETIC_MEASURE_SIZE").map_or(4096, |n| n.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for tasks in [1, 50, 200] {
        let folder = tempfile::tempdir_in("..").unwrap();
        let store = open(&folder);
        let cpu = || {
            let used = std::fs::read_to_string("/proc/self/stat").unwrap();
            let fields: Vec<i64> = used.rsplit(')').next().unwrap().split(' ').filter_map(|f| f.parse().ok()).collect();
            (fields[10] + fields[11]) as f64 * 10_000.0
        };
        let n = if tasks == 1 { n / 10 } else { n };
        if n < tasks {
            continue;
        }
        let (began, used) = (Instant::now(), cpu());
        runtime.block_on(async {
            let mut set = tokio::task::JoinSet::new();
            for _ in 0..tasks {
                let store = store.clone();
                set.spawn(async move {
                    for _ in 0..n / tasks {
                        accept(&store, &vec![b'x'; size], vec![entry("a")]).await;
                    }
                });
            }
            while set.join_next().await.is_some() {}
        });
        let (took, used) = (began.elapsed().as_secs_f64(), cpu() - used);
        let wal = std::fs::metadata(folder.path().join("store/store.db-wal")).unwrap().len() >> 20;
        let each = used / n as f64;
        println!(
            "{tasks:4} tasks: {:7.0} messages a second, {each:5.1} µs of CPU each, WAL {wal} MiB",
            n as f64 / took
        );
    }
}
