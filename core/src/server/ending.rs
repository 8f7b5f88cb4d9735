//! Saying no, counting it, and every way in which a transaction or a session ends.

use alloc::format;

use super::say::leaving;
use super::state::{Denial, Phase};
use super::{Session, Turn};
use crate::step::Occasion;

impl Session {
    /// Says no, and counts it.
    pub(super) fn deny(&mut self, turn: &mut Turn<'_>, denial: &Denial) {
        for _ in 0..denial.copies {
            turn.write(denial.code, denial.enhanced, &denial.text, denial.utf8);
        }
        turn.note(denial.fault.occasion(), denial.code, &denial.text);
        if denial.code == 421 {
            self.close(turn);
        } else {
            self.error(turn);
        }
    }

    pub(super) fn error(&mut self, turn: &mut Turn<'_>) {
        let counts = &mut self.state.counts;
        counts.errors = counts.errors.saturating_add(1);
        if counts.errors >= self.options.limits.errors {
            turn.event(Occasion::TooManyErrors, "errors");
            self.leave(turn, leaving::ERRORS);
        }
    }

    /// A command that brings no message forward.
    pub(super) fn idle(&mut self, turn: &mut Turn<'_>) {
        let counts = &mut self.state.counts;
        counts.idle = counts.idle.saturating_add(1);
        if counts.idle >= self.options.limits.idle_commands && !matches!(self.state.phase, Phase::Closed) {
            turn.event(Occasion::TooManyErrors, "commands without mail");
            self.leave(turn, leaving::IDLE);
        }
    }

    /// The transaction ends without a message.
    pub(super) fn end_transaction(&mut self, turn: &mut Turn<'_>) {
        if self.state.transaction.is_some() {
            self.state.transaction = None;
            turn.step.abandoned = true;
            turn.step.body.clear();
        }
    }

    /// 421 with these words, and the end.
    pub(super) fn leave(&mut self, turn: &mut Turn<'_>, (subject, detail, text): (u16, u16, &str)) {
        let text = format!("{} {text}", self.options.server_name);
        turn.write(421, Some((subject, detail)), &text, false);
        self.close(turn);
    }

    /// The same, if what was said before has not ended the session already.
    pub(super) fn leave_unless_closed(&mut self, turn: &mut Turn<'_>, why: (u16, u16, &str)) {
        if !matches!(self.state.phase, Phase::Closed) {
            self.leave(turn, why);
        }
    }

    pub(super) fn may_leave(&self) -> bool {
        self.state.farewell.is_some() && self.state.transaction.is_none()
    }

    pub(super) fn farewell(&mut self, turn: &mut Turn<'_>) {
        if let Some(refusal) = self.state.farewell.take() {
            turn.write(refusal.code, Some((refusal.subject, refusal.detail)), &refusal.text, false);
        }
        self.close(turn);
    }

    pub(super) fn close(&mut self, turn: &mut Turn<'_>) {
        self.end_transaction(turn);
        self.state.phase = Phase::Closed;
        turn.event(Occasion::Closed, "");
    }
}
