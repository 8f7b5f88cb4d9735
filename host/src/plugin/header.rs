//! The header of a message, as fields that keep their names (ids) whatever is edited.
//!
//! Owns where fields begin and end, and which edits are possible. Refuses to interpret values, except for
//! [`text`]. Never fails on a message: what is no field ends the header.

use std::ops::Range;

use mail_parser::parsers::MessageStream;

use super::hook::Edit;

/// The most fields that are told apart. What follows counts as body; it is delivered all the same.
const FIELDS: usize = 10_000;

/// Where the fields of a message are.
#[derive(Debug, Default)]
pub struct Header {
    /// Each with its line end, in order. The field's id is its index.
    fields: Vec<Range<usize>>,
    /// Where the header ends. From here on the content is delivered as it came, the empty line included.
    end: usize,
    /// Where the text after the empty line begins.
    body: usize,
    /// There is no empty line, so one is needed if fields are added below all others.
    unclosed: bool,
}

impl Header {
    /// Reads a message's content.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        let mut header = Self::default();
        let mut at = 0;
        while let Some(line) = line_at(content, at) {
            let octets = &content[line.clone()];
            match octets {
                b"\r\n" | b"\n" => {
                    (header.end, header.body) = (at, line.end);
                    return header;
                }
                [b' ' | b'\t', ..] if !header.fields.is_empty() => {
                    if let Some(last) = header.fields.last_mut() {
                        last.end = line.end;
                    }
                }
                _ if name_of(octets).is_none() => {
                    header.unclosed = true;
                    break;
                }
                _ if header.fields.len() == FIELDS => break,
                _ => header.fields.push(line.clone()),
            }
            at = line.end;
        }
        header.unclosed |= at == content.len();
        (header.end, header.body) = (at, at);
        header
    }

    /// Octets from here on are the body.
    #[must_use]
    pub fn body(&self) -> usize {
        self.body
    }

    /// Octets from here on are not touched by edits.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    pub(super) fn unclosed(&self) -> bool {
        self.unclosed
    }
}

fn line_at(content: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = content.get(at..).filter(|rest| !rest.is_empty())?;
    Some(at..at + rest.iter().position(|octet| *octet == b'\n').map_or(rest.len(), |end| end + 1))
}

/// The name of a field: what stands before the colon. White space before it is obsolete and allowed (RFC 5322 section 4.5).
fn name_of(line: &[u8]) -> Option<&str> {
    let colon = line.iter().position(|octet| *octet == b':')?;
    let name = line[..colon].trim_ascii_end();
    is_name(name).then(|| std::str::from_utf8(name).ok()).flatten()
}

/// RFC 5322 section 3.6.8: printable US-ASCII but the colon.
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|octet| matches!(octet, 33..=57 | 59..=126))
}

/// A field as a recipient gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// As it came: where it is in the content.
    Original(Range<usize>),
    /// As a plugin wants it: name and value.
    Edited(String, String),
}

/// The header with the edits made so far.
#[derive(Clone, Debug)]
pub struct View {
    fields: Vec<(u32, Shown)>,
    next: u32,
}

impl View {
    /// The header with these edits.
    #[must_use]
    pub fn new(header: &Header, content: &[u8], edits: &[Edit]) -> Self {
        let ids = 0..u32::try_from(header.fields.len()).unwrap_or(u32::MAX);
        let next = ids.end;
        let fields = ids.zip(header.fields.iter().cloned().map(Shown::Original)).collect();
        let mut view = Self { fields, next };
        for edit in edits {
            // One that meets no field, because another plugin's edit has removed it, has nothing to do.
            let _ = view.apply(edit, content);
        }
        view
    }

    /// The id that a new field would get.
    #[must_use]
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Top first.
    #[must_use]
    pub fn fields(&self) -> &[(u32, Shown)] {
        &self.fields
    }

    /// The name of a field, if there is such a field.
    #[must_use]
    pub fn name<'a>(&'a self, id: u32, content: &'a [u8]) -> Option<&'a str> {
        self.fields.iter().find(|(one, _)| *one == id).and_then(|(_, shown)| name(shown, content))
    }

    /// Edits. False: there is no such field.
    pub fn apply(&mut self, edit: &Edit, content: &[u8]) -> bool {
        let place = |view: &Self, id: u32| view.fields.iter().position(|(one, _)| *one == id);
        match edit {
            Edit::Prepend(id, name, value) => {
                self.fields.insert(0, (*id, Shown::Edited(name.clone(), value.clone())));
                self.next = self.next.max(id.saturating_add(1));
            }
            Edit::Append(id, name, value) => {
                self.fields.push((*id, Shown::Edited(name.clone(), value.clone())));
                self.next = self.next.max(id.saturating_add(1));
            }
            Edit::Replace(id, value) => {
                let Some(place) = place(self, *id) else { return false };
                let Some(name) = name(&self.fields[place].1, content).map(str::to_owned) else { return false };
                self.fields[place].1 = Shown::Edited(name, value.clone());
            }
            Edit::Remove(id) => {
                let Some(place) = place(self, *id) else { return false };
                self.fields.remove(place);
            }
        }
        true
    }
}

/// Its name as it is written.
#[must_use]
pub fn name<'a>(shown: &'a Shown, content: &'a [u8]) -> Option<&'a str> {
    match shown {
        Shown::Original(range) => name_of(content.get(range.clone())?),
        Shown::Edited(name, _) => Some(name),
    }
}

/// What follows the colon: unfolded (RFC 5322 section 2.2.3), without white space at its ends.
#[must_use]
pub fn value(shown: &Shown, content: &[u8]) -> Vec<u8> {
    match shown {
        Shown::Original(range) => {
            let line = content.get(range.clone()).unwrap_or_default();
            let colon = line.iter().position(|octet| *octet == b':').map_or(line.len(), |colon| colon + 1);
            let unfolded: Vec<u8> =
                line[colon..].iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
            unfolded.trim_ascii().to_vec()
        }
        Shown::Edited(_, value) => value.trim_ascii().as_bytes().to_vec(),
    }
}

/// A value as text: words of RFC 2047 decoded, what is no UTF-8 replaced.
#[must_use]
pub fn text(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value).into_owned();
    if !text.contains("=?") {
        return text;
    }
    let line = format!("{text}\r\n");
    MessageStream::new(line.as_bytes()).parse_unstructured().as_text().map_or(text, str::to_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn where_the_header_ends() {
        let check = |content: &str, fields: &[&str], body: &str| {
            let header = Header::of(content.as_bytes());
            let found: Vec<_> = header.fields.iter().map(|range| &content[range.clone()]).collect();
            assert_eq!((&found[..], &content[header.body()..]), (fields, body), "{content:?}");
        };
        check("", &[], "");
        check("\r\nbody", &[], "body");
        check("A: 1\r\nB: 2\r\n\r\nbody\r\n", &["A: 1\r\n", "B: 2\r\n"], "body\r\n");
        check("A: 1\r\n 2\r\n\t3\r\nB:\r\n\r\n", &["A: 1\r\n 2\r\n\t3\r\n", "B:\r\n"], "");
        check("A: 1\nB : 2\n\nbody", &["A: 1\n", "B : 2\n"], "body");
        check("A: 1\r\nno field\r\nB: 2\r\n", &["A: 1\r\n"], "no field\r\nB: 2\r\n");
        check("only text", &[], "only text");
        check(" folded: first", &[], " folded: first");
        check("A: 1", &["A: 1"], "");
        check("Ä: 1\r\n\r\n", &[], "Ä: 1\r\n\r\n");
    }

    #[test]
    fn ids_stay() {
        let content = b"A: 1\r\nB: 2\r\nA: 3\r\n\r\n";
        let header = Header::of(content);
        let edits = [
            Edit::Prepend(3, "C".into(), "4".into()),
            Edit::Remove(0),
            Edit::Append(4, "D".into(), "5".into()),
            Edit::Replace(2, "six".into()),
            Edit::Remove(99),
        ];
        let view = View::new(&header, content, &edits);
        let shown: Vec<_> = view
            .fields()
            .iter()
            .map(|(id, shown)| {
                (*id, name(shown, content).unwrap().to_owned(), String::from_utf8(value(shown, content)).unwrap())
            })
            .collect();
        let expected = [(3, "C", "4"), (1, "B", "2"), (2, "A", "six"), (4, "D", "5")];
        assert_eq!(shown, expected.map(|(id, name, value)| (id, name.to_owned(), value.to_owned())));
        assert_eq!(view.next(), 5);
    }

    #[test]
    fn values_as_text() {
        let check = |value: &[u8], expected: &str| assert_eq!(text(value), expected, "{}", value.escape_ascii());
        check(b"plain", "plain");
        check(b"=?utf-8?Q?Gr=C3=BC=C3=9Fe?= aus =?iso-8859-1?B?S/ZsbQ==?=", "Grüße aus Kölm");
        check(b"a =?x", "a =?x");
        check(b"=?utf-8?q?a?= =?utf-8?q?b?=", "ab");
        check(b"\xff\xfe", "\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_folded_value_is_one_line() {
        let content = b"A:  one\r\n\ttwo\r\n three \r\n\r\n";
        let view = View::new(&Header::of(content), content, &[]);
        assert_eq!(value(&view.fields()[0].1, content), b"one\ttwo three");
    }
}
