//! Reads replies. RFC 5321 section 4.2, RFC 2034.
//!
//! ```text
//! Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
//! Reply-code = %x32-35 2DIGIT
//! ```
//!
//! Strict where it matters for staying in step: lines end with CRLF, all lines of a reply have one code. The text may be
//! anything; it is cleaned before anybody sees it. It refuses to know which code fits which command, and fails by
//! [`ReplyFault`], after which the stream is of no use any more.

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

use super::step::{Reply, Status};
use crate::syntax::line::{LineFault, LineReader};
use crate::syntax::xtext::is_control;

/// The peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplyFault {
    #[error("a line that is no reply")]
    NoReply,
    #[error("lines of one reply with different codes")]
    Codes,
    #[error("a CR or LF that is no CRLF")]
    BareLineEnd,
    #[error("a reply that is too long")]
    TooLong,
}

/// The bounds of the reply that is awaited, octets and lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) line: usize,
    pub(crate) lines: u32,
    pub(crate) size: u64,
}

/// A reply as it was said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) code: u16,
    /// What stands behind the codes. What was no UTF-8 has been replaced; control characters have not.
    pub(crate) lines: Vec<String>,
}

/// Puts replies together, however the input is split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplyReader {
    line: LineReader,
    /// The lines so far of a reply that goes on.
    said: Said,
    /// Octets of this reply.
    octets: u64,
}

impl ReplyReader {
    /// Nothing of a reply has been read.
    pub(super) fn is_fresh(&self) -> bool {
        self.octets == 0 && self.said.lines.is_empty() && self.line.at_line_start()
    }

    /// A reader can be in this state within these bounds.
    pub(super) fn is_consistent(&self, bounds: Bounds) -> bool {
        self.line.is_consistent(bounds.line)
            && self.octets <= bounds.size
            && self.said.lines.len() <= bounds.lines as usize
    }

    /// Reads up to the end of one reply (or fault), and tells how many octets were used. Without a reply all of the input
    /// was used.
    pub(crate) fn read(&mut self, input: &[u8], bounds: Bounds) -> (usize, Option<Result<Said, ReplyFault>>) {
        let mut at = 0;
        loop {
            let (used, line) = self.line.read(input.get(at..).unwrap_or_default(), bounds.line);
            at += used;
            self.octets = self.octets.saturating_add(used as u64);
            if self.octets > bounds.size {
                return (at, Some(Err(ReplyFault::TooLong)));
            }
            let Some(line) = line else { return (at, None) };
            let ended = match line {
                Err(LineFault::TooLong | LineFault::Endless) => Err(ReplyFault::TooLong),
                Err(LineFault::BareCr | LineFault::BareLf) => Err(ReplyFault::BareLineEnd),
                Err(LineFault::Chunk) => Err(ReplyFault::NoReply),
                Ok(line) => self.said.add(&line, bounds.lines),
            };
            match ended {
                Err(fault) => return (at, Some(Err(fault))),
                Ok(false) => {}
                Ok(true) => {
                    self.octets = 0;
                    return (at, Some(Ok(core::mem::take(&mut self.said))));
                }
            }
        }
    }
}

impl Said {
    /// One more line; true: the last.
    fn add(&mut self, line: &[u8], most: u32) -> Result<bool, ReplyFault> {
        let (code, rest) = line.split_at_checked(3).ok_or(ReplyFault::NoReply)?;
        let code = match code {
            [first @ b'2'..=b'5', second @ b'0'..=b'9', third @ b'0'..=b'9'] => {
                [first, second, third].into_iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
            }
            _ => return Err(ReplyFault::NoReply),
        };
        let (last, text) = match rest {
            [] => (true, rest),
            [b' ', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return Err(ReplyFault::NoReply),
        };
        if !self.lines.is_empty() && self.code != code {
            return Err(ReplyFault::Codes);
        }
        if self.lines.len() >= most as usize {
            return Err(ReplyFault::TooLong);
        }
        self.code = code;
        self.lines.push(String::from_utf8_lossy(text).into_owned());
        Ok(last)
    }

    /// The reply as it is reported: without status codes, on one line of at most `most` octets.
    pub(crate) fn reported(&self, most: usize) -> Reply {
        let status = self.lines.first().and_then(|line| self::status(line)).map(|(status, _)| status);
        let status = status.filter(|status| status.class == self.code / 100);
        let mut text = String::new();
        for line in &self.lines {
            let rest =
                self::status(line).filter(|(own, _)| Some(*own) == status).map_or(line.as_str(), |(_, rest)| rest);
            let rest = rest.trim();
            if !text.is_empty() && !rest.is_empty() {
                text.push(' ');
            }
            for character in rest.chars() {
                if text.len() >= most {
                    text.push_str("...");
                    return Reply { code: self.code, status, text };
                }
                text.push(if is_control(character) { ' ' } else { character });
            }
        }
        Reply { code: self.code, status, text }
    }
}

/// `class "." subject "." detail`, then a space or the end. RFC 3463 section 2.
fn status(line: &str) -> Option<(Status, &str)> {
    let (code, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut numbers = code.split('.').map(|number| {
        let fits = (1..=3).contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit());
        if fits { number.parse::<u16>().ok() } else { None }
    });
    let (class, subject, detail) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let whole = numbers.next().is_none() && matches!(class, 2 | 4 | 5);
    whole.then_some((Status { class, subject, detail }, rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloc::{format, string::ToString, vec};
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { line: 64, lines: 4, size: 160 };

    /// What a reader says of a stream: `250 text`, `{Fault}`, and `…` for what has not ended.
    fn read_all(pieces: &[&[u8]]) -> Vec<String> {
        let mut reader = ReplyReader::default();
        let mut said = vec![];
        for piece in pieces {
            let mut rest = *piece;
            loop {
                let (used, outcome) = reader.read(rest, BOUNDS);
                rest = &rest[used..];
                match outcome {
                    Some(Ok(reply)) => {
                        let Reply { code, status, text } = reply.reported(40);
                        let status =
                            status.map_or(String::new(), |s| format!(" ({}.{}.{})", s.class, s.subject, s.detail));
                        said.push(format!("{code}{status} {text}"));
                    }
                    Some(Err(fault)) => {
                        said.push(format!("{{{fault:?}}}"));
                        return said;
                    }
                    None => break,
                }
            }
            assert!(rest.is_empty());
            assert!(reader.is_consistent(BOUNDS));
            reader = postcard::from_bytes(&postcard::to_allocvec(&reader).unwrap()).unwrap();
        }
        if !reader.is_fresh() {
            said.push("…".to_string());
        }
        said
    }

    #[test]
    fn replies_of_all_sorts() {
        let x = |n| "x".repeat(n);
        for (stream, expected) in [
            ("", vec![]),
            ("250 ok\r\n", vec!["250 ok"]),
            ("250\r\n", vec!["250 "]),
            ("250 \r\n", vec!["250 "]),
            ("250 2.1.5 ok\r\n550 5.1.1\r\n", vec!["250 (2.1.5) ok", "550 (5.1.1) "]),
            ("250-2.1.5 a\r\n250 2.1.5 b\r\n", vec!["250 (2.1.5) a b"]),
            ("250-2.1.5 a\r\n250 2.6.0 b\r\n", vec!["250 (2.1.5) a 2.6.0 b"]),
            ("250-a\r\n250-\r\n250 b\r\n", vec!["250 a b"]),
            ("250 5.1.1 class\r\n", vec!["250 5.1.1 class"]),
            ("550 5.1.1.1 x\r\n550 5.1111.1 x\r\n", vec!["550 5.1.1.1 x", "550 5.1111.1 x"]),
            ("599 x\r\n", vec!["599 x"]),
            ("250 a\0b\x1b[1m\u{85}\u{2028}\r\n", vec!["250 a b [1m"]),
            ("250 k\u{e4}se\r\n", vec!["250 k\u{e4}se"]),
            ("250-a\r\n251 b\r\n", vec!["{Codes}"]),
            ("250-a\r\n", vec!["…"]),
            ("250 a", vec!["…"]),
            ("150 a\r\n", vec!["{NoReply}"]),
            ("650 a\r\n", vec!["{NoReply}"]),
            ("25 a\r\n", vec!["{NoReply}"]),
            ("2x0 a\r\n", vec!["{NoReply}"]),
            ("250a\r\n", vec!["{NoReply}"]),
            ("250\ta\r\n", vec!["{NoReply}"]),
            ("\r\n", vec!["{NoReply}"]),
            ("SSH-2.0-x\r\n", vec!["{NoReply}"]),
            ("BDAT 5\n", vec!["{NoReply}"]),
            ("250 a\n", vec!["{BareLineEnd}"]),
            ("250 a\rb\r\n", vec!["{BareLineEnd}"]),
            (&format!("250 {}\r\n", x(58)), vec![&format!("250 {}...", x(40))]),
            (&format!("250 {}\r\n", x(59)), vec!["{TooLong}"]),
            (&"250-x\r\n".repeat(5), vec!["{TooLong}"]),
            (&x(161), vec!["{TooLong}"]),
        ] {
            assert_eq!(read_all(&[stream.as_bytes()]), expected, "{stream:?} in one piece");
            let octets: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
            assert_eq!(read_all(&octets), expected, "{stream:?} octet by octet");
        }
        assert_eq!(read_all(&[b"250 \xff\xfe\r\n"]), ["250 \u{fffd}\u{fffd}"]);
    }

    proptest! {
        /// Wherever the stream is split, and whatever it is: the same replies, printable and bounded.
        #[test]
        fn any_stream(
            stream in proptest::collection::vec(
                prop_oneof![Just("250"), Just("-"), Just(" "), Just("\r\n"), Just("\r"), Just("\n"), Just("550 5.1.1 no\r\n"),
                    Just("xxxxxxxxxxxxxxxxxxxx"), Just("\0"), Just("ä")], 0..40),
            cut in 0..400_usize,
        ) {
            let stream = stream.concat().into_bytes();
            let whole = read_all(&[&stream]);
            let (one, other) = stream.split_at(cut.min(stream.len()));
            prop_assert_eq!(&whole, &read_all(&[one, other]));
            let octets: Vec<&[u8]> = stream.chunks(1).collect();
            prop_assert_eq!(&whole, &read_all(&octets));
            prop_assert!(whole.iter().all(|said| said.len() < 80 && !said.chars().any(char::is_control)));
        }
    }
}
