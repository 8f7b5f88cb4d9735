//! Counts, timers and going down.

use std::{format, string::String};

use super::rig::{Pair, check, options, with};
use crate::question::{Answer, Question};
use crate::server::Session;
use crate::step::{Need, Occasion};

#[test]
fn too_many_errors() {
    let options = with(|options| options.limits.errors = 3);
    let end = "S: 421 4.7.0 mx.test Too many errors, closing\nCLOSED";
    check(
        &options,
        &format!(
            "S: 220 mx.test ESMTP\nC: X\nC: DATA\nC: NOOP\nC: Y\nC: NOOP\nS: 500 5.5.2 …\nS: 503 5.5.1 …\nS: 250 2.0.0 Ok\nS: 500 5.5.2 …\n{end}"
        ),
    );
    // In a batch, and with a fault of syntax among the refused.
    check(
        &options,
        &format!(
            "S: 220 mx.test ESMTP
             C: HELO a.example
             C: MAIL FROM:<a@b.example>
             C: RCPT TO:<no1@b.example>
             C: RCPT TO:<c@b.example>
             C: RCPT TO
             C: RCPT TO:c@b.example
             C: RCPT TO:<no2@b.example>
             C: RCPT TO:<d@b.example>
             S: 250 mx.test
             S: 250 2.1.0 Sender ok
             S: 550 5.1.1 No such user
             S: 250 2.1.5 Recipient ok
             S: 501 5.5.4 …
             S: 501 5.1.3 …
             {end}
             LOST 1"
        ),
    );
    // A message makes up for them.
    check(
        &options,
        "S: 220 mx.test ESMTP
         C: HELO a.example
         C: X
         C: X
         S: 250 mx.test
         S: 500 5.5.2 …
         S: 500 5.5.2 …
         C: MAIL FROM:<a@b.example>
         C: RCPT TO:<c@b.example>
         C: DATA
         C: .
         C: X
         C: NOOP
         S: 250 2.1.0 Sender ok
         S: 250 2.1.5 Recipient ok
         S: 354 …
         S: 250 2.0.0 Message accepted
         S: 500 5.5.2 …
         S: 250 2.0.0 Ok",
    );
}

#[test]
fn too_many_commands_without_mail() {
    check(
        &with(|options| options.limits.idle_commands = 4),
        "S: 220 mx.test ESMTP
         C: NOOP
         C: VRFY ann
         C: HELP
         C: RSET
         C: NOOP
         S: 250 2.0.0 Ok
         S: 250 2.1.5 <ann@mx.test>
         S: 214 2.0.0 …
         S: 250 2.0.0 Ok
         S: 421 4.7.0 mx.test Too many commands without mail, closing
         CLOSED",
    );
    check(
        &with(|options| options.limits.idle_commands = 2),
        "S: 220 mx.test ESMTP
         C: HELO a.example
         C: HELO a.example
         S: 250 mx.test
         S: 250 mx.test
         S: 421 4.7.0 …
         CLOSED",
    );
}

#[test]
fn so_many_messages() {
    check(
        &with(|options| options.limits.messages = 1),
        "S: 220 mx.test ESMTP
         C: HELO a.example
         C: MAIL FROM:<a@b.example>
         C: RCPT TO:<c@b.example>
         C: DATA
         C: .
         C: MAIL FROM:<a@b.example>
         S: 250 mx.test
         S: 250 2.1.0 Sender ok
         S: 250 2.1.5 Recipient ok
         S: 354 …
         S: 250 2.0.0 Message accepted
         S: 421 4.7.0 mx.test Too many messages, closing
         CLOSED",
    );
}

#[test]
fn lines_out_of_bounds() {
    let long = "x".repeat(3000);
    check(
        &options(),
        &format!(
            "S: 220 mx.test ESMTP\nC: NOOP {long}QUIT\nC! NOOP\\nQUIT\\r\\nNOOP\\r\\nNOOP\\rQUIT\\r\\n\nC: NOOP\nS: 500 5.5.2 Line too long\nS: 500 5.5.2 …\nS: 250 2.0.0 Ok\nS: 500 5.5.2 …\nS: 250 2.0.0 Ok"
        ),
    );
    let mut pair = Pair::new(&options(), false);
    let piece = "x".repeat(64 * 1024);
    for _ in 0..17 {
        if pair.need == Need::Input {
            pair.send(piece.as_bytes());
        }
    }
    assert_eq!(pair.need, Need::Close);
    assert!(String::from_utf8_lossy(&pair.sent).contains("\r\n421 4.5.2 "));
}

#[test]
fn timers() {
    let wait =
        "S: 220 mx.test ESMTP\nWAIT 299999\nC: NOOP\nS: 250 2.0.0 Ok\nC! NOO\nWAIT 200000\nC! P\nWAIT 99999\nWAIT 1\n";
    check(&options(), &format!("{wait}S: 421 4.4.2 mx.test Timeout, closing\nCLOSED\nLOST 0"));
    check(
        &options(),
        "S: 220 mx.test ESMTP
         C: HELO a.example
         C: MAIL FROM:<a@b.example>
         C: RCPT TO:<c@b.example>
         C: DATA
         S: 250 mx.test
         S: 250 2.1.0 Sender ok
         S: 250 2.1.5 Recipient ok
         S: 354 …
         C: x
         WAIT 179999
         C: x
         WAIT 179999
         C: x
         WAIT 180000
         S: 421 4.4.2 mx.test Timeout, closing
         CLOSED
         LOST 1",
    );
    check(
        &with(|options| options.limits.session = 1000),
        "S: 220 mx.test ESMTP\nWAIT 500\nC: NOOP\nS: 250 2.0.0 Ok\nWAIT 500\nS: 421 4.4.2 …\nCLOSED",
    );
    // Nothing can be said before the handshake is over.
    check(&options(), "S: 220 mx.test ESMTP\nC: STARTTLS\nS: 220 2.0.0 …\nWAIT 60000\nCLOSED");
}

/// Without any `tick`: octets that make no line do not keep a session open.
#[test]
fn a_trickle_is_no_line() {
    for begin in ["", "EHLO a\r\n", "NOOP\n"] {
        let mut pair = Pair::new(&options(), true);
        pair.send(begin.as_bytes());
        let mut seconds = 0;
        while pair.need == Need::Input && seconds < 1000 {
            seconds += 1;
            pair.now += 1000;
            pair.send(b"x");
        }
        assert_eq!(seconds, 300, "{begin:?}");
        assert!(pair.sent.ends_with(b"421 4.4.2 mx.test Timeout, closing\r\n"));
    }
}

#[test]
fn never_does_not_come() {
    let mut session = Session::new(with(|options| options.limits.command_timeout = u64::MAX));
    session.start(0).unwrap();
    assert_eq!(session.tick(u64::MAX).unwrap().need, Need::Answer(Question::Connection));
    session.answer(0, Answer::Connection(Ok(None))).unwrap();
    assert_eq!(session.tick(u64::MAX).unwrap().need, Need::Input);
    assert_eq!(session.receive(u64::MAX, b"NOOP\r\nN").unwrap().need, Need::Input);
}

/// A peer that sends one octet now and then does not hold the session for ever.
#[test]
fn content_has_a_rate() {
    let options = with(|options| {
        options.limits.data_allowance = 10_000;
        options.limits.data_rate = 10;
    });
    for begin in ["DATA\r\n", "BDAT 900\r\n", "RSET\r\nBDAT 900\r\n"] {
        let mut pair = Pair::new(&options, true);
        pair.send(format!("EHLO a\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@b.example>\r\n{begin}").as_bytes());
        // Twice what is wanted: fine.
        for _ in 0..20 {
            pair.now += 1000;
            pair.send(b"12345678901234567890");
            assert_eq!(pair.need, Need::Input, "{begin}");
        }
        // Half of it, until what was earned is used up.
        let mut times = 0;
        while pair.need == Need::Input && times < 1000 {
            times += 1;
            pair.now += 1000;
            pair.send(b"1234");
        }
        assert_eq!(pair.need, Need::Close, "{begin}: {}", String::from_utf8_lossy(&pair.sent));
        assert!((20..100).contains(&times), "{begin}: {times}");
        assert!(pair.sent.ends_with(b"\r\n421 4.4.2 mx.test Timeout, closing\r\n"));
    }
}

#[test]
fn going_down() {
    check(&options(), "S: 220 mx.test ESMTP\nDRAIN\nS: 421 4.3.2 mx.test Going down\nCLOSED");
    check(
        &options(),
        "S: 220 mx.test ESMTP
         C: HELO a.example
         C: MAIL FROM:<a@b.example>
         C: RCPT TO:<c@b.example>
         C: DATA
         S: 250 mx.test
         S: 250 2.1.0 Sender ok
         S: 250 2.1.5 Recipient ok
         S: 354 …
         DRAIN
         C: x
         C: .
         C: NOOP
         S: 250 2.0.0 Message accepted
         S: 421 4.3.2 mx.test Going down
         CLOSED
         LOST 0",
    );
    check(
        &options(),
        "S: 220 mx.test ESMTP
         C: STARTTLS
         S: 220 2.0.0 …
         DRAIN
         TLS
         S: 421 4.3.2 mx.test Going down
         CLOSED",
    );
}

#[test]
fn the_log_tells_why() {
    let mut pair = Pair::new(&with(|options| options.limits.errors = 4), false);
    pair.send(
        b"X\r\nDATA\r\nHELO a\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<nobody@b.c>\r\nRCPT TO:<c@b.c>\r\nDATA\r\n\n\r\n.\r\n",
    );
    let told: std::vec::Vec<_> = pair.events.iter().map(|event| (event.occasion, event.detail.as_str())).collect();
    assert_eq!(
        told,
        [
            (Occasion::SyntaxError, "500 Command not recognized"),
            (Occasion::SequenceError, "503 MAIL first"),
            (Occasion::Refused, "550 No such user"),
            (Occasion::ContentRefused, "554 The message has a LF without CR; lines end with CRLF"),
            (Occasion::TooManyErrors, "errors"),
            (Occasion::Closed, ""),
        ]
    );
}
