//! What a session is told at its start.

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::question::Kind;

/// Which of the two protocols is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// RFC 5321.
    #[default]
    Smtp,
    /// RFC 2033: LHLO, and one reply a recipient after the content.
    Lmtp,
}

/// What a session is told at its start. [`super::Session::thaw`] needs the same again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// The name in the greeting and in the reply to EHLO.
    pub server_name: String,
    /// All bounds.
    pub limits: Limits,
    /// The session began inside TLS.
    pub implicit_tls: bool,
    /// STARTTLS is offered.
    pub start_tls: bool,
    /// Nothing but EHLO, NOOP, RSET, STARTTLS and QUIT before TLS (530 5.7.0).
    pub require_tls: bool,
    /// SASL mechanisms offered without TLS, in capitals, in order; empty: none.
    pub plaintext_mechanisms: Vec<String>,
    /// SASL mechanisms offered inside TLS when `implicit_tls`; after STARTTLS `secured` says them.
    pub tls_mechanisms: Vec<String>,
    /// MAIL only after AUTH (530 5.7.0).
    pub require_auth: bool,
    /// Attributes of XCLIENT offered to this peer, in capitals; empty: none.
    pub xclient: Vec<String>,
    /// Refuse EHLO whose argument is no domain or address literal (501); otherwise it is tolerated.
    pub strict_hello: bool,
    /// DELIVERBY (RFC 2852) is offered.
    pub deliver_by: bool,
    /// MT-PRIORITY (RFC 6710) is offered.
    pub priority: bool,
    /// Report every command and reply as an event.
    pub trace: bool,
    /// Questions that are not asked: the answer to them is yes, to VRFY it is neither yes nor no. Without
    /// [`Kind::Message`] nobody learns where content ends: it is then for embedders that let all of it go.
    pub unasked: Vec<Kind>,
}
