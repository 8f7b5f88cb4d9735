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
