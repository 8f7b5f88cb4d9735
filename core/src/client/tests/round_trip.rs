//! The sending side against the receiving side, in memory: what is delivered is what arrives.

use std::{format, string::String, string::ToString, vec, vec::Vec};

use super::rig::{How, PLAIN, Rig, Wish, changed, local, transaction, with};
use crate::client::{Fate, Need, Options, Protocol};
use crate::command::{Notify, OriginalRecipient, Recipient, ReturnContent, Sender};
use crate::question::{Answer, Question, Refusal, SaslAnswer, SaslStep, VerifyAnswer};
use crate::server;
use crate::step::{Need as Wants, Piece, Step};

/// A receiving session whose embedder says no to those who begin with `no`, and keeps the rest.
struct Receiver {
    session: server::Session,
    need: Wants,
    says: Vec<u8>,
    left: Vec<u8>,
    body: Vec<u8>,
    logins: usize,
    senders: Vec<Sender>,
    recipients: Vec<Recipient>,
    messages: Vec<Vec<u8>>,
}

impl Receiver {
    fn new(options: server::Options) -> Self {
        let mut receiver = Self {
            session: server::Session::new(options),
            need: Wants::Input,
            says: vec![],
            left: vec![],
            body: vec![],
            logins: 0,
            senders: vec![],
            recipients: vec![],
            messages: vec![],
        };
        let step = receiver.session.start(0).unwrap();
        receiver.take(step, &[]);
        receiver.work();
        receiver
    }

    fn take(&mut self, step: Step, input: &[u8]) {
        self.says.extend(step.transmit);
        for piece in step.body {
            match piece {
                Piece::Range { offset, length } => {
                    self.body.extend_from_slice(&input[offset as usize..(offset + length) as usize]);
                }
                Piece::Octets(octets) => self.body.extend(octets),
            }
        }
        if step.abandoned {
            self.body.clear();
        }
        self.need = step.need;
    }

    fn hear(&mut self, octets: &[u8]) {
        self.left.extend_from_slice(octets);
        self.work();
    }

    fn work(&mut self) {
        loop {
            match self.need.clone() {
                Wants::Answer(question) => {
                    let answer = self.answer(question);
                    let step = self.session.answer(0, answer).unwrap();
                    self.take(step, &[]);
                }
                Wants::Input if !self.left.is_empty() => {
                    let input = core::mem::take(&mut self.left);
                    let step = self.session.receive(0, &input).unwrap();
                    self.left = input[step.consumed as usize..].to_vec();
                    self.take(step, &input);
                }
                _ => return,
            }
        }
    }

    fn answer(&mut self, question: Question) -> Answer {
        let no = || Err(Refusal { code: 550, subject: 1, detail: 1, text: "no".to_string() });
        match question {
            Question::Connection => Answer::Connection(Ok(None)),
            Question::Hello(_) => Answer::Hello(Ok(None)),
            Question::Xclient(_) => Answer::Xclient(Ok(None)),
            Question::Verify(_) => Answer::Verify(VerifyAnswer::Unsure),
            Question::Sasl(SaslStep::Start { initial: Some(octets), .. } | SaslStep::Response(octets)) => {
                self.logins += 1;
                Answer::Sasl(if octets == b"\0ann\0secret" {
                    SaslAnswer::Authenticated("ann".to_string())
                } else {
                    SaslAnswer::Refused(Refusal { code: 535, subject: 7, detail: 8, text: "no".to_string() })
                })
            }
            Question::Sasl(SaslStep::Start { .. }) => Answer::Sasl(SaslAnswer::Challenge(vec![])),
            Question::Sender(sender) => {
                self.senders.push(sender);
                Answer::Sender(Ok(None))
            }
            Question::Recipients(batch) => {
                let mut decisions = vec![];
                for recipient in batch {
                    let refused = local(&recipient).starts_with("no");
                    if !refused {
                        self.recipients.push(recipient);
                    }
                    decisions.push(if refused { no() } else { Ok(None) });
                }
                Answer::Recipients(decisions)
            }
            Question::Data => Answer::Data(Ok(None)),
            Question::Message(facts) => {
                self.messages.push(core::mem::take(&mut self.body));
                let last = self.recipients.len() - facts.recipients as usize;
                let own = &self.recipients[last..];
                Answer::Message(own.iter().map(|one| if local(one) == "hates" { no() } else { Ok(None) }).collect())
            }
        }
    }
}

/// Both sides until neither has anything to say.
fn meet(options: &Options, server: server::Options, wishes: &[Wish], how: How) -> (Rig, Receiver) {
    let mut receiver = Receiver::new(server);
    let mut rig = Rig::new(options, wishes, how);
    let mut heard = 0;
    loop {
        let says = core::mem::take(&mut receiver.says);
        rig.hear(&says);
        if rig.need == Need::StartTls {
            assert_eq!(receiver.need, Wants::StartTls);
            let step = receiver.session.secured(0, vec!["PLAIN".to_string()]).unwrap();
            receiver.take(step, &[]);
        }
        rig.work();
        let octets = rig.sent[heard..].to_vec();
        heard = rig.sent.len();
        receiver.hear(&octets);
        if says.is_empty() && octets.is_empty() {
            return (rig, receiver);
        }
    }
}

fn server_options() -> server::Options {
    server::Options { server_name: "mail.test".to_string(), start_tls: true, ..server::Options::default() }
}

#[test]
fn what_is_delivered_is_what_arrives() {
    let contents: [&[u8]; 6] = [
        b"",
        b"Subject: x\r\n\r\n.\r\n..\r\n.x\r\nend\r\n",
        b"\r\n.\r\n.\r\nMAIL FROM:<evil@b.test>\r\n",
        "Subject: k\u{e4}se\r\n\r\n\u{fc}\r\n".as_bytes(),
        b"no line end",
        b"a\nb\r\r\n\n.\n",
    ];
    let mut binary = 0;
    for content in contents {
        for (pipelining, chunking) in [(true, true), (true, false), (false, true), (false, false)] {
            for piece in [usize::MAX, 1, 5] {
                let options = with(|options| {
                    options.pipelining = pipelining;
                    options.chunking = chunking;
                });
                let message = Wish::Deliver(
                    transaction("s@me.test", &["a@b.test", "no@b.test", "\"c d\"@b.test"], content),
                    content.to_vec(),
                );
                let wishes = [message.clone(), message, Wish::Quit];
                let how = How { content: piece, icy: piece == 5, ..PLAIN };
                let (rig, receiver) = meet(&options, server_options(), &wishes, how);
                let place = format!("{content:?} pipelining {pipelining} chunking {chunking} in pieces of {piece}");
                assert_eq!((&rig.need, &receiver.need), (&Need::Close, &Wants::Close), "{place}: {:?}", rig.told());
                assert_eq!(rig.failure, None, "{place}");
                let fates: Vec<(u32, Fate)> = rig.outcomes.iter().map(|one| (one.recipient, one.fate)).collect();
                let accepted = (Fate::Accepted, Fate::Permanent);
                if !chunking
                    && content.contains(&b'\r')
                    && content.windows(2).any(|two| two == b"\n\n" || two == b"a\n")
                {
                    assert!(fates.iter().all(|(_, fate)| *fate == Fate::Permanent), "{place}: {fates:?}");
                    binary += 1;
                    continue;
                }
                let one = [(1, accepted.1), (0, accepted.0), (2, accepted.0)];
                assert_eq!(fates, [one, one].concat(), "{place}");
                let end: &[u8] =
                    if chunking || content.is_empty() || content.ends_with(b"\r\n") { b"" } else { b"\r\n" };
                let message = [content, end].concat();
                assert_eq!(receiver.messages, vec![message.clone(), message], "{place}");
            }
        }
    }
    assert_eq!(binary, 6, "what is binary does not leave by DATA");
}

#[test]
fn parameters_arrive_as_they_were_given() {
    let wish =
        Wish::Deliver(transaction("\u{e4}@me.test", &["a@b.test", "\u{fc}@b.test"], b"x\r\n"), b"x\r\n".to_vec());
    let wish = changed(wish, |transaction| {
        transaction.ret = Some(ReturnContent::Full);
        transaction.envid = Some("a+b = c".to_string());
        transaction.recipients[0].notify = Some(Notify { success: true, failure: true, delay: false });
        transaction.recipients[0].orcpt =
            Some(OriginalRecipient { address_type: "rfc822".to_string(), address: "o+x=y z@b.test".to_string() });
        transaction.recipients[1].notify = Some(Notify::default());
        transaction.recipients[1].orcpt =
            Some(OriginalRecipient { address_type: "utf-8".to_string(), address: "\u{f6}+\\@b.test".to_string() });
    });
    let (rig, receiver) = meet(&with(|_| {}), server_options(), &[wish.clone(), Wish::Quit], PLAIN);
    let Wish::Deliver(given, _) = wish else { return };
    assert!(rig.outcomes.iter().all(|outcome| outcome.fate == Fate::Accepted && outcome.dsn), "{:?}", rig.told());
    assert_eq!(receiver.recipients, given.recipients);
    let Sender { mailbox, parameters } = &receiver.senders[0];
    assert_eq!(*mailbox, given.sender);
    assert_eq!((parameters.size, parameters.smtputf8), (Some(3), true));
    assert_eq!((parameters.ret, &parameters.envid), (given.ret, &given.envid));
}

#[test]
fn tls_login_prdr_and_lmtp() {
    let server = server::Options { tls_mechanisms: vec!["PLAIN".to_string()], require_auth: true, ..server_options() };
    let message = |recipients: &[&str]| Wish::Deliver(transaction("", recipients, b"x\r\n"), b"x\r\n".to_vec());
    for login in
        [Wish::Login("PLAIN", Some(b"\0ann\0secret"), vec![]), Wish::Login("PLAIN", None, vec![b"\0ann\0secret"])]
    {
        let wishes = [
            Wish::Login("PLAIN", Some(b"\0ann\0wrong"), vec![]),
            login,
            message(&["a@b.test", "hates@b.test"]),
            Wish::Quit,
        ];
        let (rig, receiver) = meet(&with(|_| {}), server.clone(), &wishes, How { icy: true, ..PLAIN });
        assert_eq!(receiver.logins, 2);
        assert!(receiver.senders[0].parameters.prdr);
        assert_eq!(
            rig.told(),
            ["1 Permanent Reply@Message 5.1.1", "0 Accepted Reply@Message 2.0.0", "login false 535", "login true 235",]
        );
    }
    let lmtp = with(|options| options.protocol = Protocol::Lmtp);
    let server = server::Options { protocol: server::Protocol::Lmtp, ..server_options() };
    for chunking in [true, false] {
        let options = Options { chunking, ..lmtp.clone() };
        let wishes = [message(&["hates@b.test", "no@b.test", "a@b.test"]), Wish::Quit];
        let (rig, _) = meet(&options, server.clone(), &wishes, How { content: 2, ..PLAIN });
        let told: Vec<String> = rig.told();
        assert_eq!(
            told,
            ["1 Permanent Reply@Rcpt 5.1.1", "0 Permanent Reply@Message 5.1.1", "2 Accepted Reply@Message 2.0.0",]
        );
    }
}
