//! What is put before a message: its Received field, and what a submission forgot.
//!
//! Owns the trace field of RFC 5321 section 4.4, the count that ends mail loops (section 6.3) and the repairs of RFC 6409
//! section 8. Refuses to change what the client sent. Whatever comes from the peer is made harmless before it is
//! written: no line ends, no comments, no octets above 127 without SMTPUTF8. Return-Path is for delivery.

use jiff::{fmt::rfc2822, tz::TimeZone};
use mail_parser::{HeaderName, MessageParser};

use super::{SessionFacts, refuse};
use crate::{
    config::{Config, Kind, domain},
    engine::types::{ForwardPath, HostName, Mailbox, Recipient, Refusal, Sender},
    store::{MessageId, Timestamp},
};

/// Lines are folded here where that is possible. RFC 5322 section 2.1.1.
const LINE: usize = 78;
/// The store shows no more of a header block than this.
const HEADER: usize = 64 * 1024;
/// More of a name that a peer gave is not worth a line. RFC 5321 section 4.5.3.1.2.
const NAME: usize = 255;

pub(super) fn prefix(
    config: &Config,
    facts: &SessionFacts,
    sender: &Sender,
    id: &MessageId,
    recipients: &[Recipient],
    header: &[u8],
    now: Timestamp,
) -> Result<Vec<u8>, Refusal> {
    let fields = Fields::read(header);
    if fields.received > config.limits.received_fields {
        let text = format!("This message goes in circles: it has {} Received fields.", fields.received);
        return Err(refuse(554, 4, 6, text));
    }
    let date = date(now);
    let mut prefix = received(config, facts, sender, id, recipients, &date);
    let submitted = facts.listener.kind.is_submission() || facts.identity.is_some();
    // Of a longer header block we can not know what it lacks.
    if submitted && header.len() < HEADER {
        if !fields.date {
            prefix.push_str(&format!("Date: {date}\r\n"));
        }
        if !fields.message_id {
            prefix.push_str(&format!("Message-ID: <{id}@{}>\r\n", config.name));
        }
    }
    if fields.none && !header.is_empty() && !header.starts_with(b"\r\n") {
        // Content without a header section: what follows is its body.
        prefix.push_str("\r\n");
    }
    Ok(prefix.into_bytes())
}

/// What there is in a header block.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fields {
    none: bool,
    received: usize,
    date: bool,
    message_id: bool,
}

impl Fields {
    fn read(header: &[u8]) -> Self {
        // Only the names matter, so no value is parsed.
        let parsed = MessageParser::new().default_header_ignore().parse_headers(header);
        let mut fields = Self { none: true, ..Self::default() };
        for field in parsed.iter().flat_map(|message| message.headers()) {
            fields.none = false;
            match field.name {
                HeaderName::Received => fields.received += 1,
                HeaderName::Date => fields.date = true,
                HeaderName::MessageId => fields.message_id = true,
                _ => {}
            }
        }
        fields
    }
}

/// RFC 5322 section 3.3, in UTC.
fn date(now: Timestamp) -> String {
    let instant = i64::try_from(now).ok().and_then(|now| jiff::Timestamp::from_millisecond(now).ok());
    let zoned = instant.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_zoned_datetime(TimeZone::UTC);
    // Only a year before 0 can not be written, and `now` is after 1970.
    rfc2822::to_string(&zoned).unwrap_or_else(|_| "Thu, 1 Jan 1970 00:00:00 +0000".into())
}

/// `Received:` with its line end. RFC 5321 section 4.4.
fn received(
    config: &Config,
    facts: &SessionFacts,
    sender: &Sender,
    id: &MessageId,
    recipients: &[Recipient],
    date: &str,
) -> String {
    let utf8 = sender.parameters.smtputf8;
    let mut field = Folded::new("Received:");
    field.add("from");
    field.add(&hello(facts, utf8));
    field.add(&client(facts, utf8));
    if let Some(tls) = &facts.tls {
        field.add(&format!("({} {})", word(&tls.version, false), word(&tls.cipher, false)));
    }
    field.add("by");
    field.add(&config.name);
    field.add("(hermetic)");
    field.add(&format!("with {}", protocol(facts, utf8)));
    field.add(&format!("id {id}"));
    field.add(&format!("(session {})", word(&facts.id, false)));
    // With more than one, each would learn of the others (RFC 5321 section 7.2).
    if let [recipient] = recipients {
        field.add(&format!("for <{}>", address(&recipient.path, utf8)));
    }
    field.text.push(';');
    field.add(date);
    field.text.push_str("\r\n");
    field.text
}

/// A field whose words are put on lines that are not too long.
struct Folded {
    text: String,
    line: usize,
}

impl Folded {
    fn new(name: &str) -> Self {
        Self { text: name.into(), line: name.len() }
    }

    fn add(&mut self, word: &str) {
        // One more for a semicolon behind it.
        if self.line + 1 + word.len() + 1 > LINE {
            self.text.push_str("\r\n\t");
            self.line = 8;
        } else {
            self.text.push(' ');
            self.line += 1;
        }
        self.text.push_str(word);
        self.line += word.len();
    }
}

/// What the client called itself: a domain, an address literal, or whatever is left of it when it is harmless.
fn hello(facts: &SessionFacts, utf8: bool) -> String {
    let Some(hello) = facts.hello.as_deref().filter(|hello| !hello.is_empty()) else { return "unknown".into() };
    match hello.strip_prefix('[').and_then(|hello| hello.strip_suffix(']')) {
        Some(literal) => format!("[{}]", word(literal, false)),
        None if !utf8 && !hello.is_ascii() => {
            domain::canonical(hello).map_or_else(|| word(hello, false), |name| word(&name, false))
        }
        None => word(hello, utf8),
    }
}

/// TCP-info: `(name [192.0.2.1])`.
fn client(facts: &SessionFacts, utf8: bool) -> String {
    let literal = match facts.client.map(|client| client.ip().to_canonical()) {
        None => return "(unix socket)".into(),
        Some(std::net::IpAddr::V4(address)) => format!("[{address}]"),
        Some(std::net::IpAddr::V6(address)) => format!("[IPv6:{address}]"),
    };
    match &facts.client_name {
        Some(name) if !name.is_empty() => format!("({} {literal})", word(name, utf8)),
        _ => format!("({literal})"),
    }
}

/// The `with` clause. RFC 3848; RFC 6531 section 4.3.
fn protocol(facts: &SessionFacts, utf8: bool) -> String {
    let lmtp = facts.listener.kind == Kind::Lmtp;
    if !lmtp && !facts.extended {
        return "SMTP".into();
    }
    let name = match (utf8, lmtp) {
        (false, false) => "ESMTP",
        (false, true) => "LMTP",
        (true, false) => "UTF8SMTP",
        (true, true) => "UTF8LMTP",
    };
    let tls = if facts.tls.is_some() { "S" } else { "" };
    let login = if facts.identity.is_some() { "A" } else { "" };
    format!("{name}{tls}{login}")
}

/// A path as it is written in SMTP: the local part quoted where it needs to be.
fn address(path: &ForwardPath, utf8: bool) -> String {
    let ForwardPath::Mailbox(Mailbox { local, host }) = path else { return "postmaster".into() };
    let host = match host {
        HostName::Domain(name) => word(name, utf8),
        HostName::Literal(literal) => format!("[{}]", word(literal, false)),
    };
    format!("{}@{host}", local_part(local, utf8))
}

/// Dot-string or Quoted-string. RFC 5321 section 4.1.2, RFC 6531 section 3.3.
fn local_part(local: &str, utf8: bool) -> String {
    let atext = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii();
    let dot_string = local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atext));
    let safe = |c: char| if c.is_control() || (!utf8 && !c.is_ascii()) { '?' } else { c };
    if dot_string {
        return local.chars().map(safe).collect();
    }
    let mut quoted = String::from("\"");
    for character in local.chars().map(safe) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// A name from outside with nothing in it that could end a line, a word or a comment.
fn word(name: &str, utf8: bool) -> String {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || "-._:+=/".contains(c) || (utf8 && c.is_alphanumeric() && !c.is_ascii());
    let mut word: String = name.chars().map(|c| if plain(c) { c } else { '?' }).collect();
    if word.len() > NAME {
        word.truncate(word.floor_char_boundary(NAME));
    }
    word
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::{super::testing, *};

    /// Tue, 24 Nov 2026 14:05:06 UTC.
    const NOW: Timestamp = 1_795_529_106_000;
    const GIVEN: &[u8] = b"From: a@b.example\r\nDate: x\r\nMessage-ID: <x>\r\n\r\n";

    fn id() -> MessageId {
        MessageId::from_parts(NOW, 1)
    }

    fn prefix_of(facts: &SessionFacts, utf8: bool, recipients: &[Recipient], header: &[u8]) -> Result<String, String> {
        let mut sender = testing::sender(None);
        sender.parameters.smtputf8 = utf8;
        prefix(&testing::config(), facts, &sender, &id(), recipients, header, NOW)
            .map(|prefix| String::from_utf8(prefix).unwrap())
            .map_err(|refusal| testing::shown(&refusal))
    }

    #[test]
    fn received_in_full() {
        let mut facts = testing::facts(Kind::Submission);
        facts.identity = Some("anna".into());
        facts.tls = Some(testing::tls());
        facts.client_name = Some("host.example".into());
        let found = prefix_of(&facts, false, &[testing::recipient("a b", "Example.org")], GIVEN).unwrap();
        let expected = format!(
            "Received: from client.example (host.example [198.51.100.7])\r\n\
             \t(TLSv1.3 TLS_AES_256_GCM_SHA384) by mx.example.org (hermetic)\r\n\
             \twith ESMTPSA id {} (session s1)\r\n\
             \tfor <\"a b\"@Example.org>; Tue, 24 Nov 2026 14:05:06 +0000\r\n",
            id()
        );
        assert_eq!(found, expected);
        let two = [testing::recipient("a", "example.org"), testing::recipient("b", "example.org")];
        assert!(!prefix_of(&facts, false, &two, GIVEN).unwrap().contains("for <"));
    }

    #[test]
    fn with() {
        for (kind, extended, tls, login, utf8, expected) in [
            (Kind::Mx, true, false, false, false, "ESMTP"),
            (Kind::Mx, false, false, false, false, "SMTP"),
            (Kind::Mx, false, true, false, false, "SMTP"),
            (Kind::Mx, true, true, false, false, "ESMTPS"),
            (Kind::Mx, true, false, false, true, "UTF8SMTP"),
            (Kind::Submission, true, false, true, false, "ESMTPA"),
            (Kind::Submission, true, true, true, true, "UTF8SMTPSA"),
            (Kind::Lmtp, true, false, false, false, "LMTP"),
            (Kind::Lmtp, true, true, false, true, "UTF8LMTPS"),
        ] {
            let facts = SessionFacts {
                extended,
                tls: tls.then(testing::tls),
                identity: login.then(|| "anna".into()),
                ..testing::facts(kind)
            };
            let found = prefix_of(&facts, utf8, &[], GIVEN).unwrap().replace("\r\n\t", " ");
            assert!(found.contains(&format!(" with {expected} id ")), "{expected}: {found}");
        }
    }

    #[test]
    fn peers_can_not_forge() {
        let long = "x".repeat(1000);
        let most = "x".repeat(255);
        for (hello, name, utf8, expected) in [
            ("a\r\nX: y", None, false, "from a??X:?y ([198.51.100.7])"),
            ("a (b) [c]", Some("n)\n"), false, "from a??b???c? (n?? [198.51.100.7])"),
            ("[192.0.2.1]", None, false, "from [192.0.2.1] ([198.51.100.7])"),
            ("[IPv6:::1]", None, false, "from [IPv6:::1] ([198.51.100.7])"),
            ("[a]b]", None, false, "from [a?b] ([198.51.100.7])"),
            ("", Some(""), false, "from unknown ([198.51.100.7])"),
            ("münchen.example", None, false, "from xn--mnchen-3ya.example ([198.51.100.7])"),
            ("münchen.example", Some("ü.example"), true, "from münchen.example (ü.example [198.51.100.7])"),
            ("ü\u{202e}()", None, false, "from ???? ([198.51.100.7])"),
            ("a;b\"c<d>", None, true, "from a?b?c?d? ([198.51.100.7])"),
            (&long, None, false, &format!("from {most} ([198.51.100.7])")),
        ] {
            let facts = SessionFacts {
                hello: Some(hello.into()),
                client_name: name.map(Into::into),
                ..testing::facts(Kind::Mx)
            };
            let found = prefix_of(&facts, utf8, &[testing::recipient("a", "b.example")], GIVEN).unwrap();
            let unfolded = found.replace("\r\n\t", " ");
            assert!(unfolded.contains(expected), "{hello:?}: {found}");
            assert!(!unfolded.trim_end_matches("\r\n").contains(['\r', '\n']), "{hello:?}: {found}");
            assert!(utf8 || found.is_ascii(), "{hello:?}: {found}");
            assert!(found.lines().all(|line| line.len() <= LINE || line.contains(&most)), "{hello:?}: {found}");
        }
        let unix = SessionFacts { client: None, ..testing::facts(Kind::Lmtp) };
        assert!(prefix_of(&unix, false, &[], GIVEN).unwrap().contains("from client.example (unix socket)"));
        let six = SessionFacts { client: Some("[2001:db8::1]:1".parse().unwrap()), ..unix };
        assert!(prefix_of(&six, false, &[], GIVEN).unwrap().contains("([IPv6:2001:db8::1])"));
    }

    /// Any character, wherever a peer can put one, leaves one field of short lines behind.
    #[test]
    fn any_character_is_harmless() {
        for character in
            ('\0'..='\u{2ff}').chain(['\u{85}', '\u{2028}', '\u{202e}', '\u{feff}', '\u{fffd}', '\u{10ffff}'])
        {
            for utf8 in [false, true] {
                let text = format!("a{character}b");
                let facts = SessionFacts {
                    hello: Some(text.clone()),
                    client_name: Some(text.clone()),
                    ..testing::facts(Kind::Mx)
                };
                let host = if character.is_ascii_alphanumeric() { &text } else { "b.example" };
                let found = prefix_of(&facts, utf8, &[testing::recipient(&text, host)], GIVEN).unwrap();
                let unfolded = found.replace("\r\n\t", " ");
                let field = unfolded.strip_suffix("\r\n").unwrap_or_else(|| panic!("{character:?}: {found}"));
                assert!(!field.contains(char::is_control), "{character:?}: {found:?}");
                assert!(utf8 || field.is_ascii(), "{character:?}: {found:?}");
                assert!(found.lines().all(|line| line.chars().count() <= LINE), "{character:?}: {found:?}");
                // Outside of quotes: the comments are ours, and one semicolon ends the clauses.
                let unescaped = field.replace(r"\\", "").replace(r#"\""#, "");
                let bare: String = unescaped.split('"').step_by(2).collect();
                for (mark, count) in [('(', 3), (')', 3), (';', 1)] {
                    assert_eq!(bare.matches(mark).count(), count, "{mark:?} of {character:?}: {found}");
                }
            }
        }
    }

    #[test]
    fn local_parts() {
        for (local, expected) in [
            ("a.b+c", "a.b+c"),
            ("", "\"\""),
            (".a", "\".a\""),
            ("a..b", "\"a..b\""),
            ("a\"\\", "\"a\\\"\\\\\""),
            ("a@b", "\"a@b\""),
            ("a\r\nb", "\"a??b\""),
            ("ü", "ü"),
        ] {
            assert_eq!(local_part(local, true), expected, "{local:?}");
        }
        assert_eq!(local_part("ü", false), "?");
    }

    #[test]
    fn loops_end() {
        let field = b"Received: from a by b;\r\n\tx\r\n".as_slice();
        for (count, expected) in [(0, true), (100, true), (101, false), (1000, false), (3000, false)] {
            let header = [&field.repeat(count), GIVEN].concat();
            let header = &header[..header.len().min(HEADER)];
            let found = prefix_of(&testing::facts(Kind::Mx), false, &[], header).map(|_| ());
            assert_eq!(found, if expected { Ok(()) } else { Err("554 5.4.6".into()) }, "{count} fields");
        }
        // Only whole names count, in any case, and only above the empty line.
        for (header, count) in [
            ("rEcEiVeD: x\r\nReceived : y\r\n\r\n", 2),
            ("X-Received: x\r\nReceived-SPF: x\r\n\r\nReceived: x\r\n", 0),
            ("Subject: a\r\n Received: x\r\n\r\n", 0),
        ] {
            assert_eq!(Fields::read(header.as_bytes()).received, count, "{header:?}");
        }
    }

    #[test]
    fn submissions_are_completed() {
        let date = "Date: Tue, 24 Nov 2026 14:05:06 +0000\r\n";
        let message_id = format!("Message-ID: <{}@mx.example.org>\r\n", id());
        let long = [b"X: ".as_slice(), &b"y".repeat(HEADER - 3)].concat();
        for (kind, login, header, expected) in [
            (Kind::Submission, "anna", GIVEN, String::new()),
            (Kind::Submission, "anna", b"Subject: x\r\n\r\n", format!("{date}{message_id}")),
            (Kind::Submissions, "anna", b"dATE: x\r\n\r\nMessage-ID: x\r\n", message_id.clone()),
            (Kind::Submission, "anna", b"message-id: <x>\r\n", date.into()),
            (Kind::Submission, "anna", b"\r\nbody", format!("{date}{message_id}")),
            (Kind::Submission, "anna", b"no header\r\n", format!("{date}{message_id}\r\n")),
            (Kind::Submission, "anna", b"", format!("{date}{message_id}")),
            (Kind::Submission, "anna", &long, String::new()),
            (Kind::Mx, "anna", b"Subject: x\r\n\r\n", format!("{date}{message_id}")),
            (Kind::Mx, "", b"Subject: x\r\n\r\n", String::new()),
            (Kind::Mx, "", b"no header\r\n", "\r\n".into()),
            (Kind::Mx, "", b"", String::new()),
            (Kind::Lmtp, "", b"Subject: x\r\n\r\n", String::new()),
        ] {
            let mut facts = testing::facts(kind);
            facts.identity = Some(login).filter(|login| !login.is_empty()).map(Into::into);
            let found = prefix_of(&facts, false, &[], header).unwrap();
            let added = found.split_once("+0000\r\n").unwrap().1;
            assert_eq!(added, expected, "{kind:?}: {:?}", String::from_utf8_lossy(&header[..header.len().min(80)]));
        }
    }
}
