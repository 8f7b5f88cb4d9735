//! What only a cluster has: nodes that die, servers that die, and what each of them finds then.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Instant;

use super::{cluster::Cluster, *};
use crate::store::{Address, Envelope, NewEntry, Route, Settlement, sqlite::now};

const LEASE: Duration = Duration::from_secs(60);

/// A name that no other test has.
pub(crate) fn name() -> String {
    format!("T{}", work::unique())
}

fn entry(local: &str) -> NewEntry {
    NewEntry::to(Address { local: local.into(), domain: "example.test".into() }, Route::Relay)
}

async fn accept(store: &JetStreamStore, content: &[u8], entries: Vec<NewEntry>) -> Result<MessageId, StoreError> {
    let mut incoming = store.begin()?;
    for piece in content.chunks(100_000) {
        incoming.write(piece)?;
        incoming.flush().await?;
    }
    incoming.accept(Envelope { received_at: now(), ..Envelope::default() }, b"Received: x\r\n".to_vec(), entries).await
}

/// So many, in at most so long.
async fn claim(store: &JetStreamStore, n: usize, within: Duration) -> Vec<Lease> {
    let until = Instant::now() + within;
    let mut claimed = Vec::new();
    while claimed.len() < n && Instant::now() < until {
        let _ = tokio::time::timeout(Duration::from_millis(200), store.due()).await;
        claimed.extend(store.claim(now(), n - claimed.len(), LEASE).await.unwrap_or_default());
    }
    claimed
}

fn delivered(leases: Vec<Lease>) -> Vec<Outcome> {
    leases.into_iter().map(|lease| (lease, Settlement::Delivered).into()).collect()
}

/// A node that dies is taken over from within its lease and two seconds; what it did after that does not count.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_taken_over_from() {
    let Some(cluster) = Cluster::shared() else { return };
    let (name, a, b) = (name(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = cluster.open(&name, "a", a.path()).await;
    for _ in 0..5 {
        accept(&first, b"x", vec![entry("x")]).await.unwrap();
    }
    let old = claim(&first, 5, LEASE).await;
    assert_eq!(old.len(), 5);
    // Alone it may do all that the operator allows, then half of it.
    assert_eq!(first.sharing(), 1);
    let second = cluster.open(&name, "b", b.path()).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!((first.sharing(), second.sharing()), (2, 2));
    assert!(second.claim(now(), 5, LEASE).await.unwrap().is_empty(), "it is alive");
    // It stands still: nothing of it runs, and it does not end well either.
    first.tasks.lock().iter().for_each(JoinHandle::abort);
    let died = Instant::now();
    let new = claim(&second, 5, LEASE).await;
    let took = died.elapsed();
    assert_eq!(new.len(), 5);
    assert!(took < Duration::from_secs(3 + 2), "its lease and two seconds: {took:?}");
    assert!(new.iter().all(|lease| lease.unsure));
    assert_eq!(second.sharing(), 1, "it is dead");
    let mut ids: Vec<_> = old.iter().map(|lease| lease.entry).collect();
    ids.sort();
    // It comes back and knows that it was taken for dead: it may neither send nor settle.
    let rights = old.iter().map(Lease::right).collect();
    let mut stale = first.renew(rights, LEASE).await.unwrap();
    stale.sort();
    assert_eq!(stale, ids);
    let mut stale = first.settle(delivered(old)).await.unwrap();
    stale.sort();
    assert_eq!(stale, ids);
    assert_eq!(second.settle(delivered(new)).await.unwrap(), []);
    let left = second.find(Filter::default(), None, 10).await.unwrap();
    assert!(left.entries.is_empty(), "{left:?}");
    println!("taken over within {took:?} of a lease of 3 s");
}

/// One server less is nothing; two less and new mail is refused whole; back again, all goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_majority_is_lost_and_comes_back() {
    let Some(cluster) = Cluster::start("always") else { return };
    let (name, folder) = (name(), tempfile::tempdir().unwrap());
    let store = cluster.open(&name, "a", folder.path()).await;
    accept(&store, b"before", vec![entry("x"), entry("y")]).await.unwrap();
    cluster.kill(0);
    accept(&store, b"without one", vec![entry("x")]).await.unwrap();
    cluster.kill(1);
    let until = Instant::now() + Duration::from_secs(20);
    let refused = loop {
        match accept(&store, b"without two", vec![entry("x"), entry("y")]).await {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < until, "nobody could have acknowledged it"),
        }
    };
    assert!(refused.to_string().contains("no majority"), "{refused}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(store.begin().is_err(), "refused before the content");
    assert!(store.renew(vec![], LEASE).await.is_err(), "nothing may be sent");
    cluster.run(0);
    cluster.run(1);
    let leases = claim(&store, 3, LEASE).await;
    // What was refused may be there all the same, but whole.
    let mut all = claim(&store, 2, Duration::from_secs(3)).await;
    assert!(all.is_empty() || all.len() == 2, "half of it is there: {all:?}");
    all.extend(leases);
    assert_eq!(store.settle(delivered(all)).await.unwrap(), []);
    let until = Instant::now() + Duration::from_secs(20);
    while accept(&store, b"after", vec![entry("x")]).await.is_err() {
        assert!(Instant::now() < until);
    }
}

/// All of them at once: whatever was acknowledged is there.
#[tokio::test(flavor = "multi_thread")]
async fn all_servers_die_at_once() {
    let Some(cluster) = Cluster::start("always") else { return };
    let cluster = Arc::new(cluster);
    let (name, folder) = (name(), tempfile::tempdir().unwrap());
    let store = cluster.open(&name, "a", folder.path()).await;
    let accepted = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (store, accepted) = (store.clone(), accepted.clone());
        set.spawn(async move {
            for _ in 0..100 {
                match accept(&store, &[b'x'; 2000], vec![entry("x"), entry("y")]).await {
                    Ok(id) => accepted.lock().push(id),
                    Err(_) => return,
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    let killed = cluster.clone();
    tokio::task::spawn_blocking(move || (0..3).for_each(|n| killed.kill(n))).await.unwrap();
    while set.join_next().await.is_some() {}
    (0..3).for_each(|n| cluster.run(n));
    let again = cluster.clone();
    tokio::task::spawn_blocking(move || again.wait()).await.unwrap();
    let accepted = accepted.lock().clone();
    assert!(!accepted.is_empty());
    let mut found = Vec::new();
    loop {
        let leases = claim(&store, 200, Duration::from_secs(5)).await;
        if leases.is_empty() {
            break;
        }
        found.extend(leases.iter().map(|lease| lease.entry));
        assert_eq!(store.settle(delivered(leases)).await.unwrap(), []);
    }
    for id in &accepted {
        for index in 0..2 {
            let entry = EntryId { message: *id, index };
            assert_eq!(found.iter().filter(|one| **one == entry).count(), 1, "{entry}");
        }
    }
    println!("{} messages were acknowledged, {} entries found", accepted.len(), found.len());
}

/// A server that acknowledges before it syncs is refused, unless the operator wants it by name.
#[tokio::test(flavor = "multi_thread")]
async fn a_weak_server_is_refused() {
    let Some(cluster) = Cluster::start("2m") else { return };
    let folder = tempfile::tempdir().unwrap();
    let everywhere: Placement = Arc::new(|_| None);
    let settings = cluster.settings(&name(), "a");
    let error = open(&settings, folder.path(), everywhere.clone()).await.err().unwrap().to_string();
    assert!(error.contains("does not sync what it acknowledges") && error.contains("sync_interval: always"), "{error}");
    let unasked = Settings { durability: Durability::Checked(vec![]), ..settings.clone() };
    let error = open(&unasked, folder.path(), everywhere.clone()).await.err().unwrap().to_string();
    assert!(error.contains("no majority could be asked"), "{error}");
    let weak = Settings { durability: Durability::Weak, ..settings };
    open(&weak, folder.path(), everywhere).await.unwrap().close().await;
}

/// Two processes under one name would take each other's mail.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_there_once() {
    let Some(cluster) = Cluster::shared() else { return };
    let (name, a, b) = (name(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = cluster.open(&name, "a", a.path()).await;
    let everywhere: Placement = Arc::new(|_| None);
    let error = open(&cluster.settings(&name, "a"), b.path(), everywhere).await.err().unwrap().to_string();
    assert!(error.contains("another hermetic is running as node \"a\""), "{error}");
    store.close().await;
    // Its own folder: at once.
    let began = Instant::now();
    drop(store);
    cluster.open(&name, "a", a.path()).await.close().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

/// A ticket that was lost is written again; an object that nobody names goes.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_finds_is_swept() {
    let Some(cluster) = Cluster::shared() else { return };
    let (name, folder) = (name(), tempfile::tempdir().unwrap());
    let store = cluster.open(&name, "a", folder.path()).await;
    let kept = accept(&store, &[b'x'; 200_000], vec![entry("x")]).await.unwrap();
    let orphan = MessageId::from_parts(now() - 10, 7);
    store.core.objects.put(orphan, &mut std::io::Cursor::new(b"orphan"), 6).await.unwrap();
    // Taken for dead in the same moment in which its ticket was acknowledged.
    let lease = claim(&store, 1, LEASE).await.pop().unwrap();
    assert_eq!(lease.entry.message, kept);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let gone = link::Record::gone(store.core.link.names.lease(record::ANY, lease.entry));
    store.core.link.put(gone, &work::unique(), LEASE).await.unwrap();
    store.core.work.ended(&[lease.entry]);
    assert!(claim(&store, 1, Duration::from_secs(1)).await.is_empty(), "its ticket is gone");
    let quick = store.core.sweep(0, 0).await.unwrap();
    assert_eq!(quick, sweep::Swept { objects: 1, tickets: 0 }, "what has a lease's mark is looked at later");
    let content = store.body(kept).await.unwrap();
    assert!(matches!(content.content, Content::File(_)));
}

/// Of a large content nothing is left when its message is gone, and pieces without a name go.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_large_contents() {
    let Some(cluster) = Cluster::shared() else { return };
    let (name, folder) = (name(), tempfile::tempdir().unwrap());
    let store = cluster.open(&name, "a", folder.path()).await;
    let client = async_nats::connect(cluster.settings("", "").servers).await.unwrap();
    let objects = Link::open(client.clone(), &format!("OBJ_{name}-BODIES")).await.unwrap();
    let left = async || objects.subjects("$O.>").await.unwrap();
    accept(&store, &[b'x'; 300_000], vec![entry("x")]).await.unwrap();
    assert_eq!(left().await.len(), 2, "its pieces, which are one subject, and its name");
    let leases = claim(&store, 1, LEASE).await;
    assert_eq!(store.settle(delivered(leases)).await.unwrap(), []);
    let until = Instant::now() + LEASE;
    while !left().await.is_empty() {
        assert!(Instant::now() < until, "{:?}", left().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Whoever kept it died before it had a name.
    let piece = format!("$O.{name}-BODIES.C.nobody");
    async_nats::jetstream::new(client).publish(piece, "octets".into()).await.unwrap().await.unwrap();
    let kept = accept(&store, &[b'x'; 300_000], vec![entry("x")]).await.unwrap();
    assert_eq!(store.core.sweep(3_600_000, 0).await.unwrap().objects, 0, "it may be getting one");
    assert_eq!(store.core.sweep(0, u64::MAX >> 1).await.unwrap().objects, 1);
    assert_eq!(left().await.len(), 2);
    store.body(kept).await.unwrap();
}

/// Recipients that were too many for one write, of a node that had no time for them; and a count that a later version wrote.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_is_finished() {
    let Some(cluster) = Cluster::shared() else { return };
    let (name, folder) = (name(), tempfile::tempdir().unwrap());
    let store = cluster.open(&name, "a", folder.path()).await;
    let Core { link, placement, .. } = &*store.core;
    let damaged = accept(&store, b"x", vec![entry("a"), entry("b")]).await.unwrap();
    let count = |octets| link::Record::new(link.names.count(damaged), octets);
    link.put(count(bytes::Bytes::from_static(b"{\"v\":2}\n")), &work::unique(), LEASE).await.unwrap();
    let id = MessageId::from_parts(now(), 7);
    let entries = (0..letter::FIRST + 60).map(|n| entry(&n.to_string())).collect();
    let octets = letter::Octets::Inline(b"x".to_vec());
    let envelope = Arc::new(Envelope { received_at: now(), ..Envelope::default() });
    let records = letter::records(link, placement, id, envelope, b"", &octets, entries).unwrap();
    link.commit(records, &work::unique(), LEASE).await.unwrap();
    store.core.work.look_at_all();
    let until = Instant::now() + LEASE;
    while store.counts().await.unwrap().queued != letter::FIRST as u64 + 62 {
        assert!(Instant::now() < until, "{:?}", store.counts().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What became of the damaged one's can not be written down. The others' can.
    let leases = claim(&store, letter::FIRST + 62, LEASE).await;
    assert_eq!(store.settle(delivered(leases)).await.unwrap(), []);
    let left = store.find(Filter::default(), None, 1000).await.unwrap().entries;
    assert!(left.iter().all(|listed| listed.entry.starts_with(&damaged.to_string())), "{left:?}");
    let said: Vec<_> = left.iter().map(|listed| (listed.state.as_str(), listed.reason.clone().unwrap())).collect();
    assert!(said.len() == 2 && said.iter().all(|(state, _)| *state == "held"), "{said:?}");
    assert!(
        said[0]
            .1
            .contains("it is delivered, but the store failed: a record of version 2 was written by a later hermetic"),
        "{said:?}"
    );
}

/// A node that claims nothing leaves to others what it was told of; what it was told of before is not claimed again; one that ends
/// well is taken over from at once; and of one that was taken for dead the name is free.
#[tokio::test(flavor = "multi_thread")]
async fn work_goes_to_those_who_do_it() {
    let Some(cluster) = Cluster::shared() else { return };
    let name = name();
    let folders = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let idle = cluster.open(&name, "idle", folders[0].path()).await;
    accept(&idle, b"x", vec![entry("x")]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let busy = cluster.open(&name, "busy", folders[1].path()).await;
    let began = Instant::now();
    let leases = claim(&busy, 1, LEASE).await;
    assert!(leases.len() == 1 && began.elapsed() < Duration::from_secs(3 * 4), "after {:?}", began.elapsed());
    assert_eq!(busy.settle(delivered(leases)).await.unwrap(), []);
    assert!(claim(&idle, 1, Duration::from_secs(1)).await.is_empty());

    // It is leased, as far as this version can see.
    let id = accept(&busy, b"x", vec![entry("x")]).await.unwrap();
    let lease = claim(&busy, 1, LEASE).await.pop().unwrap();
    let strange = link::Record::new(busy.core.link.names.lease(record::ANY, lease.entry), "{\"v\":2}\n".into());
    busy.core.link.put(strange, &work::unique(), LEASE).await.unwrap();
    let retried = idle.change(vec![(EntryId { message: id, index: 0 }, Change::Retry)]).await.unwrap();
    assert_eq!(retried, [Changed::Leased]);

    for _ in 0..3 {
        accept(&busy, b"x", vec![entry("x")]).await.unwrap();
    }
    assert_eq!(claim(&busy, 3, LEASE).await.len(), 3);
    let began = Instant::now();
    busy.close().await;
    assert_eq!(claim(&idle, 3, LEASE).await.len(), 3);
    assert!(began.elapsed() < Duration::from_secs(2), "after {:?}", began.elapsed());

    // Somebody else fences it while its next run waits whether it is alive.
    let dead = cluster.open(&name, "dead", folders[2].path()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    dead.tasks.lock().iter().for_each(JoinHandle::abort);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    cluster.open(&name, "dead", folders[3].path()).await.close().await;
}

/// What one node's plugins put there the other's find, until it expires; of two that count at once none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_plugins_keep_is_shared() {
    let Some(cluster) = Cluster::shared() else { return };
    let namespace = cluster::Namespace::new(&cluster);
    let settings = cluster.settings(&namespace.name, "a");
    let done = tokio::task::spawn_blocking(move || {
        let (a, b) = (Keys::open(&settings).unwrap(), Keys::open(&settings).unwrap());
        let now = now() / 1000;
        for key in ["", "a b", "*.>", "é\0"] {
            assert!(a.put("grey", key, key.as_bytes(), 0, now, None).unwrap());
            assert_eq!(b.get("grey", key).unwrap().unwrap().value, key.as_bytes());
            assert_eq!(b.get("rate", key).unwrap(), None, "another plugin's");
        }
        assert_eq!(b.all("grey").unwrap().len(), 4);
        b.remove("grey", "*.>").unwrap();
        assert_eq!(a.get("grey", "*.>").unwrap(), None);
        assert!(a.put("grey", "short", b"x", now + 1, now, None).unwrap());
        assert_eq!(b.get("grey", "short").unwrap().unwrap().expires, now + 1);
        let counted: Vec<_> = [a, b]
            .map(Arc::new)
            .into_iter()
            .map(|keys| {
                std::thread::spawn(move || {
                    for _ in 0..20 {
                        loop {
                            let kept = keys.get("rate", "n").unwrap();
                            let n = kept.as_ref().map_or(0, |kept| kept.value[0]);
                            let version = kept.map_or(0, |kept| kept.version);
                            if keys.put("rate", "n", &[n + 1], 0, now, Some(version)).unwrap() {
                                break;
                            }
                        }
                    }
                    keys
                })
            })
            .collect();
        let keys: Vec<_> = counted.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(keys[0].get("rate", "n").unwrap().unwrap().value, [40]);
        let until = Instant::now() + Duration::from_secs(10);
        while keys[1].get("grey", "short").unwrap().is_some() {
            assert!(Instant::now() < until, "it does not expire");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    done.await.unwrap();
}

/// `HERMETIC_MEASURE=N cargo test --release -p hermetic --lib jetstream -- --ignored --nocapture`: N messages of 4 KiB from 1, 50, 200
/// tasks, then claimed and settled.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measure() {
    let n: usize = std::env::var("HERMETIC_MEASURE").map_or(4_000, |n| n.parse().unwrap());
    let Some(cluster) = Cluster::start("always") else { return };
    let (name, folder) = (name(), tempfile::tempdir().unwrap());
    let store = cluster.open(&name, "a", folder.path()).await;
    for tasks in [1, 50, 200] {
        let n = if tasks == 1 { n / 10 } else { n };
        let began = Instant::now();
        let mut set = tokio::task::JoinSet::new();
        for _ in 0..tasks {
            let store = store.clone();
            set.spawn(async move {
                for _ in 0..n / tasks {
                    accept(&store, &[b'x'; 4096], vec![entry("a")]).await.unwrap();
                }
            });
        }
        while set.join_next().await.is_some() {}
        println!("{tasks:4} tasks: {:7.0} messages a second accepted", n as f64 / began.elapsed().as_secs_f64());
        let (began, mut done) = (Instant::now(), 0);
        while done < n / tasks * tasks {
            let leases = claim(&store, 256, LEASE).await;
            assert!(!leases.is_empty());
            done += leases.len();
            assert_eq!(store.settle(delivered(leases)).await.unwrap(), []);
        }
        println!("            {:7.0} entries a second claimed and settled", n as f64 / began.elapsed().as_secs_f64());
    }
}
