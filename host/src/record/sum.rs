//! A hash of what came out of a session, cheap enough to be made beside it.
//!
//! Owns its arithmetic: for eight octets a multiplication, and a few instructions that spread what came of it. It tells
//! steps apart that differ by accident; nobody should take it for a seal. It can not fail.

use std::hash::Hasher;

/// Odd, and with no pattern (the golden ratio's digits).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum(u64);

impl Sum {
    fn add(&mut self, word: u64) {
        let product = (self.0 ^ word).wrapping_add(1).wrapping_mul(FACTOR);
        // The upper bits of a product hang on all bits below them, and the lower ones on few: what is in the upper ones
        // goes to the lower ones, too.
        self.0 = (product ^ (product >> 32)).rotate_left(23);
    }
}

impl Hasher for Sum {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        let mut words = octets.chunks_exact(8);
        for word in words.by_ref() {
            let mut eight = [0; 8];
            eight.copy_from_slice(word);
            self.add(u64::from_le_bytes(eight));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut eight = [0; 8];
            eight[..rest.len()].copy_from_slice(rest);
            self.add(u64::from_le_bytes(eight));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.add(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.add(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.add(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_differs_a_little_has_another_sum() {
        let sum = |octets: &[u8]| {
            let mut sum = Sum::default();
            sum.write_usize(octets.len());
            sum.write(octets);
            sum.finish()
        };
        let text = b"250 2.1.5 Recipient ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n";
        let mut sums = HashSet::from([sum(text), sum(b""), sum(b"\0"), sum(b"\0\0")]);
        for place in 0..text.len() {
            for bit in 0..8 {
                let mut other = text.to_vec();
                other[place] ^= 1 << bit;
                sums.insert(sum(&other));
            }
            sums.insert(sum(&text[..place]));
        }
        // The empty text is there twice.
        assert_eq!(sums.len(), 4 + text.len() * 9 - 1);
    }
}
