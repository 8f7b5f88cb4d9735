//! What an operator finds, sees and changes.

use super::*;
use crate::store::{EntryState, Filter, Hold, Wishes};

fn hold() -> Change {
    Change::Hold { reason: "held by anna: looks odd".into() }
}

fn record(id: MessageId) -> Verdicts {
    Verdicts { transaction: "d".into(), message: Some(id), recipients: 1, judged: "dropped".into(), at: now() }
}

fn drop_it(id: MessageId) -> Change {
    Change::Drop { record: record(id), report: Some("told".into()) }
}

fn bounce(id: MessageId) -> Change {
    Change::Bounce { status: "5.7.1".into(), reason: "no".into(), record: record(id) }
}

/// How an entry comes to the operator.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Is {
    Queued,
    Deferred,
    /// The same, and an operator holds it.
    DeferredHeld,
    Leased,
    Overdue,
    Held,
    Rejudge,
    Refused,
    Notice,
    Future,
    HeldFuture,
    Absent,
}

/// Every operation in every state: what it says, and `state reason pending` of what is there then; `-` is gone.
#[tokio::test]
async fn operations_in_states() {
    use Changed::{Done, Early, Gone, Held, Leased, NoSender, Unneeded};
    let held = "held held by anna: looks odd";
    let cases = [
        (Is::Queued, "retry", Done, "queued"),
        (Is::Queued, "hold", Done, held),
        (Is::Queued, "release", Unneeded, "queued"),
        (Is::Queued, "drop", Done, "-"),
        (Is::Queued, "bounce", Done, "queued bounce 5.7.1 no"),
        (Is::Deferred, "retry", Done, "queued busy"),
        (Is::Deferred, "hold", Done, "held held by anna: looks odd; last said: busy"),
        (Is::Deferred, "release", Unneeded, "queued busy"),
        (Is::Deferred, "drop", Done, "-"),
        (Is::Deferred, "bounce", Done, "queued busy bounce 5.7.1 no"),
        (Is::Leased, "retry", Leased, "leased"),
        (Is::Leased, "hold", Leased, "leased"),
        (Is::Leased, "release", Leased, "leased"),
        (Is::Leased, "drop", Leased, "leased"),
        (Is::Leased, "bounce", Leased, "leased"),
        (Is::Overdue, "retry", Done, "queued"),
        (Is::Overdue, "hold", Done, held),
        (Is::Overdue, "drop", Done, "-"),
        (Is::Overdue, "bounce", Done, "queued bounce 5.7.1 no"),
        (Is::Held, "retry", Held, "held quarantined"),
        (Is::Held, "hold", Unneeded, "held quarantined"),
        (Is::Held, "release", Done, "queued"),
        (Is::DeferredHeld, "release", Done, "queued busy"),
        (Is::Held, "drop", Done, "-"),
        (Is::Held, "bounce", Done, "queued quarantined bounce 5.7.1 no"),
        (Is::Rejudge, "retry", Done, "queued judge later"),
        (Is::Rejudge, "hold", Done, "held held by anna: looks odd judge later"),
        (Is::Rejudge, "drop", Done, "-"),
        (Is::Rejudge, "bounce", Done, "queued bounce 5.7.1 no"),
        (Is::Refused, "retry", Done, "queued bounce 5.1.1 refused"),
        (Is::Refused, "hold", Done, "held held by anna: looks odd bounce 5.1.1 refused"),
        (Is::Refused, "drop", Done, "-"),
        (Is::Notice, "bounce", NoSender, "queued"),
        (Is::Notice, "drop", Done, "-"),
        (Is::Future, "retry", Early, "queued later"),
        (Is::Future, "drop", Done, "-"),
        (Is::Future, "bounce", Done, "queued later bounce 5.7.1 no"),
        (Is::HeldFuture, "release", Done, "queued"),
        (Is::Absent, "retry", Gone, "-"),
        (Is::Absent, "hold", Gone, "-"),
        (Is::Absent, "release", Gone, "-"),
        (Is::Absent, "drop", Gone, "-"),
        (Is::Absent, "bounce", Gone, "-"),
    ];
    for (is, operation, said, then) in cases {
        let case = format!("{operation} of {is:?}");
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        // Large, so that the file can be missed.
        let (entry, lease) = make(&store, is).await;
        let id = entry.message;
        let change = match operation {
            "retry" => Change::Retry,
            "hold" => hold(),
            "release" => Change::Release,
            "drop" => drop_it(id),
            _ => bounce(id),
        };
        assert_eq!(store.change(vec![(entry, change)]).await.unwrap(), [said], "{case}");
        let show = || async {
            let details = store.show(id).await.unwrap();
            let line = details.map(|details| details.entries[0].listed.clone());
            line.map_or_else(|| "-".to_owned(), |line| shown(&line))
        };
        assert_eq!(show().await, then, "{case}");
        let done = said == Done;
        let told = usize::from(done && operation == "drop");
        assert_eq!(store.reports(now(), 9).await.unwrap().0.len(), told, "{case}");
        let recorded = usize::from(done && matches!(operation, "drop" | "bounce"));
        assert_eq!(store.verdicts(&id.to_string()).await.unwrap().len(), recorded, "{case}");
        assert_eq!(files(&folder), usize::from(then != "-"), "{case}");

        // Whoever had it before the operator settles nothing any more; whoever has it still does.
        if let Some(lease) = lease {
            let stale = store.settle(vec![(lease, Settlement::Retry { at: 0, reason: "late".into() }).into()]).await;
            let valid = said == Leased;
            assert_eq!(stale.unwrap().is_empty(), valid, "{case}");
            assert_eq!(show().await, if valid { "queued late" } else { then }, "{case}");
        }
        // What is due is claimed at once, what is held is not; and what somebody had without an end is unsure.
        if !done {
            continue;
        }
        let due = then.starts_with("queued") && is != Is::HeldFuture;
        if due {
            timeout(LEASE, store.due()).await.expect("whoever waits hears of it");
        }
        let claimed = store.claim(now(), 9, LEASE).await.unwrap();
        assert_eq!(claimed.len(), usize::from(due), "{case}");
        if let Some(lease) = claimed.first() {
            assert_eq!(lease.unsure, matches!(is, Is::Overdue | Is::Deferred | Is::DeferredHeld), "{case}");
        }
        // It is all on the disk.
        store.close().await;
        drop(store);
        let store = open(&folder);
        let again = store.show(id).await.unwrap();
        assert_eq!(again.map_or_else(|| "-".into(), |details| shown(&details.entries[0].listed)), then, "{case}");
    }
}

fn shown(line: &Listed) -> String {
    let pending = match &line.pending {
        crate::store::Pending::Nothing => String::new(),
        crate::store::Pending::Expanded => "expanded".into(),
        crate::store::Pending::Rejudge { reason, .. } => format!("judge {reason}"),
        crate::store::Pending::Bounce { status, reason } => format!("bounce {status} {reason}"),
    };
    let reason = line.reason.clone().unwrap_or_default();
    let reason = if reason.starts_with("held until ") { "later".to_owned() } else { reason };
    let parts = [line.state.clone(), reason, pending];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

async fn make(store: &SqliteStore, is: Is) -> (EntryId, Option<Lease>) {
    let content = vec![b'x'; 100_000];
    let mut new = entry("a");
    match is {
        Is::Held | Is::HeldFuture => new.held = Some("quarantined".into()),
        Is::Rejudge => new.pending = Pending::Rejudge { transaction: "t".into(), reason: "later".into(), asked: None },
        Is::Refused => new.pending = Pending::Bounce { status: "5.1.1".into(), reason: "refused".into() },
        _ => {}
    }
    let reverse_path = if is == Is::Notice { None } else { envelope().reverse_path };
    let hold = matches!(is, Is::Future | Is::HeldFuture).then_some(Hold::For(3600));
    let envelope = Envelope { reverse_path, wishes: Wishes { hold, ..Wishes::default() }, ..envelope() };
    let id = arrive(store, &content).await.accept(envelope, vec![], vec![new]).await.unwrap();
    let entry = EntryId { message: id, index: 0 };
    let claim = async |lease| store.claim(now(), 1, lease).await.unwrap().pop();
    let lease = match is {
        Is::Leased => claim(LEASE).await,
        Is::Overdue => claim(Duration::ZERO).await,
        Is::Deferred | Is::DeferredHeld | Is::Absent => {
            let lease = claim(LEASE).await.unwrap();
            let settlement = match is {
                Is::Absent => Settlement::Delivered,
                _ => Settlement::Retry { at: now() + 3_600_000, reason: "busy".into() },
            };
            store.settle(vec![(lease, settlement).into()]).await.unwrap();
            if is == Is::DeferredHeld {
                assert_eq!(store.change(vec![(entry, self::hold())]).await.unwrap(), [Changed::Done]);
            }
            None
        }
        _ => None,
    };
    (entry, lease)
}

/// A change is of all that it names or of nothing, names it exactly, and takes a message along with its last recipient only.
#[tokio::test]
async fn many_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let id = accept(&store, &[b'x'; 100_000], vec![entry("a"), entry("b"), entry("c")]).await;
    let at = |index| EntryId { message: id, index };
    // The key is the same, the id is not.
    let other = EntryId { message: MessageId::from(u128::from(id) ^ 1), index: 0 };
    let lease = store.claim(now(), 1, LEASE).await.unwrap().pop().unwrap();
    let changes =
        vec![(at(0), drop_it(id)), (at(1), drop_it(id)), (other, drop_it(id)), (at(2), hold()), (at(2), hold())];
    let said = store.change(changes).await.unwrap();
    assert_eq!(said, [Changed::Leased, Changed::Done, Changed::Gone, Changed::Done, Changed::Unneeded]);
    assert_eq!(states(&store).await, ["leased", "held"]);
    store.settle(vec![(lease, Settlement::Delivered).into()]).await.unwrap();
    assert_eq!(files(&folder), 1, "another recipient needs it");
    assert_eq!(store.change(vec![(at(2), drop_it(id))]).await.unwrap(), [Changed::Done]);
    assert_eq!((states(&store).await.len(), files(&folder)), (0, 0));
}

/// The filters, alone and together, page by page, in the store and beside it.
#[tokio::test]
async fn filters_and_pages() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let from = |local: &str| Envelope {
        reverse_path: (!local.is_empty()).then(|| Address { local: local.into(), domain: "Far.test".into() }),
        ..envelope()
    };
    let to = |local: &str, domain: &str| {
        let recipient = Address { local: local.into(), domain: domain.into() };
        NewEntry { recipient, route: Route::Relay, ..entry(local) }
    };
    let held = |new, reason: &str| NewEntry { held: Some(reason.into()), ..new };
    let mut ids = Vec::new();
    for (sender, entries) in [
        ("anna", vec![to("x", "one.test"), held(to("y", "two.test"), "Quarantined by p"), to("z", "one.test")]),
        ("", vec![to("anna", "far.test")]),
        ("bert", vec![held(to("x", "one.test"), "odd")]),
    ] {
        tokio::time::sleep(Duration::from_millis(3)).await;
        ids.push(arrive(&store, b"x").await.accept(from(sender), vec![], entries).await.unwrap());
    }
    let leased = store.claim(now(), 1, LEASE).await.unwrap();
    assert_eq!(leased[0].entry, EntryId { message: ids[0], index: 0 });
    let some = |text: &str| Some(text.to_owned());
    let (none, states) = (Filter::default(), |states: &[EntryState]| states.to_vec());
    let made = |id: usize| Some(ids[id].timestamp_ms());
    // The filter, and what it means: message and place; the lease is only known to the server.
    let cases: Vec<(Filter, &[&str])> = vec![
        (none.clone(), &["0.0", "0.1", "0.2", "1.0", "2.0"]),
        (Filter { states: states(&[EntryState::Held]), ..none.clone() }, &["0.1", "2.0"]),
        (Filter { states: states(&[EntryState::Held, EntryState::Leased]), ..none.clone() }, &["0.0", "0.1", "2.0"]),
        (Filter { states: states(&[EntryState::Queued]), ..none.clone() }, &["0.2", "1.0"]),
        (Filter { states: states(&[EntryState::Owed]), ..none.clone() }, &[]),
        (Filter { sender: some("@far.test"), ..none.clone() }, &["0.0", "0.1", "0.2", "2.0"]),
        (Filter { sender: some("<>"), ..none.clone() }, &["1.0"]),
        (Filter { recipient: some("X@one.test"), ..none.clone() }, &["0.0", "2.0"]),
        (Filter { domain: some("One.test"), sender: some("anna@far.test"), ..none.clone() }, &["0.0", "0.2"]),
        (Filter { reason: some("quarantined"), ..none.clone() }, &["0.1"]),
        (Filter { message: Some(ids[0]), ..none.clone() }, &["0.0", "0.1", "0.2"]),
        (Filter { message: Some(MessageId::from(u128::from(ids[0]) ^ 1)), ..none.clone() }, &[]),
        (Filter { since: made(1), ..none.clone() }, &["1.0", "2.0"]),
        (Filter { before: made(1), ..none.clone() }, &["0.0", "0.1", "0.2"]),
        (Filter { since: made(1), before: made(2), ..none.clone() }, &["1.0"]),
        (Filter { since: made(2), message: Some(ids[0]), ..none.clone() }, &[]),
        (Filter { since: Some(u64::MAX), ..none }, &[]),
    ];
    let named = |listed: &Listed| {
        let entry: EntryId = listed.entry.parse().unwrap();
        format!("{}.{}", ids.iter().position(|id| *id == entry.message).unwrap(), entry.index)
    };
    let beside = Beside::open(folder.path()).unwrap().unwrap();
    for (filter, expected) in cases {
        for most in [1, 2, 100] {
            let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
            loop {
                let page = store.find(filter.clone(), after, most).await.unwrap();
                assert!(page.entries.len() <= most);
                found.extend(page.entries.iter().map(named));
                pages += 1;
                assert!(pages < 10, "{filter:?} does not end");
                let Some(next) = page.next else { break };
                after = Some(next);
            }
            assert_eq!(found, expected, "{filter:?} by {most}");
        }
        if !filter.states.iter().any(|state| matches!(state, EntryState::Leased | EntryState::Queued)) {
            let page = beside.find(filter.clone(), None, 100).unwrap();
            assert_eq!(page.entries.iter().map(named).collect::<Vec<_>>(), expected, "{filter:?}, beside");
        }
    }
    assert!(store.find(Filter::default(), None, 0).await.unwrap().entries.is_empty());
    let details = beside.show(ids[0]).unwrap().unwrap();
    assert_eq!((details.entries.len(), &details.envelope.reverse_path), (3, &from("anna").reverse_path));
    assert_eq!(details.entries[1].entry.route, Route::Relay);
    assert!(beside.show(MessageId::from(u128::from(ids[0]) ^ 1)).unwrap().is_none());
    assert_eq!(beside.body(ids[0]).unwrap().prefix, b"");
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
