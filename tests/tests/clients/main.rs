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

use hermetic_tests::{
    message::{Message, assert_same},
    programs::{command, exim as exim_program, installed, missing, output, program, root, run, scripts},
    server::Server,
};

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
