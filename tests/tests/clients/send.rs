//! `hermetic send`, to Hermetic and to Postfix's smtp-sink.

use std::{
    fs,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use hermetic_tests::{
    message::Message,
    server::{Rig, Server, binary, free_port},
};
use serde_json::Value;

use crate::{arrived, output, program, protocol};

/// Runs it with a server's configuration.
fn send(server: &Server, arguments: &[&str], input: &[u8]) -> Output {
    output(Command::new(binary(&[])).arg("send").args(arguments).arg("--config").arg(server.config()), input)
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// What was said, in order; each pattern stands somewhere behind the one before.
#[track_caller]
fn in_order(transcript: &str, patterns: &[&str]) {
    let mut rest = transcript;
    for pattern in patterns {
        let Some(at) = rest.find(pattern) else { panic!("{pattern:?} is missing, or comes too early:\n{transcript}") };
        rest = &rest[at + pattern.len()..];
    }
}

#[test]
fn send_with_a_login_tls_bdat_and_dsn() {
    let server = Rig::full().start();
    let message = Message::eight_bit();
    let data = server.folder().join("message.eml");
    fs::write(&data, &message.octets).expect("ours");
    let password = server.folder().join("password");
    fs::write(&password, "secret\n").expect("ours");
    let (at, data) = (format!("127.0.0.1:{}", server.port("submission")), data.display().to_string());
    let password = password.display().to_string();
    let common = [
        "--server",
        &at,
        "--tls",
        "encrypted",
        "--login",
        "anna",
        "--password-file",
        &password,
        "--from",
        "anna@example.test",
        "--data",
        &data,
        "--transcript",
        "--timings",
    ];
    let dsn = [
        "--to",
        "berta@example.test",
        "--notify",
        "failure,delay",
        "--ret",
        "headers",
        "--envid",
        "x1",
        "--orcpt",
        "rfc822;original@example.test",
    ];
    let out = send(&server, &[&common[..], &dsn[..]].concat(), b"");
    let said = text(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{said}{}", text(&out.stderr));
    in_order(
        &said,
        &[
            "S: 220 ",
            "C: EHLO ",
            "S: 250",
            "C: STARTTLS",
            "S: 220 ",
            "-- TLSv1.3",
            "C: EHLO ",
            "S: 250-",
            "C: ********",
            "S: 235 ",
            "C: MAIL FROM:<anna@example.test> SIZE=",
            "RET=HDRS ENVID=x1",
            "C: RCPT TO:<berta@example.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;original@example.test",
            "C: BDAT ",
            "octets of content)",
            "S: 250 ",
            "C: QUIT",
            "S: 221 ",
            "connected ",
            "tls ",
            "ready ",
            "logged in ",
            "answered ",
            "closed ",
            "berta@example.test: accepted",
        ],
    );
    assert!(!said.contains("AUTH PLAIN ") && !said.contains("secret"), "a secret is shown:\n{said}");
    protocol(&arrived(&server, "berta", "anna@example.test", &message), "ESMTPSA");

    // Without BDAT, and with a wrong password from the environment.
    let out = send(&server, &[&common[..], &["--to", "carla@example.test", "--no-chunking"]].concat(), b"");
    in_order(&text(&out.stdout), &["C: DATA", "S: 354 ", "octets of content)", "carla@example.test: accepted"]);
    let wrong = [
        "--server",
        &at,
        "--tls",
        "encrypted",
        "--login",
        "anna",
        "--password-file",
        "-",
        "--from",
        "anna@example.test",
        "--to",
        "berta@example.test",
    ];
    let out = send(&server, &wrong, b"wrong\n");
    assert_eq!(out.status.code(), Some(8), "{}", text(&out.stdout));
    // Nobody vouches for its certificate: unless that is said not to matter, the password stays here.
    let out = send(&server, &[&wrong[..2], &wrong[4..], &["--transcript"]].concat(), b"secret\n");
    assert_eq!(out.status.code(), Some(7), "{}", text(&out.stdout));
    assert!(!text(&out.stdout).contains("********"), "the password was said:\n{}", text(&out.stdout));
    let out = send(&server, &wrong[4..], b"secret\n");
    assert_eq!(out.status.code(), Some(2), "no server is named: {}", text(&out.stdout));
    let mut command = Command::new(binary(&[]));
    command.arg("send").args(&wrong[..6]).args(&wrong[8..]).arg("--config").arg(server.config());
    let out = output(command.env("HERMETIC_PASSWORD", "secret"), b"");
    assert_eq!(out.status.code(), Some(0), "{}{}", text(&out.stdout), text(&out.stderr));
}

#[test]
fn send_to_several_with_different_outcomes() {
    let server = Rig::full().start();
    let at = format!("127.0.0.1:{}", server.port("mx"));
    let arguments = [
        "--server",
        &at,
        "--from",
        "<>",
        "--to",
        "berta@example.test",
        "--to",
        "someone@example.net",
        "--to",
        "postmaster",
        "--subject",
        "different",
        "--header",
        "X-Test: yes",
        "--body",
        ".a dot\nand a line",
        "--json",
        "--transcript",
    ];
    let out = send(&server, &arguments, b"");
    assert_eq!(out.status.code(), Some(5), "{}{}", text(&out.stdout), text(&out.stderr));
    let json: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let became: Vec<(&str, &str, u64)> = json["recipients"]
        .as_array()
        .expect("recipients")
        .iter()
        .map(|one| {
            let word = |key: &str| one[key].as_str().unwrap_or_default();
            (word("recipient"), word("outcome"), one["code"].as_u64().unwrap_or_default())
        })
        .collect();
    let of = |name: &str| {
        became.iter().find(|(recipient, ..)| *recipient == name).map(|(_, outcome, code)| (*outcome, *code))
    };
    assert_eq!(of("berta@example.test"), Some(("accepted", 250)), "{json:#}");
    assert_eq!(of("postmaster"), Some(("accepted", 250)), "{json:#}");
    assert_eq!(of("someone@example.net"), Some(("permanent", 550)), "{json:#}");
    assert!(json["sessions"][0]["tls"].as_str().is_some_and(|tls| tls.starts_with("TLSv1.3")), "{json:#}");
    let copy = text(&server.maildir("berta").one("X-Test: yes")).replace("\r\n", "\n");
    assert!(copy.contains("Subject: different\n") && copy.ends_with("\n\n.a dot\nand a line\n"), "{copy}");

    let nobody = format!("127.0.0.1:{}", free_port());
    let code = |arguments: &[&str]| send(&server, arguments, b"").status.code();
    let to = ["--from", "a@example.test", "--to", "berta@example.test"];
    assert_eq!(code(&[&to[..], &["--server", &nobody]].concat()), Some(3), "nobody listens");
    // The server has a certificate that it made itself.
    assert_eq!(code(&[&to[..], &["--server", &at, "--tls", "verified"]].concat()), Some(7), "nobody vouches for it");
    assert_eq!(code(&[&to[..], &["--server", &at, "--data", "/nowhere"]].concat()), Some(1), "no message");
    assert_eq!(code(&["--from", "a", "--to", "b@example.test", "--server", &at]), Some(2), "no address");
}

#[test]
fn send_by_lmtp_over_a_unix_socket() {
    let server = Rig::new().listener("mx", "").unix_listener("lmtp").start();
    let at = format!("unix:{}", server.socket("lmtp").display());
    let message = Message::seven_bit();
    let to = ["--to", "berta@example.test", "--to", "carla@example.test"];
    let common = ["--server", &at, "--lmtp", "--from", "stranger@example.org", "--data", "-", "--transcript"];
    let out = send(&server, &[&common[..], &to[..]].concat(), &message.octets);
    let said = text(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{said}{}", text(&out.stderr));
    in_order(&said, &["C: LHLO ", "octets of content)", "S: 250 ", "S: 250 ", "berta@example.test: accepted"]);
    protocol(&arrived(&server, "berta", "stranger@example.org", &message), "LMTP");
    arrived(&server, "carla", "stranger@example.org", &message);
}

/// Postfix's smtp-sink on a port of its own, ended when dropped.
struct Sink {
    child: Child,
    port: u16,
}

impl Sink {
    fn start(arguments: &[&str]) -> Option<Self> {
        let program = program("smtp-sink")?;
        let port = free_port();
        let child = Command::new(program)
            .args(arguments)
            .args([&format!("127.0.0.1:{port}"), "10"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("smtp-sink starts");
        let sink = Self { child, port };
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "smtp-sink does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(sink)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn send_to_smtp_sink() {
    let server = Rig::new().listener("mx", "").start();
    for (sink, code, expected) in [
        (
            &["-u", "root"][..],
            0,
            &["S: 220 ", "C: EHLO ", "S: 250", "C: MAIL FROM:<a@example.test>", "C: DATA", "C: QUIT", "accepted"][..],
        ),
        (&["-u", "root", "-f", "RCPT"][..], 5, &["C: RCPT TO:<b@example.net>", "S: 5", "C: QUIT", "refused"]),
        (&["-u", "root", "-r", "."][..], 4, &["C: DATA", "octets of content)", "S: 4", "refused for now"]),
        (&["-u", "root", "-q", "."][..], 6, &["octets of content)", "it may have arrived"]),
        // HELO is enough, and nothing is pipelined.
        (
            &["-u", "root", "-e"][..],
            0,
            &["C: EHLO ", "S: 5", "C: HELO ", "S: 250", "C: MAIL FROM:<a@example.test>\nS: 250", "accepted"],
        ),
    ] {
        let Some(running) = Sink::start(sink) else { return };
        let at = format!("127.0.0.1:{}", running.port);
        let to = ["--server", &at, "--from", "a@example.test", "--to", "b@example.net", "--transcript"];
        let out = send(&server, &to, b"");
        let said = text(&out.stdout);
        assert_eq!(out.status.code(), Some(code), "{sink:?}:\n{said}{}", text(&out.stderr));
        in_order(&said, expected);
    }
}
