//! A second session, written to be plain: what it says to random commands is what the session says.
//!
//! It knows commands and never octets, so that it shares nothing with what it judges.

use std::string::{String, ToString};
use std::{format, vec, vec::Vec};

use proptest::prelude::*;
use proptest::sample::select;

use super::rig::{Pair, with};
use crate::server::{Options, Protocol};
use crate::step::Need;

#[derive(Clone, Debug)]
enum Said {
    Hello(&'static str),
    Mail(&'static str, &'static str),
    Rcpt(&'static str),
    /// The content follows if it is wanted.
    Data(&'static str),
    Bdat(&'static str, bool),
    /// Its octets are commands, were they not skipped.
    Auth(bool),
    Other(&'static str),
}

fn said() -> impl Strategy<Value = Said> {
    let locals = ["c", "d", "e", "nobody", "later", "full", "hates", "disk", "gone", "bye"];
    let contents = [
        "a\r\n",
        "..b\r\n\r\n",
        "",
        "QUIT\r\n",
        "a\nb\r\n",
        "a\rb\r\n",
        "0123456789012345678901234567890123456789\r\n",
    ];
    prop_oneof![
        2 => select(&["EHLO", "HELO", "LHLO"][..]).prop_map(Said::Hello),
        6 => (
            select(&["a", "a", "a", "", "nobody", "later"][..]),
            select(&["", "", " PRDR", " PRDR", " BODY=BINARYMIME", " SIZE=31", " REQUIRETLS"][..]),
        )
            .prop_map(|(local, parameter)| Said::Mail(local, parameter)),
        12 => select(locals.to_vec()).prop_map(Said::Rcpt),
        5 => select(contents.to_vec()).prop_map(Said::Data),
        8 => (select([&contents[..], &["a\r", "\n", "RSET\r\n"]].concat()), any::<bool>())
            .prop_map(|(content, last)| Said::Bdat(content, last)),
        1 => any::<bool>().prop_map(Said::Auth),
        3 => select(&["RSET", "NOOP", "VRFY ann", "EXPN a", "HELP", "QUIT", "JUNK", "RCPT TO:c"][..]).prop_map(Said::Other),
    ]
}

#[derive(Default)]
struct Transaction {
    binary: bool,
    prdr: bool,
    recipients: Vec<&'static str>,
    chunks: Option<String>,
    declared: usize,
}

/// What is sent, and what comes of it.
#[derive(Default)]
struct Model {
    lmtp: bool,
    auth_required: bool,
    most_errors: u32,
    most_idle: u32,
    hello: Option<&'static str>,
    login: bool,
    transaction: Option<Transaction>,
    errors: u32,
    idle: u32,
    failures: u32,
    closed: bool,
    sent: String,
    replies: Vec<&'static str>,
    messages: Vec<String>,
    abandoned: usize,
}

const RECIPIENTS: usize = 4;
const SIZE: usize = 30;
const FAILURES: u32 = 2;

impl Model {
    fn say(&mut self, reply: &'static str) {
        self.replies.push(reply);
    }

    fn no(&mut self, reply: &'static str) {
        self.no_for(1, reply);
    }

    fn no_for(&mut self, copies: usize, reply: &'static str) {
        self.replies.extend(vec![reply; copies]);
        if reply.starts_with("421") {
            return self.close();
        }
        self.failed();
    }

    fn failed(&mut self) {
        self.errors += 1;
        if self.errors >= self.most_errors {
            self.say("421 4.7.0");
            self.close();
        }
    }

    fn idled(&mut self) {
        self.idle += 1;
        if self.idle >= self.most_idle && !self.closed {
            self.say("421 4.7.0");
            self.close();
        }
    }

    fn close(&mut self) {
        self.abandon();
        self.closed = true;
    }

    fn abandon(&mut self) {
        self.abandoned += usize::from(self.transaction.take().is_some());
    }

    fn hear(&mut self, said: &Said) {
        match *said {
            Said::Hello(verb) => self.hello(verb),
            Said::Mail(local, parameter) => {
                let path = if local.is_empty() { String::new() } else { format!("{local}@b.example") };
                self.sent += &format!("MAIL FROM:<{path}>{parameter}\r\n");
                self.mail(local, parameter);
            }
            Said::Rcpt(local) => {
                self.sent += &format!("RCPT TO:<{local}@b.example>\r\n");
                self.rcpt(local);
            }
            Said::Data(content) => self.data(content),
            Said::Bdat(content, last) => {
                let word = if last { " LAST" } else { "" };
                self.sent += &format!("BDAT {}{word}\r\n{content}", content.len());
                self.bdat(content, last);
            }
            Said::Auth(right) => self.auth(right),
            Said::Other(line) => {
                self.sent += &format!("{line}\r\n");
                self.other(line);
            }
        }
    }

    fn hello(&mut self, verb: &'static str) {
        self.sent += &format!("{verb} a.example\r\n");
        if (verb == "LHLO") != self.lmtp {
            return self.no("500 5.5.1");
        }
        self.abandon();
        self.hello = Some(verb);
        self.say("250 ");
        self.idled();
    }

    fn mail(&mut self, local: &str, parameter: &str) {
        if self.hello.is_none() {
            return self.no("503 5.5.1");
        }
        if self.hello == Some("HELO") && !parameter.is_empty() {
            return self.no("555 5.5.4");
        }
        if self.transaction.is_some() {
            return self.no("503 5.5.1");
        }
        if self.auth_required && !self.login {
            return self.no("530 5.7.0");
        }
        match parameter {
            " PRDR" if self.lmtp => return self.no("555 5.5.4"),
            " REQUIRETLS" => return self.no("555 5.5.4"),
            " SIZE=31" => return self.no("552 5.3.4"),
            _ => {}
        }
        match local {
            "nobody" => self.no("550 5.1.1"),
            "later" => self.no("451 4.2.0"),
            _ => {
                self.say("250 2.1.0");
                self.transaction = Some(Transaction {
                    binary: parameter == " BODY=BINARYMIME",
                    prdr: parameter == " PRDR",
                    ..Transaction::default()
                });
            }
        }
    }

    fn rcpt(&mut self, local: &'static str) {
        let Some(transaction) = &mut self.transaction else { return self.no("503 5.5.1") };
        if transaction.chunks.is_some() {
            return self.no("503 5.5.1");
        }
        if transaction.recipients.len() == RECIPIENTS {
            self.say("452 4.5.3");
            return self.idled();
        }
        match local {
            "nobody" => self.no("550 5.1.1"),
            "later" => self.no("451 4.2.0"),
            "bye" => self.no("421 4.3.2"),
            _ => {
                transaction.recipients.push(local);
                self.say("250 2.1.5");
            }
        }
    }

    fn data(&mut self, content: &str) {
        self.sent += "DATA\r\n";
        match &self.transaction {
            Some(transaction)
                if transaction.chunks.is_none() && !transaction.binary && !transaction.recipients.is_empty() =>
            {
                if transaction.recipients.contains(&"disk") {
                    return self.no("452 4.3.1");
                }
            }
            _ => return self.no("503 5.5.1"),
        }
        self.say("354 ");
        self.sent += content;
        self.sent += ".\r\n";
        // The only content of ours with a dot at the start of a line has two of them there.
        self.content(content.strip_prefix('.').unwrap_or(content), true);
    }

    fn bdat(&mut self, content: &str, last: bool) {
        if content.is_empty() && !last {
            self.idled();
            if self.closed {
                return;
            }
        }
        let Some(transaction) = &mut self.transaction else { return self.no("503 5.5.1") };
        if transaction.recipients.is_empty() {
            return self.no("503 5.5.1");
        }
        if self.hello == Some("HELO") {
            self.abandon();
            return self.no("503 5.5.1");
        }
        let copies = if self.lmtp && last { transaction.recipients.len() } else { 1 };
        transaction.declared += content.len();
        if transaction.declared > SIZE {
            self.abandon();
            return self.no_for(copies, "552 5.3.4");
        }
        if transaction.chunks.is_none() && transaction.recipients.contains(&"disk") {
            self.abandon();
            return self.no_for(copies, "452 4.3.1");
        }
        let so_far = transaction.chunks.take().unwrap_or_default() + content;
        self.content(&so_far, last);
    }

    fn content(&mut self, content: &str, last: bool) {
        let Some(transaction) = &mut self.transaction else { panic!("content for nobody") };
        let copies = if self.lmtp && last { transaction.recipients.len() } else { 1 };
        let without = content.replace("\r\n", "");
        // A CR at the end may still find its LF.
        let bare = without.trim_end_matches(|c| c == '\r' && !last).contains(['\r', '\n']);
        if content.len() > SIZE {
            self.abandon();
            return self.no_for(copies, "552 5.3.4");
        }
        if bare && !transaction.binary {
            self.abandon();
            return self.no_for(copies, "554 5.6.0");
        }
        if !last {
            transaction.chunks = Some(content.to_string());
            return self.say("250 2.0.0");
        }
        self.messages.push(content.to_string());
        let Some(Transaction { recipients, prdr, .. }) = self.transaction.take() else { return };
        let verdicts: Vec<_> = recipients
            .iter()
            .map(|local| match *local {
                "full" => "452 4.2.2",
                "hates" => "550 5.7.1",
                "gone" => "421 4.3.0",
                _ => "250 2.0.0",
            })
            .collect();
        let best = ["2", "4", "5"].iter().find_map(|class| verdicts.iter().find(|verdict| verdict.starts_with(class)));
        let each = prdr && verdicts.len() > 1;
        let mut replies = vec![];
        if each {
            replies.push("353 ");
        }
        if each || self.lmtp {
            replies.extend(&verdicts);
        }
        if !self.lmtp {
            replies.extend(best);
        }
        let gone = replies.iter().any(|reply| reply.starts_with("421"));
        let accepted = best.is_some_and(|best| best.starts_with('2'));
        self.replies.extend(replies);
        if accepted {
            self.errors = 0;
            self.idle = 0;
        }
        if gone {
            self.close();
        } else if !accepted {
            self.failed();
        }
    }

    fn auth(&mut self, right: bool) {
        self.sent += if right { "AUTH PLAIN AGFubgBzZWNyZXQ=\r\n" } else { "AUTH PLAIN AAAA\r\n" };
        if matches!(self.hello, None | Some("HELO")) || self.login || self.transaction.is_some() {
            return self.no("503 5.5.1");
        }
        if right {
            self.login = true;
            return self.say("235 2.7.0");
        }
        self.no("535 5.7.8");
        self.failures += 1;
        if self.failures >= FAILURES && !self.closed {
            self.say("421 4.7.0");
            self.close();
        }
    }

    fn other(&mut self, line: &str) {
        match line {
            "RSET" | "NOOP" => {
                if line == "RSET" {
                    self.abandon();
                }
                self.say("250 2.0.0");
                self.idled();
            }
            "VRFY ann" => {
                self.say("250 2.1.5");
                self.idled();
            }
            "HELP" => {
                self.say("214 2.0.0");
                self.idled();
            }
            "EXPN a" => self.no("502 5.5.1"),
            "QUIT" => {
                self.say("221 2.0.0");
                self.close();
            }
            "RCPT TO:c" => self.no("501 5.1.3"),
            _ => self.no("500 5.5.2"),
        }
    }
}

fn options(model: &Model, batch: u32) -> Options {
    with(|options| {
        options.protocol = if model.lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        options.plaintext_mechanisms = vec!["PLAIN".to_string()];
        options.require_auth = model.auth_required;
        options.limits.errors = model.most_errors;
        options.limits.idle_commands = model.most_idle;
        options.limits.auth_failures = FAILURES;
        options.limits.recipients = RECIPIENTS as u32;
        options.limits.recipient_batch = batch;
        options.limits.message_size = SIZE as u64;
    })
}

/// The last line of each reply.
fn replies(sent: &[u8]) -> Vec<String> {
    let sent = String::from_utf8_lossy(sent);
    sent.split_terminator("\r\n").filter(|line| line.as_bytes()[3] == b' ').map(String::from).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_session_says_what_the_model_says(
        (lmtp, auth_required) in (any::<bool>(), prop::bool::weighted(0.1)),
        (most_errors, most_idle, batch) in (1..20_u32, 2..20_u32, 1..6_u32),
        dialogue in prop::collection::vec(said(), 0..50),
        piece in prop_oneof![Just(usize::MAX), 1..50_usize],
        icy in prop::bool::weighted(0.2),
    ) {
        let mut model = Model { lmtp, auth_required, most_errors, most_idle, ..Model::default() };
        let options = options(&model, batch);
        model.say("220 ");
        for said in [Said::Hello(if lmtp { "LHLO" } else { "EHLO" })].iter().chain(&dialogue) {
            if !model.closed {
                model.hear(said);
            }
        }
        let mut pair = Pair::new(&options, icy);
        for piece in model.sent.as_bytes().chunks(piece) {
            if pair.need == Need::Input {
                pair.send(piece);
            }
        }
        let said = replies(&pair.sent);
        let agree = said.len() == model.replies.len()
            && said.iter().zip(&model.replies).all(|(said, wanted)| said.starts_with(wanted));
        prop_assert!(agree, "sent {:?}\nsaid {said:#?}\nwanted {:#?}", model.sent, model.replies);
        let messages: Vec<_> = pair.messages.iter().map(|message| String::from_utf8_lossy(message)).collect();
        prop_assert_eq!(&messages, &model.messages);
        prop_assert_eq!(pair.need == Need::Close, model.closed);
        prop_assert_eq!(pair.abandoned, model.abandoned);
    }
}
