//! What was found out: a verdict, the rule, a sentence.
//!
//! Owns these forms. Refuses to judge: that is each experiment's. Can not fail.

use alloc::string::String;

/// How good it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// Neither good nor bad.
    Info,
    /// Not forbidden, and not wise.
    Warn,
    /// A fault.
    Fail,
    /// Nothing can be said.
    Untested,
}

/// One thing that was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: `open-relay`.
    pub check: &'static str,
    /// How good it is.
    pub verdict: Verdict,
    /// The rule: `RFC 5321 section 4.2`.
    pub rule: &'static str,
    /// One sentence, printable.
    pub text: String,
}
