//! One message to six recipients, whose chains are in six languages and come to six different ends: over SMTP, PRDR and
//! LMTP, sent by a real client. And every plugin that is shipped is built and can be loaded.
//!
//! The filter is `tag` of `guest-plugins/examples`, built here by its own `build.sh` in each language. Where a language's tools
//! are not installed, or swaks is not, the tests say so on standard error and end; with `CI=true` that is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::{Duration, Instant},
};

use hermetic_tests::server::{Rig, Server, binary};

/// The languages, each of which is also a mailbox, and what their filter makes of a message whose Subject has an offer.
const LANGUAGES: [(&str, &str); 6] = [
    ("rust", ""),
    ("c", r#"word = "offer""#),
    ("javascript", r#"word = "offer", verdict = "discard""#),
    ("typescript", r#"word = "offer", verdict = "accept""#),
    ("python", r#"word = "offer", verdict = "defer""#),
    ("go", ""),
];

const SHIPPED: &str = "guest-plugins";

fn guest_plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-plugins").canonicalize().expect("they are here")
}

/// For `let … else`: says that the test is not run. A failure with `CI=true`.
fn missing<T>(what: &str) -> Option<T> {
    let ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false");
    assert!(!ci, "{what}");
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // Not `eprintln!`, which the test runner keeps to itself.
    let _ = writeln!(std::io::stderr(), "NOT RUN: {test}: {what}");
    None
}

/// Every component by its name, or what a build said that failed. The builds run side by side; those that are up to date
/// take a moment.
fn components() -> Option<&'static BTreeMap<String, PathBuf>> {
    static BUILT: LazyLock<Result<BTreeMap<String, PathBuf>, String>> = LazyLock::new(|| {
        let folder = guest_plugins();
        let mut scripts = vec![(SHIPPED.to_owned(), folder.join("build.sh"))];
        let example = |language: &str| folder.join("examples").join(language).join("build.sh");
        // Rust's example is one of those that build.sh builds.
        let others = LANGUAGES.iter().filter(|(language, _)| *language != "rust");
        scripts.extend(others.map(|(language, _)| (format!("the example in {language}"), example(language))));
        std::thread::scope(|scope| {
            let all: Vec<_> = scripts.iter().map(|(what, script)| scope.spawn(move || build(what, script))).collect();
            all.into_iter().try_for_each(|one| one.join().expect("it does not panic"))
        })?;
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(folder.join("out")).map_err(|error| error.to_string())?.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|end| end == "wasm") {
                found.insert(path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), path);
            }
        }
        compile(&found)?;
        Ok(found)
    });
    match &*BUILT {
        Ok(found) => Some(found),
        Err(why) => missing(why),
    }
}

fn build(what: &str, script: &Path) -> Result<(), String> {
    let out = Command::new("bash").arg(script).output().map_err(|error| format!("{what} is not built: {error}"))?;
    match out.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{what} is not built: {}\n{}{}",
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        )),
    }
}

/// Where the machine code of components is kept between runs.
fn caches() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("languages")
}

/// Compiles them, so that the server starts at once. An unoptimised compiler takes half a minute for Python.
fn compile(components: &BTreeMap<String, PathBuf>) -> Result<(), String> {
    for (name, file) in components {
        let out = hermetic(&["plugin", "inspect"], file);
        if !out.status.success() {
            return Err(format!("{name} can not be loaded: {}", String::from_utf8_lossy(&out.stderr)));
        }
    }
    Ok(())
}

fn hermetic(arguments: &[&str], file: &Path) -> std::process::Output {
    let mut command = Command::new(binary(&[]));
    command.args(arguments).arg(file).env("XDG_CACHE_HOME", caches()).output().expect("hermetic starts")
}

/// The mailboxes are the languages. Rust's and TypeScript's chains go on to rules, Go's to aliases.
fn server(components: &BTreeMap<String, PathBuf>) -> Server {
    let mut tables = String::new();
    let mut plugin = |name: &str, file: &str, grants: &str, settings: &str| {
        let file = components.get(file).unwrap_or_else(|| panic!("{file} is not among {:?}", components.keys()));
        let _ = writeln!(
            tables,
            "[[plugin]]\nname = {name:?}\nfile = {file:?}\ngrants = {{ {grants} }}\nsettings = {{ {settings} }}\n\
             limits = {{ deadline = 5000, timeout = 30000 }}"
        );
    };
    for (language, settings) in LANGUAGES {
        plugin(language, &format!("tag-{language}"), "edit = true", settings);
    }
    let seen =
        r#"rules = [{ header = "X-Hermetic-Tag", is = "rust", add = { name = "X-Seen", value = "rust's tag" } }]"#;
    plugin("seen", "header-rules", "edit = true", seen);
    let never = r#"rules = [{ header = "Subject", verdict = "reject", text = "asked after an acceptance" }]"#;
    plugin("never", "header-rules", "edit = true", never);
    let aliases = r#"aliases = { "go@example.test" = ["gopher@example.test"] }"#;
    plugin("aliases", "aliases", r#"forwarding = ["example.test"]"#, aliases);
    for (language, _) in LANGUAGES {
        let more = match language {
            "rust" => r#", "seen""#,
            "typescript" => r#", "never""#,
            "go" => r#", "aliases""#,
            _ => "",
        };
        let _ =
            writeln!(tables, "[[route]]\nrecipients = [\"{language}@example.test\"]\nplugins = [{language:?}{more}]");
    }
    Rig::full().tables(&tables).start_below(|data| {
        let compiled = data.join("plugins/compiled");
        fs::create_dir_all(&compiled).expect("ours");
        fs::set_permissions(compiled.parent().expect("named"), fs::Permissions::from_mode(0o700)).expect("ours");
        fs::set_permissions(&compiled, fs::Permissions::from_mode(0o700)).expect("ours");
        for file in fs::read_dir(caches().join("hermetic-plugins")).expect("it was written").flatten() {
            fs::copy(file.path(), compiled.join(file.file_name())).expect("copied");
        }
        []
    })
}

/// What swaks saw, one message to everybody.
fn swaks(server: &Server, kind: &str, subject: &str, more: &[&str]) -> Option<String> {
    let to: Vec<String> = LANGUAGES.iter().map(|(language, _)| format!("{language}@example.test")).collect();
    let out = Command::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &server.port(kind).to_string(), "--helo", "client.example.org"])
        .args(["--timeout", "120", "--from", "me@far.example", "--to", &to.join(",")])
        .args(["--header", &format!("Subject: {subject}"), "--body", "How are you?"])
        .args(more)
        .env("LC_ALL", "C.UTF-8")
        .output();
    match out {
        // Its exit code tells of refused recipients too.
        Ok(out) => Some(String::from_utf8_lossy(&out.stdout).into_owned()),
        Err(error) => missing(&format!("swaks does not start: {error}; run tests/clients/install.sh")),
    }
}

/// The replies after the final dot, one a recipient where the protocol has them.
fn replies(said: &str) -> Vec<String> {
    let after = said.lines().skip_while(|line| line.trim_end() != " -> .").skip(1);
    let replies = after.filter_map(|line| line.strip_prefix("<- ").or_else(|| line.strip_prefix("<** ")));
    replies.map(|line| line.trim().to_owned()).filter(|line| !line.starts_with("221")).collect()
}

fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Copies of the message with this subject in a mailbox.
fn copies(server: &Server, mailbox: &str, subject: &str) -> Vec<String> {
    let all = server.maildir(mailbox).messages().into_iter();
    let all = all.map(|message| String::from_utf8_lossy(&message).into_owned());
    all.filter(|message| message.contains(&format!("Subject: {subject}\r\n"))).collect()
}

/// Three of six get it: Rust's with both edits, TypeScript's without a word, Go's elsewhere.
fn who_has_it(server: &Server, subject: &str) {
    let fields = |message: &str| {
        let header = message.split("\r\n\r\n").next().unwrap_or_default();
        let ours = |line: &&str| line.starts_with("X-Hermetic-Tag") || line.starts_with("X-Seen");
        header.lines().filter(ours).map(str::to_owned).collect::<Vec<_>>()
    };
    for (mailbox, expected) in [
        ("rust", &["X-Seen: rust's tag", "X-Hermetic-Tag: rust"][..]),
        ("typescript", &[]),
        ("gopher", &["X-Hermetic-Tag: go"]),
    ] {
        wait_for(&format!("mail for {mailbox}"), || !copies(server, mailbox, subject).is_empty());
        let found = copies(server, mailbox, subject);
        assert_eq!(found.len(), 1, "{mailbox}: {found:#?}");
        assert_eq!(fields(&found[0]), expected, "{mailbox}: {}", found[0]);
        assert!(found[0].trim_end().ends_with("How are you?"), "{mailbox}: {}", found[0]);
    }
    for mailbox in ["c", "javascript", "python", "go"] {
        assert_eq!(copies(server, mailbox, subject), [""; 0], "{mailbox}");
    }
}

/// `hermetic why` tells of each recipient the plugins that ran, with the hash of each component, and what they said.
fn why(server: &Server, components: &BTreeMap<String, PathBuf>, id: &str) {
    let told = server.run(&["why", id], "");
    let mut of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut current = "";
    for line in told.lines() {
        match line.strip_prefix("  ") {
            Some(step) if step.starts_with(' ') => of.entry(current).or_default().push(step.trim()),
            Some(recipient) => {
                current = recipient.split('@').next().unwrap_or_default();
                of.entry(current).or_default().push(recipient);
            }
            None => {}
        }
    }
    let hash = |file: &str| {
        let out = hermetic(&["plugin", "inspect"], &components[file]);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.split("SHA-256 ").nth(1).and_then(|rest| rest.get(..12)).expect("a hash").to_owned()
    };
    for (language, outcome, verdict) in [
        ("rust", "accepted", "proceed, 1 edit"),
        ("c", "refused by plugin c: no offer, please", "reject, no offer, please (5.7.1)"),
        ("javascript", "accepted and discarded", "discard"),
        ("typescript", "accepted", "accept"),
        ("python", "deferred by plugin python: no offer, please", "defer, no offer, please (4.7.1)"),
        ("go", "redirected by plugin aliases to gopher@example.test", "proceed, 1 edit"),
    ] {
        let lines = of.get(language).unwrap_or_else(|| panic!("{language} in:\n{told}"));
        assert!(lines[0].contains(outcome), "{language}: {outcome:?} in:\n{told}");
        let step = format!("{language} ({}) recipient-message: {verdict};", hash(&format!("tag-{language}")));
        assert!(lines.iter().any(|line| line.starts_with(&step)), "{language}: {step:?} in:\n{told}");
    }
    assert!(of["rust"].iter().any(|line| line.starts_with("seen (")), "{told}");
    assert!(!of["typescript"].iter().any(|line| line.starts_with("never (")), "the chain went on:\n{told}");
}

/// The id of the message that was stored last.
fn last_id(server: &Server) -> String {
    let log = server.log();
    let id = log.rsplit("id=").next().and_then(|rest| rest.split_whitespace().next());
    id.expect("an id in the log").to_owned()
}

#[test]
fn six_languages_and_six_fates() {
    let Some(components) = components() else { return };
    let server = server(components);

    // Each recipient has a reply where the protocol has one for each.
    let accepted = ("250 2.", "");
    let each =
        [accepted, ("550 5.7.1", "no offer, please"), accepted, accepted, ("451 4.7.1", "no offer, please"), accepted];
    for (kind, more, prdr) in [("lmtp", &["--protocol", "LMTP"][..], false), ("mx", &["--prdr"], true)] {
        let subject = format!("An offer by {kind}");
        let Some(said) = swaks(&server, kind, &subject, more) else { return };
        let replies = replies(&said);
        let own = if prdr { replies.get(1..7).unwrap_or_default() } else { &replies[..] };
        assert_eq!(own.len(), 6, "{kind}: {said}");
        for ((reply, (code, text)), (language, _)) in own.iter().zip(each).zip(LANGUAGES) {
            assert!(reply.starts_with(code) && reply.contains(text), "{kind}, {language}: {reply}\n{said}");
        }
        if prdr {
            assert!(replies[0].starts_with("353") && replies[7].starts_with("250"), "{said}");
        }
        who_has_it(&server, &subject);
        why(&server, components, &last_id(&server));
        assert!(server.queue().is_empty(), "everybody knows: {:#?}", server.queue());
    }

    // One reply for all: whoever could not be answered is in the queue.
    let subject = "An offer by SMTP";
    let Some(said) = swaks(&server, "mx", subject, &[]) else { return };
    let replies = replies(&said);
    assert!(replies.len() == 1 && replies[0].starts_with("250"), "{replies:?}: {said}");
    who_has_it(&server, subject);
    why(&server, components, &last_id(&server));
    let kept: Vec<String> = server.queue().iter().map(ToString::to_string).collect();
    for language in ["c", "python"] {
        let address = format!("{language}@example.test");
        assert_eq!(kept.iter().filter(|entry| entry.contains(&address)).count(), 1, "{language} in {kept:#?}");
    }
    assert_eq!(kept.len(), 2, "{kept:#?}");
}

/// Those that are shipped, and the languages; each loads with the grants that its page names, and says what it is.
#[test]
fn every_plugin_that_is_shipped_is_built_and_loads() {
    let Some(components) = components() else { return };
    let members = fs::read_to_string(guest_plugins().join("Cargo.toml")).expect("it is here");
    let members = toml::from_str::<toml::Table>(&members).expect("TOML")["workspace"]["members"].clone();
    let members: Vec<String> = members.try_into().expect("names");
    let shipped = members.iter().filter(|name| !["sdk", "bindgen", "examples/rust"].contains(&name.as_str()));
    let languages = LANGUAGES.iter().map(|(language, _)| format!("tag-{language}"));
    for name in shipped.cloned().chain(languages) {
        let file = components.get(&name).unwrap_or_else(|| panic!("{name} was not built: {:?}", components.keys()));
        let out = hermetic(&["plugin", "inspect"], file);
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && text.contains("a plugin for version"), "{name}: {text}");
        for odd in ["not offered", "unknown"] {
            assert!(!text.contains(odd), "{name}: {text}");
        }
    }
}
