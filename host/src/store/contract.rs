//! The store's contract as tests, written once and run on each store: SQLite, and JetStream on three servers.
//!
//! What only one of them has (files, schemas, dead nodes) is tested beside it. Where there is no `nats-server` its half is skipped with
//! a word; with `CI=true` it fails.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod operators;

use std::{io::Read as _, sync::Arc, time::Instant};

use tempfile::TempDir;

use super::{
    jetstream::cluster::{Cluster, Namespace},
    sqlite::{SqliteStore, now},
    *,
};
use crate::observe::Metrics;

const LEASE: Duration = Duration::from_secs(60);
/// What is in the entry or the database; larger contents are kept apart.
const INLINE: usize = 64 * 1024;

/// Each of these on each store.
macro_rules! on_each_store {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::store::contract::Rig::sqlite().await).await;
            })*
        }
        mod jetstream {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(rig) = crate::store::contract::Rig::jetstream().await {
                    super::$name(rig).await;
                }
            })*
        }
    };
}
use on_each_store;

on_each_store!(
    contents_of_every_size,
    settlements,
    one_notice_for_several,
    attempts_are_counted_first,
    reports,
    leases_expire_and_fence,
    due_again_at_its_time,
    headers,
    content_before_it_is_accepted,
    parameters_survive,
    many_recipients,
    verdicts_are_kept,
);

/// A store, and what it takes to open it again.
struct Rig {
    namespace: Option<(Arc<Cluster>, Namespace)>,
    folder: TempDir,
    store: Arc<dyn Store>,
}

impl Rig {
    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path(), 0, Metrics::new()).unwrap();
        Self { namespace: None, folder, store }
    }

    async fn jetstream() -> Option<Self> {
        let cluster = Cluster::shared()?;
        let folder = tempfile::tempdir().unwrap();
        let namespace = Namespace::new(&cluster);
        let store = cluster.open(&namespace.name, "a", folder.path()).await;
        Some(Self { namespace: Some((cluster, namespace)), folder, store })
    }

    /// Nothing of before.
    async fn fresh(self) -> Self {
        self.store.close().await;
        match self.namespace {
            None => Self::sqlite().await,
            Some(_) => Self::jetstream().await.unwrap(),
        }
    }

    /// As a new process finds it.
    async fn reopen(&mut self) {
        self.store.close().await;
        // Its lock goes with it.
        self.store = Arc::new(Closed);
        self.store = match &self.namespace {
            None => SqliteStore::open(self.folder.path(), 0, Metrics::new()).unwrap(),
            Some((cluster, namespace)) => cluster.open(&namespace.name, "a", self.folder.path()).await,
        };
    }

    /// Large contents that are kept; so many are expected.
    async fn has_contents(&self, expected: usize) {
        let until = Instant::now() + LEASE;
        loop {
            let found = match &self.namespace {
                None => {
                    let shards = std::fs::read_dir(self.folder.path().join("store/bodies")).unwrap();
                    shards.map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap().count()).sum()
                }
                Some((cluster, namespace)) => cluster.objects(&namespace.name).await,
            };
            if found == expected {
                return;
            }
            assert!(Instant::now() < until, "{found} contents are kept instead of {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn arrive(&self, content: &[u8]) -> Box<dyn Incoming> {
        let mut incoming = self.store.begin().unwrap();
        for piece in content.chunks(30_000) {
            if incoming.write(piece).unwrap() == Pressure::Flush {
                incoming.flush().await.unwrap();
            }
        }
        incoming
    }

    async fn accept(&self, content: &[u8], entries: Vec<NewEntry>) -> MessageId {
        self.arrive(content).await.accept(envelope(), b"Received: x\r\n".to_vec(), entries).await.unwrap()
    }

    async fn read(&self, id: MessageId) -> Result<Vec<u8>, StoreError> {
        let body = self.store.body(id).await?;
        let mut octets = body.prefix;
        match body.content {
            Content::Inline(content) => octets.extend(content),
            Content::File(mut file) => drop(file.read_to_end(&mut octets).unwrap()),
        }
        Ok(octets)
    }

    /// Exactly so many are due; they may take a moment to come.
    async fn claim(&self, n: usize, lease: Duration) -> Vec<Lease> {
        let until = Instant::now() + LEASE;
        let mut claimed = Vec::new();
        while claimed.len() < n {
            assert!(Instant::now() < until, "{} of {n} are due", claimed.len());
            let _ = tokio::time::timeout(Duration::from_millis(500), self.store.due()).await;
            claimed.extend(self.store.claim(now(), n - claimed.len(), lease).await.unwrap());
        }
        claimed
    }

    /// Nothing is due, nor in a moment.
    async fn nothing_is_due(&self) {
        if self.namespace.is_some() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let claimed = self.store.claim(now(), 10, LEASE).await.unwrap();
        assert!(claimed.is_empty(), "{claimed:?}");
    }

    async fn list(&self) -> Vec<Listed> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.find(Filter::default(), after, 1000).await.unwrap();
            all.extend(page.entries);
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }

    /// Name and state of each entry.
    async fn states(&self) -> Vec<String> {
        let name = |line: &Listed| line.recipient.trim_end_matches("@example.test").to_owned();
        self.list().await.iter().map(|line| format!("{} {}", name(line), line.state)).collect()
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Vec<EntryId> {
        self.store.settle(vec![(lease.clone(), settlement).into()]).await.unwrap()
    }

    /// What is queued is due now.
    async fn hurry(&self) -> usize {
        let queued: Vec<_> = self.list().await.into_iter().filter(|line| line.state == "queued").collect();
        let changes = queued.iter().map(|line| (line.entry.parse().unwrap(), Change::Retry)).collect();
        assert!(self.store.change(changes).await.unwrap().iter().all(|said| *said == Changed::Done));
        queued.len()
    }
}

/// Between two stores.
struct Closed;

#[async_trait]
impl Store for Closed {
    fn begin(&self) -> Result<Box<dyn Incoming>, StoreError> {
        Err(StoreError::Failed("closed".into()))
    }
    async fn claim(&self, _: Timestamp, _: usize, _: Duration) -> Result<Vec<Lease>, StoreError> {
        Ok(Vec::new())
    }
    async fn settle(&self, _: Vec<Outcome>) -> Result<Vec<EntryId>, StoreError> {
        Ok(Vec::new())
    }
    async fn bodies(&self, _: Vec<MessageId>) -> Vec<Result<Body, StoreError>> {
        Vec::new()
    }
    async fn due(&self) {}
    async fn find(&self, _: Filter, _: Option<EntryId>, _: usize) -> Result<Page, StoreError> {
        Ok(Page::default())
    }
    async fn show(&self, _: MessageId) -> Result<Option<Details>, StoreError> {
        Ok(None)
    }
    async fn change(&self, _: Vec<(EntryId, Change)>) -> Result<Vec<Changed>, StoreError> {
        Ok(Vec::new())
    }
    async fn verdicts(&self, _: &str) -> Result<Vec<Verdicts>, StoreError> {
        Ok(Vec::new())
    }
    async fn counts(&self) -> Result<Counts, StoreError> {
        Ok(Counts::default())
    }
    async fn close(&self) {}
}

fn entry(mailbox: &str) -> NewEntry {
    let recipient = Address { local: mailbox.into(), domain: "example.test".into() };
    let route = Route::Local(recipient.to_string());
    NewEntry::to(recipient, route)
}

fn envelope() -> Envelope {
    Envelope {
        reverse_path: Some(Address { local: "sender".into(), domain: "far.test".into() }),
        received_at: now(),
        ..Envelope::default()
    }
}

fn notice() -> Notice {
    Notice { envelope: envelope(), content: b"Subject: notice\r\n\r\n".to_vec(), entries: vec![entry("notice")] }
}

fn verdict(judged: &str, message: Option<MessageId>) -> Verdicts {
    Verdicts { transaction: "s.1".into(), message, recipients: 50, judged: judged.into(), at: now() }
}

/// Contents of all sizes around the bounds come back unchanged, and go with the last entry.
async fn contents_of_every_size(rig: Rig) {
    for size in [0, 1, 4096, INLINE - 1, INLINE, INLINE + 1, INLINE + 30_000, 3 * INLINE, 1_000_000, 5_000_000] {
        for recipients in [2, 1] {
            let content: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let id = rig.accept(&content, ["a", "b"][..recipients].iter().map(|name| entry(name)).collect()).await;
            rig.has_contents(usize::from(size > INLINE)).await;
            let whole = [b"Received: x\r\n", content.as_slice()].concat();
            assert!(rig.read(id).await.unwrap() == whole, "{size} octets");

            let leases = rig.claim(recipients, LEASE).await;
            assert_eq!(leases.iter().map(|lease| lease.entry.index).collect::<Vec<_>>(), [0, 1][..recipients]);
            assert_eq!(leases[0].envelope.size, size as u64);
            assert!(rig.read(id).await.unwrap() == whole, "{size} octets while it is worked on");
            if let Some(first) = leases.get(1) {
                assert_eq!(rig.settle(first, Settlement::Delivered).await, []);
                assert!(rig.read(id).await.unwrap() == whole, "another entry needs it");
            }
            assert_eq!(rig.settle(&leases[0], Settlement::Delivered).await, []);
            assert!(matches!(rig.read(id).await, Err(StoreError::Unknown(_))));
            rig.has_contents(0).await;
        }
    }
    assert_eq!(rig.list().await.len(), 0);
}

/// What each settlement makes of an entry.
async fn settlements(mut rig: Rig) {
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
    // Of two recipients, and alone: what is kept with a lone entry has to be shared when it becomes several.
    for alone in [false, true] {
        for (settlement, told, expected, attempts) in cases.clone() {
            let mut expected = expected.to_vec();
            if alone {
                // Its copy is not there, so what becomes of `a` is not the same where `b` is named.
                if matches!(&settlement, Settlement::Becomes(to) if to.iter().any(|to| to.recipient.local == "b")) {
                    continue;
                }
                expected.retain(|line| *line != "b queued");
            }
            rig = rig.fresh().await;
            let recipients = if alone { vec![entry("a")] } else { vec![entry("a"), entry("b")] };
            let id = rig.accept(b"x", recipients).await;
            let lease = rig.claim(1, LEASE).await.pop().unwrap();
            assert_eq!((lease.entry.index, lease.late), (0, false));
            let case = format!("{settlement:?} {told} {alone}");
            let outcome = || Outcome {
                notice: told.then(notice),
                report: told.then(|| "r".into()),
                verdicts: told.then(|| verdict("v", Some(lease.entry.message))),
                late: told,
                ..Outcome::from((lease.clone(), settlement.clone()))
            };
            assert_eq!(rig.store.settle(vec![outcome()]).await.unwrap(), [], "{case}");
            let listed = async || {
                let lines = rig.list().await;
                let shown = lines.iter().map(|line| {
                    let name = line.recipient.trim_end_matches("@example.test");
                    let reason = line.reason.as_deref().unwrap_or_default();
                    format!("{name} {} {reason}", line.state).trim_end().to_owned()
                });
                shown.collect::<Vec<_>>()
            };
            assert_eq!(listed().await, expected, "{case}");
            // All of it counts once.
            assert_eq!(rig.store.settle(vec![outcome()]).await.unwrap(), [lease.entry], "twice: {case}");
            assert_eq!(listed().await, expected, "twice: {case}");
            let (reports, _) = rig.store.reports(now(), 10).await.unwrap();
            let texts: Vec<_> = reports.iter().map(|report| report.text.as_str()).collect();
            assert_eq!(texts, vec!["r"; usize::from(told)]);
            assert_eq!(rig.store.verdicts("s.1").await.unwrap().len(), usize::from(told), "{case}");

            let n = rig.hurry().await;
            let leases = rig.claim(n, LEASE).await;
            let mine = leases.iter().find(|lease| lease.recipient.recipient.local == "a");
            if let Some(lease) = mine {
                assert_eq!((lease.attempts, lease.late), (attempts, told), "{case}");
            }
            if let Some(lease) = leases.iter().find(|lease| lease.recipient.recipient.local == "notice") {
                assert_eq!(rig.read(lease.entry.message).await.unwrap(), b"Subject: notice\r\n\r\n");
                assert_eq!(lease.envelope.size, 19);
            }
            if leases.iter().any(|lease| lease.entry.message == id) {
                assert_eq!(rig.read(id).await.unwrap(), b"Received: x\r\nx", "{case}");
            }
            // Places that were used stay used: whatever is left can be settled, and takes the message along.
            let all = leases.into_iter().map(|lease| (lease, Settlement::Delivered).into()).collect();
            assert_eq!(rig.store.settle(all).await.unwrap(), []);
            let left = expected.iter().filter(|line| line.contains("held")).count();
            assert_eq!(rig.list().await.len(), left, "{case}");
            assert_eq!(rig.read(id).await.is_ok(), left > 0, "{case}");
        }
    }
}

/// Those whom one notice tells of are settled together or, if one of them is not ours to settle, not at all; then their
/// leases go on, and each can be settled alone.
async fn one_notice_for_several(mut rig: Rig) {
    // Which of a, b, c has a stale lease, whether anybody brings the notice; what comes back and what is there then.
    for (case, stale, brought, refused, expected) in [
        ("all is well", None, true, &[][..], &["d queued", "notice queued"][..]),
        ("who brings it is stale", Some(0), true, &[0, 1, 2], &["a leased", "b leased", "c leased", "d queued"]),
        ("another one is stale", Some(2), true, &[0, 1, 2], &["a leased", "b leased", "c leased", "d queued"]),
        ("nobody brings it", None, false, &[0, 1, 2], &["a leased", "b leased", "c leased", "d queued"]),
    ] {
        rig = rig.fresh().await;
        rig.accept(b"x", ["a", "b", "c", "d", "e"].map(entry).into()).await;
        let mut leases = rig.claim(5, LEASE).await;
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
        let mut found: Vec<u32> = rig.store.settle(outcomes).await.unwrap().iter().map(|entry| entry.index).collect();
        found.sort_unstable();
        assert_eq!(found, refused, "{case}");
        assert_eq!(rig.states().await, expected, "{case}");
        if refused.is_empty() {
            continue;
        }
        // Each alone: whoever is stale still is.
        let alone = leases.iter().map(|lease| Outcome { notice: Some(notice()), ..failed(lease) }).collect();
        let found = rig.store.settle(alone).await.unwrap();
        let still: Vec<EntryId> = stale.map(|place| leases[place].entry).into_iter().collect();
        assert_eq!(found, still, "{case}");
        let notices = rig.states().await.iter().filter(|line| *line == "notice queued").count();
        assert_eq!(notices, 3 - still.len(), "{case}");
    }
}

/// An attempt that counts before it is made; a stale lease's does not.
async fn attempts_are_counted_first(mut rig: Rig) {
    rig.accept(b"x", vec![entry("a")]).await;
    let old = rig.claim(1, Duration::ZERO).await.pop().unwrap();
    let lease = rig.store.claim(now() + 1, 1, LEASE).await.unwrap().pop().unwrap();
    assert_eq!(rig.store.begin_attempts(vec![old.clone()]).await.unwrap(), [old.entry]);
    assert_eq!(rig.store.begin_attempts(vec![lease.clone()]).await.unwrap(), []);
    rig.reopen().await;
    let lease = rig.claim(1, LEASE).await.pop().unwrap();
    assert_eq!(lease.attempts, 1, "the process died while it was made");
    assert_eq!(rig.store.begin_attempts(vec![lease.clone()]).await.unwrap(), []);
    assert_eq!(rig.settle(&lease, Settlement::Retry { at: 0, reason: "x".into() }).await, []);
    assert_eq!(rig.claim(1, LEASE).await[0].attempts, 2, "counted once");
}

/// Reports come in the order in which they are due, until they are done with, and are kept over restarts.
async fn reports(mut rig: Rig) {
    for name in ["a", "b"] {
        rig.accept(b"x", vec![entry(name)]).await;
        let lease = rig.claim(1, LEASE).await.pop().unwrap();
        let outcome = Outcome { report: Some(name.into()), ..Outcome::from((lease, Settlement::Delivered)) };
        assert_eq!(rig.store.settle(vec![outcome]).await.unwrap(), []);
    }
    let (due, next) = rig.store.reports(now(), 10).await.unwrap();
    assert_eq!((due.iter().map(|report| report.text.as_str()).collect::<Vec<_>>(), next), (vec!["a", "b"], None));
    let again = Told::Again { at: now() + 3_600_000, text: "again".into() };
    rig.store.told(vec![(due[0].clone(), again), (due[1].clone(), Told::Done)]).await.unwrap();
    rig.reopen().await;
    let (due, next) = rig.store.reports(now(), 10).await.unwrap();
    assert!(due.is_empty() && next.is_some_and(|next| next > now()));
    let (due, next) = rig.store.reports(now() + 3_600_000, 10).await.unwrap();
    assert_eq!((due[0].text.as_str(), due[0].tries, due.len(), next), ("again", 1, 1, None));
}

async fn leases_expire_and_fence(mut rig: Rig) {
    rig.accept(b"x", vec![entry("a")]).await;
    let start = now();
    let old = rig.claim(1, LEASE).await.pop().unwrap();
    assert!(!old.unsure);
    assert!(rig.store.claim(start + 59_900, 10, LEASE).await.unwrap().is_empty());
    // Leases last by another clock: to a millisecond the two differ.
    let new = rig.store.claim(now() + 60_100, 10, LEASE).await.unwrap().pop().unwrap();
    assert!(new.unsure && new.token > old.token);
    assert_eq!(rig.settle(&old, Settlement::Delivered).await, [old.entry]);
    assert_eq!(rig.states().await, ["a leased"]);
    assert_eq!(rig.settle(&new, Settlement::Delivered).await, []);
    assert_eq!(rig.states().await, Vec::<String>::new());

    // One that is renewed goes on, until somebody else has it: from then on it is stale, and so is one that was settled.
    rig.accept(b"z", vec![entry("a")]).await;
    let old = rig.claim(1, LEASE).await.pop().unwrap();
    let start = now();
    assert_eq!(rig.store.renew(vec![old.right()], 2 * LEASE).await.unwrap(), []);
    assert!(rig.store.claim(start + 119_900, 10, LEASE).await.unwrap().is_empty());
    let new = rig.store.claim(now() + 120_100, 10, Duration::ZERO).await.unwrap().pop().unwrap();
    let stale = rig.store.renew(vec![old.right(), new.right()], LEASE).await.unwrap();
    assert_eq!(stale, [old.entry], "though it has expired");
    assert!(rig.store.claim(now() + 30_000, 10, LEASE).await.unwrap().is_empty());
    assert_eq!(rig.settle(&new, Settlement::Delivered).await, []);
    assert_eq!(rig.store.renew(vec![new.right()], LEASE).await.unwrap(), [new.entry]);

    // A new process: the lease is void at once, the token greater, the entry unsure.
    rig.accept(b"y", vec![entry("a")]).await;
    let before = rig.claim(1, LEASE).await.pop().unwrap();
    rig.store.close().await;
    let late = rig.store.begin();
    assert!(match late {
        Ok(late) => late.accept(envelope(), vec![], vec![entry("a")]).await.is_err(),
        Err(_) => true,
    });
    rig.reopen().await;
    let after = rig.claim(1, LEASE).await.pop().unwrap();
    assert!(after.unsure && after.token > before.token);
    assert_eq!(rig.settle(&before, Settlement::Delivered).await.len(), 1);
    assert_eq!(rig.settle(&after, Settlement::Delivered).await.len(), 0);
}

/// What is deferred comes at its time and not before, also over a restart; what is held does not come.
async fn due_again_at_its_time(mut rig: Rig) {
    rig.accept(b"x", vec![entry("a"), NewEntry { held: Some("test".into()), ..entry("b") }]).await;
    let lease = rig.claim(1, LEASE).await.pop().unwrap();
    rig.nothing_is_due().await;
    let (began, at) = (Instant::now(), now() + 1500);
    assert_eq!(rig.settle(&lease, Settlement::Retry { at, reason: "later".into() }).await, []);
    rig.nothing_is_due().await;
    let again = rig.claim(1, LEASE).await.pop().unwrap();
    assert!(began.elapsed() >= Duration::from_millis(1490) && now() >= at, "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!((again.entry, again.attempts), (lease.entry, 1));
    let at = now() + 2500;
    assert_eq!(rig.settle(&again, Settlement::Postponed { at, reason: Some("full".into()) }).await, []);
    rig.reopen().await;
    rig.nothing_is_due().await;
    let again = rig.claim(1, LEASE).await.pop().unwrap();
    assert!(now() >= at);
    assert_eq!((again.entry, again.attempts), (lease.entry, 1));
    assert_eq!(rig.settle(&again, Settlement::Delivered).await, []);
    assert_eq!(rig.states().await, ["b held"]);

    // As its sender wants it.
    let hold = Some(Hold::For(2));
    let envelope = Envelope { wishes: Wishes { hold, ..Wishes::default() }, ..envelope() };
    let at = envelope.begins();
    rig.arrive(b"x").await.accept(envelope, vec![], vec![entry("c")]).await.unwrap();
    rig.nothing_is_due().await;
    rig.claim(1, LEASE).await;
    assert!(now() >= at);
}

async fn headers(rig: Rig) {
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
        assert!(rig.arrive(content).await.header() == expected);
    }
}

/// What judges look at is what is stored, however large.
async fn content_before_it_is_accepted(rig: Rig) {
    for size in [0, 1, 60_000, 70_000, 500_000, 1_000_001] {
        let content: Vec<u8> = (0..size).map(|n: u32| n.to_le_bytes()[1] ^ n.to_le_bytes()[0]).collect();
        let mut incoming = rig.arrive(&content).await;
        assert!(incoming.content().await.unwrap() == content, "{size} octets");
        let id = incoming.accept(envelope(), vec![], vec![entry("a")]).await.unwrap();
        assert!(rig.read(id).await.unwrap() == content, "{size} octets");
    }
}

/// Every envelope and entry parameter comes back as it went in.
async fn parameters_survive(rig: Rig) {
    let address = |local: &str, domain: &str| Address { local: local.into(), domain: domain.into() };
    let full = Envelope {
        reverse_path: Some(address("a \"b", "exämple.test")),
        body: BodyKind::BinaryMime,
        smtputf8: true,
        require_tls: true,
        ret: Some(ReturnContent::Headers),
        envid: Some("QQ314159".into()),
        submitter: Some("<>".into()),
        client: Some("2001:db8::1".parse().unwrap()),
        hello: Some("client.test".into()),
        identity: Some("anna".into()),
        tls: Some("TLSv1.3 TLS_AES_128_GCM_SHA256".into()),
        session: "s1".into(),
        listener: "mx".into(),
        received_at: 1_700_000_000_123,
        size: 7,
        eight_bit: true,
        bare_line_ends: true,
        wishes: Wishes {
            hold: Some(Hold::Until(1_700_000_001)),
            deliver_by: Some(DeliverBy { seconds: -5, returns: false, trace: true }),
            priority: Some(-9),
        },
    };
    let again = Pending::Rejudge { transaction: "s1.1".into(), reason: "later".into(), asked: None };
    let bounce = Pending::Bounce { status: "5.7.1".into(), reason: "no \"".into() };
    let edits = vec![
        Edit::Prepend(4, "X-A".into(), "ä\t\"1".into()),
        Edit::Append(5, "X-B".into(), String::new()),
        Edit::Replace(0, "x".into()),
        Edit::Remove(1),
    ];
    let plain = || NewEntry::to(address("x", "y.test"), Route::Relay);
    let entries = vec![
        NewEntry { sent_on: true, ..plain() },
        NewEntry { sent_on: true, edits: edits.clone(), ..plain() },
        NewEntry { edits, route: Route::Local("x@y.test".into()), ..plain() },
        NewEntry {
            pending: again,
            notify: Some(Notify::default()),
            orcpt: Some(("rfc822".into(), "z@y.test".into())),
            ..plain()
        },
        NewEntry { pending: bounce, notify: Some(Notify { success: true, failure: false, delay: true }), ..plain() },
    ];
    let variants = [
        full.clone(),
        Envelope { body: BodyKind::EightBitMime, ret: Some(ReturnContent::Full), ..full },
        Envelope { received_at: 1, size: 7, ..Envelope::default() },
    ];
    for envelope in variants {
        let id = rig.arrive(b"1234567").await.accept(envelope.clone(), vec![], entries.clone()).await.unwrap();
        let mut leases = rig.claim(entries.len(), LEASE).await;
        leases.sort_by_key(|lease| lease.entry);
        for (lease, (place, entry)) in leases.iter().zip((0..).zip(&entries)) {
            assert_eq!(lease.entry, EntryId { message: id, index: place });
            assert_eq!((&*lease.envelope, lease.recipients), (&envelope, 5));
            assert_eq!(&lease.recipient, entry);
        }
        let done = leases.into_iter().map(|lease| (lease, Settlement::Delivered).into()).collect();
        assert_eq!(rig.store.settle(done).await.unwrap(), []);
    }
}

/// As many as a message may have, settled by several at a time; the message goes with the last one.
async fn many_recipients(rig: Rig) {
    let n = 1000;
    let id = rig.accept(b"x", (0..n).map(|n| entry(&format!("a{n}"))).collect()).await;
    let leases = rig.claim(n, LEASE).await;
    let mut places: Vec<_> = leases.iter().map(|lease| lease.entry.index as usize).collect();
    places.sort_unstable();
    assert_eq!(places, (0..n).collect::<Vec<_>>());
    let mut set = tokio::task::JoinSet::new();
    for some in leases.chunks(150) {
        let (store, done) = (rig.store.clone(), some.to_vec());
        let done = done.into_iter().map(|lease| (lease, Settlement::Delivered).into()).collect();
        set.spawn(async move { store.settle(done).await.unwrap() });
    }
    while let Some(refused) = set.join_next().await {
        assert_eq!(refused.unwrap(), []);
    }
    assert_eq!(rig.list().await.len(), 0);
    assert!(matches!(rig.read(id).await, Err(StoreError::Unknown(_))));
}

async fn verdicts_are_kept(rig: Rig) {
    let mut incoming = rig.arrive(b"x").await;
    let id = incoming.id();
    incoming.judged(verdict("a", Some(id)));
    incoming.accept(envelope(), vec![], vec![entry("a")]).await.unwrap();
    rig.store.record(verdict("refused", None));
    rig.store.record(Verdicts { transaction: "s.11".into(), ..verdict("another", None) });
    let until = Instant::now() + LEASE;
    let of = async |id: &str| {
        let mut judged: Vec<_> = rig.store.verdicts(id).await.unwrap().into_iter().map(|one| one.judged).collect();
        judged.sort();
        judged
    };
    while of("s").await.len() < 3 {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(of("s.1").await, ["a", "refused"]);
    assert_eq!(of(&id.to_string()).await, ["a", "refused"], "its whole transaction");
    assert_eq!(of("s.11").await, ["another"]);
    assert_eq!(of("s").await, ["a", "another", "refused"], "a session's");
    assert_eq!(of("x").await, Vec::<String>::new());
}
