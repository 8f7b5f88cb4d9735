//! Patterns with `*`.

/// Whether the whole text fits the pattern, in which each `*` stands for anything. Case does not count. It takes at most
/// the product of both lengths, whatever the sender writes.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let (mut p, mut t) = (0, 0);
    // The last star, and where in the text it ends so far. Only the last one ever needs to grow.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), star) {
            (Some('*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(wanted), _) if *wanted == text[t] => {
                p += 1;
                t += 1;
            }
            (_, Some((at, end))) => {
                star = Some((at, end + 1));
                p = at + 1;
                t = end + 1;
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("ÄB", "äb", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b*", "abc", true),
            ("a*c", "abcd", false),
            ("a*b*c", "aXbXbXc", true),
            ("a**c", "ac", true),
            ("*ab", "aab", true),
            ("*aab", "aaab", true),
            ("x*", "abc", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
        let long = "a".repeat(20_000);
        assert!(!matches("*a*a*a*a*a*a*a*a*a*b", &long), "and it ends");
    }
}
