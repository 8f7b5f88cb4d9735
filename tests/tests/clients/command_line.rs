//! swaks, curl, msmtp, gsasl.

use std::fs;

use hermetic_tests::{
    message::Message,
    server::{Rig, Server},
};

use crate::{arrived, command, output, program, protocol, run};

const BERTA: &str = "berta@example.test";
const ANNA: &str = "anna@example.test";
const STRANGER: &str = "stranger@example.org";

// --- swaks ---------------------------------------------------------------------------------------------------------

/// Its transcript. swaks itself ends the message with a CRLF, so it is given one less.
fn swaks(server: &Server, kind: &str, message: &Message, from: &str, to: &str, more: &[&str]) -> Option<String> {
    let swaks = program("swaks")?;
    let file = server.folder().join(&message.token);
    fs::write(&file, &message.octets[..message.octets.len() - 2]).expect("the message is written");
    let mut command = command(&swaks, ["--server", "127.0.0.1", "--helo", "client.example.org", "--timeout", "30"]);
    command.args(["--port", &server.port(kind).to_string(), "--from", from, "--to", to]);
    command.args(["--data", &format!("@{}", file.display())]).args(more);
    Some(run(&mut command, b""))
}

const LOGIN: [&str; 4] = ["--auth-user", "anna", "--auth-password", "secret"];

#[test]
fn swaks_to_the_mx() {
    let server = Rig::full().start();
    let message = Message::eight_bit();
    let Some(_) = swaks(&server, "mx", &message, STRANGER, BERTA, &[]) else { return };
    protocol(&arrived(&server, "berta", STRANGER, &message), "ESMTP");
}

#[test]
fn swaks_speaks_smtp_of_1982() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let Some(_) = swaks(&server, "mx", &message, STRANGER, BERTA, &["--protocol", "SMTP"]) else { return };
    protocol(&arrived(&server, "berta", STRANGER, &message), "SMTP");
}

#[test]
fn swaks_sends_the_null_reverse_path() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let Some(_) = swaks(&server, "mx", &message, "<>", BERTA, &[]) else { return };
    arrived(&server, "berta", "", &message);
}

#[test]
fn swaks_pipelines() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let Some(_) = swaks(&server, "mx", &message, STRANGER, BERTA, &["--pipeline"]) else { return };
    arrived(&server, "berta", STRANGER, &message);
}

#[test]
fn swaks_starttls() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let Some(_) = swaks(&server, "mx", &message, STRANGER, BERTA, &["--tls"]) else { return };
    protocol(&arrived(&server, "berta", STRANGER, &message), "ESMTPS");
}

#[test]
fn swaks_auth_plain() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let more = [&["--tls", "--auth", "PLAIN"], &LOGIN[..]].concat();
    let Some(_) = swaks(&server, "submission", &message, ANNA, BERTA, &more) else { return };
    protocol(&arrived(&server, "berta", ANNA, &message), "ESMTPSA");
}

#[test]
fn swaks_auth_login() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let more = [&["--tls", "--auth", "LOGIN"], &LOGIN[..]].concat();
    let Some(_) = swaks(&server, "submission", &message, ANNA, BERTA, &more) else { return };
    protocol(&arrived(&server, "berta", ANNA, &message), "ESMTPSA");
}

#[test]
fn swaks_implicit_tls() {
    let server = Rig::full().start();
    let message = Message::eight_bit();
    let more = [&["--tls-on-connect", "--auth", "PLAIN"], &LOGIN[..]].concat();
    let Some(_) = swaks(&server, "submissions", &message, ANNA, BERTA, &more) else { return };
    protocol(&arrived(&server, "berta", ANNA, &message), "ESMTPSA");
}

#[test]
fn swaks_with_a_wrong_password_delivers_nothing() {
    let Some(swaks) = program("swaks") else { return };
    let server = Rig::full().start();
    let mut command = command(&swaks, ["--server", "127.0.0.1", "--from", ANNA, "--to", BERTA, "--timeout", "30"]);
    command.args(["--port", &server.port("submission").to_string(), "--tls", "--auth", "PLAIN"]);
    let out = output(command.args(["--auth-user", "anna", "--auth-password", "wrong"]), b"");
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(28), "swaks calls a failed login 28\n{text}");
    assert!(text.contains("535 5.7.8"), "RFC 4954 section 6\n{text}");
    assert_eq!(server.maildir("berta").files().len(), 0);
}

#[test]
fn swaks_prdr() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let to = format!("{BERTA},carla@example.test");
    let Some(said) = swaks(&server, "mx", &message, STRANGER, &to, &["--prdr"]) else { return };
    assert!(said.contains("<-  353"), "no 353 in:\n{said}");
    arrived(&server, "berta", STRANGER, &message);
    arrived(&server, "carla", STRANGER, &message);
}

#[test]
fn swaks_lmtp() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let to = format!("{BERTA},carla@example.test");
    let Some(_) = swaks(&server, "lmtp", &message, STRANGER, &to, &["--protocol", "LMTP"]) else { return };
    protocol(&arrived(&server, "berta", STRANGER, &message), "LMTP");
    protocol(&arrived(&server, "carla", STRANGER, &message), "LMTP");
}

#[test]
fn swaks_xclient() {
    let server = Rig::new().listener("mx", "xclient = [\"127.0.0.1/32\"]").start();
    let message = Message::seven_bit();
    let more =
        ["--xclient-addr", "192.0.2.7", "--xclient-name", "peer.example.org", "--xclient-helo", "claimed.example.org"];
    let Some(said) = swaks(&server, "mx", &message, STRANGER, BERTA, &more) else { return };
    assert!(said.contains("XCLIENT "), "{said}");
    let trace = arrived(&server, "berta", STRANGER, &message);
    assert!(trace.contains("192.0.2.7"), "{trace}");
}

// --- curl ----------------------------------------------------------------------------------------------------------

fn curl(url: &str, message: &Message, from: &str, to: &str, more: &[&str]) -> Option<String> {
    let curl = program("curl")?;
    let mut command = command(&curl, ["-sS", "-v", "--max-time", "60", "-k", "--mail-from", from, "--mail-rcpt", to]);
    command.args(["--url", url, "--upload-file", "-"]).args(more);
    Some(run(&mut command, &message.octets))
}

fn url(server: &Server, scheme: &str, kind: &str) -> String {
    format!("{scheme}://127.0.0.1:{}/client.example.org", server.port(kind))
}

#[test]
fn curl_to_the_mx() {
    let server = Rig::full().start();
    let message = Message::eight_bit();
    let Some(_) = curl(&url(&server, "smtp", "mx"), &message, STRANGER, BERTA, &[]) else { return };
    protocol(&arrived(&server, "berta", STRANGER, &message), "ESMTP");
}

#[test]
fn curl_starttls() {
    let server = Rig::full().start();
    let message = Message::eight_bit();
    let Some(_) = curl(&url(&server, "smtp", "mx"), &message, STRANGER, BERTA, &["--ssl-reqd"]) else { return };
    protocol(&arrived(&server, "berta", STRANGER, &message), "ESMTPS");
}

#[test]
fn curl_auth_plain_with_an_initial_response() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let more = ["--ssl-reqd", "--user", "anna:secret", "--login-options", "AUTH=PLAIN", "--sasl-ir"];
    let Some(_) = curl(&url(&server, "smtp", "submission"), &message, ANNA, BERTA, &more) else { return };
    protocol(&arrived(&server, "berta", ANNA, &message), "ESMTPSA");
}

#[test]
fn curl_auth_login_over_implicit_tls() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let more = ["--user", "anna:secret", "--login-options", "AUTH=LOGIN"];
    let Some(_) = curl(&url(&server, "smtps", "submissions"), &message, ANNA, BERTA, &more) else { return };
    protocol(&arrived(&server, "berta", ANNA, &message), "ESMTPSA");
}

#[test]
fn curl_smtputf8() {
    let server = Rig::full().start();
    let message = Message::utf8_header();
    let from = "jürgen@example.org";
    let Some(said) = curl(&url(&server, "smtp", "mx"), &message, from, "grüße@example.test", &[]) else { return };
    assert!(said.contains(" SMTPUTF8"), "curl gave no SMTPUTF8:\n{said}");
    protocol(&arrived(&server, "grüße", from, &message), "UTF8SMTP");
}

#[test]
fn curl_behind_the_proxy_protocol() {
    let server = Rig::new().listener("mx", "proxy = [\"127.0.0.1/32\"]").start();
    let message = Message::seven_bit();
    let Some(_) = curl(&url(&server, "smtp", "mx"), &message, STRANGER, BERTA, &["--haproxy-protocol"]) else { return };
    arrived(&server, "berta", STRANGER, &message);
}

// --- msmtp ---------------------------------------------------------------------------------------------------------

fn msmtp(server: &Server, kind: &str, message: &Message, from: &str, more: &[&str]) -> Option<String> {
    let msmtp = program("msmtp")?;
    let none = server.folder().join("msmtprc");
    fs::write(&none, "").expect("an empty configuration");
    let mut command = command(&msmtp, ["--debug", "--host=127.0.0.1", "--domain=client.example.org", "--timeout=30"]);
    command.arg(format!("--file={}", none.display()));
    command.args(["--tls-certcheck=off", "--set-from-header=off", "--set-date-header=off", "--set-msgid-header=off"]);
    command.args([format!("--port={}", server.port(kind)), format!("--from={from}")]).args(more).arg(BERTA);
    // msmtp reads lines that end in LF, as sendmail does.
    Some(run(&mut command, &hermetic_tests::message::newlines(&message.octets)))
}

const MSMTP_LOGIN: [&str; 3] = ["--user=anna", "--passwordeval=printf %s secret", "--tls=on"];

#[test]
fn msmtp_to_the_mx() {
    let server = Rig::full().start();
    let message = Message::eight_bit();
    let Some(_) = msmtp(&server, "mx", &message, STRANGER, &["--tls=off", "--auth=off"]) else { return };
    protocol(&arrived(&server, "berta", STRANGER, &message), "ESMTP");
}

#[test]
fn msmtp_asks_for_notifications() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let more = ["--tls=off", "--auth=off", "--dsn-notify=success,failure", "--dsn-return=headers"];
    let Some(said) = msmtp(&server, "mx", &message, STRANGER, &more) else { return };
    assert!(said.contains("RET=HDRS") && said.contains("NOTIFY=SUCCESS,FAILURE"), "{said}");
    arrived(&server, "berta", STRANGER, &message);
}

#[test]
fn msmtp_auth_plain() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let more = [&["--auth=plain", "--tls-starttls=on"], &MSMTP_LOGIN[..]].concat();
    let Some(_) = msmtp(&server, "submission", &message, ANNA, &more) else { return };
    protocol(&arrived(&server, "berta", ANNA, &message), "ESMTPSA");
}

#[test]
fn msmtp_auth_login_over_implicit_tls() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let more = [&["--auth=login", "--tls-starttls=off"], &MSMTP_LOGIN[..]].concat();
    let Some(_) = msmtp(&server, "submissions", &message, ANNA, &more) else { return };
    protocol(&arrived(&server, "berta", ANNA, &message), "ESMTPSA");
}

#[test]
fn msmtp_scram_sha_256() {
    let server = Rig::full().start();
    let message = Message::seven_bit();
    let more = [&["--auth=scram-sha-256", "--tls-starttls=on"], &MSMTP_LOGIN[..]].concat();
    let Some(said) = msmtp(&server, "submission", &message, ANNA, &more) else { return };
    assert!(said.contains("AUTH SCRAM-SHA-256"), "{said}");
    protocol(&arrived(&server, "berta", ANNA, &message), "ESMTPSA");
}

// --- gsasl ---------------------------------------------------------------------------------------------------------

/// gsasl logs in and leaves; whether it could, and what was said.
fn gsasl(server: &Server, mechanism: &str, password: &str) -> Option<(bool, String)> {
    let gsasl = program("gsasl")?;
    let mut command = command(&gsasl, ["--smtp", "--verbose", "--connect"]);
    command.arg(format!("127.0.0.1:{}", server.port("submission")));
    command.args(["--mechanism", mechanism, "--authentication-id", "anna", "--authorization-id", ""]);
    command.args(["--password", password, "--starttls", "--x509-ca-file="]);
    let out = output(&mut command, b"");
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    Some((out.status.success(), text))
}

/// Both sides prove to each other that they know the password and that nobody sits between them (RFC 5802, RFC 9266).
#[test]
fn gsasl_scram_sha_256_plus() {
    let server = Rig::full().start();
    let Some((ok, said)) = gsasl(&server, "SCRAM-SHA-256-PLUS", "secret") else { return };
    assert!(ok && said.contains("235 ") && said.contains("server trusted"), "{said}");
}

#[test]
fn gsasl_with_a_wrong_password() {
    let server = Rig::full().start();
    let Some((ok, said)) = gsasl(&server, "SCRAM-SHA-256-PLUS", "wrong") else { return };
    assert!(!ok && said.contains("535 ") && !said.contains("235 "), "{said}");
}
