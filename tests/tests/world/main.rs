//! Hermetic among servers of other makers: they are found through a real name server, whose zones are signed, and reached over
//! TLS as DANE and MTA-STS ask; mailboxes lie in Dovecot; signatures are checked by others.
//!
//! Where a program is not installed the tests say so on standard error and end; with `CI=true` that is a failure.
//! `tests/clients/install.sh` installs them all.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod cases;
mod peers;

use std::{fs, net::SocketAddr};

use hermetic_tests::{
    message::Message,
    programs::{command, program, run},
    server::Server,
};

/// An address of the small Internet.
fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 1, last], port))
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
