//! The newcomer's first minute: `hermetic serve` without a file, and the lines it prints to be pasted.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::{
    fs::{self, File},
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use hermetic_tests::{message::field, server::binary};

/// The ports of the default; the test cannot choose others.
const PORTS: [u16; 3] = [2525, 2587, 2465];
const PATIENCE: Duration = Duration::from_secs(90);

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The messages in every Maildir below the default data folder.
fn delivered(folder: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                walk(&entry.path(), found);
            } else if folder.ends_with("new") {
                found.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    walk(&folder.join("hermetic-data/mail"), &mut found);
    found.sort();
    found
}

#[test]
fn what_it_prints_can_be_pasted_and_mail_arrives() {
    wait_until("the ports 2525, 2587 and 2465 are free", || {
        PORTS.iter().all(|p| TcpListener::bind(("127.0.0.1", *p)).is_ok())
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("log");
    let out = File::create(&log).expect("ours");
    let _running = Running(
        Command::new(binary(&[]))
            .arg("serve")
            .env_remove("HERMETIC_CONFIG")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a handle"))
            .stderr(out)
            .spawn()
            .expect("it starts"),
    );
    let printed = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("three lines to paste are printed", || lines(&printed()).len() == 3);

    for (n, (program, line)) in lines(&printed()).into_iter().enumerate() {
        if !["/usr/bin", "/usr/local/bin", "/bin"].iter().any(|d| Path::new(d).join(program).exists())
            && program != "python3"
        {
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!ci, "{program} is missing: run tests/clients/install.sh");
            let _ = writeln!(std::io::stderr(), "NOT RUN: {line}: {program} is missing");
            continue;
        }
        let before = delivered(folder.path()).len();
        // As pasted into a shell, in another folder.
        let out =
            Command::new("sh").args(["-c", &line]).current_dir("/").stdin(Stdio::null()).output().expect("a shell");
        let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "line {n} failed: {line}\n{said}\n{}", printed());
        wait_until(&format!("mail arrives after: {line}"), || delivered(folder.path()).len() == before + 1);
    }
    for file in delivered(folder.path()) {
        let octets = fs::read(&file).expect("a message");
        for name in ["Return-Path", "Delivered-To", "Received"] {
            assert!(field(&octets, name).is_some(), "no {name} in {}", String::from_utf8_lossy(&octets));
        }
    }
}

/// Those of the printed lines that are for a shell.
fn lines(printed: &str) -> Vec<(&'static str, String)> {
    printed
        .lines()
        .filter_map(|line| {
            let line = line.trim().trim_start_matches("$ ");
            let program = ["swaks", "curl", "python3"].into_iter().find(|p| {
                line.starts_with(&format!("{p} ")) || (line.contains(&format!("| {p} ")) && line.starts_with("printf "))
            })?;
            Some((program, line.to_owned()))
        })
        .collect()
}
