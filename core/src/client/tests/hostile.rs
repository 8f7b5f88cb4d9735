//! Peers that mean no good, at every point where a reply is awaited.

use std::{format, string::String, string::ToString, vec, vec::Vec};

use super::rig::{How, Rig, Wish, mail, options, with};
use crate::client::{Fault, Limits, Need};

/// What a peer says to have each stage reached.
const SAYS: [&str; 6] = [
    "220 mail.test\r\n",
    "250-mail.test\r\n250 PIPELINING\r\n",
    "250 ok\r\n",
    "250 ok\r\n",
    "354 go\r\n",
    "250 queued\r\n",
];

/// The session with what comes instead of the reply of this number, and what became of it.
fn met(stage: usize, octets: &[u8], piece: usize) -> Rig {
    let how = How { icy: false, piece, content: usize::MAX };
    let mut rig = Rig::new(&options(), &[mail(&["a@b.test"])], how);
    for said in &SAYS[..stage] {
        rig.hear(said.as_bytes());
        rig.work();
    }
    rig.hear(octets);
    rig.work();
    rig
}

#[test]
fn whatever_comes_ends_the_session_and_nothing_else() {
    let many = "250-x\r\n".repeat(300);
    let table: [(&str, Vec<u8>, Fault); 11] = [
        ("an endless line", vec![b'2'; 70_000], Fault::TooMuch),
        ("a long line", [b"250 ", &[b'x'; 3000][..], b"\r\n"].concat(), Fault::TooMuch),
        ("an endless reply", many.into_bytes(), Fault::TooMuch),
        ("long lines without end", format!("250-{}\r\n", "x".repeat(2000)).repeat(40).into_bytes(), Fault::TooMuch),
        ("different codes in a reply", b"250-a\r\n220 b\r\n".to_vec(), Fault::BadReply),
        ("no reply", b"hello there\r\n".to_vec(), Fault::BadReply),
        ("NUL", b"\0\0\0\0\r\n".to_vec(), Fault::BadReply),
        ("octets above 127", b"\xff\xfe\xfd\r\n".to_vec(), Fault::BadReply),
        ("a bare LF", b"250 ok\n".to_vec(), Fault::BadReply),
        ("a code of no class", b"199 what\r\n".to_vec(), Fault::BadReply),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n".to_vec(), Fault::BadReply),
    ];
    for (name, octets, fault) in &table {
        for stage in 0..SAYS.len() {
            let mut seen: Vec<(Vec<String>, Vec<u8>)> = vec![];
            for piece in [usize::MAX, 1, 100] {
                if piece == 1 && octets.len() > 10_000 && stage % 2 == 1 {
                    continue;
                }
                let rig = met(stage, octets, piece);
                assert_eq!(rig.need, Need::Close, "{name} at stage {stage}");
                assert_eq!(rig.failure.as_ref().map(|failure| failure.fault), Some(*fault), "{name} at stage {stage}");
                assert_eq!(rig.outcomes.len(), usize::from(stage > 1), "{name} at stage {stage}");
                seen.push((rig.told(), rig.sent));
            }
            assert!(seen.windows(2).all(|two| two[0] == two[1]), "{name} at stage {stage}: {seen:?}");
        }
    }
}

#[test]
fn a_code_that_does_not_fit_is_a_temporary_failure() {
    // What each reply must not be.
    let wrong: [&[u16]; 6] =
        [&[250, 200, 354], &[220, 251, 354], &[354, 334], &[354, 334], &[250, 235, 334], &[354, 353]];
    for (stage, codes) in wrong.iter().enumerate() {
        for code in *codes {
            let rig = met(stage, format!("{code} what\r\n").as_bytes(), usize::MAX);
            let told = rig.told();
            assert!(rig.need == Need::Close && told.last().unwrap().starts_with("BadReply@"), "{code}: {told:?}");
            let fate = if stage == 5 { "Unknown" } else { "Temporary" };
            assert!(stage < 2 || told[0].starts_with(&format!("0 {fate} BadReply@")), "{code}: {told:?}");
        }
    }
}

#[test]
fn a_reply_to_nothing_ends_the_session() {
    let mut rig = met(2, b"250 ok\r\n250 ok\r\n354 go\r\n", usize::MAX);
    rig.hear(b"250 queued\r\n250 and one more\r\n");
    assert_eq!(rig.told(), ["0 Accepted Reply@Message 2.0.0", "BadReply@Idle"]);
    // Half a reply that came too early is not taken for the answer to what follows.
    let mut rig = met(2, b"250 ok\r\n250 ok\r\n354 go\r\n", usize::MAX);
    rig.hear(b"250 queued\r\n250 o");
    let Wish::Deliver(transaction, _) = mail(&["a@b.test"]) else { return };
    rig.call(&[], |session, now| session.deliver(now, &transaction)).unwrap();
    assert_eq!(rig.told()[1..], ["0 Temporary BadReply@Idle 4.5.0", "BadReply@Idle"]);
}

#[test]
fn a_reply_before_the_end_of_the_content_is_the_last_word() {
    for (reply, told) in [
        ("552 5.3.4 too much", ["0 Permanent Reply@Content 5.3.4", "Refused@Content"]),
        ("451 4.3.0 disk", ["0 Temporary Reply@Content 4.3.0", "Refused@Content"]),
        ("421 4.3.2 bye", ["0 Temporary Reply@Content 4.3.2", "Leaving@Content"]),
        ("250 what", ["0 Temporary BadReply@Content 4.5.0", "BadReply@Content"]),
    ] {
        let mut rig = met(4, b"", usize::MAX);
        rig.hear(SAYS[4].as_bytes());
        assert_eq!(rig.need, Need::Content);
        rig.call(b"x\r", |session, now| session.content(now, b"x\r", false)).unwrap();
        rig.hear(format!("{reply}\r\n").as_bytes());
        assert_eq!((rig.told(), rig.need), (told.map(ToString::to_string).to_vec(), Need::Close), "{reply}");
        assert!(!rig.sent.ends_with(b".\r\n"), "what is not complete never looks complete");
    }
}

#[test]
fn octets_that_trickle_do_not_put_a_timer_off() {
    let mut rig = Rig::new(&options(), &[], How { icy: true, piece: usize::MAX, content: usize::MAX });
    for _ in 0..299 {
        rig.now += 1000;
        rig.hear(b"2");
        if rig.need == Need::Close {
            break;
        }
        assert_eq!(rig.wake, 301_000, "the greeting has its time, whatever trickles in");
    }
    rig.now += 1000;
    rig.hear(b"2");
    assert_eq!(rig.told(), ["TimedOut@Greeting"]);
}

#[test]
fn all_replies_together_are_bounded() {
    let little = with(|options| options.limits = Limits { received: 100, ..Limits::default() });
    let mut rig = Rig::new(&little, &[], How { icy: false, piece: 10, content: usize::MAX });
    rig.hear(format!("220 {}\r\n", "x".repeat(50)).as_bytes());
    rig.hear(format!("250 {}\r\n", "x".repeat(50)).as_bytes());
    assert_eq!(rig.told(), ["TooMuch@Hello"]);
}

#[test]
fn what_is_told_of_a_reply_is_bounded() {
    let mut reply = String::new();
    for _ in 0..30 {
        reply += &format!("550-5.1.1 {}\u{1b}[2J\0\r\n", "ä".repeat(500));
    }
    let rig = met(2, (reply + "550 5.1.1 no\r\n").as_bytes(), usize::MAX);
    let told = rig.outcomes[0].reply.as_ref().unwrap();
    assert!(told.text.len() <= 1024 + 5 && told.text.ends_with("..."), "{}", told.text.len());
    assert!(!told.text.contains(char::is_control) && told.text.starts_with('ä'));
}
