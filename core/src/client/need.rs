//! What a transaction needs of its peer, and what it uses of what is offered. RFC 6152, RFC 3030, RFC 6531 section 3.4, RFC
//! 1870 section 6, RFC 8689, RFC 2852.
//!
//! Decided before anything is sent, from the facts and the addresses alone.

use alloc::string::String;

use super::framing::LINE;
use super::line::Uses;
use super::offer::Offer;
use super::step::Cause;
use super::transaction::{ContentFacts, Transaction};
use super::{Options, Protocol};
use crate::address::{ForwardPath, HostName, Mailbox};
use crate::command::ByMode;

/// The value of BODY= that only BDAT carries.
pub(super) const BINARY: &str = "BINARYMIME";

/// There is something that is no line of at most 998 octets.
fn is_binary(facts: &ContentFacts) -> bool {
    facts.bare_line_ends || facts.longest_line > LINE
}

fn binary_offered(offer: &Offer, options: &Options) -> bool {
    offer.binary_mime && offer.chunking && options.chunking
}

/// What the commands will say, if there is no [`hindrance`].
pub(super) fn uses(transaction: &Transaction, offer: &Offer, options: &Options) -> Uses {
    let facts = &transaction.content;
    let eight_bit = facts.eight_bit || facts.utf8_header;
    let body = match () {
        () if is_binary(facts) => Some(BINARY),
        () if eight_bit && offer.eight_bit_mime => Some("8BITMIME"),
        () if eight_bit => Some(BINARY),
        () => None,
    };
    let utf8_sender = transaction.sender.as_ref().is_some_and(|sender| !sender.is_ascii());
    let utf8_recipient = transaction.recipients.iter().any(|recipient| !recipient.path.is_ascii());
    Uses {
        body,
        smtputf8: offer.smtputf8 && (facts.utf8_header || utf8_sender || utf8_recipient),
        prdr: offer.prdr && options.prdr && options.protocol == Protocol::Smtp && transaction.recipients.len() > 1,
    }
}

/// Why this peer cannot have it at all.
pub(super) fn hindrance(transaction: &Transaction, offer: &Offer, options: &Options, tls: bool) -> Option<Cause> {
    let facts = &transaction.content;
    let utf8_sender = transaction.sender.as_ref().is_some_and(|sender| !sender.is_ascii());
    if transaction.require_tls && !(tls && offer.require_tls) {
        return Some(Cause::RequireTls);
    }
    if offer.size_limit.is_some_and(|limit| facts.size > limit) {
        return Some(Cause::TooLarge);
    }
    if utf8_sender && !offer.smtputf8 {
        return Some(Cause::Utf8Address);
    }
    if facts.utf8_header && !offer.smtputf8 {
        return Some(Cause::Utf8Header);
    }
    if is_binary(facts) && !binary_offered(offer, options) {
        return Some(Cause::NotLines);
    }
    let eight_bit = facts.eight_bit || facts.utf8_header;
    if eight_bit && !offer.eight_bit_mime && !binary_offered(offer, options) {
        return Some(Cause::EightBit);
    }
    let strict_time = transaction.deliver_by.is_some_and(|by| by.mode == ByMode::Return);
    (strict_time && !offer.deliver_by).then_some(Cause::DeliverBy)
}

/// In small letters, for counting; the same for every `postmaster` without one.
pub(super) fn domain(path: &ForwardPath) -> String {
    match path {
        ForwardPath::Postmaster => String::new(),
        ForwardPath::Mailbox(Mailbox { host: HostName::Domain(name) | HostName::Literal(name), .. }) => {
            name.to_ascii_lowercase()
        }
    }
}
