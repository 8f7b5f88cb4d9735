//! Greeting, hello, small commands, STARTTLS and XCLIENT.

use std::string::ToString;
use std::vec;

use super::rig::{check, options, with};
use crate::server::Protocol;

#[test]
fn a_session_from_greeting_to_quit() {
    check(
        &options(),
        "S: 220 mx.test ESMTP
         C: EHLO client.example
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
         C: NOOP
         S: 250 2.0.0 Ok
         C: NOOP with words
         S: 250 2.0.0 Ok
         C: HELP
         S: 214 2.0.0 Commands: …
         C: EXPN list
         S: 502 5.5.1 EXPN is not available
         C: VRFY ann
         S: 250 2.1.5 <ann@mx.test>
         C: VRFY nobody
         S: 550 5.1.1 No such user
         C: VRFY someone
         S: 252 2.1.5 Cannot verify, but will take mail and try
         C: FROBNICATE
         S: 500 5.5.2 …
         C:
         S: 500 5.5.2 …
         C: RSET
         S: 250 2.0.0 Ok
         C: QUIT
         S: 221 2.0.0 Bye
         CLOSED",
    );
}

#[test]
fn before_hello() {
    check(
        &options(),
        "S: 220 mx.test ESMTP
         C: NOOP
         S: 250 2.0.0 Ok
         C: RSET
         S: 250 2.0.0 Ok
         C: VRFY someone
         S: 252 2.1.5 …
         C: MAIL FROM:<a@b.example>
         S: 503 5.5.1 Say hello first
         C: RCPT TO:<a@b.example>
         S: 503 5.5.1 MAIL first
         C: DATA
         S: 503 5.5.1 MAIL first
         C: AUTH PLAIN
         S: 503 5.5.1 Say EHLO first
         C: QUIT
         S: 221 2.0.0 Bye
         CLOSED",
    );
}

#[test]
fn helo_has_no_extensions() {
    check(
        &options(),
        "S: 220 mx.test ESMTP
         C: HELO client.example
         S: 250 mx.test
         C: MAIL FROM:<a@b.example> SIZE=5
         S: 555 5.5.4 Parameter not offered
         C: MAIL FROM:<a@b.example>
         S: 250 2.1.0 Sender ok
         C: RCPT TO:<c@b.example> NOTIFY=NEVER
         S: 555 5.5.4 Parameter not offered
         C: RCPT TO:<c@b.example>
         S: 250 2.1.5 Recipient ok
         C! BDAT 6\\r\\nQUIT\\r\\n
         S: 503 5.5.1 Say EHLO first
         LOST 1",
    );
}

#[test]
fn hello_resets_and_a_refused_one_does_not() {
    check(
        &with(|options| options.strict_hello = true),
        "S: 220 mx.test ESMTP
         C: EHLO a..b
         S: 501 5.5.4 Say your domain or address literal
         C: HELO
         S: 501 5.5.4 …
         C: HELO client.example
         S: 250 mx.test
         C: MAIL FROM:<a@b.example>
         C: RCPT TO:<c@b.example>
         S: 250 2.1.0 Sender ok
         S: 250 2.1.5 Recipient ok
         C: EHLO nobody.example
         S: 550 5.1.1 No such user
         C: EHLO a..b
         S: 501 5.5.4 …
         C: RCPT TO:<d@b.example>
         S: 250 2.1.5 Recipient ok
         LOST 0
         C: HELO client.example
         S: 250 mx.test
         LOST 1
         C: DATA
         S: 503 5.5.1 MAIL first
         C: LHLO client.example
         S: 500 5.5.1 This is SMTP, say EHLO
         C: HELO byebye.example
         S: 421 4.3.2 mx.test Going down
         CLOSED",
    );
}

#[test]
fn lmtp_wants_lhlo() {
    check(
        &with(|options| {
            options.protocol = Protocol::Lmtp;
            options.start_tls = false;
        }),
        "S: 220 mx.test LMTP
         C: EHLO client.example
         S: 500 5.5.1 This is LMTP, say LHLO
         C: HELO client.example
         S: 500 5.5.1 This is LMTP, say LHLO
         C: LHLO client.example
         S: 250-mx.test
         S: 250-PIPELINING
         S: 250-8BITMIME
         S: 250-SMTPUTF8
         S: 250-CHUNKING
         S: 250-BINARYMIME
         S: 250-ENHANCEDSTATUSCODES
         S: 250-DSN
         S: 250-HELP
         S: 250-SIZE 1000
         S: 250 LIMITS RCPTMAX=100
         C: MAIL FROM:<> PRDR
         S: 555 5.5.4 Parameter not offered
         C: STARTTLS
         S: 502 5.5.1 STARTTLS is not available",
    );
}

#[test]
fn a_refused_client_may_only_quit() {
    check(
        &with(|options| options.server_name = "closed.test".to_string()),
        "S: 554 5.7.1 Not you
         C: EHLO client.example
         C: STARTTLS
         S: 503 5.5.1 You are not welcome here, please QUIT
         S: 503 5.5.1 You are not welcome here, please QUIT
         C! BDAT 6\\r\\nQUIT\\r\\n
         S: 503 5.5.1 You are not welcome here, please QUIT
         C: QUIT
         S: 221 2.0.0 Bye
         CLOSED",
    );
}

#[test]
fn starttls_forgets_everything() {
    check(
        &with(|options| options.plaintext_mechanisms = vec!["PLAIN".to_string()]),
        "S: 220 mx.test ESMTP
         C: STARTTLS now
         S: 501 5.5.4 …
         C: EHLO client.example
         C: AUTH PLAIN AGFubgBzZWNyZXQ=
         C: MAIL FROM:<a@b.example> REQUIRETLS
         C: MAIL FROM:<a@b.example>
         C: RCPT TO:<c@b.example>
         C: STARTTLS
         C: NOOP
         C: EHLO injected.example
         C! NO
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
         S: 250-LIMITS RCPTMAX=100
         S: 250 AUTH PLAIN
         S: 235 2.7.0 Authentication successful
         S: 555 5.5.4 Parameter not offered
         S: 250 2.1.0 Sender ok
         S: 250 2.1.5 Recipient ok
         S: 220 2.0.0 Ready to start TLS
         LOST 1
         TLS
         C: OP
         S: 500 5.5.2 …
         C: MAIL FROM:<a@b.example>
         S: 503 5.5.1 Say hello first
         C: STARTTLS
         S: 503 5.5.1 TLS is active
         C: EHLO client.example
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
         C: RCPT TO:<c@b.example>
         S: 503 5.5.1 MAIL first
         C: MAIL FROM:<a@b.example> REQUIRETLS
         S: 250 2.1.0 Sender ok
         C: RSET
         S: 250 2.0.0 Ok
         C: AUTH PLAIN AGFubgBzZWNyZXQ=
         S: 235 2.7.0 Authentication successful",
    );
}

#[test]
fn nothing_goes_before_tls_where_it_is_required() {
    check(
        &with(|options| options.require_tls = true),
        "S: 220 mx.test ESMTP
         C: HELO client.example
         S: 530 5.7.0 STARTTLS first
         C: NOOP
         S: 250 2.0.0 Ok
         C: MAIL FROM:<a@b.example>
         S: 530 5.7.0 STARTTLS first
         C: AUTH PLAIN
         S: 530 5.7.0 STARTTLS first
         C: VRFY ann
         S: 530 5.7.0 STARTTLS first
         C! BDAT 6 LAST\\r\\nQUIT\\r\\n
         S: 530 5.7.0 STARTTLS first
         C: STARTTLS
         S: 220 2.0.0 Ready to start TLS
         TLS
         C: HELO client.example
         S: 250 mx.test
         C: MAIL FROM:<a@b.example>
         S: 250 2.1.0 Sender ok",
    );
}

#[test]
fn xclient_goes_back_to_the_greeting() {
    check(
        &with(|options| {
            options.xclient = vec!["NAME".to_string(), "ADDR".to_string(), "LOGIN".to_string()];
            options.require_auth = true;
        }),
        "S: 220 mx.test ESMTP
         C: XCLIENT PORT=25
         S: 501 5.5.4 XCLIENT attribute not offered
         C: HELO client.example
         S: 250 mx.test
         C: XCLIENT NAME=spike.example ADDR=192.0.2.1
         S: 220 mx.test ESMTP
         C: MAIL FROM:<a@b.example>
         S: 503 5.5.1 Say hello first
         C: HELO client.example
         S: 250 mx.test
         C: MAIL FROM:<a@b.example>
         S: 530 5.7.0 Authentication required
         C: XCLIENT LOGIN=ann
         S: 220 mx.test ESMTP
         C: HELO client.example
         C: MAIL FROM:<a@b.example>
         S: 250 mx.test
         S: 250 2.1.0 Sender ok
         C: XCLIENT LOGIN=ann
         S: 503 5.5.1 A transaction is open",
    );
    check(&options(), "S: 220 mx.test ESMTP\nC: XCLIENT NAME=a\nS: 502 5.5.1 XCLIENT is not available");
}
