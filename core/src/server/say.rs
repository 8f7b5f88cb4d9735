//! What the session says of its own, every text once.

use crate::reply::Reply;

pub(super) const BYE: Reply = Reply::new(221, 0, 0, "Bye");
pub(super) const OK: Reply = Reply::new(250, 0, 0, "Ok");
pub(super) const SENDER_OK: Reply = Reply::new(250, 1, 0, "Sender ok");
pub(super) const RECIPIENT_OK: Reply = Reply::new(250, 1, 5, "Recipient ok");
pub(super) const CHUNK_OK: Reply = Reply::new(250, 0, 0, "Chunk ok");
pub(super) const MESSAGE_OK: Reply = Reply::new(250, 0, 0, "Message accepted");
pub(super) const LOGGED_IN: Reply = Reply::new(235, 7, 0, "Authentication successful");
pub(super) const START_TLS: Reply = Reply::new(220, 0, 0, "Ready to start TLS");
pub(super) const CANNOT_VERIFY: Reply = Reply::new(252, 1, 5, "Cannot verify, but will take mail and try");
pub(super) const HELP: Reply =
    Reply::new(214, 0, 0, "Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT STARTTLS AUTH");
pub(super) const HELP_LMTP: Reply =
    Reply::new(214, 0, 0, "Commands: LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT STARTTLS AUTH");

pub(super) const GO_AHEAD: Reply = Reply::bare(354, "End data with <CR><LF>.<CR><LF>");
pub(super) const EACH_FOLLOWS: Reply = Reply::bare(353, "A reply for each recipient follows");

pub(super) const TOO_MANY_RECIPIENTS: Reply = Reply::new(452, 5, 3, "Too many recipients");

pub(super) const USE_LHLO: Reply = Reply::new(500, 5, 1, "This is LMTP, say LHLO");
pub(super) const NOT_LMTP: Reply = Reply::new(500, 5, 1, "This is SMTP, say EHLO");
pub(super) const BAD_HELLO: Reply = Reply::new(501, 5, 4, "Say your domain or address literal");
pub(super) const NO_LISTS: Reply = Reply::new(502, 5, 1, "EXPN is not available");
pub(super) const NO_TLS: Reply = Reply::new(502, 5, 1, "STARTTLS is not available");
pub(super) const NO_AUTH: Reply = Reply::new(502, 5, 1, "AUTH is not available");
pub(super) const NO_XCLIENT: Reply = Reply::new(502, 5, 1, "XCLIENT is not available");
pub(super) const BAD_ATTRIBUTE: Reply = Reply::new(501, 5, 4, "XCLIENT attribute not offered");

pub(super) const HELLO_FIRST: Reply = Reply::new(503, 5, 1, "Say hello first");
pub(super) const EHLO_FIRST: Reply = Reply::new(503, 5, 1, "Say EHLO first");
pub(super) const MAIL_FIRST: Reply = Reply::new(503, 5, 1, "MAIL first");
pub(super) const RCPT_FIRST: Reply = Reply::new(503, 5, 1, "No valid recipients");
pub(super) const NESTED: Reply = Reply::new(503, 5, 1, "A transaction is open");
pub(super) const CHUNKS_BEGUN: Reply = Reply::new(503, 5, 1, "BDAT has begun");
pub(super) const ONLY_CHUNKS: Reply = Reply::new(503, 5, 1, "BODY=BINARYMIME needs BDAT");
pub(super) const IN_TLS: Reply = Reply::new(503, 5, 1, "TLS is active");
pub(super) const HAS_LOGIN: Reply = Reply::new(503, 5, 1, "Already authenticated");
pub(super) const ONLY_QUIT: Reply = Reply::new(503, 5, 1, "You are not welcome here, please QUIT");

pub(super) const NO_MECHANISM: Reply = Reply::new(504, 5, 4, "Mechanism not available");
pub(super) const AUTH_NEEDS_TLS: Reply = Reply::new(538, 7, 11, "Encryption required, use STARTTLS");
pub(super) const TLS_FIRST: Reply = Reply::new(530, 7, 0, "STARTTLS first");
pub(super) const AUTH_FIRST: Reply = Reply::new(530, 7, 0, "Authentication required");
pub(super) const CANCELLED: Reply = Reply::new(501, 7, 0, "Authentication cancelled");
pub(super) const BAD_BASE64: Reply = Reply::new(501, 5, 2, "Not base64");
pub(super) const AUTH_LINE_TOO_LONG: Reply = Reply::new(500, 5, 6, "Authentication line too long");

pub(super) const NOT_OFFERED: Reply = Reply::new(555, 5, 4, "Parameter not offered");
pub(super) const HELD_TOO_LONG: Reply = Reply::new(501, 5, 4, "Held for longer than is offered");
pub(super) const TOO_SOON: Reply = Reply::new(555, 5, 4, "BY is less than is offered");
pub(super) const TOO_LARGE: Reply = Reply::new(552, 3, 4, "Message too large");
pub(super) const NEEDS_SMTPUTF8: Reply = Reply::new(553, 6, 7, "Address needs SMTPUTF8");

/// The texts behind 421, each after the server's name.
pub(super) mod leaving {
    pub(in super::super) const TIMEOUT: (u16, u16, &str) = (4, 2, "Timeout, closing");
    pub(in super::super) const ERRORS: (u16, u16, &str) = (7, 0, "Too many errors, closing");
    pub(in super::super) const IDLE: (u16, u16, &str) = (7, 0, "Too many commands without mail, closing");
    pub(in super::super) const MESSAGES: (u16, u16, &str) = (7, 0, "Too many messages, closing");
    pub(in super::super) const LOGINS: (u16, u16, &str) = (7, 0, "Too many failed logins, closing");
    pub(in super::super) const STEP: (u16, u16, &str) = (5, 4, "Cannot tell content from commands, closing");
    pub(in super::super) const CONTENT: (u16, u16, &str) = (3, 4, "Message too large to skip, closing");
    pub(in super::super) const CHUNK: (u16, u16, &str) = (3, 4, "Chunk too large to skip, closing");
}
