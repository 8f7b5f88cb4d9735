//! What is accepted, claimed and settled, over restarts and from earlier schemas.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod operators;

use std::{io::Read as _, time::Instant};

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::store::{Address, Edit, Envelope, Listed, NewEntry, Notice, Pending, Pressure, Route, Settlement};

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

/// Contents of all sizes around the bounds come back unchanged, and go with the last entry.
#[tokio::test]
async fn contents_of_every_size() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let inline = incoming::INLINE;
    for size in [0, 1, 4096, inline - 1, inline, inline + 1, inline + 30_000, 3 * inline, 1_000_000, 5_000_000] {
        let content: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let id = accept(&store, &content, vec![entry("a"), entry("b")]).await;
        assert_eq!(files(&folder), usize::from(size > inline), "{size} octets");
        let whole = [b"Received: x\r\n", content.as_slice()].concat();
        assert!(read(&store, id).await.unwrap() == whole, "{size} octets");

        let leases = store.claim(now(), 10, LEASE).await.unwrap();
        assert_eq!(leases.iter().map(|lease| lease.entry.index).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(leases[0].envelope.size, size as u64);
        let mut leases = leases.into_iter().map(|lease| (lease, Settlement::Delivered));
        store.settle(vec![leases.next().unwrap().into()]).await.unwrap();
        assert!(read(&store, id).await.unwrap() == whole, "another entry needs it");
        store.settle(vec![leases.next().unwrap().into()]).await.unwrap();
        assert!(matches!(read(&store, id).await, Err(StoreError::Unknown(_))));
        assert_eq!(files(&folder), 0);
    }
    assert_eq!(store.list().await.unwrap().len(), 0);
}

/// What each settlement makes of an entry; `-` for one that is gone.
#[tokio::test]
async fn settlements() {
    let failed = || Settlement::Failed { status: "5.2.0".into(), reason: "no such folder".into() };
    let far = u64::from(u32::MAX) * 1000;
    let retry = |at| Settlement::Retry { at, reason: "disk full".into() };
    let named = |names: &[&str]| Settlement::Becomes(names.iter().map(|name| entry(name)).collect());
    let held = |name| NewEntry { held: Some("kept".into()), ..entry(name) };
    let expanded = |name| NewEntry { pending: Pending::Expanded, ..entry(name) };
    // settlement, with a notice -> states, attempts of what is queued
    let cases: [(Settlement, bool, &[&str], u32); 16] = [
        (Settlement::Delivered, false, &["b queued"], 0),
        (Settlement::Delivered, true, &["b queued", "notice queued"], 0),
        (failed(), false, &["a held no such folder", "b queued"], 0),
        (failed(), true, &["b queued", "notice queued"], 0),
        (Settlement::Held { reason: "for a test".into() }, false, &["a held for a test", "b queued"], 0),
        (retry(0), false, &["a queued disk full", "b queued"], 1),
        (retry(far), true, &["a queued disk full", "b queued", "notice queued"], 1),
        (Settlement::Postponed { at: far, reason: None }, false, &["a queued", "b queued"], 0),
        (named(&["a"]), false, &["a queued", "b queued"], 0),
        // Whoever was told that it is late is not told again.
        (named(&["c", "a"]), true, &["c queued", "b queued", "a queued", "notice queued"], 0),
        (named(&["c", "a", "d"]), false, &["c queued", "b queued", "a queued", "d queued"], 0),
        // Nobody gets a message twice, and what is redirected to nobody is gone.
        (Settlement::Becomes(vec![entry("b"), held("e")]), false, &["b queued", "e held kept"], 0),
        (named(&[]), false, &["b queued"], 0),
        // Several things may be held and told of one recipient, beside its copy, and none of that stands for the copy.
        (
            Settlement::Becomes(vec![held("a"), expanded("a"), held("a"), entry("a"), entry("a")]),
            false,
            &["a held kept", "b queued", "a queued", "a held kept", "a queued"],
            0,
        ),
        (
            Settlement::Becomes(vec![entry("a"), expanded("a"), held("a")]),
            false,
            &["a queued", "b queued", "a queued", "a held kept"],
            0,
        ),
        // One that has a copy keeps it, whatever else there is of it.
        (
            Settlement::Becomes(vec![expanded("b"), held("b"), entry("b")]),
            false,
            &["b queued", "b queued", "b held kept"],
            0,
        ),
    ];
    for (settlement, told, expected, attempts) in cases {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        accept(&store, b"x", vec![entry("a"), entry("b")]).await;
        let lease = store.claim(now(), 1, LEASE).await.unwrap().pop().unwrap();
        assert_eq!((lease.entry.index, lease.late), (0, false));
        let case = format!("{settlement:?} {told}");
        let notice = told.then(|| Notice {
            envelope: envelope(),
            content: b"Subject: notice\r\n\r\n".to_vec(),
            entries: vec![entry("notice")],
        });
        let outcome = || Outcome {
            notice: notice.clone(),
            report: told.then(|| "r".into()),
            verdicts: told.then(|| verdict("v", Some(lease.entry.message), now())),
            late: told,
            ..Outcome::from((lease.clone(), settlement.clone()))
        };
        assert_eq!(store.settle(vec![outcome()]).await.unwrap(), []);
        let listed = || async {
            let lines = store.list().await.unwrap();
            let shown = lines.iter().map(|line| {
                let name = line.recipient.trim_end_matches("@example.test");
                format!("{name} {} {}", line.state, line.reason.as_deref().unwrap_or_default()).trim_end().to_owned()
            });
            shown.collect::<Vec<_>>()
        };
        assert_eq!(listed().await, expected, "{case}");
        // All of it counts once.
        assert_eq!(store.settle(vec![outcome()]).await.unwrap(), [lease.entry], "twice: {case}");
        assert_eq!(listed().await, expected, "twice: {case}");
        let (reports, _) = store.reports(now(), 10).await.unwrap();
        assert_eq!(reports.iter().map(|report| report.text.as_str()).collect::<Vec<_>>(), vec!["r"; usize::from(told)]);
        assert_eq!(verdicts(folder.path(), "s.1").unwrap().unwrap().len(), usize::from(told), "{case}");

        let leases = store.claim(u64::MAX >> 1, 10, LEASE).await.unwrap();
        let mine = leases.iter().find(|lease| lease.recipient.recipient.local == "a");
        if let Some(lease) = mine {
            assert_eq!((lease.attempts, lease.late), (attempts, told), "{case}");
        }
        if let Some(lease) = leases.iter().find(|lease| lease.recipient.recipient.local == "notice") {
            assert_eq!(read(&store, lease.entry.message).await.unwrap(), b"Subject: notice\r\n\r\n");
            assert_eq!(lease.envelope.size, 19);
        }
        // Places that were used stay used: whatever is left can be settled, and takes the message along.
        let all = leases.into_iter().map(|lease| (lease, Settlement::Delivered).into()).collect();
        assert_eq!(store.settle(all).await.unwrap(), []);
        let left = expected.iter().filter(|line| line.contains("held")).count();
        assert_eq!(store.list().await.unwrap().len(), left, "{case}");
    }
}

/// Those whom one notice tells of are settled together or, if one of them is not ours to settle, not at all; then their
/// leases go on, and each can be settled alone.
#[tokio::test]
async fn one_notice_for_several() {
    let notice = || Notice {
        envelope: envelope(),
        content: b"Subject: notice\r\n\r\n".to_vec(),
        entries: vec![entry("notice")],
    };
    // Which of a, b, c has a stale lease, whether anybody brings the notice; what comes back and what is there then.
    for (case, stale, brought, refused, expected) in [
        ("all is well", None, true, &[][..], &["d queued", "notice queued"][..]),
        ("who brings it is stale", Some(0), true, &[0, 1, 2], &["a leased", "b leased", "c leased", "d queued"]),
        ("another one is stale", Some(2), true, &[0, 1, 2], &["a leased", "b leased", "c leased", "d queued"]),
        ("nobody brings it", None, false, &[0, 1, 2], &["a leased", "b leased", "c leased", "d queued"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        accept(&store, b"x", ["a", "b", "c", "d", "e"].map(entry).into()).await;
        let mut leases = store.claim(now(), 5, LEASE).await.unwrap();
        let others = leases.split_off(3);
        if let Some(place) = stale {
            let lease: &mut Lease = &mut leases[place];
            lease.token -= 1;
        }
        let failed = |lease: &Lease| {
            let failed = Settlement::Failed { status: "5.0.0".into(), reason: "no".into() };
            Outcome::from((lease.clone(), failed))
        };
        let first = leases[0].entry;
        let mut outcomes: Vec<Outcome> = leases.iter().map(failed).collect();
        outcomes[0].notice = brought.then(notice);
        outcomes[1..].iter_mut().for_each(|outcome| outcome.told_with = Some(first));
        // What has nothing to do with it is settled whatever becomes of it.
        let retry = Settlement::Retry { at: u64::MAX >> 1, reason: "later".into() };
        outcomes.push((others[0].clone(), retry).into());
        outcomes.push((others[1].clone(), Settlement::Delivered).into());
        let mut found: Vec<u32> = store.settle(outcomes).await.unwrap().iter().map(|entry| entry.index).collect();
        found.sort_unstable();
        assert_eq!(found, refused, "{case}");
        let listed = || async {
            let lines = store.list().await.unwrap();
            let name = |line: &Listed| line.recipient.trim_end_matches("@example.test").to_owned();
            lines.iter().map(|line| format!("{} {}", name(line), line.state)).collect::<Vec<_>>()
        };
        assert_eq!(listed().await, expected, "{case}");
        if refused.is_empty() {
            continue;
        }
        // Each alone: whoever is stale still is.
        let alone = leases.iter().map(|lease| Outcome { notice: Some(notice()), ..failed(lease) }).collect();
        let found = store.settle(alone).await.unwrap();
        let still: Vec<EntryId> = stale.map(|place| leases[place].entry).into_iter().collect();
        assert_eq!(found, still, "{case}");
        let notices = listed().await.iter().filter(|line| *line == "notice queued").count();
        assert_eq!(notices, 3 - still.len(), "{case}");
    }
}

/// An attempt that counts before it is made; a stale lease's does not.
#[tokio::test]
async fn attempts_are_counted_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    accept(&store, b"x", vec![entry("a")]).await;
    let old = store.claim(now(), 1, Duration::ZERO).await.unwrap().pop().unwrap();
    let lease = store.claim(now() + 1, 1, LEASE).await.unwrap().pop().unwrap();
    assert_eq!(store.begin_attempts(vec![old.clone()]).await.unwrap(), [old.entry]);
    assert_eq!(store.begin_attempts(vec![lease.clone()]).await.unwrap(), []);
    store.close().await;
    drop(store);
    let store = open(&folder);
    let lease = store.claim(now(), 1, LEASE).await.unwrap().pop().unwrap();
    assert_eq!(lease.attempts, 1, "the process died while it was made");
    store.begin_attempts(vec![lease.clone()]).await.unwrap();
    store.settle(vec![(lease, Settlement::Retry { at: 0, reason: "x".into() }).into()]).await.unwrap();
    assert_eq!(store.claim(now(), 1, LEASE).await.unwrap()[0].attempts, 2, "counted once");
}

/// Reports come in the order in which they are due, until they are done with, and are kept over restarts.
#[tokio::test]
async fn reports() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for name in ["a", "b"] {
        accept(&store, b"x", vec![entry(name)]).await;
        let lease = store.claim(now(), 1, LEASE).await.unwrap().pop().unwrap();
        let outcome = Outcome { report: Some(name.into()), ..Outcome::from((lease, Settlement::Delivered)) };
        store.settle(vec![outcome]).await.unwrap();
    }
    let (due, next) = store.reports(now(), 10).await.unwrap();
    assert_eq!((due.len(), next), (2, None));
    let again = Told::Again { at: now() + 3_600_000, text: "again".into() };
    store.told(vec![(due[0].clone(), again), (due[1].clone(), Told::Done)]).await.unwrap();
    store.close().await;
    drop(store);
    let store = open(&folder);
    let (due, next) = store.reports(now(), 10).await.unwrap();
    assert!(due.is_empty() && next.is_some_and(|next| next > now()));
    let (due, next) = store.reports(now() + 3_600_000, 10).await.unwrap();
    assert_eq!((due[0].text.as_str(), due[0].tries, due.len(), next), ("again", 1, 1, None));
}

#[tokio::test]
async fn leases_expire_and_fence() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    accept(&store, b"x", vec![entry("a")]).await;
    let start = now();
    let old = store.claim(start, 10, LEASE).await.unwrap().pop().unwrap();
    assert!(!old.unsure);
    assert!(store.claim(start + 59_900, 10, LEASE).await.unwrap().is_empty());
    // Leases last by another clock: to a millisecond the two differ.
    let new = store.claim(now() + 60_100, 10, LEASE).await.unwrap().pop().unwrap();
    assert!(new.unsure && new.token > old.token);
    assert_eq!(store.settle(vec![(old.clone(), Settlement::Delivered).into()]).await.unwrap(), [old.entry]);
    assert_eq!(states(&store).await, ["leased"]);
    assert_eq!(store.settle(vec![(new.clone(), Settlement::Delivered).into()]).await.unwrap(), []);
    assert_eq!(states(&store).await, Vec::<String>::new());

    // One that is renewed goes on, until somebody else has it: from then on it is stale, and so is one that was settled.
    accept(&store, b"z", vec![entry("a")]).await;
    let start = now();
    let old = store.claim(start, 10, LEASE).await.unwrap().pop().unwrap();
    assert_eq!(store.renew(vec![old.right()], 2 * LEASE).await.unwrap(), []);
    assert!(store.claim(start + 119_900, 10, LEASE).await.unwrap().is_empty());
    let new = store.claim(now() + 120_100, 10, Duration::ZERO).await.unwrap().pop().unwrap();
    assert_eq!(store.renew(vec![old.right(), new.right()], LEASE).await.unwrap(), [old.entry], "though it has expired");
    assert!(store.claim(now() + 30_000, 10, LEASE).await.unwrap().is_empty());
    assert_eq!(store.settle(vec![(new.clone(), Settlement::Delivered).into()]).await.unwrap(), []);
    assert_eq!(store.renew(vec![new.right()], LEASE).await.unwrap(), [new.entry]);

    // A new process: the lease is void at once, the token greater, the entry unsure.
    accept(&store, b"y", vec![entry("a")]).await;
    let before = store.claim(now(), 10, LEASE).await.unwrap().pop().unwrap();
    store.close().await;
    assert!(store.begin().unwrap().accept(envelope(), vec![], vec![entry("a")]).await.is_err());
    drop(store);
    let store = open(&folder);
    let after = store.claim(now(), 10, LEASE).await.unwrap().pop().unwrap();
    assert!(after.unsure && after.token > before.token);
    assert_eq!(store.settle(vec![(before, Settlement::Delivered).into()]).await.unwrap().len(), 1);
    assert_eq!(store.settle(vec![(after, Settlement::Delivered).into()]).await.unwrap().len(), 0);
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
async fn headers() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let long = [b"A: ".as_slice(), &[b'x'; 200_000], b"\r\n\r\nbody"].concat();
    let late = [b"A: b\r\n\r\n".as_slice(), &[b'x'; 200_000]].concat();
    let cases: [(&[u8], &[u8]); 7] = [
        (b"", b""),
        (b"\r\nbody", b""),
        (b"A: b\r\n\r\nbody\r\n\r\n", b"A: b\r\n"),
        (b"A: b\r\nC: d\r\n", b"A: b\r\nC: d\r\n"),
        (b"A: b\n\nbody", b"A: b\n\nbody"),
        (&long, &long[..64 * 1024]),
        (&late, b"A: b\r\n"),
    ];
    for (content, expected) in cases {
        assert!(arrive(&store, content).await.header() == expected);
    }
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

/// What judges look at is what is stored, however large.
#[tokio::test]
async fn content_before_it_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for size in [0, 1, 60_000, 70_000, 500_000, 1_000_001] {
        let content: Vec<u8> = (0..size).map(|n: u32| n.to_le_bytes()[1] ^ n.to_le_bytes()[0]).collect();
        let mut incoming = arrive(&store, &content).await;
        assert!(incoming.content().await.unwrap() == content, "{size} octets");
        let id = incoming.accept(envelope(), vec![], vec![entry("a")]).await.unwrap();
        assert!(read(&store, id).await.unwrap() == content, "{size} octets");
    }
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
