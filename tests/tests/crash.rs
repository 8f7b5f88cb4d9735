//! What was answered 250 survives: the server's sudden end at random moments under load, and power failures.
//!
//! `CRASH_ROUNDS` (20) is the number of rounds of each test. The crash argument itself is in `host/src/store/sqlite/mod.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use hermetic_tests::{
    load::Ledger,
    power,
    server::{Rig, Server, binary},
};
use rand::Rng;

fn rounds() -> usize {
    std::env::var("CRASH_ROUNDS").map_or(20, |n| n.parse().expect("CRASH_ROUNDS is a number"))
}

/// Its end, each time it is killed.
type Crash<'a> = &'a dyn Fn(&mut Server);

/// Load, a sudden end, a new start, sometimes another sudden end while it recovers: then everything must be right.
fn survive(server: &mut Server, rounds: usize, crash: Crash<'_>) -> Result<Ledger, String> {
    let mut random = rand::rng();
    let mut ledger = Ledger::default();
    let start = Instant::now();
    for round in 1..=rounds {
        let moment = Duration::from_millis(random.random_range(20..700));
        let port = server.port("mx");
        ledger.send_while(port, || {
            std::thread::sleep(moment);
            server.kill();
        });
        crash(server);
        server.start_again();
        if random.random_range(0..4) == 0 {
            std::thread::sleep(Duration::from_millis(random.random_range(0..150)));
            server.kill();
            crash(server);
            server.start_again();
        }
        Ledger::drained(server)
            .and_then(|()| ledger.judge(server))
            .map_err(|why| format!("round {round}, killed after {moment:?}: {why}"))?;
        // A clean end, even with a power failure right after it, and a start must bring nothing back that a reader removed.
        let status = server.stop();
        if !status.success() {
            return Err(format!("round {round}: SIGTERM ended it with {status}"));
        }
        crash(server);
        ledger.harvest(server);
        server.start_again();
    }
    println!(
        "{rounds} rounds, {} messages answered 250, {} not answered, {:?}",
        ledger.promised(),
        ledger.unanswered(),
        start.elapsed()
    );
    Ok(ledger)
}

fn server() -> Rig {
    Rig::new().listener("mx", "").tables("[observe]\nlevel = \"warn\"")
}

#[test]
fn every_promise_survives_kill_9() {
    let mut server = server().start();
    let ledger = survive(&mut server, rounds(), &|_| {}).unwrap_or_else(|why| panic!("{why}"));
    assert!(ledger.promised() >= 5 * rounds(), "too little load to prove anything: {}", ledger.promised());
}

/// A server whose data folder loses what was not synced, whenever it is killed.
fn watched(binary: Option<PathBuf>) -> (Server, PathBuf) {
    let shadow = tempfile::Builder::new().prefix("hermetic-shadow-").tempdir().expect("a temporary folder").keep();
    let mut rig = server();
    if let Some(binary) = binary {
        rig = rig.binary(binary);
    }
    let server = rig.start_below(|data| power::environment(data, &shadow.join("now")));
    (server, shadow)
}

fn power_failure(shadow: &Path) -> impl Fn(&mut Server) {
    move |server: &mut Server| power::restore(server.data(), &shadow.join("now"))
}

#[test]
fn every_promise_survives_a_power_failure() {
    let (mut server, shadow) = watched(None);
    let outcome = survive(&mut server, rounds(), &power_failure(&shadow));
    let ledger = outcome.unwrap_or_else(|why| panic!("{why}"));
    assert!(ledger.promised() >= 5 * rounds(), "too little load to prove anything: {}", ledger.promised());
    drop(server);
    fs::remove_dir_all(shadow).expect("ours");
}

/// The test above can fail: it does for a server from which any one kind of fsync was taken out.
#[test]
fn a_server_that_does_not_sync_is_found_out() {
    for left_out in ["unsafe-skip-fsync-file", "unsafe-skip-fsync-folder", "unsafe-skip-fsync-database"] {
        let (mut server, shadow) = watched(Some(binary(&[left_out])));
        match survive(&mut server, 20, &power_failure(&shadow)) {
            Ok(ledger) => panic!("{left_out}: nothing was lost of {} messages", ledger.promised()),
            Err(why) => {
                println!("{left_out}: {why}");
                let found = ["lost although answered 250", "torn", "still queued"].iter().any(|w| why.contains(w));
                assert!(found, "{left_out}: it failed for another reason: {why}");
            }
        }
        drop(server);
        fs::remove_dir_all(shadow).expect("ours");
    }
}

/// The shim itself: what `program.py` left behind is exactly what POSIX promises.
#[test]
fn the_shim_keeps_what_was_synced_and_nothing_else() {
    let python = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let python = match python {
        Ok(out) if out.status.success() => String::from_utf8(out.stdout).expect("a path"),
        _ => panic!("python3 is missing"),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (root, shadow) = (folder.path().join("root"), folder.path().join("shadow"));
    fs::create_dir(&root).expect("ours");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/program.py");
    let out = Command::new(python.trim())
        .args([&program, &root])
        .envs(power::environment(&root, &shadow))
        .output()
        .expect("it starts");
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    power::restore(&root, &shadow);

    let mut left = String::new();
    walk(&root, "", &mut left);
    let expected = "\
        new/\n\
        new/both-synced: CONtent!\n\
        new/cut: 0123456789\n\
        new/grown: one\n\
        new/linked: CONtent!\n\
        new/moved: content\n\
        new/name-synced: \n\
        new/overwritten: 0123456789\n\
        new/removed: content\n\
        new/replaced: before\n\
        new/replaced-for-good: after\n\
        old/\n\
        tmp/\n\
        tmp/arrived: content\n";
    assert_eq!(left, expected);
}

fn walk(folder: &Path, name: &str, out: &mut String) {
    let mut entries: Vec<_> = fs::read_dir(folder).expect("ours").flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{name}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            out.push_str(&format!("{name}/\n"));
            walk(&entry.path(), &format!("{name}/"), out);
        } else {
            out.push_str(&format!("{name}: {}\n", fs::read_to_string(entry.path()).expect("text")));
        }
    }
}
