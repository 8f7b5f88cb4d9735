//! What an operator finds, sees and changes.

use super::*;
use crate::store::{EntryState, Filter};

fn hold() -> Change {
    Change::Hold { reason: "held by anna: looks odd".into() }
}

/// What is read beside the store is what the store has, save for who works on what.
#[tokio::test]
async fn read_beside() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let id = accept(&store, b"x", vec![entry("a"), NewEntry { held: Some("odd".into()), ..entry("b") }]).await;
    let _leased = store.claim(now(), 1, LEASE).await.unwrap();
    let beside = Beside::open(folder.path()).unwrap().unwrap();
    for (states, expected) in [(vec![], 2), (vec![EntryState::Held], 1), (vec![EntryState::Leased], 0)] {
        let page = beside.find(Filter { states, ..Filter::default() }, None, 100).unwrap();
        assert_eq!(page.entries.len(), expected);
    }
    assert_eq!(beside.show(id).unwrap().unwrap().entries.len(), 2);
    assert!(beside.show(MessageId::from(u128::from(id) ^ 1)).unwrap().is_none());
    assert_eq!(beside.body(id).unwrap().prefix, b"Received: x\r\n");
}

/// However few are meant, one call looks at so many entries and no more; where it stopped it goes on.
#[tokio::test]
async fn a_page_looks_at_a_bounded_part() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for _ in 0..7 {
        accept(&store, b"x", vec![entry("a"), entry("b")]).await;
    }
    let wanted = accept(&store, b"x", vec![entry("wanted")]).await;
    store.close().await;
    let connection = schema::open_reader(&folder.path().join("store/store.db")).unwrap();
    let filter = Filter { recipient: Some("wanted@example.test".into()), ..Filter::default() };
    let (mut after, mut pages) = (None, Vec::new());
    loop {
        let part = Part { filter: filter.clone(), after, most: 100, looked_at: 4 };
        let page = manage::find(&connection, &part, &Default::default()).unwrap();
        pages.push(page.entries.len());
        after = page.next;
        if let Some(found) = page.entries.first() {
            assert_eq!(found.entry, EntryId { message: wanted, index: 0 }.to_string());
        }
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [0, 0, 0, 1]);
}

/// `HERMETIC_MEASURE` messages of 10 recipients each: how long it takes to look through all of them, and to change them.
#[tokio::test]
#[ignore = "a measurement"]
async fn measure() {
    let n: usize = std::env::var("HERMETIC_MEASURE").map_or(20_000, |n| n.parse().unwrap());
    let folder = tempfile::tempdir_in("..").unwrap();
    let store = open(&folder);
    let content = vec![b'x'; 2000];
    let entries: Vec<_> = (0..10).map(|index| entry(&format!("a{index}"))).collect();
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (store, content, entries) = (store.clone(), content.clone(), entries.clone());
        set.spawn(async move {
            for _ in 0..n / 100 {
                accept(&store, &content, entries.clone()).await;
            }
        });
    }
    while set.join_next().await.is_some() {}
    let some = |text: &str| Some(text.to_owned());
    for (what, filter) in [
        ("all", Filter::default()),
        ("held", Filter { states: vec![EntryState::Held], ..Filter::default() }),
        ("a recipient", Filter { recipient: some("a3@example.test"), ..Filter::default() }),
        ("no recipient", Filter { recipient: some("b@example.test"), ..Filter::default() }),
        ("no sender", Filter { sender: some("b@example.test"), ..Filter::default() }),
        ("long ago", Filter { before: Some(1), ..Filter::default() }),
    ] {
        let (began, mut found, mut calls, mut longest, mut after) = (Instant::now(), 0, 0, Duration::ZERO, None);
        loop {
            let call = Instant::now();
            let page = store.find(filter.clone(), after, 1000).await.unwrap();
            longest = longest.max(call.elapsed());
            (found, calls, after) = (found + page.entries.len(), calls + 1, page.next);
            if after.is_none() {
                break;
            }
        }
        println!("{what:12}: {found:8} in {:?}, {calls} calls, the longest {longest:?}", began.elapsed());
    }
    for (what, change) in [("hold", hold()), ("release", Change::Release)] {
        let (began, mut changed, mut longest, mut after) = (Instant::now(), 0, Duration::ZERO, None);
        loop {
            let page = store.find(Filter::default(), after, 500).await.unwrap();
            let changes = page.entries.iter().map(|one| (one.entry.parse().unwrap(), change.clone())).collect();
            let call = Instant::now();
            changed += store.change(changes).await.unwrap().len();
            longest = longest.max(call.elapsed());
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        println!("{what:12}: {changed:8} in {:?}, the longest transaction {longest:?}", began.elapsed());
    }
}

/// A message whose entries are settled while it is shown is shown as it was at some moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shown_as_it_was_at_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for _ in 0..10 {
        let id = accept(&store, b"x", (0..200).map(|n| entry(&format!("a{n}"))).collect()).await;
        let leases = store.claim(now(), 200, LEASE).await.unwrap();
        assert_eq!(leases.len(), 200);
        let showing = tokio::spawn({
            let store = store.clone();
            async move {
                while let Some(details) = store.show(id).await.expect("nothing vanishes meanwhile") {
                    assert!(!details.entries.is_empty());
                }
            }
        });
        for some in leases.chunks(10) {
            let done = some.iter().map(|lease| (lease.clone(), Settlement::Delivered).into()).collect();
            assert_eq!(store.settle(done).await.unwrap(), []);
        }
        showing.await.unwrap();
    }
}
