//! The invariants of `ARCHITECTURE.md` that can be read off the sources, the crate graph and the component.
//!
//! 4, 6, 7, 8 and 11 are about plugins, the queue, releases and transcripts, and are tested there.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use hermetic::engine::pool::COMPONENT;
use hermetic::engine::types::{Answer, Need, Question, Refusal, SaslAnswer, VerifyAnswer};
use hermetic::engine::{Engine, Session};
use hermetic_tests::native::Native;
use hermetic_tests::transcript;
use proptest::prelude::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A source file without its comments and without what only tests see.
struct Source {
    /// From the workspace's root.
    name: String,
    code: String,
}

/// All Rust sources below a folder, but for files that are tests altogether.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("a path below the root").display().to_string();
                if !name.ends_with("tests.rs") && !name.contains("/tests/") {
                    found.push(Source { code: code(&read(&path)), name });
                }
            }
        }
    }
    assert!(found.len() > 1, "there are sources in {folder}");
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// Up to the test module, which stands last in a file, and without comments that fill a line.
fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\n#[allow").next().unwrap_or_default();
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut code = String::new();
    let mut for_tests = false;
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        if !for_tests {
            code += line;
            code.push('\n');
        }
        for_tests = line.trim() == "#[cfg(test)]";
    }
    code
}

/// Fails with every line that `wrong` finds something about.
fn no_line(sources: &[Source], wrong: impl Fn(&Source, &str) -> Option<String>) {
    let mut report = String::new();
    for source in sources {
        for line in source.code.lines() {
            if let Some(why) = wrong(source, line) {
                let _ = writeln!(report, "{}: {why}\n    {}", source.name, line.trim());
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

/// The dependencies of a crate, of these kinds, by name.
fn dependencies(krate: &str, kinds: &[&str]) -> BTreeSet<String> {
    let manifest: toml::Table = read(&root().join(krate).join("Cargo.toml")).parse().expect("a manifest");
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let of_targets = targets.into_iter().flat_map(|targets| targets.values()).filter_map(toml::Value::as_table);
    let tables = of_targets.chain([&manifest]);
    let tables = tables.flat_map(|table| kinds.iter().filter_map(|name| table.get(*name)?.as_table()));
    tables.flat_map(|table| table.keys().cloned()).collect()
}

/// The crates of this workspace, which have a path instead of a version.
fn ours() -> BTreeSet<String> {
    let manifest: toml::Table = read(&root().join("Cargo.toml")).parse().expect("a manifest");
    let table = manifest["workspace"]["dependencies"].as_table().expect("dependencies").clone();
    table.into_iter().filter(|(_, value)| value.get("path").is_some()).map(|(name, _)| name).collect()
}

// 1. `host` does not depend on `core`, and parses no SMTP.

#[test]
fn the_host_depends_on_no_crate_of_ours() {
    assert!(ours().contains("hermetic-core"), "{:?}", ours());
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let shared: Vec<_> = dependencies("host", &kinds).intersection(&ours()).cloned().collect();
    assert!(shared.is_empty(), "host depends on {shared:?}");
    no_line(&sources("host"), |_, line| line.contains("hermetic_core").then(|| "names the core".into()));
    assert!(!read(&root().join("host/Cargo.toml")).contains("path = \"../"), "a path leads out of host");
}

/// Where the host may look for an `@`: what the operator wrote, and the version of a plugin's interface, are not the peer's.
const OPERATORS_MAILBOXES: [&str; 2] = ["host/src/config/", "host/src/plugin/grants.rs"];

#[test]
fn the_host_reads_no_command_and_splits_no_mailbox() {
    // A verb at the start of a text is what a parser would look for. Attributes of XCLIENT arrive parsed.
    const VERBS: [&str; 10] =
        ["EHLO", "HELO ", "LHLO", "MAIL FROM", "RCPT TO", "BDAT", "VRFY ", "STARTTLS\\r", "AUTH PLAIN", "MAIL "];
    const PARAMETERS: [&str; 8] = ["BODY=", "NOTIFY=", "ORCPT=", "ENVID=", "RET=", "SIZE=", "AUTH=", "rfc822;"];
    let splits = |line: &str| {
        let looks = ["split", "find(", "position(", "strip_"].iter().any(|call| line.contains(call));
        looks && ["'@'", "\"@\"", "b'@'"].iter().any(|at| line.contains(at))
    };
    no_line(&sources("host/src"), |source, line| {
        let literal = |word: &&&str| line.contains(&format!("\"{word}"));
        if let Some(verb) = VERBS.iter().find(literal) {
            // The command line's help and the welcome show a person what to type.
            return (!source.name.starts_with("host/src/cli/")).then(|| format!("knows the command {verb}"));
        }
        if let Some(parameter) = PARAMETERS.iter().find(literal) {
            return Some(format!("knows the parameter {parameter}"));
        }
        let operators = OPERATORS_MAILBOXES.iter().any(|place| source.name.starts_with(place));
        (splits(line) && !operators).then(|| "splits a mailbox".into())
    });
}

// 2. `core` is safe, has no clock and no I/O, and every bound comes from one `Limits`.

#[test]
fn the_core_is_safe_and_without_std() {
    let lib = read(&root().join("core/src/lib.rs"));
    for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
        assert!(lib.contains(attribute), "core/src/lib.rs lacks {attribute}");
    }
    no_line(&sources("core/src"), |_, line| {
        let words = ["std::", "extern crate std", "unsafe ", "static mut", "allow(unsafe"];
        let found = words.iter().find(|word| line.contains(**word) && !line.contains("no_std"))?;
        Some(format!("has {found:?}"))
    });
}

#[test]
fn the_core_has_no_dependency_with_io() {
    let of = |krate| dependencies(krate, &["dependencies", "build-dependencies"]);
    let expected = ["base64", "memchr", "postcard", "serde", "thiserror"].map(str::to_owned);
    assert_eq!(of("core"), BTreeSet::from(expected), "a new dependency of core: no_std, no clock, no I/O?");
    let expected = ["dlmalloc", "hermetic-core", "wit-bindgen"].map(str::to_owned);
    assert_eq!(of("core/component"), BTreeSet::from(expected));
    let manifest: toml::Table = read(&root().join("Cargo.toml")).parse().expect("a manifest");
    for name in ["base64", "memchr", "postcard", "serde", "thiserror"] {
        let default = manifest["workspace"]["dependencies"][name].get("default-features");
        assert_eq!(default, Some(&toml::Value::Boolean(false)), "{name} with its default features wants std");
    }
}

/// The names in the braces behind `head`, up to each colon.
fn fields(text: &str, head: &str) -> Vec<String> {
    let body = text.split(head).nth(1).and_then(|rest| rest.split('}').next()).unwrap_or_else(|| panic!("no {head}"));
    let lines = body.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let names = lines.filter_map(|line| line.trim_start_matches("pub ").split_once(':'));
    names.map(|(name, _)| name.replace('-', "_")).collect()
}

#[test]
fn every_bound_is_one_of_the_limits_and_every_limit_bounds_something() {
    let limits = fields(&read(&root().join("core/src/limits.rs")), "pub struct Limits {");
    assert!(limits.len() > 10, "{limits:?}");
    let wit = read(&root().join("wit/engine/server.wit"));
    assert_eq!(fields(&wit, "record limits {"), limits, "wit/engine and core name the same bounds");
    let options = fields(&read(&root().join("core/src/server/options.rs")), "pub struct Options {");
    assert_eq!(fields(&wit, "record options {"), options, "wit/engine and core name the same options");
    let core = sources("core/src");
    let client = read(&root().join("wit/engine/client.wit"));
    let clients = fields(&read(&root().join("core/src/client/limits.rs")), "pub struct Limits {");
    assert_eq!(fields(&client, "record limits {"), clients, "wit/engine and core name the same bounds of a client");
    let options = fields(&read(&root().join("core/src/client/options.rs")), "pub struct Options {");
    assert_eq!(fields(&client, "record options {"), options, "wit/engine and core name the same options of a client");
    let probe = read(&root().join("wit/engine/probe.wit"));
    let probes = fields(&read(&root().join("core/src/probe/limits.rs")), "pub struct Limits {");
    assert_eq!(fields(&probe, "record limits {"), probes, "wit/engine and core name the same bounds of a probe");
    let options = fields(&read(&root().join("core/src/probe/mod.rs")), "pub struct Options {");
    assert_eq!(fields(&probe, "record options {"), options, "wit/engine and core name the same options of a probe");
    for limit in limits.iter().chain(&clients).chain(&probes) {
        let used = core.iter().any(|source| source.code.contains(&format!("limits.{limit}")));
        assert!(used, "nothing is bounded by limits.{limit}");
    }
}

// 3. The engine component's import list is empty.

#[test]
fn the_engine_imports_nothing() {
    let engine = wasmtime::Engine::default();
    let component = wasmtime::component::Component::new(&engine, COMPONENT).expect("a component");
    let world = component.component_type();
    let imports: Vec<_> = world.imports(&engine).map(|(name, _)| name.to_owned()).collect();
    assert!(imports.is_empty(), "the engine imports {imports:?}");
    let exports: BTreeSet<_> = world.exports(&engine).map(|(name, _)| name.to_owned()).collect();
    let expected = ["client", "probe", "server", "types"].map(|name| format!("hermetic:engine/{name}@0.1.0"));
    assert_eq!(exports, BTreeSet::from(expected));
    no_line(&sources("host/src/engine"), |_, line| {
        let grants = ["func_wrap", "func_new", "add_to_linker", "define_unknown"];
        grants.iter().find(|grant| line.contains(**grant)).map(|_| "grants the engine something".into())
    });
}

// 5. 250 after the final dot only after the store says that the message is durable.

#[test]
fn the_answer_to_a_message_is_given_in_one_place() {
    let makers: Vec<_> = sources("host/src")
        .iter()
        .flat_map(|source| {
            source.code.lines().map(|line| (source.name.clone(), line.trim().to_owned())).collect::<Vec<_>>()
        })
        .filter(|(_, line)| line.contains("Answer::Message(") && !line.contains("=> {") && !line.contains("if let"))
        .collect();
    assert!(makers.len() <= 1, "who says that a message is accepted? {makers:#?}");
}

// 9. Modules of the host depend downwards only.

/// From above to below. Those of one row know nothing of each other.
const ROWS: [&[&str]; 12] = [
    &["cli"],
    &["listen", "trial", "admin"],
    &["policy", "queue"],
    &["deliver", "dsn"],
    &["tlsrpt"],
    &["record"],
    &["engine", "plugin", "store"],
    &["transport", "dkim", "sandbox"],
    &["dns"],
    &["observe"],
    &["config"],
    &["files", "edit"],
];

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// The modules that a line of code names by `crate::`, in a group too.
fn named(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        let group = rest.strip_prefix('{').map(|group| group.split("};").next().unwrap_or_default());
        match group {
            Some(group) => {
                let mut depth = 0;
                for part in group.split_inclusive(['{', '}', ',']) {
                    let name = part.trim().split(ends).next().unwrap_or_default();
                    if depth == 0 && !name.is_empty() {
                        names.insert(name.to_owned());
                    }
                    depth += part.matches('{').count();
                    depth -= part.matches('}').count().min(depth);
                }
            }
            None => {
                names.insert(rest.split(ends).next().unwrap_or_default().to_owned());
            }
        }
    }
    names
}

#[test]
fn modules_depend_downwards() {
    assert_eq!(named("use crate::{store::{A, B}, config::C};\nuse crate::engine::X; crate::policy::f()").len(), 4);
    let mut report = String::new();
    for source in sources("host/src") {
        let module =
            source.name.trim_start_matches("host/src/").split(['/', '.']).next().unwrap_or_default().to_owned();
        if module == "main" || module == "lib" {
            continue;
        }
        let Some(from) = row(&module) else { panic!("{}: give {module:?} a place in ROWS", source.name) };
        for name in named(&source.code) {
            match row(&name) {
                _ if name == module => {}
                Some(to) if to > from => {}
                Some(_) => {
                    let _ = writeln!(report, "{}: {module} uses {name}, which is not below it", source.name);
                }
                None => {
                    let _ = writeln!(report, "{}: what is crate::{name}?", source.name);
                }
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

// 10. The output to the peer is always re-framed by the core.

#[test]
fn one_place_in_the_core_writes_to_the_peer() {
    for (side, place) in [("server", "turn"), ("client", "turn"), ("probe", "talk")] {
        let side = format!("core/src/{side}");
        no_line(&sources(&side), |source, line| {
            let writes = line.contains("step.transmit") && source.name != format!("{side}/{place}.rs");
            writes.then(|| format!("writes to the peer past {place}.rs"))
        });
    }
}

/// Every reply in the octets: well-formed lines (RFC 5321 section 4.2), by code.
fn replies(output: &[u8]) -> Result<Vec<u16>, String> {
    let mut codes = Vec::new();
    let mut open = None;
    for line in output.split_inclusive(|octet| *octet == b'\n') {
        let shown = || line.escape_ascii().to_string();
        let text = line.strip_suffix(b"\r\n").ok_or_else(|| format!("no CRLF: {}", shown()))?;
        let (code, rest) = text.split_at_checked(3).ok_or_else(|| format!("no code: {}", shown()))?;
        let code: u16 =
            std::str::from_utf8(code).unwrap_or_default().parse().map_err(|_| format!("no code: {}", shown()))?;
        // A challenge may be longer: RFC 4954 section 4.
        let most = if code == 334 { 12_288 } else { 512 };
        if line.len() > most || text.iter().any(u8::is_ascii_control) || open.is_some_and(|open| open != code) {
            return Err(format!("too long, not printable, or of another reply: {}", shown()));
        }
        match rest.first() {
            Some(b'-') => open = Some(code),
            None | Some(b' ') => {
                codes.push(code);
                open = None;
            }
            _ => return Err(format!("no code: {}", shown())),
        }
    }
    if open.is_some() { Err("the last reply does not end".into()) } else { Ok(codes) }
}

/// Text that would like to be more than text.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\r\n".to_owned()),
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("\r\n250 2.0.0 forged".to_owned()),
        Just("250-".to_owned()),
        Just("\0\u{1b}[2J\u{85}\u{2028}\u{7f}".to_owned()),
        any::<String>(),
        "[ -~]{0,600}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn answer(session: &mut dyn Session, question: &Question, text: &str, refuse: Option<u16>) -> (Need, Vec<u8>) {
    let refusal = |code| Refusal { code, subject: 7, detail: 1, text: text.to_owned() };
    let decision = || refuse.map_or_else(|| Ok(Some(text.to_owned())), |code| Err(refusal(code)));
    let answer = match question {
        Question::Connection => Answer::Connection(decision()),
        Question::Hello(_) => Answer::Hello(decision()),
        Question::Xclient(_) => Answer::Xclient(decision()),
        Question::Sender(_) => Answer::Sender(decision()),
        Question::Data => Answer::Data(decision()),
        Question::Recipients(batch) => Answer::Recipients(batch.iter().map(|_| decision()).collect()),
        Question::Message(facts) => Answer::Message((0..facts.recipients).map(|_| decision()).collect()),
        Question::Verify(_) => Answer::Verify(match refuse {
            None => VerifyAnswer::Known(text.to_owned()),
            Some(code) => VerifyAnswer::Refused(refusal(code)),
        }),
        Question::Sasl(_) => Answer::Sasl(match refuse {
            None => SaslAnswer::Challenge(text.as_bytes().iter().copied().take(9000).collect()),
            Some(code) => SaslAnswer::Refused(refusal(code)),
        }),
    };
    let step = session.answer(1, &answer).expect("an answer");
    (step.need, step.transmit)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a text holds and to whichever question, the peer hears one reply a command, of the right code.
    #[test]
    fn no_text_forges_a_reply(text in texts(), refused in 0..9_usize, code in 550..555_u16) {
        let said: [(&str, &[u16]); 9] = [
            ("", &[220]),
            ("EHLO client.example\r\n", &[250]),
            ("VRFY someone\r\n", &[250, 252]),
            ("AUTH PLAIN\r\n", &[334]),
            ("*\r\n", &[501]),
            ("MAIL FROM:<a@b.example> SMTPUTF8\r\n", &[250]),
            ("RCPT TO:<c@d.example>\r\n", &[250]),
            ("DATA\r\n", &[354]),
            ("x\r\n.\r\n", &[250]),
        ];
        let options = hermetic::engine::types::Options { plaintext_mechanisms: vec!["PLAIN".into()], ..transcript::plain() };
        let mut session = Native.open(&options).expect("a session");
        let mut need = session.start(1).expect("a start").need;
        for (place, (line, codes)) in said.iter().enumerate() {
            let mut output = Vec::new();
            if !line.is_empty() {
                let step = session.receive(1, line.as_bytes()).expect("a step");
                (need, output) = (step.need, step.transmit);
            }
            let refuse = (place == refused).then_some(code);
            let mut asked = false;
            while let Need::Answer(question) = need {
                asked = true;
                let said;
                (need, said) = answer(&mut *session, &question, &text, refuse);
                output.extend(said);
            }
            let heard = replies(&output).map_err(TestCaseError::fail)?;
            let expected = if asked { refuse.map_or(codes.to_vec(), |code| vec![code]) } else { codes.to_vec() };
            prop_assert!(heard.len() == 1 && expected.contains(&heard[0]), "{line:?}: {heard:?} instead of {expected:?}");
            if asked && refuse.is_some() {
                break;
            }
        }
    }
}
