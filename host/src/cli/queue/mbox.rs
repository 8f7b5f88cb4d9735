//! The form in which one file holds many messages (mboxrd): each behind a line `From SENDER DATE`, lines that would look like
//! that quoted with `>`, lines ending with LF.
//!
//! Owns that form. Refuses to read it. Fails as what is written to does.

use std::io::{self, Write};

/// One message on its way into the file.
pub(super) struct Entry {
    /// Until the first octets are there.
    front: Option<String>,
    /// The line that has begun, as long as it may become `From `.
    line: Vec<u8>,
    /// The line is known to be another one, and is written as it comes.
    open: bool,
    /// A CR whose LF may come.
    cr: bool,
    wrote: bool,
}

impl Entry {
    /// `sender`: in display form. `at`: when it was received.
    pub(super) fn new(sender: &str, at: u64) -> Self {
        let sender: String =
            sender.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }).collect();
        let sender = if sender == "<>" { "MAILER-DAEMON" } else { &sender };
        let at = i64::try_from(at / 1000).ok().and_then(|at| jiff::Timestamp::from_second(at).ok()).unwrap_or_default();
        let front = format!("From {sender} {}\n", at.strftime("%a %b %e %H:%M:%S %Y"));
        Self { front: Some(front), line: Vec::new(), open: false, cr: false, wrote: false }
    }

    pub(super) fn write(&mut self, out: &mut impl Write, octets: &[u8]) -> io::Result<()> {
        if let Some(front) = self.front.take() {
            out.write_all(front.as_bytes())?;
            self.wrote = true;
        }
        for &octet in octets {
            match (self.cr, octet) {
                (true, b'\n') => self.cr = false,
                (true, _) => {
                    self.cr = false;
                    self.put(out, b'\r')?;
                }
                (false, _) => {}
            }
            if octet == b'\r' { self.cr = true } else { self.put(out, octet)? }
        }
        Ok(())
    }

    fn put(&mut self, out: &mut impl Write, octet: u8) -> io::Result<()> {
        if octet == b'\n' {
            self.begin(out)?;
            self.open = false;
            return out.write_all(b"\n");
        }
        if self.open {
            return out.write_all(&[octet]);
        }
        self.line.push(octet);
        let after = self.line.iter().position(|octet| *octet != b'>').unwrap_or(self.line.len());
        let rest = self.line.get(after..).unwrap_or_default();
        if rest == b"From " || !b"From ".starts_with(rest) {
            self.begin(out)?;
            self.open = true;
        }
        Ok(())
    }

    /// The line is what it is.
    fn begin(&mut self, out: &mut impl Write) -> io::Result<()> {
        let quoted = self.line.iter().position(|octet| *octet != b'>');
        if quoted.is_some_and(|after| self.line.get(after..).is_some_and(|rest| rest.starts_with(b"From "))) {
            out.write_all(b">")?;
        }
        out.write_all(&self.line)?;
        self.line.clear();
        Ok(())
    }

    /// Ends the last line, and the message with an empty one.
    pub(super) fn end(mut self, out: &mut impl Write) -> io::Result<()> {
        if !self.wrote {
            return Ok(());
        }
        if self.cr {
            self.put(out, b'\r')?;
        }
        if self.open || !self.line.is_empty() {
            self.put(out, b'\n')?;
        }
        out.write_all(b"\n")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_mboxes() {
        let content =
            b"Subject: a\r\n\r\nFrom here\r\n>From there\r\n>>From\r\n> From\r\nFro\r\n\r\nbare\rcr From x\r\n>";
        let expected = "From a_b@c.test Tue Nov 14 22:13:20 2023\nSubject: a\n\n>From here\n>>From there\n>>From\n> From\nFro\n\n\
            bare\rcr From x\n>\n\n";
        for size in [1, 2, 3, 7, 1000] {
            let (mut out, mut entry) = (Vec::new(), Entry::new("a b@c.test", 1_700_000_000_000));
            for piece in content.chunks(size) {
                entry.write(&mut out, piece).unwrap();
            }
            entry.end(&mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "in pieces of {size}");
        }
        let (mut out, mut entry) = (Vec::new(), Entry::new("<>", 0));
        entry.write(&mut out, b"x\r\n").unwrap();
        entry.end(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "From MAILER-DAEMON Thu Jan  1 00:00:00 1970\nx\n\n");
        let mut out = Vec::new();
        Entry::new("<>", 0).end(&mut out).unwrap();
        assert!(out.is_empty(), "nothing of a message that is gone");
    }
}
