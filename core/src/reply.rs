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
        out.reserve(self.length + text.len() + 2);
        out.extend_from_slice(&self.octets[..self.length]);
        if !last {
            out[start + 3] = b'-';
        }
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use alloc::{string::ToString, vec};
    use proptest::prelude::*;

    use super::*;

    fn check(code: u16, enhanced: Enhanced, text: &str, utf8: bool, expected: &str) {
        let mut out = vec![];
        write(&mut out, code, enhanced, text, utf8);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn one_reply_comes_out() {
        check(250, Some((1, 5)), "Ok", false, "250 2.1.5 Ok\r\n");
        check(220, None, "mx.test ESMTP", false, "220 mx.test ESMTP\r\n");
        check(550, Some((17, 999)), "", false, "550 5.17.999 \r\n");
        check(550, Some((1, 1)), "no\r\n250 yes\0\x1b[1m\u{85}\u{2028}", false, "550 5.1.1 no  250 yes  [1m  \r\n");
        check(550, Some((1, 1)), "kein Käse", false, "550 5.1.1 kein K?se\r\n");
        check(550, Some((1, 1)), "kein Käse", true, "550 5.1.1 kein Käse\r\n");
        check(99, Some((1, 1)), "what", false, "451 4.1.1 what\r\n");
        let long = "word ".repeat(150);
        let line = "word ".repeat(100);
        let first = line.trim_end();
        let second = "word ".repeat(50);
        check(250, Some((0, 0)), &long, false, &alloc::format!("250-2.0.0 {first}\r\n250 2.0.0 {second}\r\n"));
    }

    #[test]
    fn lines_of_a_reply() {
        let mut out = vec![];
        let long = "AUTH X ".repeat(100);
        write_lines(&mut out, 250, ["mx.test", "SIZE\r\n5", &long]);
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with("250-mx.test\r\n250-SIZE  5\r\n250 AUTH X AUTH"), "{out}");
        assert!(out.lines().all(|line| line.len() <= LINE - 2));
    }

    #[test]
    fn one_answer_for_all() {
        let no = |code| Err(Refusal { code, subject: 0, detail: 0, text: code.to_string() });
        for (decisions, wanted) in [
            (vec![], None),
            (vec![no(550), Ok(None), Ok(Some("b".into()))], Some(Ok(None))),
            (vec![no(550), no(451), no(452)], Some(no(451))),
            (vec![no(550), no(554)], Some(no(550))),
        ] {
            assert_eq!(fold(&decisions), wanted.as_ref());
        }
    }

    proptest! {
        /// Whatever the text: lines of at most 512 octets, each with the code, only the last with a space behind it, no
        /// control character, and UTF-8 only where it is allowed.
        #[test]
        fn nothing_forges_a_line(
            code in 200..600_u16,
            enhanced in proptest::option::of((any::<u16>(), any::<u16>())),
            text in prop_oneof![".{0,80}", "(?s).{0,3000}", "[ä\r\n\u{0}]{0,3000}", "(250 |x\r\n){0,400}"],
            utf8 in any::<bool>(),
        ) {
            let mut out = vec![];
            write(&mut out, code, enhanced, &text, utf8);
            prop_assert!(out.ends_with(b"\r\n"));
            prop_assert!(utf8 || out.is_ascii());
            let out = String::from_utf8(out).expect("characters are never cut");
            let lines: Vec<&str> = out[..out.len() - 2].split("\r\n").collect();
            for (number, line) in lines.iter().enumerate() {
                prop_assert!(line.len() + 2 <= LINE);
                prop_assert!(!line.contains(char::is_control), "{line:?}");
                let separator = if number + 1 == lines.len() { ' ' } else { '-' };
                let mut prefix = alloc::format!("{code}{separator}");
                if let Some((subject, detail)) = enhanced {
                    prefix += &alloc::format!("{}.{}.{} ", code / 100, subject.min(999), detail.min(999));
                }
                prop_assert!(line.starts_with(&prefix), "{line:?}");
            }
        }
    }
}
