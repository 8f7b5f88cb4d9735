//! What a peer can get wrong in a command line, and the reply that each mistake has. RFC 5321 section 4.2, RFC 3463.

use alloc::string::{String, ToString};

/// What is wrong with a path. RFC 5321 section 4.1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// No path, or none in angle brackets.
    #[error("the address stands in angle brackets directly after the colon")]
    Brackets,
    /// `<>` where a mailbox is needed.
    #[error("an address is needed")]
    Null,
    /// A dot too many, a character that needs quotes, an open quote.
    #[error("bad local part")]
    LocalPart,
    /// No `@` after the local part.
    #[error("the address has no domain")]
    NoDomain,
    /// A label that is empty, begins or ends with a hyphen, is too long, or has a character that is not allowed.
    #[error("bad domain")]
    Domain,
    /// No valid address in the square brackets.
    #[error("bad address literal")]
    Literal,
    /// A source route that no mailbox follows, or a bad one.
    #[error("bad source route")]
    Route,
    /// Something follows where the path should end.
    #[error("the address does not end with its bracket")]
    Trailing,
    /// More than 64 octets. RFC 5321 section 4.5.3.1.1.
    #[error("the local part is longer than 64 octets")]
    LocalPartTooLong,
    /// More than 255 octets. RFC 5321 section 4.5.3.1.2.
    #[error("the domain is longer than 255 octets")]
    DomainTooLong,
    /// More than 256 octets. RFC 5321 section 4.5.3.1.3.
    #[error("the path is longer than 256 octets")]
    PathTooLong,
}

/// A command line that does not follow the grammar. The peer's fault; the text is for the peer and repeats nothing but
/// keywords.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// No verb.
    #[error("A command is needed")]
    Empty,
    /// A verb that nobody knows.
    #[error("Command not recognized")]
    UnknownCommand,
    /// A verb that is known and not implemented.
    #[error("Command not implemented")]
    NotImplemented,
    /// Octets that are not UTF-8.
    #[error("The line is not valid UTF-8")]
    NotUtf8,
    /// A control character.
    #[error("The line has a control character")]
    Control,
    /// The verb needs an argument; how it is written.
    #[error("Syntax: {0}")]
    Usage(&'static str),
    /// The verb takes no argument.
    #[error("{0} takes no argument")]
    UnexpectedArgument(&'static str),
    /// The argument of HELO, EHLO or LHLO has more than 255 octets.
    #[error("The host name is too long")]
    HostTooLong,
    /// MAIL has a bad path.
    #[error("Bad sender address: {0}")]
    Sender(PathFault),
    /// RCPT has a bad path.
    #[error("Bad recipient address: {0}")]
    Recipient(PathFault),
    /// What follows the path is no list of parameters.
    #[error("Bad parameters: each is one space and KEYWORD or KEYWORD=value")]
    Parameters,
    /// A parameter that nobody knows. RFC 5321 section 4.1.1.11.
    #[error("Parameter {0} not recognized")]
    UnknownParameter(String),
    /// A parameter given twice.
    #[error("Parameter {0} given twice")]
    DuplicateParameter(&'static str),
    /// A parameter whose value is missing, unexpected or bad.
    #[error("Bad value of parameter {0}")]
    ParameterValue(&'static str),
    /// BDAT whose size can not be read.
    #[error("Syntax: BDAT size [LAST]")]
    Chunk,
    /// An initial response that is not base64.
    #[error("Bad base64")]
    Base64,
    /// XCLIENT with an attribute that nobody knows.
    #[error("Bad attribute of XCLIENT")]
    Attribute,
}

impl SyntaxError {
    /// The reply's code, the subject and detail of its enhanced status code (the class is the code's), and its text.
    #[must_use]
    pub fn reply(&self) -> (u16, (u16, u16), String) {
        let (code, enhanced) = match self {
            Self::Empty | Self::UnknownCommand => (500, (5, 2)),
            Self::NotImplemented => (502, (5, 1)),
            Self::NotUtf8 | Self::Control | Self::Base64 => (501, (5, 2)),
            Self::Usage(_)
            | Self::UnexpectedArgument(_)
            | Self::HostTooLong
            | Self::Parameters
            | Self::DuplicateParameter(_)
            | Self::ParameterValue(_)
            | Self::Chunk
            | Self::Attribute => (501, (5, 4)),
            Self::Sender(_) => (501, (1, 7)),
            Self::Recipient(_) => (501, (1, 3)),
            Self::UnknownParameter(_) => (555, (5, 4)),
        };
        (code, enhanced, self.to_string())
    }

    /// How much of what follows is content can not be known: answer, then close. Only a bad BDAT does that.
    #[must_use]
    pub const fn loses_step(&self) -> bool {
        matches!(self, Self::Chunk)
    }
}
