//! What an outbound session is told at its start.

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

use super::Limits;
use crate::server::Protocol;

/// What STARTTLS is used for. RFC 3207.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsUse {
    /// Not used.
    Never,
    /// Used where it is offered.
    #[default]
    Opportunistic,
    /// Nothing but EHLO and STARTTLS without TLS.
    Required,
}

/// What the session is told at its start. [`super::Session::thaw`] needs the same again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// Our name, for EHLO: a domain or an address literal in its brackets.
    pub hello_name: String,
    /// All bounds.
    pub limits: Limits,
    /// What STARTTLS is used for.
    pub tls: TlsUse,
    /// The session began inside TLS.
    pub implicit_tls: bool,
    /// AUTH may be used without TLS.
    pub plaintext_auth: bool,
    /// EHLO keywords, in any case, that count as if this peer did not offer them.
    pub ignore: Vec<String>,
    /// Use PIPELINING where it is offered.
    pub pipelining: bool,
    /// Use CHUNKING (BDAT) where it is offered.
    pub chunking: bool,
    /// Use PRDR where it is offered and there are several recipients.
    pub prdr: bool,
    /// Report every command, and every line of a reply, as an event.
    pub trace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            protocol: Protocol::Smtp,
            hello_name: String::new(),
            limits: Limits::default(),
            tls: TlsUse::default(),
            implicit_tls: false,
            plaintext_auth: false,
            ignore: Vec::new(),
            pipelining: true,
            chunking: true,
            prdr: true,
            trace: false,
        }
    }
}
