//! A message's header in pieces, with ids that no edit moves.

use mail_parser::MessageParser;

use crate::Fault;
use crate::bindings::header::Field;

/// What only the host writes: trace fields (RFC 5321 section 4.4) and Delivered-To, by which loops are found.
const OF_THE_HOST: [&str; 3] = ["received", "return-path", "delivered-to"];

/// The longest value, octets.
const VALUE: usize = 64 * 1024;

/// A field as it is written, without its CRLF.
#[derive(Clone, Debug)]
struct Line {
    id: u32,
    name: String,
    raw: Vec<u8>,
}

/// The header.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    lines: Vec<Line>,
    next: u32,
}

impl Fields {
    /// The header and the body of a message.
    pub(super) fn split(content: &[u8]) -> (Self, Vec<u8>) {
        let mut fields = Self::default();
        let mut rest = content;
        while !rest.is_empty() {
            let end = rest.iter().position(|octet| *octet == b'\n').map_or(rest.len(), |at| at + 1);
            let (line, after) = rest.split_at(end);
            rest = after;
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match line.first() {
                None => break,
                Some(b' ' | b'\t') => {
                    if let Some(field) = fields.lines.last_mut() {
                        field.raw.extend_from_slice(b"\r\n");
                        field.raw.extend_from_slice(line);
                    }
                }
                Some(_) => {
                    let name = line.split(|octet| *octet == b':').next().unwrap_or_default();
                    let name = String::from_utf8_lossy(name).trim_end().to_owned();
                    fields.lines.push(Line { id: fields.next, name, raw: line.to_vec() });
                    fields.next += 1;
                }
            }
        }
        (fields, rest.to_vec())
    }

    /// The fields of this name, top first; an empty name: all of them.
    pub(super) fn named(&self, name: &str) -> Vec<Field> {
        self.lines
            .iter()
            .filter(|line| name.is_empty() || line.name.eq_ignore_ascii_case(name))
            .map(|line| Field { id: line.id, name: line.name.clone(), value: unfolded(&line.raw) })
            .collect()
    }

    /// Their values with encoded words decoded.
    pub(super) fn text(&self, name: &str) -> Vec<String> {
        self.named(name).iter().map(|field| decoded(&field.value)).collect()
    }

    pub(super) fn insert(&mut self, at_the_top: bool, name: &str, value: &str) -> Result<u32, Fault> {
        check_name(name)?;
        check_value(value)?;
        let id = self.next;
        self.next += 1;
        let line = Line { id, name: name.into(), raw: format!("{name}: {value}").into_bytes() };
        if at_the_top {
            self.lines.insert(0, line)
        } else {
            self.lines.push(line)
        }
        Ok(id)
    }

    /// Returns the field's name.
    pub(super) fn replace(&mut self, id: u32, value: &str) -> Result<String, Fault> {
        check_value(value)?;
        let at = self.find(id)?;
        let line = &mut self.lines[at];
        line.raw = format!("{}: {value}", line.name).into_bytes();
        Ok(line.name.clone())
    }

    /// Returns the field's name.
    pub(super) fn remove(&mut self, id: u32) -> Result<String, Fault> {
        let at = self.find(id)?;
        Ok(self.lines.remove(at).name)
    }

    /// The header with its CRLFs, without the empty line.
    pub(super) fn render(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|line| [&line.raw[..], b"\r\n"].concat()).collect()
    }

    /// Where the field is; one of the host's can not be touched.
    fn find(&self, id: u32) -> Result<usize, Fault> {
        let at = self.lines.iter().position(|line| line.id == id);
        let at = at.ok_or_else(|| Fault::new(Fault::NOT_FOUND, format!("there is no field {id}")))?;
        not_of_the_host(&self.lines[at].name)?;
        Ok(at)
    }
}

fn check_name(name: &str) -> Result<(), Fault> {
    // RFC 5322 section 3.6.8.
    let fits =
        !name.is_empty() && name.len() <= 128 && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':');
    if !fits {
        return Err(Fault::new(Fault::INVALID, format!("{name:?} is no name of a header field")));
    }
    not_of_the_host(name)
}

fn not_of_the_host(name: &str) -> Result<(), Fault> {
    if OF_THE_HOST.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
        return Err(Fault::new(Fault::NOT_GRANTED, format!("{name} is the host's")));
    }
    Ok(())
}

fn check_value(value: &str) -> Result<(), Fault> {
    if value.len() > VALUE {
        return Err(Fault::new(Fault::LIMIT, format!("a value has at most {VALUE} octets")));
    }
    if value.chars().any(|c| (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(Fault::new(Fault::INVALID, "a value may hold no control but tab"));
    }
    Ok(())
}

/// What follows the colon, without line breaks and without white space at its ends.
fn unfolded(raw: &[u8]) -> Vec<u8> {
    let value = raw.iter().position(|octet| *octet == b':').map_or(&[][..], |colon| &raw[colon + 1..]);
    value.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect::<Vec<u8>>().trim_ascii().to_vec()
}

fn decoded(value: &[u8]) -> String {
    let plain = String::from_utf8_lossy(value).into_owned();
    if !plain.contains("=?") {
        return plain;
    }
    // A field that is decoded as free text, whatever the name of this one is.
    let field = format!("Subject: {plain}\r\n\r\n");
    MessageParser::new()
        .parse(field.as_bytes())
        .and_then(|message| message.subject().map(str::to_owned))
        .unwrap_or(plain)
}
