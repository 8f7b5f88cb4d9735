//! One call's work: what came in, and the step that goes out.
//!
//! Every octet for the peer passes through [`Turn::write`] (EHLO's lines through [`Turn::lines`]), so that nothing is sent unframed or
//! untraced.

use alloc::{borrow::Cow, format, string::String};

use crate::reply::{self, Enhanced, Reply};
use crate::step::{Event, Occasion, Step};

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

    pub(super) fn say(&mut self, reply: Reply) {
        self.write(reply.code, reply.enhanced, reply.text, false);
    }

    /// `text` in place of the reply's own, if there is one.
    pub(super) fn say_or(&mut self, reply: Reply, text: Option<&str>, utf8: bool) {
        self.write(reply.code, reply.enhanced, text.unwrap_or(reply.text), utf8);
    }

    pub(super) fn write(&mut self, code: u16, enhanced: Enhanced, text: &str, utf8: bool) {
        let start = self.step.transmit.len();
        reply::write(&mut self.step.transmit, code, enhanced, text, utf8);
        self.traced(start);
    }

    pub(super) fn lines(&mut self, code: u16, lines: &[Cow<'static, str>]) {
        let start = self.step.transmit.len();
        reply::write_lines(&mut self.step.transmit, code, lines.iter().map(AsRef::as_ref));
        self.traced(start);
    }

    /// 334: the one reply that is neither text nor bound to 512 octets (RFC 4954 section 4).
    pub(super) fn challenge(&mut self, base64: &str) {
        let start = self.step.transmit.len();
        for part in ["334 ", base64, "\r\n"] {
            self.step.transmit.extend_from_slice(part.as_bytes());
        }
        self.traced(start);
    }

    pub(super) fn event(&mut self, occasion: Occasion, detail: impl Into<String>) {
        self.step.events.push(Event { occasion, detail: detail.into(), secret: false });
    }

    /// A line as it came, where the trace is on. What is no command that we know may be a password in the wrong place.
    pub(super) fn command(&mut self, line: &[u8], secret: bool) {
        if self.trace {
            let detail = reply::printable(&String::from_utf8_lossy(line), true);
            self.step.events.push(Event { occasion: Occasion::Command, detail, secret });
        }
    }

    fn traced(&mut self, start: usize) {
        if self.trace {
            let sent = String::from_utf8_lossy(&self.step.transmit[start..]);
            let detail = sent.trim_end().replace("\r\n", " | ");
            // A challenge may hold what must not be logged.
            let secret = detail.starts_with("334");
            self.step.events.push(Event { occasion: Occasion::Reply, detail, secret });
        }
    }

    /// The log's word for a reply that says no.
    pub(super) fn note(&mut self, occasion: Occasion, code: u16, text: &str) {
        self.event(occasion, format!("{code} {}", reply::printable(text, true)));
    }
}
