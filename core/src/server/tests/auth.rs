//! AUTH.

use std::string::{String, ToString};
use std::{format, vec};

use super::rig::{Pair, check, with};
use crate::server::Options;
use crate::step::{Need, Occasion};

fn inside() -> Options {
    with(|options| {
        options.implicit_tls = true;
        options.tls_mechanisms = vec!["PLAIN".to_string(), "LOGIN".to_string()];
        options.require_auth = true;
        options.limits.auth_failures = 3;
    })
}

const HELLO: &str = "S: 220 mx.test ESMTP
    C: EHLO a.example
    S: 250-mx.test
    S: 250-PIPELINING
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-CHUNKING
    S: 250-BINARYMIME
    S: 250-ENHANCEDSTATUSCODES
    S: 250-DSN
    S: 250-HELP
    S: 250-PRDR
    S: 250-REQUIRETLS
    S: 250-SIZE 1000
    S: 250-LIMITS RCPTMAX=100
    S: 250 AUTH PLAIN LOGIN
";

#[test]
fn every_way_in() {
    for way in [
        "C: AUTH PLAIN AGFubgBzZWNyZXQ=\n",
        "C: auth plain AGFubgBzZWNyZXQ=\n",
        "C: AUTH PLAIN\nC: AGFubgBzZWNyZXQ=\nS: 334\n",
        "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: YW5u\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\n",
    ] {
        let rest = "S: 235 2.7.0 Authentication successful
            C: AUTH PLAIN AGFubgBzZWNyZXQ=
            S: 503 5.5.1 Already authenticated
            C: RSET
            S: 250 2.0.0 Ok
            C: HELO a.example
            S: 250 mx.test
            C: MAIL FROM:<a@b.example>
            S: 250 2.1.0 Sender ok";
        check(&inside(), &format!("{HELLO}{way}{rest}"));
    }
}

#[test]
fn every_way_to_fail() {
    let script = "C: MAIL FROM:<a@b.example>
        S: 530 5.7.0 Authentication required
        C: AUTH
        S: 501 5.5.4 …
        C: AUTH X-NOSUCH
        S: 504 5.5.4 Mechanism not available
        C: AUTH PLAIN !!!!
        S: 501 5.5.2 …
        C: AUTH PLAIN
        S: 334
        C: %%%%
        S: 501 5.5.2 Not base64
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: YW5u
        S: 334 UGFzc3dvcmQ6
        C: *
        S: 501 5.7.0 Authentication cancelled
        C: NOOP
        S: 250 2.0.0 Ok
        C: AUTH LOGIN
        C: QUIT
        S: 334 VXNlcm5hbWU6
        S: 535 5.7.8 Wrong
        C: AUTH PLAIN
        C! \\n\\r\\n
        S: 334
        S: 500 5.5.2 …
        C: AUTH PLAIN AGFubgB3cm9uZw==
        C: AUTH PLAIN AGFubgB3cm9uZw==
        C: AUTH PLAIN AGFubgBzZWNyZXQ=
        S: 535 5.7.8 Wrong
        S: 535 5.7.8 Wrong
        S: 421 4.7.0 mx.test Too many failed logins, closing
        CLOSED";
    check(&inside(), &format!("{HELLO}{script}"));
}

#[test]
fn where_there_is_none() {
    let without = "S: 220 mx.test ESMTP
        C: HELO a.example
        S: 250 mx.test
        C: AUTH PLAIN
        S: 503 5.5.1 Say EHLO first";
    check(&inside(), without);
    // Only inside TLS, and not at all.
    for (require_auth, reply) in
        [(true, "538 5.7.11 Encryption required, use STARTTLS"), (false, "502 5.5.1 AUTH is not available")]
    {
        let mut pair = Pair::new(&with(|options| options.require_auth = require_auth), false);
        pair.send(b"EHLO a.example\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n");
        let sent = String::from_utf8_lossy(&pair.sent).into_owned();
        assert!(sent.ends_with(&format!("\r\n{reply}\r\n")), "{sent}");
    }
}

#[test]
fn long_lines() {
    let options = with(|options| {
        options.plaintext_mechanisms = vec!["PLAIN".to_string()];
        options.limits.command_line = 512;
    });
    let mut pair = Pair::new(&options, false);
    let mut heard = 0;
    let mut ask = |pair: &mut Pair, line: String| {
        pair.send(format!("{line}\r\n").as_bytes());
        let reply = String::from_utf8_lossy(&pair.sent[heard..]).into_owned();
        heard = pair.sent.len();
        reply
    };
    ask(&mut pair, "EHLO a.example".to_string());
    assert_eq!(ask(&mut pair, format!("NOOP {}", "x".repeat(505))), "250 2.0.0 Ok\r\n");
    assert_eq!(ask(&mut pair, format!("NOOP {}", "x".repeat(506))), "500 5.5.2 Line too long\r\n");
    assert_eq!(ask(&mut pair, format!("AUTH PLAIN {}", "YWJj".repeat(3000))), "535 5.7.8 Wrong\r\n");
    assert_eq!(ask(&mut pair, format!("AUTH PLAIN {}", "YWJj".repeat(5000))), "500 5.5.2 Line too long\r\n");
    assert_eq!(ask(&mut pair, "AUTH PLAIN".to_string()), "334 \r\n");
    assert_eq!(ask(&mut pair, "YWJj".repeat(5000)), "500 5.5.6 Authentication line too long\r\n");
    assert_eq!(ask(&mut pair, "NOOP".to_string()), "250 2.0.0 Ok\r\n");
}

/// A password, even one typed where a command should be, reaches no event that may be logged.
#[test]
fn passwords_are_secret() {
    for trace in [false, true] {
        let mut options = inside();
        options.trace = trace;
        let mut pair = Pair::new(&options, false);
        pair.send(
            b"EHLO a.example\r\nAUTH PLAIN AGFubgB3cm9uZw==\r\nAUTH LOGIN\r\nYW5u\r\nd3Jvbmc=\r\nAUTH X-NOSUCH AGFubgBzZWNyZXQ=\r\n\
              AGFubgBzZWNyZXQ=\r\nRCPT AGFubgBzZWNyZXQ=\r\nMAIL AGFubgBzZWNyZXQ=\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n",
        );
        assert_eq!(pair.need, Need::Input);
        assert!(pair.sent.ends_with(b"235 2.7.0 Authentication successful\r\n"));
        for event in pair.events.iter().filter(|event| !event.secret) {
            for secret in ["AGFubg", "YW5u", "d3Jvbmc", "secret", "wrong"] {
                assert!(!event.detail.contains(secret), "{event:?}");
            }
        }
        assert_eq!(trace, pair.events.iter().any(|event| event.occasion == Occasion::Command));
    }
}
