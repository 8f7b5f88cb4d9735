//! Mailboxes, paths and hosts. RFC 5321 sections 4.1.2 and 4.1.3, RFC 6531 section 3.3.
//!
//! No leniency: a path stands in angle brackets directly after the colon, and folding white space and comments do not
//! exist. The local part comes out unquoted, a source route is checked and dropped. Whether UTF-8 is allowed in this
//! transaction is not known here; [`Mailbox::is_ascii`] tells whether it is needed. What is no control character and
//! no ASCII is taken as a letter of a U-label; whether IDNA allows it is the embedder's to judge.

use alloc::{format, string::String};
use core::net::{Ipv4Addr, Ipv6Addr};

use super::{PathFault, xtext::is_control};
use crate::address::{ForwardPath, HostName, Mailbox};

/// RFC 5321 section 4.5.3.1.1, as written, with its quotes.
const LOCAL_PART: usize = 64;
/// RFC 5321 section 4.5.3.1.2.
const DOMAIN: usize = 255;
/// RFC 5321 section 4.5.3.1.3, with the brackets.
const PATH: usize = 256;
/// RFC 1035 section 2.3.4.
const LABEL: usize = 63;
/// A U-label's characters: each needs at least one octet of the A-label behind its `xn--`.
const U_LABEL: usize = LABEL - 4;

/// `Reverse-path = Path / "<>"`. Gives what follows the bracket, too.
pub fn reverse_path(text: &str) -> Result<(Option<Mailbox>, &str), PathFault> {
    if let Some(rest) = text.strip_prefix("<>") {
        return after_path(None, rest);
    }
    let (mailbox, rest) = path(text)?;
    after_path(Some(mailbox), rest)
}

/// `Forward-path = Path`, and `"<Postmaster>"` in any case. RFC 5321 section 4.1.1.3. Gives what follows the bracket,
/// too.
pub fn forward_path(text: &str) -> Result<(ForwardPath, &str), PathFault> {
    const POSTMASTER: &str = "<postmaster>";
    if text.starts_with("<>") {
        return Err(PathFault::Null);
    }
    if let Some((start, rest)) = text.split_at_checked(POSTMASTER.len())
        && start.eq_ignore_ascii_case(POSTMASTER)
    {
        return after_path(ForwardPath::Postmaster, rest);
    }
    let (mailbox, rest) = path(text)?;
    after_path(ForwardPath::Mailbox(mailbox), rest)
}

/// Parameters, if any, stand behind a space.
fn after_path<T>(path: T, rest: &str) -> Result<(T, &str), PathFault> {
    if rest.is_empty() || rest.starts_with(' ') { Ok((path, rest)) } else { Err(PathFault::Trailing) }
}

/// ```text
/// Path      = "<" [ A-d-l ":" ] Mailbox ">"
/// A-d-l     = At-domain *( "," At-domain )
/// At-domain = "@" Domain
/// ```
fn path(text: &str) -> Result<(Mailbox, &str), PathFault> {
    let inner = text.strip_prefix('<').ok_or(PathFault::Brackets)?;
    let (mailbox, rest) = mailbox_prefix(source_route(inner)?)?;
    let rest = rest.strip_prefix('>').ok_or(PathFault::Trailing)?;
    if text.len() - rest.len() > PATH {
        return Err(PathFault::PathTooLong);
    }
    Ok((mailbox, rest))
}

/// Drops `[ A-d-l ":" ]`.
fn source_route(mut text: &str) -> Result<&str, PathFault> {
    if !text.starts_with('@') {
        return Ok(text);
    }
    loop {
        text = text.strip_prefix('@').ok_or(PathFault::Route)?;
        let (at_domain, rest) = text.split_at(text.find([',', ':']).ok_or(PathFault::Route)?);
        domain(at_domain).map_err(|_| PathFault::Route)?;
        if let Some(rest) = rest.strip_prefix(':') {
            return Ok(rest);
        }
        text = rest.strip_prefix(',').ok_or(PathFault::Route)?;
    }
}

/// A mailbox and nothing else.
pub fn mailbox(text: &str) -> Result<Mailbox, PathFault> {
    match mailbox_prefix(text)? {
        (mailbox, "") => Ok(mailbox),
        _ => Err(PathFault::Trailing),
    }
}

/// `Mailbox = Local-part "@" ( Domain / address-literal )`, up to `>` or the end.
fn mailbox_prefix(text: &str) -> Result<(Mailbox, &str), PathFault> {
    let (local, rest) = local_part(text)?;
    if text.len() - rest.len() > LOCAL_PART {
        return Err(PathFault::LocalPartTooLong);
    }
    let rest = rest.strip_prefix('@').ok_or(match rest.chars().next() {
        None | Some('>') => PathFault::NoDomain,
        _ => PathFault::LocalPart,
    })?;
    // A literal may hold '>', a domain may not.
    let end = match rest.strip_prefix('[') {
        Some(literal) => literal.find(']').ok_or(PathFault::Literal)? + 2,
        None => rest.find('>').unwrap_or(rest.len()),
    };
    let (name, rest) = rest.split_at(end);
    Ok((Mailbox { local, host: host(name)? }, rest))
}

/// `Local-part = Dot-string / Quoted-string`, unquoted.
fn local_part(text: &str) -> Result<(String, &str), PathFault> {
    match text.strip_prefix('"') {
        Some(text) => quoted_string(text),
        None => dot_string(text),
    }
}

/// ```text
/// Dot-string = Atom *( "." Atom )
/// Atom       = 1*atext
/// atext      = ALPHA / DIGIT / one of !#$%&'*+-/=?^_`{|}~ / UTF8-non-ascii
/// ```
fn dot_string(text: &str) -> Result<(String, &str), PathFault> {
    let end = text.find(|character| !(character == '.' || is_atext(character))).unwrap_or(text.len());
    let (local, rest) = text.split_at(end);
    if local.split('.').any(str::is_empty) {
        return Err(PathFault::LocalPart);
    }
    Ok((local.into(), rest))
}

fn is_atext(character: char) -> bool {
    match character {
        '\0'..='\x7f' => character.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(character),
        _ => !is_control(character),
    }
}

/// Behind the first quote:
///
/// ```text
/// Quoted-string   = DQUOTE *( qtextSMTP / quoted-pairSMTP ) DQUOTE
/// qtextSMTP       = %x20-21 / %x23-5B / %x5D-7E / UTF8-non-ascii
/// quoted-pairSMTP = "\" %x20-7E
/// ```
fn quoted_string(text: &str) -> Result<(String, &str), PathFault> {
    let mut local = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next().ok_or(PathFault::LocalPart)? {
            '"' => return Ok((local, characters.as_str())),
            '\\' => match characters.next() {
                Some(quoted @ ' '..='~') => local.push(quoted),
                _ => return Err(PathFault::LocalPart),
            },
            character if is_control(character) => return Err(PathFault::LocalPart),
            character => local.push(character),
        }
    }
}

/// `Domain / address-literal`, and nothing else.
pub fn host(text: &str) -> Result<HostName, PathFault> {
    match text.strip_prefix('[') {
        Some(literal) => {
            let content = literal.strip_suffix(']').ok_or(PathFault::Literal)?;
            address_literal(content).map(HostName::Literal)
        }
        None => domain(text).map(|()| HostName::Domain(text.into())),
    }
}

/// ```text
/// Domain     = sub-domain *( "." sub-domain )
/// sub-domain = Let-dig [ Ldh-str ] / U-label
/// ```
fn domain(text: &str) -> Result<(), PathFault> {
    if text.len() > DOMAIN {
        return Err(PathFault::DomainTooLong);
    }
    if text.split('.').all(is_sub_domain) { Ok(()) } else { Err(PathFault::Domain) }
}

fn is_sub_domain(label: &str) -> bool {
    let fits = if label.is_ascii() { label.len() <= LABEL } else { label.chars().count() <= U_LABEL };
    fits && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.chars().all(is_label_char)
}

fn is_label_char(character: char) -> bool {
    match character {
        '\0'..='\x7f' => character.is_ascii_alphanumeric() || character == '-',
        // What IDNA mappings take for a dot would make other labels of it.
        '\u{3002}' | '\u{ff0e}' | '\u{ff61}' => false,
        _ => !is_control(character) && !character.is_whitespace(),
    }
}

/// Between the brackets, in canonical form:
///
/// ```text
/// address-literal         = IPv4-address-literal / "IPv6:" IPv6-addr / General-address-literal
/// General-address-literal = Standardized-tag ":" 1*dcontent
/// Standardized-tag        = Ldh-str
/// dcontent                = %x21-5A / %x5E-7E      ; printable but "[", "\" and "]"
/// ```
fn address_literal(text: &str) -> Result<String, PathFault> {
    let Some((tag, content)) = text.split_once(':') else {
        return text.parse().map(|address: Ipv4Addr| format!("{address}")).map_err(|_| PathFault::Literal);
    };
    if tag.eq_ignore_ascii_case("IPv6") {
        let address: Ipv6Addr = content.parse().map_err(|_| PathFault::Literal)?;
        return if elides_enough(content) { Ok(format!("IPv6:{address}")) } else { Err(PathFault::Literal) };
    }
    let tag_fits =
        !tag.is_empty() && !tag.ends_with('-') && tag.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    let content_fits = !content.is_empty() && content.bytes().all(|c| matches!(c, 0x21..=0x5a | 0x5e..=0x7e));
    if tag_fits && content_fits && text.len() <= DOMAIN { Ok(text.into()) } else { Err(PathFault::Literal) }
}

/// `::` stands for at least two groups: in addition to it there are at most six, of which an IPv4 address is two. RFC
/// 5321 section 4.1.3.
fn elides_enough(address: &str) -> bool {
    let Some((before, after)) = address.split_once("::") else { return true };
    let groups = |part: &str| {
        part.split(':')
            .map(|group| if group.is_empty() { 0 } else { 1 + usize::from(group.contains('.')) })
            .sum::<usize>()
    };
    groups(before) + groups(after) <= 6
}

/// `String = Atom / Quoted-string`, unquoted. What is no quoted string as a whole is taken as it is.
#[must_use]
pub fn string(text: &str) -> String {
    match text.strip_prefix('"').map(quoted_string) {
        Some(Ok((unquoted, ""))) => unquoted,
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests;
