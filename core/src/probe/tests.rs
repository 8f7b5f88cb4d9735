//! Against the server of this very crate, which must have no fault, and against ends and nonsense at every point.
//!
//! Owns a server's end of a session without a socket. Refuses to wait: time is a number. Fails as tests do.

use alloc::{format, string::String, vec, vec::Vec};

use super::*;
use crate::question::{Answer, Question, Refusal, VerifyAnswer};
use crate::server;
use crate::step;

mod verdicts;

const ALL: [Experiment; 17] = [
    Experiment::Greeting,
    Experiment::StartTls,
    Experiment::Injection,
    Experiment::Haste,
    Experiment::Nameless,
    Experiment::Commands,
    Experiment::Pipelining,
    Experiment::Extensions,
    Experiment::Relay,
    Experiment::Smuggling(EndOfData::LfDotLf),
    Experiment::Smuggling(EndOfData::LfDotCrlf),
    Experiment::Smuggling(EndOfData::CrlfDotLf),
    Experiment::Smuggling(EndOfData::CrDotCr),
    Experiment::Smuggling(EndOfData::CrDotCrlf),
    Experiment::Smuggling(EndOfData::CrlfDotCr),
    Experiment::Smuggling(EndOfData::LfDotCr),
    Experiment::Smuggling(EndOfData::CrDotLf),
];

fn mailbox(local: &str, domain: &str) -> Mailbox {
    Mailbox { local: local.into(), host: HostName::Domain(domain.into()) }
}

fn options(experiment: Experiment) -> Options {
    Options {
        experiment,
        hello_name: "probe.test".into(),
        limits: Limits::default(),
        implicit_tls: false,
        start_tls: true,
        domain: HostName::Domain("example.test".into()),
        sender: mailbox("probe", "probe.test"),
        stranger: mailbox("a", "far.test"),
        recipient: Some(mailbox("anna", "example.test")),
    }
}

/// What a server does with what it was sent.
trait Peer {
    fn greeting(&mut self) -> Vec<u8>;
    /// None: it closes the connection.
    fn hear(&mut self, octets: &[u8]) -> Option<Vec<u8>>;
    fn secured(&mut self) {}
}

/// Runs an experiment to its end, with a peer that answers at once or never.
fn play(options: Options, peer: &mut dyn Peer) -> Vec<Finding> {
    let mut session = Session::new(options);
    let (mut now, mut findings) = (0, vec![]);
    let mut step = session.start(now).expect("a start");
    let mut answer = Some(peer.greeting());
    for _ in 0..1000 {
        findings.append(&mut step.findings);
        if !step.transmit.is_empty()
            && let Some(more) = &mut answer
        {
            match peer.hear(&step.transmit) {
                Some(said) => more.extend(said),
                None => answer = None,
            }
        }
        step = match (step.need, &mut answer) {
            (Need::Close, _) => return findings,
            (Need::StartTls, Some(_)) => {
                peer.secured();
                session.secured(now).expect("a step")
            }
            (_, None) => session.lost(now).expect("a step"),
            (Need::Input, Some(said)) if !said.is_empty() => {
                let said = core::mem::take(said);
                session.receive(now, &said).expect("a step")
            }
            (Need::Input, Some(_)) => {
                assert!(step.wake > now && step.wake < u64::MAX, "it would wait for ever");
                now = step.wake;
                session.tick(now).expect("a step")
            }
        };
    }
    panic!("it does not end: {findings:?}");
}

/// The server of this crate, with a policy that is as it should be.
struct Ours(server::Session);

impl Ours {
    fn new() -> Self {
        Self(server::Session::new(server::Options {
            server_name: "mail.example.test".into(),
            start_tls: true,
            ..server::Options::default()
        }))
    }

    fn go(&mut self, mut step: step::Step, mut input: &[u8]) -> Option<Vec<u8>> {
        let mut said = vec![];
        loop {
            said.append(&mut step.transmit);
            input = &input[step.consumed as usize..];
            step = match step.need {
                step::Need::Close => return if said.is_empty() { None } else { Some(said) },
                step::Need::StartTls => return Some(said),
                step::Need::Input if input.is_empty() => return Some(said),
                step::Need::Input => self.0.receive(0, input).ok()?,
                step::Need::Answer(question) => self.0.answer(0, decide(question)).ok()?,
            };
            // An answer has read nothing.
        }
    }
}

fn decide(question: Question) -> Answer {
    let no = || Refusal { code: 550, subject: 7, detail: 1, text: "no".into() };
    match question {
        Question::Connection => Answer::Connection(Ok(None)),
        Question::Hello(_) => Answer::Hello(Ok(None)),
        Question::Xclient(_) => Answer::Xclient(Err(no())),
        Question::Sasl(_) => unreachable!("no logins are offered"),
        Question::Sender(_) => Answer::Sender(Ok(None)),
        Question::Recipients(batch) => {
            let local = |recipient: &crate::command::Recipient| match &recipient.path {
                crate::address::ForwardPath::Postmaster => true,
                crate::address::ForwardPath::Mailbox(path) => *path == mailbox("anna", "example.test"),
            };
            Answer::Recipients(batch.iter().map(|one| if local(one) { Ok(None) } else { Err(no()) }).collect())
        }
        Question::Verify(_) => Answer::Verify(VerifyAnswer::Unsure),
        Question::Data => Answer::Data(Ok(None)),
        Question::Message(facts) => Answer::Message((0..facts.recipients).map(|_| Ok(None)).collect()),
    }
}

impl Peer for Ours {
    fn greeting(&mut self) -> Vec<u8> {
        let step = self.0.start(0).expect("a start");
        self.go(step, b"").unwrap_or_default()
    }

    fn hear(&mut self, octets: &[u8]) -> Option<Vec<u8>> {
        let step = self.0.receive(0, octets).ok()?;
        self.go(step, octets)
    }

    fn secured(&mut self) {
        self.0.secured(0, vec![]).expect("a handshake was due");
    }
}

#[test]
fn our_own_server_has_no_fault() {
    for experiment in ALL {
        let findings = play(options(experiment), &mut Ours::new());
        let bad: Vec<_> = findings.iter().filter(|one| !matches!(one.verdict, Verdict::Pass | Verdict::Info)).collect();
        assert!(bad.is_empty() && !findings.is_empty(), "{experiment:?}: {findings:#?}");
    }
}

/// Answers so many times, and then never again, or with nonsense, or hangs up.
struct Fading {
    left: usize,
    then: Option<&'static str>,
}

impl Peer for Fading {
    fn greeting(&mut self) -> Vec<u8> {
        b"220 mail.example.test\r\n".to_vec()
    }

    fn hear(&mut self, octets: &[u8]) -> Option<Vec<u8>> {
        let mut said = String::new();
        for line in octets.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
            if self.left == 0 {
                said.push_str(self.then?);
                break;
            }
            self.left -= 1;
            said.push_str(if line.starts_with(b"EHLO") {
                "250-mail.example.test\r\n250-PIPELINING\r\n250 STARTTLS\r\n"
            } else {
                "250 ok\r\n"
            });
        }
        Some(said.into_bytes())
    }
}

#[test]
fn every_experiment_ends_whatever_the_server_does() {
    for experiment in ALL {
        for left in 0..24 {
            for then in [
                None,
                Some(""),
                Some("nonsense\r\n"),
                Some("421 leaving\r\n"),
                Some("250-ok\r\n"),
                Some("250 ok\r\n250 ok\r\n"),
            ] {
                play(options(experiment), &mut Fading { left, then });
            }
        }
    }
}

#[test]
fn nothing_that_is_given_forges_a_command() {
    let check = |change: &dyn Fn(&mut Options)| {
        let mut options = options(Experiment::Smuggling(EndOfData::LfDotLf));
        change(&mut options);
        let shown = format!("{options:?}");
        assert!(matches!(Session::new(options).start(0), Err(Misuse::BadValue(_))), "{shown}");
    };
    check(&|options| options.hello_name = "a\r\nQUIT".into());
    check(&|options| options.hello_name = "a b".into());
    check(&|options| options.domain = HostName::Domain("a>\r\nQUIT".into()));
    check(&|options| options.domain = HostName::Literal("192.0.2.1]\r\n".into()));
    check(&|options| options.sender = mailbox("a\r\nQUIT", "b.test"));
    check(&|options| options.stranger = mailbox("a", "b.test>\r\nQUIT"));
    check(&|options| options.recipient = Some(mailbox("a\n", "b.test")));
    check(&|options| options.recipient = None);
}
