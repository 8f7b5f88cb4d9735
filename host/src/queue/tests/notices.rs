//! Who is told of failures, delays and deliveries, and who is not.

use super::*;
use crate::store::Notify as Wanted;

/// A message from this sender to `lost`, which has no mailbox any more.
async fn send(rig: &Rig, change: impl FnOnce(&mut Envelope), entry: NewEntry) {
    let mut envelope = Envelope {
        reverse_path: Some(Address { local: "sender".into(), domain: "example.test".into() }),
        received_at: now(),
        ..Envelope::default()
    };
    change(&mut envelope);
    let mut incoming = rig.store.begin().unwrap();
    let _ = incoming.write(b"Subject: hello\r\n\r\nbody\r\n").unwrap();
    incoming.accept(envelope, b"Received: x\r\n".to_vec(), vec![entry]).await.unwrap();
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
