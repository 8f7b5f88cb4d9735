//! Changes of header fields: what a plugin may write, and how it stands in the message.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Code, Guest, fault};
use crate::plugin::{
    bindings::hermetic::plugin::{edit, types::Fault},
    header::is_name,
    hook::Edit,
    render::LINE,
};

/// Edits of one call.
const EDITS: usize = 100;
/// Octets of a value.
const VALUE: usize = 64 << 10;
/// Octets of a name.
const NAME: usize = 128;
/// They say what the servers on the way have done (RFC 5321 section 4.4) and are the host's.
const TRACE: [&str; 3] = ["Received", "Return-Path", "Delivered-To"];

fn is_trace(name: &str) -> bool {
    TRACE.iter().any(|trace| name.eq_ignore_ascii_case(trace))
}

fn checked_name(name: &str) -> Result<(), Fault> {
    if name.len() > NAME || !is_name(name.as_bytes()) {
        return Err(fault(Code::Invalid, "a name is 1 to 128 printable US-ASCII characters without a colon"));
    }
    trace_is_left_alone(name)
}

fn trace_is_left_alone(name: &str) -> Result<(), Fault> {
    if is_trace(name) {
        return Err(fault(Code::NotGranted, format!("{name} is the host's")));
    }
    Ok(())
}

/// The value as it will stand in the message: words of RFC 2047 where the message may hold US-ASCII only.
fn checked_value(value: &str, smtputf8: bool) -> Result<String, Fault> {
    if value.len() > VALUE {
        return Err(fault(Code::Limit, format!("a value has at most {VALUE} octets")));
    }
    if value.chars().any(|c| (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(fault(Code::Invalid, "a value may hold no control character but tab, so no line end either"));
    }
    let value = value.trim_matches([' ', '\t']);
    let value = if smtputf8 || value.is_ascii() { value.to_owned() } else { encoded(value) };
    // Runs of white space belong to the word behind them, for that is where lines are broken.
    let mut longest = 0;
    let mut length = 0;
    let mut white = true;
    for octet in value.bytes() {
        let space = matches!(octet, b' ' | b'\t');
        if space && !white {
            length = 0;
        }
        white = space;
        length += 1;
        longest = longest.max(length);
    }
    if longest + NAME > LINE {
        return Err(fault(Code::Invalid, format!("more than {} octets without white space to fold at", LINE - NAME)));
    }
    Ok(value)
}

/// RFC 2047: each run of words that are not US-ASCII as encoded words of at most 75 octets.
fn encoded(value: &str) -> String {
    const OCTETS: usize = 45;
    let mut out: Vec<String> = Vec::new();
    let mut run: Option<String> = None;
    let flush = |run: &mut Option<String>, out: &mut Vec<String>| {
        let Some(text) = run.take() else { return };
        let mut chunk = String::new();
        for c in text.chars() {
            if chunk.len() + c.len_utf8() > OCTETS {
                out.push(format!("=?UTF-8?B?{}?=", STANDARD.encode(&chunk)));
                chunk.clear();
            }
            chunk.push(c);
        }
        out.push(format!("=?UTF-8?B?{}?=", STANDARD.encode(&chunk)));
    };
    for word in value.split([' ', '\t']).filter(|word| !word.is_empty()) {
        if word.is_ascii() {
            flush(&mut run, &mut out);
            out.push(word.to_owned());
        } else {
            // White space between two encoded words is not shown, so it goes into them.
            match &mut run {
                Some(text) => {
                    text.push(' ');
                    text.push_str(word);
                }
                None => run = Some(word.to_owned()),
            }
        }
    }
    flush(&mut run, &mut out);
    out.join(" ")
}

impl Guest {
    /// Makes an edit. `name` is that of a new field; `make` is given the id of a new field.
    fn edit(&mut self, make: impl FnOnce(u32) -> Edit, field: Option<u32>) -> Result<u32, Fault> {
        if !self.transaction.settings.grants.edit {
            return Err(fault(Code::NotGranted, "grants.edit is not set"));
        }
        if self.call.edits >= EDITS {
            return Err(fault(Code::Limit, format!("at most {EDITS} edits a call")));
        }
        let Some((view, message)) = self.view() else {
            return Err(fault(Code::Unavailable, "there is no message yet"));
        };
        if let Some(field) = field {
            let Some(name) = view.name(field, &message.content) else {
                return Err(fault(Code::NotFound, format!("there is no field {field}")));
            };
            trace_is_left_alone(name)?;
        }
        let id = view.next();
        let edit = make(id);
        view.apply(&edit, &message.content);
        self.call.wishes.edits.push(edit);
        self.call.edits += 1;
        self.call.rendered = None;
        Ok(id)
    }

    fn value(&self, value: &str) -> Result<String, Fault> {
        checked_value(value, self.transaction.facts.smtputf8)
    }
}

impl edit::Host for Guest {
    fn prepend(&mut self, name: String, value: String) -> wasmtime::Result<Result<u32, Fault>> {
        self.seam("edit.prepend", |guest| {
            checked_name(&name)?;
            let value = guest.value(&value)?;
            guest.edit(|id| Edit::Prepend(id, name, value), None)
        })
    }

    fn append(&mut self, name: String, value: String) -> wasmtime::Result<Result<u32, Fault>> {
        self.seam("edit.append", |guest| {
            checked_name(&name)?;
            let value = guest.value(&value)?;
            guest.edit(|id| Edit::Append(id, name, value), None)
        })
    }

    fn replace(&mut self, field: u32, value: String) -> wasmtime::Result<Result<(), Fault>> {
        self.seam("edit.replace", |guest| {
            let value = guest.value(&value)?;
            guest.edit(|_| Edit::Replace(field, value), Some(field)).map(drop)
        })
    }

    fn remove(&mut self, field: u32) -> wasmtime::Result<Result<(), Fault>> {
        self.seam("edit.remove", |guest| guest.edit(|_| Edit::Remove(field), Some(field)).map(drop))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::plugin::header::text;

    #[test]
    fn names() {
        let check = |name: &str, expected: Option<u16>| {
            assert_eq!(checked_name(name).err().map(|fault| fault.code), expected, "{name:?}");
        };
        check("Subject", None);
        check("X-!#$%&'*+^_`|~9", None);
        for bad in ["", "a b", "a:", "a\r\nB", "a\t", "ä", "a\0", &"a".repeat(129)] {
            check(bad, Some(2));
        }
        for trace in ["Received", "RECEIVED", "return-path", "Delivered-To"] {
            check(trace, Some(1));
        }
    }

    #[test]
    fn values() {
        let check = |value: &str, expected: Result<&str, u16>| {
            let got = checked_value(value, false).map_err(|fault| fault.code);
            assert_eq!(got.as_deref(), expected.as_ref().map(|value| *value), "{value:?}");
        };
        check("", Ok(""));
        check(" a\tb  c ", Ok("a\tb  c"));
        check("Grüße", Ok("=?UTF-8?B?R3LDvMOfZQ==?="));
        for bad in ["a\r\nB: c", "a\nb", "a\rb", "a\0b", "a\u{7f}", "a\u{85}b", "a\u{2028}b", &"x".repeat(1000)] {
            check(bad, Err(2));
        }
        check(&"x ".repeat(40_000), Err(3));
        assert_eq!(checked_value("Grüße", true).unwrap(), "Grüße");
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        let long = "ÄÖÜ ".repeat(60);
        for value in ["eins zwei", "Grüße an alle", "a ä ö b ü", "日本語のメール です", long.trim()] {
            let encoded = encoded(value);
            assert!(encoded.split(' ').all(|word| word.len() <= 75 && word.is_ascii()), "{encoded}");
            assert_eq!(text(encoded.as_bytes()), value, "{encoded}");
        }
    }
}
