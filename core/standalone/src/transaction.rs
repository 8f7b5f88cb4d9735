//! One message: who sent it to whom, and the fields that say so above its content.
//!
//! Owns the text of paths and of trace fields (RFC 5321 section 4.4). Refuses to know where the message goes. Nothing here fails:
//! what the core hands out is parsed, and is written so that it reads back as the same.

use std::fmt::Write as _;
use std::net::IpAddr;

use hermetic_core::address::{ForwardPath, HostName, Mailbox};
use hermetic_core::command::{Hello, HelloVerb, Sender};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;

use wasip3::clocks::system_clock;

/// So many recipients are named in a line.
const LISTED: usize = 10;

/// What is known of the message at hand.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) sender: Option<Sender>,
    /// Those that were accepted, in order.
    pub(crate) recipients: Vec<ForwardPath>,
}

impl Transaction {
    /// `Return-Path`, `Delivered-To` for each recipient, and `Received`.
    pub(crate) fn header(&self, server: &str, client: IpAddr, hello: Option<&Hello>, date: &str) -> String {
        let mut header = format!("Return-Path: {}\r\n", self.reverse_path());
        for path in &self.recipients {
            let _ = write!(header, "Delivered-To: {}\r\n", unbracketed(path));
        }
        let literal = match client {
            IpAddr::V4(v4) => format!("[{v4}]"),
            IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
        };
        let said = hello.and_then(|hello| hello.host.as_ref()).map(host);
        let from = said.map_or_else(|| literal.clone(), |said| format!("{said} ({literal})"));
        let utf8 = self.sender.as_ref().is_some_and(|sender| sender.parameters.smtputf8);
        let with = match hello.map(|hello| hello.verb) {
            Some(HelloVerb::Ehlo) if utf8 => "UTF8SMTP",
            Some(HelloVerb::Ehlo) => "ESMTP",
            _ => "SMTP",
        };
        let _ = write!(header, "Received: from {from}\r\n\tby {server} with {with};\r\n\t{date}\r\n");
        header
    }

    /// For a line on standard output.
    pub(crate) fn told(&self) -> String {
        let mut line = format!("from={} to=", shown(&self.reverse_path()));
        for (number, path) in self.recipients.iter().take(LISTED).enumerate() {
            let comma = if number > 0 { "," } else { "" };
            let _ = write!(line, "{comma}<{}>", shown(&unbracketed(path)));
        }
        if self.recipients.len() > LISTED {
            let _ = write!(line, " and {} more", self.recipients.len() - LISTED);
        }
        line
    }

    fn reverse_path(&self) -> String {
        match self.sender.as_ref().and_then(|sender| sender.mailbox.as_ref()) {
            Some(sender) => format!("<{}>", mailbox(sender)),
            None => "<>".into(),
        }
    }
}

/// The time as RFC 5322 has it.
pub(crate) fn date() -> String {
    let now = system_clock::now();
    let nanoseconds = i32::try_from(now.nanoseconds).unwrap_or(0);
    let time = Timestamp::new(now.seconds, nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH);
    // As a time of a zone: one that is only UTC would be written with -0000, "unknown".
    DateTimePrinter::new().zoned_datetime_to_string(&time.to_zoned_datetime(TimeZone::UTC)).unwrap_or_default()
}

fn unbracketed(path: &ForwardPath) -> String {
    match path {
        ForwardPath::Postmaster => "postmaster".into(),
        ForwardPath::Mailbox(path) => mailbox(path),
    }
}

/// A local part that is no Dot-string is quoted. RFC 5321 section 4.1.2, RFC 6531 section 3.3.
fn mailbox(mailbox: &Mailbox) -> String {
    let atext = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii();
    let plain = mailbox.local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atext));
    let mut text = String::with_capacity(mailbox.local.len() + 2);
    if plain {
        text.push_str(&mailbox.local);
    } else {
        text.push('"');
        for c in mailbox.local.chars() {
            if matches!(c, '"' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('"');
    }
    text.push('@');
    text.push_str(&host(&mailbox.host));
    text
}

fn host(host: &HostName) -> String {
    match host {
        HostName::Domain(name) => name.clone(),
        HostName::Literal(literal) => format!("[{literal}]"),
    }
}

/// Nothing that moves the cursor or turns the text around.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use hermetic_core::command::MailParameters;

    fn at(local: &str, host: &str) -> Mailbox {
        Mailbox { local: local.into(), host: HostName::Domain(host.into()) }
    }

    #[test]
    fn paths_read_back_as_the_same() {
        let check = |local: &str, expected: &str| assert_eq!(mailbox(&at(local, "b.test")), expected);
        check("a.b+c", "a.b+c@b.test");
        check("", "\"\"@b.test");
        check("a b", "\"a b\"@b.test");
        check(".a", "\".a\"@b.test");
        check("a\"\\@", "\"a\\\"\\\\@\"@b.test");
        check("grüße", "grüße@b.test");
    }

    #[test]
    fn a_line_has_nothing_that_moves_the_cursor() {
        assert_eq!(shown("a\u{202e}b \"c\"\u{2028}"), "a\\u{202e}b \"c\"\\u{2028}");
    }

    #[test]
    fn the_header_says_where_the_message_came_from() {
        let sender = Sender { mailbox: Some(at("a", "a.test")), parameters: MailParameters::default() };
        let path = |local| ForwardPath::Mailbox(at(local, "b.test"));
        let transaction =
            Transaction { sender: Some(sender), recipients: vec![path("b"), ForwardPath::Postmaster, path("c d")] };
        let hello = |verb, host: Option<&str>| Hello {
            verb,
            host: host.map(|host| HostName::Domain(host.into())),
            raw: "x (".into(),
        };
        let client = IpAddr::from([192, 0, 2, 1]);
        let header = transaction.header("mx.test", client, Some(&hello(HelloVerb::Ehlo, Some("a.test"))), "DATE");
        let above = "Return-Path: <a@a.test>\r\nDelivered-To: b@b.test\r\nDelivered-To: postmaster\r\n\
                     Delivered-To: \"c d\"@b.test\r\n";
        let expected = "Received: from a.test ([192.0.2.1])\r\n\tby mx.test with ESMTP;\r\n\tDATE\r\n";
        assert_eq!(header, format!("{above}{expected}"));
        let client = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        let header = transaction.header("mx.test", client, Some(&hello(HelloVerb::Helo, None)), "DATE");
        let expected = "Received: from [IPv6:2001:db8::1]\r\n\tby mx.test with SMTP;\r\n\tDATE\r\n";
        assert_eq!(header, format!("{above}{expected}"));
        let told = transaction.told();
        assert_eq!(told, "from=<a@a.test> to=<b@b.test>,<postmaster>,<\"c d\"@b.test>");
    }
}
