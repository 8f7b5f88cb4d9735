//! Base64 as SASL exchanges use it. RFC 4954 section 4, RFC 4648 section 4.
//!
//! Strict: padding is needed, unused bits are zero, and there is nothing outside the alphabet.

use alloc::{string::String, vec::Vec};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Decodes one response. The empty response is empty; as an initial response it is written `=`, which is the command
/// parser's business.
#[must_use]
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Encodes one challenge.
#[must_use]
pub fn encode(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strict() {
        for (text, expected) in [
            ("", Some(&b""[..])),
            ("AA==", Some(b"\0")),
            ("AGEAYg==", Some(b"\0a\0b")),
            ("+/+/", Some(b"\xfb\xff\xbf")),
            ("=", None),
            ("====", None),
            ("A", None),
            ("AA", None),
            ("AGEAYg=", None),
            ("AGEAYg===", None),
            ("AGEAYg==x", None),
            ("AGE=AYg=", None),
            ("AGEA Yg==", None),
            ("AGEA\0Yg==", None),
            ("AGEA\r\nYg==", None),
            ("-_-_", None),
            ("%%%%", None),
            ("AB==", None), // bits that are not used and not zero
            ("\u{c4}\u{d6}", None),
        ] {
            assert_eq!(decode(text.as_bytes()).as_deref(), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(octets: Vec<u8>) {
            prop_assert_eq!(decode(encode(&octets).as_bytes()), Some(octets));
        }

        #[test]
        fn one_text_for_one_value(text in "[A-Za-z0-9+/=]{0,12}") {
            if let Some(octets) = decode(text.as_bytes()) {
                prop_assert_eq!(encode(&octets), text);
            }
        }
    }
}
