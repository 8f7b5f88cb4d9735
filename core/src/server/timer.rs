//! When the session gives up on the peer. RFC 5321 section 4.5.3.2.
//!
//! Computed from the state, never stored: so there is nothing to cancel and nothing to forget. While a question is
//! open time runs against the embedder, and no timer against the peer.

use super::say::leaving;
use super::state::Phase;
use super::{Session, Turn};
use crate::step::Occasion;

/// No timer runs.
pub(super) const NEVER: u64 = u64::MAX;

/// [`NEVER`] does not come, not even at the end of time.
pub(super) fn is_due(deadline: u64, now: u64) -> bool {
    deadline != NEVER && now >= deadline
}

impl Session {
    /// The time at which `tick` closes the session.
    pub(super) fn deadline(&self) -> u64 {
        let limits = &self.options.limits;
        let since = |time: u64, most: u64| time.saturating_add(most);
        let waiting = self.state.clock.waiting;
        match self.state.phase {
            Phase::New | Phase::Asked(_) | Phase::Closed => NEVER,
            Phase::Command | Phase::Exchange => since(waiting, limits.command_timeout).min(self.hard_deadline()),
            Phase::Handshake => since(waiting, limits.handshake_timeout).min(self.hard_deadline()),
            Phase::Data | Phase::Chunk(_) => since(waiting, limits.data_timeout).min(self.hard_deadline()),
        }
    }

    /// The part of it that no octet from the peer puts off, except at the rate that is wanted.
    pub(super) fn hard_deadline(&self) -> u64 {
        let limits = &self.options.limits;
        let clock = &self.state.clock;
        let mut deadline = NEVER;
        if limits.session > 0 {
            deadline = clock.started.saturating_add(limits.session);
        }
        let content = match &self.state.phase {
            Phase::Data | Phase::Chunk(_) => true,
            _ => self.state.transaction.as_ref().is_some_and(|transaction| transaction.content.is_some()),
        };
        if content && limits.data_rate > 0 {
            let earned = clock.octets.saturating_mul(1000) / u64::from(limits.data_rate);
            deadline = deadline.min(clock.content.saturating_add(limits.data_allowance).saturating_add(earned));
        }
        deadline
    }

    pub(super) fn timed_out(&mut self, turn: &mut Turn<'_>) {
        turn.event(Occasion::TimedOut, "waited too long for the peer");
        if matches!(self.state.phase, Phase::Handshake) {
            // The peer waits for TLS records: nothing can be said.
            self.close(turn);
        } else {
            self.leave(turn, leaving::TIMEOUT);
        }
    }
}
