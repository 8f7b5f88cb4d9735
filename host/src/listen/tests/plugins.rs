//! Plugins within sessions: five recipients, five verdicts, and what each protocol makes of them.

use super::*;
use crate::{
    plugin::hook::{Hook, Message, Verdict},
    policy::chain::{
        Record,
        fake::{Fake, Log, append, chains, defer, reject},
    },
    store::Edit,
};

const MX: &str = "[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:0\"";
const LMTP: &str = "[[listener]]\nkind = \"lmtp\"\naddress = \"127.0.0.1:0\"";
const FIVE: &str = "recipients fine edited thrown later never\n";
const QUEUED: &str = "ok queued as 00000000000000000000000007\n";

/// By the recipient's name, after the content.
fn by_name(log: &Log) -> Option<Arc<Chains>> {
    let judge = Fake::make(log, "judge", &[Hook::Recipient, Hook::Message, Hook::RecipientMessage], |asked, wishes| {
        if asked.hook != Hook::RecipientMessage {
            return if asked.to == "early" { reject("not here") } else { Verdict::Proceed };
        }
        let content = asked.message.map(|Message { content, .. }| content.as_slice());
        assert_eq!(content, Some(&b"x"[..]));
        match asked.to {
            "edited" => {
                append(wishes, "X-Seen", "yes");
                Verdict::Accept
            }
            "thrown" => Verdict::Discard,
            "later" => defer("come again"),
            "never" => reject("go away"),
            _ => Verdict::Proceed,
        }
    });
    chains(vec![judge], &[("free@example.test", ""), ("*", "judge")])
}

fn entries(rig: &Rig) -> Vec<String> {
    let messages = rig.store.messages.lock();
    let all = messages.iter().flat_map(|(_, _, entries)| entries);
    let shown = all.map(|entry| {
        let (to, held) = (&entry.recipient.local, entry.held.as_deref().unwrap_or("-"));
        format!("{to} {held} {}", entry.edits.len())
    });
    shown.collect()
}

fn outcomes(rig: &Rig) -> Vec<String> {
    let verdicts = rig.store.verdicts.lock();
    let shown = verdicts.iter().flat_map(|verdicts| {
        let message = if verdicts.message.is_some() { "stored" } else { "-" };
        let records: Vec<Record> = serde_json::from_str(&verdicts.judged).unwrap();
        assert_eq!(records.len(), verdicts.recipients as usize);
        let shown = |record: Record| {
            format!("{message} {}: {}", record.recipient.trim_end_matches("@example.test"), record.outcome)
        };
        records.into_iter().map(shown).collect::<Vec<_>>()
    });
    shown.collect()
}

/// LMTP and PRDR: each recipient hears of its own fate, and there is no entry for whoever was not accepted.
#[tokio::test]
async fn each_recipient_is_answered() {
    for (listener, sender) in [(LMTP, "sender"), (MX, "prdr")] {
        let rig = Rig::with(listener, "", by_name(&Log::default()));
        let mut peer = rig.greeted().await;
        peer.say(format!("{sender} anna\n{FIVE}data\n")).await;
        peer.expect("ok\nok\nok\nok\nok\nok\nok\n").await;
        peer.say("body x\nmessage 5\n").await;
        peer.expect(&format!("{}451 4.7.1\n550 5.7.1\n", QUEUED.repeat(3))).await;
        assert_eq!(entries(&rig), ["fine - 0", "edited - 1"], "{sender}");
        let edit = Edit::Append(4, "X-Seen".into(), "yes".into());
        assert_eq!(rig.store.messages.lock()[0].2[1].edits, [edit]);
        assert_eq!(
            outcomes(&rig),
            [
                "stored fine: accepted",
                "stored edited: accepted",
                "stored thrown: accepted and discarded",
                "stored later: deferred by plugin judge: come again",
                "stored never: refused by plugin judge: go away",
            ]
        );
        // None of them: nothing is stored, and it is recorded all the same.
        peer.say(format!("{sender} anna\nrecipients later never thrown\ndata\n")).await;
        peer.expect("ok\nok\nok\nok\nok\n").await;
        peer.say("body x\nmessage 3\n").await;
        peer.expect("451 4.7.1\n550 5.7.1\nok accepted\n").await;
        assert_eq!(rig.store.messages.lock().len(), 1);
        assert_eq!(outcomes(&rig)[7], "- thrown: accepted and discarded");
    }
}

/// Plain SMTP has one reply; whoever is not accepted beside one who is gets an entry that is held.
#[tokio::test]
async fn one_answer_for_all() {
    for (recipients, answers, held) in [
        (
            "fine edited thrown later never",
            format!("{}451 4.7.1\n550 5.7.1\n", QUEUED.repeat(3)),
            vec![
                "fine - 0",
                "edited - 1",
                "later deferred by plugin judge: come again 0",
                "never refused by plugin judge: go away 0",
            ],
        ),
        ("thrown never", format!("{QUEUED}550 5.7.1\n"), vec!["never refused by plugin judge: go away 0"]),
        ("later never", "451 4.7.1\n550 5.7.1\n".into(), vec![]),
        ("never never", "550 5.7.1\n550 5.7.1\n".into(), vec![]),
        ("thrown thrown", "ok accepted\nok accepted\n".into(), vec![]),
        ("free fine", QUEUED.repeat(2), vec!["free - 0", "fine - 0"]),
        // One mailbox: whoever is accepted gets it, once.
        ("never+x fine never", format!("{}550 5.7.1\n", QUEUED.repeat(2)), vec!["never+x - 0", "fine - 0"]),
    ] {
        let rig = Rig::with(MX, "", by_name(&Log::default()));
        let mut peer = rig.greeted().await;
        let count = recipients.split(' ').count();
        peer.say(format!("sender anna\nrecipients {recipients}\ndata\n")).await;
        peer.expect(&"ok\n".repeat(count + 2)).await;
        peer.say(format!("body x\nmessage {count}\n")).await;
        peer.expect(&answers).await;
        assert_eq!(entries(&rig), held, "{recipients}");
        let judged = recipients.split(' ').filter(|name| *name != "free").count();
        assert_eq!(outcomes(&rig).len(), judged, "{recipients}");
        assert_eq!(rig.store.reads.load(SeqCst), 1);
    }
}

/// RCPT is refused where a plugin says so, each for itself; the content is not read if nobody wants to see it.
#[tokio::test]
async fn envelope_only() {
    let log = Log::default();
    let judge = Fake::make(&log, "judge", &[Hook::Sender, Hook::Recipient], |asked, _| {
        assert_eq!(asked.facts.listener_kind, "mx");
        assert_eq!(asked.facts.reverse_path.as_deref(), Some("anna@example.test"));
        assert_eq!(asked.facts.hello_name.as_deref(), Some("client.example"));
        match asked.to {
            "early" => reject("not here"),
            "grey" => defer("in a while"),
            _ => Verdict::Accept,
        }
    });
    let rig = Rig::with(MX, "", chains(vec![judge], &[("free@example.test", ""), ("*", "judge")]));
    let mut peer = rig.greeted().await;
    peer.say("hello client.example\nsender anna\nrecipients free\nrecipients early grey bob\ndata\n").await;
    // `sender` accepts for all of its recipients, and they are not asked one by one.
    peer.expect("ok\nok\nok\nok\nok\nok\nok\n").await;
    peer.say("body x\nmessage 4\n").await;
    peer.expect(&QUEUED.repeat(4)).await;
    assert_eq!(*log.lock(), ["judge new", "judge sender"]);
    assert_eq!(rig.store.reads.load(SeqCst), 0);
    assert_eq!(outcomes(&rig), ["stored early: accepted", "stored grey: accepted", "stored bob: accepted"]);
    let transactions: Vec<_> = rig.store.verdicts.lock().iter().map(|verdict| verdict.transaction.clone()).collect();
    let session = rig.store.messages.lock()[0].0.session.clone();
    assert_eq!(transactions, [format!("{session}.1")]);

    let rig = Rig::with(MX, "", by_name(&Log::default()));
    let mut peer = rig.greeted().await;
    peer.say("sender anna\nrecipients early fine\ndata\n").await;
    peer.expect("ok\n550 5.7.1\nok\nok\n").await;
    assert_eq!(outcomes(&rig), ["- early: refused by plugin judge: not here"]);
    peer.say("body x\nmessage 1\n").await;
    peer.expect(QUEUED).await;
    assert_eq!(entries(&rig), ["fine - 0"]);
}
