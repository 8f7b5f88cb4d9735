//! What is said, and what becomes of each recipient.

use std::{format, string::ToString, vec};

use super::rig::{Wish, changed, check, mail, options, transaction, with};
use crate::client::{ByMode, DeliverBy, Options, Protocol, TlsUse};
use crate::command::{Notify, OriginalRecipient, ReturnContent, Submitter};

/// A greeting and a reply to EHLO that offers these.
fn hello(keywords: &[&str]) -> std::string::String {
    let mut script = "S: 220 mail.test ESMTP\nC: EHLO me.test\n".to_string();
    script += if keywords.is_empty() { "S: 250 mail.test\n" } else { "S: 250-mail.test hi\n" };
    for (number, keyword) in keywords.iter().enumerate() {
        script += &format!("S: 250{}{keyword}\n", if number + 1 == keywords.len() { ' ' } else { '-' });
    }
    script
}

fn after(keywords: &[&str], rest: &str) -> std::string::String {
    hello(keywords) + rest
}

#[test]
fn one_by_one_without_pipelining() {
    check(
        &options(),
        &[mail(&["a@b.test", "c@b.test"]), Wish::Quit],
        &after(
            &[],
            "C: MAIL FROM:<s@me.test>\nS: 250 ok\nC: RCPT TO:<a@b.test>\nS: 550 5.1.1 no such user\nC: RCPT TO:<c@b.test>
             S: 250 2.1.5 ok\nC: DATA\nS: 354 go\nC: x\nC: .\nS: 250 2.6.0 queued\nC: QUIT\nS: 221 bye",
        ),
        &["0 Permanent Reply@Rcpt 5.1.1", "1 Accepted Reply@Message 2.6.0"],
    );
}

#[test]
fn pipelined() {
    check(
        &options(),
        &[mail(&["a@b.test", "c@b.test"]), mail(&["d@b.test"]), Wish::Quit],
        &after(
            &["pipelining", "Size 1000"],
            "C: MAIL FROM:<s@me.test> SIZE=3\nC: RCPT TO:<a@b.test>\nC: RCPT TO:<c@b.test>\nC: DATA
             S: 250 ok\nS: 450 later\nS: 250 ok\nS: 354 go\nC: x\nC: .\nS: 250 queued
             C: MAIL FROM:<s@me.test> SIZE=3\nC: RCPT TO:<d@b.test>\nC: DATA
             S: 250 ok\nS: 250 ok\nS: 452 4.3.1 full\nC: QUIT\nS: 221 bye",
        ),
        &["0 Temporary Reply@Rcpt 4.0.0", "1 Accepted Reply@Message 2.0.0", "0 Temporary Reply@Data 4.3.1"],
    );
}

#[test]
fn nobody_is_left() {
    // The pipelined DATA is answered by 354: a lone dot, and its reply means nothing.
    check(
        &options(),
        &[mail(&["a@b.test"]), mail(&["d@b.test"])],
        &after(
            &["PIPELINING"],
            "C: MAIL FROM:<s@me.test>\nC: RCPT TO:<a@b.test>\nC: DATA
             S: 250 ok\nS: 550 5.1.1 no\nS: 354 go\nC: .\nS: 554 no recipients
             C: MAIL FROM:<s@me.test>\nC: RCPT TO:<d@b.test>\nC: DATA
             S: 550 5.7.1 not you\nS: 503 no MAIL\nS: 503 no RCPT",
        ),
        &["0 Permanent Reply@Rcpt 5.1.1", "0 Permanent Reply@Mail 5.7.1"],
    );
    // It is refused, as it should be: RSET before the next.
    check(
        &options(),
        &[mail(&["a@b.test"]), mail(&["d@b.test"])],
        &after(
            &["PIPELINING"],
            "C: MAIL FROM:<s@me.test>\nC: RCPT TO:<a@b.test>\nC: DATA
             S: 250 ok\nS: 450 4.2.1 no\nS: 554 no valid recipients
             C: RSET\nC: MAIL FROM:<s@me.test>\nC: RCPT TO:<d@b.test>\nC: DATA
             S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nC: x\nC: .\nS: 250 queued",
        ),
        &["0 Temporary Reply@Rcpt 4.2.1", "0 Accepted Reply@Message 2.0.0"],
    );
    // One by one it is not even asked.
    check(
        &options(),
        &[mail(&["a@b.test"]), Wish::Quit],
        &after(&[], "C: MAIL FROM:<s@me.test>\nS: 250 ok\nC: RCPT TO:<a@b.test>\nS: 550 no\nC: QUIT\nS: 221 bye"),
        &["0 Permanent Reply@Rcpt 5.0.0"],
    );
}

#[test]
fn greetings() {
    let check = |script: &str, told: &[&str]| check(&options(), &[], script, told);
    check("S: 220-mail.test\nS: 220-waits\nS: 220 ESMTP\nC: EHLO me.test\nS: 250 mail.test", &[]);
    check("S: 554 5.7.1 not you\nC: QUIT", &["Refused@Greeting"]);
    check("S: 450 later\nC: QUIT", &["Refused@Greeting"]);
    check("S: 421 busy", &["Leaving@Greeting"]);
    check("S: 250 what", &["BadReply@Greeting"]);
    check("S: 354 what", &["BadReply@Greeting"]);
    check("S: HTTP/1.1 400 Bad Request", &["BadReply@Greeting"]);
    check("LOST", &["Lost@Greeting"]);
    check("WAIT 299999\nS: 220 slow\nC: EHLO me.test\nS: 250 mail.test", &[]);
    check("WAIT 300000", &["TimedOut@Greeting"]);
}

#[test]
fn hellos() {
    let greeted = |rest: &str| "S: 220 mail.test\nC: EHLO me.test\n".to_string() + rest;
    let check = |options: &Options, rest: &str, told: &[&str]| check(options, &[], &greeted(rest), told);
    let required = with(|options| options.tls = TlsUse::Required);
    check(&options(), "S: 502 what\nC: HELO me.test\nS: 250-mail.test\nS: 250 PIPELINING", &[]);
    check(&options(), "S: 502 what\nC: HELO me.test\nS: 550 no\nC: QUIT", &["Refused@Hello"]);
    check(&options(), "S: 451 later\nC: QUIT", &["Refused@Hello"]);
    check(&options(), "S: 220 what", &["BadReply@Hello"]);
    check(&options(), "S: 251 what", &["BadReply@Hello"]);
    check(&required, "S: 502 what\nC: QUIT", &["Refused@Hello"]);
    check(&required, "S: 250 mail.test\nC: QUIT", &["NoTls@Hello"]);
    check(&required, "S: 250-mail.test\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 no\nC: QUIT", &["TlsRefused@StartTls"]);
    check(&options(), "S: 250-mail.test\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 no", &[]);
    let never = with(|options| options.tls = TlsUse::Never);
    check(&never, "S: 250-mail.test\nS: 250 STARTTLS", &[]);
    let ignoring = with(|options| {
        options.tls = TlsUse::Required;
        options.ignore = vec!["StartTLS".to_string()];
    });
    check(&ignoring, "S: 250-mail.test\nS: 250 STARTTLS\nC: QUIT", &["NoTls@Hello"]);
}

#[test]
fn tls() {
    let rest = "C: STARTTLS\nS: 220 go\nTLS\nC: EHLO me.test\nS: 250-mail.test\nS: 250 SIZE 9
                C: MAIL FROM:<s@me.test> SIZE=3\nS: 550 no";
    check(
        &options(),
        &[mail(&["a@b.test"])],
        &after(&["PIPELINING", "STARTTLS"], rest),
        &["0 Permanent Reply@Mail 5.0.0"],
    );
    // RFC 3207 section 4: what comes before the handshake is not the peer's.
    let script = after(&["STARTTLS"], "C: STARTTLS\nS: 220 go\nS: 250-evil.test\nS: 250 AUTH PLAIN");
    let mut rig = super::rig::Rig::new(&options(), &[], super::rig::PLAIN);
    for line in script.lines().filter_map(|line| line.strip_prefix("S: ")).take(3) {
        rig.hear(format!("{line}\r\n").as_bytes());
    }
    rig.hear(b"220 go\r\n250 evil\r\n");
    assert_eq!(rig.told(), ["Plaintext@StartTls"]);
    let implicit = with(|options| {
        options.implicit_tls = true;
        options.tls = TlsUse::Required;
    });
    check(
        &implicit,
        &[mail(&["a@b.test"])],
        &after(&["STARTTLS"], "C: MAIL FROM:<s@me.test>\nLOST"),
        &["0 Temporary Lost@Mail 4.4.2", "Lost@Mail"],
    );
}

#[test]
fn logins() {
    let plain = Wish::Login("PLAIN", Some(b"\0ann\0secret"), vec![]);
    let allowed = with(|options| options.plaintext_auth = true);
    let check = |wish: &Wish, rest: &str, told: &[&str]| {
        check(&allowed, &[wish.clone(), mail(&["a@b.test"])], &after(&["AUTH PLAIN LOGIN"], rest), told);
    };
    check(
        &plain,
        "C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 235 ok\nC: MAIL FROM:<s@me.test>\nS: 550 no",
        &["0 Permanent Reply@Mail 5.0.0", "login true 235"],
    );
    check(
        &plain,
        "C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 535 5.7.8 no\nC: MAIL FROM:<s@me.test>\nS: 530 no",
        &["0 Permanent Reply@Mail 5.0.0", "login false 535"],
    );
    check(&plain, "C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 250 what", &["BadReply@Auth"]);
    check(&plain, "C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 421 bye", &["Leaving@Auth"]);
    let login = Wish::Login("login", None, vec![b"ann", b"secret"]);
    let dialogue = "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: YW5u\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\n";
    check(&login, &(dialogue.to_string() + "S: 235 ok\nC: MAIL FROM:<s@me.test>"), &["login true 235"]);
    // More challenges than answers: cancelled by the embedder; bad base64: by the session.
    check(
        &login,
        &(dialogue.to_string() + "S: 334 AA==\nC: *\nS: 501 cancelled\nC: MAIL FROM:<s@me.test>"),
        &["login false 501"],
    );
    check(&login, "C: AUTH LOGIN\nS: 334 ===\nC: *\nS: 501 cancelled\nC: MAIL FROM:<s@me.test>", &["login false 501"]);
    check(&login, "C: AUTH LOGIN\nS: 334 ===\nC: *\nS: 235 really", &["BadReply@Auth"]);
    // RFC 4954 section 4: an initial response that is too long for a command waits for the first challenge.
    static LONG: [u8; 600] = [b'x'; 600];
    let long = Wish::Login("PLAIN", Some(&LONG), vec![]);
    check(&long, "C: AUTH PLAIN\nS: 334\nC: eHh4…\nS: 235 ok\nC: MAIL FROM:<s@me.test>", &["login true 235"]);
}

#[test]
fn chunks() {
    check(
        &options(),
        &[mail(&["a@b.test"]), mail(&["c@b.test"])],
        &after(
            &["PIPELINING", "CHUNKING"],
            "C: MAIL FROM:<s@me.test>\nC: RCPT TO:<a@b.test>\nS: 250 ok\nS: 250 ok\nC: BDAT 3 LAST\nC: x\nS: 250 queued
             C: MAIL FROM:<s@me.test>\nC: RCPT TO:<c@b.test>\nS: 250 ok\nS: 250 ok\nC: BDAT 3 LAST\nC: x\nS: 552 5.3.4 big",
        ),
        &["0 Accepted Reply@Message 2.0.0", "0 Permanent Reply@Message 5.3.4"],
    );
    let binary = Wish::Deliver(transaction("", &["a@b.test"], b"a\nb\r"), b"a\nb\r".to_vec());
    check(
        &options(),
        core::slice::from_ref(&binary),
        &after(
            &["CHUNKING", "BINARYMIME"],
            "C: MAIL FROM:<> BODY=BINARYMIME\nS: 250 ok\nC: RCPT TO:<a@b.test>\nS: 250 ok\nC: BDAT 4 LAST\nC: a\nb\r",
        )
        .replace("C: a\nb\r", "C: a…"),
        &[],
    );
    check(&options(), &[binary], &hello(&["CHUNKING", "PIPELINING", "8BITMIME"]), &["0 Permanent NotLines@Mail 5.6.3"]);
}

#[test]
fn what_the_peer_cannot_take() {
    let to = |recipient: &str, content: &str| {
        Wish::Deliver(transaction("s@me.test", &[recipient], content.as_bytes()), content.as_bytes().to_vec())
    };
    let check = |wish: Wish, offers: &[&str], told: &[&str]| check(&options(), &[wish], &hello(offers), told);
    check(to("a@b.test", "xxxx\r\n"), &["SIZE 5"], &["0 Permanent TooLarge@Mail 5.3.4"]);
    check(to("a@b.test", "\u{e4}\r\n"), &["SMTPUTF8"], &["0 Permanent EightBit@Mail 5.6.3"]);
    check(to("\u{e4}@b.test", "x\r\n"), &["8BITMIME"], &["0 Permanent Utf8Address@Rcpt 5.6.7"]);
    check(to("a@b.test", &"x".repeat(999)), &["8BITMIME", "CHUNKING"], &["0 Permanent NotLines@Mail 5.6.3"]);
    check(to("a@b.test", "a\nb\r\n"), &["8BITMIME", "BINARYMIME"], &["0 Permanent NotLines@Mail 5.6.3"]);
    let header = changed(to("a@b.test", "\u{e4}\r\n"), |transaction| transaction.content.utf8_header = true);
    check(header, &["8BITMIME"], &["0 Permanent Utf8Header@Mail 5.6.9"]);
    let sender = changed(to("a@b.test", "x\r\n"), |transaction| {
        transaction.sender = Some(crate::syntax::path::mailbox("\u{e4}@me.test").unwrap());
    });
    check(sender, &["8BITMIME"], &["0 Permanent Utf8Address@Mail 5.6.7"]);
    // Offered, but not inside TLS.
    let required = changed(to("a@b.test", "x\r\n"), |transaction| transaction.require_tls = true);
    check(required, &["REQUIRETLS"], &["0 Permanent RequireTls@Mail 5.7.30"]);
    let by = DeliverBy { seconds: 60, mode: ByMode::Return, trace: false };
    let in_time = changed(to("a@b.test", "x\r\n"), |transaction| transaction.deliver_by = Some(by));
    check(in_time, &["DSN"], &["0 Permanent DeliverBy@Mail 5.3.3"]);
}

#[test]
fn some_need_what_is_not_offered() {
    check(
        &options(),
        &[mail(&["a@b.test", "\u{e4}@b.test"])],
        &after(&[], "C: MAIL FROM:<s@me.test>\nS: 250 ok\nC: RCPT TO:<a@b.test>\nS: 250 ok\nC: DATA"),
        &["1 Permanent Utf8Address@Rcpt 5.6.7"],
    );
}

#[test]
fn parameters_are_said_where_they_are_offered() {
    let wish =
        changed(mail(&["a@b.test", "\"a b\"@[IPv6:2001:db8::1]", "postmaster", "\u{e4}@b.test"]), |transaction| {
            transaction.ret = Some(ReturnContent::Headers);
            transaction.envid = Some("a+b=c d".to_string());
            transaction.auth = Some(Submitter::Mailbox("e=mc2@b.test".to_string()));
            transaction.deliver_by = Some(DeliverBy { seconds: -5, mode: ByMode::Notify, trace: true });
            transaction.priority = Some(-3);
            transaction.content.eight_bit = true;
            let orcpt = |kind: &str, address: &str| {
                Some(OriginalRecipient { address_type: kind.to_string(), address: address.to_string() })
            };
            transaction.recipients[0].notify = Some(Notify { success: true, failure: false, delay: true });
            transaction.recipients[0].orcpt = orcpt("rfc822", "x+y@b.test");
            transaction.recipients[1].notify = Some(Notify::default());
            transaction.recipients[1].orcpt = orcpt("utf-8", "\u{e4}@b.test");
            transaction.recipients[2].orcpt = orcpt("rfc822", &"+".repeat(200));
        });
    check(
        &options(),
        core::slice::from_ref(&wish),
        &after(
            &["PIPELINING", "DSN", "SMTPUTF8", "8BITMIME", "DELIVERBY 60", "MT-PRIORITY", "AUTH PLAIN", "PRDR", "SIZE"],
            "C: MAIL FROM:<s@me.test> SIZE=3 BODY=8BITMIME SMTPUTF8 PRDR RET=HDRS ENVID=a+2Bb+3Dc+20d AUTH=e+3Dmc2@b.test BY=-5;NT MT-PRIORITY=-3
             C: RCPT TO:<a@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@b.test
             C: RCPT TO:<\"a b\"@[IPv6:2001:db8::1]> NOTIFY=NEVER ORCPT=utf-8;\u{e4}@b.test
             C: RCPT TO:<postmaster>\nC: RCPT TO:<\u{e4}@b.test>\nC: DATA",
        ),
        &[],
    );
    check(
        &options(),
        &[wish],
        &after(
            &["PIPELINING", "8BITMIME"],
            "C: MAIL FROM:<s@me.test> BODY=8BITMIME\nC: RCPT TO:<a@b.test>
             C: RCPT TO:<\"a b\"@[IPv6:2001:db8::1]>\nC: RCPT TO:<postmaster>\nC: DATA",
        ),
        &["3 Permanent Utf8Address@Rcpt 5.6.7"],
    );
}

#[test]
fn limits_of_the_peer() {
    // RFC 9422.
    check(
        &options(),
        &[mail(&["a@b.test", "c@b.test", "d@e.test"]), mail(&["a@b.test"]), Wish::Quit],
        &after(
            &["PIPELINING", "LIMITS MAILMAX=1 RCPTMAX=2 RCPTDOMAINMAX=1"],
            "C: MAIL FROM:<s@me.test>\nC: RCPT TO:<a@b.test>\nC: RCPT TO:<c@b.test>\nC: DATA
             S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nC: x\nC: .\nS: 250 queued\nC: QUIT\nS: 221 bye",
        ),
        &[
            "2 Unsent Limit@Rcpt 4.5.3",
            "0 Accepted Reply@Message 2.0.0",
            "1 Accepted Reply@Message 2.0.0",
            "0 Unsent Limit@Mail 4.5.3",
        ],
    );
    // RFC 5321 section 4.5.3.1.10.
    for reply in ["452 too many", "552 too many", "452 4.5.3 too many", "552 5.5.3 too many"] {
        check(
            &options(),
            &[mail(&["a@b.test", "c@b.test"])],
            &after(
                &["PIPELINING"],
                &format!(
                    "C: MAIL FROM:<s@me.test>\nC: RCPT TO:<a@b.test>\nC: RCPT TO:<c@b.test>\nC: DATA
                          S: 250 ok\nS: 250 ok\nS: {reply}\nS: 354 go\nC: x\nC: .\nS: 250 queued"
                ),
            ),
            &["1 Unsent Limit@Rcpt 4.5.3", "0 Accepted Reply@Message 2.0.0"],
        );
    }
    check(
        &options(),
        &[mail(&["a@b.test"])],
        &after(&[], "C: MAIL FROM:<s@me.test>\nS: 250 ok\nC: RCPT TO:<a@b.test>\nS: 552 5.2.2 mailbox full"),
        &["0 Permanent Reply@Rcpt 5.2.2"],
    );
}

#[test]
fn no_more_commands_at_a_time_than_the_limit() {
    let few = with(|options| options.limits.pipeline = 4);
    check(
        &few,
        &[mail(&["a@b.test", "c@b.test", "d@b.test", "e@b.test"])],
        &after(
            &["PIPELINING"],
            "C: MAIL FROM:<s@me.test>\nC: RCPT TO:<a@b.test>\nC: RCPT TO:<c@b.test>\nC: RCPT TO:<d@b.test>
             S: 250 ok\nS: 250 ok\nC: RCPT TO:<e@b.test>\nC: DATA
             S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nC: x\nC: .\nS: 250 queued",
        ),
        &[
            "0 Accepted Reply@Message 2.0.0",
            "1 Accepted Reply@Message 2.0.0",
            "2 Accepted Reply@Message 2.0.0",
            "3 Accepted Reply@Message 2.0.0",
        ],
    );
}

#[test]
fn a_reply_for_each() {
    let lmtp = with(|options| options.protocol = Protocol::Lmtp);
    check(
        &lmtp,
        &[mail(&["a@b.test", "c@b.test", "d@b.test"])],
        "S: 220 lmtp\nC: LHLO me.test\nS: 250-lmtp\nS: 250 PIPELINING
         C: MAIL FROM:<s@me.test>\nC: RCPT TO:<a@b.test>\nC: RCPT TO:<c@b.test>\nC: RCPT TO:<d@b.test>\nC: DATA
         S: 250 ok\nS: 250 ok\nS: 550 no\nS: 250 ok\nS: 354 go\nC: x\nC: .\nS: 250 2.0.0 ok\nS: 452 4.2.2 full",
        &["1 Permanent Reply@Rcpt 5.0.0", "0 Accepted Reply@Message 2.0.0", "2 Temporary Reply@Message 4.2.2"],
    );
    check(
        &lmtp,
        &[mail(&["a@b.test", "c@b.test"])],
        "S: 220 lmtp\nC: LHLO me.test\nS: 250-lmtp\nS: 250 PIPELINING
         C: MAIL FROM:<s@me.test>\nC: RCPT TO:<a@b.test>\nC: RCPT TO:<c@b.test>\nC: DATA
         S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nC: x\nC: .\nS: 250 2.0.0 ok\nLOST",
        &["0 Accepted Reply@Message 2.0.0", "1 Unknown Lost@Message 4.4.2", "Lost@Message"],
    );
    check(&lmtp, &[], "S: 220 lmtp\nC: LHLO me.test\nS: 500 no\nC: QUIT", &["Refused@Hello"]);
    let prdr = |rest: &str, told: &[&str]| {
        let start = "C: MAIL FROM:<s@me.test> PRDR\nC: RCPT TO:<a@b.test>\nC: RCPT TO:<c@b.test>\nC: DATA
                     S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\nC: x\nC: .\n";
        let script = after(&["PIPELINING", "PRDR"], &(start.to_string() + rest));
        check(&options(), &[mail(&["a@b.test", "c@b.test"])], &script, told);
    };
    prdr("S: 250 all", &["0 Accepted Reply@Message 2.0.0", "1 Accepted Reply@Message 2.0.0"]);
    prdr(
        "S: 353 each\nS: 250 ok\nS: 550 5.7.1 no\nS: 250 ok",
        &["1 Permanent Reply@Message 5.7.1", "0 Accepted Reply@Message 2.0.0"],
    );
    prdr(
        "S: 353 each\nS: 250 ok\nS: 550 5.7.1 no\nS: 451 oh",
        &["1 Permanent Reply@Message 5.7.1", "0 Temporary Reply@Message 4.0.0"],
    );
    prdr(
        "S: 353 each\nS: 353 again",
        &["0 Unknown BadReply@Message 4.5.0", "1 Unknown BadReply@Message 4.5.0", "BadReply@Message"],
    );
}

#[test]
fn it_closes_at_every_point() {
    let dialogue = [
        ("S: 250 ok", "Mail", "Temporary"),
        ("S: 250 ok", "Rcpt", "Temporary"),
        ("S: 354 go", "Data", "Temporary"),
        ("", "Message", "Unknown"),
    ];
    for (end, cause, fault) in [("LOST", "Lost", "Lost"), ("WAIT 600000", "TimedOut", "TimedOut")] {
        let mut script = after(&["PIPELINING"], "C: MAIL FROM:<s@me.test>\nC: RCPT TO:<a@b.test>\nC: DATA\n");
        for (reply, stage, fate) in dialogue {
            let (one, other) = (format!("0 {fate} {cause}@{stage} {}", "4.4.2"), format!("{fault}@{stage}"));
            check(&options(), &[mail(&["a@b.test"])], &format!("{script}{end}"), &[&one, &other]);
            script += reply;
            script += if reply.starts_with("S: 354") { "\nC: x\nC: .\n" } else { "\n" };
        }
    }
    // 421 instead of any reply.
    let mut script = after(&["PIPELINING"], "C: MAIL FROM:<s@me.test>\nC: RCPT TO:<a@b.test>\nC: DATA\n");
    for (reply, stage, _) in dialogue {
        let told = [format!("0 Temporary Reply@{stage} 4.3.2"), format!("Leaving@{stage}")];
        check(&options(), &[mail(&["a@b.test"])], &format!("{script}S: 421 4.3.2 bye"), &[&told[0], &told[1]]);
        script += reply;
        script += if reply.starts_with("S: 354") { "\nC: x\nC: .\n" } else { "\n" };
    }
    check(&options(), &[], &after(&[], "LOST"), &["Lost@Idle"]);
    check(&options(), &[], &after(&[], "S: 421 idle too long"), &["Leaving@Idle"]);
}
