//! What the embedder gives to be delivered. RFC 5321 section 3.3 and the RFC of each extension.

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

use crate::address::Mailbox;
use crate::command::{DeliverBy, Recipient, ReturnContent, Submitter};

/// What is known of the content, all of it, as it will be given to [`super::Session::content`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentFacts {
    /// Octets.
    pub size: u64,
    /// There are octets above 127.
    pub eight_bit: bool,
    /// There is a CR or LF that is no CRLF.
    pub bare_line_ends: bool,
    /// The longest line's octets without its CRLF.
    pub longest_line: u64,
    /// A header field, of a part too, has UTF-8 in it (RFC 6532).
    pub utf8_header: bool,
}

/// A message for some recipients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Absent: the null reverse-path.
    pub sender: Option<Mailbox>,
    /// At least one.
    pub recipients: Vec<Recipient>,
    /// What is known of the content.
    pub content: ContentFacts,
    /// REQUIRETLS. RFC 8689.
    pub require_tls: bool,
    /// RET=.
    pub ret: Option<ReturnContent>,
    /// ENVID=.
    pub envid: Option<String>,
    /// AUTH=. RFC 4954 section 5.
    pub auth: Option<Submitter>,
    /// BY=.
    pub deliver_by: Option<DeliverBy>,
    /// MT-PRIORITY=, -9 to 9. RFC 6710.
    pub priority: Option<i8>,
}
