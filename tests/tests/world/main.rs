//! Hermetic among servers of other makers: they are found through a real name server, whose zones are signed, and reached over
//! TLS as DANE and MTA-STS ask; mailboxes lie in Dovecot; signatures are checked by others.
//!
//! Where a program is not installed the tests say so on standard error and end; with `CI=true` that is a failure.
//! `tests/clients/install.sh` installs them all.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod cases;
mod dkim;
mod lmtp;
mod peers;
mod require_tls;
mod tls_reports;

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use hermetic_tests::{
    message::Message,
    programs::{command, program, python, run, scripts},
    server::Server,
};
use serde_json::Value;

/// An address of the small Internet.
fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 1, last], port))
}

/// A folder that servers with users of their own may enter.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("hermetic-world-").tempdir().expect("a folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("ours");
    folder
}

/// Until it is so. What is returned otherwise is what is missing.
fn wait(seconds: u64, mut so: impl FnMut() -> Result<(), String>) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while let Err(missing) = so() {
        assert!(Instant::now() < end, "not within {seconds} s: {missing}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The delivery status notifications that anna has, each as Python's email package reads it.
fn notices(server: &Server) -> Option<Vec<Value>> {
    let python = python()?;
    let read = |notice: Vec<u8>| {
        let said = run(&mut command(&python, [scripts().join("read_dsn.py")]), &notice);
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
        assert_eq!(said["return-path"], "<>", "{said}");
        said
    };
    Some(server.maildir("anna").messages().into_iter().map(read).collect())
}

/// Sends a message as the user anna, with swaks. None: there is no swaks.
fn submit(server: &Server, message: &Message, to: &[String]) -> Option<()> {
    let swaks = program("swaks")?;
    let file = server.folder().join(&message.token);
    fs::write(&file, &message.octets[..message.octets.len() - 2]).expect("the message is written");
    let mut command =
        command(&swaks, ["--server", "127.0.0.1", "--helo", "client.invalid", "--timeout", "30", "--tls"]);
    command.args([
        "--port",
        &server.port("submission").to_string(),
        "--from",
        "anna@example.test",
        "--to",
        &to.join(","),
    ]);
    command.args(["--auth", "PLAIN", "--auth-user", "anna", "--auth-password", "secret"]);
    command.args(["--data", &format!("@{}", file.display())]);
    run(&mut command, b"");
    Some(())
}
