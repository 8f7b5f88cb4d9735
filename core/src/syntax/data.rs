//! Finds the end of the content, takes the dots of transparency out and gathers what is to be known of the content.
//! RFC 5321 sections 2.3.8, 4.1.1.4 and 4.5.2, RFC 3030. This is the only file where mail could be smuggled.
//!
//! The end of DATA is CRLF.CRLF and nothing else. A bare CR or bare LF is content under BODY=BINARYMIME; otherwise it
//! spoils the message. A spoilt message, or one over a limit, is read to its true end all the same, so that the session
//! stays in step, but no further piece of it is emitted, and [`Content::fault`] tells why it can not be accepted.
//!
//! It holds nothing back but a dot at the start of a line and the CR behind it, and of those none is ever content that
//! could still be accepted. So every piece is a range of the input, or a few octets copied where many dots would
//! otherwise make many tiny ranges. It knows no header fields, no MIME and no recipients, and it can not fail.

use alloc::vec::Vec;
use memchr::memchr2;
use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::question::MessageFacts;
use crate::step::Piece;

/// Ranges shorter than this are copied rather than listed when there are several in a row.
const SHORT: usize = 64;

/// Why the content can not be accepted. The peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentFault {
    /// More octets than [`Limits::message_size`].
    #[error("Message too large")]
    TooLarge,
    /// A CR without LF outside BINARYMIME.
    #[error("The message has a CR without LF; lines end with CRLF")]
    BareCr,
    /// A LF without CR outside BINARYMIME.
    #[error("The message has a LF without CR; lines end with CRLF")]
    BareLf,
    /// A line longer than [`Limits::text_line`] outside BINARYMIME, which has no lines (RFC 3030 section 3).
    #[error("The message has a line that is too long")]
    LineTooLong,
}

impl ContentFault {
    /// The reply's code, and the subject and detail of its enhanced status code; `Display` is its text.
    #[must_use]
    pub const fn reply(self) -> (u16, (u16, u16)) {
        match self {
            Self::TooLarge => (552, (3, 4)),
            Self::BareCr | Self::BareLf | Self::LineTooLong => (554, (6, 0)),
        }
    }
}

/// Where in a line the scanner stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    /// Directly behind a CRLF, or at the start of the content.
    #[default]
    LineStart,
    /// Inside a line.
    Text,
    /// Behind a CR inside a line. The CR has been emitted.
    Cr,
    /// DATA: behind a dot at the start of a line. It is not content.
    Dot,
    /// DATA: behind a dot at the start of a line and a CR. Neither has been emitted.
    DotCr,
}

/// What one call has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Octets of the input that were used, from `from` on. All of them unless `end` (or beyond 4 GiB).
    pub consumed: usize,
    /// The line with the final dot has been read.
    pub end: bool,
}

/// The content of one message, while it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    place: Place,
    /// BODY=BINARYMIME: bare CR and bare LF are content.
    binary: bool,
    /// Octets of content so far.
    size: u64,
    eight_bit: bool,
    bare_cr: bool,
    bare_lf: bool,
    /// Octets of the line so far, without a CR that may belong to its end.
    line: u64,
    /// The longest line so far, this one included.
    longest_line: u64,
}

impl Content {
    /// No content yet. `binary`: the transaction has BODY=BINARYMIME.
    #[must_use]
    pub fn new(binary: bool) -> Self {
        Self { binary, ..Self::default() }
    }

    /// Reads `input[from..]` after DATA, up to the final dot's line. Pieces are ranges of `input`.
    pub fn data(&mut self, input: &[u8], from: usize, limits: &Limits, body: &mut Vec<Piece>) -> Scanned {
        self.scan::<true>(input, from, limits, body)
    }

    /// Reads `input[from..]` after BDAT, at most `remaining` octets, and tells how many were used. Pieces are ranges
    /// of `input`. A CRLF may lie in two chunks.
    pub fn chunk(
        &mut self,
        input: &[u8],
        from: usize,
        remaining: u64,
        limits: &Limits,
        body: &mut Vec<Piece>,
    ) -> usize {
        let left = input.len().saturating_sub(from);
        let length = usize::try_from(remaining).map_or(left, |remaining| remaining.min(left));
        self.scan::<false>(input.get(..from + length).unwrap_or_default(), from, limits, body).consumed
    }

    /// The last chunk has been read: a CR at the very end was a bare one.
    pub fn finish(&mut self) {
        if self.place == Place::Cr {
            self.bare_cr = true;
            self.place = Place::Text;
            self.grow(1);
        }
    }

    /// What is known of the content.
    #[must_use]
    pub fn facts(&self, recipients: u32) -> MessageFacts {
        MessageFacts {
            size: self.size,
            eight_bit: self.eight_bit,
            bare_line_ends: self.bare_cr || self.bare_lf,
            longest_line: self.longest_line,
            recipients,
        }
    }

    /// Why the content so far can not be accepted, the gravest reason first.
    #[must_use]
    pub fn fault(&self, limits: &Limits) -> Option<ContentFault> {
        if limits.message_size != 0 && self.size > limits.message_size {
            Some(ContentFault::TooLarge)
        } else if self.bare_lf && !self.binary {
            Some(ContentFault::BareLf)
        } else if self.bare_cr && !self.binary {
            Some(ContentFault::BareCr)
        } else if limits.text_line != 0 && !self.binary && self.longest_line > u64::from(limits.text_line) {
            Some(ContentFault::LineTooLong)
        } else {
            None
        }
    }

    /// The loop. `TRANSPARENT`: dots at line starts mean something.
    fn scan<const TRANSPARENT: bool>(
        &mut self,
        input: &[u8],
        from: usize,
        limits: &Limits,
        body: &mut Vec<Piece>,
    ) -> Scanned {
        // A step's ranges are 32 bits wide; what lies beyond is read in the next call.
        let input = &input[..input.len().min(u32::MAX as usize)];
        let mut end = false;
        // The next octet to look at, and the first one that has not been emitted.
        let (mut at, mut start) = (from, from);
        while let Some(&octet) = input.get(at) {
            match self.place {
                Place::LineStart => {
                    if TRANSPARENT && octet == b'.' {
                        self.emit(input, start, at, limits, body);
                        at += 1;
                        start = at;
                        self.place = Place::Dot;
                    } else {
                        self.place = Place::Text;
                    }
                }
                Place::Text => at = self.text::<TRANSPARENT>(input, at),
                Place::Cr => {
                    if octet == b'\n' {
                        at += 1;
                        self.line = 0;
                        self.place = Place::LineStart;
                    } else {
                        self.bare_cr = true;
                        self.grow(1);
                        self.place = Place::Text;
                    }
                }
                Place::Dot => {
                    if octet == b'\r' {
                        at += 1;
                        start = at;
                        self.place = Place::DotCr;
                    } else {
                        self.place = Place::Text;
                    }
                }
                Place::DotCr => {
                    if octet == b'\n' {
                        at += 1;
                        start = at;
                        end = true;
                        break;
                    }
                    // The CR is content, and spoils it: DATA is never binary.
                    self.bare_cr = true;
                    self.size = self.size.saturating_add(1);
                    self.grow(1);
                    self.place = Place::Text;
                }
            }
        }
        self.emit(input, start, at, limits, body);
        self.eight_bit = self.eight_bit || has_eight_bit(input.get(from..at).unwrap_or_default());
        Scanned { consumed: at - from, end }
    }

    /// From inside a line to where something is to be decided, which is as many whole lines as possible: this is where
    /// the time goes. Gives the place of the next octet to look at.
    fn text<const TRANSPARENT: bool>(&mut self, input: &[u8], mut at: usize) -> usize {
        loop {
            let rest = &input[at..];
            let Some(length) = memchr2(b'\r', b'\n', rest) else {
                self.grow(rest.len() as u64);
                return input.len();
            };
            at += length + 1;
            if rest[length] == b'\n' {
                self.bare_lf = true;
                self.grow(length as u64 + 1);
                continue;
            }
            self.grow(length as u64);
            if rest.get(length + 1) != Some(&b'\n') {
                self.place = Place::Cr;
                return at;
            }
            at += 1;
            self.line = 0;
            match input.get(at) {
                Some(b'.') if TRANSPARENT => {}
                Some(_) => continue,
                None => {}
            }
            self.place = Place::LineStart;
            return at;
        }
    }

    /// The line grows.
    fn grow(&mut self, octets: u64) {
        self.line = self.line.saturating_add(octets);
        self.longest_line = self.longest_line.max(self.line);
    }

    /// `input[start..end]` is content.
    fn emit(&mut self, input: &[u8], start: usize, end: usize, limits: &Limits, body: &mut Vec<Piece>) {
        let Some(octets) = input.get(start..end).filter(|octets| !octets.is_empty()) else { return };
        self.size = self.size.saturating_add(octets.len() as u64);
        if self.fault(limits).is_some() {
            return;
        }
        if octets.len() < SHORT {
            match body.last_mut() {
                Some(Piece::Octets(copied)) => return copied.extend_from_slice(octets),
                Some(last @ Piece::Range { .. }) => {
                    let Piece::Range { offset, length } = *last else { return };
                    let (offset, length) = (offset as usize, length as usize);
                    if length < SHORT {
                        let mut copied = input.get(offset..offset + length).unwrap_or_default().to_vec();
                        copied.extend_from_slice(octets);
                        *last = Piece::Octets(copied);
                        return;
                    }
                }
                None => {}
            }
        }
        body.push(Piece::Range { offset: start as u32, length: octets.len() as u32 });
    }
}

/// In blocks that compilers turn into vector instructions, in WebAssembly too.
fn has_eight_bit(octets: &[u8]) -> bool {
    octets.chunks(256).any(|block| block.iter().fold(0, |all, octet| all | octet) > 127)
}

#[cfg(test)]
mod tests;
