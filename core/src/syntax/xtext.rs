//! The encodings of parameter values. RFC 3461 section 4, RFC 6533 section 3.
//!
//! Both decode to text without control characters, however they were encoded, so that what is decoded can stand in a
//! header field or a log. They know nothing of what the value means.

use alloc::{string::String, vec::Vec};

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
