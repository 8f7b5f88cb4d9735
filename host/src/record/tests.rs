//! The format against the WIT, against files that are wrong, and against chance.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::call::Call;
use super::file::{self, WIT, end};
use super::value::{Value, Wrong, kebab};
use super::*;
use crate::engine::client;
use crate::engine::types::{
    Answer, DeliverBy, Hold, HostName, MailParameters, Mailbox, Misuse, Need, Notify, Piece, Question, Refusal,
    SaslStep, Sender, Step,
};
use crate::engine::types::{BodyKind, ByMode};

fn written<T: Value>(value: &T) -> String {
    let mut json = String::new();
    value.write(&mut json);
    json
}

#[track_caller]
fn both_ways<T: Value + PartialEq + std::fmt::Debug>(value: &T, json: &str) {
    assert_eq!(written(value), json);
    let read = T::read(&serde_json::from_str(json).expect("JSON")).expect("the value");
    assert_eq!(&read, value, "{json}");
}

#[test]
fn values_look_as_the_page_says() {
    both_ways(&true, "true");
    both_ways(&7_u32, "7");
    both_ways(&-9_i8, "-9");
    both_ways(&9_007_199_254_740_991_u64, "9007199254740991");
    both_ways(&9_007_199_254_740_992_u64, "\"9007199254740992\"");
    both_ways(&u64::MAX, "\"18446744073709551615\"");
    both_ways(&b"a\r\n\0\"\\\xe9\xff".to_vec(), "\"a\\r\\n\\u0000\\\"\\\\éÿ\"");
    both_ways(&Vec::<u8>::new(), "\"\"");
    both_ways(&Vec::<String>::new(), "[]");
    both_ways(&vec!["ü\u{2028}".to_owned()], "[\"ü\\u2028\"]");
    both_ways(&(Notify::SUCCESS | Notify::DELAY), "[\"success\",\"delay\"]");
    both_ways(&Notify::empty(), "[]");
    both_ways(&Some(Notify::empty()), "[]");
    both_ways(&None::<Vec<u8>>, "null");
    both_ways(&Piece::Range((3, 4)), "{\"range\":[3,4]}");
    both_ways(&Piece::Octets(b"..".to_vec()), "{\"octets\":\"..\"}");
    both_ways(&Hold::For(9), "{\"for\":9}");
    both_ways(&BodyKind::EightBitMime, "\"eight-bit-mime\"");
    both_ways(&client::Cause::Utf8Address, "\"utf8-address\"");
    both_ways(&SaslStep::Start(("PLAIN".into(), Some(Vec::new()))), "{\"start\":[\"PLAIN\",\"\"]}");
    both_ways(&Need::StartTls, "\"start-tls\"");
    both_ways(&Need::Answer(Question::Verify("x".into())), "{\"answer\":{\"verify\":\"x\"}}");
    let refusal = Refusal { code: 550, subject: 1, detail: 1, text: "No".into() };
    both_ways(
        &Answer::Recipients(vec![Ok(None), Ok(Some("Yes".into())), Err(refusal)]),
        "{\"recipients\":[{\"ok\":null},{\"ok\":\"Yes\"},{\"err\":{\"code\":550,\"subject\":1,\"detail\":1,\"text\":\"No\"}}]}",
    );
    let parameters = MailParameters {
        size: Some(9),
        body: BodyKind::SevenBit,
        smtputf8: false,
        require_tls: true,
        prdr: false,
        ret: None,
        envid: Some(String::new()),
        auth: None,
        hold: None,
        deliver_by: Some(DeliverBy { seconds: -1, mode: ByMode::Notify, trace: true }),
        priority: Some(-9),
    };
    let mailbox = Mailbox { local: "a b".into(), host: HostName::Literal("192.0.2.1".into()) };
    both_ways(
        &Sender { mailbox: Some(mailbox), parameters },
        "{\"mailbox\":{\"local\":\"a b\",\"host\":{\"literal\":\"192.0.2.1\"}},\"parameters\":{\"size\":9,\
         \"body\":\"seven-bit\",\"smtputf8\":false,\"require-tls\":true,\"prdr\":false,\"ret\":null,\"envid\":\"\",\
         \"auth\":null,\"hold\":null,\"deliver-by\":{\"seconds\":-1,\"mode\":\"notify\",\"trace\":true},\"priority\":-9}}",
    );
}

#[test]
fn a_value_of_another_type_says_where_and_what() {
    fn check<T: Value + std::fmt::Debug>(json: Json, path: &str, expected: &str) {
        let wrong: Wrong = T::read(&json).expect_err("another type");
        assert_eq!(wrong.path, path, "{wrong}");
        assert!(wrong.to_string().contains(expected), "{wrong}");
    }
    check::<bool>(json!(1), "", "expected true or false, not 1");
    check::<u16>(json!(65536), "", "a number from 0 to 65535, not 65536");
    check::<u32>(json!(1.5), "", "a number");
    check::<i8>(json!("1"), "", "a number from -128 to 127");
    check::<u64>(json!(9_007_199_254_740_992_u64), "", "as a string of digits");
    check::<u64>(json!("7"), "", "as a string of digits");
    check::<u64>(json!("+9007199254740992"), "", "as a string of digits");
    check::<u64>(json!("009007199254740992"), "", "as a string of digits");
    check::<Vec<u8>>(json!("€"), "", "characters from U+0000 to U+00FF");
    check::<Vec<u8>>(json!([1, 2]), "", "characters from U+0000");
    check::<Vec<String>>(json!(["a", 2]), "1", "a string");
    check::<Notify>(json!(["delay", "success"]), "", "in this order");
    check::<Notify>(json!(["never"]), "", "some of success");
    check::<Need>(json!("nothing"), "", "one of \"input\", \"start-tls\", \"close\", {\"answer\": …}, not \"nothing\"");
    check::<Need>(json!({"input": null}), "", "one of");
    check::<Need>(json!("answer"), "", "one of");
    check::<Need>(
        json!({"answer": {"recipients": [{"path": {"mailbox": {"local": "a"}}}]}}),
        "answer.recipients.0.path.mailbox",
        "a member `host`",
    );
    check::<Refusal>(json!({"code": 1, "subject": 1, "detail": 1, "text": "", "more": 1}), "", "no members but code");
    check::<Result<Option<String>, Refusal>>(json!({"ok": 1}), "ok", "a string");
    check::<Result<Option<String>, Refusal>>(json!({"ok": null, "err": null}), "", "{\"ok\": …} or {\"err\": …}");
    check::<Piece>(json!({"range": [1]}), "range", "an array of two");
}

// The WIT's own words.

fn wit() -> wit_parser::Resolve {
    let mut resolve = wit_parser::Resolve::default();
    resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/engine")).expect("the WIT");
    resolve
}

fn camel(name: &str) -> String {
    let words = name.split('-').map(|word| word[..1].to_uppercase() + &word[1..]);
    words.collect()
}

/// Rust's names are made of WIT's, and go back to them.
#[test]
fn every_name_of_the_wit_is_found_again() {
    let resolve = wit();
    let mut names = 0;
    for (_, of) in &resolve.types {
        use wit_parser::TypeDefKind::{Enum, Record, Variant};
        let (fields, cases): (Vec<&str>, Vec<&str>) = match &of.kind {
            Record(record) => (record.fields.iter().map(|field| field.name.as_str()).collect(), Vec::new()),
            Enum(of) => (Vec::new(), of.cases.iter().map(|case| case.name.as_str()).collect()),
            Variant(of) => (Vec::new(), of.cases.iter().map(|case| case.name.as_str()).collect()),
            _ => continue,
        };
        for name in fields {
            assert_eq!(kebab(&name.replace('-', "_")), name);
            names += 1;
        }
        for name in cases {
            assert_eq!(kebab(&camel(name)), name);
            names += 1;
        }
    }
    assert!(names > 200, "{names}");
    let package = resolve.packages.iter().next().expect("a package").1;
    assert_eq!(package.name.version.as_ref().expect("a version").to_string(), WIT);
}

/// Each function's name and its parameters' are those of the WIT, but `freeze` and `thaw`, which change nothing.
#[test]
fn every_function_can_be_recorded() {
    let resolve = wit();
    let of = |interface: &str| -> BTreeSet<(String, Vec<String>)> {
        let mut found = resolve.interfaces.iter().filter(|(_, of)| of.name.as_deref() == Some(interface));
        let functions = &found.next().expect("an interface").1.functions;
        let methods = functions.iter().filter_map(|(name, function)| {
            let name = name.strip_prefix("[method]session.").filter(|name| *name != "freeze")?;
            let parameters = function.params.iter().map(|parameter| parameter.name.clone());
            Some((name.to_owned(), parameters.filter(|name| name != "self").collect()))
        });
        methods.collect()
    };
    fn members<H: Half>(calls: Vec<H::Call>) -> BTreeSet<(String, Vec<String>)> {
        let names: BTreeSet<String> = calls.iter().map(Call::name).collect();
        assert_eq!(names, H::Call::names().into_iter().collect());
        let members = |call: &H::Call| {
            let mut json = String::from("{");
            call.write(&mut json);
            json.push('}');
            let object: serde_json::Map<String, Json> = serde_json::from_str(&json).expect("an object");
            let mut parameters: Vec<String> = object.keys().filter(|name| *name != "call").cloned().collect();
            parameters.sort();
            (call.name(), parameters)
        };
        calls.iter().map(members).collect()
    }
    let sorted = |functions: BTreeSet<(String, Vec<String>)>| -> BTreeSet<(String, Vec<String>)> {
        functions
            .into_iter()
            .map(|(name, mut parameters)| {
                parameters.sort();
                (name, parameters)
            })
            .collect()
    };
    assert_eq!(members::<ServerHalf>(server_calls()), sorted(of("server")));
    assert_eq!(members::<ClientHalf>(client_calls()), sorted(of("client")));
}

fn refusal() -> Refusal {
    Refusal { code: 421, subject: 3, detail: 2, text: "Going down".into() }
}

fn server_calls() -> Vec<ServerCall> {
    vec![
        ServerCall::Start { now: 0 },
        ServerCall::Receive { now: 1, input: b"EHLO a\xff\r\n".to_vec() },
        ServerCall::Secured { now: 2, mechanisms: vec!["PLAIN".into()] },
        ServerCall::Tick { now: u64::MAX },
        ServerCall::Answer { now: 4, answer: Answer::Connection(Ok(None)) },
        ServerCall::Drain { now: 5, farewell: refusal() },
    ]
}

fn client_calls() -> Vec<ClientCall> {
    let transaction = client::Transaction {
        sender: None,
        recipients: Vec::new(),
        content: client::ContentFacts {
            size: 0,
            eight_bit: false,
            bare_line_ends: false,
            longest_line: 0,
            utf8_header: false,
        },
        require_tls: false,
        ret: None,
        envid: None,
        auth: None,
        deliver_by: None,
        priority: None,
    };
    vec![
        ClientCall::Start { now: 0 },
        ClientCall::Receive { now: 1, input: b"220 x\r\n".to_vec() },
        ClientCall::Secured { now: 2 },
        ClientCall::Tick { now: 3 },
        ClientCall::Lost { now: 4 },
        ClientCall::Login { now: 5, mechanism: "PLAIN".into(), initial: Some(b"\0a\0b".to_vec()) },
        ClientCall::Respond { now: 6, response: Vec::new() },
        ClientCall::Cancel { now: 7 },
        ClientCall::Deliver { now: 8, transaction },
        ClientCall::Content { now: 9, octets: b"x\r\n".to_vec(), last: true },
        ClientCall::Quit { now: 10 },
    ]
}

fn options() -> crate::engine::types::Options {
    let limits = |name: &str| if name == "recipients" { json!(100) } else { json!(512) };
    let names = fields_of::<crate::engine::types::Limits>();
    let limits: serde_json::Map<String, Json> = names.iter().map(|name| (name.clone(), limits(name))).collect();
    let options = json!({
        "protocol": "smtp", "server-name": "mx.test", "limits": limits, "implicit-tls": false, "start-tls": false,
        "require-tls": false, "plaintext-mechanisms": [], "tls-mechanisms": [], "require-auth": false, "xclient": [],
        "strict-hello": false, "deliver-by": false, "priority": false, "trace": false, "unasked": [],
    });
    Value::read(&options).expect("options")
}

/// The members that a record wants, one after the other.
fn fields_of<T: Value>() -> Vec<String> {
    let mut object = serde_json::Map::new();
    loop {
        match T::read(&Json::Object(object.clone())) {
            Err(wrong) if wrong.path.is_empty() => {
                let name = wrong.expected.trim_start_matches("a member `").trim_end_matches('`').to_owned();
                object.insert(name, json!(1));
            }
            _ => return object.keys().cloned().collect(),
        }
    }
}

fn step() -> Step {
    Step {
        consumed: 0,
        transmit: b"220 mx.test ESMTP\r\n".to_vec(),
        body: vec![Piece::Range((0, 9))],
        abandoned: false,
        events: Vec::new(),
        need: Need::Answer(Question::Connection),
        wake: u64::MAX,
    }
}

fn recording() -> Recording<ServerHalf> {
    let header = Header {
        engine: Some("sha256:00".into()),
        recorded: Some("2026-11-29T01:02:03Z".into()),
        why: Some("on-error".into()),
        masked: vec!["secrets".into()],
        about: [("listener".to_owned(), "mx\n\"1\"".to_owned())].into(),
        ..Header::default()
    };
    let mut recording = Recording::new(header, options());
    let mut outcomes =
        [Outcome::Step(step()), Outcome::Misuse(Misuse::BadAnswer("x".into())), Outcome::Trap("t".into())]
            .into_iter()
            .cycle();
    for call in server_calls() {
        recording.entries.push(Entry::Call(call, outcomes.next().expect("an outcome")));
    }
    let hook = json!({"plugin": "p", "hook": "on-message"});
    recording.entries.insert(2, Entry::Hook(hook.as_object().expect("an object").clone()));
    recording
}

#[test]
fn a_file_reads_as_it_was_written() {
    let recording = recording();
    let text = recording.write();
    assert!(text.starts_with("{\"hermetic-session\":1,\"half\":\"server\",\"wit\":\"0.1.0\","), "{text}");
    assert_eq!(read(text.as_bytes()).expect("a file"), Any::Server(recording));
    let client: Json = serde_json::from_str(&written(&client::options("mx.test"))).expect("JSON");
    let mut recording = Recording::<ClientHalf>::new(Header::default(), Value::read(&client).expect("options"));
    for call in client_calls() {
        recording.entries.push(Entry::Call(call, Outcome::Trap(String::new())));
    }
    assert_eq!(read(recording.write().as_bytes()).expect("a file"), Any::Client(recording));
}

/// The lines with an end that fits them.
fn sealed(lines: &[String]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let end = end(lines.len(), text.as_bytes());
    text + &end
}

fn lines() -> Vec<String> {
    let text = recording().write();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.pop();
    lines
}

#[test]
fn what_is_wrong_is_said() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = read(text.as_bytes()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
    }
    /// With another text in one line, and an end that fits.
    #[track_caller]
    fn with(line: usize, from: &str, to: &str, expected: &str) {
        let mut lines = lines();
        assert!(lines[line - 1].contains(from), "{}", lines[line - 1]);
        lines[line - 1] = lines[line - 1].replacen(from, to, 1);
        check(&sealed(&lines), expected);
    }
    let whole = recording().write();
    check("", "should be a JSON object with the member `hermetic-session`, not nothing");
    check("220 mx.test ESMTP\r\n", "this is no session file");
    check("{\"plugin\":\"x\"}\n", "this is no session file");
    check(&whole.replacen("session\":1", "session\":2", 1), "of version 2 of the format, and this reads version 1");
    check(&whole.replacen("session\":1", "session\":\"1\"", 1), "of version \"1\" of the format");
    check(lines()[0].as_str(), "cut short: line 1");
    check(&lines().join("\n"), "cut short: line 8");
    check(whole.trim_end(), "cut short");
    check(&whole[..whole.len() - 9], "cut short");
    check(&whole.replacen("EHLO", "HELO", 1), "changed after it was written");
    check(&whole.replacen("\"end\":8", "\"end\":7", 1), "that 7 lines stand before it, and there are 8");
    check(&whole.replacen("\"end\":8", "\"end\":8,\"x\":1", 1), "line 9: expected no members but end, sha256");
    with(1, "\"server\"", "\"probe\"", "half `\"probe\"`, and expected is one of `server`, `client`");
    with(1, "\"wit\":\"0.1.0\"", "\"wit\":1", "line 1: wit: expected a string");
    with(1, "\"server-name\":\"mx.test\",", "", "line 1: options: expected a member `server-name`");
    with(1, "\"about\":{", "\"about\":{\"x\":1,", "line 1: about.x: expected a string");
    with(1, "\"masked\":[\"secrets\"]", "\"masked\":null", "line 1: masked: expected an array");
    with(2, "{", "", "line 2 is no JSON");
    with(
        3,
        "\"call\":\"receive\"",
        "\"call\":\"reveive\"",
        "line 3 calls `reveive`, and the server has start, receive",
    );
    with(3, "\"call\"", "\"cal\"", "line 3 should be an object with `call` or `plugin`");
    with(3, "\"now\":1,", "", "line 3: expected a member `now`");
    with(3, "\"now\":1,", "\"now\":-1,", "line 3: now: expected a number");
    with(3, "\"input\"", "\"output\"", "line 3: expected a member `input`");
    with(3, "\"now\":1,", "\"now\":1,\"then\":2,", "line 3: expected no members but call, now, input");
    with(3, "\"misuse\"", "\"trap\":\"x\",\"misuse\"", "expected one of `step`, `misuse`, `trap`, not misuse and trap");
    with(2, "\"wake\":\"18446744073709551615\"", "\"wake\":\"never\"", "line 2: step.wake: expected a number");
    with(4, "\"plugin\":\"p\"", "\"plugin\":1", "line 4 should be an object");
    let mut other = lines();
    other[2] = "[]".into();
    check(&sealed(&other), "line 3 should be an object with `call` or `plugin`, not []");
    other[2] = "[".repeat(100_000);
    check(&sealed(&other), "line 3 is no JSON");
    let client = sealed(&[lines()[0].replace("\"server\"", "\"client\"")]);
    check(&client, "line 1: options");
    let client = Recording::<ClientHalf>::new(Header::default(), client::options("mx.test")).write();
    let error = read(client.as_bytes()).expect("a file").server().expect_err("another half").to_string();
    assert_eq!(error, "the file has a session of the half `client`, and expected is one of `server`");
    assert!(matches!(file::read_file(Path::new("/nonexistent")), Err(FileError::Io(_))));
}

/// A JSON value changed somewhere.
fn mutated(json: &mut Json, place: &mut usize, with: &Json) {
    if *place == 0 {
        *json = with.clone();
    }
    *place = place.wrapping_sub(1);
    match json {
        Json::Array(list) => list.iter_mut().for_each(|value| mutated(value, place, with)),
        Json::Object(object) => object.values_mut().for_each(|value| mutated(value, place, with)),
        _ => {}
    }
}

fn anything() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,8}".prop_map(Json::from),
        prop::sample::select(vec!["start", "receive", "input", "close", "closed", "ok", "18446744073709551616"])
            .prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let names =
            prop::sample::select(vec!["ok", "err", "answer", "recipients", "call", "step", "misuse", "plugin", ""]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            prop::collection::btree_map(names, inner, 0..3)
                .prop_map(|object| object.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Octets changed, cut and repeated anywhere: an error, never a panic, and never the same file with other content.
    #[test]
    fn no_octets_make_it_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6)) {
        let mut octets = recording().write().into_bytes();
        for (place, octet, kind) in edits {
            if octets.is_empty() {
                break;
            }
            let place = place.index(octets.len());
            match kind {
                0 => octets[place] = octet,
                1 => octets.truncate(place),
                2 => octets.insert(place, octet),
                _ => { octets.remove(place); }
            }
        }
        if let Ok(Any::Server(read)) = read(&octets) {
            prop_assert_eq!(read, recording());
        }
    }

    /// The same where the end fits: what was changed is read as what it is, or refused with a sentence.
    #[test]
    fn no_values_make_it_panic(line in 0..8_usize, place in 0..40_usize, with in anything()) {
        let mut lines = lines();
        let mut json: Json = serde_json::from_str(&lines[line]).expect("JSON");
        mutated(&mut json, &mut place.clone(), &with);
        lines[line] = json.to_string();
        match read(sealed(&lines).as_bytes()) {
            Ok(Any::Server(recording)) => {
                let again = read(recording.write().as_bytes()).expect("what was written");
                prop_assert_eq!(again, Any::Server(recording));
            }
            Ok(Any::Client(_)) => prop_assert!(false, "a client"),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn octets_and_numbers_come_back(octets in any::<Vec<u8>>(), number in any::<u64>(), text in any::<String>()) {
        let read = |json: &str| serde_json::from_str::<Json>(json).expect("JSON");
        prop_assert_eq!(Vec::<u8>::read(&read(&written(&octets))).expect("octets"), octets);
        prop_assert_eq!(u64::read(&read(&written(&number))).expect("a number"), number);
        prop_assert_eq!(String::read(&read(&written(&text))).expect("a string"), text);
    }
}
