//! Replies, framed. RFC 5321 section 4.2, RFC 2034.
//!
//! The only place that turns a text from outside (the embedder's, and through it a plugin's or a peer's) into octets
//! for the peer: whatever the text holds, what comes out is one reply of the given code, in lines of at most 512 octets.
//! It refuses to know what a reply means, and it cannot fail.

use alloc::{string::String, vec::Vec};

use crate::question::{Decision, Refusal};

/// The longest reply line with its CRLF. RFC 5321 section 4.5.3.1.5.
pub const LINE: usize = 512;

/// The most of one text that is sent, in octets; the rest is cut off at a character and marked with `...`.
pub const TEXT: usize = 4096;

/// Subject and detail of an enhanced status code (RFC 3463); the class is the first digit of the reply code.
pub type Enhanced = Option<(u16, u16)>;

/// A reply of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// RFC 5321 section 4.2.
    pub code: u16,
    /// RFC 3463; absent where RFC 2034 wants none.
    pub enhanced: Enhanced,
    /// For people.
    pub text: &'static str,
}

impl Reply {
    /// With an enhanced status code.
    #[must_use]
    pub const fn new(code: u16, subject: u16, detail: u16, text: &'static str) -> Self {
        Self { code, enhanced: Some((subject, detail)), text }
    }

    /// Without one: the greeting and 3yz.
    #[must_use]
    pub const fn bare(code: u16, text: &'static str) -> Self {
        Self { code, enhanced: None, text }
    }
}

/// Appends one reply. `utf8` permits octets above 127 (RFC 6531 section 3.7.4.2); otherwise such a character becomes
/// `?`. A control character becomes a space, a code outside of 200 to 599 becomes 451. A long text goes over several lines, each with
/// the code and the enhanced status code.
pub fn write(out: &mut Vec<u8>, code: u16, enhanced: Enhanced, text: &str, utf8: bool) {
    let prefix = Prefix::new(code, enhanced);
    let room = LINE - 2 - prefix.length;
    if text.len() <= room && text.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
        prefix.line(out, true, text);
        return;
    }
    let text = printable(text, utf8);
    let mut rest = text.as_str();
    loop {
        let (line, remainder) = split(rest, room);
        prefix.line(out, remainder.is_empty(), line);
        if remainder.is_empty() {
            return;
        }
        rest = remainder;
    }
}

/// Appends a reply of several lines without enhanced codes (EHLO). A line that does not fit is cut at a word.
pub fn write_lines<'a>(out: &mut Vec<u8>, code: u16, lines: impl IntoIterator<Item = &'a str>) {
    let prefix = Prefix::new(code, None);
    let mut lines = lines.into_iter().peekable();
    while let Some(line) = lines.next() {
        let line = printable(line, false);
        prefix.line(out, lines.peek().is_none(), split(&line, LINE - 2 - prefix.length).0);
    }
}

/// The code of a refusal is one that the embedder may give.
#[must_use]
pub fn is_possible(refusal: &Refusal) -> bool {
    (400..=599).contains(&refusal.code) && refusal.subject <= 999 && refusal.detail <= 999
}

/// One reply for all recipients: the first acceptance, else the first 4yz, else the first 5yz.
#[must_use]
pub fn fold(decisions: &[Decision]) -> Option<&Decision> {
    let class = |wanted: u16| {
        decisions.iter().find(move |decision| match decision {
            Ok(_) => wanted == 2,
            Err(refusal) => refusal.code / 100 == wanted,
        })
    };
    class(2).or_else(|| class(4)).or_else(|| class(5))
}

/// `text` on one line: control characters become spaces, and without `utf8` what is not ASCII becomes `?`.
#[must_use]
pub fn printable(text: &str, utf8: bool) -> String {
    let mut line = String::with_capacity(text.len().min(TEXT));
    for character in text.chars() {
        if line.len() >= TEXT {
            line.push_str("...");
            break;
        }
        line.push(match character {
            // The separators that some readers take for a line end as well.
            '\u{2028}' | '\u{2029}' => ' ',
            _ if character.is_control() => ' ',
            _ if character.is_ascii() || utf8 => character,
            _ => '?',
        });
    }
    line
}

/// At most `room` octets, and the rest: at the last space if there is one, else between two characters.
fn split(text: &str, room: usize) -> (&str, &str) {
    if text.len() <= room {
        return (text, "");
    }
    let (line, rest) = text.split_at(text.floor_char_boundary(room));
    match line.rfind(' ') {
        Some(space) if space > 0 => (&text[..space], &text[space + 1..]),
        _ => (line, rest),
    }
}

/// What every line of a reply begins with: `250-` or `250-2.1.5 `.
struct Prefix {
    octets: [u8; 16],
    length: usize,
}

impl Prefix {
    fn new(code: u16, enhanced: Enhanced) -> Self {
        let code = if (200..=599).contains(&code) { code } else { 451 };
        let mut prefix = Self { octets: [b' '; 16], length: 0 };
        prefix.number(code);
        prefix.length += 1;
        if let Some((subject, detail)) = enhanced {
            prefix.number(code / 100);
            for part in [subject, detail] {
                prefix.push(b'.');
                prefix.number(part.min(999));
            }
            prefix.length += 1;
        }
        prefix
    }

    fn number(&mut self, number: u16) {
        for power in [100, 10, 1] {
            if number >= power || power == 1 {
                self.push(b'0' + (number / power % 10) as u8);
            }
        }
    }

    fn push(&mut self, octet: u8) {
        self.octets[self.length] = octet;
        self.length += 1;
    }

    fn line(&self, out: &mut Vec<u8>, last: bool, text: &str) {
        let start = out.len();
        out.extend_from_slice(&self.octets[..self.length]);
        if !last {
            out[start + 3] = b'-';
        }
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
