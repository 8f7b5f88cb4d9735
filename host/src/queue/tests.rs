//! Entries from the store to a Maildir, a retry, or the end.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod leases;
mod notices;
mod operators;
mod plugins;
mod points;
mod sent_on;
mod simulation;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use tokio::sync::watch;

use super::*;
use crate::config::Queue;
use crate::plugin::hook::{Facts, Message, Plugin, Ran};
use crate::store::{Address, Counts, Envelope, NewEntry, Pending, Pressure, Timestamp, Verdicts, sqlite::SqliteStore};

/// Everything below `mail`; those whose names begin with `lost` are configured no more.
pub(super) fn places(config: &Config, mailbox: &str) -> Option<PathBuf> {
    (!mailbox.starts_with("lost")).then(|| config.data.join("mail").join(mailbox))
}

type Judge = Box<dyn Fn(&Lease, Message) -> Result<Vec<NewEntry>, String> + Send + Sync>;

/// Everybody at `example.test` has a mailbox, and the plugins that the test wants.
#[derive(Default)]
pub(super) struct House {
    chain: Vec<Arc<dyn Plugin>>,
    judge: Option<Judge>,
    /// Names in which mail was sent on.
    named: AtomicUsize,
}

#[async_trait::async_trait]
impl Rules for House {
    fn place(&self, address: &Address) -> Result<Route, String> {
        match address.domain.as_str() {
            _ if address.local == "nobody" => Err("there is no such mailbox here".into()),
            "example.test" => Ok(Route::Local(address.to_string())),
            _ => Ok(Route::Relay),
        }
    }
    fn sent_as(&self, sender: &Address) -> Option<Address> {
        let number = self.named.fetch_add(1, Ordering::Relaxed);
        Some(Address { local: format!("{}-{number}", sender.local), domain: "us.test".into() })
    }
    fn chain(&self, recipient: &Address, _: &Route) -> Vec<Arc<dyn Plugin>> {
        if recipient.local.starts_with("p-") { self.chain.clone() } else { Vec::new() }
    }
    async fn judge(&self, facts: Facts, lease: &Lease, message: Message) -> Judged {
        let becomes = self.judge.as_ref().map_or_else(|| Err("nobody judges".into()), |judge| judge(lease, message));
        let verdicts = Verdicts {
            transaction: facts.transaction_id,
            message: Some(lease.entry.message),
            recipients: 1,
            judged: format!("{becomes:?}"),
            at: now(),
        };
        Judged { becomes, reply: None, verdicts: Some(verdicts) }
    }
    fn record(&self, recipient: &Address, outcome: &str, _: Ran) -> String {
        format!("{recipient}: {outcome}")
    }
}

pub(super) fn entry(mailbox: &str) -> NewEntry {
    let recipient = Address { local: mailbox.into(), domain: "example.test".into() };
    let route = Route::Local(recipient.to_string());
    NewEntry::to(recipient, route)
}

pub(super) async fn accept(store: &SqliteStore, content: &[u8], entries: Vec<NewEntry>) -> MessageId {
    accept_at(store, now(), content, entries).await
}

async fn accept_at(store: &SqliteStore, at: Timestamp, content: &[u8], entries: Vec<NewEntry>) -> MessageId {
    let reverse_path = Some(Address { local: "a b".into(), domain: "far.test".into() });
    let envelope = Envelope { reverse_path, received_at: at, ..Envelope::default() };
    accept_with(store, envelope, content, entries).await
}

/// From a sender here.
pub(super) async fn accept_from(store: &SqliteStore, local: &str, content: &[u8], entries: Vec<NewEntry>) -> MessageId {
    let reverse_path = Some(Address { local: local.into(), domain: "example.test".into() });
    let envelope = Envelope { reverse_path, received_at: now(), ..Envelope::default() };
    accept_with(store, envelope, content, entries).await
}

async fn accept_with(store: &SqliteStore, envelope: Envelope, content: &[u8], entries: Vec<NewEntry>) -> MessageId {
    let mut incoming = store.begin().unwrap();
    for piece in content.chunks(50_000) {
        if incoming.write(piece).unwrap() == Pressure::Flush {
            incoming.flush().await.unwrap();
        }
    }
    incoming.accept(envelope, b"Received: x\r\n".to_vec(), entries).await.unwrap()
}

/// Mail by file name in `new` and `cur` of a mailbox.
pub(super) fn mail(data: &Path, mailbox: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in ["new", "cur"] {
        for file in fs::read_dir(data.join("mail").join(mailbox).join(folder)).into_iter().flatten().flatten() {
            found.insert(file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap());
        }
    }
    found
}

/// A server's queue in a folder of its own.
struct Rig {
    folder: tempfile::TempDir,
    store: Arc<SqliteStore>,
    config: Arc<ArcSwap<Config>>,
    house: Arc<House>,
}

impl Rig {
    fn new() -> Self {
        Self::new_in(tempfile::tempdir().unwrap())
    }

    fn new_in(folder: tempfile::TempDir) -> Self {
        let store = SqliteStore::open(folder.path(), 0, Metrics::new()).unwrap();
        let config = Config { data: folder.path().to_owned(), name: "mx:1.test".into(), ..Config::default() };
        Self { folder, store, config: Arc::new(ArcSwap::from_pointee(config)), house: Arc::default() }
    }

    async fn restart(self) -> Self {
        self.store.close().await;
        drop(self.store);
        Self { house: self.house, ..Self::new_in(self.folder) }
    }

    /// With these plugins for recipients whose names begin with `p-`.
    fn with(mut self, house: House) -> Self {
        self.house = Arc::new(house);
        self
    }

    fn configure(&self, change: impl Fn(&mut Queue)) {
        self.change(|config| change(&mut config.queue));
    }

    fn change(&self, change: impl Fn(&mut Config)) {
        let mut config = Config::clone(&self.config.load());
        change(&mut config);
        self.config.store(Arc::new(config));
    }

    /// What deliveries share.
    fn shared(&self) -> Shared {
        Shared {
            store: self.store.clone(),
            config: self.config.clone(),
            places,
            rules: self.house.clone(),
            metrics: Metrics::new(),
            maildirs: Arc::new(Maildirs::new("mx.test")),
            courier: None,
            bell: Arc::default(),
            lease: LEASE,
        }
    }

    /// Runs the queue until the condition holds.
    async fn run_until(&self, condition: impl Fn(&Counts, &Path) -> bool) {
        let (stop, stopped) = watch::channel(false);
        let queue = tokio::spawn(run(
            self.store.clone(),
            self.config.clone(),
            places,
            self.house.clone(),
            None,
            Metrics::new(),
            stopped,
        ));
        let began = Instant::now();
        loop {
            let counts = self.store.counts().await.unwrap();
            if condition(&counts, self.folder.path()) {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{counts:?} {:?}", self.store.list().await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.send(true).unwrap();
        queue.await.unwrap();
    }

    fn mail(&self, mailbox: &str) -> BTreeMap<String, Vec<u8>> {
        mail(self.folder.path(), mailbox)
    }
}

/// One recipient's edits are in that copy alone, however large the content is.
#[tokio::test]
async fn edits_are_in_one_copy() {
    use crate::store::Edit;
    let rig = Rig::new();
    for size in [10, 500_000] {
        let body = "line\r\n".repeat(size / 6 + 1);
        let content = format!("Subject: x\r\nX-Old: y\r\n\r\n{body}");
        let edits = vec![
            Edit::Prepend(2, "X-Top".into(), "1".into()),
            Edit::Append(3, "X-End".into(), "2".into()),
            Edit::Replace(0, "z".into()),
            Edit::Remove(1),
        ];
        let edited = format!("edited{size}");
        let plain = format!("plain{size}");
        accept(&rig.store, content.as_bytes(), vec![NewEntry { edits, ..entry(&edited) }, entry(&plain)]).await;
        rig.run_until(|counts, _| counts.queued == 0).await;
        let copy =
            |name: &str| String::from_utf8(rig.mail(&format!("{name}@example.test")).pop_first().unwrap().1).unwrap();
        assert!(copy(&plain).ends_with(&format!("Received: x\r\n{content}")), "{size}");
        let found = copy(&edited);
        let expected = format!("Received: x\r\nX-Top: 1\r\nSubject: z\r\nX-End: 2\r\n\r\n{body}");
        assert!(found.ends_with(&expected), "{size}: {}", &found[..200.min(found.len())]);
        assert!(found.starts_with(&format!("Return-Path: <\"a b\"@far.test>\r\nDelivered-To: {edited}@")), "{size}");
    }
}

#[tokio::test]
async fn mail_arrives_as_it_was_sent() {
    let rig = Rig::new();
    let small = b"Subject: x\r\n\r\nbare \n and \r stay\r\n".to_vec();
    // The CRLF that a last chunk need not have is added.
    let large: Vec<u8> = (0..700_000u32).map(|i| u8::try_from(i % 253).unwrap()).collect();
    for (content, end) in [(&small, &b""[..]), (&large, b"\r\n")] {
        let tagged = NewEntry {
            recipient: Address { local: "anna+lists".into(), domain: "Example.test".into() },
            ..entry("anna")
        };
        let id = accept(&rig.store, content, vec![tagged, entry("berta")]).await;
        rig.run_until(|counts, _| *counts == Counts::default()).await;
        for (index, mailbox, to) in [(0, "anna", "anna+lists@Example.test"), (1, "berta", "berta@example.test")] {
            let fields = format!("Return-Path: <\"a b\"@far.test>\r\nDelivered-To: {to}\r\nReceived: x\r\n");
            let expected = [fields.as_bytes(), content, end].concat();
            let seconds = id.timestamp_ms() / 1000;
            let name = format!("{seconds}.{id}_{index}.mx\\0721.test,S={}", expected.len());
            let found = rig.mail(&format!("{mailbox}@example.test"));
            assert!(found.get(&name) == Some(&expected), "{name} {:?}", found.keys());
        }
    }
    let maildir = rig.folder.path().join("mail/anna@example.test");
    for folder in [&maildir, &maildir.join("tmp"), &maildir.join("new"), &maildir.join("cur")] {
        assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
    }
    assert_eq!(fs::read_dir(maildir.join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_fails_is_retried_and_expires() {
    let rig = Rig::new();
    rig.configure(|queue| queue.retry_first = 1);
    let blocked = rig.folder.path().join("mail/berta@example.test");
    fs::create_dir_all(blocked.parent().unwrap()).unwrap();
    fs::write(&blocked, b"a file where a folder should be").unwrap();
    accept(&rig.store, b"x", vec![entry("anna"), entry("berta"), entry("lost")]).await;
    // One that is too old fails at its first attempt.
    accept_at(&rig.store, 1, b"y", vec![entry("lost")]).await;
    rig.run_until(|counts, _| (counts.queued, counts.held) == (2, 1)).await;
    let listed = rig.store.list().await.unwrap();
    let reasons: Vec<_> = listed.iter().filter_map(|line| line.reason.as_deref()).collect();
    assert_eq!(rig.mail("anna@example.test").len(), 1);
    assert!(reasons[0].contains("berta@example.test"), "{reasons:?}");
    assert_eq!(reasons[1], "the mailbox lost@example.test is not configured any more");
    assert_eq!(
        reasons[2],
        "undeliverable: the mailbox lost@example.test is not configured any more; given up after 1 attempts; nobody has \
         authenticated the sender, who is not told (queue.notify-strangers)"
    );

    fs::remove_file(&blocked).unwrap();
    rig.run_until(|counts, _| counts.queued == 1).await;
    assert_eq!(rig.mail("berta@example.test").len(), 1);
    assert_eq!(rig.mail("anna@example.test").len(), 1, "not again");
}

#[tokio::test]
async fn relay_mail_is_held_and_a_queue_on_hold_waits() {
    let rig = Rig::new();
    accept(&rig.store, b"x", vec![NewEntry { route: Route::Relay, ..entry("far") }]).await;
    rig.run_until(|counts, _| counts.held == 1).await;
    let held = rig.store.list().await.unwrap().remove(0);
    assert_eq!((held.state.as_str(), held.reason.as_deref()), ("held", Some(NEEDS_OUTBOUND)));

    rig.configure(|queue| queue.hold = true);
    accept(&rig.store, b"x", vec![entry("anna")]).await;
    let began = Instant::now();
    rig.run_until(|_, _| began.elapsed() > Duration::from_millis(300)).await;
    assert!(rig.mail("anna@example.test").is_empty());
    rig.configure(|queue| queue.hold = false);
    rig.run_until(|counts, _| counts.queued == 0).await;
    assert_eq!(rig.mail("anna@example.test").len(), 1);
}

/// An attempt that got as far as `new` or `tmp`, and whose record was lost, is not repeated.
#[tokio::test]
async fn copies_are_found() {
    for (folder, flags, copies) in [("new", "", 1), ("cur", ":2,S", 1), ("tmp", "", 0)] {
        let rig = Rig::new();
        let id = accept(&rig.store, b"x", vec![entry("anna")]).await;
        let maildir = rig.folder.path().join("mail/anna@example.test");
        let name = format!("{}.{id}_0.old-host,S=4{flags}", id.timestamp_ms() / 1000);
        fs::create_dir_all(maildir.join(folder)).unwrap();
        fs::write(maildir.join(folder).join(&name), b"copy").unwrap();
        let rig = rig.restart().await;
        rig.run_until(|counts, _| counts.queued == 0).await;
        let found = rig.mail("anna@example.test");
        assert_eq!(found.len(), 1);
        assert_eq!(found.contains_key(&name), copies == 1, "{folder}: {:?}", found.keys());
        assert_eq!(fs::read_dir(maildir.join("tmp")).into_iter().flatten().count(), 0);
    }
}

/// What its sender wanted back after a time that is over was delivered if there is a copy, and has nothing to come back for if
/// others get it instead.
#[tokio::test]
async fn what_is_done_does_not_come_too_late() {
    use crate::store::{DeliverBy, Notify, Wishes};
    let deliver_by = Some(DeliverBy { seconds: 60, returns: true, trace: false });
    for (case, copy, pending, expected) in [
        ("a copy", true, Pending::Nothing, "Action: delivered"),
        ("no copy", false, Pending::Nothing, "Action: failed"),
        ("others get it", false, Pending::Expanded, "Action: expanded"),
    ] {
        let rig = Rig::new();
        let envelope = Envelope {
            reverse_path: Some(Address { local: "sender".into(), domain: "example.test".into() }),
            received_at: now() - 3_600_000,
            wishes: Wishes { deliver_by, ..Wishes::default() },
            ..Envelope::default()
        };
        let notify = Some(Notify { success: true, failure: true, delay: false });
        let id = accept_with(&rig.store, envelope, b"x", vec![NewEntry { notify, pending, ..entry("anna") }]).await;
        let new = rig.folder.path().join("mail/anna@example.test/new");
        fs::create_dir_all(&new).unwrap();
        if copy {
            fs::write(new.join(format!("{}.{id}_0.old-host,S=4", id.timestamp_ms() / 1000)), b"copy").unwrap();
        }
        // The process ended before it could say what it had done.
        let rig = rig.restart().await;
        rig.run_until(|counts, _| *counts == Counts::default()).await;
        let notices = rig.mail("sender@example.test");
        let notice = notices.values().map(|octets| String::from_utf8_lossy(octets)).next().unwrap();
        assert!(notices.len() == 1 && notice.contains(expected), "{case}: {notice}");
        assert_eq!(rig.mail("anna@example.test").len(), usize::from(copy), "{case}");
    }
}

/// Somebody removes the Maildir, or a part of it, while the server runs.
#[tokio::test]
async fn folders_come_back() {
    let rig = Rig::new();
    rig.configure(|queue| queue.retry_first = 1);
    let maildir = rig.folder.path().join("mail/anna@example.test");
    let all = ["", "new", "tmp", "cur"];
    let (stop, stopped) = watch::channel(false);
    let queue = tokio::spawn(run(
        rig.store.clone(),
        rig.config.clone(),
        places,
        rig.house.clone(),
        None,
        Metrics::new(),
        stopped,
    ));
    for folder in all {
        let _ = fs::remove_dir_all(maildir.join(folder));
        let id = accept(&rig.store, b"x", vec![entry("anna")]).await.to_string();
        let began = Instant::now();
        while !rig.mail("anna@example.test").keys().any(|name| name.contains(&id)) {
            assert!(began.elapsed() < Duration::from_secs(30), "without {folder:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    stop.send(true).unwrap();
    queue.await.unwrap();
}

/// `HERMETIC_MEASURE=N cargo test --release -p hermetic --lib queue -- --ignored --nocapture`: N messages of 4 KiB from 50
/// tasks, until the last one is in its Maildir.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure() {
    let n: usize = std::env::var("HERMETIC_MEASURE").map_or(10_000, |n| n.parse().unwrap());
    let rig = Rig::new_in(tempfile::tempdir_in("..").unwrap());
    let (stop, stopped) = watch::channel(false);
    let queue = tokio::spawn(run(
        rig.store.clone(),
        rig.config.clone(),
        places,
        rig.house.clone(),
        None,
        Metrics::new(),
        stopped,
    ));
    let began = Instant::now();
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = rig.store.clone();
        set.spawn(async move {
            for _ in 0..n / 50 {
                accept(&store, &[b'x'; 4096], vec![entry("anna")]).await;
            }
        });
    }
    while set.join_next().await.is_some() {}
    let accepted = began.elapsed().as_secs_f64();
    while rig.store.counts().await.unwrap().queued > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let delivered = began.elapsed().as_secs_f64();
    stop.send(true).unwrap();
    queue.await.unwrap();
    let rate = |seconds: f64| n as f64 / seconds;
    println!("{:.0} messages a second accepted, {:.0} until delivered", rate(accepted), rate(delivered));
}
