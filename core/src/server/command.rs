//! One command: read, parsed, judged by its place, and handed to where it belongs.

use alloc::format;

use super::say::leaving;
use super::state::{Denial, Fault, Phase};
use super::{Session, Turn, say};
use crate::command::{Command, HelloVerb};
use crate::question::Question;
use crate::step::Occasion;
use crate::syntax::line::LineFault;
use crate::syntax::{SyntaxError, command};

impl Session {
    /// Reads one line and does what it says. False: there is no whole line.
    pub(super) fn read_command(&mut self, turn: &mut Turn<'_>) -> bool {
        let (used, line) = self.state.reader.read(turn.rest(), self.command_limit());
        let mut loses_step = false;
        let parsed = match line {
            None => None,
            Some(Ok(line)) if line.len() + 2 > command::limit(&line, &self.options.limits) => {
                let fault = LineFault::too_long(&line);
                loses_step = fault == LineFault::Chunk;
                Some(Err(Denial::from(fault)))
            }
            Some(Err(fault)) => {
                loses_step = fault == LineFault::Chunk;
                Some(Err(Denial::from(fault)))
            }
            Some(Ok(line)) => {
                let parsed = command::parse(&line);
                turn.command(&line, !matches!(&parsed, Ok(command) if !matches!(command, Command::Auth { .. })));
                loses_step = parsed.as_ref().is_err_and(SyntaxError::loses_step);
                Some(parsed.map_err(Denial::from))
            }
        };
        turn.at += used;
        let Some(parsed) = parsed else { return false };
        turn.moved = true;
        match parsed {
            Ok(command) => self.command(turn, command),
            Err(denial) => self.deny(turn, &denial),
        }
        if loses_step && !matches!(self.state.phase, Phase::Closed) {
            self.leave(turn, leaving::STEP);
        }
        true
    }

    /// AUTH may be longer than other commands, where it is possible at all; which it is shows when the line is whole.
    fn command_limit(&self) -> usize {
        let limits = &self.options.limits;
        let auth = !self.state.login && !self.mechanisms().is_empty();
        (if auth { limits.command_line.max(limits.auth_line) } else { limits.command_line }) as usize
    }

    fn command(&mut self, turn: &mut Turn<'_>, command: Command) {
        let outcome = match command {
            Command::Quit => {
                turn.say(say::BYE);
                self.close(turn);
                return;
            }
            // Its octets follow whatever is said about it.
            Command::Bdat { size, last } => return self.bdat(turn, size, last),
            command => self.admit(&command).and_then(|()| self.admitted(turn, command)),
        };
        if let Err(denial) = outcome {
            self.deny(turn, &denial);
        }
    }

    /// What holds for all commands alike.
    pub(super) fn admit(&self, command: &Command) -> Result<(), Denial> {
        if self.state.barred {
            return Err(Denial::ours(Fault::Sequence, say::ONLY_QUIT));
        }
        let harmless = match command {
            Command::Hello(hello) => hello.verb != HelloVerb::Helo,
            Command::Noop | Command::Rset | Command::StartTls => true,
            _ => false,
        };
        if self.options.require_tls && !self.state.tls && !harmless {
            return Err(Denial::ours(Fault::Sequence, say::TLS_FIRST));
        }
        Ok(())
    }

    fn admitted(&mut self, turn: &mut Turn<'_>, command: Command) -> Result<(), Denial> {
        match command {
            Command::Hello(hello) => self.hello(hello)?,
            Command::Mail(sender) => self.mail(turn, sender)?,
            Command::Rcpt(recipient) => self.rcpt(turn, recipient)?,
            Command::Data => self.data()?,
            Command::Rset => {
                self.end_transaction(turn);
                turn.say(say::OK);
                self.idle(turn);
            }
            Command::Noop => {
                turn.say(say::OK);
                self.idle(turn);
            }
            Command::Vrfy(what) => self.ask(Question::Verify(what)),
            Command::Help => {
                turn.say(if self.is_lmtp() { say::HELP_LMTP } else { say::HELP });
                self.idle(turn);
            }
            Command::Expn => return Err(Denial::ours(Fault::Sequence, say::NO_LISTS)),
            Command::StartTls => self.start_tls(turn)?,
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial)?,
            Command::Xclient(attributes) => self.xclient(attributes)?,
            Command::Quit | Command::Bdat { .. } => {}
        }
        Ok(())
    }

    fn start_tls(&mut self, turn: &mut Turn<'_>) -> Result<(), Denial> {
        if self.state.tls {
            return Err(Denial::ours(Fault::Sequence, say::IN_TLS));
        }
        if !self.options.start_tls {
            return Err(Denial::ours(Fault::Sequence, say::NO_TLS));
        }
        self.end_transaction(turn);
        turn.say(say::START_TLS);
        self.state.phase = Phase::Handshake;
        let discarded = turn.rest().len();
        if discarded > 0 {
            turn.at = turn.input.len();
            turn.event(Occasion::PlaintextDiscarded, format!("{discarded} octets"));
        }
        Ok(())
    }
}
