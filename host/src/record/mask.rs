//! What takes the place of what a file must not hold: other octets of the same length and grammar.
//!
//! Owns the replacement of secrets, of content and of words in addresses. Refuses to know where they are: [`super::lines`] says
//! so. It can not fail; whether a session still goes the same way [`super::produce`] sees.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// In place of a secret: it goes through base64 and back, with any padding.
pub(super) const SECRET: u8 = b'A';
/// In place of content.
const CONTENT: u8 = b'x';
/// In place of an octet of content above 127.
const CONTENT_8BIT: u8 = 0xff;

/// Content: its line ends, the dots at the beginning of lines, and which octets are above 127 stay.
pub(super) fn content(octets: &mut [u8], mut line_start: bool) {
    for octet in octets {
        let was = *octet;
        *octet = match was {
            b'\r' | b'\n' => was,
            b'.' if line_start => was,
            128.. => CONTENT_8BIT,
            _ => CONTENT,
        };
        line_start = was == b'\n';
    }
}

/// A part of a line that may hold a secret. What stays is what base64 and a command's parameters need to be as right or as
/// wrong as they were: blanks, `=`, and whether a character is of base64's alphabet. A dot at the beginning of the line
/// stays as well, for the line may be one of content.
pub(super) fn secret(octets: &mut [u8], line_start: bool) {
    let text = String::from_utf8_lossy(octets).into_owned();
    if text.as_bytes() == b"*" {
        // RFC 4954 section 4: the exchange is given up.
        return;
    }
    let dot = line_start && octets.first() == Some(&b'.');
    let faulty: Vec<usize> = (1..octets.len()).filter(|at| spills(octets, *at)).collect();
    let valid = std::str::from_utf8(octets).is_ok();
    for octet in octets.iter_mut() {
        *octet = match *octet {
            kept @ (b' ' | b'\t' | b'\r' | b'\n' | b'=' | 0..=31 | 127) => kept,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => SECRET,
            other @ 128.. => other,
            _ => b'!',
        };
    }
    if !octets.is_ascii() {
        if valid {
            let mut at = 0;
            for character in text.chars() {
                let length = character.len_utf8();
                if length > 1 {
                    let _ = other(character, 0).encode_utf8(&mut octets[at..at + length]);
                }
                at += length;
            }
        } else {
            octets.iter_mut().filter(|octet| !octet.is_ascii()).for_each(|octet| *octet = 0xff);
        }
    }
    // Base64 that was faulty for its last bits still is.
    faulty.into_iter().for_each(|at| octets[at - 1] = b'B');
    if dot && let Some(first) = octets.first_mut() {
        *first = b'.';
    }
}

/// Padding begins here, and bits of the character before it that count for nothing are not zero (RFC 4648 section 3.5).
fn spills(octets: &[u8], at: usize) -> bool {
    let value = match octets[at - 1] {
        upper @ b'A'..=b'Z' => upper - b'A',
        lower @ b'a'..=b'z' => lower - b'a' + 26,
        digit @ b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return false,
    };
    match octets[at..].iter().take_while(|octet| **octet == b'=').count() {
        0 => false,
        1 => value & 0b11 != 0,
        _ => value & 0b1111 != 0,
    }
}

/// Another character of the same length in UTF-8, by a number.
fn other(character: char, number: u64) -> char {
    let (first, many) = match character.len_utf8() {
        2 => (0xe0, 23),
        3 => (0x4e00, 5000),
        _ => (0x2_0000, 40_000),
    };
    u32::try_from(first + number % many).ok().and_then(char::from_u32).unwrap_or(character)
}

/// Other words for those in addresses; the same word always becomes the same, in one file. Nobody can tell from the file which
/// it was, and the key is nowhere kept.
#[derive(Debug, Default)]
pub(super) struct Words(RandomState);

impl Words {
    /// A word of letters and digits, in place.
    fn word(&self, octets: &mut [u8]) {
        let Ok(text) = std::str::from_utf8(octets) else {
            return octets.iter_mut().for_each(|octet| *octet = if octet.is_ascii() { b'a' } else { 0xff });
        };
        let text = text.to_owned();
        let same = text.to_lowercase();
        let mut at = 0;
        for (place, character) in text.chars().enumerate() {
            let mut hash = self.0.build_hasher();
            hash.write(same.as_bytes());
            hash.write_usize(place);
            let number = hash.finish();
            let digit = |first: u8, many: u64| char::from(first + u8::try_from(number % many).unwrap_or(0));
            let new = match character {
                'a'..='z' => digit(b'a', 26),
                'A'..='Z' => digit(b'A', 26),
                '0'..='9' => digit(b'0', 10),
                other_one if other_one.len_utf8() > 1 => other(other_one, number),
                kept => kept,
            };
            let length = character.len_utf8();
            let _ = new.encode_utf8(&mut octets[at..at + length]);
            at += length;
        }
    }

    /// Every word of the text, whether it is an address or not.
    pub(super) fn all(&self, octets: &mut [u8]) {
        let mut start = None;
        for at in 0..=octets.len() {
            let letter = octets.get(at).is_some_and(|octet| octet.is_ascii_alphanumeric() || !octet.is_ascii());
            match (letter, start) {
                (true, None) => start = Some(at),
                (false, Some(from)) => {
                    self.word(&mut octets[from..at]);
                    start = None;
                }
                _ => {}
            }
        }
    }

    /// The words of everything that has an at sign in it: what a blank, a bracket or a comma ends. Quoted strings are part of
    /// it, address literals stay, and so do `KEY=` before it and the two digits behind a `+` (RFC 3461 section 4).
    pub(super) fn addresses(&self, octets: &mut [u8]) {
        let mut at = 0;
        while at < octets.len() {
            let start = at;
            let opened = start > 0 && octets[start - 1] == b'<';
            let mut quoted = false;
            let mut literal = false;
            let mut address = false;
            while let Some(octet) = octets.get(at) {
                match octet {
                    b'\\' if quoted => at += 1,
                    b'"' if !literal => quoted = !quoted,
                    b'[' if !quoted => literal = true,
                    b']' if !quoted => literal = false,
                    b' ' | b'\t' | b'\r' | b'\n' | b'<' | b'>' | b',' | b':' | b';' | b'(' | b')'
                        if !quoted && !literal =>
                    {
                        break;
                    }
                    b'@' => address = true,
                    _ => {}
                }
                at += 1;
            }
            let end = at.min(octets.len());
            if address {
                self.address(&mut octets[start..end], opened);
            }
            at = end + 1;
        }
    }

    fn address(&self, octets: &mut [u8], opened: bool) {
        let key = octets.iter().take_while(|octet| octet.is_ascii_alphabetic() || **octet == b'-').count();
        let mut at = if !opened && octets.get(key) == Some(&b'=') { key + 1 } else { 0 };
        let mut literal = false;
        let hex = |octet: Option<&u8>| octet.is_some_and(|octet| matches!(octet, b'0'..=b'9' | b'A'..=b'F'));
        while at < octets.len() {
            match octets[at] {
                b'[' => literal = true,
                b']' => literal = false,
                b'+' if hex(octets.get(at + 1)) && hex(octets.get(at + 2)) => at += 2,
                _ if literal => {}
                octet if octet.is_ascii_alphanumeric() || !octet.is_ascii() => {
                    let letter = |octet: &&u8| octet.is_ascii_alphanumeric() || !octet.is_ascii();
                    let length = octets[at..].iter().take_while(letter).count();
                    self.word(&mut octets[at..at + length]);
                    at += length;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// The same for text.
    pub(super) fn text(&self, text: &str, all: bool) -> String {
        let mut octets = text.as_bytes().to_vec();
        if all {
            self.all(&mut octets)
        } else {
            self.addresses(&mut octets)
        }
        // Characters became characters.
        String::from_utf8_lossy(&octets).into_owned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret_of(text: &str) -> String {
        let mut octets = text.as_bytes().to_vec();
        secret(&mut octets, true);
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn secrets_keep_what_base64_needs() {
        for (text, expected) in [
            ("AGFsaWNlAHNlY3JldA==", "AAAAAAAAAAAAAAAAAA=="),
            ("AGFs!WNl", "AAAA!AAA"),
            ("AGEAYh== AGEAYWI=", "AAAAAB== AAAAAAA="),
            ("pa$$ wörd.", "AA!! AàAA!"),
            ("=", "="),
            ("*", "*"),
            ("**", "!!"),
            (".", "."),
            ("..a", ".!A"),
            ("", ""),
            ("a\tb\0", "A\tA\0"),
        ] {
            assert_eq!(secret_of(text), expected, "{text:?}");
        }
        let mut invalid = b"a\xffb\xc3".to_vec();
        secret(&mut invalid, false);
        assert_eq!(invalid, b"A\xffA\xff");
    }

    #[test]
    fn content_keeps_its_lines() {
        let mut octets = b"Subject: h\xc3\xa9\r\n\r\n..dot .\rx\ny\r\n.\r\n".to_vec();
        content(&mut octets, true);
        assert_eq!(octets, b"xxxxxxxxxx\xff\xff\r\n\r\n.xxxxxx\rx\nx\r\n.\r\n");
    }

    #[test]
    fn words_in_addresses_are_replaced_and_nothing_else() {
        let words = Words::default();
        let check = |text: &str, stays: &[&str], goes: &[&str]| {
            let masked = words.text(text, false);
            assert_eq!(masked.len(), text.len(), "{text} -> {masked}");
            assert_eq!(masked, words.text(text, false), "the same becomes the same");
            for part in stays {
                assert!(masked.contains(part), "{text} -> {masked}: {part} is gone");
            }
            for part in goes {
                assert!(!masked.contains(part), "{text} -> {masked}: {part} is there");
            }
        };
        check(
            "MAIL FROM:<anna.smith@example.org> SIZE=100 BODY=8BITMIME",
            &["MAIL FROM:<", "> SIZE=100 BODY=8BITMIME"],
            &["anna", "smith", "example", "org"],
        );
        check(
            "RCPT TO:<\"a b> \\\" smith\"@example.org> NOTIFY=NEVER",
            &["RCPT TO:<\"", "\"@", "> NOTIFY=NEVER"],
            &["smith", "example"],
        );
        check("MAIL FROM:<> AUTH=anna@example.org ENVID=abcdef", &["<> AUTH=", " ENVID=abcdef"], &["anna", "example"]);
        check("RCPT TO:<bob@[192.0.2.1]>", &["@[192.0.2.1]>"], &["bob"]);
        check("RCPT TO:<bob@[IPv6:2001:db8::1]>", &["@[IPv6:2001:db8::1]>"], &["bob"]);
        check(
            "RCPT TO:<x@y.test> ORCPT=rfc822;anna+2Bbooks@example.org",
            &["ORCPT=rfc822;", "+2B"],
            &["anna", "books", "example"],
        );
        check(
            "MAIL FROM:<bounces+anna=example.org@lists.example.net>",
            &["MAIL FROM:<"],
            &["anna", "example", "lists", "bounces"],
        );
        check("MAIL FROM:<AUTH=anna@example.net>", &["MAIL FROM:<"], &["AUTH", "anna"]);
        check("EHLO mail.example.org", &["EHLO mail.example.org"], &[]);
        check("550 5.1.1 <anna@example.org>: no such user", &["550 5.1.1 <", ">: no such user"], &["anna"]);
        check("MAIL FROM:<jürgen@bücher.example> SMTPUTF8", &["> SMTPUTF8"], &["jürgen", "bücher"]);
        let one = words.text("<Anna@Example.org>, <bob@example.org>", false);
        let (anna, bob) = one.split_once(", ").unwrap();
        let domain = |address: &str| address.trim_end_matches('>').rsplit('@').next().unwrap().to_lowercase();
        assert_eq!(domain(anna), domain(bob), "{one}");
        assert!(anna.starts_with('<') && anna.chars().nth(1).unwrap().is_ascii_uppercase(), "{one}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn lengths_stay_and_nothing_panics(octets: Vec<u8>, line_start: bool, text: String) {
            let words = Words::default();
            for mask in [
                &(|octets: &mut [u8]| secret(octets, line_start)) as &dyn Fn(&mut [u8]),
                &|octets| content(octets, line_start),
                &|octets| words.addresses(octets),
                &|octets| words.all(octets),
            ] {
                for original in [octets.clone(), text.clone().into_bytes()] {
                    let mut masked = original.clone();
                    mask(&mut masked);
                    prop_assert_eq!(masked.len(), original.len());
                    for (old, new) in original.iter().zip(&masked) {
                        prop_assert_eq!(matches!(old, b'\r' | b'\n'), matches!(new, b'\r' | b'\n'));
                        prop_assert_eq!(old.is_ascii(), new.is_ascii());
                    }
                }
            }
            prop_assert_eq!(words.text(&text, false).chars().count(), text.chars().count());
        }
    }
}
