//! A message as it leaves: trace fields, signature, header with its edits, body; in pieces.
//!
//! Owns how it is read and what has to be known of it before the first octet is sent. Refuses to know who it is for. Fails
//! as the file does. The signature is made of the octets that leave: where they are re-encoded for a server, after that.

use mail_parser::MessageParser;
use std::{io, os::unix::fs::FileExt as _, sync::Arc};

use crate::{
    deliver::{
        edits,
        smtp::reencode::{self, Form, Unconvertible},
    },
    dkim::{DkimError, Signers},
    store::{Body, Content, Edit},
};

/// Octets of a piece.
pub const PIECE: usize = 64 << 10;

/// A message that is being sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// What goes before `rest`.
    head: Vec<u8>,
    rest: Rest,
    tls_optional: bool,
    /// Octets of `head` that are our signatures.
    signed: usize,
}

#[derive(Clone, Debug)]
enum Rest {
    /// Edited: all of it is in `head`.
    Nothing,
    /// The content as it was stored.
    Stored(Arc<Body>, u64),
}

/// What is known of the octets (`wit/engine/client.wit`, `content-facts`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Octets.
    pub size: u64,
    /// There are octets above 127.
    pub eight_bit: bool,
    /// There is a CR or LF that is no CRLF.
    pub bare_line_ends: bool,
    /// The longest line's octets without its CRLF.
    pub longest_line: u64,
    /// The header has octets above 127 (RFC 6532).
    pub utf8_header: bool,
}

/// Why a message can not be read or signed.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The file.
    #[error("the message can not be read: {0}")]
    Io(#[from] io::Error),
    /// The signature.
    #[error(transparent)]
    Dkim(#[from] DkimError),
    /// It has no other form.
    #[error(transparent)]
    Form(#[from] Unconvertible),
}

impl Outgoing {
    /// The message with a recipient's edits, signed by whoever signs for its author. `size`: octets of the stored content.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn new(body: &Arc<Body>, size: u64, edits: &[Edit], signers: &Signers) -> Result<Self, ContentError> {
        let mut outgoing = if edits.is_empty() {
            Self {
                head: body.prefix.clone(),
                rest: Rest::Stored(Arc::clone(body), size),
                tls_optional: false,
                signed: 0,
            }
        } else {
            Self { head: edits::copy(body, size, edits)?, rest: Rest::Nothing, tls_optional: false, signed: 0 }
        };
        outgoing.tls_optional = says_tls_optional(&outgoing.top()?);
        outgoing.sign(signers)?;
        Ok(outgoing)
    }

    fn sign(&mut self, signers: &Signers) -> Result<(), ContentError> {
        if signers.is_empty() {
            return Ok(());
        }
        let top = self.top()?;
        let mut feed = |to: &mut dyn FnMut(&[u8])| self.each(|piece| to(piece));
        let mut signature = signers.sign(&top, &mut feed)?;
        self.signed = signature.len();
        signature.append(&mut self.head);
        self.head = signature;
        Ok(())
    }

    /// The same in another form, with signatures of its own. It is read whole, and converted in memory.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn reencoded(&self, form: Form, signers: &Signers) -> Result<Self, ContentError> {
        if self.size() > reencode::MOST {
            return Err(Unconvertible::TooLarge.into());
        }
        let mut octets = Vec::new();
        self.each(|piece| octets.extend_from_slice(piece))?;
        octets.drain(..self.signed);
        let head = reencode::reencode(&octets, form)?;
        let mut outgoing = Self { head, rest: Rest::Nothing, tls_optional: self.tls_optional, signed: 0 };
        outgoing.sign(signers)?;
        Ok(outgoing)
    }

    /// Octets of all of it.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.head.len() as u64 + self.stored()
    }

    /// It says `TLS-Required: No` (RFC 8689 section 3).
    #[must_use]
    pub fn tls_optional(&self) -> bool {
        self.tls_optional
    }

    fn stored(&self) -> u64 {
        match &self.rest {
            Rest::Nothing => 0,
            Rest::Stored(_, size) => *size,
        }
    }

    /// Reads a piece; empty at the end.
    ///
    /// # Errors
    /// As the file does.
    pub fn read(&self, offset: u64) -> io::Result<Vec<u8>> {
        let head = self.head.len() as u64;
        if offset < head {
            // An offset within a slice is one of this machine's sizes.
            let from = offset as usize;
            return Ok(self.head[from..self.head.len().min(from + PIECE)].to_vec());
        }
        let from = offset - head;
        let length = PIECE.min(usize::try_from(self.stored().saturating_sub(from)).unwrap_or(PIECE));
        let mut piece = vec![0; length];
        if let Rest::Stored(body, _) = &self.rest {
            match &body.content {
                Content::Inline(content) => {
                    let from = usize::try_from(from).map_err(io::Error::other)?;
                    let octets = content.get(from..from + length);
                    piece.copy_from_slice(octets.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
                }
                Content::File(file) => file.read_exact_at(&mut piece, from)?,
            }
        }
        Ok(piece)
    }

    fn each(&self, mut to: impl FnMut(&[u8])) -> io::Result<()> {
        let mut offset = 0;
        loop {
            let piece = self.read(offset)?;
            if piece.is_empty() {
                return Ok(());
            }
            to(&piece);
            offset += piece.len() as u64;
        }
    }

    /// Its beginning, for a look at the header.
    fn top(&self) -> io::Result<Vec<u8>> {
        let mut top = self.head.clone();
        top.truncate(2 * PIECE);
        if let Rest::Stored(..) = &self.rest {
            top.extend_from_slice(&self.read(self.head.len() as u64)?);
        }
        Ok(top)
    }

    /// Looks at all of it.
    ///
    /// # Errors
    /// As the file does.
    pub fn facts(&self) -> io::Result<Facts> {
        let mut facts = Facts { size: self.size(), ..Facts::default() };
        let mut header = true;
        let (mut line, mut cr) = (0_u64, false);
        self.each(|piece| {
            for &octet in piece {
                if octet > 127 {
                    facts.eight_bit = true;
                    facts.utf8_header |= header;
                }
                match (cr, octet) {
                    (true, b'\n') => {
                        facts.longest_line = facts.longest_line.max(line);
                        header &= line != 0;
                        (line, cr) = (0, false);
                    }
                    (before, b'\r') => {
                        facts.bare_line_ends |= before;
                        line += u64::from(before);
                        cr = true;
                    }
                    (before, _) => {
                        facts.bare_line_ends |= before || octet == b'\n';
                        line += 1 + u64::from(before);
                        cr = false;
                    }
                }
            }
        })?;
        facts.bare_line_ends |= cr;
        facts.longest_line = facts.longest_line.max(line);
        Ok(facts)
    }
}

/// RFC 8689 section 3: exactly one field counts.
fn says_tls_optional(top: &[u8]) -> bool {
    let Some(parsed) = MessageParser::new().parse_headers(top) else { return false };
    let is_it = |field: &&mail_parser::Header<'_>| field.name().eq_ignore_ascii_case("TLS-Required");
    let mut fields = parsed.root_part().headers.iter().filter(is_it);
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    field.value().as_text().is_some_and(|value| value.trim().eq_ignore_ascii_case("no"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn outgoing(prefix: &[u8], content: &[u8], in_file: bool) -> Outgoing {
        let size = content.len() as u64;
        let content = if in_file {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(content).unwrap();
            Content::File(file)
        } else {
            Content::Inline(content.to_vec())
        };
        Outgoing::new(&Arc::new(Body { prefix: prefix.to_vec(), content }), size, &[], &Signers::default()).unwrap()
    }

    #[test]
    fn pieces_are_the_message() {
        let content: Vec<u8> = (0..200_000_u32).map(|i| b'a' + (i % 26) as u8).collect();
        for in_file in [false, true] {
            for length in [0, 1, PIECE - 3, PIECE, PIECE + 1, content.len()] {
                let message = outgoing(b"R: x\r\n", &content[..length], in_file);
                let mut all = Vec::new();
                message.each(|piece| all.extend_from_slice(piece)).unwrap();
                assert_eq!(all.len() as u64, message.size());
                assert!(all == [b"R: x\r\n", &content[..length]].concat(), "{in_file} {length}");
            }
        }
    }

    /// The signature is that of the octets that leave, and there is one.
    #[test]
    fn signed_in_the_form_that_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let pem = crate::dkim::generate(crate::dkim::Kind::Ed25519).unwrap();
        crate::files::write_private(&key, pem.as_bytes()).unwrap();
        let dkim = vec![crate::config::Dkim { domain: "a.test".into(), selector: "s".into(), key }];
        let signers = Signers::load(&crate::config::Config { dkim, ..Default::default() }).unwrap();
        let content = "From: x@a.test\r\nSubject: x\r\n\r\ngrün\r\n".as_bytes();
        let of = |content: &[u8]| {
            let body = Body { prefix: b"R: x\r\n".to_vec(), content: Content::Inline(content.to_vec()) };
            Outgoing::new(&Arc::new(body), content.len() as u64, &[], &signers).unwrap()
        };
        let read = |message: &Outgoing| {
            let mut all = Vec::new();
            message.each(|piece| all.extend_from_slice(piece)).unwrap();
            String::from_utf8(all).unwrap()
        };
        let parts = |text: &str| {
            assert_eq!(text.matches("DKIM-Signature:").count(), 1, "{text}");
            let (signature, rest) = text.split_once("\r\nR: x").unwrap();
            let hash = signature.replace(['\r', '\n', '\t', ' '], "");
            let hash = hash.split("bh=").nth(1).unwrap().split(';').next().unwrap().to_owned();
            (hash, rest.to_owned())
        };
        let before = of(content);
        let (first, rest) = parts(&read(&before));
        assert!(rest.ends_with("grün\r\n"), "{rest}");
        let after = before.reencoded(Form::SevenBit, &signers).unwrap();
        let (second, rest) = parts(&read(&after));
        assert!(rest.ends_with("quoted-printable\r\n\r\ngr=C3=BCn\r\n"), "{rest}");
        assert!(!after.facts().unwrap().eight_bit && after.size() == read(&after).len() as u64);
        // As if it had been sent so.
        let (third, _) = parts(&read(&of(rest.trim_start().as_bytes())));
        assert_eq!(second, third);
        assert_ne!(second, first);
        let large = of(&vec![b'x'; 17 << 20]);
        assert!(matches!(large.reencoded(Form::Lines, &signers), Err(ContentError::Form(Unconvertible::TooLarge))));
    }

    #[test]
    fn what_is_known_of_it() {
        let check = |content: &[u8], expected: (bool, bool, u64, bool)| {
            let facts = outgoing(b"R: x\r\n", content, false).facts().unwrap();
            let found = (facts.eight_bit, facts.bare_line_ends, facts.longest_line, facts.utf8_header);
            assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(content));
        };
        check(b"S: a\r\n\r\nhello\r\n", (false, false, 5, false));
        check("S: ä\r\n\r\nhello\r\n".as_bytes(), (true, false, 5, true));
        check("S: a\r\n\r\nä\r\n".as_bytes(), (true, false, 4, false));
        check(b"S: a\r\n\r\nx\ny\r\n", (false, true, 4, false));
        check(b"S: a\r\n\r\nx\ry\r\n", (false, true, 4, false));
        check(b"S: a\r\n\r\nx\r", (false, true, 4, false));
        check(b"S: a\r\n\r\nx\r\r\n", (false, true, 4, false));
        check(b"S: a\r\n\r\nlast line", (false, false, 9, false));
    }
}
