//! One command line. RFC 5321 section 4.1.1.
//!
//! A verb ends at the first space. Verbs and keywords are known in any case; white space at the end of a line is
//! tolerated (RFC 5321 section 4.1.1), anywhere else each space counts. A line is UTF-8 without control characters.

use alloc::{string::String, vec::Vec};
use core::str;

use super::{SyntaxError, base64, parameter, path, xtext};
use crate::command::{Command, Hello, HelloVerb, Recipient, Sender, XclientAttribute};
use crate::limits::Limits;

/// The argument of HELO, EHLO and LHLO. RFC 5321 section 4.5.3.1.2.
const HOST: usize = 255;
/// RFC 4422 section 3.1.
const MECHANISM: usize = 20;
/// What XCLIENT may tell.
const ATTRIBUTES: [&str; 8] = ["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"];

/// The bound of this line in octets with its CRLF: AUTH may carry an initial response (RFC 4954 section 4). A reader
/// that can not know the verb reads lines up to the larger of the two and asks here afterwards.
#[must_use]
pub fn limit(line: &[u8], limits: &Limits) -> usize {
    let auth = line.split_at_checked(5).is_some_and(|(verb, _)| verb.eq_ignore_ascii_case(b"AUTH "));
    if auth { limits.auth_line.max(limits.command_line) as usize } else { limits.command_line as usize }
}

/// The line begins with BDAT, whatever follows. Nothing can be wrong with such a line but its size and its LAST: a mistake
/// in it, of any kind, leaves open how many octets of content follow.
#[must_use]
pub(super) fn is_chunk(line: &[u8]) -> bool {
    line.split_at_checked(4).is_some_and(|(verb, rest)| {
        verb.eq_ignore_ascii_case(b"BDAT") && !rest.first().is_some_and(u8::is_ascii_alphanumeric)
    })
}

/// Parses a line without its CRLF.
pub fn parse(line: &[u8]) -> Result<Command, SyntaxError> {
    parse_any(line).map_err(|error| if is_chunk(line) { SyntaxError::Chunk } else { error })
}

fn parse_any(line: &[u8]) -> Result<Command, SyntaxError> {
    let end = line.iter().rposition(|octet| !matches!(octet, b' ' | b'\t')).map_or(0, |last| last + 1);
    let line = &line[..end];
    let (verb, argument) = match line.iter().position(|&octet| octet == b' ') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, &line[end..]),
    };
    let known = Verb::named(verb)?;
    let argument = str::from_utf8(argument).map_err(|_| SyntaxError::NotUtf8)?;
    if argument.chars().any(xtext::is_control) {
        return Err(SyntaxError::Control);
    }
    match known {
        Verb::Hello(verb) => hello(verb, argument),
        Verb::Mail => mail(argument),
        Verb::Rcpt => rcpt(argument),
        Verb::Data => alone(argument, "DATA", Command::Data),
        Verb::Bdat => bdat(argument),
        Verb::Rset => alone(argument, "RSET", Command::Rset),
        Verb::Noop => Ok(Command::Noop),
        Verb::Vrfy => vrfy(argument),
        Verb::Expn => Ok(Command::Expn),
        Verb::Help => Ok(Command::Help),
        Verb::Quit => alone(argument, "QUIT", Command::Quit),
        Verb::StartTls => alone(argument, "STARTTLS", Command::StartTls),
        Verb::Auth => auth(argument),
        Verb::Xclient => xclient(argument),
        Verb::Other => Err(SyntaxError::NotImplemented),
    }
}

/// What stands before the first space.
enum Verb {
    Hello(HelloVerb),
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Noop,
    Vrfy,
    Expn,
    Help,
    Quit,
    StartTls,
    Auth,
    Xclient,
    /// SEND, SOML, SAML and TURN of RFC 821, ETRN of RFC 1985, ATRN of RFC 2645.
    Other,
}

impl Verb {
    fn named(verb: &[u8]) -> Result<Self, SyntaxError> {
        // On the stack: this is done for every command.
        let mut capitals = [0; 8];
        let verb = match capitals.get_mut(..verb.len()) {
            Some(capitals) => {
                capitals.copy_from_slice(verb);
                capitals.make_ascii_uppercase();
                &*capitals
            }
            None => verb,
        };
        Ok(match verb {
            b"HELO" => Self::Hello(HelloVerb::Helo),
            b"EHLO" => Self::Hello(HelloVerb::Ehlo),
            b"LHLO" => Self::Hello(HelloVerb::Lhlo),
            b"MAIL" => Self::Mail,
            b"RCPT" => Self::Rcpt,
            b"DATA" => Self::Data,
            b"BDAT" => Self::Bdat,
            b"RSET" => Self::Rset,
            b"NOOP" => Self::Noop,
            b"VRFY" => Self::Vrfy,
            b"EXPN" => Self::Expn,
            b"HELP" => Self::Help,
            b"QUIT" => Self::Quit,
            b"STARTTLS" => Self::StartTls,
            b"AUTH" => Self::Auth,
            b"XCLIENT" => Self::Xclient,
            b"SEND" | b"SOML" | b"SAML" | b"TURN" | b"ETRN" | b"ATRN" => Self::Other,
            b"" => return Err(SyntaxError::Empty),
            _ => return Err(SyntaxError::UnknownCommand),
        })
    }
}

/// `VERB CRLF`.
fn alone(argument: &str, verb: &'static str, command: Command) -> Result<Command, SyntaxError> {
    if argument.is_empty() { Ok(command) } else { Err(SyntaxError::UnexpectedArgument(verb)) }
}

/// `( "HELO" / "EHLO" / "LHLO" ) SP ( Domain / address-literal )`. RFC 5321 section 4.1.1.1, RFC 2033 section 4.1. Any
/// other argument is kept as it is, for the server to tolerate or to refuse. U-labels have no place here (RFC 6531
/// section 3.7.1).
fn hello(verb: HelloVerb, argument: &str) -> Result<Command, SyntaxError> {
    if argument.is_empty() {
        return Err(SyntaxError::Usage(match verb {
            HelloVerb::Helo => "HELO hostname",
            HelloVerb::Ehlo => "EHLO hostname",
            HelloVerb::Lhlo => "LHLO hostname",
        }));
    }
    if argument.len() > HOST {
        return Err(SyntaxError::HostTooLong);
    }
    let host = if argument.is_ascii() { path::host(argument).ok() } else { None };
    let raw = argument.chars().map(|character| if character.is_ascii() { character } else { '?' }).collect();
    Ok(Command::Hello(Hello { verb, host, raw }))
}

/// What follows a keyword that is known in any case.
fn strip_keyword<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    text.split_at_checked(keyword.len()).filter(|(start, _)| start.eq_ignore_ascii_case(keyword)).map(|(_, rest)| rest)
}

/// `"MAIL FROM:" Reverse-path [ SP Mail-parameters ]`. RFC 5321 section 4.1.1.2.
fn mail(argument: &str) -> Result<Command, SyntaxError> {
    let rest = strip_keyword(argument, "FROM:").ok_or(SyntaxError::Usage("MAIL FROM:<address>"))?;
    let (mailbox, rest) = path::reverse_path(rest).map_err(SyntaxError::Sender)?;
    Ok(Command::Mail(Sender { mailbox, parameters: parameter::mail(rest)? }))
}

/// `"RCPT TO:" Forward-path [ SP Rcpt-parameters ]`. RFC 5321 section 4.1.1.3.
fn rcpt(argument: &str) -> Result<Command, SyntaxError> {
    let rest = strip_keyword(argument, "TO:").ok_or(SyntaxError::Usage("RCPT TO:<address>"))?;
    let (path, rest) = path::forward_path(rest).map_err(SyntaxError::Recipient)?;
    let (notify, orcpt) = parameter::rcpt(rest)?;
    Ok(Command::Rcpt(Recipient { path, notify, orcpt }))
}

/// `"BDAT" SP 1*DIGIT [ SP "LAST" ]`. RFC 3030 section 2. A size beyond `u64` is as good as endless.
fn bdat(argument: &str) -> Result<Command, SyntaxError> {
    let (digits, last) = match argument.split_once(' ') {
        Some((digits, word)) if word.eq_ignore_ascii_case("LAST") => (digits, true),
        Some(_) => return Err(SyntaxError::Chunk),
        None => (argument, false),
    };
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err(SyntaxError::Chunk);
    }
    Ok(Command::Bdat { size: digits.parse().unwrap_or(u64::MAX), last })
}

/// `"VRFY" SP String [ SP "SMTPUTF8" ]`. RFC 5321 section 4.1.1.6, RFC 6531 section 3.7.4.2. What is one quoted string
/// is unquoted, anything else is taken as it is.
fn vrfy(argument: &str) -> Result<Command, SyntaxError> {
    const SMTPUTF8: &str = " SMTPUTF8";
    let cut = argument.len().saturating_sub(SMTPUTF8.len());
    let name = match argument.split_at_checked(cut) {
        Some((name, end)) if end.eq_ignore_ascii_case(SMTPUTF8) => name,
        _ => argument,
    };
    if name.is_empty() {
        return Err(SyntaxError::Usage("VRFY name"));
    }
    Ok(Command::Vrfy(path::string(name)))
}

/// `"AUTH" SP mechanism [ SP initial-response ]`. RFC 4954 section 4.
///
/// `initial-response = base64 / "="`, the latter being the empty one.
fn auth(argument: &str) -> Result<Command, SyntaxError> {
    let (mechanism, initial) = match argument.split_once(' ') {
        Some((mechanism, initial)) => (mechanism, Some(initial)),
        None => (argument, None),
    };
    let fits = (1..=MECHANISM).contains(&mechanism.len())
        && mechanism.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'));
    if !fits {
        return Err(SyntaxError::Usage("AUTH mechanism [initial-response]"));
    }
    let initial = match initial {
        None => None,
        Some("=") => Some(Vec::new()),
        Some("") => return Err(SyntaxError::Base64),
        Some(text) => Some(base64::decode(text.as_bytes()).ok_or(SyntaxError::Base64)?),
    };
    Ok(Command::Auth { mechanism: mechanism.to_ascii_uppercase(), initial })
}

/// `"XCLIENT" 1*( SP attribute "=" xtext )`, as Postfix speaks it; each attribute at most once. `[UNAVAILABLE]` and
/// `[TEMPUNAVAIL]` are no values.
fn xclient(argument: &str) -> Result<Command, SyntaxError> {
    if argument.is_empty() {
        return Err(SyntaxError::Usage("XCLIENT attribute=value"));
    }
    let mut attributes: Vec<XclientAttribute> = Vec::new();
    for text in argument.split(' ') {
        let (name, value) = text.split_once('=').ok_or(SyntaxError::Usage("XCLIENT attribute=value"))?;
        let name =
            ATTRIBUTES.into_iter().find(|known| name.eq_ignore_ascii_case(known)).ok_or(SyntaxError::Attribute)?;
        if attributes.iter().any(|attribute| attribute.name == name) {
            return Err(SyntaxError::DuplicateParameter(name));
        }
        let unavailable = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"].iter().any(|word| value.eq_ignore_ascii_case(word));
        let value = match value {
            _ if unavailable => None,
            "" => return Err(SyntaxError::ParameterValue(name)),
            _ => Some(xtext::decode(value).map_err(|_| SyntaxError::ParameterValue(name))?),
        };
        attributes.push(XclientAttribute { name: String::from(name), value });
    }
    Ok(Command::Xclient(attributes))
}

#[cfg(test)]
mod tests;
