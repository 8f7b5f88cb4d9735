//! MAIL and RCPT. RFC 5321 section 3.3.

use alloc::{format, vec, vec::Vec};

use super::say::leaving;
use super::state::{Asked, Denial, Fault, Phase, Transaction};
use super::{Session, Turn, say};
use crate::address::{ForwardPath, HostName, Mailbox};
use crate::command::{BodyKind, ByMode, Command, DeliverBy, HelloVerb, Hold, MailParameters, Recipient, Sender};
use crate::question::{Decision, Question};
use crate::syntax::command;

impl Session {
    pub(super) fn mail(&mut self, turn: &mut Turn<'_>, sender: Sender) -> Result<(), Denial> {
        let denied = |reply| Err(Denial::ours(Fault::Sequence, reply));
        let limits = &self.options.limits;
        let parameters = &sender.parameters;
        match self.state.hello {
            None => return denied(say::HELLO_FIRST),
            Some(HelloVerb::Helo) if *parameters != MailParameters::default() => return denied(say::NOT_OFFERED),
            _ => {}
        }
        if self.state.transaction.is_some() {
            return denied(say::NESTED);
        }
        if self.options.require_auth && !self.state.login {
            return denied(say::AUTH_FIRST);
        }
        let not_offered = (parameters.require_tls && !self.state.tls)
            || (parameters.prdr && self.is_lmtp())
            || (parameters.auth.is_some() && self.mechanisms().is_empty())
            || (parameters.hold.is_some() && !self.offers_hold())
            || (parameters.deliver_by.is_some() && !self.options.deliver_by)
            || (parameters.priority.is_some() && !self.options.priority);
        if not_offered {
            return denied(say::NOT_OFFERED);
        }
        if parameters.size.is_some_and(|size| limits.message_size > 0 && size > limits.message_size) {
            return denied(say::TOO_LARGE);
        }
        let held_too_long = match parameters.hold {
            Some(Hold::For(seconds)) => seconds > limits.hold_for,
            Some(Hold::Until(time)) => time > limits.hold_until,
            None => false,
        };
        if held_too_long {
            return denied(say::HELD_TOO_LONG);
        }
        let too_soon = |by: DeliverBy| by.mode == ByMode::Return && i64::from(by.seconds) < limits.deliver_by.into();
        if parameters.deliver_by.is_some_and(too_soon) {
            return denied(say::TOO_SOON);
        }
        if !parameters.smtputf8 && sender.mailbox.as_ref().is_some_and(needs_utf8) {
            return denied(say::NEEDS_SMTPUTF8);
        }
        if limits.messages > 0 && self.state.counts.messages >= limits.messages {
            self.leave(turn, leaving::MESSAGES);
            return Ok(());
        }
        self.ask(Question::Sender(sender));
        Ok(())
    }

    pub(super) fn sender_answered(&mut self, turn: &mut Turn<'_>, sender: &Sender, decision: Decision) {
        match decision {
            Ok(text) => {
                self.open(&sender.parameters);
                turn.say_or(say::SENDER_OK, text.as_deref(), sender.parameters.smtputf8);
            }
            Err(refusal) => self.deny(turn, &Denial::theirs(refusal, sender.parameters.smtputf8)),
        }
    }

    /// RFC 6710 section 4.1: accepted, and the reply begins with the priority that counts.
    pub(super) fn sender_lowered(&mut self, turn: &mut Turn<'_>, sender: &Sender, priority: i8) {
        self.open(&sender.parameters);
        turn.write(250, Some((3, 6)), &format!("{priority} is the new priority of the message"), false);
    }

    fn open(&mut self, parameters: &MailParameters) {
        self.state.transaction = Some(Transaction {
            smtputf8: parameters.smtputf8,
            binary: parameters.body == BodyKind::BinaryMime,
            prdr: parameters.prdr,
            ..Transaction::default()
        });
    }

    /// Asks about this recipient and those behind it that are already here.
    pub(super) fn rcpt(&mut self, turn: &mut Turn<'_>, recipient: Recipient) -> Result<(), Denial> {
        self.rcpt_in_place(&recipient)?;
        if self.is_full(0) {
            turn.say(say::TOO_MANY_RECIPIENTS);
            self.idle(turn);
            return Ok(());
        }
        let mut recipients = vec![recipient];
        let mut faults = Vec::new();
        let most = self.options.limits.recipient_batch as usize;
        while recipients.len() + faults.len() < most && !self.is_full(recipients.len()) {
            let Some(next) = self.next_rcpt(turn) else { break };
            match next.and_then(|recipient| self.rcpt_in_place(&recipient).map(|()| recipient)) {
                Ok(recipient) => recipients.push(recipient),
                Err(denial) => faults.push((u32::try_from(recipients.len()).unwrap_or(u32::MAX), denial)),
            }
        }
        self.state.phase = Phase::Asked(Asked { question: Question::Recipients(recipients), faults, chunk: None });
        Ok(())
    }

    /// The next line, if it is whole and a RCPT; nothing is used otherwise.
    fn next_rcpt(&mut self, turn: &mut Turn<'_>) -> Option<Result<Recipient, Denial>> {
        let rest = turn.rest();
        let is_rcpt = rest.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"RCPT "));
        if !self.state.reader.at_line_start() || !is_rcpt || memchr::memmem::find(rest, b"\r\n").is_none() {
            return None;
        }
        let limit = self.options.limits.command_line as usize;
        let (used, line) = self.state.reader.read(rest, limit);
        turn.at += used;
        match line? {
            Err(fault) => Some(Err(Denial::from(fault))),
            Ok(line) => {
                let parsed = command::parse(&line);
                turn.command(&line, parsed.is_err());
                match parsed {
                    Ok(Command::Rcpt(recipient)) => Some(Ok(recipient)),
                    // The verb says RCPT: there is no other command to come from this.
                    Ok(_) => None,
                    Err(error) => Some(Err(Denial::from(error))),
                }
            }
        }
    }

    fn rcpt_in_place(&self, recipient: &Recipient) -> Result<(), Denial> {
        let denied = |reply| Err(Denial::ours(Fault::Sequence, reply));
        let Some(transaction) = &self.state.transaction else { return denied(say::MAIL_FIRST) };
        if transaction.content.is_some() {
            return denied(say::CHUNKS_BEGUN);
        }
        if self.state.hello == Some(HelloVerb::Helo) && (recipient.notify.is_some() || recipient.orcpt.is_some()) {
            return denied(say::NOT_OFFERED);
        }
        match &recipient.path {
            ForwardPath::Mailbox(mailbox) if !transaction.smtputf8 && needs_utf8(mailbox) => {
                denied(say::NEEDS_SMTPUTF8)
            }
            _ => Ok(()),
        }
    }

    /// No room for one more recipient than those accepted and `pending`.
    fn is_full(&self, pending: usize) -> bool {
        let accepted = self.state.transaction.as_ref().map_or(0, |transaction| transaction.recipients) as usize;
        accepted.saturating_add(pending) >= self.options.limits.recipients as usize
    }

    pub(super) fn recipients_answered(
        &mut self,
        turn: &mut Turn<'_>,
        decisions: Vec<Decision>,
        faults: Vec<(u32, Denial)>,
    ) {
        let utf8 = self.state.transaction.as_ref().is_some_and(|transaction| transaction.smtputf8);
        let mut faults = faults.into_iter().peekable();
        for (place, decision) in decisions.into_iter().enumerate() {
            while let Some((_, denial)) = faults.next_if(|(before, _)| *before as usize <= place) {
                self.deny(turn, &denial);
                if self.is_over() {
                    return;
                }
            }
            match decision {
                Ok(text) => {
                    if let Some(transaction) = &mut self.state.transaction {
                        transaction.recipients = transaction.recipients.saturating_add(1);
                    }
                    turn.say_or(say::RECIPIENT_OK, text.as_deref(), utf8);
                }
                Err(refusal) => self.deny(turn, &Denial::theirs(refusal, utf8)),
            }
            if self.is_over() {
                return;
            }
        }
        for (_, denial) in faults {
            self.deny(turn, &denial);
            if self.is_over() {
                return;
            }
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.state.phase, Phase::Closed)
    }
}

/// RFC 6531 section 3.4: not without the parameter SMTPUTF8.
fn needs_utf8(mailbox: &Mailbox) -> bool {
    let (HostName::Domain(host) | HostName::Literal(host)) = &mailbox.host;
    !mailbox.local.is_ascii() || !host.is_ascii()
}
