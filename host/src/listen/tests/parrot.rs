//! An engine that speaks a language of its own: one directive a line, so that a test says when a question is asked.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use crate::engine::{Engine, EngineError, Session, types::*};

/// Opens [`Parrot`]s and counts what becomes of them.
#[derive(Default)]
pub(super) struct Aviary {
    pub(super) frozen: Arc<AtomicUsize>,
    pub(super) thawed: Arc<AtomicUsize>,
}

impl Engine for Aviary {
    fn open(&self, _options: &Options) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(Parrot { frozen: self.frozen.clone(), ..Parrot::default() }))
    }

    fn thaw(&self, _options: &Options, image: &[u8]) -> Result<Box<dyn Session>, EngineError> {
        self.thawed.fetch_add(1, SeqCst);
        let held = image.to_vec();
        Ok(Box::new(Parrot { held, frozen: self.frozen.clone(), ..Parrot::default() }))
    }
}

/// A session that does what it is told, a line at a time, and answers every line with one.
#[derive(Default)]
struct Parrot {
    /// The beginning of a line.
    held: Vec<u8>,
    frozen: Arc<AtomicUsize>,
    draining: bool,
}

fn mailbox(local: &str) -> Mailbox {
    Mailbox { local: local.into(), host: HostName::Domain("example.test".into()) }
}

fn said(need: Need, transmit: impl Into<Vec<u8>>) -> Step {
    Step {
        consumed: 0,
        transmit: transmit.into(),
        body: Vec::new(),
        abandoned: false,
        events: Vec::new(),
        need,
        wake: u64::MAX,
    }
}

impl Session for Parrot {
    fn start(&mut self, _now: u64) -> Result<Step, EngineError> {
        Ok(said(Need::Answer(Question::Connection), ""))
    }

    fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, EngineError> {
        let mut all = said(Need::Input, "");
        let mut at = 0;
        while let Some(length) = input[at..].iter().position(|octet| *octet == b'\n') {
            let held = self.held.len();
            self.held.extend_from_slice(&input[at..at + length]);
            let line = String::from_utf8(std::mem::take(&mut self.held)).unwrap();
            let start = at;
            at += length + 1;
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            all.need = match verb {
                "hello" => {
                    Need::Answer(Question::Hello(Hello { verb: GreetingVerb::Ehlo, host: None, raw: rest.into() }))
                }
                "sender" | "prdr" => Need::Answer(Question::Sender(Sender {
                    mailbox: Some(mailbox(rest)),
                    parameters: MailParameters {
                        size: None,
                        body: BodyKind::SevenBit,
                        smtputf8: false,
                        require_tls: false,
                        prdr: verb == "prdr",
                        ret: None,
                        envid: None,
                        auth: None,
                        hold: None,
                        deliver_by: None,
                        priority: None,
                    },
                })),
                "recipients" => Need::Answer(Question::Recipients(
                    rest.split(' ')
                        .map(|local| Recipient {
                            path: ForwardPath::Mailbox(mailbox(local)),
                            notify: None,
                            orcpt: None,
                        })
                        .collect(),
                )),
                "data" => Need::Answer(Question::Data),
                "body" => {
                    // As the core does it: what is in this input is a range, what was held back is not.
                    let offset = (start + 5).saturating_sub(held);
                    let from_held = rest.len() - (start + length - offset).min(rest.len());
                    if from_held > 0 {
                        all.body.push(Piece::Octets(rest.as_bytes()[..from_held].to_vec()));
                    }
                    let length = rest.len() - from_held;
                    all.body
                        .push(Piece::Range((u32::try_from(at - 1 - length).unwrap(), u32::try_from(length).unwrap())));
                    continue;
                }
                "message" => Need::Answer(Question::Message(MessageFacts {
                    size: 1,
                    eight_bit: false,
                    bare_line_ends: false,
                    longest_line: 1,
                    recipients: rest.parse().unwrap(),
                })),
                "abandon" => {
                    all.abandoned = true;
                    all.transmit.extend(b"abandoned\n");
                    break;
                }
                "say" => {
                    all.transmit.extend(rest.as_bytes());
                    all.transmit.push(b'\n');
                    continue;
                }
                "flood" => {
                    all.transmit.extend(vec![b'x'; rest.parse().unwrap()]);
                    continue;
                }
                "wake" => {
                    all.wake = now + rest.parse::<u64>().unwrap();
                    continue;
                }
                "tls" => {
                    all.transmit.extend(b"go\n");
                    at = input.len();
                    Need::StartTls
                }
                "bye" => {
                    all.transmit.extend(b"bye\n");
                    at = input.len();
                    Need::Close
                }
                "trap" => return Err(EngineError::Trap("unreachable".into())),
                "panic" => panic!("told to"),
                "stuck" => {
                    all.consumed = u32::try_from(start).unwrap();
                    return Ok(all);
                }
                other => panic!("no directive {other:?}"),
            };
            all.consumed = u32::try_from(at).unwrap();
            return Ok(all);
        }
        if !all.abandoned {
            self.held.extend_from_slice(&input[at..]);
            at = input.len();
        }
        all.consumed = u32::try_from(at).unwrap();
        Ok(all)
    }

    fn secured(&mut self, _now: u64, _mechanisms: &[String]) -> Result<Step, EngineError> {
        Ok(said(Need::Input, "secured\n"))
    }

    fn tick(&mut self, _now: u64) -> Result<Step, EngineError> {
        Ok(said(Need::Input, "tick\n"))
    }

    fn answer(&mut self, _now: u64, answer: &Answer) -> Result<Step, EngineError> {
        let lines: Vec<String> = match answer {
            Answer::Connection(d) | Answer::Hello(d) | Answer::Sender(d) | Answer::Data(d) => vec![decision(d)],
            Answer::Recipients(all) | Answer::Message(all) => all.iter().map(decision).collect(),
            other => panic!("{other:?}"),
        };
        let done = self.draining && matches!(answer, Answer::Message(_));
        Ok(said(if done { Need::Close } else { Need::Input }, lines.join("\n") + "\n"))
    }

    fn drain(&mut self, _now: u64, farewell: &Refusal) -> Result<Step, EngineError> {
        // Within a body line, a message is on its way.
        self.draining = true;
        let need = if self.held.is_empty() { Need::Close } else { Need::Input };
        Ok(said(need, format!("{}\n", farewell.code)))
    }

    fn freeze(self: Box<Self>) -> Result<Vec<u8>, EngineError> {
        self.frozen.fetch_add(1, SeqCst);
        Ok(self.held.clone())
    }
}

fn decision(decision: &Decision) -> String {
    match decision {
        Ok(text) => format!("ok {}", text.as_deref().unwrap_or("")).trim_end().into(),
        Err(r) => format!("{} {}.{}.{}", r.code, r.code / 100, r.subject, r.detail),
    }
}
