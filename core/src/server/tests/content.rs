//! DATA, BDAT and the replies to a message.

use std::{format, string::String, vec};

use super::rig::{Pair, check, options, with};
use crate::server::{Options, Protocol};
use crate::step::Need;

fn lmtp() -> Options {
    with(|options| options.protocol = Protocol::Lmtp)
}

/// Everything up to the accepted recipients, whose local parts these are.
fn begun(hello: &str, parameters: &str, recipients: &[&str]) -> String {
    let mut script = String::from("S: 220 mx.test …\n");
    // NOOP's reply ends the hello's lines, whose number does not matter here.
    script.push_str(&format!("C: {hello} a.example\n"));
    let extensions = [
        "250-mx.test",
        "250-PIPELINING",
        "250-8BITMIME",
        "250-SMTPUTF8",
        "250-CHUNKING",
        "250-BINARYMIME",
        "250-ENHANCEDSTATUSCODES",
        "250-DSN",
        "250-HELP",
        "250-PRDR",
        "250-STARTTLS",
        "250-SIZE 1000",
        "250 LIMITS RCPTMAX=100",
    ];
    for line in extensions.iter().filter(|line| hello == "EHLO" || !line.contains("PRDR")) {
        script.push_str(&format!("S: {line}\n"));
    }
    script.push_str(&format!("C: MAIL FROM:<a@b.example>{parameters}\nS: 250 2.1.0 Sender ok\n"));
    for recipient in recipients {
        script.push_str(&format!("C: RCPT TO:<{recipient}@b.example>\nS: 250 2.1.5 Recipient ok\n"));
    }
    script
}

fn dialogue(options: &Options, parameters: &str, recipients: &[&str], rest: &str) {
    let hello = if options.protocol == Protocol::Lmtp { "LHLO" } else { "EHLO" };
    check(options, &format!("{}{rest}", begun(hello, parameters, recipients)));
}

#[test]
fn data() {
    dialogue(
        &options(),
        "",
        &["c"],
        "C: DATA
         S: 354 End data with <CR><LF>.<CR><LF>
         C: Subject: x
         C:
         C: ..a
         C: ...
         C: QUIT
         C: .
         S: 250 2.0.0 Message accepted
         MESSAGE Subject: x\\r\\n\\r\\n.a\\r\\n..\\r\\nQUIT\\r\\n
         LOST 0
         C: RCPT TO:<c@b.example>
         S: 503 5.5.1 MAIL first
         C: MAIL FROM:<>
         C: RCPT TO:<queued@b.example>
         C: DATA
         C: .
         C: QUIT
         S: 250 2.1.0 Sender ok
         S: 250 2.1.5 Recipient ok
         S: 354 …
         S: 250 2.0.0 Queued as 1
         S: 221 2.0.0 Bye
         MESSAGE
         CLOSED",
    );
}

#[test]
fn the_first_acceptance_answers_for_all() {
    let one = "C: DATA\nS: 354 …\nC: x\nC: .\n";
    let cases: [(&[&str], &str); 5] = [
        (&["hates", "full", "queued", "c"], "250 2.0.0 Queued as 1"),
        (&["hates", "full1", "full2"], "452 4.2.2 Mailbox full"),
        (&["hates1", "hates2"], "550 5.7.1 Not this"),
        (&["c", "gone"], "250 2.0.0 Message accepted"),
        (&["hates", "gone"], "421 4.3.0 mx.test Gone"),
    ];
    for (recipients, reply) in cases {
        dialogue(&options(), "", recipients, &format!("{one}S: {reply}\nLOST 0"));
    }
}

#[test]
fn bad_content_gets_one_reply_at_its_end() {
    for (bad, reply) in [
        ("a\\rb\\r\\n", "554 5.6.0 …"),
        ("a\\nb\\r\\n", "554 5.6.0 …"),
        ("\\n.\\n", "554 5.6.0 …"),
        ("\\n.\\r\\nMAIL FROM:<x@y.example>\\r\\n", "554 5.6.0 …"),
        ("\\r\\n.\\r\\r\\n", "554 5.6.0 …"),
        ("\\r\\n\\0.\\r\\nQUIT\\r\\n", "250 2.0.0 …"),
        (&"123456789012345678901234567890123456789\\r\\n".repeat(25), "552 5.3.4 …"),
    ] {
        let lost = u8::from(!reply.starts_with("250"));
        let script = format!(
            "C: DATA\nS: 354 …\nC! {bad}\nC: \nC: .\nS: {reply}\nLOST {lost}\nC: DATA\nS: 503 5.5.1 MAIL first\n"
        );
        dialogue(&options(), "", &["c", "d"], &script);
    }
}

#[test]
fn lmtp_answers_for_each_recipient() {
    dialogue(
        &lmtp(),
        "",
        &["c", "hates", "full", "queued"],
        "C: RCPT TO:<nobody@b.example>
         S: 550 5.1.1 No such user
         C: DATA
         S: 354 …
         C: x
         C: .
         S: 250 2.0.0 Message accepted
         S: 550 5.7.1 Not this
         S: 452 4.2.2 Mailbox full
         S: 250 2.0.0 Queued as 1
         C: MAIL FROM:<>
         C: RCPT TO:<c@b.example>
         C: RCPT TO:<d@b.example>
         C! BDAT 2 LAST\\r\\nx\\r
         S: 250 2.1.0 Sender ok
         S: 250 2.1.5 Recipient ok
         S: 250 2.1.5 Recipient ok
         S: 554 5.6.0 …
         S: 554 5.6.0 …
         C: NOOP
         S: 250 2.0.0 Ok
         C: MAIL FROM:<>
         C: DATA
         S: 250 2.1.0 Sender ok
         S: 503 5.5.1 No valid recipients",
    );
}

#[test]
fn prdr_as_exim_speaks_it() {
    dialogue(
        &options(),
        " PRDR",
        &["hates", "c", "full"],
        "C: DATA
         S: 354 …
         C: x
         C: .
         S: 353 A reply for each recipient follows
         S: 550 5.7.1 Not this
         S: 250 2.0.0 Message accepted
         S: 452 4.2.2 Mailbox full
         S: 250 2.0.0 Message accepted
         C: MAIL FROM:<> PRDR
         C: RCPT TO:<c@b.example>
         C! BDAT 3 LAST\\r\\nx\\r\\n
         S: 250 2.1.0 Sender ok
         S: 250 2.1.5 Recipient ok
         S: 250 2.0.0 Message accepted
         C: MAIL FROM:<> PRDR
         C: RCPT TO:<hates@b.example>
         C: RCPT TO:<full@b.example>
         C! BDAT 3 LAST\\r\\nx\\r\\n
         S: 250 2.1.0 Sender ok
         S: 250 2.1.5 Recipient ok
         S: 250 2.1.5 Recipient ok
         S: 353 …
         S: 550 5.7.1 Not this
         S: 452 4.2.2 Mailbox full
         S: 452 4.2.2 Mailbox full",
    );
}

#[test]
fn chunks() {
    dialogue(
        &options(),
        "",
        &["c"],
        "C! BDAT 0\\r\\nBDAT 8\\r\\nQUIT\\r\\n.\\rBDAT 4\\r\\n\\n.\\r\\nBDAT 0 LAST\\r\\nNOOP\\r\\n
         S: 250 2.0.0 Chunk ok
         S: 250 2.0.0 Chunk ok
         S: 250 2.0.0 Chunk ok
         S: 250 2.0.0 Message accepted
         S: 250 2.0.0 Ok
         MESSAGE QUIT\\r\\n.\\r\\n.\\r\\n
         LOST 0
         C! BDAT 6\\r\\nQUIT\\r\\n
         S: 503 5.5.1 MAIL first",
    );
}

#[test]
fn chunks_keep_their_place() {
    dialogue(
        &options(),
        "",
        &["c"],
        "C! BDAT 3\\r\\na\\r\\n
         S: 250 2.0.0 Chunk ok
         C: DATA
         S: 503 5.5.1 BDAT has begun
         C: RCPT TO:<d@b.example>
         S: 503 5.5.1 BDAT has begun
         C: MAIL FROM:<d@b.example>
         S: 503 5.5.1 A transaction is open
         C: NOOP
         S: 250 2.0.0 Ok
         C: RSET
         S: 250 2.0.0 Ok
         LOST 1
         C! BDAT 6 LAST\\r\\nQUIT\\r\\n
         S: 503 5.5.1 MAIL first",
    );
}

#[test]
fn binary_content() {
    dialogue(
        &options(),
        " BODY=BINARYMIME",
        &["c"],
        "C: DATA
         S: 503 5.5.1 BODY=BINARYMIME needs BDAT
         C! BDAT 5\\r\\n\\r\\n\\n\\r\\rBDAT 2 LAST\\r\\n.\\r
         S: 250 2.0.0 Chunk ok
         S: 250 2.0.0 Message accepted
         MESSAGE \\r\\n\\n\\r\\r.\\r",
    );
}

#[test]
fn refused_chunks_are_skipped() {
    // The disk is full.
    dialogue(
        &options(),
        "",
        &["disk"],
        "C! BDAT 6\\r\\nQUIT\\r\\nBDAT 6 LAST\\r\\nQUIT\\r\\n
         C: NOOP
         S: 452 4.3.1 No space
         S: 503 5.5.1 MAIL first
         S: 250 2.0.0 Ok
         LOST 1",
    );
    dialogue(&options(), "", &["disk"], "C: DATA\nS: 452 4.3.1 No space\nLOST 0\nC: DATA\nS: 452 4.3.1 No space\n");
    // A bare LF.
    dialogue(
        &options(),
        "",
        &["c"],
        "C! BDAT 6\\r\\n\\r\\na\\nb\\nBDAT 6 LAST\\r\\nQUIT\\r\\n
         S: 554 5.6.0 …
         S: 503 5.5.1 MAIL first
         LOST 1",
    );
    // No recipients: more may come.
    dialogue(
        &options(),
        "",
        &[],
        "C! BDAT 6 LAST\\r\\nQUIT\\r\\n
         S: 503 5.5.1 No valid recipients
         C: RCPT TO:<c@b.example>
         S: 250 2.1.5 Recipient ok",
    );
    // LMTP, once for each recipient after the last chunk.
    dialogue(
        &lmtp(),
        "",
        &["disk", "c"],
        "C! BDAT 6 LAST\\r\\nQUIT\\r\\n\\r\\n
         S: 452 4.3.1 No space
         S: 452 4.3.1 No space
         S: 500 5.5.2 …",
    );
}

#[test]
fn too_much_in_chunks() {
    let chunk = format!("BDAT 600\\r\\n{}", "x".repeat(600));
    dialogue(
        &options(),
        "",
        &["c"],
        &format!(
            "C! {chunk}{chunk}
             C: BDAT 0 LAST
             C: NOOP
             S: 250 2.0.0 Chunk ok
             S: 552 5.3.4 Message too large
             S: 503 5.5.1 MAIL first
             S: 250 2.0.0 Ok
             LOST 1"
        ),
    );
    for size in ["2147483648", "18446744073709551615", "99999999999999999999999"] {
        dialogue(
            &options(),
            "",
            &["c"],
            &format!(
                "C: BDAT {size} LAST
                 C: QUIT
                 S: 552 5.3.4 Message too large
                 S: 421 4.3.4 mx.test Chunk too large to skip, closing
                 CLOSED
                 LOST 1"
            ),
        );
    }
    dialogue(
        &options(),
        "",
        &["c"],
        "C: BDAT 0x10 LAST
         C: QUIT
         S: 501 5.5.4 …
         S: 421 4.5.4 mx.test Cannot tell content from commands, closing
         CLOSED
         LOST 1",
    );
}

/// DATA without an end: a peer that sends fast enough for every timer is not read for ever.
#[test]
fn endless_data_ends_the_session() {
    for (limit, content, wanted) in [
        (1000, "x", "552 5.3.4 Message too large\r\n421 4.3.4 "),
        (1000, "x\r\n", "552 5.3.4 Message too large\r\n421 4.3.4 "),
        (0, "x\n", "554 5.6.0 The message has a LF without CR; lines end with CRLF\r\n421 4.3.4 "),
    ] {
        let options = with(|options| options.limits.message_size = limit);
        let mut pair = Pair::new(&options, false);
        pair.send(b"EHLO a\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@b.example>\r\nDATA\r\n");
        let piece = content.repeat(400_000);
        let mut times = 0;
        while pair.need == Need::Input && times < 200 {
            times += 1;
            pair.send(piece.as_bytes());
        }
        assert_eq!(pair.need, Need::Close, "{content:?}");
        let sent = String::from_utf8_lossy(&pair.sent);
        assert!(sent.contains(wanted), "{sent}");
        assert_eq!(pair.abandoned, 1);
    }
    // What can be accepted may be as large as it likes where there is no limit.
    let mut pair = Pair::new(&with(|options| options.limits.message_size = 0), false);
    pair.send(b"EHLO a\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@b.example>\r\nDATA\r\n");
    for _ in 0..40 {
        pair.send(&vec![b'x'; 1024 * 1024]);
    }
    pair.send(b"\r\n.\r\n");
    assert_eq!(pair.messages.len(), 1);
}

/// Whatever is wrong with a BDAT line, what follows it is content and never a command.
#[test]
fn a_faulty_bdat_ends_the_session() {
    let spaces = " ".repeat(70);
    let more = " ".repeat(300);
    for line in [
        "BDAT\\t6\\r\\n",
        "bdat 6\\0\\r\\n",
        "BDAT 6 L\u{c4}ST\\r\\n",
        "BDAT:6\\r\\n",
        "BDAT 6\\n",
        "BDAT\\n6\\r\\n",
        "BDAT 6\\rLAST\\r\\n",
        "BDAT\\r6\\r\\n",
        &format!("BDAT 6{spaces}\\r\\n"),
        &format!("BDAT 6{more}\\r\\n"),
    ] {
        for mechanisms in [vec![], vec!["PLAIN".into()]] {
            let options = with(|options| {
                options.plaintext_mechanisms = mechanisms;
                options.limits.command_line = 64;
                options.limits.auth_line = 128;
            });
            let line = line.replace("\\t", "\t");
            let script = format!(
                "S: 220 mx.test ESMTP
                 C! {line}RSET\\r\\n
                 C: QUIT
                 S: 501 5.5.4 Syntax: BDAT size [LAST]
                 S: 421 4.5.4 mx.test Cannot tell content from commands, closing
                 CLOSED"
            );
            check(&options, &script);
        }
    }
    check(&options(), "S: 220 mx.test ESMTP\nC: BDATA 6\nS: 500 5.5.2 …\nC! BDAX\\n\\r\\n\nS: 500 5.5.2 …");
}
