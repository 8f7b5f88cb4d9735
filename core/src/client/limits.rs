//! Every bound of an outbound session, in one place. RFC 5321 section 4.5.3.

use serde::{Deserialize, Serialize};

/// All bounds. Times in milliseconds, sizes in octets. A time is for one whole reply: octets that trickle in do not put
/// it off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// A line of a reply with its CRLF. At least 512.
    pub reply_line: u32,
    /// Lines of one reply.
    pub reply_lines: u32,
    /// Octets of one reply.
    pub reply_size: u32,
    /// A line of an AUTH exchange with its CRLF, ours and the peer's. At least 12288 (RFC 4954 section 4).
    pub auth_line: u32,
    /// Octets of a reply's text that are kept.
    pub reply_text: u32,
    /// Octets of all replies in one session. 0: no limit.
    pub received: u64,
    /// Recipients of one transaction.
    pub recipients: u32,
    /// Commands and chunks that may be without their reply at a time (RFC 2920 section 3.1). At least 1.
    pub pipeline: u32,
    /// Transactions in one session. 0: no limit.
    pub messages: u32,
    /// Challenges in one AUTH exchange.
    pub challenges: u32,
    /// For the greeting (RFC 5321: 5 minutes).
    pub greeting_timeout: u64,
    /// For the reply to EHLO, HELO, LHLO, STARTTLS, RSET and each step of AUTH.
    pub command_timeout: u64,
    /// For the TLS handshake.
    pub handshake_timeout: u64,
    /// For the reply to MAIL (5 minutes).
    pub mail_timeout: u64,
    /// For the reply to RCPT (5 minutes).
    pub rcpt_timeout: u64,
    /// For the reply to DATA (2 minutes).
    pub data_timeout: u64,
    /// For one piece of content to be written, and for the reply to a chunk that is not the last (3 minutes).
    pub block_timeout: u64,
    /// For the reply to the end of the content (10 minutes), each of them in LMTP and PRDR.
    pub message_timeout: u64,
    /// For the reply to QUIT.
    pub quit_timeout: u64,
    /// A session that is ready and is given nothing to do.
    pub idle_timeout: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reply_line: 2048,
            reply_lines: 256,
            reply_size: 65_536,
            auth_line: 12_288,
            reply_text: 1024,
            received: 64 * 1024 * 1024,
            recipients: 1000,
            pipeline: 100,
            messages: 0,
            challenges: 10,
            greeting_timeout: 300_000,
            command_timeout: 300_000,
            handshake_timeout: 60_000,
            mail_timeout: 300_000,
            rcpt_timeout: 300_000,
            data_timeout: 120_000,
            block_timeout: 180_000,
            message_timeout: 600_000,
            quit_timeout: 10_000,
            idle_timeout: 60_000,
        }
    }
}
