//! Mailboxes and hosts, parsed. RFC 5321 section 4.1.2 and 4.1.3, RFC 6531 section 3.3.

use alloc::string::String;
use serde::{Deserialize, Serialize};

/// A domain or an address literal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostName {
    /// As the peer wrote it: labels checked, IDNA mapping is the embedder's.
    Domain(String),
    /// Without its brackets, IP addresses in canonical form: `192.0.2.1`, `IPv6:2001:db8::1`, or `tag:content` (RFC 5321 General-address-literal).
    Literal(String),
}

/// An address. The local part is unquoted and opaque.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// Unquoted: nothing is left to decode. It may be empty and may hold anything but control characters: spaces,
    /// slashes, `@`. At most 64 octets.
    pub local: String,
    /// The domain or literal behind the `@`.
    pub host: HostName,
}

/// The argument of RCPT. RFC 5321 section 4.1.1.3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForwardPath {
    /// `<postmaster>` without a domain, in any case. RFC 5321 section 4.5.1.
    Postmaster,
    /// Anything else. A source route has been dropped.
    Mailbox(Mailbox),
}

impl HostName {
    /// No U-label.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        match self {
            Self::Domain(name) | Self::Literal(name) => name.is_ascii(),
        }
    }
}

impl Mailbox {
    /// Neither the local part nor the domain needs SMTPUTF8. RFC 6531 section 3.3.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii() && self.host.is_ascii()
    }
}

impl ForwardPath {
    /// It does not need SMTPUTF8.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        match self {
            Self::Postmaster => true,
            Self::Mailbox(mailbox) => mailbox.is_ascii(),
        }
    }
}
