//! AUTH. RFC 4954. The mechanisms themselves are the embedder's: here pass only octets in and out of base64.

use alloc::{string::String, vec::Vec};

use super::say::leaving;
use super::state::{Denial, Fault, Phase};
use super::{Session, Turn, say};
use crate::command::HelloVerb;
use crate::question::{Question, SaslAnswer, SaslStep};
use crate::step::Occasion;
use crate::syntax::base64;
use crate::syntax::line::LineFault;

/// The longest challenge: 12288 octets of a line (RFC 4954 section 4), less `334 ` and CRLF, out of base64.
pub(super) const CHALLENGE: usize = (12288 - 6) / 4 * 3;

impl Session {
    pub(super) fn auth(&mut self, mechanism: String, initial: Option<Vec<u8>>) -> Result<(), Denial> {
        let denied = |reply| Err(Denial::ours(Fault::Sequence, reply));
        if !matches!(self.state.hello, Some(HelloVerb::Ehlo | HelloVerb::Lhlo)) {
            return denied(say::EHLO_FIRST);
        }
        if self.state.login {
            return denied(say::HAS_LOGIN);
        }
        if self.state.transaction.is_some() {
            return denied(say::NESTED);
        }
        let among = |list: &[String]| list.iter().any(|offer| offer.eq_ignore_ascii_case(&mechanism));
        if !among(self.mechanisms()) {
            let inside = !self.state.tls && self.options.start_tls;
            return denied(match self.mechanisms() {
                _ if inside && among(&self.options.tls_mechanisms) => say::AUTH_NEEDS_TLS,
                [] if inside && self.options.require_auth => say::AUTH_NEEDS_TLS,
                [] => say::NO_AUTH,
                _ => say::NO_MECHANISM,
            });
        }
        self.ask(Question::Sasl(SaslStep::Start { mechanism, initial }));
        Ok(())
    }

    pub(super) fn sasl_answered(&mut self, turn: &mut Turn<'_>, answer: SaslAnswer) {
        match answer {
            SaslAnswer::Challenge(challenge) => {
                turn.challenge(&base64::encode(&challenge));
                self.state.phase = Phase::Exchange;
            }
            SaslAnswer::Authenticated(_) => {
                self.state.login = true;
                turn.say(say::LOGGED_IN);
            }
            SaslAnswer::Refused(refusal) => {
                self.deny(turn, &Denial::theirs(refusal, false));
                let counts = &mut self.state.counts;
                counts.auth_failures = counts.auth_failures.saturating_add(1);
                let many = counts.auth_failures >= self.options.limits.auth_failures;
                if many && !matches!(self.state.phase, Phase::Closed) {
                    turn.event(Occasion::TooManyErrors, "failed logins");
                    self.leave(turn, leaving::LOGINS);
                }
            }
        }
    }

    /// Reads the line that answers a challenge. False: it is not whole yet.
    pub(super) fn read_response(&mut self, turn: &mut Turn<'_>) -> bool {
        let limit = self.options.limits.auth_line as usize;
        let (used, line) = self.state.reader.read(turn.rest(), limit);
        let response = match line {
            None => None,
            Some(Err(LineFault::TooLong)) => Some(Err(Denial::ours(Fault::Syntax, say::AUTH_LINE_TOO_LONG))),
            // It only looks like BDAT: here it is a response.
            Some(Err(LineFault::Chunk)) => Some(Err(Denial::ours(Fault::Syntax, say::BAD_BASE64))),
            Some(Err(fault)) => Some(Err(Denial::from(fault))),
            Some(Ok(line)) => {
                turn.command(&line, true);
                Some(if *line == *b"*" {
                    turn.event(Occasion::AuthCancelled, "");
                    Err(Denial::ours(Fault::Sequence, say::CANCELLED))
                } else {
                    base64::decode(&line).ok_or_else(|| Denial::ours(Fault::Syntax, say::BAD_BASE64))
                })
            }
        };
        turn.at += used;
        let Some(response) = response else { return false };
        turn.moved = true;
        self.state.phase = Phase::Command;
        match response {
            Ok(octets) => self.ask(Question::Sasl(SaslStep::Response(octets))),
            Err(denial) => self.deny(turn, &denial),
        }
        true
    }
}
