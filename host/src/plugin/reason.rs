//! What a plugin says, made fit for a peer and a log; and what counts when it says nothing.
//!
//! Owns cleaning and the failure policy. Refuses to know how plugins run. Never fails.

use super::{
    bindings::hermetic::plugin::types as wit,
    hook::{Hook, Reason, Verdict},
};
use crate::config::plugins::OnFailure;

/// The longest text for a peer, octets.
const TEXT: usize = 400;

/// One line without controls, of at most so many octets.
#[must_use]
pub(super) fn clean(text: &str, most: usize) -> String {
    let breaks = |c: char| {
        c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut line = String::with_capacity(text.len().min(most));
    for c in text.trim_matches(|c: char| c.is_whitespace() || breaks(c)).chars() {
        let c = if breaks(c) { ' ' } else { c };
        if line.len() + c.len_utf8() > most {
            break;
        }
        line.push(c);
    }
    line
}

/// `otherwise` is said where the plugin has no words. Numbers that RFC 3463 does not know become "other" (0).
pub(super) fn reason(given: &wit::Reason, otherwise: &str) -> Reason {
    let known = given.subject <= 7;
    let text = clean(&given.text, TEXT);
    Reason {
        subject: if known { given.subject } else { 7 },
        detail: if known && given.detail <= 999 { given.detail } else { 0 },
        text: if text.is_empty() { otherwise.to_owned() } else { text },
    }
}

const LATER: &str = "Not accepted now; please try again later";
const NEVER: &str = "Not accepted";

impl From<wit::EnvelopeVerdict> for Verdict {
    fn from(verdict: wit::EnvelopeVerdict) -> Self {
        match verdict {
            wit::EnvelopeVerdict::Proceed => Self::Proceed,
            wit::EnvelopeVerdict::Accept => Self::Accept,
            wit::EnvelopeVerdict::Defer(given) => Self::Defer(reason(&given, LATER)),
            wit::EnvelopeVerdict::Reject(given) => Self::Reject(reason(&given, NEVER)),
        }
    }
}

impl From<wit::MessageVerdict> for Verdict {
    fn from(verdict: wit::MessageVerdict) -> Self {
        match verdict {
            wit::MessageVerdict::Proceed => Self::Proceed,
            wit::MessageVerdict::Accept => Self::Accept,
            wit::MessageVerdict::Discard => Self::Discard,
            wit::MessageVerdict::Defer(given) => Self::Defer(reason(&given, LATER)),
            wit::MessageVerdict::Reject(given) => Self::Reject(reason(&given, NEVER)),
        }
    }
}

impl From<wit::Outcome> for Verdict {
    /// Delivered is [`Verdict::Accept`].
    fn from(outcome: wit::Outcome) -> Self {
        match outcome {
            wit::Outcome::Delivered => Self::Accept,
            wit::Outcome::Retry(retry) => Self::Defer(reason(&retry.reason, LATER)),
            wit::Outcome::Fail(given) => Self::Reject(reason(&given, NEVER)),
        }
    }
}

/// What counts when a plugin fails. A delivery that nobody made is never taken for made, and a report decides nothing.
pub(super) fn on_failure(policy: OnFailure, hook: Hook) -> Verdict {
    let reason = |text: &str| Reason { subject: 3, detail: 0, text: text.to_owned() };
    match (policy, hook) {
        (_, Hook::Report) => Verdict::Proceed,
        (OnFailure::Skip, hook) if hook != Hook::Delivery => Verdict::Proceed,
        (OnFailure::Reject, _) => Verdict::Reject(reason("A mail filter failed")),
        _ => Verdict::Defer(reason("A mail filter is not available now; please try again later")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_clean() {
        let check = |subject, detail, text: &str, expected: (u16, u16, &str)| {
            let reason = reason(&wit::Reason { subject, detail, text: text.into() }, "own words");
            assert_eq!((reason.subject, reason.detail, &*reason.text), expected, "{text:?}");
        };
        check(7, 1, "no", (7, 1, "no"));
        check(0, 999, "no", (0, 999, "no"));
        check(8, 1, "no", (7, 0, "no"));
        check(7, 1000, "no", (7, 0, "no"));
        check(u16::MAX, u16::MAX, "no", (7, 0, "no"));
        check(7, 1, "", (7, 1, "own words"));
        check(7, 1, " \r\n ", (7, 1, "own words"));
        check(7, 1, "no\r\n250 2.0.0 ok", (7, 1, "no  250 2.0.0 ok"));
        check(7, 1, "a\u{0}b\u{1b}[2J\u{85}c\u{2028}d\u{202e}e", (7, 1, "a b [2J c d e"));
        check(7, 1, &"ä".repeat(300), (7, 1, &"ä".repeat(200)));
    }

    #[test]
    fn who_fails_decides_by_the_policy() {
        let check = |policy, hook, expected: &str| {
            let said = match on_failure(policy, hook) {
                Verdict::Proceed => "proceed",
                Verdict::Defer(_) => "defer",
                Verdict::Reject(_) => "reject",
                Verdict::Accept | Verdict::Discard => "?",
            };
            assert_eq!(said, expected, "{policy:?} {hook:?}");
        };
        check(OnFailure::Defer, Hook::Recipient, "defer");
        check(OnFailure::Skip, Hook::Recipient, "proceed");
        check(OnFailure::Reject, Hook::Recipient, "reject");
        check(OnFailure::Skip, Hook::Delivery, "defer");
        check(OnFailure::Reject, Hook::Report, "proceed");
    }
}
