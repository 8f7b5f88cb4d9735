//! For any input: where it is split changes nothing, freezing changes nothing, and nothing panics.

use std::string::{String, ToString};
use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::rig::{Pair, with};
use crate::question::{Answer, SaslAnswer, VerifyAnswer};
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
        options in kinds(), input in dialogue(), at in any::<proptest::sample::Index>(), value in any::<u8>(), more in dialogue(),
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
        let at = at.index(image.len());
        image[at] = value;
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

fn yes(question: &crate::question::Question) -> Answer {
    use crate::question::Question;
    match question {
        Question::Connection => Answer::Connection(Ok(None)),
        Question::Hello(_) => Answer::Hello(Ok(None)),
        Question::Xclient(_) => Answer::Xclient(Ok(None)),
        Question::Sasl(_) => Answer::Sasl(SaslAnswer::Challenge(vec![])),
        Question::Sender(_) => Answer::Sender(Ok(None)),
        Question::Recipients(recipients) => Answer::Recipients(vec![Ok(None); recipients.len()]),
        Question::Verify(_) => Answer::Verify(VerifyAnswer::Unsure),
        Question::Data => Answer::Data(Ok(None)),
        Question::Message(facts) => Answer::Message(vec![Ok(None); facts.recipients as usize]),
    }
}
