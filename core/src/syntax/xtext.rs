//! The encodings of parameter values. RFC 3461 section 4, RFC 6533 section 3.
//!
//! Both decode to text without control characters, however they were encoded, so that what is decoded can stand in a
//! header field or a log. They know nothing of what the value means.

use alloc::{format, string::String, vec::Vec};

/// A value that does not follow its encoding, or hides a control character or what is no UTF-8. The peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad encoding")]
pub struct BadEncoding;

/// A character that may not stand in anything that is shown, stored in a header field or logged.
#[must_use]
pub fn is_control(character: char) -> bool {
    // The two separators end a line for some readers.
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// ```text
/// xtext   = *( xchar / hexchar )
/// xchar   = %x21-2A / %x2C-3C / %x3E-7E          ; printable but "+" and "="
/// hexchar = "+" 2(DIGIT / "A" / "B" / "C" / "D" / "E" / "F")      ; capitals only
/// ```
///
/// UTF-8 beyond ASCII may stand as it is, too, where SMTPUTF8 allows it (RFC 6531 section 3.3, `esmtp-value`).
pub fn decode(text: &str) -> Result<String, BadEncoding> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        decoded.push(match octet {
            b'+' => match (octets.next().and_then(hex), octets.next().and_then(hex)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(BadEncoding),
            },
            0x21..=0x3c | 0x3e..=0x7e | 0x80.. => octet,
            _ => return Err(BadEncoding),
        });
    }
    shown(decoded)
}

/// ```text
/// utf-8-addr-xtext    = 1*( QCHAR / EmbeddedUnicodeChar )
/// utf-8-addr-unitext  = 1*( QCHAR / UTF8-non-ascii / EmbeddedUnicodeChar )
/// QCHAR               = %x21-2A / %x2C-3C / %x3E-5B / %x5D-7E      ; printable but "+", "=" and "\"
/// EmbeddedUnicodeChar = "\x{" HEXPOINT "}"
/// HEXPOINT            = "20" / "2B" / "3D" / "5C" / the shortest capital hex form of a code point beyond ASCII
/// ```
///
/// The grammar's embedded control characters are refused.
pub fn decode_utf8_address(text: &str) -> Result<String, BadEncoding> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        decoded.push(match character {
            '\\' => {
                let (point, after) =
                    rest.strip_prefix("x{").and_then(|rest| rest.split_once('}')).ok_or(BadEncoding)?;
                rest = after;
                code_point(point).ok_or(BadEncoding)?
            }
            '+' | '=' | '\0'..=' ' | '\x7f' => return Err(BadEncoding),
            _ => character,
        });
    }
    if decoded.is_empty() { Err(BadEncoding) } else { shown(decoded.into_bytes()) }
}

/// What [`decode`] reads as this text again.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'!'..=b'~' if octet != b'+' && octet != b'=' => encoded.push(char::from(octet)),
            _ => encoded.extend(format!("+{octet:02X}").chars()),
        }
    }
    encoded
}

/// What [`decode_utf8_address`] reads as this text again: with `utf8` utf-8-addr-unitext, otherwise ASCII alone.
#[must_use]
pub fn encode_utf8_address(text: &str, utf8: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            ' ' | '+' | '=' | '\\' => encoded.push_str(&format!("\\x{{{:02X}}}", u32::from(character))),
            _ if character.is_ascii() || utf8 => encoded.push(character),
            _ => encoded.push_str(&format!("\\x{{{:X}}}", u32::from(character))),
        }
    }
    encoded
}

/// HEXPOINT.
fn code_point(digits: &str) -> Option<char> {
    let shortest = (2..=6).contains(&digits.len()) && (digits.len() == 2 || !digits.starts_with('0'));
    if !shortest || !digits.bytes().all(|digit| hex(digit).is_some()) {
        return None;
    }
    let character = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?;
    (!character.is_ascii() || matches!(character, ' ' | '+' | '=' | '\\')).then_some(character)
}

/// A capital hexadecimal digit.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// UTF-8 without control characters.
fn shown(octets: Vec<u8>) -> Result<String, BadEncoding> {
    String::from_utf8(octets).ok().filter(|text| !text.chars().any(is_control)).ok_or(BadEncoding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn xtext() {
        for (text, expected) in [
            ("", Some("")),
            ("abc", Some("abc")),
            ("a+2Bb+3Dc", Some("a+b=c")),
            ("+41+20", Some("A ")),
            ("+C3+BC", Some("\u{fc}")),
            ("\u{fc}", Some("\u{fc}")),
            ("!~\\<>@;", Some("!~\\<>@;")),
            ("a=b", None),
            ("a b", None),
            ("+", None),
            ("a+2", None),
            ("a+G1", None),
            ("a+2b", None), // small letters
            ("a++", None),
            ("a+\u{fc}", None),
            ("a\tb", None),
            ("a\u{7f}", None),
            ("a+0D+0Ab", None), // hidden line ends and other controls
            ("a+00", None),
            ("a+7F", None),
            ("+C2+85", None),
            ("+E2+80+A8", None),
            ("+FF", None), // no UTF-8
            ("+C3", None),
            ("+ED+A0+80", None),
        ] {
            assert_eq!(decode(text).ok().as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn utf8_addresses() {
        for (text, expected) in [
            ("a@example.org", Some("a@example.org")),
            (r"j\x{FC}rgen@example.org", Some("j\u{fc}rgen@example.org")),
            ("j\u{fc}rgen@example.org", Some("j\u{fc}rgen@example.org")),
            (r"\x{7528}\x{6237}@\x{4F8B}", Some("\u{7528}\u{6237}@\u{4f8b}")),
            (r"a\x{2B}b\x{3D}\x{5C}\x{20}", Some("a+b=\\ ")),
            (r"\x{1F600}\x{10FFFD}", Some("\u{1f600}\u{10fffd}")),
            ("", None),
            ("a+2B", None),
            ("a=b", None),
            ("a b", None),
            (r"a\b", None),
            (r"a\x", None),
            (r"a\x{}", None),
            (r"a\x{FC", None),
            (r"a\x{fc}", None),  // small letters
            (r"a\x{0FC}", None), // not the shortest form
            (r"a\x{+FC}", None),
            (r"a\x{41}", None), // ASCII that needs no escape
            (r"a\x{0A}", None), // controls
            (r"a\x{7F}", None),
            (r"a\x{85}", None),
            (r"a\x{2028}", None),
            (r"a\x{D800}", None), // no character
            (r"a\x{110000}", None),
            (r"a\x{1000000}", None),
            ("\\x{\u{fc}}", None),
        ] {
            assert_eq!(decode_utf8_address(text).ok().as_deref(), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn xtext_round_trip(text in "\\PC{0,20}") {
            let encoded = encode(&text);
            prop_assert!(encoded.is_ascii() && !encoded.contains([' ', '=']));
            // The strategy makes no control characters, but may make a line separator.
            let expected = if text.chars().any(is_control) { Err(BadEncoding) } else { Ok(text) };
            prop_assert_eq!(decode(&encoded), expected);
        }

        #[test]
        fn utf8_round_trip(text in "\\PC{1,20}", utf8 in any::<bool>()) {
            let encoded = encode_utf8_address(&text, utf8);
            prop_assert!((utf8 || encoded.is_ascii()) && !encoded.contains([' ', '=', '+']));
            let expected = if text.chars().any(is_control) { Err(BadEncoding) } else { Ok(text) };
            prop_assert_eq!(decode_utf8_address(&encoded), expected);
        }

        #[test]
        fn whatever_decodes_is_free_of_controls(text in r"[+\\x{}0-9A-F]{0,16}|\PC*|.*") {
            for decoded in [decode(&text), decode_utf8_address(&text)].into_iter().flatten() {
                prop_assert!(!decoded.chars().any(is_control), "{text:?} gave {decoded:?}");
            }
        }
    }
}
