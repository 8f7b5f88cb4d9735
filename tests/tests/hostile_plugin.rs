//! A plugin that misbehaves decides nothing but the answer for its own recipient, and that by its failure policy.
//!
//! The plugin is `fixtures/hostile-plugin`, built here by the recipe that builds the engine.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hermetic::config::plugins::{Grants, OnFailure, Plugin as Configured, PluginLimits};
use hermetic::plugin::hook::{Edit, Facts, Forward, Hook, Message, Phase, Plugin, Ran, Scratch, Verdict, Wishes};
use hermetic::plugin::render::render;
use hermetic::plugin::run::{Level, Note, Wasm, Watching};
use hermetic::plugin::{LoadError, Loader};
use hermetic_tests::guest::hostile;

const DEADLINE: Duration = Duration::from_millis(100);
/// What a call may take beyond its deadline on a machine that is busy with other tests.
const SLACK: Duration = Duration::from_secs(30);
const CONTENT: &[u8] = b"Received: from a\r\nSubject: =?utf-8?q?Hall=C3=B6?=\r\nTo: x\r\n\r\nBody\r\n";

/// A loader and the folder that it works in.
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

    fn file(&self, octets: &[u8]) -> PathBuf {
        let file = self.folder.path().join("plugin.wasm");
        fs::write(&file, octets).expect("a file");
        file
    }

    fn load(&self, change: impl FnOnce(&mut Configured)) -> Arc<Wasm> {
        let mut configured = configured(hostile());
        change(&mut configured);
        self.loader.load_wasm(&configured).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn configured(file: &Path) -> Configured {
    Configured {
        name: "hostile".into(),
        file: file.to_owned(),
        sha256: None,
        grants: Grants {
            edit: true,
            forwarding: vec!["example.org".into()],
            quarantine: true,
            keyvalue: 100_000,
            ..Grants::default()
        },
        limits: PluginLimits {
            deadline: u64::try_from(DEADLINE.as_millis()).expect("small"),
            memory: 16 << 20,
            // Who is busy has what the other tests leave over.
            timeout: 30_000,
            ..PluginLimits::default()
        },
        on_failure: OnFailure::Defer,
        postmaster: false,
        settings: Default::default(),
    }
}

fn message() -> Option<Arc<Message>> {
    Some(Arc::new(Message { prefix: b"Return-Path: <>\r\n".to_vec(), content: CONTENT.to_vec() }))
}

fn phase(plugin: &Arc<Wasm>) -> Box<dyn Phase> {
    Arc::clone(plugin).phase(Arc::new(Facts::default()), Scratch::default(), message())
}

/// Calls a hook for the recipient whose local part is the deed.
async fn call(phase: &mut dyn Phase, hook: Hook, deed: &str, wishes: &mut Wishes) -> Ran {
    let forward = Forward { forward_path: format!("{deed}@example.test"), mailbox: None };
    phase.call(hook, Some(&forward), std::slice::from_ref(&forward.forward_path), wishes).await
}

async fn ask(phase: &mut dyn Phase, deed: &str) -> Ran {
    call(phase, Hook::RecipientMessage, deed, &mut Wishes::default()).await
}

/// Why the deed failed.
#[track_caller]
fn failed<'a>(ran: &'a Ran, deed: &str) -> &'a str {
    let Verdict::Defer(reason) = &ran.verdict else { panic!("{deed}: {ran:?}") };
    assert_eq!((reason.subject, reason.detail), (3, 0), "{deed}");
    assert!(ran.time < DEADLINE * 2 + SLACK, "{deed} took {:?}", ran.time);
    ran.failure.as_deref().unwrap_or_else(|| panic!("{deed} is not said to have failed: {ran:?}"))
}

#[track_caller]
fn said(ran: &Ran) -> &str {
    match &ran.verdict {
        Verdict::Reject(reason) if ran.failure.is_none() => &reason.text,
        _ => panic!("{ran:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_misdeed_is_the_failure_policys_verdict_and_the_next_recipient_has_a_fresh_instance() {
    let house = House::new();
    let plugin = house.load(|_| {});
    assert_eq!(plugin.hooks(), Hook::ALL);
    let mut phase = phase(&plugin);
    for (deed, cause) in [
        ("trap", "trap"),
        ("spin", "deadline"),
        ("hog", "memory"),
        ("grab", "memory"),
        ("recurse", "trap"),
        ("flood", "budget"),
        ("nobytes", "trap"),
        ("badedit", "trap"),
        ("giant", "trap"),
        ("exit", "trap: it called wasi:cli/exit#exit"),
        ("socket", "trap: it called wasi:sockets/instance-network#instance-network"),
    ] {
        assert_eq!(said(&ask(&mut *phase, "calls").await), "1", "before {deed} a fresh instance");
        assert_eq!(said(&ask(&mut *phase, "calls").await), "2", "the same while all is well");
        let mut wishes = Wishes { add: vec!["kept@example.org".into()], ..Wishes::default() };
        let before = wishes.clone();
        let ran = call(&mut *phase, Hook::RecipientMessage, deed, &mut wishes).await;
        let why = failed(&ran, deed);
        assert!(why.starts_with(cause), "{deed}: {why}");
        assert_eq!(wishes, before, "{deed} leaves no wish behind");
    }
    assert_eq!(said(&ask(&mut *phase, "calls").await), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_in_any_hook_is_the_failure_policys_verdict() {
    let house = House::new();
    for (policy, expected) in [(OnFailure::Defer, "Defer"), (OnFailure::Skip, "Proceed"), (OnFailure::Reject, "Reject")]
    {
        for hook in Hook::ALL {
            let plugin = house.load(|configured| configured.on_failure = policy);
            let ran = call(&mut *phase(&plugin), hook, "trap", &mut Wishes::default()).await;
            assert!(ran.failure.as_deref().is_some_and(|why| why.starts_with("trap")), "{hook:?}: {ran:?}");
            let expected = match (hook, policy) {
                (Hook::Report, _) => "Proceed",
                (Hook::Delivery, OnFailure::Skip) => "Defer",
                _ => expected,
            };
            assert!(format!("{:?}", ran.verdict).starts_with(expected), "{hook:?} {policy:?}: {ran:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_says_is_clean() {
    let house = House::new();
    let plugin = house.load(|_| {});
    let mut phase = phase(&plugin);
    assert_eq!(said(&ask(&mut *phase, "crlf").await), "no  250 2.0.0 forged");
    assert!(said(&ask(&mut *phase, "endless").await).len() <= 400);
    let ran = ask(&mut *phase, "numbers").await;
    assert!(matches!(&ran.verdict, Verdict::Reject(reason) if (reason.subject, reason.detail) == (7, 0)), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_wasi_gives_is_time_and_chance() {
    let house = House::new();
    assert_eq!(said(&ask(&mut *phase(&house.load(|_| {})), "wasi").await), "0 true true true true");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_edit_can_be_more_than_one_field() {
    let house = House::new();
    let plugin = house.load(|configured| configured.limits.deadline = 2_000);
    let mut phase = phase(&plugin);
    let values = "2".repeat(12);
    let names = "2".repeat(10);
    let trace = "1".repeat(8);
    assert_eq!(said(&ask(&mut *phase, "inject").await), format!("{values}{names}{trace}4"));
    assert_eq!(said(&ask(&mut *phase, "large").await), "[3, 2]");
    assert_eq!(said(&ask(&mut *phase, "edits").await), "100");
    assert_eq!(said(&ask(&mut *phase, "scratch").await), "65");
    assert_eq!(said(&ask(&mut *phase, "keep").await), "96");
    assert_eq!(said(&ask(&mut *phase, "elsewhere").await), "[0, 1, 2, 2]");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_remains_from_one_transaction_to_the_next_but_what_is_kept() {
    let house = House::new();
    let plugin = house.load(|_| {});
    let scratch = Scratch::default();
    let facts = Arc::new(Facts::default());
    for expected in ["0 1", "1 2"] {
        let mut phase = Arc::clone(&plugin).phase(Arc::clone(&facts), Arc::clone(&scratch), message());
        assert_eq!(said(&ask(&mut *phase, "remember").await), expected, "two phases of one transaction");
    }
    assert_eq!(said(&ask(&mut *phase(&plugin), "remember").await), "0 3", "another transaction");
    assert_eq!(said(&ask(&mut *phase(&plugin), "calls").await), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_and_wishes_count_when_the_recipient_is_accepted() {
    let house = House::new();
    let plugin = house.load(|_| {});
    let notes = hermetic::plugin::run::Notes::default();
    let facts = Arc::new(Facts::default());
    let mut phase = plugin.watched_phase(
        facts,
        Scratch::default(),
        message(),
        Watching { notes: Some(Arc::clone(&notes)), ..Watching::default() },
    );
    let mut wishes = Wishes::default();
    let ran = call(&mut *phase, Hook::RecipientMessage, "mark", &mut wishes).await;
    assert_eq!((&ran.verdict, &ran.failure), (&Verdict::Accept, &None));
    assert!(ran.memory > 0 && ran.memory <= 16 << 20, "{}", ran.memory);
    let encoded = "=?UTF-8?B?R3LDvMOfZQ==?=";
    assert_eq!(
        wishes.edits,
        // The hook saw Subject decoded, the body's size and start, and one recipient; its own text is encoded again.
        [
            Edit::Prepend(3, "X-Mark".into(), "=?UTF-8?B?SGFsbMO2LzYvQm9keS8x?=".into()),
            Edit::Replace(1, format!("[marked] {encoded}"))
        ]
    );
    let expected = format!(
        "Return-Path: <>\r\nX-Mark: =?UTF-8?B?SGFsbMO2LzYvQm9keS8x?=\r\nReceived: from a\r\n\
         Subject: [marked] {encoded}\r\nTo: x\r\n\r\nBody\r\n"
    );
    let rendered = render(b"Return-Path: <>\r\n", CONTENT, &wishes.edits);
    assert_eq!(String::from_utf8_lossy(&rendered), expected);
    let seen = notes.lock().iter().any(
        |note| matches!(note, Note::Log(Level::Info, line) if *line == expected.replace(['\r', '\n'], " ").trim()),
    );
    assert!(seen, "`rendered` is what is delivered: {notes:?}");
    assert!(notes.lock().iter().any(|note| matches!(note, Note::Call("edit.prepend", _))));

    let before = wishes.clone();
    let ran = call(&mut *phase, Hook::RecipientMessage, "defer", &mut wishes).await;
    assert!(matches!(ran.verdict, Verdict::Defer(_)) && ran.failure.is_none());
    assert_eq!(wishes, before, "who is not accepted is not edited");

    call(&mut *phase, Hook::RecipientMessage, "aside", &mut wishes).await;
    assert_eq!(wishes.quarantine.as_deref(), Some("looks  odd"));
    assert_eq!(wishes.redirect, Some(vec!["b@example.org".to_owned()]));
    assert_eq!(wishes.edits, before.edits);

    notes.lock().clear();
    ask(&mut *phase, "logs").await;
    let lines: Vec<_> = notes.lock().iter().filter(|note| matches!(note, Note::Log(..))).cloned().collect();
    assert!(lines.len() < 500, "{} lines", lines.len());
    let clean = |note: &Note| matches!(note, Note::Log(_, line) if line.len() <= 1024 && !line.contains(['\r', '\n']));
    assert!(lines.iter().all(clean));
}

#[tokio::test(flavor = "multi_thread")]
async fn others_go_on_while_some_are_stuck() {
    let house = House::new();
    let plugin = house.load(|_| {});
    let good = house.load(|configured| configured.name = "good".into());
    let stuck = (0..4).map(|_| {
        let mut phase = phase(&plugin);
        tokio::spawn(async move { ask(&mut *phase, "spin").await })
    });
    let stuck: Vec<_> = stuck.collect();
    for _ in 0..50 {
        let started = Instant::now();
        assert_eq!(said(&ask(&mut *phase(&good), "calls").await), "1");
        assert!(started.elapsed() < SLACK);
    }
    for task in stuck {
        assert!(failed(&task.await.unwrap(), "spin").starts_with("deadline"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_is_answered_by_the_policy() {
    let house = House::new();
    let plugin = house.load(|configured| {
        configured.limits.deadline = 2_000;
        configured.limits.timeout = 200;
        configured.limits.instances = 1;
    });
    let started = Instant::now();
    let ran = ask(&mut *phase(&plugin), "spin").await;
    assert_eq!(ran.failure.as_deref(), Some("timeout: it took more than 200 ms with all waiting"));
    assert!(started.elapsed() < Duration::from_millis(1_500), "{:?}", started.elapsed());
    let mut ran = ask(&mut *phase(&plugin), "calls").await;
    while ran.failure.is_some() && started.elapsed() < SLACK {
        assert_eq!(ran.failure.as_deref(), Some("busy: all 1 instances were in use"));
        ran = ask(&mut *phase(&plugin), "calls").await;
    }
    assert_eq!(said(&ran), "1", "its instance has left its place");
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_hold_what_the_other_wants_do_not_wait_for_each_other() {
    let house = House::new();
    let load = |name: &str| {
        house.load(|configured| {
            configured.name = name.into();
            configured.limits.instances = 1;
        })
    };
    let (one, two) = (load("one"), load("two"));
    let (mut a_one, mut a_two) = (phase(&one), phase(&two));
    let (mut b_one, mut b_two) = (phase(&one), phase(&two));
    assert_eq!(said(&ask(&mut *a_one, "calls").await), "1");
    assert_eq!(said(&ask(&mut *b_two, "calls").await), "1");
    let (a, b) = tokio::join!(ask(&mut *a_two, "calls"), ask(&mut *b_one, "calls"));
    assert_eq!((said(&a), said(&b)), ("1", "1"));
    assert!(a.time < SLACK / 2 && b.time < SLACK / 2, "{:?} {:?}", a.time, b.time);
    assert_eq!(said(&ask(&mut *a_one, "calls").await), "1", "who gave way gets a fresh one");
    assert_eq!(said(&ask(&mut *a_one, "calls").await), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_again_and_again_rests() {
    let house = House::new();
    let plugin = house.load(|_| {});
    let mut phase = phase(&plugin);
    for _ in 0..5 {
        assert!(failed(&ask(&mut *phase, "trap").await, "trap").starts_with("trap"));
    }
    assert!(failed(&ask(&mut *phase, "calls").await, "calls").starts_with("resting"));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(said(&ask(&mut *phase, "calls").await), "1", "it is tried again");
    assert_eq!(said(&ask(&mut *phase, "calls").await), "2");
}

#[test]
fn what_can_not_be_loaded_says_why() {
    let house = House::new();
    let good = fs::read(hostile()).unwrap();
    let error = |octets: &[u8], change: &dyn Fn(&mut Configured)| {
        let mut configured = configured(&house.file(octets));
        change(&mut configured);
        match house.loader.load(&configured) {
            Ok(_) => panic!("it was loaded"),
            Err(error) => error,
        }
    };
    let as_it_is = |_: &mut Configured| {};
    assert!(matches!(error(b"", &as_it_is), LoadError::NotWasm));
    assert!(matches!(error(b"#!/bin/sh\n", &as_it_is), LoadError::NotWasm));
    assert!(matches!(error(b"\0asm\x01\0\0\0", &as_it_is), LoadError::Module));
    for end in [6, 9, good.len() / 3, good.len() / 2, good.len() - 1] {
        let error = error(&good[..end], &as_it_is);
        assert!(matches!(error, LoadError::Truncated { .. }), "cut at {end}: {error}");
    }
    assert!(matches!(error(b"\0asm\x0d\0\x01\0", &as_it_is), LoadError::NoHook(_)));
    let engine = error(hermetic::engine::pool::COMPONENT, &as_it_is);
    assert!(matches!(&engine, LoadError::NoHook(exports) if exports.contains("hermetic:engine/server")), "{engine}");
    let mut flipped = good.clone();
    flipped[good.len() / 2..good.len() / 2 + 64].fill(0xff);
    assert!(matches!(error(&flipped, &as_it_is), LoadError::Invalid(_) | LoadError::Truncated { .. }));

    let ungranted = error(&good, &|configured| configured.grants = Grants { edit: true, ..Grants::default() });
    let text = ungranted.to_string();
    for part in ["hermetic:plugin/forwarding@0.1.0", "`quarantine = true`", "keyvalue = ", "[plugin.grants]"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    assert!(!text.contains("plugin/edit"), "{text}");

    let pinned = error(&good, &|configured| configured.sha256 = Some("00".repeat(32)));
    assert!(matches!(pinned, LoadError::Pinned { .. }), "{pinned}");
    let hash = house.loader.describe(hostile()).unwrap().hash.to_uppercase();
    let mut pinned = configured(hostile());
    pinned.sha256 = Some(hash);
    house.loader.load(&pinned).expect("the right digest");
}

#[test]
fn the_command_line_shows_and_tries_a_plugin() {
    let cache = tempfile::tempdir().expect("a folder");
    let hermetic = |arguments: &[&str]| {
        let mut command = Command::new(hermetic_tests::server::binary(&[]));
        let output =
            command.env("XDG_CACHE_HOME", cache.path()).arg("plugin").args(arguments).output().expect("hermetic");
        let text = [output.stdout, output.stderr].map(|octets| String::from_utf8(octets).expect("UTF-8"));
        (output.status.code(), text.concat())
    };
    let file = hostile().to_str().expect("UTF-8");
    let has = |(code, text): (Option<i32>, String), expected: i32, parts: &[&str]| {
        assert_eq!(code, Some(expected), "{text}");
        parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in:\n{text}"));
    };
    let pasted = "[plugin.grants]\nedit = true";
    has(hermetic(&["inspect", file]), 0, &["  recipient-message\n", "needs a grant\n", pasted]);
    has(hermetic(&["inspect", "/dev/null"]), 1, &["hermetic: /dev/null: it is not WebAssembly"]);
    let grants =
        ["--grant", "edit", "--grant", "quarantine", "--grant", "forwarding=example.org", "--grant", "keyvalue"];
    let run = |more: &[&str]| hermetic(&[&["run", file], &grants[..], more].concat());
    let marked = ["recipient-message for mark@x.example: accept", "+ Subject: [marked]", "- Subject: Hello"];
    has(run(&["--hook", "recipient-message", "--rcpt", "mark@x.example"]), 0, &marked);
    let trapped = ["defer: 451 4.3.0", "failed: trap", "the plugin failed"];
    has(run(&["--hook", "recipient", "--rcpt", "trap@x.example"]), 1, &trapped);
    has(hermetic(&["run", file]), 1, &["plugin/edit@0.1.0: to allow that, write `edit = true`"]);
    let settings = cache.path().join("settings.toml");
    fs::write(&settings, "deed = \"numbers\"\n").expect("a file");
    let settings = settings.to_str().expect("UTF-8");
    has(run(&["--hook", "connection", "--settings", settings]), 0, &["connection: reject: 550 5.7.0 no"]);
}
