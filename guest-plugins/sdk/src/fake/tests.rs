//! The fake keeps the rules of `wit/plugin`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::{body, edit, facts, forwarding, header, keyvalue, scratch};

const MAIL: &str = "Received: from far\n by near\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n folded\nFrom: a@b\n\nHello\n";

#[test]
fn the_header_is_seen_as_it_is_written_and_as_text() {
    let mut fake = Fake::new();
    fake.message(MAIL).run(|| {
        let all: Vec<String> = header::fields("").into_iter().map(|field| field.name).collect();
        assert_eq!(all, ["Received", "Subject", "From"]);
        assert_eq!(header::fields("subject")[0].value, b"=?utf-8?q?Gr=C3=BC=C3=9Fe?= folded");
        assert_eq!(header::text("SUBJECT"), ["Grüße folded"]);
        assert_eq!(body::read(0, 100), b"Hello\n");
        assert_eq!(body::read(3, 2), b"lo");
        assert!(body::read(6, 100).is_empty());
    });
}

#[test]
fn an_edit_moves_no_id_and_later_hooks_see_it() {
    let mut fake = Fake::new();
    fake.message(MAIL).run(|| {
        let subject = header::fields("Subject")[0].id;
        let from = header::fields("From")[0].id;
        let new = edit::prepend("X-New", "1").expect("prepend");
        edit::remove(subject).expect("remove");
        edit::replace(from, "c@d").expect("replace");
        edit::append("X-Last", "2").expect("append");
        assert_eq!(header::fields("x-new")[0].id, new);
        assert_eq!(header::text("From"), ["c@d"]);
        assert_eq!(edit::remove(subject).map_err(|fault| fault.code), Err(Fault::NOT_FOUND));
    });
    assert_eq!(fake.header(), "X-New: 1\r\nReceived: from far\r\n by near\r\nFrom: c@d\r\nX-Last: 2\r\n");
    assert_eq!(fake.used(), ["edit", "header"]);
}

#[test]
fn nothing_can_be_smuggled_into_the_header() {
    for (name, value, code) in [
        ("A B", "x", Fault::INVALID),
        ("", "x", Fault::INVALID),
        ("X:", "x", Fault::INVALID),
        ("X", "a\r\nB: c", Fault::INVALID),
        ("X", "a\nB: c", Fault::INVALID),
        ("X", "\0", Fault::INVALID),
        ("X", "a\u{2028}b", Fault::INVALID),
        ("X", &"x".repeat(65_537), Fault::LIMIT),
        ("Received", "x", Fault::NOT_GRANTED),
        ("return-path", "x", Fault::NOT_GRANTED),
    ] {
        let mut fake = Fake::new();
        let answer = fake.message(MAIL).run(|| edit::append(name, value).map_err(|fault| fault.code));
        assert_eq!(answer, Err(code), "{name:?}: {value:.20?}");
        assert!(fake.edits().is_empty(), "{name:?}: {value:.20?}");
    }
    let trace = Fake::new().message(MAIL).run(|| edit::remove(header::fields("Received")[0].id));
    assert_eq!(trace.map_err(|fault| fault.code), Err(Fault::NOT_GRANTED));
}

#[test]
fn key_values_expire_and_counters_keep_their_window() {
    let mut fake = Fake::new();
    fake.run(|| {
        keyvalue::set("a", b"1", 10).expect("set");
        assert_eq!(keyvalue::increment("n", 2, 60), Ok(2));
    });
    fake.wait(9).run(|| {
        assert_eq!(keyvalue::get("a"), Ok(Some(b"1".to_vec())));
        assert_eq!(keyvalue::increment("n", 1, 60), Ok(3));
    });
    fake.wait(1).run(|| assert_eq!(keyvalue::get("a"), Ok(None)));
    fake.wait(50).run(|| assert_eq!(keyvalue::increment("n", 1, 60), Ok(1), "the window began with the counter"));
    fake.fault("keyvalue", Fault::UNAVAILABLE);
    assert_eq!(fake.run(|| keyvalue::get("n")).map_err(|fault| fault.code), Err(Fault::UNAVAILABLE));
    assert_eq!(fake.repair("keyvalue").run(|| keyvalue::get("n")), Ok(Some(b"1".to_vec())));
}

#[test]
fn forwarding_is_granted_by_domain() {
    let mut fake = Fake::new();
    fake.forward_domains(&["here.example"]);
    let codes = fake.run(|| {
        [
            forwarding::add("a@HERE.example"),
            forwarding::add("a@there.example"),
            forwarding::redirect(&["b@here.example".into(), "c".into()]),
            forwarding::redirect(&[]),
        ]
        .map(|answer| answer.map_err(|fault| fault.code))
    });
    assert_eq!(codes, [Ok(()), Err(Fault::NOT_GRANTED), Err(Fault::INVALID), Err(Fault::INVALID)]);
    assert_eq!(fake.forwards(), [Forward::Add("a@HERE.example".into())]);
}

#[test]
fn scratch_lasts_for_a_transaction_and_is_bounded() {
    let mut fake = Fake::new();
    fake.run(|| {
        assert_eq!(scratch::set("x", &vec![0; 70_000]).map_err(|fault| fault.code), Err(Fault::LIMIT));
        scratch::set("x", b"1").expect("it fits");
    });
    fake.run(|| assert_eq!(scratch::get("x"), Some(b"1".to_vec())));
    fake.next_transaction().run(|| assert_eq!(scratch::get("x"), None));
}

#[test]
fn the_size_is_announced_until_it_is_known() {
    let mut fake = Fake::new();
    assert_eq!(fake.announced_size(77).run(facts::message_size), 77);
    assert_eq!(fake.message("A: b\r\n\r\nc").run(facts::message_size), 9);
}

#[test]
#[should_panic(expected = "outside of `Fake::run`")]
fn without_a_host_nobody_answers() {
    facts::now();
}
