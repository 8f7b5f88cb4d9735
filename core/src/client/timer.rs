//! When the session gives up on the peer. RFC 5321 section 4.5.3.2.
//!
//! Computed from the state, never stored. A time runs from the last whole reply, or from the last time that something was
//! sent. While the embedder has a challenge to answer, no timer runs.

use super::state::{Expected, Phase};
use super::{Session, Turn};
use crate::step::Occasion;

/// No timer runs.
pub(super) const NEVER: u64 = u64::MAX;

impl Session {
    /// The time at which `tick` ends the session.
    pub(super) fn deadline(&self) -> u64 {
        let limits = &self.options.limits;
        let most = match self.state.phase {
            Phase::New | Phase::Closed | Phase::Response(_) => return NEVER,
            Phase::Handshake => limits.handshake_timeout,
            Phase::Ready => limits.idle_timeout,
            Phase::Content => limits.block_timeout,
            Phase::Replies => match self.state.expected.front() {
                None => return NEVER,
                Some(Expected::Greeting) => limits.greeting_timeout,
                Some(Expected::Mail) => limits.mail_timeout,
                Some(Expected::Rcpt(_)) => limits.rcpt_timeout,
                Some(Expected::Data) => limits.data_timeout,
                Some(Expected::Chunk) => limits.block_timeout,
                Some(Expected::Message | Expected::Recipient(_) | Expected::Provisional(_) | Expected::Nothing) => {
                    limits.message_timeout
                }
                Some(Expected::Quit) => limits.quit_timeout,
                Some(
                    Expected::Hello
                    | Expected::Helo
                    | Expected::StartTls
                    | Expected::Auth
                    | Expected::Cancel
                    | Expected::Reset,
                ) => limits.command_timeout,
            },
        };
        self.state.waiting.saturating_add(most)
    }

    /// The deadline has come; [`NEVER`] does not, not even at the end of time.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let deadline = self.deadline();
        deadline != NEVER && now >= deadline
    }

    pub(super) fn timed_out(&mut self, turn: &mut Turn<'_>) {
        if self.state.phase == Phase::Ready {
            // Nobody is at fault.
            return self.say_quit(turn);
        }
        turn.event(Occasion::TimedOut, "waited too long for the peer");
        self.gone(turn, super::Fault::TimedOut, "the peer took too long");
    }
}
