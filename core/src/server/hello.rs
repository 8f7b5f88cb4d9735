//! The greeting, HELO, EHLO and LHLO, and XCLIENT, which goes back to the greeting.
//! RFC 5321 section 3.1 and 4.1.1.1, RFC 2033 section 4.1, Postfix's XCLIENT_README.

use alloc::{borrow::Cow, format, string::String, vec::Vec};

use super::state::{Denial, Fault, Phase};
use super::{Session, Turn, say};
use crate::command::{Hello, HelloVerb, XclientAttribute};
use crate::question::{Decision, Question};
use crate::syntax::date;

impl Session {
    /// May this client speak? 220, or the refusal.
    pub(super) fn greeted(&mut self, turn: &mut Turn<'_>, decision: Decision) {
        match decision {
            Ok(text) => {
                let protocol = if self.is_lmtp() { "LMTP" } else { "ESMTP" };
                let greeting = match text {
                    None => format!("{} {protocol}", self.options.server_name),
                    Some(text) => format!("{} {protocol} {text}", self.options.server_name),
                };
                turn.write(220, None, &greeting, false);
            }
            Err(refusal) => {
                let code = refusal.code;
                self.deny(turn, &Denial::theirs(refusal, false));
                if code < 500 {
                    if !matches!(self.state.phase, Phase::Closed) {
                        self.close(turn);
                    }
                } else {
                    self.state.barred = true;
                }
            }
        }
    }

    pub(super) fn hello(&mut self, hello: Hello) -> Result<(), Denial> {
        match (self.is_lmtp(), hello.verb == HelloVerb::Lhlo) {
            (true, false) => return Err(Denial::ours(Fault::Sequence, say::USE_LHLO)),
            (false, true) => return Err(Denial::ours(Fault::Sequence, say::NOT_LMTP)),
            _ => {}
        }
        if self.options.strict_hello && hello.host.is_none() {
            return Err(Denial::ours(Fault::Syntax, say::BAD_HELLO));
        }
        self.ask(Question::Hello(hello));
        Ok(())
    }

    /// RFC 5321 section 4.1.4: as if by RSET. A refused hello leaves everything as it was.
    pub(super) fn hello_answered(&mut self, turn: &mut Turn<'_>, verb: HelloVerb, decision: Decision) {
        let text = match decision {
            Ok(text) => text,
            Err(refusal) => return self.deny(turn, &Denial::theirs(refusal, false)),
        };
        self.end_transaction(turn);
        self.state.hello = Some(verb);
        let name = match text {
            None => Cow::Owned(self.options.server_name.clone()),
            Some(text) => Cow::Owned(format!("{} {text}", self.options.server_name)),
        };
        if verb == HelloVerb::Helo {
            turn.write(250, None, &name, false);
        } else {
            let mut lines = Vec::with_capacity(18);
            lines.push(name);
            self.extensions(&mut lines);
            turn.lines(250, &lines);
        }
        self.idle(turn);
    }

    fn extensions(&self, lines: &mut Vec<Cow<'static, str>>) {
        let limits = &self.options.limits;
        let mut offer = |line: &'static str| lines.push(Cow::Borrowed(line));
        for line in
            ["PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "ENHANCEDSTATUSCODES", "DSN", "HELP"]
        {
            offer(line);
        }
        if !self.is_lmtp() {
            offer("PRDR");
        }
        if self.state.tls {
            offer("REQUIRETLS");
        } else if self.options.start_tls {
            offer("STARTTLS");
        }
        lines.push(match limits.message_size {
            0 => Cow::Borrowed("SIZE"),
            size => Cow::Owned(format!("SIZE {size}")),
        });
        lines.push(Cow::Owned(match limits.messages {
            0 => format!("LIMITS RCPTMAX={}", limits.recipients),
            messages => format!("LIMITS RCPTMAX={} MAILMAX={messages}", limits.recipients),
        }));
        if self.offers_hold() {
            let until = date::written(limits.hold_until);
            lines.push(Cow::Owned(format!("FUTURERELEASE {} {until}", limits.hold_for)));
        }
        if self.options.deliver_by {
            lines.push(match limits.deliver_by {
                0 => Cow::Borrowed("DELIVERBY"),
                least => Cow::Owned(format!("DELIVERBY {least}")),
            });
        }
        if self.options.priority {
            lines.push(Cow::Borrowed("MT-PRIORITY"));
        }
        let mechanisms = self.mechanisms();
        if !mechanisms.is_empty() {
            lines.push(Cow::Owned(format!("AUTH {}", mechanisms.join(" "))));
        }
        if !self.options.xclient.is_empty() {
            lines.push(Cow::Owned(format!("XCLIENT {}", self.options.xclient.join(" "))));
        }
    }

    /// RFC 4865 section 3: for submission; and only for those who are known (section 6).
    pub(super) fn offers_hold(&self) -> bool {
        self.options.limits.hold_for > 0 && self.state.login && !self.is_lmtp()
    }

    /// The SASL mechanisms that are offered now.
    pub(super) fn mechanisms(&self) -> &[String] {
        if !self.state.tls {
            &self.options.plaintext_mechanisms
        } else if self.options.implicit_tls {
            &self.options.tls_mechanisms
        } else {
            &self.state.mechanisms
        }
    }

    pub(super) fn xclient(&mut self, attributes: Vec<XclientAttribute>) -> Result<(), Denial> {
        if self.options.xclient.is_empty() {
            return Err(Denial::ours(Fault::Sequence, say::NO_XCLIENT));
        }
        if self.state.transaction.is_some() {
            return Err(Denial::ours(Fault::Sequence, say::NESTED));
        }
        let offered = |name: &str| self.options.xclient.iter().any(|offer| offer.eq_ignore_ascii_case(name));
        if !attributes.iter().all(|attribute| offered(&attribute.name)) {
            return Err(Denial::ours(Fault::Syntax, say::BAD_ATTRIBUTE));
        }
        self.ask(Question::Xclient(attributes));
        Ok(())
    }

    /// As if the client that the proxy speaks for had just connected. A login is the proxy's, so it is forgotten,
    /// unless the attributes name one.
    pub(super) fn xclient_answered(
        &mut self,
        turn: &mut Turn<'_>,
        attributes: &[XclientAttribute],
        decision: Decision,
    ) {
        if let Err(refusal) = decision {
            return self.deny(turn, &Denial::theirs(refusal, false));
        }
        self.state.hello = None;
        self.state.login = attributes.iter().any(|attribute| attribute.name == "LOGIN" && attribute.value.is_some());
        self.ask(Question::Connection);
        self.idle(turn);
    }
}
