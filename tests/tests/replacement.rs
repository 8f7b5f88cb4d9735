//! Plugins are replaced while mail flows: no session breaks, no message is lost, and one version judges a recipient from
//! RCPT to the end. A build that can not be used changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use hermetic::{
    config::plugins::{Grants, OnFailure, Plugin as Configured, PluginLimits},
    plugin::{
        hook::{Facts, Forward, Hook, Scratch, Wishes},
        loaded::Plugins,
    },
};
use hermetic_tests::{
    guest::{hostile, hostile_version, version},
    load::Ledger,
    message::{Message, field, token},
    server::{Rig, Server},
    session::Session,
};
use rustix::process::Signal;

const ROUNDS: usize = 100;
const CLIENTS: usize = 4;

/// A server whose mailboxes are all judged by the component in the file, and the file.
fn server(octets: &[u8]) -> (Server, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("stamp.wasm");
    fs::write(&file, octets).expect("the component");
    let tables = format!(
        "[[plugin]]\nname = \"stamp\"\nfile = {file:?}\nsettings = {{ deed = \"stamp\" }}\n\
         grants = {{ edit = true, forwarding = [\"*\"], quarantine = true, keyvalue = 1000 }}\n\
         limits = {{ deadline = 5000 }}\n\
         [[route]]\nrecipients = [\"*\"]\nplugins = [\"stamp\"]\n"
    );
    (Rig::new().listener("mx", "").tables(&tables).start(), file, folder)
}

/// As a careful operator does it: nobody ever sees half a file.
fn swap(file: &Path, octets: &[u8]) {
    let new = file.with_extension("new");
    fs::write(&new, octets).expect("the new component");
    fs::rename(new, file).expect("it takes the old one's place");
}

/// A plugin that wants what nobody offers.
fn with_an_import_that_nobody_grants() -> Vec<u8> {
    let text = r#"(component
        (import "evil:host/shell@1.0.0" (instance (export "run" (func))))
        (core module $module (func (export "note")))
        (core instance $instance (instantiate $module))
        (func $note (canon lift (core func $instance "note")))
        (instance $hook (export "note" (func $note)))
        (export "hermetic:plugin/on-report@0.1.0" (instance $hook)))"#;
    wat::parse_str(text).expect("WAT")
}

/// Plain and true, and slow to compile: so many functions, and no hook.
fn slow() -> Vec<u8> {
    let functions = if cfg!(debug_assertions) { 30_000 } else { 150_000 };
    let mut text = String::from("(component (core module\n");
    for n in 0..functions {
        let _ = writeln!(
            text,
            "(func (param i32 i64) (result i64) (local i64) (local.set 2 (i64.const {n})) \
             (block (loop (br_if 1 (i32.eqz (local.get 0))) (local.set 2 (i64.rotl (i64.mul (local.get 1) (local.get 2)) \
             (i64.const {}))) (br 0))) (local.get 2))",
            n % 63
        );
    }
    wat::parse_str(text + "))").expect("WAT")
}

#[track_caller]
fn reloaded(server: &Server) {
    let line = server.reload();
    assert!(line.contains("reloaded") && !line.contains("failed"), "{line}");
}

/// What one message's recipients were judged by: at RCPT, and after the content.
fn versions(copy: &[u8]) -> (String, String) {
    let text = field(copy, "X-Versions").unwrap_or_else(|| panic!("no stamp: {}", String::from_utf8_lossy(copy)));
    let (at_rcpt, after) = text.split_once(' ').unwrap_or_else(|| panic!("not two versions: {text:?}"));
    (at_rcpt.to_owned(), after.to_owned())
}

#[test]
fn a_plugin_is_replaced_a_hundred_times_under_load() {
    let builds = [hostile_version(1), hostile_version(2)];
    let (server, file, _folder) = server(&builds[0]);
    let port = server.port("mx");
    let truncated = builds[0][..builds[0].len() / 2].to_vec();
    let bad: [(&str, Vec<u8>, &str); 4] = [
        ("truncated", truncated, "it is cut off"),
        ("of another world", hermetic::engine::pool::COMPONENT.to_vec(), "it exports no hook"),
        ("with an import nobody grants", with_an_import_that_nobody_grants(), "evil:host/shell@1.0.0"),
        ("no component", b"#!/bin/sh\n".to_vec(), "it is not WebAssembly"),
    ];
    let ledger = Ledger::default();
    let mut straddled = Vec::new();
    ledger.clients_send_while(CLIENTS, port, || {
        for round in 0..ROUNDS {
            // A transaction that begins with one version and ends after it was replaced.
            let mut session = Session::open(port).expect("a session");
            let token = token();
            let message = Message::sealed(&token, 100);
            for (line, code) in
                [("EHLO a.test", 250), ("MAIL FROM:<a@far.test>", 250), ("RCPT TO:<eva@example.test>", 250)]
            {
                let reply = session.command(line).expect("a reply");
                assert_eq!(reply.code, code, "round {round}, {line}: {reply:?}");
            }
            let now = round % 2;
            if let Some((what, octets, why)) = bad.get(round / 5 % 5).filter(|_| round % 5 == 0) {
                swap(&file, octets);
                let line = server.reload();
                assert!(line.contains("reload failed") && line.contains(why), "a build {what}: {line}");
            }
            swap(&file, &builds[1 - now]);
            reloaded(&server);
            session.command("DATA").expect("a reply");
            session.write(&[&*message.stuffed(), b".\r\n"].concat()).expect("written");
            let reply = session.reply().expect("a reply");
            assert_eq!(reply.code, 250, "round {round}: {reply:?}");
            straddled.push((token, version(u32::try_from(now).unwrap() + 1)));
        }
    });
    assert_eq!(ledger.unanswered(), 0, "a session broke, or a message was refused");
    Ledger::drained(&server).and_then(|()| ledger.judge(&server)).unwrap_or_else(|why| panic!("{why}"));
    let mut seen = BTreeSet::new();
    for (name, copy) in Ledger::copies(&server) {
        let (at_rcpt, after) = versions(&copy);
        assert_eq!(at_rcpt, after, "two versions judged one recipient: {name}, {:?}", field(&copy, "X-Token"));
        seen.insert(after);
    }
    assert_eq!(seen, BTreeSet::from([version(1), version(2)]), "both versions judged mail");
    for (token, expected) in straddled {
        let copy = server.maildir("eva").one(&token);
        assert_eq!(versions(&copy), (expected.clone(), expected), "{token} began before the plugin was replaced");
    }
    println!("{ROUNDS} replacements while {} messages were answered 250", ledger.promised());
}

#[test]
fn a_changed_pin_keeps_the_old_build_until_the_right_file_is_there() {
    let (server, file, _folder) = server(&hostile_version(1));
    let port = server.port("mx");
    let stamp = || {
        let token = token();
        let message = Message::sealed(&token, 100);
        let mut session = Session::open(port).expect("a session");
        session.command("EHLO a.test").expect("a reply");
        let reply = session.send("a@far.test", &["eva@example.test".into()], &message).expect("a reply");
        assert_eq!(reply.code, 250, "{reply:?}");
        versions(&server.maildir("eva").one(&token)).1
    };
    let as_it_was = fs::read_to_string(server.config()).expect("the configuration");
    let next = hostile_version(2);
    let pin = hermetic_tests::message::sha256(&next);
    let pinned = as_it_was.replace("name = \"stamp\"\n", &format!("name = \"stamp\"\nsha256 = \"{pin}\"\n"));
    fs::write(server.config(), pinned).expect("the configuration");
    let line = server.reload();
    assert!(line.contains("reload failed") && line.contains(&pin), "{line}");
    assert_eq!(stamp(), version(1), "the old one goes on");
    swap(&file, &next);
    reloaded(&server);
    assert_eq!(stamp(), version(2));
    swap(&file, &hostile_version(3));
    assert!(server.reload().contains("SHA-256"), "what is not pinned is not loaded");
    assert_eq!(stamp(), version(2));
}

/// What rests is tried again after its rest, as it was loaded; another build counts from SIGHUP on, with a clean record.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_rests_goes_on_at_once_when_it_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("plugin.wasm");
    swap(&file, &hostile_version(1));
    let wanted = Configured {
        name: "hostile".into(),
        file: file.clone(),
        sha256: None,
        grants: Grants {
            edit: true,
            forwarding: vec!["*".into()],
            quarantine: true,
            keyvalue: 1000,
            ..Grants::default()
        },
        limits: PluginLimits::default(),
        on_failure: OnFailure::Defer,
        postmaster: false,
        settings: Default::default(),
    };
    let wanted = [wanted];
    let ask = async |plugins: &Plugins, deed: &str| {
        let plugin = plugins.by_name().remove("hostile").expect("it is loaded");
        let mut phase = plugin.phase(Arc::new(Facts::default()), Scratch::default(), None);
        let forward = Forward { forward_path: format!("{deed}@example.test"), mailbox: None };
        let ran = phase.call(Hook::Recipient, Some(&forward), &[], &mut Wishes::default()).await;
        ran.failure.unwrap_or_default()
    };
    let first = Plugins::none(folder.path().join("plugins"), hermetic::config::Dns::default())
        .become_these(&wanted)
        .expect("it loads");
    for _ in 0..5 {
        assert!(ask(&first, "trap").await.starts_with("trap"));
    }
    assert!(ask(&first, "calls").await.starts_with("resting"));
    // A reload that finds the same changes nothing; one that finds another build does.
    let same = first.become_these(&wanted).expect("it loads");
    assert!(ask(&same, "calls").await.starts_with("resting"), "SIGHUP alone is no pardon");
    swap(&file, &hostile_version(2));
    assert!(ask(&same, "calls").await.starts_with("resting"), "a new file alone is none either");
    let other = same.become_these(&wanted).expect("it loads");
    assert_eq!(ask(&other, "calls").await, "");
    // Those who still have the old one get it after its rest.
    let end = Instant::now() + Duration::from_secs(20);
    while ask(&same, "calls").await.starts_with("resting") {
        assert!(Instant::now() < end, "it rests for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&same, "calls").await, "");
}

#[test]
fn the_server_goes_on_while_a_plugin_is_compiled() {
    let (mut server, file, _folder) = server(&fs::read(hostile()).expect("the component"));
    let slow = slow();
    let results = |server: &Server| {
        let log = server.log();
        let said = |word: &str| log.lines().filter(|line| line.contains(word)).count();
        (said("reload failed"), said("reloaded"))
    };
    let until = |server: &Server, wanted: (usize, usize)| {
        let end = Instant::now() + Duration::from_secs(120);
        while results(server) != wanted {
            assert!(Instant::now() < end, "{:?} instead of {wanted:?}", results(server));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    // Meanwhile the old one judges mail, and a second SIGHUP, for the file that is right again, is not lost.
    swap(&file, &slow);
    server.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(300));
    swap(&file, &hostile_version(1));
    server.signal(Signal::HUP);
    server.signal(Signal::HUP);
    let mut session = Session::open(server.port("mx")).expect("a session");
    session.command("EHLO a.test").expect("a reply");
    let token = token();
    let reply =
        session.send("a@far.test", &["eva@example.test".into()], &Message::sealed(&token, 100)).expect("a reply");
    assert_eq!(reply.code, 250, "{reply:?}");
    assert_eq!(results(&server), (0, 0), "the plugin should take longer to compile than a message to be answered");
    assert_eq!(versions(&server.maildir("eva").one(&token)).1, version(0));
    until(&server, (1, 1));
    assert!(server.log().contains("it exports no hook"), "the slow one was compiled and refused");

    // Who should end does not wait for the compiler. Another build, for what was compiled is kept.
    let mut another = slow;
    let at = another.len() / 2;
    let place = another[at..].windows(2).position(|w| w == [0x42, 7]).expect("i64.const 7") + at;
    another[place + 1] = 8;
    swap(&file, &another);
    server.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(300));
    drop(session);
    let start = Instant::now();
    assert!(server.stop().success());
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?} to end", start.elapsed());
    assert_eq!(results(&server), (1, 1), "it ended before the compiler");
}
