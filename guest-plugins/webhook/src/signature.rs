//! Who sent the request, and when: HMAC-SHA256 (RFC 2104) with the secret that the endpoint knows too.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// In hexadecimal, over the four values with a line feed between them; none of them can have one.
pub(crate) fn of(secret: &[u8], timestamp: u32, key: &str, sender: &str, recipient: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(format!("{timestamp}\n{key}\n{sender}\n{recipient}").as_bytes());
    mac.finalize().into_bytes().iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_that_others_make_too() {
        // printf '1800000000\nkey-1\na@b.example\nc@d.example' | openssl dgst -sha256 -hmac 0123456789abcdef
        let expected = "5e429c26c18e5e45587b3215945354be767cec2636bf84f3d6833e8007f4e70d";
        assert_eq!(of(b"0123456789abcdef", 1_800_000_000, "key-1", "a@b.example", "c@d.example"), expected);
        assert_ne!(of(b"0123456789abcdef", 1_800_000_001, "key-1", "a@b.example", "c@d.example"), expected);
        assert_ne!(of(b"0123456789abcdee", 1_800_000_000, "key-1", "a@b.example", "c@d.example"), expected);
    }
}
