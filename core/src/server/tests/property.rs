//! For any input: where it is split changes nothing, freezing changes nothing, and nothing panics.

use std::string::{String, ToString};
use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::rig::{Pair, with};
use crate::question::{Answer, Kind, Question, Refusal, SaslAnswer, VerifyAnswer};
use crate::server::{Options, Protocol, Session};
use crate::step::{Need, Piece};

const PIECES: &[&str] = &[
    "EHLO a.example\r\n",
    "HELO a.example\r\n",
    "LHLO a.example\r\n",
    "EHLO\r\n",
    "MAIL FROM:<a@b.example>\r\n",
    "MAIL FROM:<a@b.example>\r\n",
    "MAIL FROM:<> BODY=BINARYMIME PRDR\r\n",
    "MAIL FROM:<ä@b.example> SMTPUTF8\r\n",
    "RCPT TO:<c@b.example>\r\n",
    "RCPT TO:<c@b.example>\r\n",
    "RCPT TO:<d@b.example>\r\n",
    "RCPT TO:<nobody@b.example>\r\n",
    "RCPT TO:<full@b.example>\r\n",
    "RCPT TO:<hates@b.example>\r\n",
    "RCPT TO:<disk@b.example>\r\n",
    "RCPT TO:<ö@b.example>\r\n",
    "RCPT TO:c\r\n",
    "RCPT\r\n",
    "DATA\r\n",
    "DATA\r\n",
    "BDAT 5\r\n",
    "BDAT 12\r\n",
    "BDAT 3 LAST\r\n",
    "BDAT 0 LAST\r\n",
    "BDAT 400\r\n",
    "BDAT x\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "VRFY ann\r\n",
    "HELP\r\n",
    "AUTH PLAIN\r\n",
    "AUTH LOGIN\r\n",
    "AUTH PLAIN AGFubgBzZWNyZXQ=\r\n",
    "AGFubgBzZWNyZXQ=\r\n",
    "YW5u\r\n",
    "*\r\n",
    "XCLIENT NAME=a\r\n",
    "text\r\n",
    "..\r\n",
    ".\r\n",
    ".\r\n",
    "\r\n.\r\n",
    "\r",
    "\n",
    "\r\n",
    ".",
    " ",
    "R",
    "\0",
    "ä",
];

fn kinds() -> impl Strategy<Value = Options> {
    (any::<bool>(), 1..5_u32, 3..30_u32).prop_map(|(lmtp, batch, errors)| {
        with(|options| {
            options.protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
            options.plaintext_mechanisms = vec!["PLAIN".to_string(), "LOGIN".to_string()];
            options.xclient = vec!["NAME".to_string()];
            options.start_tls = false;
            options.limits.recipient_batch = batch;
            options.limits.recipients = 5;
            options.limits.errors = errors;
            options.limits.message_size = 100;
        })
    })
}

/// Mostly sensible, so that it gets somewhere.
fn dialogue() -> impl Strategy<Value = Vec<u8>> {
    let usual = "EHLO a.example\r\nLHLO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@b.example>\r\n";
    let piece = prop_oneof![
        12 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => Just(usual.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(move |pieces| {
        let mut input = usual.as_bytes().to_vec();
        input.extend(pieces.into_iter().flatten());
        input
    })
}

fn run(options: &Options, input: &[u8], cuts: &[usize], icy: bool) -> Pair {
    let mut pair = Pair::new(options, icy);
    let mut rest = input;
    for cut in cuts {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        if pair.need == Need::Input {
            pair.send(piece);
        }
        rest = after;
    }
    if pair.need == Need::Input {
        pair.send(rest);
    }
    pair
}

/// How far recipients were asked about in advance is not compared where the session ended within a batch.
fn same(one: &Pair, other: &Pair) -> Result<(), TestCaseError> {
    prop_assert_eq!(String::from_utf8_lossy(&one.sent), String::from_utf8_lossy(&other.sent));
    prop_assert_eq!(&one.messages, &other.messages);
    prop_assert_eq!(&one.need, &other.need);
    prop_assert_eq!(one.abandoned, other.abandoned);
    if one.need != Need::Close {
        prop_assert_eq!(&one.asked, &other.asked);
        prop_assert_eq!(&one.events, &other.events);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn splits_change_nothing(options in kinds(), input in dialogue(), cuts in proptest::collection::vec(0..40_usize, 0..40)) {
        let whole = run(&options, &input, &[], false);
        same(&whole, &run(&options, &input, &cuts, false))?;
        same(&whole, &run(&options, &input, &vec![1; input.len()], false))?;
    }

    #[test]
    fn freezing_changes_nothing(options in kinds(), input in dialogue(), cuts in proptest::collection::vec(0..40_usize, 0..40)) {
        let plain = run(&options, &input, &cuts, false);
        let frozen = run(&options, &input, &cuts, true);
        same(&plain, &frozen)?;
        prop_assert_eq!(&plain.events, &frozen.events);
    }

    #[test]
    fn any_octets_do(options in kinds(), input in proptest::collection::vec(any::<u8>(), 0..3000), cut in 0..3000_usize) {
        same(&run(&options, &input, &[], false), &run(&options, &input, &[cut], true))?;
    }

    /// A damaged image is refused, or is some session: one that works without a panic.
    #[test]
    fn damaged_images_do_no_harm(
        options in kinds(), input in dialogue(), more in dialogue(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), prop_oneof![any::<u8>(), 0..8_u8, Just(255)]), 1..5),
    ) {
        let mut session = Session::new(options.clone());
        let mut step = session.start(0).unwrap();
        let mut rest = input.as_slice();
        for _ in 0..60 {
            step = match step.need {
                Need::Answer(question) => session.answer(1, yes(&question)).unwrap(),
                Need::Input if !rest.is_empty() => session.receive(1, rest).unwrap(),
                _ => break,
            };
            rest = &rest[step.consumed as usize..];
        }
        let mut image = session.freeze().unwrap();
        for (at, value) in changes {
            let at = at.index(image.len());
            image[at] = value;
        }
        let Ok(mut session) = Session::thaw(options, &image) else { return Ok(()) };
        let mut rest = more.as_slice();
        for _ in 0..60 {
            let outcome = match session.tick(2) {
                Err(_) => break,
                Ok(step) => match step.need {
                    Need::Answer(question) => session.answer(1, yes(&question)),
                    Need::Input => session.receive(2, rest),
                    _ => break,
                },
            };
            let Ok(step) = outcome else { break };
            for piece in &step.body {
                if let Piece::Range { offset, length } = piece {
                    prop_assert!((*offset + *length) as usize <= rest.len());
                }
            }
            rest = &rest[step.consumed as usize..];
        }
    }
}

/// Anything an embedder may do, sensible or not.
#[derive(Clone, Debug)]
enum Call {
    Start,
    Receive(Vec<u8>),
    Secured(String),
    Tick,
    Drain(Refusal),
    Yes(String),
    No(Refusal),
    Wrong(Answer),
}

fn call() -> impl Strategy<Value = Call> {
    let text = || prop_oneof!["[ -~]{0,8}", "[\r\n.250 ä\u{2028}]{0,30}", "(250 x\r\n|ä){0,600}"];
    let refusal = move || {
        (prop_oneof![4 => 400..600_u16, 1 => any::<u16>()], 0..1200_u16, 0..1200_u16, text())
            .prop_map(|(code, subject, detail, text)| Refusal { code, subject, detail, text })
    };
    prop_oneof![
        1 => Just(Call::Start),
        8 => dialogue().prop_map(Call::Receive),
        1 => text().prop_map(Call::Secured),
        1 => Just(Call::Tick),
        1 => refusal().prop_map(Call::Drain),
        20 => text().prop_map(Call::Yes),
        3 => refusal().prop_map(Call::No),
        1 => Just(Call::Wrong(Answer::Data(Ok(None)))),
        1 => Just(Call::Wrong(Answer::Message(vec![]))),
        1 => Just(Call::Wrong(Answer::Recipients(vec![Ok(None); 2]))),
        1 => Just(Call::Wrong(Answer::Sasl(SaslAnswer::Challenge(vec![0; 20_000])))),
    ]
}

/// The same answer to any question.
fn answer(question: &Question, text: &str, refusal: Option<&Refusal>) -> Answer {
    let decision = || refusal.map_or_else(|| Ok(Some(text.to_string())), |refusal| Err(refusal.clone()));
    match (question, refusal) {
        (Question::Connection, _) => Answer::Connection(decision()),
        (Question::Hello(_), _) => Answer::Hello(decision()),
        (Question::Xclient(_), _) => Answer::Xclient(decision()),
        (Question::Sasl(_), Some(refusal)) => Answer::Sasl(SaslAnswer::Refused(refusal.clone())),
        (Question::Sasl(_), None) => Answer::Sasl(SaslAnswer::Authenticated(text.to_string())),
        (Question::Sender(_), _) => Answer::Sender(decision()),
        (Question::Recipients(recipients), _) => Answer::Recipients(vec![decision(); recipients.len()]),
        (Question::Verify(_), Some(refusal)) => Answer::Verify(VerifyAnswer::Refused(refusal.clone())),
        (Question::Verify(_), None) => Answer::Verify(VerifyAnswer::Known(text.to_string())),
        (Question::Data, _) => Answer::Data(decision()),
        (Question::Message(facts), _) => Answer::Message(vec![decision(); facts.recipients as usize]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is called with whatever texts: misuse changes nothing, replies are framed, and a step is possible.
    #[test]
    fn any_calls_do(
        options in kinds(), tls in any::<bool>(), name in "[ -~ä\r\n]{0,300}",
        calls in proptest::collection::vec((call(), 0..100_000_u64), 0..60),
    ) {
        let options = Options { start_tls: tls, server_name: name, ..options };
        let mut session = Session::new(options);
        let mut question = None;
        let mut now = 0;
        for (call, later) in [(Call::Start, 0), (Call::Yes(String::new()), 0)].into_iter().chain(calls) {
            now += later;
            let before = session.clone().freeze().unwrap();
            let mut given = vec![];
            let outcome = match call.clone() {
                Call::Start => session.start(now),
                Call::Receive(input) => { given = input; session.receive(now, &given) }
                Call::Secured(mechanism) => session.secured(now, vec![mechanism; 100]),
                Call::Tick => session.tick(now),
                Call::Drain(refusal) => session.drain(now, refusal),
                Call::Yes(text) => session.answer(now, answer(question.as_ref().unwrap_or(&Question::Data), &text, None)),
                Call::No(refusal) => session.answer(now, answer(question.as_ref().unwrap_or(&Question::Data), "", Some(&refusal))),
                Call::Wrong(answer) => session.answer(now, answer),
            };
            let Ok(step) = outcome else {
                prop_assert_eq!(session.clone().freeze().unwrap(), before, "{:?}", call);
                continue;
            };
            prop_assert!(step.transmit.is_empty() || step.transmit.ends_with(b"\r\n"));
            let sent = String::from_utf8(step.transmit).unwrap();
            for line in sent.split_terminator("\r\n") {
                let start = line.as_bytes();
                prop_assert!(line.len() <= 510 && !line.chars().any(|c| c.is_control() || c == '\u{2028}'), "{:?}", line);
                prop_assert!(start[..3].iter().all(u8::is_ascii_digit) && matches!(start[3], b' ' | b'-'), "{:?}", line);
            }
            let last = sent.split_terminator("\r\n").last();
            prop_assert!(last.is_none_or(|last| last.as_bytes()[3] == b' '), "{:?}", sent);
            prop_assert!(step.consumed as usize <= given.len());
            prop_assert!(step.need != Need::Input || step.consumed as usize == given.len());
            prop_assert!(step.consumed > 0 || given.is_empty() || step.need == Need::Close);
            let mut end = 0;
            for piece in &step.body {
                if let Piece::Range { offset, length } = piece {
                    prop_assert!(*offset >= end);
                    end = offset + length;
                }
            }
            prop_assert!(end <= step.consumed);
            prop_assert!(step.events.iter().all(|event| !event.detail.chars().any(char::is_control)));
            prop_assert!(matches!(step.need, Need::Input | Need::StartTls) || step.wake == u64::MAX);
            if step.wake <= now {
                prop_assert_eq!(session.clone().tick(now).unwrap().need, Need::Close, "what is due is dealt with");
            }
            question = match step.need { Need::Answer(question) => Some(question), _ => None };
        }
    }
}

fn yes(question: &Question) -> Answer {
    question.yes().map_or_else(|| Answer::Sasl(SaslAnswer::Challenge(vec![])), |(_, answer)| answer)
}

/// What the peer is sent, and each message's content, where every answer is yes.
fn agree(options: &Options, input: &[u8]) -> (String, Vec<Vec<u8>>) {
    let mut session = Session::new(options.clone());
    let mut step = session.start(0).unwrap();
    let (mut sent, mut messages, mut body) = (String::new(), vec![], vec![]);
    let mut rest = input;
    let mut given: &[u8] = &[];
    loop {
        sent.push_str(core::str::from_utf8(&step.transmit).unwrap());
        if step.abandoned {
            body.clear();
        }
        for piece in &step.body {
            match piece {
                Piece::Range { offset, length } => {
                    body.extend_from_slice(&given[*offset as usize..(*offset + *length) as usize]);
                }
                Piece::Octets(octets) => body.extend_from_slice(octets),
            }
        }
        rest = &rest[step.consumed as usize..];
        given = &[];
        step = match &step.need {
            Need::Answer(question) => {
                if matches!(question, Question::Message(_)) {
                    messages.push(core::mem::take(&mut body));
                }
                session.answer(1, yes(question)).unwrap()
            }
            Need::Input if !rest.is_empty() => {
                given = rest;
                session.receive(1, rest).unwrap()
            }
            _ => return (sent, messages),
        };
    }
}

const KINDS: [Kind; 8] = [
    Kind::Data,
    Kind::Sender,
    Kind::Recipients,
    Kind::Hello,
    Kind::Connection,
    Kind::Xclient,
    Kind::Verify,
    Kind::Message,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Who is not asked has said yes, and still knows whose content is whose.
    #[test]
    fn not_to_be_asked_is_to_say_yes(options in kinds(), input in dialogue(), unasked in proptest::sample::subsequence(&KINDS[..], 0..=8)) {
        let (sent, messages) = agree(&options, &input);
        let silent = agree(&Options { unasked: unasked.clone(), ..options }, &input);
        prop_assert_eq!(&sent, &silent.0);
        if !unasked.contains(&Kind::Message) {
            prop_assert_eq!(&messages, &silent.1);
        }
    }
}
