//! The embedder's mistakes: each is refused, nothing is sent, and nothing has changed.

use std::{format, string::String, string::ToString, vec, vec::Vec};

use super::rig::{PLAIN, Rig, Wish, mail, options, recipient, transaction};
use crate::address::{ForwardPath, HostName, Mailbox};
use crate::client::{ByMode, DeliverBy, Need, Session, Transaction};
use crate::command::{OriginalRecipient, Recipient, Submitter};
use crate::step::Misuse;

fn ready() -> Rig {
    let mut rig = Rig::new(&options(), &[], PLAIN);
    rig.hear(b"220 mail.test\r\n");
    rig.hear(b"250-mail.test\r\n250-DSN\r\n250-AUTH PLAIN\r\n250-SMTPUTF8\r\n250 8BITMIME\r\n");
    rig.work();
    assert!(matches!(rig.need, Need::Ready(_)));
    rig
}

#[test]
fn nothing_that_is_given_forges_a_command() {
    let mailbox =
        |local: &str, host: &str| Mailbox { local: local.to_string(), host: HostName::Domain(host.to_string()) };
    let literal = |text: &str| Mailbox { local: "a".to_string(), host: HostName::Literal(text.to_string()) };
    let base = transaction("s@me.test", &["a@b.test"], b"x\r\n");
    let to = |mailbox: Mailbox| Transaction {
        recipients: vec![Recipient { path: ForwardPath::Mailbox(mailbox), notify: None, orcpt: None }],
        ..base.clone()
    };
    let by =
        |seconds, mode| Transaction { deliver_by: Some(DeliverBy { seconds, mode, trace: false }), ..base.clone() };
    let orcpt = |kind: &str, address: &str| {
        let mut transaction = base.clone();
        transaction.recipients[0].orcpt =
            Some(OriginalRecipient { address_type: kind.to_string(), address: address.to_string() });
        transaction
    };
    let evil = [
        to(mailbox("a\r\nDATA", "b.test")),
        to(mailbox("a\n", "b.test")),
        to(mailbox("a\0", "b.test")),
        to(mailbox("a\u{85}", "b.test")),
        to(mailbox("a", "b.test>\r\nRSET")),
        to(mailbox("a", "b.test> SIZE=1")),
        to(mailbox("a", "b.test>")),
        to(mailbox("a", "")),
        to(mailbox("a", "[127.0.0.1]")),
        to(mailbox(&"a".repeat(65), "b.test")),
        to(mailbox("a", &"b".repeat(300))),
        to(literal("127.0.0.1]> x")),
        to(literal("IPv6:::zz")),
        Transaction { sender: Some(mailbox("a\rb", "b.test")), ..base.clone() },
        Transaction { envid: Some("a\r\nb".to_string()), ..base.clone() },
        Transaction { envid: Some(String::new()), ..base.clone() },
        Transaction { envid: Some("\u{e4}".to_string()), ..base.clone() },
        Transaction { envid: Some("x".repeat(101)), ..base.clone() },
        Transaction { auth: Some(Submitter::Mailbox("a\r\n".to_string())), ..base.clone() },
        Transaction { priority: Some(10), ..base.clone() },
        Transaction { recipients: vec![], ..base.clone() },
        Transaction { recipients: vec![recipient("a@b.test"); 1001], ..base.clone() },
        by(-1, ByMode::Return),
        by(1_000_000_000, ByMode::Notify),
        orcpt("rfc 822", "a@b.test"),
        orcpt("rfc822;x", "a@b.test"),
        orcpt("", "a@b.test"),
        orcpt("rfc822", "a\r\nb"),
        orcpt("rfc822", ""),
    ];
    for transaction in evil {
        let mut rig = ready();
        let (sent, before) = (rig.sent.len(), rig.session().clone().freeze().unwrap());
        let outcome = rig.call(&[], |session, now| session.deliver(now, &transaction));
        assert!(matches!(outcome, Err(Misuse::BadValue(_))), "{transaction:?} gave {outcome:?}");
        assert_eq!((rig.sent.len(), rig.session().clone().freeze().unwrap()), (sent, before));
    }
    // What only looks evil is quoted.
    for (local, written) in [
        ("a> SIZE=1", "\"a> SIZE=1\""),
        ("a\"b\\c", "\"a\\\"b\\\\c\""),
        ("\"a\"", "\"\\\"a\\\"\""),
        ("", "\"\""),
        (".a", "\".a\""),
        ("a..b", "\"a..b\""),
        ("a@b", "\"a@b\""),
        ("@c,@d:a", "\"@c,@d:a\""),
        ("a.b+c=d", "a.b+c=d"),
    ] {
        let mut rig = ready();
        rig.call(&[], |session, now| session.deliver(now, &to(mailbox(local, "b.test")))).unwrap();
        rig.hear(b"250 ok\r\n");
        let line = format!("RCPT TO:<{written}@b.test>\r\n");
        assert!(
            rig.sent.ends_with(line.as_bytes()),
            "{line:?} is not the end of {:?}",
            rig.sent.escape_ascii().to_string()
        );
    }
}

#[test]
fn calls_out_of_their_order() {
    type Call = fn(&mut Session) -> Result<crate::client::Step, Misuse>;
    let deliver: Call = |session| session.deliver(1, &transaction("", &["a@b.test"], b""));
    let calls: [(&str, Call); 9] = [
        ("start", |session| session.start(1)),
        ("receive", |session| session.receive(1, b"")),
        ("secured", |session| session.secured(1)),
        ("tick", |session| session.tick(1)),
        ("lost", |session| session.lost(1)),
        ("login", |session| session.login(1, "PLAIN", None)),
        ("respond", |session| session.respond(1, b"")),
        ("deliver", deliver),
        ("content", |session| session.content(1, b"", true)),
    ];
    let states: [(&str, Session, &[&str]); 3] = [
        ("new", Session::new(options()), &["start"]),
        ("ready", ready().session().clone(), &["receive", "tick", "lost", "deliver"]),
        (
            "closed",
            {
                let mut rig = ready();
                rig.lose();
                rig.session().clone()
            },
            &[],
        ),
    ];
    for (state, session, allowed) in states {
        for (name, call) in calls {
            let mut other = session.clone();
            let outcome = call(&mut other);
            assert_eq!(outcome.is_ok(), allowed.contains(&name), "{name} in a session that is {state}: {outcome:?}");
            if outcome.is_err() {
                assert_eq!(other.freeze().unwrap(), session.clone().freeze().unwrap(), "{name}, {state}");
            }
        }
    }
    // No TLS: no AUTH, whatever is offered.
    assert!(matches!(ready().session().login(1, "PLAIN", None), Err(Misuse::BadState(_))));
    let mut session = Session::new(options());
    assert!(matches!(session.quit(1), Err(Misuse::NotStarted)));
}

#[test]
fn content_that_is_not_what_was_said_is_never_sent() {
    let Wish::Deliver(transaction, _) = mail(&["a@b.test"]) else { return };
    for content in [&b"x\n\n"[..], b"x\rx", b"\xff\r\n", b"xxxx", b"x", b"xx\r"] {
        let mut rig = ready();
        rig.call(&[], |session, now| session.deliver(now, &transaction)).unwrap();
        for reply in ["250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
            rig.hear(reply.as_bytes());
        }
        let sent = rig.sent.len();
        let outcome = rig.call(content, |session, now| session.content(now, content, true));
        assert!(matches!(outcome, Err(Misuse::BadValue(_))), "{content:?} gave {outcome:?}");
        assert_eq!(rig.sent.len(), sent);
        rig.call(&[], |session, now| session.quit(now)).unwrap();
        assert_eq!(rig.need, Need::Close);
        assert_eq!(rig.told(), ["0 Temporary Abandoned@Content 4.4.2"]);
        assert_eq!(rig.sent.len(), sent, "no dot, no QUIT: nothing that would end the content");
    }
}

#[test]
fn images_that_nobody_froze() {
    let bad = |image: &[u8]| Session::thaw(options(), image).is_err();
    assert!(bad(&[]) && bad(&[1]) && bad(&[0x81]));
    let image = ready().session().clone().freeze().unwrap();
    let longer: Vec<u8> = image.iter().copied().chain([0]).collect();
    assert!(bad(&longer) && bad(&image[..image.len() - 1]));
    for place in 0..image.len() {
        for bit in 0..8 {
            let mut other = image.clone();
            other[place] ^= 1 << bit;
            // It may be another session's, but it is one.
            if let Ok(mut session) = Session::thaw(options(), &other) {
                let _ = session.receive(5, b"250 x\r\n");
                let _ = session.tick(u64::MAX);
            }
        }
    }
}
