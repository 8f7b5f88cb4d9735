//! Reasons, faults and outcomes that read well.

use crate::{Fault, Outcome, Reason, Retry};

impl Reason {
    /// A reason with the second and third number of its enhanced status (RFC 3463); the first one follows from the verdict.
    /// The text is what the peer reads, one line; empty: the host's own words.
    pub fn new(subject: u16, detail: u16, text: impl Into<String>) -> Self {
        Self { subject, detail, text: text.into() }
    }

    /// X.7.1: this site does not want it.
    pub fn policy(text: impl Into<String>) -> Self {
        Self::new(7, 1, text)
    }

    /// X.1.1: there is no such mailbox.
    pub fn no_mailbox(text: impl Into<String>) -> Self {
        Self::new(1, 1, text)
    }

    /// X.6.0: something is wrong with the content.
    pub fn content(text: impl Into<String>) -> Self {
        Self::new(6, 0, text)
    }

    /// X.3.0: this site can not do it now, or not at all.
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(3, 0, text)
    }
}

impl Outcome {
    /// Try again when the queue's own schedule says so.
    pub fn retry(reason: Reason) -> Self {
        Self::Retry(Retry { reason, after_seconds: None })
    }

    /// Try again, and not before so many seconds.
    pub fn retry_after(reason: Reason, seconds: u32) -> Self {
        Self::Retry(Retry { reason, after_seconds: Some(seconds) })
    }
}

impl Fault {
    /// The operator did not grant it.
    pub const NOT_GRANTED: u16 = 1;
    /// An argument can not be.
    pub const INVALID: u16 = 2;
    /// A limit is reached.
    pub const LIMIT: u16 = 3;
    /// There is no such thing.
    pub const NOT_FOUND: u16 = 4;
    /// Not now; later may work.
    pub const UNAVAILABLE: u16 = 5;

    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_the_numbers_of_rfc_3463() {
        let numbers = |reason: Reason| (reason.subject, reason.detail);
        assert_eq!(numbers(Reason::policy("")), (7, 1));
        assert_eq!(numbers(Reason::no_mailbox("")), (1, 1));
        assert_eq!(numbers(Reason::content("")), (6, 0));
        assert_eq!(numbers(Reason::system("")), (3, 0));
    }
}
