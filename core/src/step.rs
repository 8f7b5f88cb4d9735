//! What one call into a session brings about.

use alloc::{string::String, vec::Vec};

use crate::question::Question;

/// Why the session stopped reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// More octets from the peer.
    #[default]
    Input,
    /// An answer to this.
    Answer(Question),
    /// Write [`Step::transmit`], then shake hands, then call `secured`.
    StartTls,
    /// Write [`Step::transmit`], then close the connection.
    Close,
}

/// A part of the message's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many octets of this call's input.
    Range {
        /// Where they begin.
        offset: u32,
        /// How many.
        length: u32,
    },
    /// Octets of an earlier call that had to be held back.
    Octets(Vec<u8>),
}

/// What happened, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A command line was read, or by a client written (only with `trace`).
    Command,
    /// A reply was written, or by a client read (only with `trace`).
    Reply,
    /// A command that does not follow the grammar.
    SyntaxError,
    /// A command out of its order.
    SequenceError,
    /// The embedder's refusal was sent, or by a client one was read.
    Refused,
    /// Content that can not be accepted.
    ContentRefused,
    /// Commands were discarded because they came before TLS did.
    PlaintextDiscarded,
    /// The client gave up an AUTH exchange.
    AuthCancelled,
    /// 421 after too many errors or idle commands.
    TooManyErrors,
    /// 421 after a timeout.
    TimedOut,
    /// QUIT, or closed by us.
    Closed,
}

/// One line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub occasion: Occasion,
    /// Printable, on one line.
    pub detail: String,
    /// It must never be written to a log.
    pub secret: bool,
}

/// The outcome of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Octets of the input that were used. Give the rest again after the need is met.
    pub consumed: u32,
    /// For the peer, before anything else is done.
    pub transmit: Vec<u8>,
    /// The next part of the message's content.
    pub body: Vec<Piece>,
    /// A transaction ended without a message: what earlier steps brought is void. What this one brings comes behind that.
    pub abandoned: bool,
    /// For the log.
    pub events: Vec<Event>,
    /// What to do next.
    pub need: Need,
    /// Call `tick` at this time if nothing else happens before. Milliseconds; `u64::MAX`: never.
    pub wake: u64,
}

/// The embedder's mistake, never the peer's. The session is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// `answer` while nothing was asked.
    #[error("no question is open")]
    NoQuestionOpen,
    /// `receive` while an answer is awaited.
    #[error("a question is open")]
    QuestionOpen,
    /// The answer's name or count does not fit; what was asked.
    #[error("wrong answer: the open question is {0}")]
    WrongAnswer(String),
    /// A refusal with an impossible code, and the like.
    #[error("bad answer: {0}")]
    BadAnswer(String),
    /// The session has ended.
    #[error("the session is closed")]
    Closed,
    /// `start` comes first, and once.
    #[error("the session has not been started")]
    NotStarted,
    /// The call does not fit the state.
    #[error("not now: {0}")]
    BadState(String),
    /// What was given cannot be said to the peer: an address that would forge a command, content that is not what its facts
    /// say.
    #[error("cannot be sent: {0}")]
    BadValue(String),
    /// `thaw` of bytes that no `freeze` of this version made.
    #[error("not an image of a session: {0}")]
    BadImage(String),
}
