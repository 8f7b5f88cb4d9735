//! Notices, read back by another parser and held to the grammar of RFC 3464.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use mail_parser::{MessageParser, MimeHeaders as _};
use proptest::prelude::*;

use super::*;
use crate::store::{MessageId, Pending, ReturnContent, Route};

fn address(local: &str, domain: &str) -> Address {
    Address { local: local.into(), domain: domain.into() }
}

fn envelope() -> Envelope {
    Envelope {
        reverse_path: Some(address("anna", "example.test")),
        received_at: 1_700_000_000_000,
        hello: Some("client.test".into()),
        ..Envelope::default()
    }
}

fn entry() -> NewEntry {
    NewEntry {
        recipient: address("bob", "far.test"),
        notify: None,
        orcpt: None,
        route: Route::Relay,
        held: None,
        edits: vec![],
        pending: Pending::Nothing,
    }
}

const FRONT: &[u8] = b"Received: x\r\nSubject: hello\r\nMessage-ID: <1@x>\r\n\r\nHow are you?\r\n";

fn notice<'a>(envelope: &'a Envelope, recipient: &'a NewEntry, action: Action) -> Notice<'a> {
    Notice {
        host: "mx.example.test",
        entry: EntryId { message: MessageId::from_string("01JD0000000000000000000000").unwrap(), index: 3 },
        envelope,
        recipient,
        action,
        status: "5.1.1",
        reason: "no such mailbox here",
        now: 1_700_000_100_000,
        front: FRONT,
        whole: true,
        most: 50_000,
    }
}

/// A notice as an independent parser reads it.
struct Read {
    from: String,
    to: String,
    types: Vec<String>,
    words: String,
    /// The groups of fields for programs: name, value without folds.
    groups: Vec<Vec<(String, String)>>,
    returned: Vec<u8>,
}

/// Reads a notice, and checks what is true of each: lines, parts, and the grammar of RFC 3464 section 2.
fn read(message: &[u8]) -> Read {
    let text = String::from_utf8_lossy(message).into_owned();
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        assert!(line.ends_with(b"\r\n") && line.len() <= 1000, "{:?} in {text}", line.escape_ascii().to_string());
        assert!(!line[..line.len() - 2].iter().any(|octet| matches!(octet, 0 | b'\r')), "{text}");
    }
    let parsed = MessageParser::default().parse(message).expect("a message");
    let content_type = parsed.content_type().expect("a type");
    assert_eq!((content_type.ctype(), content_type.subtype()), ("multipart", Some("report")));
    assert_eq!(content_type.attribute("report-type"), Some("delivery-status"));
    assert_eq!(parsed.header_raw("Auto-Submitted").map(str::trim), Some("auto-replied"));
    assert!(parsed.date().is_some() && parsed.message_id().is_some() && parsed.subject().is_some(), "{text}");
    let root = parsed.parts.first().and_then(|part| part.sub_parts()).expect("parts").to_vec();
    assert_eq!(root.len(), 3, "{text}");
    let part = |n: usize| &parsed.parts[root[n] as usize];
    let octets = |n: usize| {
        let part = part(n);
        message[part.raw_body_offset() as usize..part.raw_end_offset() as usize].to_vec()
    };
    let types = (0..3)
        .map(|n| {
            let content_type = part(n).content_type().expect("a type");
            format!("{}/{}", content_type.ctype(), content_type.subtype().unwrap_or_default())
        })
        .collect();
    let fields = String::from_utf8(octets(1)).expect("UTF-8");
    let unfolded = fields.replace("\r\n ", " ");
    let groups: Vec<Vec<(String, String)>> = unfolded
        .trim_end()
        .split("\r\n\r\n")
        .map(|group| {
            let fields =
                group.lines().map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line:?} in {text}")));
            fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        })
        .collect();
    assert_eq!(groups.len(), 2, "{text}");
    for (name, value) in groups.iter().flatten() {
        let (kind, rest) = value.split_once(';').unwrap_or((value, ""));
        let atom = !kind.is_empty() && kind.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
        let date =
            || MessageParser::default().parse(format!("Date: {value}\r\n\r\n").as_bytes()).unwrap().date().is_some();
        let good = match name.as_str() {
            "Reporting-MTA" | "Received-From-MTA" => kind == "dns" && rest.starts_with(' ') && rest.len() > 1,
            "Original-Envelope-Id" => !value.is_empty(),
            "Original-Recipient" | "Final-Recipient" => atom && !rest.is_empty(),
            "Diagnostic-Code" => kind == "x-hermetic" && rest.starts_with(' '),
            "Arrival-Date" | "Last-Attempt-Date" | "Will-Retry-Until" => date(),
            "Action" => ["failed", "delayed", "delivered"].contains(&value.as_str()),
            "Status" => {
                let parts: Vec<_> = value.split('.').collect();
                parts.len() == 3
                    && ["2", "4", "5"].contains(&parts[0])
                    && parts[1..].iter().all(|part| part.parse::<u16>().is_ok())
            }
            _ => false,
        };
        assert!(good, "{name}: {value:?}");
        assert!(!value.chars().any(char::is_control), "{name}: {value:?}");
    }
    let names = |group: usize, name: &str| groups[group].iter().filter(|(found, _)| found == name).count();
    assert_eq!(
        (names(0, "Reporting-MTA"), names(1, "Final-Recipient"), names(1, "Action"), names(1, "Status")),
        (1, 1, 1, 1)
    );
    Read {
        from: parsed.header_raw("From").unwrap_or_default().trim().into(),
        to: parsed.header_raw("To").unwrap_or_default().trim().into(),
        types,
        words: String::from_utf8_lossy(&octets(0)).into_owned(),
        groups,
        returned: octets(2),
    }
}

impl Read {
    fn field(&self, name: &str) -> Option<&str> {
        self.groups.iter().flatten().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

#[test]
fn a_failure() {
    let envelope = Envelope { envid: Some("QQ314159".into()), ..envelope() };
    let entry = NewEntry { orcpt: Some(("rfc822".into(), "Bob+x@far.test".into())), ..entry() };
    let notice = notice(&envelope, &entry, Action::Failed);
    let message = notice.message();
    assert!(message.is_ascii());
    let read = read(&message);
    assert_eq!(read.from, "Mail delivery <MAILER-DAEMON@mx.example.test>");
    assert_eq!(read.to, "<anna@example.test>");
    assert_eq!(read.types, ["text/plain", "message/delivery-status", "message/rfc822"]);
    assert!(read.words.contains("bob@far.test") && read.words.contains("no such mailbox here"), "{}", read.words);
    assert_eq!(read.returned, FRONT);
    for (name, value) in [
        ("Original-Envelope-Id", "QQ314159"),
        ("Reporting-MTA", "dns; mx.example.test"),
        ("Received-From-MTA", "dns; client.test"),
        ("Arrival-Date", "Tue, 14 Nov 2023 22:13:20 +0000"),
        ("Original-Recipient", "rfc822;Bob+x@far.test"),
        ("Final-Recipient", "rfc822;bob@far.test"),
        ("Action", "failed"),
        ("Status", "5.1.1"),
        ("Diagnostic-Code", "x-hermetic; no such mailbox here"),
    ] {
        assert_eq!(read.field(name), Some(value), "{name}");
    }
    assert_eq!(read.field("Will-Retry-Until"), None);
    let own = notice.envelope(&message);
    assert_eq!((own.reverse_path, own.body, own.size), (None, BodyKind::SevenBit, message.len() as u64));
}

/// What goes back: all of it only with news of a failure, where RET, TLS, size and form allow it.
#[test]
fn what_is_returned() {
    let long = [FRONT, b"x".repeat(2000).as_slice(), b"\r\n"].concat();
    let eight = [FRONT, "grün\r\n".as_bytes()].concat();
    let bare = [FRONT, b"a\nb\r\n"].concat();
    let header = b"Received: x\r\nSubject: hello\r\nMessage-ID: <1@x>\r\n".as_slice();
    let check = |what: &str, full: bool, change: &dyn Fn(&mut Envelope), action, front: &[u8], whole, most| {
        let mut envelope = envelope();
        change(&mut envelope);
        let entry = entry();
        let message = Notice { front, whole, most, ..notice(&envelope, &entry, action) }.message();
        let read = read(&message);
        let (media_type, octets) = if full { ("message/rfc822", front) } else { ("text/rfc822-headers", header) };
        assert_eq!(read.types[2], media_type, "{what}");
        assert!(read.returned == octets, "{what}: {:?}", String::from_utf8_lossy(&read.returned));
    };
    let plain = |_: &mut Envelope| {};
    let most = 50_000;
    check("no RET", true, &plain, Action::Failed, FRONT, true, most);
    check("RET=FULL", true, &|e| e.ret = Some(ReturnContent::Full), Action::Failed, FRONT, true, most);
    check("RET=HDRS", false, &|e| e.ret = Some(ReturnContent::Headers), Action::Failed, FRONT, true, most);
    check("REQUIRETLS", false, &|e| e.require_tls = true, Action::Failed, FRONT, true, most);
    check("too large", false, &plain, Action::Failed, FRONT, true, FRONT.len() - 1);
    check("a part", false, &plain, Action::Failed, FRONT, false, most);
    check("late", false, &|e| e.ret = Some(ReturnContent::Full), Action::Delayed(1_700_400_000_000), FRONT, true, most);
    check("delivered", false, &plain, Action::Delivered, FRONT, true, most);
    check("8 bit", true, &plain, Action::Failed, &eight, true, most);
    check("long lines", false, &plain, Action::Failed, &long, true, most);
    check("bare LF", false, &plain, Action::Failed, &bare, true, most);
    check("no end", false, &plain, Action::Failed, &FRONT[..FRONT.len() - 2], true, most);
}

/// With SMTPUTF8 the forms of RFC 6533; without it ASCII, and addresses written as section 3 says.
#[test]
fn international() {
    let entry = NewEntry {
        recipient: address("jürgen+x", "münchen.test"),
        orcpt: Some(("utf-8".into(), "jürgen@münchen.test".into())),
        ..entry()
    };
    let envelope = Envelope { smtputf8: true, reverse_path: Some(address("änna", "example.test")), ..envelope() };
    let with = Notice { reason: "kein Postfach für jürgen", ..notice(&envelope, &entry, Action::Failed) };
    let found = read(&with.message());
    assert_eq!(found.types, ["text/plain", "message/global-delivery-status", "message/global"]);
    assert_eq!(found.to, "<änna@example.test>");
    assert_eq!(found.field("Final-Recipient"), Some("utf-8;jürgen+x@münchen.test"));
    assert_eq!(found.field("Original-Recipient"), Some("utf-8;jürgen@münchen.test"));
    assert_eq!(found.field("Diagnostic-Code"), Some("x-hermetic; kein Postfach für jürgen"));
    assert!(with.envelope(&with.message()).smtputf8 && with.envelope(&with.message()).eight_bit);
    let late = notice(&envelope, &entry, Action::Delayed(1_700_400_000_000));
    assert_eq!(read(&late.message()).types[2], "message/global-headers");

    let envelope = self::envelope();
    let without = Notice { reason: "für jürgen", ..notice(&envelope, &entry, Action::Failed) };
    let message = without.message();
    assert!(message.is_ascii());
    let found = read(&message);
    assert_eq!(found.types[1], "message/delivery-status");
    assert_eq!(found.field("Final-Recipient"), Some(r"utf-8;j\x{FC}rgen\x{2B}x@m\x{FC}nchen.test"));
    assert_eq!(found.field("Original-Recipient"), Some(r"utf-8;j\x{FC}rgen@m\x{FC}nchen.test"));
    assert_eq!(found.field("Diagnostic-Code"), Some("x-hermetic; f?r j?rgen"));
}

#[test]
fn delays_and_deliveries() {
    let (envelope, entry) = (envelope(), entry());
    let late = read(&notice(&envelope, &entry, Action::Delayed(1_700_400_000_000)).message());
    assert_eq!((late.field("Action"), late.field("Status")), (Some("delayed"), Some("4.1.1")));
    assert_eq!(late.field("Will-Retry-Until"), Some("Sun, 19 Nov 2023 13:20:00 +0000"));
    assert!(late.words.contains("need not send it again"), "{}", late.words);
    let done = Notice { status: "", reason: "", ..notice(&envelope, &entry, Action::Delivered) };
    let done = read(&done.message());
    assert_eq!((done.field("Action"), done.field("Status")), (Some("delivered"), Some("2.0.0")));
    assert_eq!(done.field("Diagnostic-Code"), None);
}

#[test]
fn who_wants_to_know() {
    let notify = |success, failure, delay| Some(Notify { success, failure, delay });
    let late = Action::Delayed(0);
    for (given, failed, delayed, delivered) in [
        (None, true, true, false),
        (notify(false, false, false), false, false, false),
        (notify(true, false, false), false, false, true),
        (notify(false, true, false), true, false, false),
        (notify(true, true, true), true, true, true),
    ] {
        let said = [Action::Failed, late, Action::Delivered].map(|action| action.is_wanted(given));
        assert_eq!(said, [failed, delayed, delivered], "{given:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a peer or a plugin gave: the notice has its three parts, and no field leaves its line.
    #[test]
    fn nothing_leaves_its_place(
        local in "(\\PC|\r|\n|\0){1,40}",
        kind in "(\\PC|\r|\n){0,20}",
        orcpt in "(\\PC|\r|\n|\t){1,60}",
        envid in "[ -~\r\n\u{e4}]{1,40}",
        hello in "(\\PC|\r|\n){0,40}",
        reason in "(\\PC|\r|\n|\t){0,2000}",
        status in "([245]\\.[0-9]{1,4}\\.[0-9]{1,4}|\\PC{0,9})",
        front in prop::collection::vec(any::<u8>(), 0..2000),
        utf8: bool,
    ) {
        prop_assume!(orcpt.chars().any(|c| !c.is_control() && !c.is_whitespace()));
        prop_assume!(envid.chars().any(|c| c.is_ascii_graphic()));
        let envelope = Envelope { smtputf8: utf8, envid: Some(envid), hello: Some(hello), ..envelope() };
        let recipient = address(&local, "far.test");
        let entry = NewEntry { recipient, orcpt: Some((format!("x{kind}"), orcpt)), ..entry() };
        let notice = Notice { reason: &reason, status: &status, front: &front, ..notice(&envelope, &entry, Action::Failed) };
        let message = notice.message();
        let text = String::from_utf8_lossy(&message).into_owned();
        let boundary = format!("\r\n--=_{}.failed", notice.entry);
        prop_assert_eq!(text.matches(&boundary).count(), 4, "{}", text);
        let fields = text.split(&boundary).nth(2).unwrap_or_default();
        let fields = fields.split_once("\r\n\r\n").unwrap_or_default().1;
        let known = |line: &str| line.starts_with(' ') || line.is_empty() || [
            "Original-Envelope-Id: ", "Reporting-MTA: dns; ", "Received-From-MTA: dns; ", "Arrival-Date: ",
            "Original-Recipient: ", "Final-Recipient: ", "Action: failed", "Status: 5.", "Diagnostic-Code: x-hermetic; ",
            "Last-Attempt-Date: ",
        ].iter().any(|start| line.starts_with(start));
        for line in fields.split("\r\n") {
            prop_assert!(known(line) && !line.contains(['\r', '\n', '\0']) && line.len() <= 998, "{line:?}");
            prop_assert!(utf8 || line.is_ascii(), "{line:?}");
        }
    }
}
