//! One call's work: what came in, and the step that goes out.
//!
//! Every octet for the peer passes through [`Turn::command`] or is content, so that nothing is sent unframed or untraced.

use alloc::{format, string::String, vec::Vec};

use super::reply::Said;
use super::step::{Reply, Stage, Step};
use crate::reply::printable;
use crate::step::{Event, Occasion};

pub(super) struct Turn<'a> {
    pub(super) now: u64,
    pub(super) input: &'a [u8],
    /// So much of the input has been used.
    pub(super) at: usize,
    pub(super) step: Step,
    /// The peer or the embedder brought the session forward: timers begin anew.
    pub(super) moved: bool,
    pub(super) trace: bool,
}

impl<'a> Turn<'a> {
    pub(super) fn new(now: u64, input: &'a [u8], trace: bool) -> Self {
        Self { now, input, at: 0, step: Step::default(), moved: false, trace }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// One line for the peer.
    pub(super) fn command(&mut self, line: &str) {
        self.write(line, false);
    }

    /// The same for what must not be logged.
    pub(super) fn secret(&mut self, line: &str) {
        self.write(line, true);
    }

    fn write(&mut self, line: &str, secret: bool) {
        self.moved = true;
        self.step.transmit.extend_from_slice(line.as_bytes());
        self.step.transmit.extend_from_slice(b"\r\n");
        if self.trace {
            self.step.events.push(Event { occasion: Occasion::Command, detail: printable(line, true), secret });
        }
    }

    pub(super) fn content(&mut self, pieces: Vec<crate::step::Piece>) {
        self.step.content.extend(pieces);
    }

    pub(super) fn event(&mut self, occasion: Occasion, detail: impl Into<String>) {
        self.step.events.push(Event { occasion, detail: detail.into(), secret: false });
    }

    /// Each line of a reply as it came.
    pub(super) fn traced(&mut self, said: &Said) {
        if !self.trace {
            return;
        }
        // A challenge may hold what must not be logged.
        let secret = said.code == 334;
        for (place, line) in said.lines.iter().enumerate() {
            let separator = if place + 1 < said.lines.len() { '-' } else { ' ' };
            let detail = printable(&format!("{}{separator}{line}", said.code), true);
            self.step.events.push(Event { occasion: Occasion::Reply, detail, secret });
        }
    }

    /// The log's word for a reply that says no.
    pub(super) fn refused(&mut self, stage: Stage, reply: &Reply) {
        self.event(Occasion::Refused, printable(&format!("{} {} {}", name(stage), reply.code, reply.text), true));
    }
}

/// For people.
pub(super) fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Greeting => "greeting",
        Stage::Hello => "hello",
        Stage::StartTls => "STARTTLS",
        Stage::Handshake => "TLS handshake",
        Stage::Auth => "AUTH",
        Stage::Idle => "between messages",
        Stage::Reset => "RSET",
        Stage::Mail => "MAIL",
        Stage::Rcpt => "RCPT",
        Stage::Data => "DATA",
        Stage::Content => "content",
        Stage::Message => "end of content",
        Stage::Quit => "QUIT",
    }
}
