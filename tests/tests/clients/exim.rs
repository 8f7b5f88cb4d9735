//! Exim as a client: the one that speaks CHUNKING and PRDR.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use hermetic_tests::{
    message::Message,
    server::{Rig, Server},
};

use crate::{arrived, command, exim_program, protocol, run, scripts};

const STRANGER: &str = "stranger@example.org";

/// Has Exim take a message with these lines of a session, and deliver it; returns the dialogue.
fn carry(
    server: &Server,
    kind: &str,
    mail: &str,
    rcpt: &[&str],
    message: &Message,
    options: &[&str],
) -> Option<String> {
    let exim = exim_program()?;
    let folder = server.folder().join("exim");
    fs::create_dir(&folder).expect("a folder");
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("ours");
    let mut session = format!("EHLO client.example.org\r\nMAIL FROM:{mail}\r\n").into_bytes();
    for rcpt in rcpt {
        session.extend_from_slice(format!("RCPT TO:{rcpt}\r\n").as_bytes());
    }
    session.extend_from_slice(format!("BDAT {} LAST\r\n", message.octets.len()).as_bytes());
    session.extend_from_slice(&message.octets);
    session.extend_from_slice(b"QUIT\r\n");
    let mut command = command(&scripts().join("exim.sh"), [exim, folder]);
    command.arg(server.port(kind).to_string()).args(options);
    if kind.starts_with("submission") {
        command.env("EXIM_USER", "anna").env("EXIM_PASSWORD", "secret");
    }
    Some(run(&mut command, &session))
}

fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in:\n{said}");
    }
}

#[test]
fn exim_chunking_prdr_dsn_and_tls() {
    let server = Rig::full().start();
    let message = Message::eight_bit();
    let rcpt = ["<berta@example.test> NOTIFY=SUCCESS", "<carla@example.test> NOTIFY=NEVER"];
    let mail = format!("<{STRANGER}> BODY=8BITMIME RET=HDRS ENVID=x1");
    let options = ["hosts_require_tls = *", "hosts_try_prdr = *"];
    let Some(said) = carry(&server, "mx", &mail, &rcpt, &message, &options) else { return };
    says(
        &said,
        &["using CHUNKING", "SMTP>> STARTTLS", " PRDR", "RET=HDRS", "ENVID=x1", "NOTIFY=SUCCESS", "NOTIFY=NEVER"],
    );
    says(&said, &["SMTP<< 353 "]);
    protocol(&arrived(&server, "berta", STRANGER, &message), "ESMTPS");
    arrived(&server, "carla", STRANGER, &message);
}

#[test]
fn exim_prdr_with_data() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let rcpt = ["<berta@example.test>", "<carla@example.test>"];
    let options = ["hosts_avoid_tls = *", "hosts_try_chunking =", "hosts_try_prdr = *"];
    let Some(said) = carry(&server, "mx", &format!("<{STRANGER}>"), &rcpt, &message, &options) else { return };
    says(&said, &["> DATA", "SMTP<< 353 "]);
    protocol(&arrived(&server, "berta", STRANGER, &message), "ESMTP");
    arrived(&server, "carla", STRANGER, &message);
}

#[test]
fn exim_hears_of_one_refused_recipient() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let rcpt = ["<berta@example.test>", "<x@elsewhere.example>"];
    // The null reverse-path, so that no bounce is made for the refused one.
    let Some(said) = carry(&server, "mx", "<>", &rcpt, &message, &["hosts_try_prdr = *"]) else { return };
    says(&said, &["** x@elsewhere.example"]);
    arrived(&server, "berta", "", &message);
}

#[test]
fn exim_smtputf8() {
    let server = Rig::full().start();
    let message = Message::utf8_header();
    let mail = "<jürgen@example.org> SMTPUTF8 BODY=8BITMIME";
    let options = ["hosts_require_tls = *"];
    let Some(said) = carry(&server, "mx", mail, &["<grüße@example.test>"], &message, &options) else { return };
    says(&said, &[" SMTPUTF8"]);
    protocol(&arrived(&server, "grüße", "jürgen@example.org", &message), "UTF8SMTPS");
}

#[test]
fn exim_as_a_user() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let options = ["hosts_require_tls = *", "hosts_require_auth = *"];
    let Some(said) = carry(&server, "submission", "<anna@example.test>", &["<berta@example.test>"], &message, &options)
    else {
        return;
    };
    says(&said, &["SMTP>> AUTH PLAIN", "using CHUNKING"]);
    protocol(&arrived(&server, "berta", "anna@example.test", &message), "ESMTPSA");
}

#[test]
fn exim_as_a_user_over_implicit_tls() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let options = ["protocol = smtps", "hosts_require_auth = *"];
    let Some(said) =
        carry(&server, "submissions", "<anna@example.test>", &["<berta@example.test>"], &message, &options)
    else {
        return;
    };
    says(&said, &["SMTP>> AUTH PLAIN"]);
    protocol(&arrived(&server, "berta", "anna@example.test", &message), "ESMTPSA");
}

#[test]
fn exim_lmtp() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let rcpt = ["<berta@example.test>", "<carla@example.test>"];
    let Some(said) = carry(&server, "lmtp", &format!("<{STRANGER}>"), &rcpt, &message, &["protocol = lmtp"]) else {
        return;
    };
    says(&said, &["LHLO client.example.org"]);
    // Exim takes the STARTTLS that LMTP offers too.
    protocol(&arrived(&server, "berta", STRANGER, &message), "LMTPS");
    protocol(&arrived(&server, "carla", STRANGER, &message), "LMTPS");
}
