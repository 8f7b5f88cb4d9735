//! Notices, read back by another parser and held to the grammar of RFC 3464.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod grammar;

use mail_parser::{MessageParser, MimeHeaders as _};
use proptest::prelude::*;

use self::grammar::Fields;
use super::*;
use crate::store::{MessageId, ReturnContent, Route};

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
    NewEntry::to(address("bob", "far.test"), Route::Relay)
}

const FRONT: &[u8] = b"Received: x\r\nSubject: hello\r\nMessage-ID: <1@x>\r\n\r\nHow are you?\r\n";

fn id(index: u32) -> EntryId {
    EntryId { message: MessageId::from_string("01JD0000000000000000000000").unwrap(), index }
}

fn told(recipient: &NewEntry, action: Action) -> Told<'_> {
    Told {
        entry: id(3),
        recipient,
        action,
        status: "5.1.1",
        reason: "no such mailbox here",
        attempt: Some(1_700_000_099_000),
        remote: None,
    }
}

fn notice<'a>(envelope: &'a Envelope, told: &'a [Told<'a>]) -> Notice<'a> {
    Notice { host: "mx.example.test", envelope, told, now: 1_700_000_100_000, front: FRONT, whole: true, most: 50_000 }
}

/// A notice as an independent parser reads it.
struct Read {
    from: String,
    to: String,
    types: Vec<String>,
    words: String,
    /// The fields for programs: about the message, and about each recipient.
    about: Fields,
    groups: Vec<Fields>,
    returned: Vec<u8>,
}

/// Reads a notice, and checks what is true of each: lines, parts, and the grammar of RFC 3464.
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
    let global = part(1).content_type().unwrap().subtype() == Some("global-delivery-status");
    let (about, groups) =
        grammar::parse(&octets(1), global).unwrap_or_else(|error| panic!("the grammar forbids: {error}; in {text}"));
    Read {
        from: parsed.header_raw("From").unwrap_or_default().trim().into(),
        to: parsed.header_raw("To").unwrap_or_default().trim().into(),
        types,
        words: String::from_utf8_lossy(&octets(0)).into_owned(),
        about,
        groups,
        returned: octets(2),
    }
}

impl Read {
    fn field(&self, name: &str) -> Option<&str> {
        self.about.get(name).or_else(|| self.groups.first()?.get(name)).map(String::as_str)
    }
}

#[test]
fn a_failure() {
    let envelope = Envelope { envid: Some("QQ314159".into()), ..envelope() };
    let entry = NewEntry { orcpt: Some(("rfc822".into(), "Bob+x@far.test".into())), ..entry() };
    let told = [told(&entry, Action::Failed)];
    let notice = notice(&envelope, &told);
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
        ("Last-Attempt-Date", "Tue, 14 Nov 2023 22:14:59 +0000"),
        ("Final-Log-ID", "01JD0000000000000000000000.3"),
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
        let message = Notice { front, whole, most, ..notice(&envelope, &[told(&entry, action)]) }.message();
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
    let failed = [Told { reason: "kein Postfach für jürgen", ..told(&entry, Action::Failed) }];
    let with = notice(&envelope, &failed);
    let found = read(&with.message());
    assert_eq!(found.types, ["text/plain", "message/global-delivery-status", "message/global"]);
    assert_eq!(found.to, "<änna@example.test>");
    assert_eq!(found.field("Final-Recipient"), Some("utf-8;jürgen+x@münchen.test"));
    assert_eq!(found.field("Original-Recipient"), Some("utf-8;jürgen@münchen.test"));
    assert_eq!(found.field("Diagnostic-Code"), Some("x-hermetic; kein Postfach für jürgen"));
    assert!(found.words.contains("jürgen+x@münchen.test"), "as it came: {}", found.words);
    assert!(with.envelope(&with.message()).smtputf8 && with.envelope(&with.message()).eight_bit);
    let late = [told(&entry, Action::Delayed(1_700_400_000_000))];
    assert_eq!(read(&notice(&envelope, &late).message()).types[2], "message/global-headers");

    let envelope = self::envelope();
    let failed = [Told { reason: "für jürgen", ..told(&entry, Action::Failed) }];
    let message = notice(&envelope, &failed).message();
    assert!(message.is_ascii());
    let found = read(&message);
    assert_eq!(found.types[1], "message/delivery-status");
    assert_eq!(found.field("Final-Recipient"), Some(r"utf-8;j\x{FC}rgen\x{2B}x@m\x{FC}nchen.test"));
    assert_eq!(found.field("Original-Recipient"), Some(r"utf-8;j\x{FC}rgen@m\x{FC}nchen.test"));
    assert_eq!(found.field("Diagnostic-Code"), Some("x-hermetic; f?r j?rgen"));

    // Where the domain alone is not ASCII its A-labels need no other form.
    let entry = NewEntry { recipient: address("a b", "münchen.test"), ..self::entry() };
    let found = read(&notice(&envelope, &[told(&entry, Action::Failed)]).message());
    assert_eq!(found.field("Final-Recipient"), Some("rfc822;\"a b\"@xn--mnchen-3ya.test"));
    assert!(found.words.contains("\"a b\"@xn--mnchen-3ya.test"), "{}", found.words);
}

#[test]
fn delays_and_deliveries() {
    let (envelope, entry) = (envelope(), entry());
    let late = read(&notice(&envelope, &[told(&entry, Action::Delayed(1_700_400_000_000))]).message());
    assert_eq!((late.field("Action"), late.field("Status")), (Some("delayed"), Some("4.1.1")));
    assert_eq!(late.field("Will-Retry-Until"), Some("Sun, 19 Nov 2023 13:20:00 +0000"));
    assert!(late.words.contains("need not send it again"), "{}", late.words);
    let done = [Told { status: "", reason: "", ..told(&entry, Action::Delivered) }];
    let done = read(&notice(&envelope, &done).message());
    assert_eq!((done.field("Action"), done.field("Status")), (Some("delivered"), Some("2.0.0")));
    assert_eq!(done.field("Diagnostic-Code"), None);
}

/// What another server said is told as it said it, on lines of ours.
#[test]
fn by_whose_word() {
    let (envelope, entry) = (Envelope { client: Some("192.0.2.7".parse().unwrap()), ..envelope() }, entry());
    let long = format!("550 5.1.1 {}", "Who would that be? ".repeat(40));
    for (host, reply, mta, code) in [
        ("mx.far.test", Some("550 5.1.1 Who?"), Some("dns; mx.far.test"), "smtp; 550 5.1.1 Who?"),
        ("[192.0.2.1]", Some("421"), Some("dns; [192.0.2.1]"), "smtp; 421"),
        ("mx.far.test", None, Some("dns; mx.far.test"), "x-hermetic; no such mailbox here"),
        (
            "mx.far.test",
            Some("550 a\r\nAction: delivered\r\n\r\n."),
            Some("dns; mx.far.test"),
            "smtp; 550 a Action: delivered .",
        ),
        ("mx.far.test", Some("nonsense"), Some("dns; mx.far.test"), "x-hermetic; no such mailbox here"),
        ("/run/dovecot/lmtp", Some("550 no"), None, "smtp; 550 no"),
        ("mx\r\nAction: delivered", Some("550 no"), None, "smtp; 550 no"),
        ("mx.far.test", Some(&long), Some("dns; mx.far.test"), format!("smtp; {}", long.trim()).as_str()),
    ] {
        let told = [Told { remote: Some(Remote { host, reply }), ..told(&entry, Action::Failed) }];
        let found = read(&notice(&envelope, &told).message());
        assert_eq!((found.field("Remote-MTA"), found.field("Diagnostic-Code")), (mta, Some(code)), "{host} {reply:?}");
        assert_eq!(found.field("Received-From-MTA"), Some("dns; client.test ([192.0.2.7])"));
    }
}

/// Python's `email` finds the same in them.
fn as_python_reads_them(forms: &[(String, Vec<u8>, Read)]) {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dsn/tests/read.py");
    let mut python = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3, which reads notices as others do");
    let mut input = python.stdin.take().unwrap();
    let all: Vec<u8> = forms
        .iter()
        .flat_map(|(_, message, _)| [format!("{}\n", message.len()).into_bytes(), message.clone()].concat())
        .collect();
    let writer = std::thread::spawn(move || input.write_all(&all));
    let mut output = String::new();
    python.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    writer.join().unwrap().unwrap();
    assert!(python.wait().unwrap().success());
    assert_eq!(output.lines().count(), forms.len());
    for ((form, message, read), line) in forms.iter().zip(output.lines()) {
        let types = [&["multipart/report".to_owned()], &read.types[..]].concat();
        let groups = [std::slice::from_ref(&read.about), &read.groups].concat();
        let expected = serde_json::json!({
            "defects": [], "types": types, "report": "delivery-status", "groups": groups,
        });
        let found: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(found, expected, "{form}\n{}", String::from_utf8_lossy(message));
    }
}

/// Every form, as the grammar and another parser read it: each recipient has its group, in its words.
#[test]
fn every_form() {
    let actions =
        [Action::Failed, Action::Delayed(1_700_400_000_000), Action::Relayed, Action::Expanded, Action::Delivered];
    let orcpts =
        [None, Some(("rfc822", "Bob+x@far.test")), Some(("utf-8", "bøb+x=y@far.test")), Some(("x-400", "c=de"))];
    let replies = [None, Some(None), Some(Some("450 4.2.0 Later, please"))];
    let mut all_forms: Vec<(String, Vec<u8>, Read)> = Vec::new();
    for (utf8, ret, envid, several) in [false, true]
        .into_iter()
        .flat_map(|utf8| [None, Some(ReturnContent::Full), Some(ReturnContent::Headers)].map(|ret| (utf8, ret)))
        .flat_map(|(utf8, ret)| [None, Some("a+b=c d")].map(|envid| (utf8, ret, envid)))
        .flat_map(|(utf8, ret, envid)| [false, true].map(|several| (utf8, ret, envid, several)))
    {
        for (action, orcpt, reply) in actions
            .into_iter()
            .flat_map(|action| orcpts.map(|orcpt| (action, orcpt)))
            .flat_map(|(action, orcpt)| replies.map(|reply| (action, orcpt, reply)))
        {
            let envelope = Envelope { smtputf8: utf8, ret, envid: envid.map(Into::into), ..envelope() };
            let orcpt = orcpt.map(|(kind, address)| (kind.to_owned(), address.to_owned()));
            let first = NewEntry { orcpt, ..entry() };
            let second = NewEntry { recipient: address("jürgen", "far.test"), ..entry() };
            let third = NewEntry { recipient: address("x y", "[192.0.2.1]"), ..entry() };
            let remote = reply.map(|reply| Remote { host: "mx.far.test", reply });
            let mut all = vec![Told { remote, ..told(&first, action) }];
            if several {
                all.push(Told { entry: id(4), ..told(&second, Action::Delivered) });
                all.push(Told { entry: id(5), attempt: None, ..told(&third, Action::Failed) });
            }
            let form = format!("{utf8} {ret:?} {envid:?} {several} {action:?} {:?} {reply:?}", first.orcpt);
            let message = notice(&envelope, &all).message();
            let found = read(&message);
            assert_eq!(
                message.is_ascii(),
                !(utf8 && (several || first.orcpt.as_ref().is_some_and(|o| !o.1.is_ascii()))),
                "{form}"
            );
            let failed = several || action == Action::Failed;
            let full = failed && ret != Some(ReturnContent::Headers);
            let types = match utf8 {
                true => [
                    "text/plain",
                    "message/global-delivery-status",
                    if full { "message/global" } else { "message/global-headers" },
                ],
                false => [
                    "text/plain",
                    "message/delivery-status",
                    if full { "message/rfc822" } else { "text/rfc822-headers" },
                ],
            };
            assert_eq!(found.types, types, "{form}");
            assert_eq!(found.about.get("Original-Envelope-Id").map(String::as_str), envid, "{form}");
            assert_eq!(found.groups.len(), all.len(), "{form}");
            for (told, group) in all.iter().zip(&found.groups) {
                let kept = |name: &str| group.get(name).map(String::as_str);
                let address = group["Final-Recipient"].split_once(';').unwrap().1;
                let address = if utf8 || address.is_ascii() && !address.contains('\\') {
                    address.into()
                } else {
                    grammar::decoded(address).unwrap()
                };
                assert_eq!(address, told.recipient.recipient.to_string(), "{form}");
                assert_eq!(kept("Action"), Some(told.action.as_str()), "{form}");
                assert_eq!(kept("Original-Recipient").is_some(), told.recipient.orcpt.is_some(), "{form}");
                assert_eq!(kept("Remote-MTA").is_some(), told.remote.is_some(), "{form}");
                let said = told.remote.and_then(|remote| remote.reply).map(|reply| format!("smtp; {reply}"));
                let quiet = matches!(told.action, Action::Delivered | Action::Expanded);
                let own = (!quiet).then(|| "x-hermetic; no such mailbox here".to_owned());
                assert_eq!(kept("Diagnostic-Code"), said.or(own).as_deref(), "{form}");
                assert_eq!(kept("Last-Attempt-Date").is_some(), told.attempt.is_some(), "{form}");
                assert!(kept("Final-Log-ID") == Some(told.entry.to_string().as_str()), "{form}");
                assert!(
                    found.words.contains(&fields::shown(&told.recipient.recipient, utf8)),
                    "{form}: {}",
                    found.words
                );
            }
            all_forms.push((form, message, found));
        }
    }
    assert_eq!(all_forms.len(), 1440);
    as_python_reads_them(&all_forms);
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
        host in "(\\PC|\r|\n){0,40}",
        reply in "([245][0-9]{2} )?(\\PC|\r|\n|\t){0,2000}",
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
        let remote = Some(Remote { host: &host, reply: Some(&reply) });
        let failed = Told { reason: &reason, status: &status, remote, ..told(&entry, Action::Failed) };
        let told = [failed, Told { entry: id(4), ..failed }];
        let notice = Notice { front: &front, ..notice(&envelope, &told) };
        let message = notice.message();
        let text = String::from_utf8_lossy(&message).into_owned();
        let boundary = format!("\r\n--=_{}.failed", id(3));
        prop_assert_eq!(text.matches(&boundary).count(), 4, "{}", text);
        let fields = text.split(&boundary).nth(2).unwrap_or_default();
        let fields = fields.split_once("\r\n\r\n").unwrap_or_default().1;
        let known = |line: &str| line.starts_with(' ') || line.is_empty() || [
            "Original-Envelope-Id: ", "Reporting-MTA: dns; ", "Received-From-MTA: dns; ", "Arrival-Date: ",
            "Original-Recipient: ", "Final-Recipient: ", "Action: failed", "Status: 5.", "Remote-MTA: dns; ",
            "Diagnostic-Code: x-hermetic; ", "Diagnostic-Code: smtp; ", "Last-Attempt-Date: ", "Final-Log-ID: ",
        ].iter().any(|start| line.starts_with(start));
        for line in fields.split("\r\n") {
            prop_assert!(known(line) && !line.contains(['\r', '\n', '\0']) && line.len() <= 998, "{line:?}");
            prop_assert!(utf8 || line.is_ascii(), "{line:?}");
        }
        prop_assert_eq!(fields.matches("\r\nAction: ").count(), 2, "{}", fields);
        prop_assert_eq!(fields.trim_end().split("\r\n\r\n").count(), 3, "{}", fields);
    }
}
