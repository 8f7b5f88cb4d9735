//! The fields for programs: `message/delivery-status` (RFC 3464 section 2) and its form for UTF-8 (RFC 6533 section 3).
//!
//! Owns their grammar. Refuses to know MIME. Never fails: what a field can not hold becomes a question mark or a space.

use std::fmt::Write as _;

use super::{Action, Notice, Told, date};
use crate::{
    config::domain,
    store::{Address, Hold},
};

/// Octets of a line, without its end, where it can be helped (RFC 5322 section 2.1.1).
const LINE: usize = 78;
/// Octets of a field's words.
const WORDS: usize = 900;

/// The fields about the message.
pub(super) fn message(notice: &Notice<'_>, line: &mut impl FnMut(&str)) {
    let envelope = notice.envelope;
    if let Some(envid) = &envelope.envid {
        // RFC 3464 section 2.2.1: as it was before it was encoded for ENVID.
        line(&format!("Original-Envelope-Id: {}", words(envid, false)));
    }
    line(&format!("Reporting-MTA: dns; {}", notice.host));
    if let Some(hello) = envelope.hello.as_deref().filter(|hello| is_name(hello)) {
        // RFC 3464 section 2.2.4: the name that it gave itself, and where it was, as a comment.
        let address = envelope.client.map(|client| format!(" ([{client}])")).unwrap_or_default();
        line(&format!("Received-From-MTA: dns; {hello}{address}"));
    }
    line(&format!("Arrival-Date: {}", date(envelope.received_at)));
    // RFC 2852 section 5.
    if let Some(deadline) = envelope.deadline() {
        line(&format!("Deliver-By-Date: {}", date(deadline)));
    }
    // RFC 4865 section 5.
    match envelope.wishes.hold {
        None => {}
        Some(Hold::For(seconds)) => line(&format!("Future-Release-Request: for; {seconds}")),
        Some(Hold::Until(time)) => {
            let time = i64::try_from(time).ok().and_then(|time| jiff::Timestamp::from_second(time).ok());
            line(&format!("Future-Release-Request: until; {}", time.unwrap_or(jiff::Timestamp::MAX)));
        }
    }
}

/// The fields about a recipient.
pub(super) fn recipient(told: &Told<'_>, utf8: bool, line: &mut impl FnMut(&str)) {
    if let Some((kind, address)) = &told.recipient.orcpt {
        // RFC 3461 section 4.2: types are atoms.
        let kind = kind.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "-");
        line(&format!("Original-Recipient: {kind};{}", xtext(address, utf8)));
    }
    let address = plain(&told.recipient.recipient, utf8);
    let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
    line(&format!("Final-Recipient: {kind};{}", xtext(&address, utf8)));
    line(&format!("Action: {}", told.action.as_str()));
    line(&format!("Status: {}", status(told.action, told.status)));
    if let Some(remote) = told.remote.filter(|remote| is_name(remote.host)) {
        line(&format!("Remote-MTA: dns; {}", remote.host));
    }
    // RFC 3464 section 2.3.6: what the other server said, and nothing else; or the same in our own words.
    let said =
        told.remote.and_then(|remote| remote.reply).map(|reply| words(reply, utf8)).filter(|reply| is_reply(reply));
    let silent = matches!(told.action, Action::Delivered | Action::Expanded);
    let own = || Some(words(told.reason, utf8)).filter(|reason| !silent && !reason.is_empty());
    if let Some(reply) = said {
        wrapped("", &format!("Diagnostic-Code: smtp; {reply}"), line);
    } else if let Some(reason) = own() {
        wrapped("", &format!("Diagnostic-Code: x-hermetic; {reason}"), line);
    }
    if let Some(attempt) = told.attempt {
        line(&format!("Last-Attempt-Date: {}", date(attempt)));
    }
    // For an operator: `hermetic why`.
    line(&format!("Final-Log-ID: {}", told.entry));
    if let Action::Delayed(until) = told.action {
        line(&format!("Will-Retry-Until: {}", date(until)));
    }
}

/// An address that is ASCII but for its domain needs no other form where only ASCII may be.
fn plain(address: &Address, utf8: bool) -> String {
    if !utf8
        && address.local.is_ascii()
        && !address.domain.is_ascii()
        && let Some(domain) = domain::canonical(&address.domain)
    {
        return Address { local: address.local.clone(), domain: domain.into_owned() }.to_string();
    }
    address.to_string()
}

/// A reply begins with its code (RFC 5321 section 4.2).
fn is_reply(text: &str) -> bool {
    let (code, rest) = text.split_at_checked(3).unwrap_or((text, ""));
    code.len() == 3 && code.bytes().all(|octet| octet.is_ascii_digit()) && (rest.is_empty() || rest.starts_with(' '))
}

/// RFC 3463 section 2, of the class that the action has (RFC 3464 section 2.3.4).
fn status(action: Action, given: &str) -> String {
    let class = match action {
        Action::Failed => '5',
        Action::Delayed(_) => '4',
        Action::Delivered | Action::Relayed | Action::Expanded => '2',
    };
    let number = |part: &str| !part.is_empty() && part.len() <= 3 && part.bytes().all(|octet| octet.is_ascii_digit());
    match given.split('.').collect::<Vec<_>>()[..] {
        [_, subject, detail] if number(subject) && number(detail) => format!("{class}.{subject}.{detail}"),
        _ => format!("{class}.0.0"),
    }
}

/// A host's name, or a literal.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-_:[]".contains(&octet))
}

/// An address for people and for `To`: its domain with U-labels or A-labels, as it came, so that people know it again.
pub(super) fn shown(address: &Address, utf8: bool) -> String {
    words(&plain(address, utf8), utf8)
}

/// An address: RFC 6533 section 3 writes what is not ASCII, where only ASCII may be, as `\x{E4}`. One that is longer than any
/// real one is cut, for a line is what it has.
fn xtext(address: &str, utf8: bool) -> String {
    let international = !address.is_ascii() && !utf8;
    let mut out = String::with_capacity(address.len());
    for c in address.chars() {
        if out.len() > WORDS {
            break;
        }
        match c {
            c if c.is_control() => out.push('?'),
            // In that form these four are written so too.
            c if international && (!c.is_ascii() || matches!(c, '\\' | '+' | '=' | ' ')) => {
                let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Words on one line: white space and controls become one space; without `utf8` what is not ASCII a question mark.
pub(super) fn words(text: &str, utf8: bool) -> String {
    let mut out = String::with_capacity(text.len().min(WORDS));
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().map(|c| if c.is_ascii() || utf8 { c } else { '?' }));
        if out.len() > WORDS {
            let end = (0..=WORDS).rev().find(|end| out.is_char_boundary(*end)).unwrap_or(0);
            out.truncate(end);
            break;
        }
    }
    out
}

/// Broken at spaces; what follows the first line begins with a space more than `indent`, which folds a field.
pub(super) fn wrapped(indent: &str, text: &str, line: &mut impl FnMut(&str)) {
    let mut current = indent.to_owned();
    let mut empty = true;
    for word in text.split(' ') {
        if !empty && current.len() + 1 + word.len() > LINE {
            line(&current);
            current = format!("{indent} {word}");
            continue;
        }
        if !empty {
            current.push(' ');
        }
        current.push_str(word);
        empty = false;
    }
    line(&current);
}
