//! Real clients deliver to it, and nothing is changed on the way.

use hermetic_tests::message::{Message, assert_same};
use hermetic_tests::programs::{command, program, run, scripts};

use crate::program::{Standalone, programs};

const SENDER: &str = "anna@client.example";

/// The message is kept once, unchanged below its trace, and named in a line.
fn kept(server: &Standalone, message: &Message, recipients: &[&str]) {
    let stored = server.maildir().one(&format!("X-Token: {}", message.token));
    assert_same(&stored, message);
    let text = String::from_utf8_lossy(&stored);
    let delivered: String = recipients.iter().map(|to| format!("Delivered-To: {to}\r\n")).collect();
    let above = format!("Return-Path: <{SENDER}>\r\n{delivered}Received: from ");
    assert!(text.starts_with(&above), "{text}");
    assert!(text.contains(" ([127.0.0.1])\r\n\tby mx.example.test with ESMTP;\r\n\t"), "{text}");
    let line = server.line();
    let to: Vec<String> = recipients.iter().map(|to| format!("<{to}>")).collect();
    let expected = format!("message from=<{SENDER}> to={} size=", to.join(","));
    assert!(line.starts_with(&expected) && line.contains(" client=127.0.0.1 kept=new/"), "{line}");
    let file = line.split("kept=").nth(1).expect("a file");
    assert!(server.folder().join(file).is_file(), "{file}");
    assert_eq!(std::fs::read_dir(server.folder().join("tmp")).expect("tmp").count(), 0, "something is left in tmp");
}

fn server() -> Option<Standalone> {
    programs()?;
    Standalone::keeping(&["--domain", "example.test", "--name", "mx.example.test"])
}

#[test]
fn smtplib_delivers() {
    let Some(server) = server() else { return };
    let Some(python) = program("python3") else { return };
    for message in [Message::seven_bit(), Message::eight_bit()] {
        let plan = serde_json::json!({
            "port": server.port, "sender": SENDER, "recipients": ["b@example.test", "nobody@elsewhere.test", "c@example.test"],
            "mail_options": ["BODY=8BITMIME"],
        });
        let script = scripts().join("smtplib_send.py");
        let told = run(&mut command(&python, [script.into_os_string(), plan.to_string().into()]), &message.octets);
        let told: serde_json::Value = serde_json::from_str(&told).expect("an object");
        assert_eq!(told["refused"]["nobody@elsewhere.test"][0], 550, "{told}");
        assert!(told["extensions"].get("starttls").is_none(), "{told}");
        kept(&server, &message, &["b@example.test", "c@example.test"]);
    }
}

#[test]
fn curl_delivers() {
    let Some(server) = server() else { return };
    let Some(curl) = program("curl") else { return };
    let message = Message::sealed(&hermetic_tests::message::token(), 300_000);
    let url = format!("smtp://127.0.0.1:{}/client.example", server.port);
    let arguments =
        ["--silent", "--show-error", "--url", &url, "--mail-from", SENDER, "--mail-rcpt", "b@example.test", "-T", "-"];
    run(&mut command(&curl, arguments), &message.octets);
    kept(&server, &message, &["b@example.test"]);
}

#[test]
fn swaks_delivers() {
    let Some(server) = server() else { return };
    let Some(swaks) = program("swaks") else { return };
    let message = Message::seven_bit();
    let port = server.port.to_string();
    // swaks itself ends the message with a CRLF, so it is given one less.
    let file = server.folder().join("message");
    std::fs::write(&file, &message.octets[..message.octets.len() - 2]).expect("a file");
    let data = format!("@{}", file.display());
    let to = ["--server", "127.0.0.1", "--port", &port, "--helo", "client.example", "--timeout", "30"];
    let what = ["--from", SENDER, "--to", "b@example.test", "--data", &data, "--pipeline"];
    run(&mut command(&swaks, to.into_iter().chain(what)), b"");
    kept(&server, &message, &["b@example.test"]);
}
