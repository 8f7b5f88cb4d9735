//! The embedder's answers: checked before anything changes, then handed to where the question came from.

use alloc::{format, string::ToString};

use super::auth::CHALLENGE;
use super::state::{Asked, Denial};
use super::{Session, Turn, say};
use crate::question::{Answer, Decision, Question, Refusal, SaslAnswer, VerifyAnswer};
use crate::reply;
use crate::step::Misuse;

/// The answer fits the question, and what it says can be said.
pub(super) fn check(question: &Question, answer: &Answer) -> Result<(), Misuse> {
    let wrong = || Misuse::WrongAnswer(name(question));
    match (question, answer) {
        (Question::Connection, Answer::Connection(decision))
        | (Question::Hello(_), Answer::Hello(decision))
        | (Question::Xclient(_), Answer::Xclient(decision))
        | (Question::Sender(_), Answer::Sender(decision))
        | (Question::Data, Answer::Data(decision)) => check_decisions(core::slice::from_ref(decision)),
        (Question::Sender(_), Answer::SenderWithPriority(-9..=9)) => Ok(()),
        (Question::Sender(_), Answer::SenderWithPriority(priority)) => {
            Err(Misuse::BadAnswer(format!("the priority {priority}; it is -9 to 9")))
        }
        (Question::Recipients(asked), Answer::Recipients(decisions)) if asked.len() == decisions.len() => {
            check_decisions(decisions)
        }
        (Question::Message(facts), Answer::Message(decisions)) if facts.recipients as usize == decisions.len() => {
            check_decisions(decisions)
        }
        (Question::Verify(_), Answer::Verify(VerifyAnswer::Refused(refusal))) => check_refusal(refusal),
        (Question::Verify(_), Answer::Verify(_)) => Ok(()),
        (Question::Sasl(_), Answer::Sasl(SaslAnswer::Refused(refusal))) => check_refusal(refusal),
        (Question::Sasl(_), Answer::Sasl(SaslAnswer::Challenge(challenge))) if challenge.len() > CHALLENGE => {
            Err(Misuse::BadAnswer(format!("a challenge of more than {CHALLENGE} octets")))
        }
        (Question::Sasl(_), Answer::Sasl(_)) => Ok(()),
        _ => Err(wrong()),
    }
}

fn check_decisions(decisions: &[Decision]) -> Result<(), Misuse> {
    decisions.iter().filter_map(|decision| decision.as_ref().err()).try_for_each(check_refusal)
}

pub(super) fn check_refusal(refusal: &Refusal) -> Result<(), Misuse> {
    if reply::is_possible(refusal) {
        return Ok(());
    }
    let Refusal { code, subject, detail, .. } = refusal;
    Err(Misuse::BadAnswer(format!(
        "a refusal is 4yz or 5yz and x.y.z of at most three digits, not {code} ?.{subject}.{detail}"
    )))
}

fn name(question: &Question) -> alloc::string::String {
    match question {
        Question::Connection => "connection".to_string(),
        Question::Hello(_) => "hello".to_string(),
        Question::Xclient(_) => "xclient".to_string(),
        Question::Sasl(_) => "sasl".to_string(),
        Question::Sender(_) => "sender".to_string(),
        Question::Recipients(recipients) => format!("recipients, {} of them", recipients.len()),
        Question::Verify(_) => "verify".to_string(),
        Question::Data => "data".to_string(),
        Question::Message(facts) => format!("message, for {} recipients", facts.recipients),
    }
}

impl Session {
    /// The phase is already [`super::state::Phase::Command`]; `answer` has passed [`check`].
    pub(super) fn answered(&mut self, turn: &mut Turn<'_>, asked: Asked, answer: Answer) {
        match (asked.question, answer) {
            (Question::Connection, Answer::Connection(decision)) => self.greeted(turn, decision),
            (Question::Hello(hello), Answer::Hello(decision)) => self.hello_answered(turn, hello.verb, decision),
            (Question::Xclient(attributes), Answer::Xclient(decision)) => {
                self.xclient_answered(turn, &attributes, decision);
            }
            (Question::Sasl(_), Answer::Sasl(answer)) => self.sasl_answered(turn, answer),
            (Question::Sender(sender), Answer::Sender(decision)) => self.sender_answered(turn, &sender, decision),
            (Question::Sender(sender), Answer::SenderWithPriority(priority)) => {
                self.sender_lowered(turn, &sender, priority);
            }
            (Question::Recipients(_), Answer::Recipients(decisions)) => {
                self.recipients_answered(turn, decisions, asked.faults);
            }
            (Question::Verify(what), Answer::Verify(answer)) => self.verified(turn, &what, answer),
            (Question::Data, Answer::Data(decision)) => match asked.chunk {
                None => self.data_answered(turn, decision),
                Some(chunk) => self.bdat_answered(turn, chunk, decision),
            },
            (Question::Message(_), Answer::Message(decisions)) => self.message_answered(turn, decisions),
            _ => {}
        }
    }

    fn verified(&mut self, turn: &mut Turn<'_>, what: &str, answer: VerifyAnswer) {
        // RFC 6531 section 3.7.4.2: a peer that did not use UTF-8 gets none.
        let utf8 = !what.is_ascii();
        match answer {
            VerifyAnswer::Unsure => turn.say(say::CANNOT_VERIFY),
            VerifyAnswer::Known(mailbox) if !utf8 && !mailbox.is_ascii() => turn.say(say::CANNOT_VERIFY),
            VerifyAnswer::Known(mailbox) if mailbox.contains('<') => turn.write(250, Some((1, 5)), &mailbox, utf8),
            VerifyAnswer::Known(mailbox) => turn.write(250, Some((1, 5)), &format!("<{mailbox}>"), utf8),
            VerifyAnswer::Refused(refusal) => return self.deny(turn, &Denial::theirs(refusal, utf8)),
        }
        self.idle(turn);
    }
}
