//! Frames content for DATA and BDAT. RFC 5321 sections 2.3.8, 4.1.1.4 and 4.5.2, RFC 3030. This is the only file where mail
//! could be smuggled out.
//!
//! Content is looked at before any of it is sent: outside of BINARYMIME it is lines of at most 998 octets that end with CRLF,
//! and without 8BITMIME it is ASCII. What is not, is refused as a whole ([`FramingFault`]: the embedder's mistake, for it has
//! said otherwise), so that what a peer takes for the end of the content is the end of the content. It knows no header fields and
//! no replies.

use alloc::vec::Vec;
use memchr::{memchr2, memmem};
use serde::{Deserialize, Serialize};

use crate::step::Piece;

/// RFC 5321 section 4.5.3.1.6, without the CRLF.
pub(super) const LINE: u64 = 998;

/// More lines than these that begin with a dot, in one call, and the rest is copied rather than listed.
const LISTED: usize = 64;

/// The content is not what was said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FramingFault {
    #[error("the content has a CR or LF that is no CRLF")]
    BareLineEnd,
    #[error("the content has a line of more than 998 octets")]
    LineTooLong,
    #[error("the content has octets above 127")]
    EightBit,
    #[error("the content has another size than was said")]
    Size,
}

/// How the content travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Transport {
    /// DATA: lines, with dots of transparency.
    #[default]
    Data,
    /// BDAT: lines as they are.
    Chunks,
    /// BDAT under BODY=BINARYMIME: octets.
    Binary,
}

/// Where in a line the content stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    #[default]
    LineStart,
    Text,
    Cr,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Framing {
    pub(super) transport: Transport,
    /// Octets above 127 were announced.
    pub(super) eight_bit: bool,
    /// Octets that are still to come.
    left: u64,
    place: Place,
    /// Octets of the line so far.
    column: u64,
}

impl Framing {
    /// For content of so many octets.
    pub(super) fn new(transport: Transport, eight_bit: bool, size: u64) -> Self {
        Self { transport, eight_bit, left: size, ..Self::default() }
    }

    /// The state behind these octets.
    pub(super) fn after(self, octets: &[u8], last: bool) -> Result<Self, FramingFault> {
        let mut next = self;
        next.left = self.left.checked_sub(octets.len() as u64).ok_or(FramingFault::Size)?;
        if last && next.left > 0 {
            return Err(FramingFault::Size);
        }
        if self.transport == Transport::Binary {
            return Ok(next);
        }
        if !self.eight_bit && !octets.is_ascii() {
            return Err(FramingFault::EightBit);
        }
        let mut rest = octets;
        while !rest.is_empty() {
            if next.place == Place::Cr {
                rest = rest.strip_prefix(b"\n").ok_or(FramingFault::BareLineEnd)?;
                next.place = Place::LineStart;
                next.column = 0;
                continue;
            }
            let end = memchr2(b'\r', b'\n', rest);
            let text = end.unwrap_or(rest.len());
            next.column = next.column.saturating_add(text as u64);
            if next.column > LINE {
                return Err(FramingFault::LineTooLong);
            }
            if text > 0 {
                next.place = Place::Text;
            }
            rest = rest.get(text..).unwrap_or_default();
            match rest.split_first() {
                None => {}
                Some((b'\r', behind)) => {
                    next.place = Place::Cr;
                    rest = behind;
                }
                Some(_) => return Err(FramingFault::BareLineEnd),
            }
        }
        if last && next.place == Place::Cr { Err(FramingFault::BareLineEnd) } else { Ok(next) }
    }

    /// The octets as DATA wants them: a dot before each dot at the start of a line, and at the last the end. They have
    /// passed [`Framing::after`], which gave `next`.
    pub(super) fn stuffed(self, next: Self, octets: &[u8], last: bool) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut start = 0;
        for dot in self.dots(octets) {
            if pieces.len() > 2 * LISTED {
                pieces.push(Piece::Octets(self.copied(octets, start)));
                start = octets.len();
                break;
            }
            range(&mut pieces, start, dot);
            pieces.push(Piece::Octets(b".".to_vec()));
            start = dot;
        }
        range(&mut pieces, start, octets.len());
        if last {
            let end: &[u8] = if next.place == Place::LineStart { b".\r\n" } else { b"\r\n.\r\n" };
            pieces.push(Piece::Octets(end.to_vec()));
        }
        pieces
    }

    /// Where in the octets a line begins with a dot.
    fn dots(self, octets: &[u8]) -> impl Iterator<Item = usize> {
        let first = match (self.place, octets) {
            (Place::LineStart, [b'.', ..]) => Some(0),
            (Place::Cr, [b'\n', b'.', ..]) => Some(1),
            _ => None,
        };
        first.into_iter().chain(memmem::find_iter(octets, b"\r\n.").map(|at| at + 2))
    }

    /// The octets from `start` on, with their dots.
    fn copied(self, octets: &[u8], mut start: usize) -> Vec<u8> {
        let mut copy = Vec::with_capacity(octets.len() - start + octets.len() / 4);
        let from = start;
        for dot in self.dots(octets).filter(|dot| *dot > from) {
            copy.extend_from_slice(&octets[start..dot]);
            copy.push(b'.');
            start = dot;
        }
        copy.extend_from_slice(&octets[start..]);
        copy
    }
}

/// The octets between these places, if there are any.
pub(super) fn range(pieces: &mut Vec<Piece>, start: usize, end: usize) {
    if let (Ok(offset), Ok(length)) = (u32::try_from(start), u32::try_from(end - start))
        && length > 0
    {
        pieces.push(Piece::Range { offset, length });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use alloc::{string::String, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::limits::Limits;
    use crate::syntax::data::Content;

    fn framed(pieces: &[&[u8]]) -> Result<Vec<u8>, FramingFault> {
        let size = pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut framing = Framing::new(Transport::Data, false, size);
        let mut sent = vec![];
        for (number, octets) in pieces.iter().enumerate() {
            let last = number + 1 == pieces.len();
            let next = framing.after(octets, last)?;
            for piece in framing.stuffed(next, octets, last) {
                match piece {
                    Piece::Range { offset, length } => {
                        sent.extend_from_slice(&octets[offset as usize..(offset + length) as usize]);
                    }
                    Piece::Octets(octets) => sent.extend(octets),
                }
            }
            framing = next;
        }
        Ok(sent)
    }

    #[test]
    fn lines_and_dots() {
        use FramingFault::{BareLineEnd, EightBit, LineTooLong};
        let x = |n| "x".repeat(n);
        for (content, expected) in [
            ("", Ok(".\r\n")),
            (".", Ok("..\r\n.\r\n")),
            ("a", Ok("a\r\n.\r\n")),
            ("a\r\n", Ok("a\r\n.\r\n")),
            ("\r\n", Ok("\r\n.\r\n")),
            (".\r\n..\r\na.b\r\n.c\r\n", Ok("..\r\n...\r\na.b\r\n..c\r\n.\r\n")),
            ("a\r\n.\r\nMAIL", Ok("a\r\n..\r\nMAIL\r\n.\r\n")),
            ("a\n", Err(BareLineEnd)),
            ("a\r", Err(BareLineEnd)),
            ("a\n.\n", Err(BareLineEnd)),
            ("a\n.\r\n", Err(BareLineEnd)),
            ("a\r.\r\n", Err(BareLineEnd)),
            ("a\r\r\n", Err(BareLineEnd)),
            ("\u{e4}\r\n", Err(EightBit)),
            (&x(998), Ok(&*(x(998) + "\r\n.\r\n"))),
            (&(x(998) + "\r\n"), Ok(&*(x(998) + "\r\n.\r\n"))),
            (&x(999), Err(LineTooLong)),
            (&("a\r\n".repeat(500) + &x(999)), Err(LineTooLong)),
            (&"\r\n.".repeat(300), Ok(&*("\r\n..".repeat(300) + "\r\n.\r\n"))),
        ] {
            let expected = expected.map(|text| text.as_bytes().to_vec());
            assert_eq!(framed(&[content.as_bytes()]), expected, "{content:?} in one piece");
            let mut octets: Vec<&[u8]> = content.as_bytes().chunks(1).collect();
            octets.push(b"");
            assert_eq!(framed(&octets), expected, "{content:?} octet by octet");
        }
    }

    #[test]
    fn neither_more_nor_less_than_was_said() {
        for transport in [Transport::Data, Transport::Chunks, Transport::Binary] {
            let framing = Framing::new(transport, true, 3);
            assert_eq!(framing.after(b"abcd", false), Err(FramingFault::Size));
            assert_eq!(framing.after(b"ab", true), Err(FramingFault::Size));
            let next = framing.after(b"ab", false).unwrap();
            assert!(next.after(b"c", true).is_ok());
            assert_eq!(next.after(b"", true), Err(FramingFault::Size));
        }
    }

    proptest! {
        /// Whatever is sent, our own receiver takes it for this content and nothing behind it; in pieces as in one.
        #[test]
        fn the_receiver_reads_what_was_sent(
            parts in proptest::collection::vec(
                prop_oneof![Just("."), Just("\r\n"), Just("\r\n.\r\n"), Just("x"), Just("\r"), Just("\n"), Just("QUIT")], 0..300),
            cut in 0..400_usize,
        ) {
            let content = parts.concat();
            let (one, other) = content.as_bytes().split_at(cut.min(content.len()));
            let whole = framed(&[content.as_bytes()]);
            prop_assert_eq!(&whole, &framed(&[one, other]));
            let bare = content.replace("\r\n", "").contains(['\r', '\n']);
            prop_assert_eq!(whole.is_err(), bare);
            if let Ok(sent) = whole {
                let mut receiver = Content::new(false);
                let mut pieces = vec![];
                let scanned = receiver.data(&sent, 0, &Limits::default(), &mut pieces);
                prop_assert!(scanned.end && scanned.consumed == sent.len());
                let mut read = vec![];
                for piece in pieces {
                    match piece {
                        Piece::Range { offset, length } => {
                            read.extend_from_slice(&sent[offset as usize..(offset + length) as usize]);
                        }
                        Piece::Octets(octets) => read.extend(octets),
                    }
                }
                let lines = if content.is_empty() || content.ends_with("\r\n") { "" } else { "\r\n" };
                prop_assert_eq!(String::from_utf8(read).unwrap(), content + lines);
            }
        }
    }
}
