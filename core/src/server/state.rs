//! Everything that a session remembers, as a plain value.
//!
//! ```text
//!            start         answer                      answer(s)
//!   New ─────────► Asked ─────────► Command ──────────► Asked ─► Command | Exchange | Data | Chunk | Closed
//!                                   │   ▲ ▲
//!        STARTTLS ──► Handshake ────┼───┘ └── Exchange (an AUTH line), Data (CRLF.CRLF), Chunk (so many octets)
//!                     secured       └──► Closed
//! ```

use alloc::{borrow::Cow, string::String, vec::Vec};
use serde::{Deserialize, Serialize};

use crate::command::HelloVerb;
use crate::question::{Question, Refusal};
use crate::reply::{Enhanced, Reply};
use crate::step::Occasion;
use crate::syntax::SyntaxError;
use crate::syntax::data::Content;
use crate::syntax::line::{LineFault, LineReader};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) reader: LineReader,
    pub(super) tls: bool,
    /// Mechanisms that `secured` brought.
    pub(super) mechanisms: Vec<String>,
    pub(super) hello: Option<HelloVerb>,
    pub(super) login: bool,
    /// The greeting was 5yz: nothing but QUIT is left. RFC 5321 section 3.1.
    pub(super) barred: bool,
    pub(super) transaction: Option<Transaction>,
    pub(super) farewell: Option<Refusal>,
    pub(super) counts: Counts,
    pub(super) clock: Clock,
}

/// What the next octet, answer or call is for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) enum Phase {
    #[default]
    New,
    /// A command line.
    Command,
    /// The line that answers a challenge of AUTH.
    Exchange,
    /// Content until CRLF.CRLF.
    Data,
    /// Octets of a BDAT chunk.
    Chunk(Chunk),
    /// An answer.
    Asked(Asked),
    /// `secured`.
    Handshake,
    Closed,
}

/// An open question, and what the answer alone does not tell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) question: Question,
    /// RCPT commands of the batch that are refused already, each behind so many that were asked about.
    pub(super) faults: Vec<(u32, Denial)>,
    /// The BDAT chunk that waits for the answer.
    pub(super) chunk: Option<Chunk>,
}

/// A BDAT chunk. RFC 3030 section 2.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Chunk {
    pub(super) left: u64,
    pub(super) last: bool,
    /// The octets are skipped, then this is said.
    pub(super) refused: Option<Denial>,
}

/// MAIL was accepted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Transaction {
    pub(super) smtputf8: bool,
    pub(super) binary: bool,
    pub(super) prdr: bool,
    /// How many were accepted.
    pub(super) recipients: u32,
    /// DATA or BDAT has begun.
    pub(super) content: Option<Content>,
    /// Octets of the chunks that were declared so far.
    pub(super) declared: u64,
}

/// A reply that says no, before it is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Denial {
    pub(super) fault: Fault,
    pub(super) code: u16,
    pub(super) enhanced: Enhanced,
    pub(super) text: Cow<'static, str>,
    pub(super) utf8: bool,
    /// How often it is said: once for each recipient in LMTP.
    pub(super) copies: u32,
}

/// Whose word a denial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fault {
    Syntax,
    Sequence,
    Content,
    Refused,
}

impl Fault {
    pub(super) fn occasion(self) -> Occasion {
        match self {
            Self::Syntax => Occasion::SyntaxError,
            Self::Sequence => Occasion::SequenceError,
            Self::Content => Occasion::ContentRefused,
            Self::Refused => Occasion::Refused,
        }
    }
}

impl Denial {
    pub(super) fn ours(fault: Fault, reply: Reply) -> Self {
        Self {
            fault,
            code: reply.code,
            enhanced: reply.enhanced,
            text: Cow::Borrowed(reply.text),
            utf8: false,
            copies: 1,
        }
    }

    pub(super) fn theirs(refusal: Refusal, utf8: bool) -> Self {
        Self {
            fault: Fault::Refused,
            code: refusal.code,
            enhanced: Some((refusal.subject, refusal.detail)),
            text: Cow::Owned(refusal.text),
            utf8,
            copies: 1,
        }
    }

    pub(super) fn times(mut self, copies: u32) -> Self {
        self.copies = copies.max(1);
        self
    }
}

impl From<LineFault> for Denial {
    fn from(fault: LineFault) -> Self {
        let (code, enhanced, text) = fault.reply();
        Self { fault: Fault::Syntax, code, enhanced: Some(enhanced), text: Cow::Borrowed(text), utf8: false, copies: 1 }
    }
}

impl From<SyntaxError> for Denial {
    fn from(error: SyntaxError) -> Self {
        let (code, enhanced, text) = error.reply();
        Self { fault: Fault::Syntax, code, enhanced: Some(enhanced), text: Cow::Owned(text), utf8: false, copies: 1 }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) errors: u32,
    pub(super) idle: u32,
    pub(super) messages: u32,
    pub(super) auth_failures: u32,
}

/// When what began. Milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Clock {
    pub(super) started: u64,
    /// The session has waited for the peer since.
    pub(super) waiting: u64,
    /// The content, or a skipped chunk, began.
    pub(super) content: u64,
    /// Octets received since.
    pub(super) octets: u64,
}

impl Clock {
    pub(super) fn content_begins(&mut self, now: u64) {
        self.content = now;
        self.octets = 0;
    }
}
