//! A message as one recipient gets it: trace fields, then the header with its edits, then the body.
//!
//! Owns how an edited field is written down. Refuses to judge edits: those that a plugin made were checked when it made
//! them, and whatever else stands in them can not leave its line. Never fails. Without edits the content is not changed
//! by an octet.

use super::{
    header::{Header, Shown, View},
    hook::Edit,
};

/// Where lines of a field are folded, octets, if there is white space to fold at (RFC 5322 section 2.1.1).
const FOLD: usize = 78;
/// No line is longer, without its end (RFC 5322 section 2.1.1).
pub(super) const LINE: usize = 998;

/// The whole message.
#[must_use]
pub fn render(prefix: &[u8], content: &[u8], edits: &[Edit]) -> Vec<u8> {
    let (mut head, rest) = head(prefix, content, edits);
    head.extend_from_slice(&content[rest..]);
    head
}

/// Everything above what stays as it came, and where in the content that begins: for those who do not want to copy it.
#[must_use]
pub fn head(prefix: &[u8], content: &[u8], edits: &[Edit]) -> (Vec<u8>, usize) {
    if edits.is_empty() {
        return (prefix.to_vec(), 0);
    }
    let header = Header::of(content);
    let view = View::new(&header, content, edits);
    assemble(prefix, content, &header, &view)
}

pub(super) fn assemble(prefix: &[u8], content: &[u8], header: &Header, view: &View) -> (Vec<u8>, usize) {
    let mut head = Vec::with_capacity(prefix.len() + header.end() + 1024);
    head.extend_from_slice(prefix);
    for (_, shown) in view.fields() {
        match shown {
            Shown::Original(range) => head.extend_from_slice(&content[range.clone()]),
            Shown::Edited(name, value) => field(&mut head, name, value),
        }
        // The content may end in the middle of its last field.
        if !head.ends_with(b"\n") {
            head.extend_from_slice(b"\r\n");
        }
    }
    if header.unclosed() {
        head.extend_from_slice(b"\r\n");
    }
    (head, header.end())
}

/// Writes a field, folded where it is long. Controls become spaces.
fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend(name.bytes().filter(|octet| !octet.is_ascii_control()));
    out.push(b':');
    let mut length = name.len() + 1;
    let clean = value.replace(|c: char| c.is_control() && c != '\t', " ");
    let mut rest = clean.trim_matches([' ', '\t']);
    let mut first = true;
    // White space stays as it is and is where a line may be broken: in front of it.
    while !rest.is_empty() {
        let space = if first { 0 } else { rest.find(|c| c != ' ' && c != '\t').unwrap_or(0) };
        let word = rest[space..].find([' ', '\t']).map_or(rest.len(), |end| space + end);
        let (white, text) = if first { (" ", &rest[..word]) } else { (&rest[..space], &rest[space..word]) };
        if length + white.len() + text.len() > FOLD && !first {
            out.extend_from_slice(b"\r\n");
            length = 0;
        }
        out.extend_from_slice(white.as_bytes());
        out.extend_from_slice(text.as_bytes());
        length += white.len() + text.len();
        rest = &rest[word..];
        first = false;
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn edits_are_seen_where_they_belong() {
        let check = |content: &str, edits: &[Edit], expected: &str| {
            let rendered = render(b"Trace: t\r\n", content.as_bytes(), edits);
            assert_eq!(String::from_utf8_lossy(&rendered), format!("Trace: t\r\n{expected}"), "{content:?} {edits:?}");
        };
        let add = |id| Edit::Append(id, "X".into(), "y".into());
        check("A: 1\r\n\r\nb\r\n", &[], "A: 1\r\n\r\nb\r\n");
        check("A: 1\r\n\r\nb\r\n", &[add(1)], "A: 1\r\nX: y\r\n\r\nb\r\n");
        check("A: 1\r\n\r\nb", &[Edit::Prepend(1, "X".into(), "y".into())], "X: y\r\nA: 1\r\n\r\nb");
        check("A: 1\r\nB: 2\r\n\r\nb", &[Edit::Remove(0)], "B: 2\r\n\r\nb");
        check("A: 1\r\n 1\r\nB: 2\r\n\r\n", &[Edit::Replace(0, "3".into())], "A: 3\r\nB: 2\r\n\r\n");
        check("A: 1\r\n\r\nb", &[add(1), Edit::Replace(1, "z".into())], "A: 1\r\nX: z\r\n\r\nb");
        check("A: 1\r\n\r\nb", &[add(1), Edit::Remove(1)], "A: 1\r\n\r\nb");
        // Content without an empty line, or without a header at all, or ending in a field.
        check("A: 1\r\ntext\r\n", &[add(1)], "A: 1\r\nX: y\r\n\r\ntext\r\n");
        check("text", &[add(0)], "X: y\r\n\r\ntext");
        check("A: 1", &[add(1)], "A: 1\r\nX: y\r\n\r\n");
        check("", &[add(0)], "X: y\r\n\r\n");
        check("\r\nb", &[add(0)], "X: y\r\n\r\nb");
        check("A: 1\r\n\r\n", &[Edit::Replace(0, String::new())], "A:\r\n\r\n");
    }

    #[test]
    fn long_values_are_folded_at_white_space() {
        let words = vec!["word"; 40].join(" ");
        let rendered =
            String::from_utf8(render(b"", b"\r\n", &[Edit::Append(0, "Long".into(), words.clone())])).unwrap();
        assert!(rendered.lines().all(|line| line.len() <= FOLD), "{rendered}");
        assert_eq!(rendered.replace("\r\n", "").trim(), format!("Long: {words}"));
    }

    proptest! {
        /// Whatever an edit holds, it stays one field: the reader finds as many fields as there should be, and the body.
        #[test]
        fn nothing_leaves_its_field(value in "(\\PC|\r|\n|\t| |:){0,300}", place in 0..3_u8) {
            let content = b"A: 1\r\nB: 2\r\n\r\nbody: no\r\n";
            let edit = match place {
                0 => Edit::Prepend(2, "X".into(), value),
                1 => Edit::Append(2, "X".into(), value),
                _ => Edit::Replace(1, value),
            };
            let rendered = render(b"", content, &[edit]);
            let header = Header::of(&rendered);
            let view = View::new(&header, &rendered, &[]);
            prop_assert_eq!(view.fields().len(), if place == 2 { 2 } else { 3 });
            prop_assert_eq!(&rendered[header.body()..], b"body: no\r\n");
        }
    }
}
