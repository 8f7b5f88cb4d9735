//! Every bound of the protocol, in one place. RFC 5321 section 4.5.3.

use serde::{Deserialize, Serialize};

/// All bounds. Times in milliseconds, sizes in octets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The largest content (RFC 1870), advertised as SIZE. 0: no limit, SIZE without a number.
    pub message_size: u64,
    /// Recipients of one message. At least 100.
    pub recipients: u32,
    /// RCPT commands put into one question.
    pub recipient_batch: u32,
    /// A command line with its CRLF, extensions' allowances included. At least 512.
    pub command_line: u32,
    /// A line of an AUTH exchange with its CRLF. At least 12288 (RFC 4954 section 4).
    pub auth_line: u32,
    /// A line of content without its CRLF; 0: no limit.
    pub text_line: u32,
    /// Faulty or refused commands until 421; an accepted message resets the count.
    pub errors: u32,
    /// Commands that bring no message forward until 421; an accepted message resets the count.
    pub idle_commands: u32,
    /// Messages in one session. 0: no limit.
    pub messages: u32,
    /// Failed AUTH attempts until 421.
    pub auth_failures: u32,
    /// Waiting for a command (RFC 5321: at least 5 minutes).
    pub command_timeout: u64,
    /// Between two pieces of content (RFC 5321: at least 3 minutes).
    pub data_timeout: u64,
    /// For the TLS handshake.
    pub handshake_timeout: u64,
    /// For a whole message's content: this much, plus a second for each `data_rate` octets received.
    pub data_allowance: u64,
    /// Octets a second that a peer must at least sustain; 0: no rule.
    pub data_rate: u32,
    /// A whole session. 0: no limit.
    pub session: u64,
    /// The longest HOLDFOR, in seconds of at most 9 digits. 0: FUTURERELEASE (RFC 4865) is not offered.
    pub hold_for: u32,
    /// The latest HOLDUNTIL, in seconds since the Unix epoch.
    pub hold_until: u64,
    /// The least BY (RFC 2852) for what is to be returned when it is over, in seconds. 0: any.
    pub deliver_by: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: 50 * 1024 * 1024,
            recipients: 1000,
            recipient_batch: 100,
            command_line: 2048,
            auth_line: 16384,
            text_line: 0,
            errors: 40,
            idle_commands: 500,
            messages: 0,
            auth_failures: 5,
            command_timeout: 300_000,
            data_timeout: 180_000,
            handshake_timeout: 60_000,
            data_allowance: 600_000,
            data_rate: 512,
            session: 0,
            hold_for: 0,
            hold_until: 0,
            deliver_by: 0,
        }
    }
}
