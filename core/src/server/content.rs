//! DATA, BDAT and the replies to a message. RFC 5321 section 4.1.1.4, RFC 3030, RFC 2033 section 4.2,
//! draft-hall-prdr-00.
//!
//! Content that can not be accepted is read to its end, so that the session stays in step, and then answered once (in LMTP
//! once for each recipient). A refused chunk ends its transaction: the chunks behind it get 503 and are skipped (RFC
//! 3030 section 2). A chunk that is declared so large that skipping it would take too long is answered at once, and the
//! connection closed; DATA that can not be accepted and does not end is answered when it has gone on for as long.

use alloc::{borrow::Cow, string::ToString, vec::Vec};

use super::say::leaving;
use super::state::{Asked, Chunk, Denial, Fault, Phase};
use super::{Session, Turn, say};
use crate::command::HelloVerb;
use crate::question::{Decision, Question};
use crate::reply;
use crate::step::Occasion;
use crate::syntax::data::{Content, ContentFault};

/// Octets that are skipped for the sake of staying in step where no limit on messages says more.
const SKIP: u64 = 16 * 1024 * 1024;

impl Session {
    pub(super) fn data(&mut self) -> Result<(), Denial> {
        let denied = |reply| Err(Denial::ours(Fault::Sequence, reply));
        match &self.state.transaction {
            None => denied(say::MAIL_FIRST),
            Some(transaction) if transaction.content.is_some() => denied(say::CHUNKS_BEGUN),
            Some(transaction) if transaction.binary => denied(say::ONLY_CHUNKS),
            Some(transaction) if transaction.recipients == 0 => denied(say::RCPT_FIRST),
            Some(_) => {
                self.ask(Question::Data);
                Ok(())
            }
        }
    }

    /// A refused DATA leaves the transaction as it is: the peer may try again.
    pub(super) fn data_answered(&mut self, turn: &mut Turn<'_>, decision: Decision) {
        let Some(transaction) = &mut self.state.transaction else { return };
        match decision {
            Ok(text) => {
                turn.say_or(say::GO_AHEAD, text.as_deref(), transaction.smtputf8);
                transaction.content = Some(Content::new(false));
                self.state.clock.content_begins(turn.now);
                self.state.phase = Phase::Data;
            }
            Err(refusal) => {
                let denial = Denial::theirs(refusal, transaction.smtputf8);
                self.deny(turn, &denial);
            }
        }
    }

    /// Reads content. False: there is no more.
    pub(super) fn read_data(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(content) = self.state.transaction.as_mut().and_then(|transaction| transaction.content.as_mut()) else {
            return false;
        };
        if turn.rest().is_empty() {
            return false;
        }
        let scanned = content.data(turn.input, turn.at, &self.options.limits, &mut turn.step.body);
        self.received(turn, scanned.consumed);
        if self.state.clock.octets > self.most_skipped()
            && let Some(fault) = self.content_fault()
        {
            self.refuse_content(turn, fault, true);
            self.leave_unless_closed(turn, leaving::CONTENT);
            return false;
        }
        if scanned.end {
            self.content_ended(turn);
        }
        scanned.end
    }

    /// Octets that are read for nothing but to stay in step.
    fn most_skipped(&self) -> u64 {
        self.options.limits.message_size.max(SKIP).saturating_mul(2)
    }

    fn received(&mut self, turn: &mut Turn<'_>, octets: usize) {
        turn.at += octets;
        turn.moved |= octets > 0;
        self.state.clock.octets = self.state.clock.octets.saturating_add(octets as u64);
    }

    pub(super) fn bdat(&mut self, turn: &mut Turn<'_>, size: u64, last: bool) {
        let begun = self.state.transaction.as_ref().is_some_and(|transaction| transaction.content.is_some());
        if !begun {
            self.state.clock.content_begins(turn.now);
        }
        if size == 0 && !last {
            self.idle(turn);
            if matches!(self.state.phase, Phase::Closed) {
                return;
            }
        }
        let chunk = Chunk { left: size, last, refused: None };
        match self.bdat_in_place(size) {
            Err(denial) => {
                let denial = if denial.fault == Fault::Content { self.for_each(denial, last) } else { denial };
                self.refuse_chunk(turn, chunk, denial);
            }
            Ok(()) if begun => self.state.phase = Phase::Chunk(chunk),
            Ok(()) => {
                self.state.phase =
                    Phase::Asked(Asked { question: Question::Data, faults: Vec::new(), chunk: Some(chunk) });
            }
        }
    }

    fn bdat_in_place(&mut self, size: u64) -> Result<(), Denial> {
        self.admit(&crate::command::Command::Bdat { size, last: false })?;
        let limit = self.options.limits.message_size;
        let denied = |reply| Err(Denial::ours(Fault::Sequence, reply));
        match &mut self.state.transaction {
            None => denied(say::MAIL_FIRST),
            Some(_) if self.state.hello == Some(HelloVerb::Helo) => denied(say::EHLO_FIRST),
            Some(transaction) if transaction.recipients == 0 => denied(say::RCPT_FIRST),
            Some(transaction) => {
                transaction.declared = transaction.declared.saturating_add(size);
                if limit > 0 && transaction.declared > limit {
                    return Err(Denial::ours(Fault::Content, say::TOO_LARGE));
                }
                Ok(())
            }
        }
    }

    pub(super) fn bdat_answered(&mut self, turn: &mut Turn<'_>, chunk: Chunk, decision: Decision) {
        let Some(transaction) = &mut self.state.transaction else { return };
        match decision {
            Ok(_) => {
                transaction.content = Some(Content::new(transaction.binary));
                self.state.clock.content_begins(turn.now);
                self.state.phase = Phase::Chunk(chunk);
            }
            Err(refusal) => {
                let denial = Denial::theirs(refusal, transaction.smtputf8);
                let denial = self.for_each(denial, chunk.last);
                self.state.clock.content_begins(turn.now);
                self.refuse_chunk(turn, chunk, denial);
            }
        }
    }

    /// The transaction ends, the chunk is skipped, then the peer is told; or told now if that is the end anyway.
    fn refuse_chunk(&mut self, turn: &mut Turn<'_>, mut chunk: Chunk, denial: Denial) {
        // Without recipients there is nothing to lose yet: more RCPT may follow.
        if self.state.transaction.as_ref().is_some_and(|transaction| transaction.recipients > 0) {
            self.end_transaction(turn);
        }
        if denial.code == 421 || chunk.left > self.most_skipped() {
            self.deny(turn, &denial);
            self.leave_unless_closed(turn, leaving::CHUNK);
            return;
        }
        chunk.refused = Some(denial);
        self.state.phase = Phase::Chunk(chunk);
    }

    /// Reads the octets of a chunk. False: there are no more.
    pub(super) fn read_chunk(&mut self, turn: &mut Turn<'_>) -> bool {
        let Phase::Chunk(chunk) = &mut self.state.phase else { return false };
        let rest = turn.rest();
        if chunk.left > 0 && rest.is_empty() {
            return false;
        }
        let content = self.state.transaction.as_mut().and_then(|transaction| transaction.content.as_mut());
        let used = match content {
            Some(content) if chunk.refused.is_none() => {
                content.chunk(turn.input, turn.at, chunk.left, &self.options.limits, &mut turn.step.body)
            }
            _ => usize::try_from(chunk.left).map_or(rest.len(), |left| left.min(rest.len())),
        };
        chunk.left = chunk.left.saturating_sub(used as u64);
        let done = chunk.left == 0;
        self.received(turn, used);
        if done && let Phase::Chunk(chunk) = core::mem::replace(&mut self.state.phase, Phase::Command) {
            self.chunk_ended(turn, chunk);
        }
        done
    }

    fn chunk_ended(&mut self, turn: &mut Turn<'_>, chunk: Chunk) {
        if let Some(denial) = chunk.refused {
            return self.deny(turn, &denial);
        }
        if chunk.last {
            return self.content_ended(turn);
        }
        match self.content_fault() {
            None => turn.say(say::CHUNK_OK),
            Some(fault) => self.refuse_content(turn, fault, false),
        }
    }

    fn content_fault(&self) -> Option<ContentFault> {
        let content = self.state.transaction.as_ref()?.content.as_ref()?;
        content.fault(&self.options.limits)
    }

    /// All of the content is there.
    fn content_ended(&mut self, turn: &mut Turn<'_>) {
        self.state.phase = Phase::Command;
        if let Some(content) = self.state.transaction.as_mut().and_then(|transaction| transaction.content.as_mut()) {
            content.finish();
        }
        if let Some(fault) = self.content_fault() {
            return self.refuse_content(turn, fault, true);
        }
        let Some(transaction) = &mut self.state.transaction else { return };
        if let Some(content) = transaction.content.take() {
            let facts = content.facts(transaction.recipients);
            self.ask(Question::Message(facts));
        }
    }

    fn refuse_content(&mut self, turn: &mut Turn<'_>, fault: ContentFault, last: bool) {
        let (code, enhanced) = fault.reply();
        let text = Cow::Owned(fault.to_string());
        let denial = Denial { fault: Fault::Content, code, enhanced: Some(enhanced), text, utf8: false, copies: 1 };
        let denial = self.for_each(denial, last);
        self.end_transaction(turn);
        self.deny(turn, &denial);
    }

    /// LMTP answers the end of the content once for each recipient. RFC 2033 section 4.2.
    fn for_each(&self, denial: Denial, last: bool) -> Denial {
        match &self.state.transaction {
            Some(transaction) if last && self.is_lmtp() => denial.times(transaction.recipients),
            _ => denial,
        }
    }

    pub(super) fn message_answered(&mut self, turn: &mut Turn<'_>, decisions: Vec<Decision>) {
        // The embedder has decided, so nothing is abandoned.
        let Some(transaction) = self.state.transaction.take() else { return };
        let utf8 = transaction.smtputf8;
        let Some(overall) = reply::fold(&decisions) else { return };
        let accepted = overall.is_ok();
        let mut over = false;
        let mut say = |turn: &mut Turn<'_>, decision: &Decision| match decision {
            Ok(text) => turn.say_or(say::MESSAGE_OK, text.as_deref(), utf8),
            Err(refusal) => {
                turn.write(refusal.code, Some((refusal.subject, refusal.detail)), &refusal.text, utf8);
                turn.note(Occasion::Refused, refusal.code, &refusal.text);
                over |= refusal.code == 421;
            }
        };
        let each = transaction.prdr && decisions.len() > 1;
        if each {
            turn.say(say::EACH_FOLLOWS);
        }
        if each || self.is_lmtp() {
            decisions.iter().for_each(|decision| say(turn, decision));
        }
        match overall {
            _ if self.is_lmtp() => {}
            Ok(_) if each => turn.say(say::MESSAGE_OK),
            overall => say(turn, overall),
        }
        let counts = &mut self.state.counts;
        if accepted {
            counts.messages = counts.messages.saturating_add(1);
            counts.idle = 0;
            counts.errors = 0;
        }
        if over {
            self.close(turn);
        } else if !accepted {
            self.error(turn);
        }
    }
}
