//! Real mail clients deliver into a real Maildir, and nothing is changed on the way.
//!
//! Every client of the list in `tests/README.md` is a test of its own. Where a client is not installed its tests say so on
//! standard error and end; with `CI=true` that is a failure. `tests/clients/install.sh` installs them all.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod command_line;
mod exim;
mod libraries;
mod postfix;
mod probe;
mod send;

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use hermetic_tests::{
    message::{Message, assert_same},
    server::Server,
};

/// The folder with the scripts that drive clients.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Where `install.sh` puts what is no system package.
fn installed() -> PathBuf {
    match std::env::var_os("HERMETIC_CLIENTS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients"),
    }
}

/// For `let … else`: says that the test is not run. A failure with `CI=true`.
fn missing(what: &str) {
    let ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false");
    assert!(!ci, "{what} is missing: run tests/clients/install.sh");
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // Not `eprintln!`, which the test runner keeps to itself.
    let _ = writeln!(std::io::stderr(), "NOT RUN: {test}: {what} is missing; run tests/clients/install.sh");
}

/// A program of the search path.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|d| d.join(name)).find(|p| p.is_file());
    if found.is_none() {
        missing(name);
    }
    found
}

/// Root, which Postfix and Exim need.
fn root() -> Option<()> {
    let root = rustix::process::geteuid().is_root();
    if !root {
        missing("root");
    }
    root.then_some(())
}

/// Runs to the end with this input.
fn output(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A thread of its own: a client may talk before it has read everything.
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let out = child.wait_with_output().expect("it ends");
    writer.join().expect("the writer does not panic");
    out
}

/// Runs to the end, must succeed, and gives standard output and error together.
fn run(command: &mut Command, input: &[u8]) -> String {
    let out = output(command, input);
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {}\n{text}", out.status);
    text
}

/// `program` with arguments, as [`Command`].
fn command<S: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C.UTF-8");
    command
}

/// The message is once in the Maildir of `local`, unchanged below its trace; returns the trace, unfolded.
fn arrived(server: &Server, local: &str, from: &str, message: &Message) -> String {
    let stored = server.maildir(local).one(&format!("X-Token: {}", message.token));
    assert_same(&stored, message);
    let text = String::from_utf8_lossy(&stored).replace("\r\n", "\n");
    let trace = text.split(&format!("X-Token: {}", message.token)).next().unwrap_or_default();
    let trace = trace.replace("\n ", " ").replace("\n\t", " ");
    assert!(
        trace.starts_with(&format!("Return-Path: <{from}>\n")),
        "the trace does not begin with Return-Path:\n{trace}"
    );
    assert!(trace.contains("\nDelivered-To: "), "no Delivered-To:\n{trace}");
    assert!(trace.contains("\nReceived: from "), "no Received:\n{trace}");
    trace
}

/// The Received field that the server added says this protocol (RFC 3848, RFC 6531 section 4.3).
fn protocol(trace: &str, expected: &str) {
    let received = trace.split("\nReceived: ").nth(1).unwrap_or_default();
    let word = received.split_whitespace().skip_while(|w| *w != "with").nth(1).unwrap_or_default();
    assert_eq!(word.trim_end_matches(';'), expected, "{trace}");
}
