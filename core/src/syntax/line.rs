//! Cuts the command stream into lines. RFC 5321 section 2.3.8.
//!
//! Only CRLF ends a line. It knows nothing of what a line says, keeps at most one line within the caller's limit, and
//! fails with a [`LineFault`], once for each faulty line.
//!
//! A bare CR or LF is reported **at once**, not at the end of the line: a peer that ends its lines with LF alone waits
//! for a reply, and is told what is wrong. What follows on that line is thrown away up to its CRLF and never read as a
//! command, without a second report, so that a peer that does end its lines with CRLF still gets one reply for each.

use alloc::{borrow::Cow, vec::Vec};
use memchr::memchr2;
use serde::{Deserialize, Serialize};

use super::command;

/// Octets of one line, whether kept or thrown away, after which the peer will never find back into step.
pub const ENDLESS: u64 = 1024 * 1024;

/// A line without its CRLF; borrowed where it lay whole in the input.
pub type Line<'a> = Cow<'a, [u8]>;

/// The peer's fault in framing a line. The line is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// The line has ended and was longer than the limit.
    #[error("the line is too long")]
    TooLong,
    /// A CR without LF; the line may not have ended yet.
    #[error("a CR without LF; lines end with CRLF")]
    BareCr,
    /// A LF without CR; the line may not have ended yet.
    #[error("a LF without CR; lines end with CRLF")]
    BareLf,
    /// One of the above on a line that begins with BDAT: what follows it is content, nobody knows how much.
    #[error("the line of BDAT is faulty")]
    Chunk,
    /// More than [`ENDLESS`] octets without an end: answer 421 and close. Every further read says it again.
    #[error("the line does not end")]
    Endless,
}

impl LineFault {
    /// For a whole line that is longer than its verb allows.
    #[must_use]
    pub fn too_long(line: &[u8]) -> Self {
        if command::is_chunk(line) { Self::Chunk } else { Self::TooLong }
    }

    /// The reply's code, the subject and detail of its enhanced status code, and its text. RFC 5321 section 4.5.3.1.10.
    #[must_use]
    pub const fn reply(self) -> (u16, (u16, u16), &'static str) {
        match self {
            Self::TooLong => (500, (5, 2), "Line too long"),
            Self::BareCr => (500, (5, 2), "Lines end with CRLF, and CR stands nowhere else"),
            Self::BareLf => (500, (5, 2), "Lines end with CRLF, not with LF alone"),
            Self::Chunk => (501, (5, 4), "Syntax: BDAT size [LAST]"),
            Self::Endless => (421, (5, 2), "This line does not end"),
        }
    }
}

/// Cuts lines, however the input is split. Only a line that the input holds in parts is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineReader {
    /// The line so far, without a CR at its end; empty once the line is too long or faulty.
    held: Vec<u8>,
    /// Octets of the line so far, kept or not, without a CR at its end.
    length: u64,
    /// The last octet was a CR.
    cr: bool,
    /// The line has been reported; the rest of it is thrown away.
    reported: bool,
    /// The line is too long, and began with BDAT.
    chunk: bool,
}

impl LineReader {
    /// Nothing of a line has been read: the stream stands directly behind a CRLF, or at its start.
    #[must_use]
    pub fn at_line_start(&self) -> bool {
        self.length == 0 && !self.cr && !self.reported
    }

    /// A reader can be in this state if no limit was below `limit`: all of the line is held, or it is of no use any more.
    #[must_use]
    pub fn is_consistent(&self, limit: usize) -> bool {
        let held = self.held.len() as u64;
        let lost = self.reported || self.length > limit.saturating_sub(2) as u64;
        self.length <= ENDLESS + 1 && (held == self.length || (held == 0 && lost))
    }

    /// Reads up to the end of one line (or fault), of at most `limit` octets with its CRLF, and tells how many octets
    /// were used. Without a line all of the input was used.
    pub fn read<'a>(&mut self, input: &'a [u8], limit: usize) -> (usize, Option<Result<Line<'a>, LineFault>>) {
        let room = limit.saturating_sub(2) as u64;
        let mut start = 0;
        loop {
            if self.cr {
                match input.get(start) {
                    None => return (start, None),
                    Some(b'\n') => {
                        start += 1;
                        match self.end(&[], room) {
                            Some(outcome) => return (start, Some(outcome)),
                            None => continue,
                        }
                    }
                    Some(_) => {
                        self.cr = false;
                        self.length += 1;
                        if let Some(fault) = self.report(LineFault::BareCr, &[]) {
                            return (start, Some(Err(fault)));
                        }
                    }
                }
            }
            let rest = &input[start..];
            let found = memchr2(b'\r', b'\n', rest);
            let text = &rest[..found.unwrap_or(rest.len())];
            if self.length + text.len() as u64 > ENDLESS {
                self.length = ENDLESS + 1;
                self.held = Vec::new();
                return (input.len(), Some(Err(LineFault::Endless)));
            }
            let Some(at) = found else {
                self.hold(text, room);
                return (input.len(), None);
            };
            start += at + 1;
            if rest[at] == b'\n' {
                self.length += at as u64 + 1;
                if let Some(fault) = self.report(LineFault::BareLf, text) {
                    return (start, Some(Err(fault)));
                }
            } else if rest.get(at + 1) == Some(&b'\n') {
                start += 1;
                if let Some(outcome) = self.end(text, room) {
                    return (start, Some(outcome));
                }
            } else {
                self.hold(text, room);
                self.cr = true;
            }
        }
    }

    /// Keeps a part of a line, unless it is of no use any more.
    fn hold(&mut self, text: &[u8], room: u64) {
        self.length += text.len() as u64;
        if self.reported || self.length > room {
            self.chunk = self.begins_chunk(text);
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(text);
        }
    }

    /// The fault, unless this line, which goes on with `text`, has already been reported.
    fn report(&mut self, fault: LineFault, text: &[u8]) -> Option<LineFault> {
        let fault = if self.begins_chunk(text) { LineFault::Chunk } else { fault };
        self.held = Vec::new();
        if core::mem::replace(&mut self.reported, true) { None } else { Some(fault) }
    }

    /// The line, which goes on with `text`, is one of BDAT.
    fn begins_chunk(&self, text: &[u8]) -> bool {
        if self.held.is_empty() {
            return self.chunk || command::is_chunk(text);
        }
        let mut start = [0; 5];
        let octets = self.held.iter().chain(text).take(start.len());
        let length = octets.zip(&mut start).map(|(octet, place)| *place = *octet).count();
        command::is_chunk(&start[..length])
    }

    /// The line ends with `text`, and the reader is ready for the next one.
    fn end<'a>(&mut self, text: &'a [u8], room: u64) -> Option<Result<Line<'a>, LineFault>> {
        // What was dropped does not come back when the room grows.
        let too_long = self.length + text.len() as u64 > room || self.held.len() as u64 != self.length;
        let chunk = too_long && self.begins_chunk(text);
        let Self { mut held, reported, .. } = core::mem::take(self);
        if reported {
            return None;
        }
        if too_long {
            return Some(Err(if chunk { LineFault::Chunk } else { LineFault::TooLong }));
        }
        if held.is_empty() {
            return Some(Ok(Cow::Borrowed(text)));
        }
        held.extend_from_slice(text);
        Some(Ok(Cow::Owned(held)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloc::{string::String, string::ToString, vec};

    use proptest::prelude::*;

    use super::*;

    /// What a reader says of a stream: lines as text, faults in braces, and `…` for what has not ended.
    fn read_all(pieces: &[&[u8]], limit: usize) -> Vec<String> {
        let mut reader = LineReader::default();
        let mut said = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            loop {
                let (used, outcome) = reader.read(rest, limit);
                rest = &rest[used..];
                match outcome {
                    Some(Ok(line)) => said.push(String::from_utf8_lossy(&line).into_owned()),
                    Some(Err(fault)) => said.push(alloc::format!("{{{fault:?}}}")),
                    None => break,
                }
                if said.last().is_some_and(|last| last == "{Endless}") {
                    return said;
                }
            }
            assert!(rest.is_empty(), "without a line all of the input is used");
            assert!(reader.held.len() <= limit, "{} octets held", reader.held.len());
            // The state survives freeze and thaw anywhere.
            reader = postcard::from_bytes(&postcard::to_allocvec(&reader).unwrap()).unwrap();
        }
        if !reader.at_line_start() {
            said.push("…".to_string());
        }
        said
    }

    #[track_caller]
    fn check(stream: &str, limit: usize, expected: &[&str]) {
        assert_eq!(read_all(&[stream.as_bytes()], limit), expected, "{stream:?} in one piece");
        let octets: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(read_all(&octets, limit), expected, "{stream:?} octet by octet");
    }

    #[test]
    fn only_crlf_ends_a_line() {
        check("", 512, &[]);
        check("\r\n", 512, &[""]);
        check("NOOP\r\n", 512, &["NOOP"]);
        check("EHLO a\r\nQUIT\r\n", 512, &["EHLO a", "QUIT"]);
        check("NOOP", 512, &["…"]);
        check("NOOP\r", 512, &["…"]);
        check("NOOP\n", 512, &["{BareLf}", "…"]);
        check("\n", 512, &["{BareLf}", "…"]);
        check("NOOP\rX", 512, &["{BareCr}", "…"]);
        check("\r\r", 512, &["{BareCr}", "…"]);
        check("NOOP\r\r\nQUIT\r\n", 512, &["{BareCr}", "QUIT"]);
        check("NOOP\r\n\nQUIT\r\nRSET\r\n", 512, &["NOOP", "{BareLf}", "RSET"]);
        check("a\u{85}b\u{2028}c\u{b}\u{c}\u{1e}\0\r\n", 512, &["a\u{85}b\u{2028}c\u{b}\u{c}\u{1e}\0"]);
    }

    #[test]
    fn a_faulty_line_is_reported_once_and_nothing_on_it_is_a_command() {
        check("MAIL\nRCPT\nDATA\rQUIT\r\nNOOP\r\n", 512, &["{BareLf}", "NOOP"]);
        check("NOOP\rNOOP\rNOOP\nQUIT\r\nNOOP\r\n", 512, &["{BareCr}", "NOOP"]);
        check("\n\n\n\r\nNOOP\r\n", 512, &["{BareLf}", "NOOP"]);
        // Too long as well: still one report.
        check("\nxxxxxxxxxxxx\r\nNOOP\r\n", 8, &["{BareLf}", "NOOP"]);
    }

    #[test]
    fn the_limit_counts_the_crlf() {
        check("123456\r\nNOOP\r\n", 8, &["123456", "NOOP"]);
        check("1234567\r\nNOOP\r\n", 8, &["{TooLong}", "NOOP"]);
        check("1234567890QUIT\r\nNOOP\r\n", 8, &["{TooLong}", "NOOP"]);
        check("x\r\n\r\n", 0, &["{TooLong}", ""]);
    }

    #[test]
    fn an_endless_line_ends_the_session() {
        let endless = vec![b'x'; ENDLESS as usize + 1];
        let (whole, ended) = (&endless[..], &endless[..ENDLESS as usize]);
        assert_eq!(read_all(&[whole], 512), ["{Endless}"]);
        assert_eq!(read_all(&[&whole[..1000], &whole[1000..]], 512), ["{Endless}"]);
        assert_eq!(read_all(&[ended, b"\r\n"], 512), ["{TooLong}"]);
        assert_eq!(read_all(&[b"\n", ended], 512), ["{BareLf}", "{Endless}"]);
        let mut reader = LineReader::default();
        assert_eq!(reader.read(whole, 512).1, Some(Err(LineFault::Endless)));
        assert_eq!(reader.read(b"\r\nQUIT\r\n", 512).1, Some(Err(LineFault::Endless)), "it never finds back");
    }

    #[test]
    fn a_whole_line_is_not_copied() {
        let mut reader = LineReader::default();
        let (used, line) = reader.read(b"NOOP\r\nQUIT\r\n", 512);
        assert_eq!(used, 6);
        assert!(matches!(line, Some(Ok(Cow::Borrowed(b"NOOP")))), "{line:?}");
    }

    /// The same, written to be plain rather than fast.
    fn plain(stream: &[u8], limit: usize) -> Vec<String> {
        let mut said = Vec::new();
        let (mut line, mut reported) = (Vec::new(), false);
        let mut at = 0;
        while at < stream.len() {
            let (octet, next) = (stream[at], stream.get(at + 1));
            at += 1;
            match (octet, next) {
                (b'\r', Some(b'\n')) => {
                    at += 1;
                    if !reported {
                        let fits = line.len() + 2 <= limit;
                        let text = String::from_utf8_lossy(&line).into_owned();
                        said.push(if fits { text } else { "{TooLong}".to_string() });
                    }
                    (line, reported) = (Vec::new(), false);
                    continue;
                }
                (b'\r', Some(_)) | (b'\n', _) if !reported => {
                    said.push(if octet == b'\r' { "{BareCr}" } else { "{BareLf}" }.to_string());
                    reported = true;
                }
                _ => {}
            }
            line.push(octet);
        }
        if !line.is_empty() || reported {
            said.push("…".to_string());
        }
        said
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(
            stream in prop::collection::vec(prop::sample::select(&b"\r\n\r\nab .\0\xff"[..]), 0..80),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            limit in 0usize..12,
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts.into_iter().chain([stream.len()]) {
                pieces.push(&stream[start..cut]);
                start = cut;
            }
            prop_assert_eq!(read_all(&pieces, limit.max(2)), plain(&stream, limit.max(2)));
        }
    }
}
