//! How a session ends, and what becomes of the recipients that wait then. RFC 1047, RFC 5321 sections 3.8 and 4.5.3.2.

use alloc::string::String;

use super::state::{Expected, Phase, Slot};
use super::step::{Cause, Failure, Fate, Fault, Outcome, Reply, Stage};
use super::turn::name;
use super::{Session, Turn};
use crate::step::Occasion;

impl Session {
    /// What the session is at.
    pub(super) fn stage(&self) -> Stage {
        match &self.state.phase {
            Phase::Handshake => Stage::Handshake,
            Phase::Response(_) => Stage::Auth,
            Phase::Content => Stage::Content,
            _ => self.state.expected.front().map_or(Stage::Idle, |expected| expected.stage()),
        }
    }

    /// This recipient's part is over.
    pub(super) fn settle(
        &mut self,
        turn: &mut Turn<'_>,
        place: u32,
        fate: Fate,
        cause: Cause,
        stage: Stage,
        reply: Option<&Reply>,
    ) {
        let (dsn, deliver_by) = (self.state.offer.dsn, self.state.offer.deliver_by);
        let slot = self.state.delivery.as_mut().and_then(|delivery| delivery.slots.get_mut(place as usize));
        match slot {
            None | Some(Slot::Done) => {}
            Some(slot) => {
                *slot = Slot::Done;
                let class = match fate {
                    Fate::Accepted => 2,
                    Fate::Permanent => 5,
                    Fate::Temporary | Fate::Unknown | Fate::Unsent => 4,
                };
                let given = reply.and_then(|reply| reply.status).filter(|status| status.class == class);
                turn.step.outcomes.push(Outcome {
                    recipient: place,
                    fate,
                    cause,
                    stage,
                    status: given.unwrap_or_else(|| cause.status(fate)),
                    reply: reply.cloned(),
                    dsn,
                    deliver_by,
                });
            }
        }
    }

    /// All recipients that have no outcome get this one.
    pub(super) fn settle_all(
        &mut self,
        turn: &mut Turn<'_>,
        fate: Fate,
        cause: Cause,
        stage: Stage,
        reply: Option<&Reply>,
    ) {
        let count = self.state.delivery.as_ref().map_or(0, |delivery| delivery.slots.len());
        for place in (0..).take(count) {
            self.settle(turn, place, fate, cause, stage, reply);
        }
    }

    /// The peer refuses: whoever waits in a transaction has this for an answer. The connection is closed, by QUIT where it
    /// is in step.
    pub(super) fn refused(&mut self, turn: &mut Turn<'_>, fault: Fault, stage: Stage, reply: Option<Reply>) {
        let (fate, cause) = match &reply {
            Some(reply) if reply.code >= 500 => (Fate::Permanent, Cause::Reply),
            Some(reply) if reply.code >= 400 => (Fate::Temporary, Cause::Reply),
            _ => (Fate::Temporary, Cause::BadReply),
        };
        self.settle_all(turn, fate, cause, stage, reply.as_ref());
        if fault != Fault::Leaving && self.state.expected.is_empty() && stage != Stage::Content {
            turn.command("QUIT");
        }
        let detail = match fault {
            Fault::NoTls => "STARTTLS is not offered",
            Fault::Leaving => "the peer closes the connection",
            _ => "the peer refuses",
        };
        self.fail(turn, Failure { fault, stage, reply, detail: detail.into() });
    }

    /// The connection is of no use any more, and what was not answered stays unanswered.
    pub(super) fn gone(&mut self, turn: &mut Turn<'_>, fault: Fault, detail: &str) {
        let stage = self.stage();
        let cause = match fault {
            Fault::Lost => Cause::Lost,
            Fault::TimedOut => Cause::TimedOut,
            _ => Cause::BadReply,
        };
        self.settle_open(turn, cause, stage);
        if stage == Stage::Quit {
            turn.event(Occasion::Closed, "");
            return self.close();
        }
        self.fail(turn, Failure { fault, stage, reply: None, detail: String::from(detail) });
    }

    /// A reply that is none, or of a code that this command never has.
    pub(super) fn bad_reply(&mut self, turn: &mut Turn<'_>, stage: Stage, reply: Reply) {
        self.settle_open(turn, Cause::BadReply, stage);
        let detail = alloc::format!("{} is no answer to {}", reply.code, name(stage));
        self.fail(turn, Failure { fault: Fault::BadReply, stage, reply: Some(reply), detail });
    }

    /// Without an answer: the peer may have the message if all of it went out.
    fn settle_open(&mut self, turn: &mut Turn<'_>, cause: Cause, stage: Stage) {
        let ended = self.state.delivery.as_ref().is_some_and(|delivery| delivery.ended && !delivery.refused);
        let fate = if ended { Fate::Unknown } else { Fate::Temporary };
        self.settle_all(turn, fate, cause, stage, None);
    }

    pub(super) fn fail(&mut self, turn: &mut Turn<'_>, failure: Failure) {
        let occasion = match failure.fault {
            Fault::Refused | Fault::NoTls | Fault::TlsRefused | Fault::Leaving => None,
            Fault::Plaintext => Some(Occasion::PlaintextDiscarded),
            Fault::BadReply | Fault::TooMuch => Some(Occasion::SyntaxError),
            Fault::TimedOut => None,
            Fault::Lost => Some(Occasion::Closed),
        };
        if let Some(occasion) = occasion {
            turn.event(occasion, alloc::format!("{}: {}", name(failure.stage), failure.detail));
        }
        turn.step.failure = Some(failure);
        self.close();
    }

    /// QUIT, and one reply more.
    pub(super) fn say_quit(&mut self, turn: &mut Turn<'_>) {
        turn.command("QUIT");
        self.state.expected.push_back(Expected::Quit);
        self.state.phase = Phase::Replies;
    }

    /// The embedder gives up: what is under way is left as it is.
    pub(super) fn abandon(&mut self, turn: &mut Turn<'_>) {
        let stage = self.stage();
        self.settle_open(turn, Cause::Abandoned, stage);
        turn.event(Occasion::Closed, "");
        self.close();
    }

    pub(super) fn close(&mut self) {
        self.state.phase = Phase::Closed;
        self.state.delivery = None;
        self.state.expected.clear();
        self.state.initial = None;
    }
}
