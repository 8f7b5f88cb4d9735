//! What a plugin gets of the machine and of other plugins without a grant: nothing. And what drafts of WASI give: what
//! `wit/plugin` gives, and no more.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::{fs, path::Path, sync::Arc};

use hermetic::config::plugins::{Grants, OnFailure, Plugin as Configured, PluginLimits};
use hermetic::plugin::hook::{Facts, Forward, Hook, Ran, Scratch, Verdict, Wishes};
use hermetic::plugin::run::{Level, Note, Notes, Wasm};
use hermetic::plugin::{LoadError, Loader};
use hermetic_tests::guest::{drafts, hostile};

struct House {
    folder: tempfile::TempDir,
    loader: Loader,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let loader = Loader::new(&folder.path().join("plugins")).expect("a loader");
        Self { folder, loader }
    }

    fn try_load(&self, name: &str, file: &Path, grants: Grants) -> Result<Arc<Wasm>, LoadError> {
        self.loader.load_wasm(&Configured {
            name: name.into(),
            file: file.to_owned(),
            sha256: None,
            grants,
            limits: PluginLimits { deadline: 5_000, ..PluginLimits::default() },
            on_failure: OnFailure::Defer,
            postmaster: false,
            settings: [("colour".to_owned(), "blue".into()), ("number".to_owned(), 7.into())].into(),
        })
    }

    fn load(&self, name: &str, file: &Path, keyvalue: u64) -> Arc<Wasm> {
        let grants =
            Grants { edit: true, forwarding: vec!["*".into()], quarantine: true, keyvalue, ..Grants::default() };
        self.try_load(name, file, grants).unwrap_or_else(|error| panic!("{error}"))
    }
}

async fn ask(plugin: &Arc<Wasm>, hook: Hook, deed: &str, notes: Option<Notes>) -> Ran {
    let mut phase = plugin.watched_phase(Arc::new(Facts::default()), Scratch::default(), None, notes);
    let forward = Forward { forward_path: format!("{deed}@example.test"), mailbox: None };
    phase.call(hook, Some(&forward), &[], &mut Wishes::default()).await
}

/// What it says of a deed at RCPT.
async fn says(plugin: &Arc<Wasm>, deed: &str) -> String {
    let ran = ask(plugin, Hook::Recipient, deed, None).await;
    match &ran.verdict {
        Verdict::Reject(reason) if ran.failure.is_none() => reason.text.clone(),
        _ => panic!("{deed}: {ran:?}"),
    }
}

/// A component that calls one imported function when it is told of a fate.
fn calling(interface: &str, function: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "{interface}" (instance $imported (export "{function}" (func))))
            (core func $call (canon lower (func $imported "{function}")))
            (core module $module
                (import "host" "call" (func $call))
                (func (export "note") (call $call)))
            (core instance $instance (instantiate $module
                (with "host" (instance (export "call" (func $call))))))
            (func $note (canon lift (core func $instance "note")))
            (instance $hook (export "note" (func $note)))
            (export "hermetic:plugin/on-report@0.1.0" (instance $hook)))"#
    );
    wat::parse_str(text).expect("WAT")
}

/// Sockets, requests, processes, and what WASI may think of next: importing them is no crime, a call is a trap.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_else_wasi_has_is_a_trap() {
    let house = House::new();
    for (interface, function) in [
        ("wasi:sockets/instance-network@0.2.0", "instance-network"),
        ("wasi:sockets/tcp-create-socket@0.2.6", "create-tcp-socket"),
        ("wasi:sockets/udp-create-socket@0.2.12", "create-udp-socket"),
        ("wasi:sockets/ip-name-lookup@0.2.0", "resolve-addresses"),
        ("wasi:sockets/types@0.3.0", "anything"),
        ("wasi:http/outgoing-handler@0.2.0", "handle"),
        ("wasi:http/client@0.3.0", "send"),
        ("wasi:cli/exit@0.2.0", "exit"),
        ("wasi:keyvalue/store@0.2.0-draft2", "open"),
        ("wasi:keyvalue/batch@0.2.0-draft", "get-many"),
        ("wasi:config/runtime@0.2.0-draft", "get-all"),
        ("wasi:messaging/producer@0.2.0-draft", "send"),
    ] {
        let file = house.folder.path().join("plugin.wasm");
        fs::write(&file, calling(interface, function)).expect("a file");
        let plugin = house.try_load("caller", &file, Grants::default()).unwrap_or_else(|e| panic!("{interface}: {e}"));
        let ran = ask(&plugin, Hook::Report, "x", None).await;
        let package = interface.split('@').next().expect("a name");
        let expected = format!("trap: it called {package}#{function}, which is linked and does nothing");
        assert_eq!(ran.failure.as_deref(), Some(&*expected));
    }
    for (interface, function) in [
        ("evil:host/shell@1.0.0", "run"),
        ("hermetic:plugin/shell@0.1.0", "run"),
        ("hermetic:engine/server@0.1.0", "run"),
        ("hermetic:plugin/facts@0.1.0", "password"),
    ] {
        let file = house.folder.path().join("plugin.wasm");
        fs::write(&file, calling(interface, function)).expect("a file");
        let error = house.try_load("caller", &file, Grants::default()).expect_err("nobody offers it").to_string();
        assert!(error.contains(interface) || error.contains(function), "{interface}: {error}");
    }
}

/// This process has an environment, arguments, a folder and files, and the plugin that asks for them is told of none.
#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_empty() {
    assert!(std::env::vars_os().count() > 0 && std::env::args_os().count() > 0);
    let house = House::new();
    assert_eq!(says(&house.load("asker", hostile(), 1), "wasi").await, "0 true true true true");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_plugin_never_sees_what_another_keeps() {
    let house = House::new();
    let [mine, other] = ["mine", "other"].map(|name| house.load(name, drafts(), 100_000));
    assert_eq!(says(&mine, "put").await, "(40, 42) false");
    assert_eq!(says(&mine, "look").await, r#"Some("mine") ["n", "secret"]"#);
    assert_eq!(says(&other, "look").await, "None []");
    assert_eq!(says(&other, "elsewhere").await, "no such store");
    // The same file and a like name do not help, and what is full is full for one.
    let like = house.load("MINE", drafts(), 100_000);
    assert_eq!(says(&like, "look").await, "None []");
    assert!(says(&other, "fill").await.contains("grants.keyvalue allows 100000 octets"));
    assert_eq!(says(&mine, "put").await, "(82, 84) false", "the other's flood takes nothing from it");
    // It is the plugin's name that owns what is kept, over reloads, restarts and new builds.
    let again = house.load("mine", drafts(), 100_000);
    assert_eq!(says(&again, "look").await, r#"Some("mine") ["n", "secret"]"#);
}

/// A plugin that is being replaced runs for a while beside its successor: together they keep no more than one may.
#[tokio::test(flavor = "multi_thread")]
async fn two_versions_share_one_quota() {
    let house = House::new();
    let [old, new] = [100_000, 100_000].map(|quota| house.load("same", drafts(), quota));
    assert!(says(&old, "fill").await.contains("100000"));
    let before = says(&new, "look").await.len();
    assert!(says(&new, "fill").await.contains("100000"));
    assert!(says(&new, "look").await.len() <= before + 20, "the second one filled it again");
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts_of_wasi_give_what_the_interfaces_beside_them_give() {
    let house = House::new();
    let plugin = house.load("drafted", drafts(), 200_000);
    let settings = r#"Ok(Some("blue")) Ok(None) Ok([("colour", "blue"), ("number", "7")])"#;
    assert_eq!(says(&plugin, "settings").await, settings);
    let overflow = format!("{} Err(\"large would overflow\")", u64::MAX);
    assert_eq!(says(&plugin, "largest").await, overflow);
    assert_eq!(says(&plugin, "pages").await, "1000 Some(1000) 501 None");

    let notes = Notes::default();
    ask(&plugin, Hook::Recipient, "log", Some(Arc::clone(&notes))).await;
    let lines: Vec<_> = notes.lock().iter().filter(|note| matches!(note, Note::Log(..))).cloned().collect();
    let expected = [(Level::Warn, "con  text: mess age"), (Level::Debug, "quiet")];
    assert_eq!(lines, expected.map(|(level, line)| Note::Log(level, line.into())));
    assert!(notes.lock().iter().any(|note| matches!(note, Note::Call("wasi:logging/logging.log", _))), "the seam");

    let ungranted = house.try_load("drafted", drafts(), Grants::default()).expect_err("keyvalue is not granted");
    let text = ungranted.to_string();
    for import in ["wasi:keyvalue/store@0.2.0-draft", "wasi:keyvalue/atomics@0.2.0-draft"] {
        assert!(text.contains(&format!("it imports {import}: to allow that, write `keyvalue = ")), "{text}");
    }
}
