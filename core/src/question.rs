//! What only the embedder can decide, and its answers. Each question has an answer of the same name.

use alloc::{string::String, vec, vec::Vec};
use serde::{Deserialize, Serialize};

use crate::command::{Hello, Recipient, Sender, XclientAttribute};

/// One step of a SASL exchange, base64 decoded. RFC 4954 section 4.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslStep {
    /// The mechanism in capitals, and the initial response if there was one.
    Start {
        /// In capitals.
        mechanism: String,
        /// Decoded; `=` is an empty one.
        initial: Option<Vec<u8>>,
    },
    /// What the client says to the challenge.
    Response(Vec<u8>),
}

/// What is known of the message whose content has just been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageFacts {
    /// Octets of content, without the dots of transparency.
    pub size: u64,
    /// The content has octets above 127.
    pub eight_bit: bool,
    /// Bare CR or bare LF in the content: only ever under BODY=BINARYMIME.
    pub bare_line_ends: bool,
    /// The longest line's octets without its CRLF.
    pub longest_line: u64,
    /// Accepted recipients, which is how many answers are wanted.
    pub recipients: u32,
}

/// While a question is open the session reads nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// May this client speak? Asked at the start, and again after XCLIENT.
    Connection,
    /// HELO, EHLO or LHLO.
    Hello(Hello),
    /// XCLIENT.
    Xclient(Vec<XclientAttribute>),
    /// AUTH, or the line that answers a challenge.
    Sasl(SaslStep),
    /// MAIL.
    Sender(Sender),
    /// The recipients of one pipelined batch, in order.
    Recipients(Vec<Recipient>),
    /// VRFY and its argument.
    Verify(String),
    /// May the content begin? Asked before 354, or at the first BDAT.
    Data,
    /// The content is complete. Answered after the message is on stable storage.
    Message(MessageFacts),
}

/// A question without what is asked. SASL steps are not among them: offering no mechanism is the way not to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// [`Question::Connection`].
    Connection,
    /// [`Question::Hello`].
    Hello,
    /// [`Question::Xclient`].
    Xclient,
    /// [`Question::Sender`].
    Sender,
    /// [`Question::Recipients`].
    Recipients,
    /// [`Question::Verify`].
    Verify,
    /// [`Question::Data`].
    Data,
    /// [`Question::Message`].
    Message,
}

impl Question {
    /// The kind, and the answer that says yes; to VRFY it says neither. Nothing for a SASL step.
    #[must_use]
    pub fn yes(&self) -> Option<(Kind, Answer)> {
        Some(match self {
            Self::Connection => (Kind::Connection, Answer::Connection(Ok(None))),
            Self::Hello(_) => (Kind::Hello, Answer::Hello(Ok(None))),
            Self::Xclient(_) => (Kind::Xclient, Answer::Xclient(Ok(None))),
            Self::Sasl(_) => return None,
            Self::Sender(_) => (Kind::Sender, Answer::Sender(Ok(None))),
            Self::Recipients(asked) => (Kind::Recipients, Answer::Recipients(vec![Ok(None); asked.len()])),
            Self::Verify(_) => (Kind::Verify, Answer::Verify(VerifyAnswer::Unsure)),
            Self::Data => (Kind::Data, Answer::Data(Ok(None))),
            Self::Message(facts) => (Kind::Message, Answer::Message(vec![Ok(None); facts.recipients as usize])),
        })
    }
}

/// A refusal. `code` is 4yz or 5yz; the class of the enhanced code follows from it. 421 ends the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// 400 to 599.
    pub code: u16,
    /// The second part of the enhanced status code. RFC 3463.
    pub subject: u16,
    /// The third part.
    pub detail: u16,
    /// For people. Re-framed before it is sent.
    pub text: String,
}

/// Yes, with a text that replaces the usual one, or no.
pub type Decision = Result<Option<String>, Refusal>;

/// The answer to a SASL step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaslAnswer {
    /// 334: one more step is needed.
    Challenge(Vec<u8>),
    /// 235: the login.
    Authenticated(String),
    /// The attempt failed.
    Refused(Refusal),
}

/// The answer to VRFY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyAnswer {
    /// 252.
    Unsure,
    /// 250 and the mailbox.
    Known(String),
    /// Anything else.
    Refused(Refusal),
}

/// Each question has an answer of the same name, [`Question::Sender`] two.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the questions say it")]
pub enum Answer {
    Connection(Decision),
    Hello(Decision),
    Xclient(Decision),
    Sasl(SaslAnswer),
    Sender(Decision),
    /// Yes, with this priority (-9 to 9) and not the one that was asked for. RFC 6710 section 4.1.
    SenderWithPriority(i8),
    Recipients(Vec<Decision>),
    Verify(VerifyAnswer),
    Data(Decision),
    Message(Vec<Decision>),
}
