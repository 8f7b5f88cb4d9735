//! MAIL and RCPT.

use super::rig::{Pair, check, options, with};
use crate::question::Answer;
use crate::step::Misuse;

#[test]
fn the_order_of_mail_and_rcpt() {
    check(
        &options(),
        "S: 220 mx.test ESMTP
         C: HELO client.example
         S: 250 mx.test
         C: MAIL FROM:<said@b.example>
         S: 250 2.1.0 As you wish
         C: MAIL FROM:<a@b.example>
         S: 503 5.5.1 A transaction is open
         C: DATA
         S: 503 5.5.1 No valid recipients
         C: RCPT TO:<nobody@b.example>
         S: 550 5.1.1 No such user
         C: DATA
         S: 503 5.5.1 No valid recipients
         C: RCPT TO:<said@b.example>
         S: 250 2.1.5 As you wish
         LOST 0
         C: RSET
         S: 250 2.0.0 Ok
         LOST 1
         C: MAIL FROM:<noone@b.example>
         S: 550 5.1.1 No such user
         C: RCPT TO:<c@b.example>
         S: 503 5.5.1 MAIL first
         C: MAIL FROM:<> FOO=bar
         S: 555 5.5.4 …",
    );
}

#[test]
fn parameters_are_judged() {
    check(
        &options(),
        "S: 220 mx.test ESMTP
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
         S: 250-STARTTLS
         S: 250-SIZE 1000
         S: 250 LIMITS RCPTMAX=100
         C: MAIL FROM:<a@b.example> FOO=bar
         S: 555 5.5.4 …
         C: MAIL FROM:<a@b.example> AUTH=<>
         S: 555 5.5.4 Parameter not offered
         C: MAIL FROM:<a@b.example> SIZE=1001
         S: 552 5.3.4 Message too large
         C: MAIL FROM:<a@b.example> SIZE=18446744073709551626
         S: 552 5.3.4 Message too large
         C: MAIL FROM:<ä@b.example>
         S: 553 5.6.7 Address needs SMTPUTF8
         C: MAIL FROM:<a@b.example> SIZE=1000
         S: 250 2.1.0 Sender ok
         C: RCPT TO:<a@bä.example>
         S: 553 5.6.7 Address needs SMTPUTF8
         C: RSET
         S: 250 2.0.0 Ok
         C: MAIL FROM:<ä@b.example> SMTPUTF8
         C: RCPT TO:<ä@bä.example>
         S: 250 2.1.0 Sender ok
         S: 250 2.1.5 Recipient ok",
    );
}

/// FUTURERELEASE, DELIVERBY and MT-PRIORITY: offered as the options say, and refused where they are not offered.
#[test]
fn when_mail_is_to_go() {
    let options = with(|options| {
        options.start_tls = false;
        options.plaintext_mechanisms = std::vec!["PLAIN".into()];
        options.limits.hold_for = 3600;
        options.limits.hold_until = 1_795_884_307;
        options.limits.deliver_by = 60;
        options.deliver_by = true;
        options.priority = true;
    });
    let script = "S: 220 mx.test ESMTP
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
         S: 250-SIZE 1000
         S: 250-LIMITS RCPTMAX=100
         S: 250-DELIVERBY 60
         S: 250-MT-PRIORITY
         S: 250 AUTH PLAIN
         C: MAIL FROM:<a@b.example> HOLDFOR=1
         S: 555 5.5.4 Parameter not offered
         C: AUTH PLAIN AGFubgBzZWNyZXQ=
         S: 235 2.7.0 Authentication successful
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
         S: 250-SIZE 1000
         S: 250-LIMITS RCPTMAX=100
         S: 250-FUTURERELEASE 3600 2026-11-28T16:45:07Z
         S: 250-DELIVERBY 60
         S: 250-MT-PRIORITY
         S: 250 AUTH PLAIN
         C: MAIL FROM:<a@b.example> HOLDFOR=3601
         S: 501 5.5.4 Held for longer than is offered
         C: MAIL FROM:<a@b.example> HOLDUNTIL=2026-11-28T16:45:07.5Z
         S: 501 5.5.4 Held for longer than is offered
         C: MAIL FROM:<a@b.example> BY=59;R
         S: 555 5.5.4 BY is less than is offered
         C: MAIL FROM:<a@b.example> BY=-59;N HOLDFOR=3600 MT-PRIORITY=4
         S: 250 2.1.0 Sender ok
         C: RSET
         S: 250 2.0.0 Ok
         C: MAIL FROM:<a@b.example> BY=60;R HOLDUNTIL=2026-11-28T16:45:07Z MT-PRIORITY=9
         S: 250 2.3.6 4 is the new priority of the message
         C: RCPT TO:<c@b.example>
         S: 250 2.1.5 Recipient ok
         C: DATA
         S: 354 …
         C: .
         S: 250 2.0.0 Message accepted
         C: QUIT
         S: 221 2.0.0 Bye
         CLOSED";
    check(&options, script);
    check(
        &super::rig::options(),
        "S: 220 mx.test ESMTP
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
         S: 250-STARTTLS
         S: 250-SIZE 1000
         S: 250 LIMITS RCPTMAX=100
         C: MAIL FROM:<a@b.example> HOLDFOR=1
         C: MAIL FROM:<a@b.example> BY=60;N
         C: MAIL FROM:<a@b.example> MT-PRIORITY=0
         S: 555 5.5.4 Parameter not offered
         S: 555 5.5.4 Parameter not offered
         S: 555 5.5.4 Parameter not offered",
    );
}

#[test]
fn a_priority_that_is_none_is_the_embedders_mistake() {
    let mut pair = Pair::new(&with(|options| options.priority = true), false);
    pair.send(b"HELO a.example\r\n");
    pair.hold = true;
    pair.send(b"MAIL FROM:<a@b.example>\r\n");
    for priority in [10, -10, i8::MIN] {
        let answered = pair.call(&[], |session, now| session.answer(now, Answer::SenderWithPriority(priority)));
        assert!(matches!(answered, Err(Misuse::BadAnswer(_))), "{priority}");
    }
    pair.call(&[], |session, now| session.answer(now, Answer::SenderWithPriority(-9))).unwrap();
    assert!(pair.sent.ends_with(b"250 2.3.6 -9 is the new priority of the message\r\n"));
}

/// The replies of a batch stand in the order of its commands, whatever each is answered by.
#[test]
fn a_batch_answers_in_order() {
    check(
        &with(|options| options.limits.recipients = 4),
        "S: 220 mx.test ESMTP
         C: HELO client.example
         S: 250 mx.test
         C: MAIL FROM:<a@b.example>
         C: RCPT TO:<one@b.example>
         C: RCPT TO:<nobody@b.example>
         C: RCPT TO:two@b.example
         C: RCPT TO:<ä@b.example>
         C: RCPT TO:<two@b.example>
         C: RCPT TO:<later@b.example>
         C: RCPT TO:<three@b.example>
         C! RCPT TO:<x\\r@b.example>\\r\\n
         C! RCPT TO:<x\\n@b.example>\\r\\n
         C: RCPT TO:<four@b.example> FOO=bar
         C: RCPT TO:<four@b.example>
         C: RCPT TO:<five@b.example>
         C: RCPT TO:<six@b.example>
         C: NOOP
         S: 250 2.1.0 Sender ok
         S: 250 2.1.5 Recipient ok
         S: 550 5.1.1 No such user
         S: 501 5.1.3 …
         S: 553 5.6.7 Address needs SMTPUTF8
         S: 250 2.1.5 Recipient ok
         S: 451 4.2.0 Try later
         S: 250 2.1.5 Recipient ok
         S: 500 5.5.2 …
         S: 500 5.5.2 …
         S: 555 5.5.4 …
         S: 250 2.1.5 Recipient ok
         S: 452 4.5.3 Too many recipients
         S: 452 4.5.3 Too many recipients
         S: 250 2.0.0 Ok",
    );
}

#[test]
fn a_farewell_within_a_batch_is_the_end() {
    check(
        &options(),
        "S: 220 mx.test ESMTP
         C: HELO client.example
         S: 250 mx.test
         C: MAIL FROM:<a@b.example>
         C: RCPT TO:<one@b.example>
         C: RCPT TO:<bye@b.example>
         C: RCPT TO:<two@b.example>
         C: NOOP
         S: 250 2.1.0 Sender ok
         S: 250 2.1.5 Recipient ok
         S: 421 4.3.2 mx.test Going down
         CLOSED
         LOST 1",
    );
}

/// What follows a bare LF up to the CRLF is thrown away, whatever it looks like, and no more than that.
#[test]
fn a_fault_within_a_batch_takes_one_line() {
    check(
        &options(),
        "S: 220 mx.test ESMTP
         C: HELO client.example
         S: 250 mx.test
         C: MAIL FROM:<a@b.example>
         C: RCPT TO:<one@b.example>
         C! RCPT TO:<two\\nRCPT TO:<three@b.example>\\r\\n
         C: NOOP
         C! RCPT TO:<four\\rRCPT TO:<five@b.example>\\r\\n
         C: QUIT
         S: 250 2.1.0 Sender ok
         S: 250 2.1.5 Recipient ok
         S: 500 5.5.2 …
         S: 250 2.0.0 Ok
         S: 500 5.5.2 …
         S: 221 2.0.0 Bye
         CLOSED",
    );
}

#[test]
fn pipelined_recipients_are_asked_about_together() {
    let mut pair = Pair::new(&options(), false);
    let mut input = std::string::String::from("HELO a.example\r\nMAIL FROM:<a@b.example>\r\n");
    for number in 0..23 {
        input.push_str(&std::format!("RCPT TO:<r{number}@b.example>\r\n"));
    }
    input.push_str("RCPT TO:<last@b.exam");
    pair.send(input.as_bytes());
    assert_eq!(pair.batches, [10, 10, 3]);
    pair.send(b"ple>\r\nRSET\r\n");
    assert_eq!(pair.batches, [10, 10, 3, 1]);
    let replies = std::string::String::from_utf8_lossy(&pair.sent).into_owned();
    assert!(replies.ends_with("250 2.1.5 Recipient ok\r\n250 2.0.0 Ok\r\n"), "{replies}");
}
