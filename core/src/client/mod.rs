//! The sending side: one SMTP or LMTP session with a server as a plain value.
//!
//! Owns the order of commands, what is offered and what is used of it, and the meaning of every reply. Refuses to know
//! where a message comes from, whose server this is, and when to try again. The peer's mistake becomes an
//! [`Outcome`] for each recipient and a [`Failure`] for the session, the embedder's a [`Misuse`]; nothing here fails in a
//! third way.
//!
//! A run loop, in steps:
//!
//! 1. [`Session::new`], then [`Session::start`] when the connection is open.
//! 2. Write [`Step::transmit`], then [`Step::content`], to the peer; keep [`Step::outcomes`].
//! 3. Meet [`Step::need`]: read and `receive`, shake hands and `secured`, `deliver` or `quit`, hand over `content`, or
//!    close. If the connection breaks: `lost`.
//! 4. Call `tick` at [`Step::wake`] if nothing else happened before, even while writing. Back to 2.
//!
//! Where the input is split changes neither what is sent nor what becomes of anybody; only how commands are grouped.
//!
//! # STARTTLS
//!
//! The embedder hands over all that it has read from the socket, never a part of it, and reads nothing more once
//! [`Need::StartTls`] is there: octets behind the reply to STARTTLS end the session (RFC 3207 section 4).
//!
//! ```
//! use hermetic_core::client::{Need, Options, Session};
//!
//! # fn main() -> Result<(), hermetic_core::step::Misuse> {
//! let mut session = Session::new(Options { hello_name: "mx.example".into(), ..Options::default() });
//! session.start(0)?;
//! let step = session.receive(1, b"220 mail.example ESMTP\r\n")?;
//! assert_eq!(step.transmit, b"EHLO mx.example\r\n");
//! let step = session.receive(2, b"250-mail.example\r\n250 PIPELINING\r\n")?;
//! assert!(matches!(step.need, Need::Ready(peer) if peer.name == "mail.example"));
//! # Ok(())
//! # }
//! ```

mod auth;
mod delivery;
mod ending;
mod framing;
mod hello;
mod image;
mod limits;
pub(crate) mod line;
mod need;
pub(crate) mod offer;
mod options;
pub(crate) mod reply;
mod state;
mod step;
mod timer;
mod transaction;
mod turn;

#[cfg(test)]
mod tests;

pub use crate::command::{ByMode, DeliverBy};
pub use crate::server::Protocol;
pub use limits::Limits;
pub use options::{Options, TlsUse};
pub use step::{Cause, Extension, Failure, Fate, Fault, Login, Need, Outcome, Peer, Reply, Stage, Status, Step};
pub use transaction::{ContentFacts, Transaction};

use alloc::{format, vec::Vec};

use crate::step::{Misuse, Occasion};
use delivery::Unfit;
use reply::{Bounds, ReplyFault, Said};
use state::{Expected, Phase, State};
use turn::Turn;

/// One outbound session. It has no clock, no socket and no secrets.
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
        options.hello_name = crate::reply::printable(&options.hello_name, false).replace(' ', "-");
        options.hello_name.truncate(255);
        Self { options, state }
    }

    /// The connection is open. Once.
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
        turn.moved = true;
        self.state.expected.push_back(Expected::Greeting);
        self.state.phase = Phase::Replies;
        Ok(self.finish(turn))
    }

    /// Octets from the peer: all that have been read. May be empty.
    ///
    /// Ends the session if the time is up for a reply that is still not whole, as `tick` would: a peer that trickles cannot
    /// outrun its timer.
    ///
    /// # Errors
    /// [`Misuse::NotStarted`], [`Misuse::Closed`]; [`Misuse::BadState`] between STARTTLS and `secured`, and with an input of
    /// 4 GiB or more.
    pub fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, Misuse> {
        self.running()?;
        if self.state.phase == Phase::Handshake {
            return Err(Misuse::BadState("TLS comes first".into()));
        }
        if u32::try_from(input.len()).is_err() {
            return Err(Misuse::BadState("an input of 4 GiB or more".into()));
        }
        let mut turn = self.turn(now, input);
        self.pump(&mut turn);
        if !turn.moved && self.is_due(now) {
            self.timed_out(&mut turn);
        }
        Ok(self.finish(turn))
    }

    /// The handshake that [`Need::StartTls`] asked for is done. All that the peer offered before is forgotten (RFC 3207
    /// section 4.2).
    ///
    /// # Errors
    /// [`Misuse::BadState`] if no handshake was asked for, [`Misuse::NotStarted`], [`Misuse::Closed`].
    pub fn secured(&mut self, now: u64) -> Result<Step, Misuse> {
        self.running()?;
        if self.state.phase != Phase::Handshake {
            return Err(Misuse::BadState("no handshake was asked for".into()));
        }
        let mut turn = self.turn(now, &[]);
        self.state.tls = true;
        self.state.offer = Default::default();
        self.say_hello(&mut turn);
        Ok(self.finish(turn))
    }

    /// The time has come: ends the session if it is past [`Step::wake`], and does nothing before.
    ///
    /// # Errors
    /// [`Misuse::NotStarted`], [`Misuse::Closed`].
    pub fn tick(&mut self, now: u64) -> Result<Step, Misuse> {
        self.running()?;
        let mut turn = self.turn(now, &[]);
        if self.is_due(now) {
            self.timed_out(&mut turn);
        }
        Ok(self.finish(turn))
    }

    /// The peer has closed the connection, or it has broken.
    ///
    /// # Errors
    /// [`Misuse::NotStarted`], [`Misuse::Closed`].
    pub fn lost(&mut self, now: u64) -> Result<Step, Misuse> {
        self.running()?;
        let mut turn = self.turn(now, &[]);
        self.gone(&mut turn, Fault::Lost, "the connection was lost");
        Ok(self.finish(turn))
    }

    /// AUTH by one of [`Peer::mechanisms`], with an initial response if the mechanism has one.
    ///
    /// # Errors
    /// [`Misuse::BadState`] if the session is not ready, or that mechanism cannot be used now; [`Misuse::BadValue`] for a
    /// response that does not fit a line.
    pub fn login(&mut self, now: u64, mechanism: &str, initial: Option<Vec<u8>>) -> Result<Step, Misuse> {
        self.ready()?;
        let mechanism = mechanism.to_ascii_uppercase();
        if !self.peer().mechanisms.contains(&mechanism) {
            return Err(Misuse::BadState(format!("{} cannot be used now", line::quoted(&mechanism))));
        }
        if let Some(initial) = &initial {
            self.check_response(initial)?;
        }
        let mut turn = self.turn(now, &[]);
        if self.is_in_step(&mut turn) {
            self.say_auth(&mut turn, &mechanism, initial);
        }
        Ok(self.finish(turn))
    }

    /// The answer to [`Need::Response`].
    ///
    /// # Errors
    /// [`Misuse::BadState`] without a challenge, [`Misuse::BadValue`] for a response that does not fit a line.
    pub fn respond(&mut self, now: u64, response: &[u8]) -> Result<Step, Misuse> {
        self.challenged()?;
        self.check_response(response)?;
        let mut turn = self.turn(now, &[]);
        self.say_response(&mut turn, response);
        Ok(self.finish(turn))
    }

    /// Gives up the AUTH exchange; its outcome is that of a refused login.
    ///
    /// # Errors
    /// [`Misuse::BadState`] without a challenge.
    pub fn cancel(&mut self, now: u64) -> Result<Step, Misuse> {
        self.challenged()?;
        let mut turn = self.turn(now, &[]);
        self.say_cancel(&mut turn);
        Ok(self.finish(turn))
    }

    /// Sends a message. Recipients come back as [`Step::outcomes`].
    ///
    /// # Errors
    /// [`Misuse::BadState`] if the session is not ready; [`Misuse::BadValue`] for addresses and parameters that cannot be
    /// written in a command, and for too many recipients or none.
    pub fn deliver(&mut self, now: u64, transaction: &Transaction) -> Result<Step, Misuse> {
        self.ready()?;
        let most = self.options.limits.recipients as usize;
        if !(1..=most).contains(&transaction.recipients.len()) {
            return Err(Misuse::BadValue(format!("{} recipients; at most {most}", transaction.recipients.len())));
        }
        line::check(transaction)?;
        let mut turn = self.turn(now, &[]);
        self.begin(&mut turn, transaction)?;
        Ok(self.finish(turn))
    }

    /// The next octets of the content as it is stored, without dots of transparency; `last` with the last ones, which may
    /// be none. By DATA a last line without its CRLF gets one.
    ///
    /// # Errors
    /// [`Misuse::BadState`] if no content is wanted now; [`Misuse::BadValue`] for content that is not what its facts say:
    /// then nothing of it is sent, and the session can only be closed.
    pub fn content(&mut self, now: u64, octets: &[u8], last: bool) -> Result<Step, Misuse> {
        self.running()?;
        if self.state.phase != Phase::Content {
            return Err(Misuse::BadState("no content is wanted now".into()));
        }
        if u32::try_from(octets.len()).is_err() {
            return Err(Misuse::BadState("content of 4 GiB or more at once".into()));
        }
        let mut turn = self.turn(now, &[]);
        self.say_content(&mut turn, octets, last)?;
        Ok(self.finish(turn))
    }

    /// Ends the session: by QUIT if it is ready, otherwise at once.
    ///
    /// # Errors
    /// [`Misuse::NotStarted`], [`Misuse::Closed`].
    pub fn quit(&mut self, now: u64) -> Result<Step, Misuse> {
        self.running()?;
        let mut turn = self.turn(now, &[]);
        match self.state.phase {
            Phase::Ready => self.say_quit(&mut turn),
            _ => self.abandon(&mut turn),
        }
        Ok(self.finish(turn))
    }

    fn running(&self) -> Result<(), Misuse> {
        match self.state.phase {
            Phase::New => Err(Misuse::NotStarted),
            Phase::Closed => Err(Misuse::Closed),
            _ => Ok(()),
        }
    }

    fn ready(&self) -> Result<(), Misuse> {
        self.running()?;
        if self.state.phase == Phase::Ready { Ok(()) } else { Err(Misuse::BadState("the session is not ready".into())) }
    }

    fn challenged(&self) -> Result<(), Misuse> {
        self.running()?;
        let challenged = matches!(self.state.phase, Phase::Response(_));
        if challenged { Ok(()) } else { Err(Misuse::BadState("there is no challenge".into())) }
    }

    fn is_lmtp(&self) -> bool {
        self.options.protocol == Protocol::Lmtp
    }

    /// The peer has said nothing that is not finished: the next reply is to the next command.
    fn is_in_step(&mut self, turn: &mut Turn<'_>) -> bool {
        let fresh = self.state.reader.is_fresh();
        if !fresh {
            self.gone(turn, Fault::BadReply, "the peer speaks unasked");
        }
        fresh
    }

    fn turn<'a>(&self, now: u64, input: &'a [u8]) -> Turn<'a> {
        Turn::new(now, input, self.options.trace)
    }

    fn finish(&mut self, mut turn: Turn<'_>) -> Step {
        if turn.moved {
            self.state.waiting = turn.now;
        }
        turn.step.consumed = u32::try_from(turn.at).unwrap_or(u32::MAX);
        turn.step.wake = self.deadline();
        turn.step.need = match &self.state.phase {
            Phase::New | Phase::Replies => Need::Input,
            Phase::Handshake => Need::StartTls,
            Phase::Ready => Need::Ready(self.peer()),
            Phase::Response(challenge) => Need::Response(challenge.clone()),
            Phase::Content => Need::Content,
            Phase::Closed => Need::Close,
        };
        turn.step
    }

    /// The bounds of the reply that is awaited.
    fn bounds(&self) -> Bounds {
        let limits = &self.options.limits;
        match self.state.expected.front() {
            Some(Expected::Auth) => self.widest(),
            _ => Bounds {
                line: limits.reply_line as usize,
                lines: limits.reply_lines,
                size: u64::from(limits.reply_size),
            },
        }
    }

    fn widest(&self) -> Bounds {
        let limits = &self.options.limits;
        Bounds {
            line: limits.reply_line.max(limits.auth_line) as usize,
            lines: limits.reply_lines,
            size: u64::from(limits.reply_size.max(limits.auth_line)),
        }
    }

    /// Reads replies until there are no more.
    fn pump(&mut self, turn: &mut Turn<'_>) {
        while !turn.rest().is_empty() && !matches!(self.state.phase, Phase::Closed | Phase::Handshake) {
            let bounds = self.bounds();
            let (used, said) = self.state.reader.read(turn.rest(), bounds);
            turn.at += used;
            let most = self.options.limits.received;
            self.state.received = self.state.received.saturating_add(used as u64);
            let said = match said {
                _ if most > 0 && self.state.received > most => Some(Err(ReplyFault::TooLong)),
                said => said,
            };
            match said {
                None => return,
                Some(Ok(said)) => self.hear(turn, &said),
                Some(Err(fault)) => {
                    let kind = if fault == ReplyFault::TooLong { Fault::TooMuch } else { Fault::BadReply };
                    self.gone(turn, kind, &format!("{fault}"));
                }
            }
        }
    }

    /// One reply.
    fn hear(&mut self, turn: &mut Turn<'_>, said: &Said) {
        turn.moved = true;
        turn.traced(said);
        let stage = self.stage();
        let reply = said.reported(self.options.limits.reply_text as usize);
        let expected = self.state.expected.pop_front();
        if expected == Some(Expected::Quit) {
            turn.event(Occasion::Closed, "");
            return self.close();
        }
        if reply.code >= 400 && expected != Some(Expected::Nothing) {
            turn.refused(stage, &reply);
        }
        if reply.code == 421 {
            return self.refused(turn, Fault::Leaving, stage, Some(reply));
        }
        let Some(expected) = expected else { return self.unsolicited(turn, stage, reply) };
        let fits = match expected {
            Expected::Greeting => return self.greeted(turn, reply),
            Expected::Hello | Expected::Helo => return self.hello_answered(turn, expected, said, reply),
            Expected::StartTls => return self.start_tls_answered(turn, reply),
            Expected::Auth | Expected::Cancel => return self.auth_answered(turn, expected, said, reply),
            Expected::Reset if reply.code < 300 => Ok(()),
            Expected::Reset => Err(Unfit),
            Expected::Mail => self.mail_answered(turn, &reply),
            Expected::Rcpt(place) => self.rcpt_answered(turn, place, &reply),
            Expected::Data => self.data_answered(turn, &reply),
            Expected::Chunk => self.chunk_answered(turn, &reply),
            Expected::Message | Expected::Recipient(_) | Expected::Provisional(_) => {
                self.message_answered(turn, expected, &reply)
            }
            Expected::Nothing | Expected::Quit => Ok(()),
        };
        match fits {
            Ok(()) => self.proceed(turn),
            Err(Unfit) => self.bad_reply(turn, stage, reply),
        }
    }
}
