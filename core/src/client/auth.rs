//! AUTH. RFC 4954. The mechanisms themselves are the embedder's: here pass only octets in and out of base64.

use alloc::{format, string::String, vec::Vec};

use super::reply::Said;
use super::state::{Expected, Phase};
use super::step::{Login, Reply, Stage};
use super::{Session, Turn};
use crate::step::Misuse;
use crate::syntax::base64;

/// A command line without its CRLF. RFC 5321 section 4.5.3.1.4.
const COMMAND: usize = 510;

impl Session {
    /// These octets fit a line of the exchange.
    pub(super) fn check_response(&self, octets: &[u8]) -> Result<(), Misuse> {
        let most = (self.options.limits.auth_line as usize).saturating_sub(2) / 4 * 3;
        if octets.len() <= most {
            return Ok(());
        }
        Err(Misuse::BadValue(format!("a response of {} octets; at most {most}", octets.len())))
    }

    pub(super) fn say_auth(&mut self, turn: &mut Turn<'_>, mechanism: &str, initial: Option<Vec<u8>>) {
        let mut line = format!("AUTH {mechanism}");
        self.state.initial = None;
        self.state.challenges = 0;
        if let Some(octets) = initial {
            let text = if octets.is_empty() { String::from("=") } else { base64::encode(&octets) };
            if line.len() + 1 + text.len() <= COMMAND {
                line.push(' ');
                line.push_str(&text);
            } else {
                self.state.initial = Some(octets);
            }
        }
        turn.secret(&line);
        self.state.expected.push_back(Expected::Auth);
        self.state.phase = Phase::Replies;
    }

    pub(super) fn say_response(&mut self, turn: &mut Turn<'_>, octets: &[u8]) {
        turn.secret(&base64::encode(octets));
        self.state.expected.push_back(Expected::Auth);
        self.state.phase = Phase::Replies;
    }

    pub(super) fn say_cancel(&mut self, turn: &mut Turn<'_>) {
        turn.command("*");
        self.state.expected.push_back(Expected::Cancel);
        self.state.phase = Phase::Replies;
    }

    pub(super) fn auth_answered(&mut self, turn: &mut Turn<'_>, expected: Expected, said: &Said, reply: Reply) {
        match reply.code {
            235 if expected == Expected::Auth => {
                self.state.authenticated = true;
                self.logged_in(turn, true, reply);
            }
            334 if expected == Expected::Auth => {
                self.state.challenges = self.state.challenges.saturating_add(1);
                let challenge = match said.lines.as_slice() {
                    [line] => base64::decode(line.trim_end().as_bytes()),
                    _ => None,
                };
                match (challenge, self.state.initial.take()) {
                    _ if self.state.challenges > self.options.limits.challenges => self.say_cancel(turn),
                    (None, _) => self.say_cancel(turn),
                    (Some(_), Some(initial)) => self.say_response(turn, &initial),
                    (Some(challenge), None) => self.state.phase = Phase::Response(challenge),
                }
            }
            400.. => {
                self.logged_in(turn, false, reply);
            }
            _ => self.bad_reply(turn, Stage::Auth, reply),
        }
    }

    fn logged_in(&mut self, turn: &mut Turn<'_>, accepted: bool, reply: Reply) {
        self.state.initial = None;
        turn.step.login = Some(Login { accepted, reply });
        self.state.phase = Phase::Ready;
    }
}
