//! A peer and an embedder for a session: scripts of `C:` and `S:` lines, and a table of answers.
//!
//! Every script is played in six ways (whole, octet by octet and in pieces of seven, each with and without freeze and thaw after every
//! call), and must give the same replies in all of them.

use std::{collections::VecDeque, format, string::String, string::ToString, vec, vec::Vec};

use crate::address::{ForwardPath, Mailbox};
use crate::limits::Limits;
use crate::question::{Answer, Decision, Question, Refusal, SaslAnswer, SaslStep, VerifyAnswer};
use crate::server::{Options, Session};
use crate::step::{Event, Misuse, Need, Piece, Step};

pub(super) fn options() -> Options {
    Options {
        server_name: "mx.test".to_string(),
        start_tls: true,
        limits: Limits { message_size: 1000, recipients: 100, recipient_batch: 10, ..Limits::default() },
        ..Options::default()
    }
}

pub(super) fn with(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = options();
    change(&mut options);
    options
}

pub(super) fn refusal(code: u16, subject: u16, detail: u16, text: &str) -> Refusal {
    Refusal { code, subject, detail, text: text.to_string() }
}

/// The embedder's table: an address is judged by what it begins with.
fn judge(local: &str) -> Decision {
    match local {
        "said" => Ok(Some("As you wish".to_string())),
        _ if local.starts_with("no") => Err(refusal(550, 1, 1, "No such user")),
        _ if local.starts_with("later") => Err(refusal(451, 2, 0, "Try later")),
        _ if local.starts_with("bye") => Err(refusal(421, 3, 2, "mx.test Going down")),
        _ => Ok(None),
    }
}

/// What a whole message gets for a recipient.
fn verdict(local: &str) -> Decision {
    match local {
        _ if local.starts_with("full") => Err(refusal(452, 2, 2, "Mailbox full")),
        _ if local.starts_with("hates") => Err(refusal(550, 7, 1, "Not this")),
        _ if local.starts_with("gone") => Err(refusal(421, 3, 0, "mx.test Gone")),
        "queued" => Ok(Some("Queued as 1".to_string())),
        _ => Ok(None),
    }
}

/// The session, its peer and its embedder.
pub(super) struct Pair {
    options: Options,
    session: Option<Session>,
    pub(super) now: u64,
    /// Freeze and thaw after every call.
    icy: bool,
    pub(super) need: Need,
    pub(super) wake: u64,
    /// Everything that was sent.
    pub(super) sent: Vec<u8>,
    pub(super) events: Vec<Event>,
    /// Everything that was asked, recipients one by one.
    pub(super) asked: Vec<String>,
    /// How many recipients each batch had.
    pub(super) batches: Vec<usize>,
    /// The content of the messages that were asked about.
    pub(super) messages: Vec<Vec<u8>>,
    pub(super) abandoned: usize,
    body: Vec<u8>,
    recipients: Vec<String>,
    /// Questions are left open.
    pub(super) hold: bool,
    /// Not yet given to the session.
    left: Vec<u8>,
}

impl Pair {
    /// After `start` and its answer.
    pub(super) fn new(options: &Options, icy: bool) -> Self {
        let mut pair = Self::before(options, icy);
        pair.call(&[], |session, now| session.start(now)).unwrap();
        pair.work();
        pair
    }

    fn before(options: &Options, icy: bool) -> Self {
        Self {
            options: options.clone(),
            session: Some(Session::new(options.clone())),
            now: 1_000,
            icy,
            need: Need::Input,
            wake: u64::MAX,
            sent: vec![],
            events: vec![],
            asked: vec![],
            batches: vec![],
            messages: vec![],
            abandoned: 0,
            body: vec![],
            recipients: vec![],
            hold: false,
            left: vec![],
        }
    }

    /// One call, and what a proper embedder does with its step.
    pub(super) fn call(
        &mut self,
        input: &[u8],
        call: impl FnOnce(&mut Session, u64) -> Result<Step, Misuse>,
    ) -> Result<usize, Misuse> {
        let mut session = self.session.take().unwrap();
        let outcome = call(&mut session, self.now);
        if self.icy {
            let image = session.freeze().unwrap();
            session = Session::thaw(self.options.clone(), &image).unwrap();
            assert_eq!(session.clone().freeze().unwrap(), image, "a thawed session freezes to the same image");
        }
        self.session = Some(session);
        let step = outcome?;
        self.sent.extend_from_slice(&step.transmit);
        for piece in &step.body {
            match piece {
                Piece::Range { offset, length } => {
                    self.body.extend_from_slice(&input[*offset as usize..(*offset + *length) as usize]);
                }
                Piece::Octets(octets) => self.body.extend_from_slice(octets),
            }
        }
        if step.abandoned {
            self.abandoned += 1;
            self.body.clear();
            self.recipients.clear();
        }
        self.events.extend(step.events);
        self.need = step.need;
        self.wake = step.wake;
        Ok(step.consumed as usize)
    }

    /// Gives this to the session, and goes on until it wants more.
    pub(super) fn send(&mut self, octets: &[u8]) {
        self.left.extend_from_slice(octets);
        self.work();
    }

    fn work(&mut self) {
        loop {
            match self.need.clone() {
                Need::Answer(_) if self.hold => return,
                Need::Answer(question) => {
                    let answer = self.answer_to(&question);
                    self.call(&[], |session, now| session.answer(now, answer)).unwrap();
                }
                Need::Input if !self.left.is_empty() => {
                    let input = core::mem::take(&mut self.left);
                    let used = self.call(&input, |session, now| session.receive(now, &input)).unwrap();
                    self.left = input[used..].to_vec();
                    assert!(used > 0 || self.need != Need::Input, "no progress with {:?}", &input);
                }
                Need::Input | Need::StartTls | Need::Close => return,
            }
        }
    }

    fn answer_to(&mut self, question: &Question) -> Answer {
        self.asked.push(match question {
            Question::Recipients(_) => String::new(),
            question => format!("{question:?}"),
        });
        match question {
            Question::Connection if self.options.server_name.starts_with("closed") => {
                Answer::Connection(Err(refusal(554, 7, 1, "Not you")))
            }
            Question::Connection => Answer::Connection(Ok(None)),
            Question::Hello(hello) => Answer::Hello(judge(&hello.raw)),
            Question::Xclient(_) => Answer::Xclient(Ok(None)),
            Question::Sasl(SaslStep::Start { mechanism, initial }) => {
                Answer::Sasl(match (mechanism.as_str(), initial) {
                    ("PLAIN", Some(initial)) => plain(initial),
                    ("PLAIN", None) => SaslAnswer::Challenge(vec![]),
                    _ => SaslAnswer::Challenge(b"Username:".to_vec()),
                })
            }
            Question::Sasl(SaslStep::Response(response)) if response == b"ann" => {
                Answer::Sasl(SaslAnswer::Challenge(b"Password:".to_vec()))
            }
            Question::Sasl(SaslStep::Response(response)) if response == b"secret" => {
                Answer::Sasl(SaslAnswer::Authenticated("ann".to_string()))
            }
            Question::Sasl(SaslStep::Response(response)) => Answer::Sasl(plain(response)),
            Question::Sender(sender) if sender.parameters.priority.is_some_and(|asked| asked > 4) => {
                Answer::SenderWithPriority(4)
            }
            Question::Sender(sender) => {
                Answer::Sender(judge(sender.mailbox.as_ref().map_or("", |mailbox| mailbox.local.as_str())))
            }
            Question::Recipients(recipients) => {
                self.asked.pop();
                self.batches.push(recipients.len());
                let mut decisions = vec![];
                for recipient in recipients {
                    self.asked.push(format!("{recipient:?}"));
                    let local = match &recipient.path {
                        ForwardPath::Postmaster => "postmaster",
                        ForwardPath::Mailbox(Mailbox { local, .. }) => local.as_str(),
                    };
                    let decision = judge(local);
                    if decision.is_ok() {
                        self.recipients.push(local.to_string());
                    }
                    decisions.push(decision);
                }
                Answer::Recipients(decisions)
            }
            Question::Verify(name) => Answer::Verify(match name.as_str() {
                "ann" => VerifyAnswer::Known("ann@mx.test".to_string()),
                "nobody" => VerifyAnswer::Refused(refusal(550, 1, 1, "No such user")),
                _ => VerifyAnswer::Unsure,
            }),
            Question::Data if self.recipients.iter().any(|local| local.starts_with("disk")) => {
                Answer::Data(Err(refusal(452, 3, 1, "No space")))
            }
            Question::Data => Answer::Data(Ok(None)),
            Question::Message(facts) => {
                let recipients = core::mem::take(&mut self.recipients);
                assert_eq!(facts.recipients as usize, recipients.len());
                assert_eq!(facts.size as usize, self.body.len());
                self.messages.push(core::mem::take(&mut self.body));
                Answer::Message(recipients.iter().map(|local| verdict(local)).collect())
            }
        }
    }
}

fn plain(message: &[u8]) -> SaslAnswer {
    if message == b"\0ann\0secret" {
        SaslAnswer::Authenticated("ann".to_string())
    } else {
        SaslAnswer::Refused(refusal(535, 7, 8, "Wrong"))
    }
}

/// Plays a script. `C:` lines in a row are sent at once, `S:` lines are all that is sent in between, in full or up to
/// `…`. `TLS` does the handshake, `WAIT n` lets milliseconds pass and ticks, `DRAIN` says that the server is going down, `CLOSED`
/// demands the end, `LOST n` that so many transactions were abandoned so far, `C! text` sends octets without CRLF (`\r`, `\n` and `\0` as written).
pub(super) fn check(options: &Options, script: &str) {
    for icy in [false, true] {
        for size in [usize::MAX, 1, 7] {
            play(options, script, icy, size);
        }
    }
}

fn play(options: &Options, script: &str, icy: bool, size: usize) {
    let mut pair = Pair::new(options, icy);
    let mut heard = 0;
    let mut to_send: Vec<u8> = vec![];
    let mut log = format!("freezing: {icy}, in pieces of {size}\n");
    let mut expected: VecDeque<&str> = VecDeque::new();
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty()).chain(["END"]);
    for line in lines {
        let is_reply = line.starts_with("S:");
        // What has been sent and expected so far belongs together before anything else follows.
        if !is_reply {
            compare(&mut pair, &mut heard, &mut expected, &mut log, line.starts_with('C'));
        }
        log.push_str(line);
        log.push('\n');
        if is_reply && !to_send.is_empty() {
            for piece in core::mem::take(&mut to_send).chunks(size) {
                if pair.need == Need::Input {
                    pair.send(piece);
                }
            }
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "C:" => to_send.extend_from_slice(format!("{rest}\r\n").as_bytes()),
            "C!" => to_send.extend(rest.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0").bytes()),
            "S:" => expected.push_back(rest),
            _ => {
                for piece in core::mem::take(&mut to_send).chunks(size) {
                    pair.send(piece);
                }
                special(&mut pair, word, rest, &log);
            }
        }
    }
}

fn special(pair: &mut Pair, word: &str, rest: &str, log: &str) {
    match word {
        "TLS" => {
            assert_eq!(pair.need, Need::StartTls, "{log}");
            let mechanisms = vec!["PLAIN".to_string(), "LOGIN".to_string()];
            pair.call(&[], |session, now| session.secured(now, mechanisms)).unwrap();
        }
        "WAIT" => {
            pair.now += rest.parse::<u64>().unwrap();
            pair.call(&[], |session, now| session.tick(now)).unwrap();
        }
        "DRAIN" => {
            let farewell = refusal(421, 3, 2, "mx.test Going down");
            pair.call(&[], |session, now| session.drain(now, farewell)).unwrap();
        }
        "CLOSED" => assert_eq!(pair.need, Need::Close, "{log}"),
        "LOST" => assert_eq!(pair.abandoned, rest.parse::<usize>().unwrap(), "{log}"),
        "MESSAGE" => {
            let message = rest.replace("\\r", "\r").replace("\\n", "\n");
            assert_eq!(String::from_utf8_lossy(pair.messages.last().unwrap()), message, "{log}");
        }
        "END" => {}
        other => panic!("what is {other} in a script?"),
    }
}

fn compare(pair: &mut Pair, heard: &mut usize, expected: &mut VecDeque<&str>, log: &mut String, may_be_early: bool) {
    if expected.is_empty() && may_be_early {
        return;
    }
    let sent = String::from_utf8_lossy(&pair.sent[*heard..]).into_owned();
    *heard = pair.sent.len();
    let fits = |line: &str, wanted: &str| match wanted.strip_suffix('…') {
        Some(start) => line.starts_with(start),
        None => line == wanted,
    };
    let lines: Vec<&str> = sent.split_terminator("\r\n").map(str::trim_end).collect();
    let all =
        lines.len() == expected.len() && lines.iter().zip(expected.iter()).all(|(line, wanted)| fits(line, wanted));
    assert!(all, "\n{log}\nexpected: {expected:#?}\nsent: {lines:#?}");
    expected.clear();
}
