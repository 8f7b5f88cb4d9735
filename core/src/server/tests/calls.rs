//! What the embedder may do, and what it may not.

use std::string::ToString;
use std::vec;

use super::rig::{options, refusal};
use crate::question::{Answer, Question};
use crate::server::Session;
use crate::step::{Misuse, Need};

#[test]
fn misuse_changes_nothing() {
    let mut session = Session::new(options());
    assert_eq!(session.receive(0, b"NOOP\r\n"), Err(Misuse::NotStarted));
    assert_eq!(session.tick(0), Err(Misuse::NotStarted));
    assert_eq!(session.answer(0, Answer::Data(Ok(None))), Err(Misuse::NotStarted));
    let step = session.start(5).unwrap();
    assert_eq!((step.need, step.wake), (Need::Answer(Question::Connection), u64::MAX));
    assert!(matches!(session.start(5), Err(Misuse::BadState(_))));
    assert_eq!(session.receive(5, b"NOOP\r\n"), Err(Misuse::QuestionOpen));
    assert!(matches!(session.secured(5, vec![]), Err(Misuse::BadState(_))));
    assert_eq!(session.answer(5, Answer::Data(Ok(None))), Err(Misuse::WrongAnswer("connection".to_string())));
    for (code, subject) in [(250, 0), (399, 0), (600, 0), (550, 1000)] {
        let answer = Answer::Connection(Err(refusal(code, subject, 0, "no")));
        assert!(matches!(session.answer(5, answer), Err(Misuse::BadAnswer(_))), "{code}");
    }
    // A tick while a question is open tells the question again.
    assert_eq!(session.tick(u64::MAX - 1).unwrap().need, Need::Answer(Question::Connection));
    let step = session.answer(7, Answer::Connection(Ok(Some("at your\r\n250 service".to_string())))).unwrap();
    assert_eq!(step.transmit, b"220 mx.test ESMTP at your  250 service\r\n");
    assert_eq!(step.wake, 300_007);
    assert_eq!(session.answer(7, Answer::Connection(Ok(None))), Err(Misuse::NoQuestionOpen));
    let step = session.receive(8, b"HELO a\r\nMAIL FROM:<a@b.c>\r\n").unwrap();
    assert_eq!(step.consumed, 8);
    session.answer(8, Answer::Hello(Ok(None))).unwrap();
    session.receive(8, b"MAIL FROM:<a@b.c>\r\n").unwrap();
    session.answer(8, Answer::Sender(Ok(None))).unwrap();
    session.receive(8, b"RCPT TO:<a@b.c>\r\nRCPT TO:<b@b.c>\r\n").unwrap();
    let one = Answer::Recipients(vec![Ok(None)]);
    assert_eq!(session.answer(8, one), Err(Misuse::WrongAnswer("recipients, 2 of them".to_string())));
    session.answer(8, Answer::Recipients(vec![Ok(None), Ok(None)])).unwrap();
    session.receive(8, b"QUIT\r\n").unwrap();
    assert_eq!(session.receive(8, b""), Err(Misuse::Closed));
    assert_eq!(session.tick(8), Err(Misuse::Closed));
}

#[test]
fn before_tls_nothing_is_read() {
    let mut session = Session::new(options());
    session.start(0).unwrap();
    session.answer(0, Answer::Connection(Ok(None))).unwrap();
    let step = session.receive(0, b"STARTTLS\r\nNOOP\r\nMAIL").unwrap();
    assert_eq!((step.need, step.consumed), (Need::StartTls, 20));
    assert!(matches!(session.receive(0, b"NOOP\r\n"), Err(Misuse::BadState(_))));
    assert_eq!(session.secured(1, vec![]).unwrap().need, Need::Input);
    assert_eq!(session.receive(1, b"NOOP\r\n").unwrap().transmit, b"250 2.0.0 Ok\r\n");
}

#[test]
fn a_drain_waits_for_the_answer() {
    let mut session = Session::new(options());
    session.start(0).unwrap();
    let step = session.drain(0, refusal(421, 3, 2, "bye")).unwrap();
    assert_eq!((step.need, step.transmit.len()), (Need::Answer(Question::Connection), 0));
    assert!(matches!(session.drain(0, refusal(221, 0, 0, "bye")), Err(Misuse::BadAnswer(_))));
    let step = session.answer(0, Answer::Connection(Ok(None))).unwrap();
    assert_eq!(step.transmit, b"220 mx.test ESMTP\r\n421 4.3.2 bye\r\n");
    assert_eq!(step.need, Need::Close);
}

/// Values that no session has, in images that are otherwise whole.
#[test]
fn impossible_states_are_refused() {
    use crate::server::state::{Chunk, Counts, Phase, State, Transaction};
    use crate::syntax::data::Content;
    let image = |state: &State| postcard::to_extend(state, vec![2]).unwrap();
    let refused = |what: &str, state: State| {
        assert!(matches!(Session::thaw(options(), &image(&state)), Err(Misuse::BadImage(_))), "{what}: {state:?}");
    };
    let base = || State { phase: Phase::Command, ..State::default() };
    assert!(Session::thaw(options(), &image(&base())).is_ok());
    // The reader: what it holds, how long the line is, behind a CR, reported, too long, of BDAT.
    for (held, length, wanted) in [
        ("NOO", 3, true),
        ("", 5000, true),
        ("NOO", 4, false),
        ("NOO", 2, false),
        ("", 3, false),
        ("", u64::MAX, false),
        ("", u64::MAX - 1, false),
    ] {
        let reader = postcard::to_allocvec(&(held.as_bytes(), length, false, false, false)).unwrap();
        let state = State { reader: postcard::from_bytes(&reader).unwrap(), ..base() };
        assert_eq!(Session::thaw(options(), &image(&state)).is_ok(), wanted, "{held:?}, {length} octets");
    }
    let content = || Some(Transaction { content: Some(Content::new(false)), ..Transaction::default() });
    refused("content for nobody", State { phase: Phase::Data, transaction: content(), ..base() });
    let chunk = Chunk { left: 1, last: true, refused: None };
    refused("a chunk for nobody", State { phase: Phase::Chunk(chunk), transaction: content(), ..base() });
    refused("content without a transaction", State { phase: Phase::Data, ..base() });
    // These are odd, but do no harm.
    let counts = Counts { errors: u32::MAX, idle: u32::MAX, messages: u32::MAX, auth_failures: u32::MAX };
    let mut session = Session::thaw(options(), &image(&State { counts, ..base() })).unwrap();
    assert_eq!(session.receive(u64::MAX - 1, b"NOOP\r\n").unwrap().need, Need::Close);
}

#[test]
fn images_are_judged() {
    let mut session = Session::new(options());
    session.start(0).unwrap();
    let image = session.freeze().unwrap();
    assert!(Session::thaw(options(), &image).is_ok());
    let mut more = image.clone();
    more.push(0);
    let mut other = image.clone();
    other[0] = 200;
    for bad in [&[][..], &image[..1], &image[..image.len() - 1], &more, &other] {
        assert!(matches!(Session::thaw(options(), bad), Err(Misuse::BadImage(_))), "{bad:?}");
    }
}
