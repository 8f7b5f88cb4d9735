//! Sessions on the operator's terms: refusals at MAIL, recipients that come apart, copies that are sent on, and room for
//! what plugins look at.

use super::{
    plugins::{LMTP, MX, QUEUED, entries, outcomes, sealed},
    *,
};
use crate::{
    plugin::hook::{Hook, Verdict},
    policy::chain::fake::{Fake, Log, chains, chains_refusing, defer, reject},
};

#[tokio::test]
async fn refused_at_mail() {
    for (listener, verdict, told) in [
        (format!("{MX}\nearly-refusal = true"), reject("go away"), Some("550 5.7.1\n")),
        (format!("{LMTP}\nearly-refusal = true"), defer("not now"), Some("451 4.7.1\n")),
        (MX.into(), reject("go away"), None),
    ] {
        let log = Log::default();
        let said = verdict.clone();
        let judge = Fake::make(&log, "judge", &[Hook::Connection, Hook::Sender], move |asked, _| {
            if asked.hook == Hook::Sender { said.clone() } else { Verdict::Proceed }
        });
        let rig = Rig::with(&listener, "", chains(vec![judge], &[("free@example.test", ""), ("*", "judge")]));
        let mut peer = rig.greeted().await;
        peer.say("sender anna\nrecipients free bob\n").await;
        match told {
            // There is no transaction, whoever the recipients are.
            Some(told) => {
                peer.expect(&format!("{told}451 4.3.0\n451 4.3.0\n")).await;
                let outcome = outcomes(&rig).remove(0);
                assert!(outcome.starts_with("- (everybody): at MAIL, "), "{outcome}");
            }
            None => {
                peer.expect("ok\nok\n550 5.7.1\n").await;
                assert_eq!(outcomes(&rig), ["- bob: refused by plugin judge: go away"]);
            }
        }
        assert_eq!(*log.lock(), ["judge new", "judge connection", "judge sender"]);
    }
}

/// What is sent on has an entry of its own, and the record says how it was judged.
#[tokio::test]
async fn sent_on() {
    let log = Log::default();
    let forwards = Fake::make(&log, "f", &[Hook::Recipient], |asked, wishes| {
        let to = match asked.to {
            "list" => &["open", "closed", "busy", "list2"][..],
            "list2" => &["list"],
            "shut" => &["closed"],
            _ => return Verdict::Proceed,
        };
        wishes.redirect = Some(to.iter().map(|name| format!("{name}@example.test")).collect());
        Verdict::Proceed
    });
    let guard = Fake::make(&log, "guard", &[Hook::RecipientMessage], |asked, _| match asked.to {
        "closed" => reject("members only"),
        "busy" => defer("full"),
        _ => Verdict::Proceed,
    });
    let rig = Rig::with(LMTP, "", chains(vec![forwards, guard], &[("list*@example.test", "f"), ("*", "f guard")]));
    let mut peer = rig.greeted().await;
    peer.say("sender anna\nrecipients list shut\ndata\nbody x\nmessage 2\n").await;
    peer.expect(&format!("ok\nok\nok\nok\n{QUEUED}550 5.7.1\n")).await;
    assert_eq!(
        entries(&rig),
        [
            "open - 1",
            "closed quarantined: refused by plugin guard: members only 1",
            "busy again: deferred by plugin guard: full 1",
            "list2 sent on to \"list@example.test\" by plugin f: it goes in a circle 1",
        ]
    );
    let verdicts = rig.store.verdicts.lock();
    let records: Vec<crate::policy::chain::Record> = serde_json::from_str(&verdicts[0].judged).unwrap();
    let copies: Vec<_> = records[0].copies.iter().map(|copy| format!("{}: {}", copy.recipient, copy.outcome)).collect();
    assert_eq!(
        copies,
        [
            "open@example.test: accepted",
            "closed@example.test: accepted with others and quarantined: refused by plugin guard: members only",
            "busy@example.test: accepted with others and judged again later: deferred by plugin guard: full",
            "list2@example.test: accepted; redirected by plugin f to list@example.test",
        ]
    );
    assert_eq!(records[0].copies[0].steps.len(), 2, "{:?}", records[0].copies[0]);
    assert_eq!(records[0].copies[3].copies[0].outcome, "held for whom it was sent on from: it goes in a circle");
    assert_eq!(
        records[1].outcome,
        "refused by plugin guard: members only; redirected by plugin f to closed@example.test"
    );
}

/// The sum of messages that plugins look at is bounded over all sessions; who waits too long is told to come again.
#[tokio::test]
async fn room_for_content() {
    let shared: Arc<std::sync::OnceLock<Arc<Shared>>> = Arc::default();
    let inside = shared.clone();
    let judge = Fake::make(&Log::default(), "judge", &[Hook::RecipientMessage], move |_, _| {
        assert_eq!(inside.get().unwrap().room.free(), 0, "the message is in it");
        Verdict::Proceed
    });
    let routes = [("free@example.test", ""), ("*", "judge")];
    let rig = Rig::with(MX, "[limits]\njudged-content = 65_536\n", chains(vec![judge], &routes));
    assert!(shared.set(rig.shared.clone()).is_ok());
    let send = async |name: &str, told: &str| {
        let mut peer = rig.greeted().await;
        peer.say(format!("sender anna\nrecipients {name}\ndata\nbody x\nmessage 1\n")).await;
        peer.expect(&format!("ok\nok\nok\n{told}")).await;
    };
    // The engine says of each message that it has one octet, which is a 64th of the room.
    let all_but_one = rig.shared.room.take(63 * 1024).await.unwrap();
    send("bob", QUEUED).await;
    let last = rig.shared.room.take(1).await.unwrap();
    send("bob", "451 4.3.1\n").await;
    send("free", QUEUED).await;
    drop(last);
    send("bob", QUEUED).await;
    drop(all_but_one);
    assert_eq!(rig.shared.room.free(), 64, "all of it was given back");
}

/// Real sessions with clients that answer 452 in two ways.
#[tokio::test(flavor = "multi_thread")]
async fn recipients_come_apart() {
    let log = Log::default();
    let judge = |name| Fake::make(&log, name, &[Hook::RecipientMessage], |_, _| Verdict::Proceed);
    let routes = [("a*@example.test", "a", "split"), ("b*@example.test", "b", "split")];
    let server = sealed::start(chains_refusing(vec![judge("a"), judge("b")], &routes));
    let send = async |kind: Kind, parameters: &str, to: &[&str]| -> String {
        let hello = if kind == Kind::Lmtp { "LHLO c.example" } else { "EHLO c.example" };
        let mail = format!("MAIL FROM:<s@far.test>{parameters}");
        let rcpt: Vec<_> = to.iter().map(|name| format!("RCPT TO:<{name}@example.test>")).collect();
        let mut lines = vec![hello, &mail];
        lines.extend(rcpt.iter().map(String::as_str));
        lines.extend(["DATA", "Subject: x\r\n\r\nhello\r\n.", "QUIT"]);
        let heard = sealed::converse(server.connect(kind).await, &lines).await;
        heard[3..3 + to.len()].join(", ")
    };
    let (yes, apart) = ("250 2.1.5", "452 4.5.3");
    // A client that sends to the rest: everybody gets it once, and nothing is remembered.
    for times in 1..4 {
        assert_eq!(send(Kind::Mx, "", &["a1", "b1", "a2"]).await, [yes, apart, yes].join(", "));
        assert_eq!(send(Kind::Mx, "", &["b1"]).await, yes);
        for name in ["a1", "a2", "b1"] {
            assert_eq!(server.copies(name).await.len(), times, "{name}");
        }
    }
    // One that sends to all again comes through at last.
    for told in [apart, apart, yes] {
        assert_eq!(send(Kind::Mx, "", &["a3", "b3"]).await, [yes, told].join(", "));
    }
    assert_eq!(server.copies("b3").await.len(), 1);
    // Where each recipient has its own answer nobody need come again.
    assert_eq!(send(Kind::Mx, " PRDR", &["a4", "b4"]).await, [yes, yes].join(", "));
    assert_eq!(send(Kind::Lmtp, "", &["a4", "b4"]).await, [yes, yes].join(", "));
    server.stop().await;
}
