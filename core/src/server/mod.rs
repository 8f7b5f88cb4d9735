//! The receiving side: one SMTP or LMTP session as a plain value.
//!
//! Owns the order of commands, the questions that follow from them, and every reply. Refuses to know who may send what
//! to whom: that is asked (see [`crate::question`]). A peer's mistake becomes a reply, the embedder's a
//! [`Misuse`]; nothing here fails in a third way.
//!
//! Each command goes the same way: read, parse, check its place, ask, reply. One at a time, except that RCPT commands
//! that are already there are asked about together. Where the input is split does not change what is sent, what
//! content is handed out, or what is asked about; only how RCPT commands are grouped.
//!
//! # STARTTLS
//!
//! Whatever stands behind the STARTTLS line in the same input is consumed and thrown away. To keep the promise
//! of RFC 3207 section 4.2 the embedder hands over all that it has read from the socket, never a part of it, and reads
//! nothing more before it has written the 220; what it reads afterwards belongs to TLS.
//!
//! # A refused connection
//!
//! After a refusal with 4yz the connection is closed. After 5yz it stays open for QUIT, everything else is answered by
//! 503 (RFC 5321 section 3.1), within the usual bounds.

mod answer;
mod auth;
mod command;
mod content;
mod ending;
mod hello;
mod image;
mod options;
mod say;
mod state;
mod timer;
mod transaction;
mod turn;

#[cfg(test)]
mod tests;

pub use options::{Options, Protocol};

use alloc::{string::String, vec::Vec};

use crate::question::{Answer, Question, Refusal};
use crate::reply;
use crate::step::{Misuse, Need, Step};
use state::{Asked, Phase, State};
use timer::is_due;
use turn::Turn;

/// One inbound session. It has no clock, no socket and no secrets.
#[derive(Clone, Debug)]
pub struct Session {
    options: Options,
    state: State,
}

impl Session {
    /// A session before its greeting.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let state = State { tls: options.implicit_tls, ..State::default() };
        Self::with(options, state)
    }

    fn with(mut options: Options, state: State) -> Self {
        options.server_name = reply::printable(&options.server_name, false).replace(' ', "-");
        options.server_name.truncate(255);
        Self { options, state }
    }

    /// The connection is open. Once. Asks whether this client may speak.
    ///
    /// # Errors
    /// [`Misuse::BadState`] the second time, [`Misuse::Closed`].
    pub fn start(&mut self, now: u64) -> Result<Step, Misuse> {
        match self.state.phase {
            Phase::New => {}
            Phase::Closed => return Err(Misuse::Closed),
            _ => return Err(Misuse::BadState("the session has been started".into())),
        }
        let mut turn = self.turn(now, &[]);
        self.state.clock.started = now;
        self.ask(Question::Connection);
        turn.moved = true;
        Ok(self.finish(turn))
    }

    /// Octets from the peer, or what is left of them. May be empty: then only what is already known is worked on.
    ///
    /// Closes the session if the time for the content or for the whole session is up, and if it is up for a line that is
    /// still not whole, as `tick` would: a peer that trickles cannot outrun its timer.
    ///
    /// # Errors
    /// [`Misuse::NotStarted`], [`Misuse::QuestionOpen`], [`Misuse::Closed`]; [`Misuse::BadState`] between STARTTLS
    /// and `secured`, and with an input of 4 GiB or more.
    pub fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, Misuse> {
        self.running()?;
        match self.state.phase {
            Phase::Asked(_) => return Err(Misuse::QuestionOpen),
            Phase::Handshake => return Err(Misuse::BadState("TLS comes first".into())),
            _ => {}
        }
        if u32::try_from(input.len()).is_err() {
            return Err(Misuse::BadState("an input of 4 GiB or more".into()));
        }
        let mut turn = self.turn(now, input);
        if is_due(self.hard_deadline(), now) {
            self.timed_out(&mut turn);
        } else {
            self.pump(&mut turn);
            if !turn.moved && is_due(self.deadline(), now) {
                self.timed_out(&mut turn);
            }
        }
        Ok(self.finish(turn))
    }

    /// The handshake that [`Need::StartTls`] asked for is done; these mechanisms may now be offered. All that the peer
    /// said before is forgotten (RFC 3207 section 4.2).
    ///
    /// # Errors
    /// [`Misuse::BadState`] if no handshake was asked for.
    pub fn secured(&mut self, now: u64, mechanisms: Vec<String>) -> Result<Step, Misuse> {
        self.running()?;
        if !matches!(self.state.phase, Phase::Handshake) {
            return Err(Misuse::BadState("no handshake was asked for".into()));
        }
        let mut turn = self.turn(now, &[]);
        turn.moved = true;
        self.state.tls = true;
        self.state.mechanisms = mechanisms;
        self.state.hello = None;
        self.state.login = false;
        self.state.phase = Phase::Command;
        self.pump(&mut turn);
        Ok(self.finish(turn))
    }

    /// The time has come: closes the session if it is past [`Step::wake`], and does nothing before.
    ///
    /// # Errors
    /// [`Misuse::NotStarted`], [`Misuse::Closed`].
    pub fn tick(&mut self, now: u64) -> Result<Step, Misuse> {
        self.running()?;
        let mut turn = self.turn(now, &[]);
        if is_due(self.deadline(), now) {
            self.timed_out(&mut turn);
        }
        Ok(self.finish(turn))
    }

    /// The answer to the open question.
    ///
    /// # Errors
    /// [`Misuse::NoQuestionOpen`], [`Misuse::WrongAnswer`], [`Misuse::BadAnswer`]. The question stays open.
    pub fn answer(&mut self, now: u64, answer: Answer) -> Result<Step, Misuse> {
        self.running()?;
        let Phase::Asked(asked) = &self.state.phase else { return Err(Misuse::NoQuestionOpen) };
        answer::check(&asked.question, &answer)?;
        let mut turn = self.turn(now, &[]);
        turn.moved = true;
        if let Phase::Asked(asked) = core::mem::replace(&mut self.state.phase, Phase::Command) {
            self.answered(&mut turn, asked, answer);
        }
        self.pump(&mut turn);
        Ok(self.finish(turn))
    }

    /// End the session with this reply as soon as no transaction is open and no question either, which may be now.
    ///
    /// # Errors
    /// [`Misuse::BadAnswer`] for a code that is no 4yz or 5yz, [`Misuse::NotStarted`], [`Misuse::Closed`].
    pub fn drain(&mut self, now: u64, farewell: Refusal) -> Result<Step, Misuse> {
        self.running()?;
        answer::check_refusal(&farewell)?;
        let mut turn = self.turn(now, &[]);
        self.state.farewell = Some(farewell);
        self.pump(&mut turn);
        Ok(self.finish(turn))
    }

    fn running(&self) -> Result<(), Misuse> {
        match self.state.phase {
            Phase::New => Err(Misuse::NotStarted),
            Phase::Closed => Err(Misuse::Closed),
            _ => Ok(()),
        }
    }

    fn turn<'a>(&self, now: u64, input: &'a [u8]) -> Turn<'a> {
        Turn::new(now, input, self.options.trace)
    }

    fn finish(&mut self, mut turn: Turn<'_>) -> Step {
        while let Some((asked, answer)) = self.unasked() {
            turn.moved = true;
            self.answered(&mut turn, asked, answer);
            self.pump(&mut turn);
        }
        if turn.moved {
            self.state.clock.waiting = turn.now;
        }
        turn.step.consumed = u32::try_from(turn.at).unwrap_or(u32::MAX);
        turn.step.wake = self.deadline();
        turn.step.need = match &self.state.phase {
            Phase::Asked(asked) => Need::Answer(asked.question.clone()),
            Phase::Handshake => Need::StartTls,
            Phase::Closed => Need::Close,
            _ => Need::Input,
        };
        turn.step
    }

    /// Works on the input until something else is needed.
    fn pump(&mut self, turn: &mut Turn<'_>) {
        loop {
            let on = match self.state.phase {
                Phase::Command | Phase::Exchange if self.may_leave() => {
                    self.farewell(turn);
                    false
                }
                Phase::Command => self.read_command(turn),
                Phase::Exchange => self.read_response(turn),
                Phase::Data => self.read_data(turn),
                Phase::Chunk(_) => self.read_chunk(turn),
                Phase::New | Phase::Asked(_) | Phase::Handshake | Phase::Closed => false,
            };
            if !on {
                return;
            }
        }
    }

    /// The open question, taken away, if it is one of those that are not asked, and its answer.
    fn unasked(&mut self) -> Option<(Asked, Answer)> {
        let Phase::Asked(asked) = &self.state.phase else { return None };
        let (kind, answer) = asked.question.yes()?;
        if !self.options.unasked.contains(&kind) {
            return None;
        }
        match core::mem::replace(&mut self.state.phase, Phase::Command) {
            Phase::Asked(asked) => Some((asked, answer)),
            _ => None,
        }
    }

    fn is_lmtp(&self) -> bool {
        self.options.protocol == Protocol::Lmtp
    }

    fn ask(&mut self, question: Question) {
        self.state.phase = Phase::Asked(Asked { question, faults: Vec::new(), chunk: None });
    }
}
