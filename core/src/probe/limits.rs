//! Every bound of a probe, in one place.
//!
//! Owns their names and defaults. Refuses to count: whoever is bound does that. Can not fail.

/// All bounds. Times in milliseconds, sizes in octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A line of a reply with its CRLF. At least 512.
    pub reply_line: u32,
    /// Lines of one reply.
    pub reply_lines: u32,
    /// Octets of one reply.
    pub reply_size: u32,
    /// Octets of all replies in one session.
    pub received: u64,
    /// For a reply.
    pub reply_timeout: u64,
    /// How long it is waited for what should not come.
    pub pause: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reply_line: 2048,
            reply_lines: 256,
            reply_size: 65_536,
            received: 1024 * 1024,
            reply_timeout: 30_000,
            pause: 1_000,
        }
    }
}
