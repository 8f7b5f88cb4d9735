//! A peer and an embedder for a session.
//!
//! The embedder has a plan: what it does each time that the session is ready. The peer is a script: `S:` lines are what it
//! says, `C:` lines all that it must have heard since, one line each (`…` at the end stands for any rest).

use std::collections::VecDeque;
use std::{format, string::String, string::ToString, vec, vec::Vec};

use crate::address::ForwardPath;
use crate::client::{ContentFacts, Failure, Login, Need, Options, Outcome, Peer, Session, Step, Transaction};
use crate::command::Recipient;
use crate::step::{Event, Misuse, Piece};
use crate::syntax::path;

pub(super) fn options() -> Options {
    Options { hello_name: "me.test".to_string(), ..Options::default() }
}

pub(super) fn with(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = options();
    change(&mut options);
    options
}

pub(super) fn recipient(address: &str) -> Recipient {
    let path = path::forward_path(&format!("<{address}>")).unwrap().0;
    Recipient { path, notify: None, orcpt: None }
}

/// From `sender` (empty: the null reverse-path) to these, with the facts of this content.
pub(super) fn transaction(sender: &str, recipients: &[&str], content: &[u8]) -> Transaction {
    Transaction {
        sender: path::reverse_path(&format!("<{sender}>")).unwrap().0,
        recipients: recipients.iter().map(|address| recipient(address)).collect(),
        content: facts(content),
        ..Transaction::default()
    }
}

pub(super) fn facts(content: &[u8]) -> ContentFacts {
    let lines = content.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line).len());
    let text = String::from_utf8_lossy(content).replace("\r\n", "");
    ContentFacts {
        size: content.len() as u64,
        eight_bit: !content.is_ascii(),
        bare_line_ends: text.contains(['\r', '\n']),
        longest_line: lines.max().unwrap_or(0) as u64,
        utf8_header: false,
    }
}

/// What the embedder does when the session is ready.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    Deliver(Transaction, Vec<u8>),
    /// Mechanism, initial response, and the answers to challenges; without one it cancels.
    Login(&'static str, Option<&'static [u8]>, Vec<&'static [u8]>),
    Quit,
}

/// How a session reaches the engine. None of it may change what comes out.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// Freeze and thaw after every call.
    pub(super) icy: bool,
    /// The peer's octets arrive in pieces of this size.
    pub(super) piece: usize,
    /// The content is given in pieces of this size.
    pub(super) content: usize,
}

pub(super) const PLAIN: How = How { icy: false, piece: usize::MAX, content: usize::MAX };

/// The session and its embedder.
pub(super) struct Rig {
    options: Options,
    session: Option<Session>,
    how: How,
    wishes: VecDeque<Wish>,
    content: Vec<u8>,
    responses: VecDeque<&'static [u8]>,
    pub(super) now: u64,
    pub(super) need: Need,
    pub(super) wake: u64,
    pub(super) sent: Vec<u8>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) logins: Vec<Login>,
    pub(super) failure: Option<Failure>,
    pub(super) events: Vec<Event>,
    pub(super) peer: Option<Peer>,
}

impl Rig {
    pub(super) fn new(options: &Options, wishes: &[Wish], how: How) -> Self {
        let mut rig = Self {
            options: options.clone(),
            session: Some(Session::new(options.clone())),
            how,
            wishes: wishes.iter().cloned().collect(),
            content: vec![],
            responses: VecDeque::new(),
            now: 1000,
            need: Need::Input,
            wake: u64::MAX,
            sent: vec![],
            outcomes: vec![],
            logins: vec![],
            failure: None,
            events: vec![],
            peer: None,
        };
        rig.call(&[], |session, now| session.start(now)).unwrap();
        rig
    }

    /// One call, and what a proper embedder does with its step.
    pub(super) fn call(
        &mut self,
        octets: &[u8],
        call: impl FnOnce(&mut Session, u64) -> Result<Step, Misuse>,
    ) -> Result<usize, Misuse> {
        let mut session = self.session.take().unwrap();
        let outcome = call(&mut session, self.now);
        if self.how.icy {
            let image = session.freeze().unwrap();
            session = Session::thaw(self.options.clone(), &image).unwrap();
            assert_eq!(session.clone().freeze().unwrap(), image, "a thawed session freezes to the same image");
        }
        self.session = Some(session);
        let step = outcome?;
        assert!(step.transmit.is_empty() || step.transmit.ends_with(b"\r\n"));
        self.sent.extend_from_slice(&step.transmit);
        for piece in &step.content {
            match piece {
                Piece::Range { offset, length } => {
                    self.sent.extend_from_slice(&octets[*offset as usize..(*offset + *length) as usize]);
                }
                Piece::Octets(octets) => self.sent.extend_from_slice(octets),
            }
        }
        assert!(step.events.iter().all(|event| !event.detail.chars().any(char::is_control)), "{:?}", step.events);
        self.outcomes.extend(step.outcomes);
        self.logins.extend(step.login);
        self.failure = self.failure.take().or(step.failure);
        self.events.extend(step.events);
        self.need = step.need;
        self.wake = step.wake;
        Ok(step.consumed as usize)
    }

    /// The peer says this. What is asked for at its end is left open.
    pub(super) fn hear(&mut self, octets: &[u8]) {
        for piece in octets.chunks(self.how.piece.min(octets.len().max(1))) {
            if self.need == Need::Close {
                return;
            }
            let used = self.call(&[], |session, now| session.receive(now, piece)).unwrap();
            assert!(used == piece.len() || self.need == Need::Close, "all is read");
        }
    }

    /// Does what is needed, until it is input or the end.
    pub(super) fn work(&mut self) {
        loop {
            match self.need.clone() {
                Need::Input | Need::Close => return,
                Need::StartTls => {
                    self.call(&[], |session, now| session.secured(now)).unwrap();
                }
                Need::Ready(peer) => {
                    self.peer = Some(peer);
                    match self.wishes.pop_front() {
                        None => return,
                        Some(Wish::Quit) => {
                            self.call(&[], |session, now| session.quit(now)).unwrap();
                        }
                        Some(Wish::Login(mechanism, initial, responses)) => {
                            self.responses = responses.into();
                            let initial = initial.map(<[u8]>::to_vec);
                            self.call(&[], |session, now| session.login(now, mechanism, initial)).unwrap();
                        }
                        Some(Wish::Deliver(transaction, content)) => {
                            self.content = content;
                            self.call(&[], |session, now| session.deliver(now, &transaction)).unwrap();
                        }
                    }
                }
                Need::Response(_) => {
                    match self.responses.pop_front() {
                        Some(response) => self.call(&[], |session, now| session.respond(now, response)).unwrap(),
                        None => self.call(&[], |session, now| session.cancel(now)).unwrap(),
                    };
                }
                Need::Content => {
                    let length = self.content.len().min(self.how.content);
                    let rest = self.content.split_off(length);
                    let octets = core::mem::replace(&mut self.content, rest);
                    let last = self.content.is_empty();
                    self.call(&octets, |session, now| session.content(now, &octets, last)).unwrap();
                }
            }
        }
    }

    pub(super) fn lose(&mut self) {
        self.call(&[], |session, now| session.lost(now)).unwrap();
    }

    pub(super) fn session(&mut self) -> &mut Session {
        self.session.as_mut().unwrap()
    }

    /// `place fate cause@stage x.y.z`, and for a failure `fault@stage`.
    pub(super) fn told(&self) -> Vec<String> {
        let mut told: Vec<String> = self.outcomes.iter().map(outcome).collect();
        told.extend(self.logins.iter().map(|login| format!("login {} {}", login.accepted, login.reply.code)));
        told.extend(self.failure.iter().map(|failure| format!("{:?}@{:?}", failure.fault, failure.stage)));
        told
    }
}

pub(super) fn outcome(outcome: &Outcome) -> String {
    let status = outcome.status;
    format!(
        "{} {:?} {:?}@{:?} {}.{}.{}",
        outcome.recipient, outcome.fate, outcome.cause, outcome.stage, status.class, status.subject, status.detail
    )
}

/// Plays a script in every way, and compares what is told at its end. `LOST` breaks the connection, `WAIT n` lets milliseconds
/// pass and ticks, `TLS` wants the handshake to be next.
#[track_caller]
pub(super) fn check(options: &Options, wishes: &[Wish], script: &str, told: &[&str]) {
    for icy in [false, true] {
        for piece in [usize::MAX, 1, 7] {
            play(options, wishes, script, How { icy, piece, content: usize::MAX }, told);
        }
    }
}

#[track_caller]
fn play(options: &Options, wishes: &[Wish], script: &str, how: How, told: &[&str]) {
    let mut rig = Rig::new(options, wishes, how);
    let mut log = format!("{how:?}\n");
    let mut heard = 0;
    let mut says: Vec<u8> = vec![];
    let mut expected: Vec<&str> = vec![];
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()).chain(["END"]) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word != "C:" {
            compare(&rig, &mut heard, &mut expected, &log);
        }
        if word != "S:" && !says.is_empty() {
            rig.hear(&core::mem::take(&mut says));
            if word != "TLS" {
                rig.work();
            }
        }
        log.push_str(line);
        log.push('\n');
        match word {
            "S:" => says.extend_from_slice(format!("{rest}\r\n").as_bytes()),
            "C:" => expected.push(rest),
            "LOST" => rig.lose(),
            "TLS" => {
                assert_eq!(rig.need, Need::StartTls, "{log}");
                rig.work();
            }
            "WAIT" => {
                rig.now += rest.parse::<u64>().unwrap();
                rig.call(&[], |session, now| session.tick(now)).unwrap();
            }
            "END" => {}
            other => panic!("what is {other} in a script?"),
        }
    }
    compare(&rig, &mut heard, &mut expected, &log);
    assert_eq!(rig.told(), told, "{log}");
}

#[track_caller]
fn compare(rig: &Rig, heard: &mut usize, expected: &mut Vec<&str>, log: &str) {
    if expected.is_empty() {
        return;
    }
    let sent = String::from_utf8_lossy(&rig.sent[*heard..]).into_owned();
    *heard = rig.sent.len();
    let lines: Vec<&str> = sent.split_terminator("\r\n").collect();
    let fits = |line: &str, wanted: &str| match wanted.strip_suffix('…') {
        Some(start) => line.starts_with(start),
        None => line == wanted,
    };
    let all =
        lines.len() == expected.len() && lines.iter().zip(expected.iter()).all(|(line, wanted)| fits(line, wanted));
    assert!(all, "\n{log}\nexpected: {expected:#?}\nsent: {lines:#?}");
    expected.clear();
}

/// A message to `a@b.test` and others, `x` as its content.
pub(super) fn mail(recipients: &[&str]) -> Wish {
    Wish::Deliver(transaction("s@me.test", recipients, b"x\r\n"), b"x\r\n".to_vec())
}

/// The wish with something about the transaction changed.
pub(super) fn changed(wish: Wish, change: impl FnOnce(&mut Transaction)) -> Wish {
    match wish {
        Wish::Deliver(mut transaction, content) => {
            change(&mut transaction);
            Wish::Deliver(transaction, content)
        }
        other => other,
    }
}

pub(super) fn local(recipient: &Recipient) -> &str {
    match &recipient.path {
        ForwardPath::Postmaster => "postmaster",
        ForwardPath::Mailbox(mailbox) => &mailbox.local,
    }
}
