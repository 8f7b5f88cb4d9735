//! Messages that are hard to carry unchanged, and how to tell whether they were.
//!
//! Each begins with the field `X-Token`, so that what was added in transit stands before it.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU32, Ordering},
};

use sha2::{Digest, Sha256};

/// A word that no other message of this machine has.
pub fn token() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t{:016x}n{}", rand::random::<u64>(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A message as it is handed to a client: CRLF line ends, not dot-stuffed.
#[derive(Clone, Debug)]
pub struct Message {
    /// The value of its `X-Token`.
    pub token: String,
    /// All of it.
    pub octets: Vec<u8>,
}

impl Message {
    /// 7-bit, with every trap that RFC 5321 section 4.5.2 and mbox files know: lines that begin with dots or `From `, lines of
    /// white space, one of 990 octets, and 40 KB of base64.
    pub fn seven_bit() -> Self {
        Self::new("Subject: seven bits\r\nContent-Type: text/plain; charset=us-ascii\r\n", "plain text\r\n")
    }

    /// The same with a body in UTF-8 (RFC 6152).
    pub fn eight_bit() -> Self {
        Self::new(
            "Subject: eight bits\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
            "Grüße aus Köln ☃ 例え\r\n",
        )
    }

    /// UTF-8 in the header too (RFC 6532).
    pub fn utf8_header() -> Self {
        Self::new(
            "Subject: Grüße – ☃ 例え\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
            "Grüße aus Köln ☃ 例え\r\n",
        )
    }

    fn new(fields: &str, first: &str) -> Self {
        let token = token();
        let mut text = format!(
            "X-Token: {token}\r\nFrom: Anna <anna@example.test>\r\nTo: <berta@example.test>\r\n\
             Date: Tue, 03 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{token}@client.example.org>\r\nMIME-Version: 1.0\r\n{fields}\
             X-Folded: one\r\n\ttwo\r\n  three\r\n\r\n{first}\
             .\r\n..\r\n...three dots\r\n.\t\r\n \r\n\t\r\ntrailing space \r\nFrom nobody\r\n>From nobody\r\n\r\n\r\n{}\r\n",
            "x".repeat(990)
        );
        let mut state = 1_u32;
        for _ in 0..540 {
            for _ in 0..76 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push(char::from(
                    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(state >> 26) as usize],
                ));
            }
            text.push_str("\r\n");
        }
        text.push_str(".\r\nthe last line\r\n");
        Self { token, octets: text.into_bytes() }
    }

    /// About `size` octets, with a digest of its body in `X-Digest`, so that a copy proves itself (see [`intact`]).
    pub fn sealed(token: &str, size: usize) -> Self {
        let mut body = String::with_capacity(size + 100);
        let mut state = token.bytes().fold(7_u32, |s, b| s.wrapping_mul(31).wrapping_add(u32::from(b)));
        while body.len() < size {
            for _ in 0..70 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                body.push(char::from(b' ' + (state >> 26) as u8));
            }
            body.push_str("\r\n");
        }
        let octets = format!(
            "X-Token: {token}\r\nX-Digest: {}\r\nFrom: <anna@example.test>\r\nSubject: {size}\r\n\
             Date: Tue, 03 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{token}@client.example.org>\r\n\r\n{body}",
            digest(body.as_bytes())
        );
        Self { token: token.into(), octets: octets.into_bytes() }
    }

    /// For the wire: dot-stuffed, without the final dot.
    pub fn stuffed(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.octets.len() + 64);
        let mut line_starts = true;
        for &octet in &self.octets {
            if line_starts && octet == b'.' {
                out.push(b'.');
            }
            out.push(octet);
            line_starts = octet == b'\n';
        }
        out
    }
}

/// Hex SHA-256 with every line end counted as LF.
pub fn digest(octets: &[u8]) -> String {
    sha256(&newlines(octets))
}

/// Hex SHA-256.
pub fn sha256(octets: &[u8]) -> String {
    Sha256::digest(octets).iter().fold(String::new(), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

/// CRLF made LF. A Maildir may hold either.
pub fn newlines(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    for (i, &octet) in octets.iter().enumerate() {
        if octet != b'\r' || octets.get(i + 1) != Some(&b'\n') {
            out.push(octet);
        }
    }
    out
}

/// The value of a field, looked for from the top of a message.
pub fn field<'a>(octets: &'a [u8], name: &str) -> Option<&'a str> {
    for line in octets.split(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return None;
        }
        let line = std::str::from_utf8(line).unwrap_or_default();
        if let Some((before, value)) = line.split_once(':')
            && before.eq_ignore_ascii_case(name)
        {
            return Some(value.trim());
        }
    }
    None
}

/// Whether a stored copy of a [`Message::sealed`] is whole; what is wrong with it otherwise.
pub fn intact(stored: &[u8]) -> Result<(), String> {
    let text = newlines(stored);
    let expected = field(&text, "X-Digest").ok_or("its header is torn: no X-Digest")?;
    let at = text.windows(2).position(|w| w == b"\n\n").ok_or("its header does not end")?;
    let body = &text[at + 2..];
    if digest(body) == expected { Ok(()) } else { Err(format!("its body of {} octets has another digest", body.len())) }
}

/// Panics, showing the first difference, unless `stored` is `sent` below the fields that were added on the way.
pub fn assert_same(stored: &[u8], sent: &Message) {
    let (stored, sent_text) = (newlines(stored), newlines(&sent.octets));
    let first = format!("X-Token: {}\n", sent.token);
    let Some(at) = stored.windows(first.len()).position(|w| w == first.as_bytes()) else {
        panic!(
            "the first field {first:?} is missing in {}",
            String::from_utf8_lossy(&stored[..stored.len().min(2000)])
        );
    };
    let got = &stored[at..];
    if got != sent_text {
        let i = got.iter().zip(&sent_text).position(|(a, b)| a != b).unwrap_or(got.len().min(sent_text.len()));
        let near = |b: &[u8]| {
            String::from_utf8_lossy(&b[i.saturating_sub(60).min(b.len())..(i + 60).min(b.len())]).into_owned()
        };
        panic!(
            "differs at octet {i} (stored {} octets, sent {}):\nstored …{:?}…\nsent   …{:?}…",
            got.len(),
            sent_text.len(),
            near(got),
            near(&sent_text)
        );
    }
}
