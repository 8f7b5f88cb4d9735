//! Who is told of failures, delays and deliveries, and who is not.

use super::*;
use crate::store::Notify as Wanted;

/// A message from this sender to `lost`, which has no mailbox any more.
async fn send(rig: &Rig, change: impl FnOnce(&mut Envelope), entry: NewEntry) {
    send_to_all(rig, change, vec![entry]).await;
}

async fn send_to_all(rig: &Rig, change: impl FnOnce(&mut Envelope), entries: Vec<NewEntry>) {
    let mut envelope = Envelope {
        reverse_path: Some(Address { local: "sender".into(), domain: "example.test".into() }),
        received_at: now(),
        ..Envelope::default()
    };
    change(&mut envelope);
    let mut incoming = rig.store.begin().unwrap();
    let _ = incoming.write(b"Subject: hello\r\n\r\nbody\r\n").unwrap();
    incoming.accept(envelope, b"Received: x\r\n".to_vec(), entries).await.unwrap();
}

fn only(rig: &Rig, mailbox: &str) -> String {
    let mut found = rig.mail(mailbox);
    let first = String::from_utf8(found.pop_first().expect("a notice").1).unwrap();
    assert!(found.is_empty(), "more than one: {found:?}");
    first
}

fn far(envelope: &mut Envelope) {
    envelope.reverse_path = Some(Address { local: "sender".into(), domain: "far.test".into() });
}

/// A failure is told to whoever can be, and otherwise held or, where the sender wants that, dropped.
#[tokio::test]
async fn failures() {
    let notify = |success, failure| Some(Wanted { success, failure, delay: false });
    type Change = fn(&mut Envelope);
    let cases: [(&str, Change, Option<Wanted>, bool, &str); 10] = [
        ("local", |_| {}, None, false, "told"),
        ("asked for", |_| {}, notify(false, true), false, "told"),
        ("not asked for", |_| {}, notify(true, false), false, "dropped"),
        ("never", |_| {}, notify(false, false), false, "dropped"),
        ("null", |envelope| envelope.reverse_path = None, None, false, "held: the null reverse-path is never told"),
        ("stranger", far, None, false, "held: nobody has authenticated the sender"),
        ("stranger, operator's wish", far, None, true, "relayed"),
        (
            "logged in",
            |envelope| {
                far(envelope);
                envelope.identity = Some("anna".into());
            },
            None,
            false,
            "relayed",
        ),
        (
            "of a trusted network",
            |envelope| {
                far(envelope);
                envelope.client = Some("10.0.0.7".parse().unwrap());
            },
            None,
            false,
            "relayed",
        ),
        (
            "no such sender",
            |envelope| envelope.reverse_path.as_mut().unwrap().local = "nobody".into(),
            None,
            false,
            "held: the sender can not be told: there is no such mailbox here",
        ),
    ];
    for (case, change, notify, strangers, expected) in cases {
        let rig = Rig::new();
        rig.change(|config| {
            config.queue.notify_strangers = strangers;
            config.relay.networks = vec!["10.0.0.0/8".parse().unwrap()];
        });
        let old = |envelope: &mut Envelope| {
            envelope.received_at = 1;
            change(envelope);
        };
        send(&rig, old, NewEntry { notify, ..entry("lost") }).await;
        rig.run_until(|counts, _| counts.queued == 0).await;
        let listed = rig.store.list().await.unwrap();
        let line =
            listed.first().map(|line| format!("{} {}", line.recipient, line.reason.as_deref().unwrap_or_default()));
        let line = line.unwrap_or_default();
        match expected {
            "told" => {
                let notice = only(&rig, "sender@example.test");
                assert!(listed.is_empty(), "{case}: {line}");
                for part in
                    ["Return-Path: <>", "Action: failed", "Status: 5.4.7", "rfc822;lost@example.test", "\r\nbody\r\n"]
                {
                    assert!(notice.contains(part), "{case}: {part} in {notice}");
                }
            }
            "dropped" => assert!(listed.is_empty() && rig.mail("sender@example.test").is_empty(), "{case}: {line}"),
            "relayed" => {
                assert_eq!(line, format!("sender@far.test {NEEDS_OUTBOUND}"), "{case}");
                assert_eq!(listed[0].reverse_path, "<>");
            }
            held => {
                let why = held.trim_start_matches("held: ");
                assert!(line.starts_with("lost@example.test undeliverable: ") && line.contains(why), "{case}: {line}");
                assert_eq!(listed.len(), 1, "{case}");
            }
        }
    }
}

/// A notice that can not be delivered brings no other.
#[tokio::test]
async fn no_notice_of_a_notice() {
    let rig = Rig::new();
    rig.configure(|queue| queue.retry_first = 1);
    let lost = |envelope: &mut Envelope| {
        envelope.received_at = 1;
        envelope.reverse_path = Some(Address { local: "lost".into(), domain: "example.test".into() });
    };
    send(&rig, lost, entry("lost")).await;
    rig.run_until(|_, _| tried_once(&rig)).await;
    let listed = rig.store.list().await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((listed[0].reverse_path.as_str(), listed[0].recipient.as_str()), ("<>", "lost@example.test"));
    // Much later the notice is given up as well, and an operator sees it.
    rig.configure(|queue| queue.expire = 0);
    rig.run_until(|counts, _| counts.held == 1).await;
    let listed = rig.store.list().await.unwrap();
    assert!(listed[0].reason.as_ref().unwrap().contains("the null reverse-path is never told"), "{listed:?}");
}

/// The notice has been tried once.
fn tried_once(rig: &Rig) -> bool {
    let lines = crate::store::sqlite::list(rig.folder.path()).unwrap().unwrap();
    lines.len() == 1 && lines[0].reverse_path == "<>" && lines[0].attempts == 1
}

/// Recipients of one message share a notice, each with its own fate; those of another have another.
#[tokio::test]
async fn one_notice_for_all() {
    let rig = Rig::new();
    let old = |envelope: &mut Envelope| envelope.received_at = 1;
    let success = Some(Wanted { success: true, failure: true, delay: false });
    let told = |name: &str| NewEntry { notify: success, ..entry(name) };
    let bounce = Pending::Bounce { status: "5.7.1".into(), reason: "Dora is not amused".into() };
    let expanded = NewEntry { pending: Pending::Expanded, ..told("list") };
    let never = NewEntry { notify: Some(Wanted::default()), ..entry("lost3") };
    let dora = NewEntry { pending: bounce, ..entry("dora") };
    let all = vec![told("lost1"), told("anna"), entry("berta"), entry("lost2"), never, dora, expanded];
    send_to_all(&rig, old, all).await;
    send(&rig, old, entry("lost4")).await;
    rig.run_until(|counts, _| counts.queued == 0).await;
    let notices: Vec<String> =
        rig.mail("sender@example.test").into_values().map(|octets| String::from_utf8(octets).unwrap()).collect();
    let fates = |notice: &str| {
        let groups = notice.split("Final-Recipient: rfc822;").skip(1);
        let fate = |group: &str| {
            let field = |name| group.split(name).nth(1).and_then(|rest| rest.lines().next()).unwrap_or("-").to_owned();
            let to = group.lines().next().unwrap().trim_end_matches("@example.test");
            format!("{to} {} {} {}", field("Action: "), field("Status: "), field("Last-Attempt-Date: ").len() > 1)
        };
        groups.map(fate).collect::<Vec<_>>()
    };
    let mut found: Vec<Vec<String>> = notices.iter().map(|notice| fates(notice)).collect();
    found.sort_by_key(Vec::len);
    for group in &mut found {
        group.sort();
    }
    assert_eq!(
        found,
        [
            vec!["lost4 failed 5.4.7 true"],
            vec![
                "anna delivered 2.0.0 true",
                "dora failed 5.7.1 false",
                "list expanded 2.0.0 false",
                "lost1 failed 5.4.7 true",
                "lost2 failed 5.4.7 true",
            ]
        ],
        "{notices:?}"
    );
    assert_eq!(rig.store.counts().await.unwrap(), Counts::default());
}

/// A lease that is stale when its batch is settled: whoever has it now tells of it, and the others are told of all the same.
/// Nobody is told of twice, and nobody is lost.
#[tokio::test]
async fn a_stale_lease_among_others() {
    for stale in 0..3 {
        let rig = Rig::new();
        send_to_all(&rig, |envelope| envelope.received_at = 1, vec![entry("lost1"), entry("lost2"), entry("lost3")])
            .await;
        let mut leases = rig.store.claim(now(), 10, LEASE).await.unwrap();
        leases[stale].token -= 1;
        let shared = rig.shared();
        let config = rig.config.load_full();
        let ended = attempt(&shared, &config, leases.into_iter().map(|lease| (lease, None)).collect()).await;
        settle(&shared, &config, ended).await;
        let left: Vec<String> = rig.store.list().await.unwrap().iter().map(|line| line.recipient.clone()).collect();
        let expected = format!("lost{}@example.test", stale + 1);
        let notices = left.iter().filter(|to| *to == "sender@example.test").count();
        assert_eq!((notices, left.len()), (2, 3), "{left:?}");
        assert!(left.contains(&expected), "{left:?}");
        drop(shared);
        // The process ends, so the lease does, and the next one tells of the last.
        let rig = rig.restart().await;
        rig.configure(|queue| queue.expire = 0);
        rig.run_until(|counts, _| *counts == Counts::default()).await;
        let mut told: Vec<String> = rig
            .mail("sender@example.test")
            .into_values()
            .flat_map(|octets| {
                let text = String::from_utf8(octets).unwrap();
                let groups: Vec<String> = text
                    .split("Final-Recipient: rfc822;")
                    .skip(1)
                    .map(|group| group.split('@').next().unwrap().to_owned())
                    .collect();
                groups
            })
            .collect();
        told.sort();
        assert_eq!(told, ["lost1", "lost2", "lost3"]);
    }
}

/// Whoever sends, wherever it goes wrong and whatever was asked for: a message brings at most one notice of each recipient,
/// a notice brings none, and what nobody is told of is held for the operator, or dropped where the sender wants that.
#[tokio::test]
async fn no_scenario_bounces_twice() {
    let address = |local: &str, domain: &str| Some(Address { local: local.into(), domain: domain.into() });
    let senders = [
        ("nobody (the null reverse-path)", None),
        ("a mailbox", address("sender", "example.test")),
        ("a mailbox that is gone", address("lost", "example.test")),
        ("the recipient itself", address("lost1", "example.test")),
        ("no mailbox", address("nobody", "example.test")),
        ("a stranger", address("sender", "far.test")),
        ("another server's daemon", address("mailer-daemon", "far.test")),
    ];
    let wishes = [
        None,
        Some(Wanted::default()),
        Some(Wanted { success: true, failure: true, delay: true }),
        Some(Wanted { success: true, failure: false, delay: false }),
    ];
    let bounce = || Pending::Bounce { status: "5.7.1".into(), reason: "no".into() };
    let rig = Rig::new();
    rig.configure(|queue| queue.expire = 0);
    rig.change(|config| config.queue.notify_strangers = true);
    let mut expected = 0;
    for (_, sender) in &senders {
        for notify in wishes {
            for pending in [Pending::Nothing, bounce(), Pending::Expanded] {
                let entries = vec![
                    NewEntry { notify, pending: pending.clone(), ..entry("lost1") },
                    NewEntry { notify, ..entry("lost2") },
                    NewEntry { notify, ..entry("anna") },
                    // Four, so that a batch never ends within a message.
                    NewEntry { notify, ..entry("berta") },
                ];
                send_to_all(&rig, |envelope| envelope.reverse_path.clone_from(sender), entries).await;
                let failure = notify.is_none_or(|notify| notify.failure);
                let success = notify.is_some_and(|notify| notify.success);
                let can = sender.as_ref().is_some_and(|sender| sender.local != "nobody");
                expected += usize::from(can && (failure || success));
            }
        }
    }
    rig.run_until(|counts, _| counts.queued == 0).await;
    let mut notices = rig.mail("sender@example.test").into_values().collect::<Vec<_>>();
    let listed = rig.store.list().await.unwrap();
    for line in &listed {
        assert_eq!(line.state, "held", "{line:?}");
        let why = line.reason.as_deref().unwrap_or_default();
        if line.reverse_path == "<>" && !line.recipient.starts_with(['l', 'a']) {
            assert_eq!(why, NEEDS_OUTBOUND, "{line:?}");
        }
        if line.reverse_path == "<>" && line.recipient.starts_with("lost") {
            assert!(why.contains("the null reverse-path is never told"), "{line:?}");
        }
    }
    // Notices that could not be delivered are held; that they are notices shows in their content.
    for lease in rig.store.list().await.unwrap() {
        let id = MessageId::from_string(lease.entry.split('.').next().unwrap()).unwrap();
        if let crate::store::Content::Inline(octets) = rig.store.body(id).await.unwrap().content
            && octets.starts_with(b"From: Mail delivery")
        {
            notices.push(octets);
        }
    }
    let texts: Vec<String> = notices.iter().map(|octets| String::from_utf8_lossy(octets).into_owned()).collect();
    assert_eq!(texts.len(), expected, "one for each message whose sender is to be told");
    let mut told = BTreeMap::new();
    for text in &texts {
        assert_eq!(text.matches("Auto-Submitted: ").count(), 1, "a notice of a notice: {text}");
        for group in text.split("Final-Log-ID: ").skip(1) {
            *told.entry(group.lines().next().unwrap().to_owned()).or_insert(0) += 1;
        }
        assert!(text.contains("Subject: hello"), "it tells of a message of ours: {text}");
    }
    assert!(told.values().all(|times| *times == 1), "told of twice: {told:?}");
    assert!(told.len() > expected);
}

/// A success is told only where that was asked for.
#[tokio::test]
async fn deliveries() {
    let rig = Rig::new();
    let wanted = Some(Wanted { success: true, failure: true, delay: false });
    send(&rig, |_| {}, NewEntry { notify: wanted, ..entry("anna") }).await;
    send(&rig, |_| {}, entry("berta")).await;
    send(&rig, far, NewEntry { notify: wanted, ..entry("carl") }).await;
    rig.run_until(|counts, _| counts.queued == 0).await;
    let notice = only(&rig, "sender@example.test");
    for part in ["Action: delivered", "Status: 2.0.0", "rfc822;anna@example.test"] {
        assert!(notice.contains(part), "{part} in {notice}");
    }
    assert!(!notice.contains("\r\nbody\r\n"), "RFC 3461 section 6.2: {notice}");
    assert_eq!(rig.store.counts().await.unwrap(), Counts::default());
}

/// A delay is told once, when it is long enough, and only to who wants to know.
#[tokio::test]
async fn delays() {
    for (case, age, notify, expected) in [
        ("late", 14_401, None, true),
        ("not yet", 100, None, false),
        ("asked for", 14_401, Some(Wanted { success: false, failure: false, delay: true }), true),
        ("not asked for", 14_401, Some(Wanted { success: true, failure: true, delay: false }), false),
    ] {
        let rig = Rig::new();
        rig.configure(|queue| {
            queue.retry_first = 1;
            queue.retry_most = 1;
        });
        send(&rig, |envelope| envelope.received_at = now() - age * 1000, NewEntry { notify, ..entry("lost") }).await;
        let tried =
            || crate::store::sqlite::list(rig.folder.path()).unwrap().unwrap().iter().any(|line| line.attempts > 2);
        rig.run_until(|_, _| tried()).await;
        if expected {
            let notice = only(&rig, "sender@example.test");
            for part in ["Action: delayed", "Status: 4.4.7", "Will-Retry-Until: ", "rfc822;lost@example.test"] {
                assert!(notice.contains(part), "{case}: {part} in {notice}");
            }
        } else {
            assert!(rig.mail("sender@example.test").is_empty(), "{case}");
        }
    }
}

/// A refusal that could not be answered is told at once, even to a stranger, whom policy has looked at.
#[tokio::test]
async fn bounces() {
    let rig = Rig::new();
    let pending = Pending::Bounce { status: "5.7.1".into(), reason: "Dora is not amused".into() };
    send(&rig, |_| {}, NewEntry { pending: pending.clone(), ..entry("dora") }).await;
    send(&rig, far, NewEntry { pending: pending.clone(), ..entry("dora") }).await;
    send(&rig, |envelope| envelope.reverse_path = None, NewEntry { pending, ..entry("dora") }).await;
    rig.run_until(|counts, _| counts.queued == 0).await;
    let notice = only(&rig, "sender@example.test");
    for part in ["Status: 5.7.1", "Dora is not amused", "rfc822;dora@example.test"] {
        assert!(notice.contains(part), "{part} in {notice}");
    }
    assert!(rig.mail("dora@example.test").is_empty());
    let listed = rig.store.list().await.unwrap();
    let lines: Vec<_> = listed.iter().map(|line| format!("{} {}", line.recipient, line.state)).collect();
    assert_eq!(lines, ["dora@example.test held", "sender@far.test held"]);
}

/// A large message goes back as its header.
#[tokio::test]
async fn large_messages() {
    let rig = Rig::new();
    let content = format!("Subject: large\r\n\r\n{}", "line\r\n".repeat(50_000));
    let envelope = Envelope {
        reverse_path: Some(Address { local: "sender".into(), domain: "example.test".into() }),
        received_at: 1,
        ..Envelope::default()
    };
    let mut incoming = rig.store.begin().unwrap();
    for piece in content.as_bytes().chunks(50_000) {
        if incoming.write(piece).unwrap() == Pressure::Flush {
            incoming.flush().await.unwrap();
        }
    }
    incoming.accept(envelope, b"Received: x\r\n".to_vec(), vec![entry("lost")]).await.unwrap();
    rig.run_until(|counts, _| counts.queued == 0).await;
    let notice = only(&rig, "sender@example.test");
    assert!(notice.contains("text/rfc822-headers") && notice.contains("Subject: large\r\n"), "{notice}");
    assert!(notice.len() < 5_000);
    let bodies = rig.folder.path().join("store/bodies");
    let files = fs::read_dir(bodies).unwrap().flatten().flat_map(|shard| fs::read_dir(shard.path()).unwrap());
    assert_eq!(files.count(), 0, "the message went with its entry");
}

/// A notice names an attempt only where there was one.
#[tokio::test]
async fn attempts_that_were_not_made() {
    let rig = Rig::new();
    let wanted = Some(Wanted { success: true, failure: true, delay: true });
    send(&rig, |_| {}, NewEntry { notify: wanted, ..entry("anna") }).await;
    let lease = rig.store.claim(now(), 1, LEASE).await.unwrap().remove(0);
    let (shared, config) = (rig.shared(), rig.config.load_full());
    let (hours, days) = (5 * 3_600_000, 30 * 86_400_000);
    let bounce = || Pending::Bounce { status: "5.7.1".into(), reason: "no".into() };
    let later = || End::Later { reason: "busy".into(), after: None };
    let failed = || End::Failed { status: "5.1.1".into(), reason: "who?".into() };
    let away = || End::Postponed(Wait { at: now() + 1000, reason: Some("nobody there can be reached".into()) });
    for (case, age, pending, end, action, tried) in [
        ("it arrived", 0, Pending::Nothing, End::Delivered, "Delivered", true),
        ("it is late", hours, Pending::Nothing, later(), "Delayed", true),
        ("it is late without a turn", hours, Pending::Nothing, away(), "Delayed", false),
        ("it failed", 0, Pending::Nothing, failed(), "Failed", true),
        ("it was tried for too long", days, Pending::Nothing, later(), "Failed", true),
        ("it waited for too long", days, Pending::Nothing, away(), "Failed", false),
        ("its time was over", hours, Pending::Nothing, End::Overdue, "Failed", false),
        ("it was refused", 0, bounce(), failed(), "Failed", false),
        ("others got it", 0, Pending::Expanded, End::Expanded, "Expanded", false),
    ] {
        let envelope = Envelope { received_at: now() - age, ..Envelope::clone(&lease.envelope) };
        let recipient = NewEntry { pending, ..lease.recipient.clone() };
        let lease = Lease { attempts: 7, envelope: Arc::new(envelope), recipient, ..lease.clone() };
        let ended = ending::outcome(&shared, &config, lease, end, None);
        assert_eq!(ended.attempts(), 7 + u32::from(tried), "{case}");
        let word = ended.word.expect(case);
        assert!(format!("{:?}", word.action).starts_with(action), "{case}: {word:?}");
        assert_eq!(word.attempt.is_some(), tried, "{case}: {word:?}");
    }
}
