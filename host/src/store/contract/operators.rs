//! What an operator finds, sees and changes.

use super::*;

on_each_store!(operations_in_states, many_at_once, filters_and_pages);

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
async fn operations_in_states(mut rig: Rig) {
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
        // Large, so that its content can be missed.
        let (entry, lease) = make(&rig, is).await;
        let id = entry.message;
        let change = match operation {
            "retry" => Change::Retry,
            "hold" => hold(),
            "release" => Change::Release,
            "drop" => drop_it(id),
            _ => bounce(id),
        };
        assert_eq!(rig.store.change(vec![(entry, change)]).await.unwrap(), [said], "{case}");
        let show = || async {
            let details = rig.store.show(id).await.unwrap();
            let line = details.map(|details| details.entries[0].listed.clone());
            line.map_or_else(|| "-".to_owned(), |line| shown(&line))
        };
        assert_eq!(show().await, then, "{case}");
        let done = said == Done;
        let told = usize::from(done && operation == "drop");
        let (reports, _) = rig.store.reports(now(), 9).await.unwrap();
        assert_eq!(reports.len(), told, "{case}");
        rig.store.told(reports.into_iter().map(|report| (report, Told::Done)).collect()).await.unwrap();
        let recorded = usize::from(done && matches!(operation, "drop" | "bounce"));
        let mut verdicts = rig.store.verdicts(&id.to_string()).await.unwrap();
        verdicts.retain(|one| one.message == Some(id));
        assert_eq!(verdicts.len(), recorded, "{case}");
        rig.has_contents(usize::from(then != "-")).await;

        // Whoever had it before the operator settles nothing any more; whoever has it still does.
        if let Some(lease) = lease {
            let stale =
                rig.store.settle(vec![(lease, Settlement::Retry { at: 0, reason: "late".into() }).into()]).await;
            let valid = said == Leased;
            assert_eq!(stale.unwrap().is_empty(), valid, "{case}");
            assert_eq!(show().await, if valid { "queued late" } else { then }, "{case}");
        }
        // What is due is claimed at once, what is held is not; and what somebody had without an end is unsure.
        if !done {
            clear(&rig).await;
            continue;
        }
        let due = then.starts_with("queued") && is != Is::HeldFuture;
        let claimed = match due {
            true => rig.claim(1, LEASE).await.pop(),
            false => None,
        };
        rig.nothing_is_due().await;
        if let Some(lease) = &claimed {
            assert_eq!(lease.unsure, matches!(is, Is::Overdue | Is::Deferred | Is::DeferredHeld), "{case}");
        }
        // It is all on the disk.
        rig.reopen().await;
        let again = rig.store.show(id).await.unwrap();
        assert_eq!(again.map_or_else(|| "-".into(), |details| shown(&details.entries[0].listed)), then, "{case}");
        clear(&rig).await;
    }
}

/// Nothing is left; whoever had an entry has it no more.
async fn clear(rig: &Rig) {
    for line in rig.list().await {
        let entry: EntryId = line.entry.parse().unwrap();
        let said = rig.store.change(vec![(entry, drop_it(entry.message))]).await.unwrap();
        assert_eq!(said, [Changed::Done], "{line:?}");
    }
    let (reports, _) = rig.store.reports(now(), 9).await.unwrap();
    rig.store.told(reports.into_iter().map(|report| (report, Told::Done)).collect()).await.unwrap();
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

async fn make(rig: &Rig, is: Is) -> (EntryId, Option<Lease>) {
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
    let id = rig.arrive(&content).await.accept(envelope, vec![], vec![new]).await.unwrap();
    let entry = EntryId { message: id, index: 0 };
    let claim = async |lease| rig.claim(1, lease).await.pop();
    let lease = match is {
        Is::Leased => claim(LEASE).await,
        Is::Overdue => claim(Duration::ZERO).await,
        Is::Deferred | Is::DeferredHeld | Is::Absent => {
            let lease = claim(LEASE).await.unwrap();
            let settlement = match is {
                Is::Absent => Settlement::Delivered,
                _ => Settlement::Retry { at: now() + 3_600_000, reason: "busy".into() },
            };
            rig.store.settle(vec![(lease, settlement).into()]).await.unwrap();
            if is == Is::DeferredHeld {
                assert_eq!(rig.store.change(vec![(entry, self::hold())]).await.unwrap(), [Changed::Done]);
            }
            None
        }
        _ => None,
    };
    (entry, lease)
}

/// A change is of all that it names or of nothing, names it exactly, and takes a message along with its last recipient only.
async fn many_at_once(rig: Rig) {
    let id = rig.accept(&[b'x'; 100_000], vec![entry("a"), entry("b"), entry("c")]).await;
    let at = |index| EntryId { message: id, index };
    // The key is the same, the id is not.
    let other = EntryId { message: MessageId::from(u128::from(id) ^ 1), index: 0 };
    let lease = rig.claim(1, LEASE).await.pop().unwrap();
    let changes =
        vec![(at(0), drop_it(id)), (at(1), drop_it(id)), (other, drop_it(id)), (at(2), hold()), (at(2), hold())];
    let said = rig.store.change(changes).await.unwrap();
    assert_eq!(said, [Changed::Leased, Changed::Done, Changed::Gone, Changed::Done, Changed::Unneeded]);
    assert_eq!(rig.states().await, ["a leased", "c held"]);
    rig.store.settle(vec![(lease, Settlement::Delivered).into()]).await.unwrap();
    rig.has_contents(1).await;
    assert_eq!(rig.store.change(vec![(at(2), drop_it(id))]).await.unwrap(), [Changed::Done]);
    assert_eq!(rig.states().await.len(), 0);
    rig.has_contents(0).await;
}

/// The filters, alone and together, page by page.
async fn filters_and_pages(rig: Rig) {
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
        ids.push(rig.arrive(b"x").await.accept(from(sender), vec![], entries).await.unwrap());
    }
    let leased = rig.claim(1, LEASE).await;
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
    for (filter, expected) in cases {
        for most in [1, 2, 100] {
            let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
            loop {
                let page = rig.store.find(filter.clone(), after, most).await.unwrap();
                assert!(page.entries.len() <= most);
                found.extend(page.entries.iter().map(named));
                pages += 1;
                assert!(pages < 10, "{filter:?} does not end");
                let Some(next) = page.next else { break };
                after = Some(next);
            }
            assert_eq!(found, expected, "{filter:?} by {most}");
        }
    }
    assert!(rig.store.find(Filter::default(), None, 0).await.unwrap().entries.is_empty());
    let details = rig.store.show(ids[0]).await.unwrap().unwrap();
    assert_eq!((details.entries.len(), &details.envelope.reverse_path), (3, &from("anna").reverse_path));
    assert_eq!(details.entries[1].entry.route, Route::Relay);
    assert!(rig.store.show(MessageId::from(u128::from(ids[0]) ^ 1)).await.unwrap().is_none());
    assert_eq!(rig.store.body(ids[0]).await.unwrap().prefix, b"");
}
