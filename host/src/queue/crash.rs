//! Killed at random moments: what was acknowledged is in the store or in a Maildir, whole, exactly once; and of what can not
//! be delivered the sender is told exactly once.
//!
//! The victim is this very test executable, started again with [`VICTIM`] set. `HERMETIC_CRASH_ROUNDS` says how often.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::{BTreeSet, HashMap},
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Stdio},
};

use tokio::sync::watch;

use super::{tests::*, *};
use crate::store::{Content, NewEntry, sqlite::SqliteStore};

/// The folder that the victim works in.
const VICTIM: &str = "HERMETIC_CRASH_VICTIM";
const MAILBOXES: [&str; 3] = ["anna", "berta", "carl"];
const SENDER: &str = "sender@example.test";

/// Sizes below, at and above the bound between row and file.
fn size(n: u64) -> usize {
    [10, 4096, 65_536, 65_537, 300_000][usize::try_from(n % 5).unwrap()]
}

/// Content that says which it is, and shows when it is torn.
fn content(name: &str, n: u64) -> Vec<u8> {
    let mut content = format!("X-Name: {name}\r\n\r\n").into_bytes();
    content.resize(content.len() + size(n), b'a' + u8::try_from(n % 26).unwrap());
    content.extend(b"\r\nend\r\n");
    content
}

/// How many recipients of the nth message have no mailbox; they share a notice.
fn lost(n: u64) -> u64 {
    n % 4
}

/// The recipients of the nth message; the last ones have no mailbox.
fn recipients(n: u64) -> Vec<NewEntry> {
    let lost = ["lost1", "lost2", "lost3"].into_iter().take(usize::try_from(lost(n)).unwrap());
    MAILBOXES[..usize::try_from(n % 3 + 1).unwrap()].iter().copied().chain(lost).map(entry).collect()
}

/// What can not be delivered at once is given up.
fn config(data: &Path) -> Arc<ArcSwap<Config>> {
    let queue = crate::config::Queue { expire: 0, ..crate::config::Queue::default() };
    Arc::new(ArcSwap::from_pointee(Config { data: data.to_owned(), queue, ..Config::default() }))
}

/// Not a test: accepts and delivers until it is killed, and says what it accepted.
#[test]
fn victim() {
    let Some(data) = std::env::var_os(VICTIM) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(Path::new(&data), 0, Metrics::new()).unwrap();
        let config = config(Path::new(&data));
        let (_stop, stopped) = watch::channel(false);
        tokio::spawn(run(store.clone(), config, places, Arc::new(House::default()), None, Metrics::new(), stopped));
        for task in 0..8 {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0.. {
                    let name = format!("{}-{task}-{n}", std::process::id());
                    let id = accept_from(&store, "sender", &content(&name, n), recipients(n)).await;
                    println!("accepted {id} {name} {n}");
                }
            });
        }
        std::future::pending::<()>().await;
    });
}

/// What is where.
#[derive(Default)]
struct Found {
    /// Entry -> content, for each copy in a Maildir and each entry in the store.
    copies: HashMap<String, Vec<Vec<u8>>>,
    /// Entry that can not be delivered -> itself while it waits, and the entry of each notice that tells of it.
    told: HashMap<String, BTreeSet<String>>,
}

/// The entries that a notice tells of.
fn subjects(notice: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(notice);
    let ids: Vec<String> =
        text.split("Final-Log-ID: ").skip(1).map(|rest| rest.lines().next().unwrap_or_default().to_owned()).collect();
    assert!(!ids.is_empty(), "no notice: {text}");
    ids
}

async fn found(data: &Path) -> Found {
    let Found { copies: mut found, mut told } = Found::default();
    for (name, octets) in mail(data, SENDER) {
        let notice = name.split('.').nth(1).unwrap().replace('_', ".");
        for subject in subjects(&octets) {
            told.entry(subject).or_default().insert(notice.clone());
        }
    }
    for mailbox in MAILBOXES {
        for (name, octets) in mail(data, &format!("{mailbox}@example.test")) {
            let entry = name.split('.').nth(1).unwrap().replace('_', ".");
            let start = octets.windows(7).position(|window| window == b"X-Name:").unwrap_or(octets.len());
            found.entry(entry).or_default().push(octets[start..].to_vec());
        }
    }
    let store = SqliteStore::open(data, 0, Metrics::new()).unwrap();
    for lease in store.claim(u64::MAX >> 1, usize::MAX, LEASE).await.unwrap() {
        let mut octets = Vec::new();
        match store.body(lease.entry.message).await.unwrap().content {
            Content::Inline(content) => octets = content,
            Content::File(mut file) => drop(file.read_to_end(&mut octets).unwrap()),
        }
        let id = lease.entry.to_string();
        if lease.envelope.reverse_path.is_none() {
            for subject in subjects(&octets) {
                told.entry(subject).or_default().insert(id.clone());
            }
            continue;
        }
        if lease.recipient.recipient.local.starts_with("lost") {
            told.entry(id.clone()).or_default().insert(id);
            continue;
        }
        let copies = found.entry(id).or_default();
        // A copy of an entry that is not settled is what the next attempt finds, not a second one.
        if copies.is_empty() {
            copies.push(octets);
        }
    }
    store.close().await;
    Found { copies: found, told }
}

#[tokio::test]
async fn nothing_is_lost_torn_or_doubled() {
    let rounds: u64 = std::env::var("HERMETIC_CRASH_ROUNDS").map_or(6, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut accepted: HashMap<String, Vec<u8>> = HashMap::new();
    let mut lost: BTreeSet<String> = BTreeSet::new();
    let check = |found: &Found, accepted: &HashMap<String, Vec<u8>>, lost: &BTreeSet<String>, when: &str| {
        for entry in lost {
            let told = found.told.get(entry).cloned().unwrap_or_default();
            assert_eq!(told.len(), 1, "{entry} can not be delivered, and is told of by {told:?}, {when}");
        }
        for (entry, content) in accepted {
            let copies = found.copies.get(entry).map_or(&[][..], Vec::as_slice);
            assert_eq!(copies.len(), 1, "{entry} of {} entries, {when}", accepted.len());
            assert!(copies[0] == *content, "{entry} is torn, {when}");
        }
    };
    for round in 0..rounds {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["queue::crash::victim", "--exact", "--nocapture"])
            .env(VICTIM, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(victim.stdout.take().unwrap());
        // Some rounds are killed while they recover from the one before.
        let pause = Duration::from_millis(rand::random::<u64>() % if round % 3 == 2 { 100 } else { 800 });
        std::thread::spawn(move || {
            std::thread::sleep(pause);
            victim.kill().unwrap();
            victim.wait().unwrap();
        });
        for line in lines.lines() {
            let line = line.unwrap();
            // The last line may be cut off: then it was not said.
            let words: Vec<_> = line.split(' ').collect();
            let ["accepted", id, name, n] = words[..] else { continue };
            let Ok(n) = n.parse::<u64>() else { continue };
            for place in 0..=n % 3 {
                accepted.insert(format!("{id}.{place}"), content(name, n));
            }
            for place in 0..self::lost(n) {
                lost.insert(format!("{id}.{}", n % 3 + 1 + place));
            }
        }
        check(&found(folder.path()).await, &accepted, &lost, &format!("after round {round}"));
    }
    assert!(accepted.len() as u64 > rounds, "too little happened: {} entries", accepted.len());

    // Recovery ends with every copy delivered, and nothing left over.
    let store = SqliteStore::open(folder.path(), 0, Metrics::new()).unwrap();
    let config = config(folder.path());
    let (stop, stopped) = watch::channel(false);
    let queue =
        tokio::spawn(run(store.clone(), config, places, Arc::new(House::default()), None, Metrics::new(), stopped));
    while store.counts().await.unwrap().queued > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.send(true).unwrap();
    queue.await.unwrap();
    store.close().await;
    drop(store);
    let found = found(folder.path()).await;
    check(&found, &accepted, &lost, "at the end");
    assert!(lost.iter().all(|entry| !found.told[entry].contains(entry)), "all of them are told of in the end");
    let mut copies: Vec<String> = Vec::new();
    for mailbox in MAILBOXES {
        copies.extend(mail(folder.path(), &format!("{mailbox}@example.test")).into_keys());
        let tmp = folder.path().join(format!("mail/{mailbox}@example.test/tmp"));
        assert_eq!(std::fs::read_dir(tmp).into_iter().flatten().count(), 0, "left in tmp of {mailbox}");
    }
    let (entries, told) = (accepted.len(), lost.len());
    println!("{entries} entries accepted, {} delivered, {told} failures told of, {rounds} rounds", copies.len());
}
