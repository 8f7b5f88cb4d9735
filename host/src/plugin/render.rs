//! A message as one recipient gets it: trace fields, then the header with its edits, then the body. Never fails.

use super::hook::Edit;

/// The whole message. Without edits the content is not changed by an octet.
#[must_use]
pub fn render(prefix: &[u8], content: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut out = prefix.to_vec();
    if edits.is_empty() {
        out.extend_from_slice(content);
        return out;
    }
    let (mut fields, body) = read(content);
    for edit in edits {
        match edit {
            Edit::Prepend(id, name, value) => fields.insert(0, (*id, field(name, value))),
            Edit::Append(id, name, value) => fields.push((*id, field(name, value))),
            Edit::Replace(id, value) => {
                if let Some((_, old)) = fields.iter_mut().find(|(other, _)| other == id) {
                    let name = old.split(|octet| *octet == b':').next().unwrap_or_default();
                    *old = field(&String::from_utf8_lossy(name), value);
                }
            }
            Edit::Remove(id) => fields.retain(|(other, _)| other != id),
        }
    }
    fields.iter().for_each(|(_, field)| out.extend_from_slice(field));
    if !body.starts_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(body);
    out
}

/// The fields, each with its line end, and the rest from the empty line on.
fn read(content: &[u8]) -> (Vec<(u32, Vec<u8>)>, &[u8]) {
    let mut fields: Vec<(u32, Vec<u8>)> = Vec::new();
    let mut rest = content;
    while !rest.is_empty() && !rest.starts_with(b"\r\n") {
        let end = rest.iter().position(|octet| *octet == b'\n').map_or(rest.len(), |end| end + 1);
        let (line, after) = rest.split_at(end);
        let named = line
            .iter()
            .position(|octet| *octet == b':')
            .is_some_and(|colon| line[..colon].iter().all(u8::is_ascii_graphic));
        match fields.last_mut() {
            Some((_, field)) if line.starts_with(b" ") || line.starts_with(b"\t") => field.extend_from_slice(line),
            _ if named => fields.push((u32::try_from(fields.len()).unwrap_or(u32::MAX), line.to_vec())),
            _ => break,
        }
        rest = after;
    }
    for (_, field) in &mut fields {
        if !field.ends_with(b"\n") {
            field.extend_from_slice(b"\r\n");
        }
    }
    (fields, rest)
}

fn field(name: &str, value: &str) -> Vec<u8> {
    let clean = |text: &str| text.replace(|c: char| c.is_control() && c != '\t', " ");
    format!("{}: {}\r\n", clean(name), clean(value)).into_bytes()
}
