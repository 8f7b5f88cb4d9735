//! A message in another form, for a server that does not take it as it is (RFC 6152 section 3, RFC 3030 section 3).
//!
//! Owns which parts are encoded and how (RFC 2045). Text becomes quoted-printable, all else base64; what needs no change is not
//! touched. Refuses to look into what is signed or encrypted (RFC 1847 section 2.1), and to know who wants it. Fails with
//! [`Unconvertible`]: also where two readers may find different parts, for our parser takes a boundary anywhere in a line for a
//! delimiter. What comes out was read again and has the same parts with the same octets.
//!
//! An author's DKIM signature does not survive this, as RFC 6376 section 5.3 warns: the other choice would be not to deliver
//! at all to a server without 8BITMIME. Our own is made of what comes out.

#[cfg(test)]
mod tests;

use std::ops::Range;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mail_parser::{ContentType, HeaderName, HeaderValue, MessageParser, MessagePart, PartType};

/// Octets of a message that is converted: it is in memory a few times over.
pub const MOST: u64 = 16 << 20;
/// `Content-Type` fields of one. Messages nest no deeper than that, and who reads them uses a stack.
const TYPES: usize = 500;
/// Octets of a line without its CRLF.
const LINE: usize = 998;
/// Octets that one line of base64 stands for: 76 characters (RFC 2045 section 6.8).
const BASE64: usize = 57;

/// Octets that are searched for boundaries, those of nested parts once for each: a message as large as may be, as deep as
/// no real one.
const SEARCHED: usize = 512 << 20;
/// Why one whose delimiters are doubtful is left alone.
const NOT_APART: Unconvertible = Unconvertible::Malformed("its parts can not be told apart");

/// What the message is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines of at most 998 octets.
    Lines,
    /// The same, of ASCII.
    SevenBit,
}

/// Why it can not be had in that form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unconvertible {
    /// It is larger than [`MOST`].
    #[error("it would have to be re-encoded for that server, and is too large for it")]
    TooLarge,
    /// That would break a signature, or there is no other form for this type.
    #[error("it would have to be re-encoded for that server, and what is {0} must not be")]
    Sealed(String),
    /// A field has octets above 127, and there is no other form for it.
    #[error("a field of a part's header is not ASCII, and has no other form for that server")]
    Header,
    /// It is not what it says.
    #[error("it would have to be re-encoded for that server, and can not be: {0}")]
    Malformed(&'static str),
}

impl Form {
    /// It has this form already.
    fn holds(self, octets: &[u8]) -> bool {
        let ascii = self == Self::Lines || octets.iter().all(|octet| in_seven_bits(*octet));
        ascii && is_lines(octets)
    }

    fn label(self) -> &'static str {
        match self {
            Self::Lines => "8bit",
            Self::SevenBit => "7bit",
        }
    }
}

/// RFC 2045 section 2.7.
fn in_seven_bits(octet: u8) -> bool {
    matches!(octet, 1..=127)
}

/// No CR or LF but in CRLF, and no line of more than 998 octets.
fn is_lines(octets: &[u8]) -> bool {
    let mut lines = octets.split(|octet| *octet == b'\n').peekable();
    while let Some(line) = lines.next() {
        let text = match lines.peek() {
            Some(_) => line.strip_suffix(b"\r"),
            None => Some(line),
        };
        if !text.is_some_and(|text| text.len() <= LINE && !text.contains(&b'\r')) {
            return false;
        }
    }
    true
}

/// The message in this form.
///
/// # Errors
/// [`Unconvertible`].
pub fn reencode(message: &[u8], form: Form) -> Result<Vec<u8>, Unconvertible> {
    if message.len() as u64 > MOST {
        return Err(Unconvertible::TooLarge);
    }
    if types(message) > TYPES {
        return Err(Unconvertible::Malformed("it has too many parts"));
    }
    let parts = parse(message)?;
    let mut work = Work::new(message, form);
    work.message(&parts)?;
    let encoded = work.done()?;
    if !form.holds(&encoded) {
        return Err(Unconvertible::Malformed("between its parts there is what has no other form"));
    }
    let again = parse(&encoded)?;
    if leaves(message, &parts) != leaves(&encoded, &again) {
        return Err(NOT_APART);
    }
    Ok(encoded)
}

/// How often a `Content-Type` may begin.
fn types(message: &[u8]) -> usize {
    const NAME: &[u8] = b"content-type";
    message.windows(NAME.len()).filter(|window| window.eq_ignore_ascii_case(NAME)).count()
}

/// Where its parts are. Nothing is decoded: whatever is encoded stays as it is, and nested messages are those that are not.
fn parse(message: &[u8]) -> Result<Vec<MessagePart<'_>>, Unconvertible> {
    let parser = MessageParser::new().header_content_type(HeaderName::ContentType).default_header_ignore();
    // Where debug assertions are on, some malformed messages break the parser.
    let parsed = std::panic::catch_unwind(|| parser.parse(message)).unwrap_or_default();
    parsed.map(|message| message.parts).ok_or(Unconvertible::Malformed("it has no header, or can not be read"))
}

/// What is encoded, how, and what it stands for.
#[derive(Debug, PartialEq, Eq)]
struct Leaf {
    kind: Option<String>,
    octets: Vec<u8>,
}

/// All of them, in their order, decoded.
fn leaves(message: &[u8], parts: &[MessagePart<'_>]) -> Vec<Leaf> {
    let mut found = Vec::new();
    for part in parts {
        match &part.body {
            PartType::Multipart(_) => {}
            PartType::Message(inner) if is_open(message, part) => found.append(&mut leaves(message, &inner.parts)),
            _ => {
                let body = octets(message, part.offset_body, part.offset_end);
                let octets = Encoding::of(message, part).and_then(|encoding| encoding.decoded(body));
                // A message without a type gets one.
                let kind = kind(part).unwrap_or_else(|| "text/plain".into());
                found.push(Leaf { kind: Some(kind), octets: octets.unwrap_or_else(|| body.to_vec()) });
            }
        }
    }
    found
}

/// A message within whose own parts may change; others are octets.
fn is_open(message: &[u8], part: &MessagePart<'_>) -> bool {
    // RFC 6532 section 3.7: this one may be encoded as a whole, so that its header needs no other form.
    kind(part).as_deref() != Some("message/global") && Encoding::of(message, part) == Some(Encoding::None)
}

fn octets(message: &[u8], from: u32, to: u32) -> &[u8] {
    // Offsets of this machine's.
    message.get(from as usize..to as usize).unwrap_or_default()
}

fn content_type<'a>(part: &'a MessagePart<'_>) -> Option<&'a ContentType<'a>> {
    let value = part.headers.iter().rev().find(|field| field.name == HeaderName::ContentType)?;
    if let HeaderValue::ContentType(kind) = &value.value { Some(kind) } else { None }
}

/// `text/plain`, in small letters.
fn kind(part: &MessagePart<'_>) -> Option<String> {
    let kind = content_type(part)?;
    Some(format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default()).to_ascii_lowercase())
}

/// RFC 2045 section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// `7bit`, `8bit`, `binary`.
    None,
    QuotedPrintable,
    Base64,
}

impl Encoding {
    /// None: it is another, or is said twice.
    fn of(message: &[u8], part: &MessagePart<'_>) -> Option<Self> {
        let mut fields = part.headers.iter().filter(|field| field.name == HeaderName::ContentTransferEncoding);
        let Some(field) = fields.next() else { return Some(Self::None) };
        if fields.next().is_some() {
            return None;
        }
        let value = octets(message, field.offset_start, field.offset_end);
        match value.trim_ascii().to_ascii_lowercase().as_slice() {
            b"7bit" | b"8bit" | b"binary" => Some(Self::None),
            b"quoted-printable" => Some(Self::QuotedPrintable),
            b"base64" => Some(Self::Base64),
            _ => None,
        }
    }

    fn decoded(self, body: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::None => Some(body.to_vec()),
            // Lines that are too long are read all the same; what is not ASCII would be left out.
            Self::QuotedPrintable if !body.is_ascii() => None,
            Self::QuotedPrintable => quoted_printable::decode(body, quoted_printable::ParseMode::Robust).ok(),
            Self::Base64 => {
                let text: Vec<u8> = body.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
                STANDARD.decode(text).ok()
            }
        }
    }

    fn encoded(self, octets: &[u8], end: bool) -> Vec<u8> {
        match self {
            Self::QuotedPrintable => quoted_printable::encode(octets),
            _ => {
                let lines: Vec<String> = octets.chunks(BASE64).map(|line| STANDARD.encode(line)).collect();
                let mut text = lines.join("\r\n");
                // In front of a delimiter there is one already.
                if end {
                    text.push_str("\r\n");
                }
                text.into_bytes()
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "8bit",
            Self::QuotedPrintable => "quoted-printable",
            Self::Base64 => "base64",
        }
    }
}

/// A conversion under way.
struct Work<'a> {
    message: &'a [u8],
    form: Form,
    changes: Vec<(Range<usize>, Vec<u8>)>,
    /// Headers, leaves and what is sealed.
    seen: Vec<Range<usize>>,
    /// Octets that were searched for boundaries.
    searched: usize,
}

impl<'a> Work<'a> {
    fn new(message: &'a [u8], form: Form) -> Self {
        Self { message, form, changes: Vec::new(), seen: Vec::new(), searched: 0 }
    }

    /// A message's parts; the first one is the message itself.
    fn message(&mut self, parts: &[MessagePart<'_>]) -> Result<(), Unconvertible> {
        let root = parts.first().ok_or(Unconvertible::Malformed("it has no parts"))?;
        self.part(parts, root, true)
    }

    fn part(&mut self, parts: &[MessagePart<'_>], part: &MessagePart<'_>, root: bool) -> Result<(), Unconvertible> {
        let header = part.offset_header as usize..part.offset_body as usize;
        let kind = kind(part).unwrap_or_default();
        match &part.body {
            PartType::Multipart(_) if matches!(kind.as_str(), "multipart/signed" | "multipart/encrypted") => {
                let all = header.start..part.offset_end as usize;
                if !self.form.holds(self.message.get(all.clone()).unwrap_or_default()) {
                    return Err(Unconvertible::Sealed(kind));
                }
                self.seen.push(all);
                Ok(())
            }
            PartType::Multipart(children) => {
                self.header(header)?;
                self.container(part)?;
                let children: Vec<_> = children.iter().filter_map(|child| parts.get(*child as usize)).collect();
                self.delimited(part, &children)?;
                children.into_iter().try_for_each(|child| self.part(parts, child, false))
            }
            PartType::Message(inner) if is_open(self.message, part) => {
                self.header(header)?;
                self.container(part)?;
                self.message(&inner.parts)
            }
            body => {
                self.header(header)?;
                let range = part.offset_body as usize..part.offset_end as usize;
                let octets = self.message.get(range.clone()).unwrap_or_default();
                if self.form.holds(octets) {
                    self.seen.push(range);
                    return Ok(());
                }
                let text = matches!(body, PartType::Text(_) | PartType::Html(_)) || kind.starts_with("message/global-");
                let encoding = match Encoding::of(self.message, part) {
                    Some(Encoding::None) if kind.starts_with("multipart/") => {
                        return Err(Unconvertible::Malformed("a multipart has no parts"));
                    }
                    // RFC 2046 section 5.2: these are ASCII lines, and encoded nowhere.
                    Some(Encoding::None) if kind.starts_with("message/") && !kind.starts_with("message/global") => {
                        return Err(Unconvertible::Sealed(kind));
                    }
                    // A line that is none would not come back as it is.
                    Some(Encoding::None) if text && only_crlf(octets) => Encoding::QuotedPrintable,
                    Some(Encoding::None) => Encoding::Base64,
                    Some(encoded) => encoded,
                    None => return Err(Unconvertible::Malformed("the encoding of a part is unknown")),
                };
                self.encode(part, root, encoding)
            }
        }
    }

    /// Whoever reads it by RFC 2046 section 5.1.1 finds these children: each header follows a line that is a delimiter, and the
    /// boundary stands nowhere else before the last one.
    fn delimited(&mut self, part: &MessagePart<'_>, children: &[&MessagePart<'_>]) -> Result<(), Unconvertible> {
        let boundary = content_type(part).and_then(|kind| kind.attribute("boundary")).ok_or(NOT_APART)?;
        let delimiter = [b"--", boundary.as_bytes()].concat();
        let (start, end) = (part.offset_body as usize, part.offset_end as usize);
        self.searched += end.saturating_sub(start);
        if self.searched > SEARCHED {
            return Err(Unconvertible::Malformed("it is nested too deeply"));
        }
        let mut headers = children.iter().map(|child| child.offset_header as usize);
        let mut expected = headers.next();
        let done = children.last().map_or(start, |child| child.offset_end as usize);
        let mut from = start;
        while let Some(at) = self.message.get(from..end).and_then(|octets| find(octets, &delimiter)) {
            let at = from + at;
            from = at + delimiter.len();
            let rest = self.message.get(from..end).unwrap_or_default();
            let (closes, rest) = rest.strip_prefix(b"--").map_or((false, rest), |rest| (true, rest));
            let padding = rest.iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
            let rest = rest.get(padding..).unwrap_or_default();
            let whole = self.message.get(..at).is_some_and(|before| before.ends_with(b"\r\n"))
                && (rest.is_empty() || rest.starts_with(b"\r\n"));
            match (whole, closes) {
                (true, true) if expected.is_none() && at >= done => return Ok(()),
                (true, false) if expected == Some((end - rest.len() + 2).min(end)) => expected = headers.next(),
                _ => return Err(NOT_APART),
            }
        }
        if expected.is_none() { Ok(()) } else { Err(NOT_APART) }
    }

    /// A header that stays as it is, or nearly.
    fn header(&mut self, range: Range<usize>) -> Result<(), Unconvertible> {
        let octets = self.message.get(range.clone()).unwrap_or_default();
        if self.form == Form::SevenBit && !octets.is_ascii() {
            return Err(Unconvertible::Header);
        }
        self.seen.push(range);
        Ok(())
    }

    /// What holds other parts is as they are (RFC 2045 section 6.4).
    fn container(&mut self, part: &MessagePart<'_>) -> Result<(), Unconvertible> {
        let Some(field) = part.headers.iter().find(|field| field.name == HeaderName::ContentTransferEncoding) else {
            return Ok(());
        };
        let value = octets(self.message, field.offset_start, field.offset_end).trim_ascii();
        let less = value.eq_ignore_ascii_case(b"binary")
            || (value.eq_ignore_ascii_case(b"8bit") && self.form == Form::SevenBit);
        if less { self.label(part, self.form.label()) } else { Ok(()) }
    }

    /// Writes the field anew, or adds it as the last one.
    fn label(&mut self, part: &MessagePart<'_>, name: &str) -> Result<(), Unconvertible> {
        let field = part.headers.iter().find(|field| field.name == HeaderName::ContentTransferEncoding);
        let place = match field {
            Some(field) => field.offset_field as usize..field.offset_end as usize,
            None => {
                let end =
                    part.headers.iter().map(|field| field.offset_end).max().unwrap_or(part.offset_header) as usize;
                end..end
            }
        };
        let before = self.message.get(..place.start).unwrap_or_default();
        if !(before.is_empty() || before.ends_with(b"\n")) {
            return Err(Unconvertible::Malformed("a header has no end"));
        }
        self.changes.push((place, format!("Content-Transfer-Encoding: {name}\r\n").into_bytes()));
        Ok(())
    }

    fn encode(&mut self, part: &MessagePart<'_>, root: bool, encoding: Encoding) -> Result<(), Unconvertible> {
        let range = part.offset_body as usize..part.offset_end as usize;
        let octets = self.message.get(range.clone()).unwrap_or_default();
        let decoded = Encoding::of(self.message, part)
            .and_then(|before| before.decoded(octets))
            .ok_or(Unconvertible::Malformed("a part is not encoded as it says"))?;
        if root {
            self.mime(part, &decoded);
        }
        self.label(part, encoding.name())?;
        self.changes.push((range.clone(), encoding.encoded(&decoded, range.end == self.message.len())));
        self.seen.push(range);
        Ok(())
    }

    /// What makes a message one of MIME (RFC 2045 section 4), if it was none.
    fn mime(&mut self, root: &MessagePart<'_>, body: &[u8]) {
        let has = |name: HeaderName<'_>| root.headers.iter().any(|field| field.name == name);
        let end = root.headers.iter().map(|field| field.offset_end).max().unwrap_or(root.offset_header) as usize;
        if !has(HeaderName::MimeVersion) {
            self.changes.push((end..end, b"MIME-Version: 1.0\r\n".to_vec()));
        }
        if !has(HeaderName::ContentType) {
            // RFC 1428 section 3: the last word for octets that nobody has named.
            let charset = match std::str::from_utf8(body) {
                Ok(text) if text.is_ascii() => "us-ascii",
                Ok(_) => "utf-8",
                Err(_) => "unknown-8bit",
            };
            self.changes.push((end..end, format!("Content-Type: text/plain; charset={charset}\r\n").into_bytes()));
        }
    }

    /// All changes made.
    fn done(mut self) -> Result<Vec<u8>, Unconvertible> {
        if self.form == Form::SevenBit {
            self.between();
        }
        // Those of one place stay in the order in which they were asked for.
        self.changes.sort_by_key(|(range, _)| (range.start, range.end));
        let mut out = Vec::with_capacity(self.message.len() + self.message.len() / 4);
        let mut at = 0;
        for (range, octets) in &self.changes {
            let kept = self.message.get(at..range.start).filter(|_| range.start >= at);
            out.extend_from_slice(kept.ok_or(Unconvertible::Malformed("its parts overlap"))?);
            out.extend_from_slice(octets);
            at = range.end;
        }
        out.extend_from_slice(self.message.get(at..).unwrap_or_default());
        Ok(out)
    }

    /// Before the first and after the last part of a multipart there may be text that nobody is shown (RFC 2046 section
    /// 5.1.1). What is not ASCII there becomes question marks.
    fn between(&mut self) {
        self.seen.sort_by_key(|range| range.start);
        let mut at = 0;
        let mut changes = Vec::new();
        let all = self.message.len();
        for range in self.seen.iter().cloned().chain(std::iter::once(all..all)) {
            let gap = self.message.get(at..range.start).unwrap_or_default();
            // One change for all of it: there may be millions.
            if gap.iter().any(|octet| !in_seven_bits(*octet)) {
                let marked = gap.iter().map(|octet| if in_seven_bits(*octet) { *octet } else { b'?' });
                changes.push((at..range.start, marked.collect()));
            }
            at = at.max(range.end);
        }
        self.changes.append(&mut changes);
    }
}

/// Where a boundary's delimiter is.
fn find(octets: &[u8], delimiter: &[u8]) -> Option<usize> {
    octets.windows(delimiter.len()).position(|window| window.starts_with(b"--") && window == delimiter)
}

/// Text in lines, however long they are.
fn only_crlf(octets: &[u8]) -> bool {
    let mut before = 0;
    for octet in octets {
        if (before == b'\r') != (*octet == b'\n') {
            return false;
        }
        before = *octet;
    }
    before != b'\r'
}
