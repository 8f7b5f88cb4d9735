//! Messages of every shape, in another form: to the octet what they should be, and the same to another parser.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

use proptest::prelude::*;

use super::*;

/// A part, as a test makes it.
#[derive(Clone, Debug)]
enum Tree {
    /// Type, encoding as it says (if it does), octets.
    Leaf(&'static str, Option<&'static str>, Vec<u8>),
    /// Subtype, encoding as it says, parts.
    Multipart(&'static str, Option<&'static str>, Vec<Tree>),
    /// A message within.
    Message(Option<&'static str>, Box<Tree>),
}

impl Tree {
    /// What no delimiter follows ends with its last line's end.
    fn closed(self) -> Self {
        match self {
            Self::Leaf(kind, label, mut octets) => {
                if !octets.ends_with(b"\r\n") {
                    octets.extend_from_slice(b"\r\n");
                }
                Self::Leaf(kind, label, octets)
            }
            Self::Message(label, inner) => Self::Message(label, Box::new(inner.closed())),
            multipart @ Self::Multipart(..) => multipart,
        }
    }
}

/// Numbers the boundaries.
struct Render {
    form: Option<Form>,
    boundaries: usize,
}

impl Render {
    /// The message, or what it should become.
    fn message(tree: &Tree, form: Option<Form>) -> Vec<u8> {
        let mut out = b"From: anna@example.test\r\nSubject: hello\r\nMIME-Version: 1.0\r\n".to_vec();
        let mut render = Self { form, boundaries: 0 };
        render.part(&tree.clone().closed(), &mut out);
        if !out.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    fn label(&self, given: Option<&'static str>) -> Option<&'static str> {
        match (self.form, given) {
            (Some(Form::SevenBit), Some("8bit" | "binary")) => Some("7bit"),
            (Some(Form::Lines), Some("binary")) => Some("8bit"),
            _ => given,
        }
    }

    fn part(&mut self, tree: &Tree, out: &mut Vec<u8>) {
        let field = |label: Option<&str>| {
            label.map(|label| format!("Content-Transfer-Encoding: {label}\r\n")).unwrap_or_default()
        };
        match tree {
            Tree::Leaf(kind, label, octets) => {
                let ascii = self.form != Some(Form::SevenBit) || octets.iter().all(|octet| (1..128).contains(octet));
                let text = String::from_utf8_lossy(octets).replace("\r\n", "");
                let lines = !text.contains(['\r', '\n']);
                let long = octets
                    .split(|octet| *octet == b'\n')
                    .any(|line| line.len() > 999 || line.len() == 999 && !line.ends_with(b"\r"));
                let (label, body) = match self.form {
                    None => (*label, octets.clone()),
                    Some(_) if ascii && lines && !long => (*label, octets.clone()),
                    Some(_) if kind.starts_with("text/") && lines => {
                        (Some("quoted-printable"), quoted_printable::encode(octets))
                    }
                    Some(_) => {
                        let lines: Vec<String> = octets.chunks(57).map(|line| STANDARD.encode(line)).collect();
                        (Some("base64"), lines.join("\r\n").into_bytes())
                    }
                };
                out.extend_from_slice(format!("Content-Type: {kind}\r\n{}\r\n", field(label)).as_bytes());
                out.extend_from_slice(&body);
            }
            Tree::Multipart(kind, label, parts) => {
                self.boundaries += 1;
                let boundary = format!("=_{}", self.boundaries);
                let label = field(self.label(*label));
                let head = format!("Content-Type: multipart/{kind}; boundary=\"{boundary}\"\r\n{label}\r\npreamble");
                out.extend_from_slice(head.as_bytes());
                for part in parts {
                    out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
                    self.part(part, out);
                }
                out.extend_from_slice(format!("\r\n--{boundary}--\r\nepilogue").as_bytes());
            }
            Tree::Message(label, inner) => {
                let label = field(self.label(*label));
                let head =
                    format!("Content-Type: message/rfc822\r\n{label}\r\nSubject: within\r\nMIME-Version: 1.0\r\n");
                out.extend_from_slice(head.as_bytes());
                self.part(inner, out);
            }
        }
    }
}

/// Any octets, lines or not; no delimiter among them.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[ -~äß\t]{0,30}(\r\n[ -,.-~äß\t]{0,80}){0,4}".prop_map(String::into_bytes),
        "[ -~\r\nä]{0,80}".prop_map(|text| text.replace("--", "==").into_bytes()),
        "[a-zä ]{990,1100}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..300),
        Just(Vec::new()),
    ]
    .prop_filter("no delimiter", |octets| !octets.windows(3).any(|three| three == b"--=" || three == b"=_1"))
}

fn label() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![Just(None), Just(Some("7bit")), Just(Some("8bit")), Just(Some("binary"))]
}

fn tree() -> impl Strategy<Value = Tree> {
    let kinds = prop_oneof![
        Just("text/plain; charset=utf-8"),
        Just("text/html; charset=iso-8859-1"),
        Just("application/octet-stream; name=\"a b.bin\""),
        Just("image/png"),
    ];
    let leaf = (kinds, label(), octets()).prop_map(|(kind, label, octets)| Tree::Leaf(kind, label, octets));
    leaf.prop_recursive(4, 12, 4, |inner| {
        let kinds = prop_oneof![Just("mixed"), Just("alternative"), Just("related"), Just("x-other")];
        prop_oneof![
            (kinds, label(), prop::collection::vec(inner.clone(), 1..4))
                .prop_map(|(kind, label, parts)| Tree::Multipart(kind, label, parts)),
            (label(), inner).prop_map(|(label, tree)| Tree::Message(label, Box::new(tree))),
        ]
    })
}

/// Reads pairs of messages, each behind its length, and compares what they are made of.
const PYTHON: &str = r#"
import email, sys
stream = sys.stdin.buffer
def leaves(message):
    found = []
    for part in message.walk():
        if not part.is_multipart():
            charset = part.get_param("charset")
            found.append((part.get_content_type(), charset, part.get_filename(), part.get_payload(decode=True)))
    return found
def read(length):
    return email.message_from_bytes(stream.read(int(length)))
count = 0
while length := stream.readline():
    before, after = leaves(read(length)), leaves(read(stream.readline()))
    assert before == after, (before, after)
    count += 1
print(count)
"#;

fn as_python_reads_them(pairs: &[(Vec<u8>, Vec<u8>)]) {
    let mut python = Command::new("python3")
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3, which reads messages as others do");
    let mut input = python.stdin.take().unwrap();
    let framed = |octets: &Vec<u8>| [format!("{}\n", octets.len()).as_bytes(), octets].concat();
    let all: Vec<u8> = pairs.iter().flat_map(|(before, after)| [framed(before), framed(after)].concat()).collect();
    let writer = std::thread::spawn(move || input.write_all(&all));
    let mut output = String::new();
    python.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    let written = writer.join().unwrap();
    assert!(python.wait().unwrap().success(), "see above");
    written.unwrap();
    assert_eq!(output.trim(), pairs.len().to_string());
}

/// The trees that proptest makes want more stack than a test's thread has where nothing is optimised.
#[test]
fn every_shape() {
    std::thread::Builder::new().stack_size(64 << 20).spawn(every_shape_is_kept).unwrap().join().unwrap();
}

/// What comes out is, to the octet, the message with its leaves encoded and nothing else changed; or there is a reason.
fn every_shape_is_kept() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let pairs = std::cell::RefCell::new(Vec::new());
    let converted = std::cell::Cell::new(0);
    runner
        .run(&(tree(), any::<bool>()), |(tree, seven)| {
            let form = if seven { Form::SevenBit } else { Form::Lines };
            let message = Render::message(&tree, None);
            match reencode(&message, form) {
                Ok(found) => {
                    let expected = Render::message(&tree, Some(form));
                    prop_assert_eq!(
                        String::from_utf8_lossy(&found),
                        String::from_utf8_lossy(&expected),
                        "from {}",
                        message.escape_ascii()
                    );
                    prop_assert!(form.holds(&found));
                    converted.set(converted.get() + usize::from(found != message));
                    // Python takes a bare CR or LF for the end of a line, so it reads a message with one otherwise.
                    if is_lines(&message) || only_crlf(&message) {
                        pairs.borrow_mut().push((message, found));
                    }
                }
                // A part of random octets may look like more than one to the parser; then nothing is done.
                Err(error) => prop_assert!(matches!(error, Unconvertible::Malformed(_)), "{error}"),
            }
            Ok(())
        })
        .unwrap();
    assert!(converted.get() > 500, "{} were converted", converted.get());
    let pairs = pairs.into_inner();
    assert!(pairs.len() > 200, "{} for python", pairs.len());
    as_python_reads_them(&pairs);
}

/// The deepest message that is looked at fits on the stack of a thread, which is what a test's thread has.
#[test]
fn nested_as_deep_as_may_be() {
    for begin in ["Content-Type: message/rfc822\r\n\r\n", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"] {
        for depth in [TYPES - 1, TYPES + 1] {
            let message = format!("Subject: x\r\n{}Content-Type: text/plain\r\n\r\n\u{e4}\r\n", begin.repeat(depth));
            let found = reencode(message.as_bytes(), Form::SevenBit);
            assert!(found.as_ref().is_ok_and(|found| found.is_ascii()) || found.is_err(), "{depth} {begin:?}");
            assert!(depth < TYPES || found.is_err(), "{depth} {begin:?}");
        }
    }
}

/// What an encoded part is read as.
#[test]
fn forms() {
    let long = "word ".repeat(300);
    let binary = [&b"\0\x01\xff\r\n\n\r"[..], &b"x".repeat(2000)].concat();
    let check = |message: &[u8], form, expected: &[u8]| {
        let found = reencode(message, form).unwrap_or_else(|error| panic!("{error}: {}", message.escape_ascii()));
        assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string());
    };
    let mut as_it_is = String::new();
    let _ = write!(as_it_is, "Subject: x\r\n\r\nhello\r\n");
    check(as_it_is.as_bytes(), Form::SevenBit, as_it_is.as_bytes());
    // No MIME: it becomes MIME.
    check(
        "Subject: x\r\n\r\ngrün = ja \r\n".as_bytes(),
        Form::SevenBit,
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
          Content-Transfer-Encoding: quoted-printable\r\n\r\ngr=C3=BCn =3D ja=20\r\n",
    );
    check(
        b"Subject: x\r\n\r\ngr\xfcn\r\n",
        Form::SevenBit,
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n\
          Content-Transfer-Encoding: quoted-printable\r\n\r\ngr=FCn\r\n",
    );
    // Eight bits may stay where only the lines are too long.
    let mixed = format!(
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: BINARY\r\n\r\nä\r\n--b\r\n\r\nü\r\n--b\r\n\
         Content-Type: text/plain\r\n\r\n{long}\r\n--b\r\nContent-Type: application/pkcs7-mime\r\ncontent-transfer-encoding: binary\r\nX-After: y\r\n\r\n"
    );
    let mixed = [mixed.as_bytes(), &binary, b"\r\n--b--\r\n"].concat();
    let found = String::from_utf8_lossy(&reencode(&mixed, Form::Lines).unwrap()).into_owned();
    assert!(found.contains("Content-Transfer-Encoding: 8bit\r\n\r\nä\r\n--b\r\n\r\nü\r\n"), "{found}");
    assert!(
        found.contains("Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"),
        "{found}"
    );
    assert!(
        found.contains("pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\nX-After: y\r\n\r\nAAH/DQoKDX"),
        "{found}"
    );
    let found = String::from_utf8(reencode(&mixed, Form::SevenBit).unwrap()).unwrap();
    assert!(found.contains("Content-Transfer-Encoding: 7bit\r\n\r\n??\r\n--b\r\n"), "{found}");
    assert!(found.contains("Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC\r\n--b\r\n"), "{found}");
    assert!(found.lines().filter(|line| !line.contains("Content-")).all(|line| line.len() <= 76), "{found}");
    // Base64 on one line is folded.
    let text = STANDARD.encode(&binary);
    let folded = reencode(
        format!("Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n{text}\r\n").as_bytes(),
        Form::Lines,
    );
    let folded = String::from_utf8(folded.unwrap()).unwrap();
    let body = folded.split("\r\n\r\n").nth(1).unwrap();
    assert!(body.lines().all(|line| line.len() <= 76) && body.replace("\r\n", "") == text, "{folded}");
    // A nested message with a header in UTF-8 is encoded as a whole (RFC 6532).
    let global = "MIME-Version: 1.0\r\nContent-Type: message/global\r\n\r\nSubject: grün\r\n\r\nja\r\n";
    let found = String::from_utf8(reencode(global.as_bytes(), Form::SevenBit).unwrap()).unwrap();
    assert!(found.contains("\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVj"), "{found}");
}

/// What has no other form, and why.
#[test]
fn what_is_not_touched() {
    let signed = |octets: &str| {
        format!(
            "MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b; micalg=x\r\n\r\n--b\r\n\r\n{octets}\r\n--b\r\n\
             Content-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n"
        )
    };
    let plain = signed("yes");
    assert_eq!(reencode(plain.as_bytes(), Form::SevenBit).unwrap(), plain.as_bytes());
    let within = signed("grün").replacen("MIME-Version: 1.0\r\n", "Subject: within\r\n", 1);
    let nested = format!("MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n\r\n{within}");
    let deep = format!("X: y\r\n{}end\r\n", "Content-Type: message/rfc822\r\n\r\n".repeat(200_000));
    let encoded = STANDARD.encode(&deep);
    let bomb = format!(
        "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: =?us-ascii?q?base=364?=\r\n\r\n{encoded}\r\n"
    );
    let sealed = |kind: &str| Unconvertible::Sealed(kind.into());
    for (message, expected) in [
        (signed("grün"), sealed("multipart/signed")),
        (signed("grün").replace("signed", "encrypted"), sealed("multipart/encrypted")),
        (nested, sealed("multipart/signed")),
        ("MIME-Version: 1.0\r\nContent-Type: message/partial; id=x\r\n\r\nä\r\n".into(), sealed("message/partial")),
        ("Content-Type: message/rfc822\r\n\r\nSubject: ä\r\n\r\nx\r\n".into(), Unconvertible::Header),
        ("Content-Type: multipart/mixed\r\n\r\nä\r\n".into(), Unconvertible::Malformed("a multipart has no parts")),
        (
            "Content-Transfer-Encoding: x-uuencode\r\n\r\nä\r\n".into(),
            Unconvertible::Malformed("the encoding of a part is unknown"),
        ),
        (
            "Content-Transfer-Encoding: quoted-printable\r\n\r\nä\r\n".into(),
            Unconvertible::Malformed("a part is not encoded as it says"),
        ),
        (deep, Unconvertible::Malformed("it has too many parts")),
        (bomb, Unconvertible::Malformed("the encoding of a part is unknown")),
        ("x".repeat(17 << 20), Unconvertible::TooLarge),
    ] {
        let found = reencode(message.as_bytes(), Form::SevenBit).unwrap_err();
        assert_eq!(found, expected, "{}", message.chars().take(200).collect::<String>());
    }
}

/// Delimiters that are none to others, and those that only others see.
#[test]
fn parts_of_which_there_is_one_reading() {
    let inner = "Content-Type: multipart/mixed; boundary=c\r\n\r\n";
    let within = |boundary: &str, body: &str| {
        format!("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n{body}")
    };
    for (message, apart) in [
        (within("b", "--b\r\n\r\ngrün\r\n--b--\r\n"), true),
        (within("b", "before\r\n--b \t\r\n\r\ngrün\r\n\r\n--b\r\nX: y\r\n\r\nja\r\n--b-- \r\nafter --b\r\n"), true),
        (within("b", &format!("--b\r\n{inner}--c\r\n\r\ngrün\r\n--c--\r\n--b\r\n\r\nja\r\n--b--\r\n")), true),
        // It was cut off.
        (within("b", "--b\r\n\r\ngrün\r\n"), true),
        // In a line, at its front, longer than the boundary.
        (within("b", "--b\r\n\r\ngrün --b\r\nX: y\r\n\r\ngrün\r\n--b--\r\n"), false),
        (within("b", "before --b\r\n\r\ngrün\r\n--b--\r\n"), false),
        (within("b", "--b\r\n\r\ngrün --b-- ja\r\n--b--\r\n"), false),
        (within("b", "--b\r\n\r\ngrün\r\n--bx: y\r\n\r\ngrün\r\n--b--\r\n"), false),
        (within("b", "--b\r\n\r\ngrün\r\n---b\r\n\r\ngrün\r\n--b--\r\n"), false),
        // The outer one's, in what the inner one is taken for.
        (within("b", &format!("--b\r\n{inner}--c\r\n\r\ngrün\r\n--b\r\n\r\nja\r\n--c--\r\n--b--\r\n")), false),
        (within("b", &format!("--b\r\n{inner}--c\r\n\r\ngrün\r\n--b--\r\n--c--\r\n--b--\r\n")), false),
        (within("b", &format!("--b\r\n{inner}--c\r\n\r\ngrün\r\n--b--\r\n")), false),
    ] {
        match reencode(message.as_bytes(), Form::SevenBit) {
            Ok(found) => assert!(apart && found.is_ascii(), "{message}"),
            Err(error) => assert!(!apart && error == NOT_APART, "{error}: {message}"),
        }
    }
}

/// What nobody is shown costs what it is long, not a piece of memory for each octet.
#[test]
fn much_between_the_parts() {
    let much = format!("{}\r\n", "\u{e4}".repeat(400)).repeat(5000);
    let head = "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
    let message = format!("{head}{much}--b\r\n\r\ny\r\n--b--\r\n{much}");
    let parts = parse(message.as_bytes()).unwrap();
    let mut work = Work::new(message.as_bytes(), Form::SevenBit);
    work.message(&parts).unwrap();
    work.between();
    assert_eq!(work.changes.len(), 2);
    let found = reencode(message.as_bytes(), Form::SevenBit).unwrap();
    assert!(found == message.replace('\u{e4}', "??").into_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever it is: there is an end, and what comes out has the form.
    #[test]
    fn nothing_breaks_it(
        pieces in prop::collection::vec(
            prop_oneof![
                Just("Content-Type: multipart/mixed; boundary=b\r\n"), Just("\r\n--b\r\n"), Just("\r\n--b--\r\n"), Just("\r\n"),
                Just("Content-Type: message/rfc822\r\n"), Just("Content-Type: text/plain\r\n"), Just("ä"), Just("\n"), Just("\r"),
                Just("Content-Transfer-Encoding: base64\r\n"), Just("Content-Transfer-Encoding: 8bit\r\n"), Just("Subject: x\r\n"),
                Just("Content-Type: multipart/signed; boundary=b\r\n"), Just("Content-Type: multipart/digest; boundary=\"c\"\r\n"),
                Just("\r\n--c\r\n"), Just(" folded\r\n"), Just(": \r\n"), Just("Content-Type:\r\n"), Just("Content-Type: message/global\r\n"),
            ],
            0..30,
        ),
        seven: bool,
    ) {
        let form = if seven { Form::SevenBit } else { Form::Lines };
        if let Ok(found) = reencode(pieces.concat().as_bytes(), form) {
            prop_assert!(form.holds(&found));
        }
    }
}
