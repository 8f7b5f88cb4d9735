//! Writes MAIL and RCPT. RFC 5321 section 4.1.1, RFC 3461 section 4, RFC 6533 section 3.
//!
//! The only place that turns an embedder's address or parameter into octets of a command. What it writes is read back
//! by the very grammar that reads a peer's commands, and has to mean the same: so nothing that is given can forge a
//! command. It fails with [`Misuse::BadValue`], before anything is sent.

use alloc::{format, string::String};
use core::fmt::Write as _;

use super::offer::Offer;
use super::transaction::Transaction;
use crate::address::{ForwardPath, HostName, Mailbox};
use crate::command::{ByMode, DeliverBy, Notify, OriginalRecipient, Recipient, ReturnContent, Submitter};
use crate::reply;
use crate::step::Misuse;
use crate::syntax::path;
use crate::syntax::xtext::{self, is_control};

/// RFC 3461 section 4.4, encoded.
const ENVID: usize = 100;
/// RFC 3461 section 4.2, encoded.
const ORCPT: usize = 500;
/// AUTH=, encoded: a path in xtext. RFC 4954 section 5.
const AUTH: usize = 500;

/// What a transaction uses, by what was offered and what is needed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Uses {
    /// The value of BODY=.
    pub(super) body: Option<&'static str>,
    pub(super) smtputf8: bool,
    pub(super) prdr: bool,
}

/// All that the embedder gave can be said.
pub(super) fn check(transaction: &Transaction) -> Result<(), Misuse> {
    if let Some(sender) = &transaction.sender {
        mailbox(sender)?;
    }
    for recipient in &transaction.recipients {
        if let ForwardPath::Mailbox(path) = &recipient.path {
            mailbox(path)?;
        }
        if let Some(OriginalRecipient { address_type, address }) = &recipient.orcpt {
            let atom = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
            if address_type.is_empty() || !address_type.bytes().all(atom) || address_type.len() > 63 {
                return bad(format!("ORCPT has the type {}", quoted(address_type)));
            }
            shown("ORCPT", address)?;
        }
    }
    if let Some(envid) = &transaction.envid {
        shown("ENVID", envid)?;
        if !envid.is_ascii() || xtext::encode(envid).len() > ENVID {
            return bad(format!("ENVID is ASCII of at most {ENVID} octets, not {}", quoted(envid)));
        }
    }
    if let Some(Submitter::Mailbox(submitter)) = &transaction.auth {
        shown("AUTH", submitter)?;
        if xtext::encode(submitter).len() > AUTH {
            return bad(format!("AUTH is longer than {AUTH} octets"));
        }
    }
    match transaction.deliver_by {
        Some(DeliverBy { seconds, mode, .. })
            if seconds.unsigned_abs() > 999_999_999 || (mode == ByMode::Return && seconds <= 0) =>
        {
            return bad(format!("BY in {seconds} s"));
        }
        _ => {}
    }
    match transaction.priority {
        Some(priority) if !(-9..=9).contains(&priority) => bad(format!("the priority {priority}")),
        _ => Ok(()),
    }
}

fn bad<T>(why: String) -> Result<T, Misuse> {
    Err(Misuse::BadValue(why))
}

/// What was given, for a message. Not by `Debug`, whose tables are a part of what browsers fetch.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", reply::printable(text, true))
}

fn shown(name: &str, text: &str) -> Result<(), Misuse> {
    let fits = !text.is_empty() && !text.chars().any(is_control);
    if fits { Ok(()) } else { bad(format!("{name} is empty or has a control character: {}", quoted(text))) }
}

/// As it is written in a path, if that reads as the same mailbox again.
pub(crate) fn mailbox(mailbox: &Mailbox) -> Result<String, Misuse> {
    let text = written(mailbox);
    match path::reverse_path(&format!("<{text}>")) {
        Ok((Some(read), "")) if read == *mailbox => Ok(text),
        Ok(_) => bad(format!("the address {} would read as another one", quoted(&text))),
        Err(fault) => bad(format!("the address {}: {fault}", quoted(&text))),
    }
}

fn written(mailbox: &Mailbox) -> String {
    let local = &mailbox.local;
    let mut text = String::with_capacity(local.len() + 32);
    let is_dot_string =
        !local.is_empty() && path::mailbox(&format!("{local}@a")).is_ok_and(|read| read.local == *local);
    if is_dot_string && !local.starts_with('"') {
        text.push_str(local);
    } else {
        text.push('"');
        for character in local.chars() {
            if matches!(character, '"' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push('"');
    }
    text.push('@');
    match &mailbox.host {
        HostName::Domain(domain) => text.push_str(domain),
        HostName::Literal(literal) => {
            let _ = write!(text, "[{literal}]");
        }
    }
    text
}

/// `MAIL FROM:<…>` and its parameters, without CRLF.
pub(super) fn mail(transaction: &Transaction, offer: &Offer, uses: Uses) -> Result<String, Misuse> {
    let path = transaction.sender.as_ref().map(mailbox).transpose()?.unwrap_or_default();
    let mut line = format!("MAIL FROM:<{path}>");
    let mut put = |parameter: String| {
        line.push(' ');
        line.push_str(&parameter);
    };
    if offer.size {
        put(format!("SIZE={}", transaction.content.size));
    }
    if let Some(body) = uses.body {
        put(format!("BODY={body}"));
    }
    if uses.smtputf8 {
        put("SMTPUTF8".into());
    }
    if transaction.require_tls {
        put("REQUIRETLS".into());
    }
    if uses.prdr {
        put("PRDR".into());
    }
    if offer.dsn {
        match transaction.ret {
            Some(ReturnContent::Full) => put("RET=FULL".into()),
            Some(ReturnContent::Headers) => put("RET=HDRS".into()),
            None => {}
        }
        if let Some(envid) = &transaction.envid {
            put(format!("ENVID={}", xtext::encode(envid)));
        }
    }
    if !offer.mechanisms.is_empty() {
        match &transaction.auth {
            Some(Submitter::Unknown) => put("AUTH=<>".into()),
            Some(Submitter::Mailbox(mailbox)) => put(format!("AUTH={}", xtext::encode(mailbox))),
            None => {}
        }
    }
    if let Some(DeliverBy { seconds, mode, trace }) = transaction.deliver_by
        && offer.deliver_by
    {
        let mode = if mode == ByMode::Return { "R" } else { "N" };
        put(format!("BY={seconds};{mode}{}", if trace { "T" } else { "" }));
    }
    if let Some(priority) = transaction.priority
        && offer.priority
    {
        put(format!("MT-PRIORITY={priority}"));
    }
    Ok(line)
}

/// `RCPT TO:<…>` and its parameters, without CRLF. ORCPT is left out where its encoding would be too long; then the
/// second value is true.
pub(super) fn rcpt(recipient: &Recipient, offer: &Offer, utf8: bool) -> Result<(String, bool), Misuse> {
    let path = match &recipient.path {
        ForwardPath::Postmaster => "postmaster".into(),
        ForwardPath::Mailbox(path) => mailbox(path)?,
    };
    let mut line = format!("RCPT TO:<{path}>");
    let mut left_out = false;
    if offer.dsn {
        if let Some(Notify { success, failure, delay }) = recipient.notify {
            line.push_str(" NOTIFY=");
            let flags = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
            let mut any = false;
            for (_, flag) in flags.into_iter().filter(|(set, _)| *set) {
                if any {
                    line.push(',');
                }
                line.push_str(flag);
                any = true;
            }
            if !any {
                line.push_str("NEVER");
            }
        }
        if let Some(OriginalRecipient { address_type, address }) = &recipient.orcpt {
            let encoded = if address_type.eq_ignore_ascii_case("utf-8") {
                xtext::encode_utf8_address(address, utf8)
            } else {
                xtext::encode(address)
            };
            let value = format!("{address_type};{encoded}");
            left_out = value.len() > ORCPT;
            if !left_out {
                let _ = write!(line, " ORCPT={value}");
            }
        }
    }
    Ok((line, left_out))
}
