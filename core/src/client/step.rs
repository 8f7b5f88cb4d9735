//! What one call into an outbound session brings about.

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

use crate::step::{Event, Piece};

/// A status code. RFC 3463.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// 2, 4 or 5.
    pub class: u16,
    /// At most 999.
    pub subject: u16,
    /// At most 999.
    pub detail: u16,
}

impl Status {
    pub(super) const fn new(class: u16, subject: u16, detail: u16) -> Self {
        Self { class, subject, detail }
    }
}

/// What the peer said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// If it was given and fits the code.
    pub status: Option<Status>,
    /// Its lines without codes, joined by spaces: printable, on one line, of bounded length.
    pub text: String,
}

/// What the session was at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The greeting.
    Greeting,
    /// EHLO, HELO or LHLO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// The TLS handshake.
    Handshake,
    /// AUTH.
    Auth,
    /// Between transactions.
    Idle,
    /// RSET.
    Reset,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The content is on its way.
    Content,
    /// The end of the content.
    Message,
    /// QUIT.
    Quit,
}

/// One line of the reply to EHLO, as it was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// In capitals.
    pub keyword: String,
    /// What follows it, printable.
    pub parameters: String,
}

/// What is known of the peer. What the options ignore is listed in `extensions` and counts nowhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The name that it gives itself, printable. Nobody has checked it.
    pub name: String,
    /// The session is inside TLS.
    pub tls: bool,
    /// AUTH was accepted.
    pub authenticated: bool,
    /// All that it offers.
    pub extensions: Vec<Extension>,
    /// SASL mechanisms that may be used now, in capitals.
    pub mechanisms: Vec<String>,
    /// SIZE (RFC 1870), if it names a limit.
    pub size: Option<u64>,
    /// Transactions that may still follow.
    pub messages_left: Option<u32>,
    /// LIMITS RCPTMAX (RFC 9422).
    pub recipients_max: Option<u32>,
    /// LIMITS RCPTDOMAINMAX.
    pub domains_max: Option<u32>,
}

/// What became of one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// The peer has taken the message for it.
    Accepted,
    /// Try again later.
    Temporary,
    /// Do not try again.
    Permanent,
    /// All of the content went out and no reply came (RFC 1047): the peer may have the message.
    Unknown,
    /// It was not tried, for a limit: put it into another transaction at once.
    Unsent,
}

/// Who decided a recipient's fate, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The peer.
    Reply,
    /// Larger than SIZE says. 5.3.4
    TooLarge,
    /// Octets above 127 and no 8BITMIME. 5.6.3
    EightBit,
    /// No lines of at most 998 octets, and no BINARYMIME. 5.6.3
    NotLines,
    /// An address needs SMTPUTF8. 5.6.7
    Utf8Address,
    /// The header needs SMTPUTF8. 5.6.9
    Utf8Header,
    /// REQUIRETLS is not offered, or there is no TLS. 5.7.30
    RequireTls,
    /// BY with [`super::ByMode::Return`] and no DELIVERBY. 5.3.3
    DeliverBy,
    /// LIMITS, too many recipients, or our own limit on messages. 4.5.3
    Limit,
    /// A reply that is none, or does not fit the command. 4.5.0
    BadReply,
    /// The peer took too long. 4.4.2
    TimedOut,
    /// The connection was lost. 4.4.2
    Lost,
    /// The embedder quit. 4.4.2
    Abandoned,
}

impl Cause {
    /// Our status code for it, where the peer gave none.
    pub(super) const fn status(self, fate: Fate) -> Status {
        let class = match fate {
            Fate::Accepted => 2,
            Fate::Permanent => 5,
            Fate::Temporary | Fate::Unknown | Fate::Unsent => 4,
        };
        let (subject, detail) = match self {
            Self::Reply => (0, 0),
            Self::TooLarge => (3, 4),
            Self::EightBit | Self::NotLines => (6, 3),
            Self::Utf8Address => (6, 7),
            Self::Utf8Header => (6, 9),
            Self::RequireTls => (7, 30),
            Self::DeliverBy => (3, 3),
            Self::Limit => (5, 3),
            Self::BadReply => (5, 0),
            Self::TimedOut | Self::Lost | Self::Abandoned => (4, 2),
        };
        Status::new(class, subject, detail)
    }
}

/// The end of one recipient's part in a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its place in the transaction's recipients, from 0.
    pub recipient: u32,
    /// What became of it.
    pub fate: Fate,
    /// Why.
    pub cause: Cause,
    /// When.
    pub stage: Stage,
    /// The peer's, or ours.
    pub status: Status,
    /// What the peer said, if it did.
    pub reply: Option<Reply>,
    /// The peer has DSN (RFC 3461): for what it accepted it is answerable.
    pub dsn: bool,
    /// The peer has DELIVERBY (RFC 2852): it keeps the time of what it accepted.
    pub deliver_by: bool,
}

/// What came of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// AUTH succeeded.
    pub accepted: bool,
    /// What the peer said.
    pub reply: Reply,
}

/// Why the session has ended against our will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The greeting or the hello was refused.
    Refused,
    /// TLS is required and not offered.
    NoTls,
    /// TLS is required and STARTTLS was refused.
    TlsRefused,
    /// Something came behind the reply to STARTTLS and before TLS.
    Plaintext,
    /// 421.
    Leaving,
    /// What came is no reply, or does not fit the command.
    BadReply,
    /// A reply, or all of them, over a limit.
    TooMuch,
    /// The peer took too long.
    TimedOut,
    /// The connection was lost.
    Lost,
}

/// The end of a session against our will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub fault: Fault,
    /// When.
    pub stage: Stage,
    /// What the peer said, if that was it.
    pub reply: Option<Reply>,
    /// For people, printable.
    pub detail: String,
}

/// Why the session stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// More octets from the peer.
    #[default]
    Input,
    /// Write [`Step::transmit`], then shake hands, then call `secured`.
    StartTls,
    /// `login`, `deliver` or `quit`.
    Ready(Peer),
    /// `respond` to this challenge, or `cancel`.
    Response(Vec<u8>),
    /// `content`.
    Content,
    /// Write [`Step::transmit`] as far as that goes, then close the connection.
    Close,
}

/// The outcome of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Octets of the input to `receive` that were used.
    pub consumed: u32,
    /// For the peer, before anything else is done.
    pub transmit: Vec<u8>,
    /// For the peer behind `transmit`.
    pub content: Vec<Piece>,
    /// Each recipient has one, in one of the steps from `deliver` to the next [`Need::Ready`] or [`Need::Close`].
    pub outcomes: Vec<Outcome>,
    /// What came of a login.
    pub login: Option<Login>,
    /// The session has ended against our will.
    pub failure: Option<Failure>,
    /// For the log.
    pub events: Vec<Event>,
    /// What to do next.
    pub need: Need,
    /// Call `tick` at this time if nothing else happens before, even while writing. `u64::MAX`: never.
    pub wake: u64,
}
