//! Command lines: what they mean, or the reply that they get.
#![allow(clippy::unwrap_used)]

use alloc::{format, string::ToString, vec};
use proptest::prelude::*;

use super::*;
use crate::address::{ForwardPath, HostName, Mailbox};
use crate::command::{
    BodyKind, ByMode, DeliverBy, Hold, MailParameters, Notify, OriginalRecipient, ReturnContent, Submitter,
};

fn ann() -> Mailbox {
    Mailbox { local: "ann".into(), host: HostName::Domain("example.org".into()) }
}

#[track_caller]
fn check(line: &str, expected: Command) {
    assert_eq!(parse(line.as_bytes()), Ok(expected), "{line:?}");
}

/// The line gets this reply: code, enhanced status code without its class, and a part of the text.
#[track_caller]
fn check_reply(line: impl AsRef<[u8]>, code: u16, enhanced: (u16, u16), text: &str) {
    let line = line.as_ref();
    let shown = line.escape_ascii().to_string();
    match parse(line) {
        Ok(command) => panic!("{shown} is accepted as {command:?}"),
        Err(error) => {
            let reply = error.reply();
            assert_eq!((reply.0, reply.1), (code, enhanced), "{shown} gets {reply:?}");
            assert!(reply.2.contains(text), "{shown} gets {:?}, which does not say {text:?}", reply.2);
        }
    }
}

#[test]
fn verbs_in_any_case_with_white_space_at_the_end() {
    for (line, expected) in [
        ("DATA", Command::Data),
        ("data", Command::Data),
        ("RSET", Command::Rset),
        ("RSET ", Command::Rset),
        ("rset \t ", Command::Rset),
        ("QuIt", Command::Quit),
        ("STARTTLS", Command::StartTls),
        ("NOOP", Command::Noop),
        ("NOOP  ", Command::Noop),
        ("noop whatever <this> is", Command::Noop),
        ("HELP", Command::Help),
        ("HELP MAIL", Command::Help),
        ("EXPN", Command::Expn),
        ("EXPN list", Command::Expn),
    ] {
        check(line, expected);
    }
}

#[test]
fn unknown_and_unimplemented_verbs() {
    for line in [
        "FROBNICATE now",
        "MAILFROM:<a@example.org>",
        "NOOP\0",
        "RSET\tx",
        "\u{fc}",
        "EHLO\u{a0}a",
        "X",
        "XFORWARD NAME=a",
    ] {
        check_reply(line, 500, (5, 2), "not recognized");
    }
    for line in ["", " ", "\t", "   \t  ", " NOOP"] {
        check_reply(line, 500, (5, 2), if line == " NOOP" { "needed" } else { "" });
    }
    check_reply(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 500, (5, 2), "not recognized");
    for line in ["SEND", "SOML FROM:<a@example.org>", "SAML", "TURN", "etrn example.org", "ATRN"] {
        check_reply(line, 502, (5, 1), "not implemented");
    }
}

#[test]
fn arguments_where_none_belong() {
    for (line, text) in [
        ("DATA foo", "DATA takes no argument"),
        ("RSET foo", "RSET takes no argument"),
        ("QUIT now", "QUIT takes no argument"),
        ("STARTTLS x", "STARTTLS takes no argument"),
    ] {
        check_reply(line, 501, (5, 4), text);
    }
}

#[test]
fn what_no_line_may_hold() {
    for line in [
        "NOOP a\0b",
        "NOOP a\tb",
        "HELP \u{1b}[31m",
        "EHLO a\u{7f}b",
        "VRFY a\u{85}",
        "VRFY \u{2028}",
        "MAIL FROM:<a\0@b>",
    ] {
        check_reply(line, 501, (5, 2), "control character");
    }
    for octets in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"\x80", b"\xc3("] {
        for line in [&b"MAIL FROM:<a"[..], b"RCPT TO:<a", b"NOOP a", b"EHLO a"] {
            check_reply([line, octets, b"@example.org> SMTPUTF8"].concat(), 501, (5, 2), "UTF-8");
        }
    }
}

#[test]
fn hello() {
    use HelloVerb::{Ehlo, Helo, Lhlo};
    let domain = |name: &str| Some(HostName::Domain(name.into()));
    let literal = |name: &str| Some(HostName::Literal(name.into()));
    let long = format!("{}.example", "x".repeat(200));
    for (line, verb, host, raw) in [
        ("EHLO client.example.org", Ehlo, domain("client.example.org"), "client.example.org"),
        ("ehlo localhost", Ehlo, domain("localhost"), "localhost"),
        ("HELO a.b-c.example ", Helo, domain("a.b-c.example"), "a.b-c.example"),
        ("LHLO mx", Lhlo, domain("mx"), "mx"),
        ("EHLO [127.0.0.1]", Ehlo, literal("127.0.0.1"), "[127.0.0.1]"),
        ("EHLO [IPv6:::1]", Ehlo, literal("IPv6:::1"), "[IPv6:::1]"),
        ("EHLO under_score", Ehlo, None, "under_score"),
        ("EHLO a b", Ehlo, None, "a b"),
        ("EHLO  a", Ehlo, None, " a"),
        ("EHLO <script>", Ehlo, None, "<script>"),
        ("EHLO a..b", Ehlo, None, "a..b"),
        ("EHLO foo@bar", Ehlo, None, "foo@bar"),
        ("EHLO [999.1.1.1]", Ehlo, None, "[999.1.1.1]"),
        ("EHLO m\u{fc}nchen.example", Ehlo, None, "m?nchen.example"),
        (&format!("EHLO {long}"), Ehlo, None, &long),
    ] {
        check(line, Command::Hello(Hello { verb, host, raw: raw.into() }));
    }
    check_reply("EHLO", 501, (5, 4), "EHLO hostname");
    check_reply("HELO ", 501, (5, 4), "HELO hostname");
    check_reply("LHLO", 501, (5, 4), "LHLO hostname");
    check_reply(format!("EHLO {}", "x".repeat(256)), 501, (5, 4), "too long");
}

#[test]
fn mail() {
    let mail = |mailbox, parameters| Command::Mail(Sender { mailbox, parameters });
    check("MAIL FROM:<>", mail(None, MailParameters::default()));
    check("mail from:<ann@example.org>", mail(Some(ann()), MailParameters::default()));
    check("MAIL FROM:<ann@example.org> ", mail(Some(ann()), MailParameters::default()));
    check("MAIL FROM:<@relay.example:ann@example.org>", mail(Some(ann()), MailParameters::default()));
    check(
        "MAIL FROM:<ann@example.org> SIZE=1000 body=8bitmime SMTPUTF8 RequireTLS PRDR RET=HDRS ENVID=a+2Bb AUTH=<> \
         HoldFor=60 by=-5;nt MT-Priority=-4",
        mail(
            Some(ann()),
            MailParameters {
                size: Some(1000),
                body: BodyKind::EightBitMime,
                smtputf8: true,
                require_tls: true,
                prdr: true,
                ret: Some(ReturnContent::Headers),
                envid: Some("a+b".into()),
                auth: Some(Submitter::Unknown),
                hold: Some(Hold::For(60)),
                deliver_by: Some(DeliverBy { seconds: -5, mode: ByMode::Notify, trace: true }),
                priority: Some(-4),
            },
        ),
    );
    for line in [
        "MAIL",
        "MAIL FROM",
        "MAIL TO:<a@example.org>",
        "MAIL <a@example.org>",
        "MAIL  FROM:<a@example.org>",
        "MAIL FROM :<a@example.org>",
    ] {
        check_reply(line, 501, (5, 4), "MAIL FROM:<address>");
    }
    for (line, text) in [
        ("MAIL FROM:", "angle brackets"),
        ("MAIL FROM:a@example.org", "angle brackets"),
        ("MAIL FROM: <a@example.org>", "directly after the colon"),
        ("MAIL FROM:<a@example.org", "bracket"),
        ("MAIL FROM:<a@>", "bad domain"),
        ("MAIL FROM:<a@example.org>garbage", "bracket"),
        ("MAIL FROM:<a@example.org>SIZE=1", "bracket"),
        ("MAIL FROM:<postmaster>", "no domain"),
    ] {
        check_reply(line, 501, (1, 7), text);
    }
}

#[track_caller]
fn check_mail_parameters(text: &str, expected: MailParameters) {
    check(
        &format!("MAIL FROM:<ann@example.org> {text}"),
        Command::Mail(Sender { mailbox: Some(ann()), parameters: expected }),
    );
}

#[test]
fn mail_parameters() {
    let none = MailParameters::default;
    for (text, size) in [
        ("SIZE=0", 0),
        ("size=007", 7),
        ("SIZE=18446744073709551615", u64::MAX),
        ("SIZE=18446744073709551616", u64::MAX),
        ("SIZE=99999999999999999999", u64::MAX),
    ] {
        check_mail_parameters(text, MailParameters { size: Some(size), ..none() });
    }
    for (text, body) in [
        ("BODY=7BIT", BodyKind::SevenBit),
        ("BODY=8BITMIME", BodyKind::EightBitMime),
        ("body=BinaryMime", BodyKind::BinaryMime),
    ] {
        check_mail_parameters(text, MailParameters { body, ..none() });
    }
    check_mail_parameters("ret=full", MailParameters { ret: Some(ReturnContent::Full), ..none() });
    for envid in ["abc123".to_string(), "x".repeat(100)] {
        check_mail_parameters(&format!("ENVID={envid}"), MailParameters { envid: Some(envid), ..none() });
    }
    for (text, mailbox) in [
        ("AUTH=a@example.org", "a@example.org"),
        ("AUTH=e+3Dmc2@example.com", "e=mc2@example.com"),
        ("AUTH=+22a+20b+22@example.com", "\"a b\"@example.com"),
    ] {
        check_mail_parameters(text, MailParameters { auth: Some(Submitter::Mailbox(mailbox.into())), ..none() });
    }
}

/// RFC 4865 section 3, RFC 2852 section 4, RFC 6710 section 7.
#[test]
fn when_mail_is_to_go() {
    let none = MailParameters::default;
    for (text, hold) in [
        ("HOLDFOR=1", Hold::For(1)),
        ("HOLDFOR=000000001", Hold::For(1)),
        ("holdfor=999999999", Hold::For(999_999_999)),
        ("HOLDUNTIL=2026-11-28T16:45:07Z", Hold::Until(1_795_884_307)),
        ("HOLDUNTIL=2026-11-28T17:45:06.5+01:00", Hold::Until(1_795_884_307)),
    ] {
        check_mail_parameters(text, MailParameters { hold: Some(hold), ..none() });
    }
    for (text, seconds, mode, trace) in [
        ("BY=1;R", 1, ByMode::Return, false),
        ("BY=+120;rt", 120, ByMode::Return, true),
        ("BY=999999999;N", 999_999_999, ByMode::Notify, false),
        ("BY=0;N", 0, ByMode::Notify, false),
        ("BY=-999999999;NT", -999_999_999, ByMode::Notify, true),
    ] {
        check_mail_parameters(text, MailParameters { deliver_by: Some(DeliverBy { seconds, mode, trace }), ..none() });
    }
    for priority in -9..=9 {
        check_mail_parameters(
            &format!("MT-PRIORITY={priority}"),
            MailParameters { priority: Some(priority), ..none() },
        );
    }
    for (keyword, values) in [
        ("HOLDFOR", &["", "0", "000", "-1", "1.5", "1000000000", "1s"][..]),
        ("HOLDUNTIL", &["", "1795884307", "2026-11-28", "2026-02-29T00:00:00Z"]),
        ("BY", &["", "1", "1;", ";R", "0;R", "-1;R", "1;RR", "1;T", "1;NTT", "1000000000;N", "--1;N", "1 ;N", "1;N;T"]),
        ("MT-PRIORITY", &["", "10", "-10", "+1", "01", "a", "-"]),
    ] {
        for value in values {
            let line = format!("MAIL FROM:<ann@example.org> {keyword}={value}");
            check_reply(line, 501, (5, 4), if value.contains(' ') { "arameter" } else { keyword });
        }
        check_reply(format!("MAIL FROM:<ann@example.org> {keyword}"), 501, (5, 4), keyword);
    }
    for twice in [
        "HOLDFOR=1 HOLDFOR=1",
        "HOLDFOR=1 HOLDUNTIL=2026-11-28T16:45:07Z",
        "HOLDUNTIL=2026-11-28T16:45:07Z HOLDFOR=1",
        "BY=1;R BY=1;R",
        "MT-PRIORITY=1 MT-PRIORITY=1",
    ] {
        check_reply(format!("MAIL FROM:<ann@example.org> {twice}"), 501, (5, 4), "given twice");
    }
}

#[track_caller]
fn check_parameter_replies(command: &str, cases: &[(&str, u16, &str)]) {
    for (text, code, said) in cases {
        check_reply(format!("{command} {text}"), *code, (5, 4), said);
    }
}

#[test]
fn bad_mail_parameters() {
    let long_envid = format!("ENVID={}", "x".repeat(101));
    let long_keyword = "X".repeat(1000);
    check_parameter_replies(
        "MAIL FROM:<ann@example.org>",
        &[
            ("FOO=bar", 555, "FOO"),
            ("FOO", 555, "FOO"),
            ("x-unknown=1 BAR", 555, "X-UNKNOWN"),
            ("NOTIFY=NEVER", 555, "NOTIFY"),
            ("ORCPT=rfc822;a@example.org", 555, "ORCPT"),
            (&long_keyword, 555, "not recognized"),
            ("FOO=bar=baz", 501, "KEYWORD=value"),
            ("=", 501, "KEYWORD=value"),
            ("-A=b", 501, "KEYWORD=value"),
            ("A_B=c", 501, "KEYWORD=value"),
            ("\u{fc}=c", 501, "KEYWORD=value"),
            (" SIZE=1", 501, "KEYWORD=value"),
            ("SIZE=1  RET=FULL", 501, "KEYWORD=value"),
            ("<b@example.org>", 501, "KEYWORD=value"),
            ("SIZE", 501, "SIZE"),
            ("SIZE=", 501, "SIZE"),
            ("SIZE=abc", 501, "SIZE"),
            ("SIZE=-1", 501, "SIZE"),
            ("SIZE=+5", 501, "SIZE"),
            ("SIZE=1.5", 501, "SIZE"),
            ("SIZE=0x10", 501, "SIZE"),
            ("SIZE=1e3", 501, "SIZE"),
            ("SIZE=5,5", 501, "SIZE"),
            ("SIZE=\u{663}", 501, "SIZE"),
            ("SIZE=999999999999999999999", 501, "SIZE"),
            ("SIZE=1 size=1", 501, "SIZE given twice"),
            ("BODY", 501, "BODY"),
            ("BODY=", 501, "BODY"),
            ("BODY=8BIT", 501, "BODY"),
            ("BODY=7BIT BODY=7BIT", 501, "BODY given twice"),
            ("SMTPUTF8=yes", 501, "SMTPUTF8"),
            ("SMTPUTF8=", 501, "SMTPUTF8"),
            ("SMTPUTF8 SMTPUTF8", 501, "SMTPUTF8 given twice"),
            ("REQUIRETLS=1", 501, "REQUIRETLS"),
            ("PRDR=1", 501, "PRDR"),
            ("RET", 501, "RET"),
            ("RET=", 501, "RET"),
            ("RET=FOO", 501, "RET"),
            ("RET=FULL RET=HDRS", 501, "RET given twice"),
            ("ENVID", 501, "ENVID"),
            ("ENVID=", 501, "ENVID"),
            ("ENVID=a=b", 501, "KEYWORD=value"),
            ("ENVID=a+G1", 501, "ENVID"),
            ("ENVID=a+2", 501, "ENVID"),
            ("ENVID=a+0D+0ABcc:+20b", 501, "ENVID"),
            ("ENVID=+C3+BC", 501, "ENVID"),
            (&long_envid, 501, "ENVID"),
            ("ENVID=a ENVID=b", 501, "ENVID given twice"),
            ("AUTH", 501, "AUTH"),
            ("AUTH=", 501, "AUTH"),
            ("AUTH=a+G1", 501, "AUTH"),
            ("AUTH=ann", 501, "AUTH"),
            ("AUTH=<a@example.org>", 501, "AUTH"),
            ("AUTH=<> AUTH=<>", 501, "AUTH given twice"),
        ],
    );
}

#[test]
fn rcpt() {
    let rcpt = |notify, orcpt| Command::Rcpt(Recipient { path: ForwardPath::Mailbox(ann()), notify, orcpt });
    let notify = |success, failure, delay| Some(Notify { success, failure, delay });
    let orcpt = |address_type: &str, address: &str| {
        Some(OriginalRecipient { address_type: address_type.into(), address: address.into() })
    };
    let longest = "x".repeat(500 - 7);
    for (parameters, expected) in [
        ("", rcpt(None, None)),
        (" NOTIFY=NEVER", rcpt(notify(false, false, false), None)),
        (" notify=never", rcpt(notify(false, false, false), None)),
        (" NOTIFY=SUCCESS", rcpt(notify(true, false, false), None)),
        (" NOTIFY=failure,delay", rcpt(notify(false, true, true), None)),
        (" NOTIFY=SUCCESS,FAILURE,DELAY", rcpt(notify(true, true, true), None)),
        (" ORCPT=rfc822;a@example.org", rcpt(None, orcpt("rfc822", "a@example.org"))),
        (" ORCPT=RFC822;a+2Bb@example.org", rcpt(None, orcpt("rfc822", "a+b@example.org"))),
        (" ORCPT=x-local;foo", rcpt(None, orcpt("x-local", "foo"))),
        (" ORCPT=rfc822;a;b", rcpt(None, orcpt("rfc822", "a;b"))),
        (" ORCPT=rfc822;gr+C3+BC+C3+9Fe@example.org", rcpt(None, orcpt("utf-8", "grüße@example.org"))),
        (r" ORCPT=utf-8;j\x{FC}rgen@example.org", rcpt(None, orcpt("utf-8", "j\u{fc}rgen@example.org"))),
        (" ORCPT=UTF-8;j\u{fc}rgen@example.org", rcpt(None, orcpt("utf-8", "j\u{fc}rgen@example.org"))),
        (&format!(" ORCPT=rfc822;{longest}"), rcpt(None, orcpt("rfc822", &longest))),
        (
            " ORCPT=rfc822;b@example.org NOTIFY=FAILURE",
            rcpt(notify(false, true, false), orcpt("rfc822", "b@example.org")),
        ),
    ] {
        check(&format!("RCPT TO:<ann@example.org>{parameters}"), expected);
    }
    check(
        "rcpt to:<PostMaster>",
        Command::Rcpt(Recipient { path: ForwardPath::Postmaster, notify: None, orcpt: None }),
    );
    for line in ["RCPT", "RCPT TO", "RCPT FROM:<a@example.org>", "RCPT <a@example.org>", "RCPT  TO:<a@example.org>"] {
        check_reply(line, 501, (5, 4), "RCPT TO:<address>");
    }
    for (line, text) in [
        ("RCPT TO:", "angle brackets"),
        ("RCPT TO:<>", "an address is needed"),
        ("RCPT TO:< >", "local part"),
        ("RCPT TO:<ann@example.org", "bracket"),
        ("RCPT TO:<ann@example.org>>", "bracket"),
        ("RCPT TO:<ann@example.org..>", "bad domain"),
        ("RCPT TO:<.ann@example.org>", "local part"),
        ("RCPT TO: <ann@example.org>", "directly after the colon"),
    ] {
        check_reply(line, 501, (1, 3), text);
    }
}

#[test]
fn bad_rcpt_parameters() {
    let long = format!("ORCPT=rfc822;{}", "x".repeat(501 - 7));
    check_parameter_replies(
        "RCPT TO:<ann@example.org>",
        &[
            ("FOO=bar", 555, "FOO"),
            ("SIZE=1", 555, "SIZE"),
            ("<bob@example.org>", 501, "KEYWORD=value"),
            ("NOTIFY", 501, "NOTIFY"),
            ("NOTIFY=", 501, "NOTIFY"),
            ("NOTIFY=FOO", 501, "NOTIFY"),
            ("NOTIFY=NEVER,SUCCESS", 501, "NOTIFY"),
            ("NOTIFY=SUCCESS,NEVER", 501, "NOTIFY"),
            ("NOTIFY=SUCCESS,", 501, "NOTIFY"),
            ("NOTIFY=SUCCESS,,DELAY", 501, "NOTIFY"),
            ("NOTIFY=NEVER NOTIFY=DELAY", 501, "NOTIFY given twice"),
            ("ORCPT", 501, "ORCPT"),
            ("ORCPT=", 501, "ORCPT"),
            ("ORCPT=nosemicolon", 501, "ORCPT"),
            ("ORCPT=;a", 501, "ORCPT"),
            ("ORCPT=rfc822;", 501, "ORCPT"),
            ("ORCPT=rfc(822);a", 501, "ORCPT"),
            ("ORCPT=rfc822;a+G1@example.org", 501, "ORCPT"),
            ("ORCPT=rfc822;a+0D+0ABcc:b", 501, "ORCPT"),
            ("ORCPT=rfc822;j\u{fc}rgen@example.org", 501, "ORCPT"),
            (r"ORCPT=utf-8;a\x{0A}b", 501, "ORCPT"),
            ("ORCPT=utf-8;", 501, "ORCPT"),
            (&long, 501, "ORCPT"),
            ("ORCPT=rfc822;a ORCPT=rfc822;b", 501, "ORCPT given twice"),
        ],
    );
}

#[test]
fn bdat() {
    for (line, size, last) in [
        ("BDAT 0", 0, false),
        ("BDAT 0 LAST", 0, true),
        ("bdat 1000 last", 1000, true),
        ("BDAT 007 ", 7, false),
        ("BDAT 18446744073709551615", u64::MAX, false),
        ("BDAT 18446744073709551616 LAST", u64::MAX, true),
        ("BDAT 99999999999999999999999999999 LAST", u64::MAX, true),
    ] {
        check(line, Command::Bdat { size, last });
    }
    for argument in [
        "",
        " ",
        " abc",
        " -1",
        " -1 LAST",
        " +5",
        " 0x10",
        " 1e3",
        " 5 FOO",
        " 5.0",
        " LAST",
        " 5 LAST LAST",
        "  5",
        " 5  LAST",
        " \u{663}",
    ] {
        let line = format!("BDAT{argument}");
        check_reply(&line, 501, (5, 4), "BDAT size [LAST]");
        assert!(parse(line.as_bytes()).unwrap_err().loses_step(), "{line:?}: nobody knows where the chunk ends");
    }
    assert!(!parse(b"MAIL").unwrap_err().loses_step());
}

#[test]
fn vrfy() {
    for (line, name) in [
        ("VRFY ann", "ann"),
        ("vrfy ann@example.org", "ann@example.org"),
        ("VRFY <ann@example.org> ", "<ann@example.org>"),
        ("VRFY Ann Other", "Ann Other"),
        (r#"VRFY "Ann Other""#, "Ann Other"),
        ("VRFY \u{7528}\u{6237}@example.org SMTPUTF8", "\u{7528}\u{6237}@example.org"),
        ("VRFY ann smtputf8", "ann"),
        ("VRFY SMTPUTF8", "SMTPUTF8"),
    ] {
        check(line, Command::Vrfy(name.into()));
    }
    check_reply("VRFY", 501, (5, 4), "VRFY name");
}

#[test]
fn auth() {
    let auth = |mechanism: &str, initial: Option<&[u8]>| Command::Auth {
        mechanism: mechanism.into(),
        initial: initial.map(<[u8]>::to_vec),
    };
    check("AUTH PLAIN", auth("PLAIN", None));
    check("AUTH PLAIN ", auth("PLAIN", None));
    check("auth scram-sha-256-plus", auth("SCRAM-SHA-256-PLUS", None));
    check("AUTH X_Y", auth("X_Y", None));
    check("AUTH PLAIN =", auth("PLAIN", Some(b"")));
    check("AUTH plain AGEAYg==", auth("PLAIN", Some(b"\0a\0b")));
    for line in ["AUTH", "AUTH ", "AUTH  PLAIN", "AUTH PL@IN", "AUTH \u{fc}", "AUTH ABCDEFGHIJKLMNOPQRSTU"] {
        check_reply(line, 501, (5, 4), "AUTH mechanism");
    }
    for text in [
        "!!!!",
        "AGEAYg=",
        "AGEAYg===",
        "A",
        "AGE=AYg=",
        "AGEA Yg==",
        "\u{c4}\u{d6}",
        "====",
        "AGEAYg==x",
        " AGEAYg==",
        "AGEA%Yg=",
    ] {
        check_reply(format!("AUTH PLAIN {text}"), 501, (5, 2), "base64");
    }
    check_reply(b"AUTH PLAIN AGEA\0Yg==", 501, (5, 2), "control");
}

#[test]
fn xclient() {
    let attribute =
        |name: &str, value: Option<&str>| XclientAttribute { name: name.into(), value: value.map(Into::into) };
    check(
        "XCLIENT name=client.example.org ADDR=IPv6:2001:db8::1 PORT=25 PROTO=ESMTP HELO=a+20b Login=ann DESTADDR=192.0.2.1 DESTPORT=587",
        Command::Xclient(vec![
            attribute("NAME", Some("client.example.org")),
            attribute("ADDR", Some("IPv6:2001:db8::1")),
            attribute("PORT", Some("25")),
            attribute("PROTO", Some("ESMTP")),
            attribute("HELO", Some("a b")),
            attribute("LOGIN", Some("ann")),
            attribute("DESTADDR", Some("192.0.2.1")),
            attribute("DESTPORT", Some("587")),
        ]),
    );
    check(
        "XCLIENT NAME=[UNAVAILABLE] ADDR=[tempunavail]",
        Command::Xclient(vec![attribute("NAME", None), attribute("ADDR", None)]),
    );
    for (line, text) in [
        ("XCLIENT", "XCLIENT attribute=value"),
        ("XCLIENT NAME", "XCLIENT attribute=value"),
        ("XCLIENT NAME=a  ADDR=b", "XCLIENT attribute=value"),
        ("XCLIENT FOO=bar", "attribute"),
        ("XCLIENT NAME=a NAME=b", "NAME given twice"),
        ("XCLIENT NAME=", "NAME"),
        ("XCLIENT NAME=a+0Ab", "NAME"),
        ("XCLIENT NAME=a+G1", "NAME"),
        ("XCLIENT NAME=a=b", "NAME"),
    ] {
        check_reply(line, 501, (5, 4), text);
    }
}

#[test]
fn only_auth_has_the_long_bound() {
    let limits = Limits { command_line: 2048, auth_line: 16384, ..Limits::default() };
    for (line, expected) in
        [("AUTH PLAIN x", 16384), ("auth ", 16384), ("AUTH", 2048), ("NOOP", 2048), ("", 2048), ("AUTHX y", 2048)]
    {
        assert_eq!(limit(line.as_bytes(), &limits), expected, "{line:?}");
    }
}

/// Lines that are nearly right.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let parts: Vec<&'static [u8]> = vec![
        b"MAIL FROM:",
        b"RCPT TO:",
        b"<",
        b">",
        b"<>",
        b"@",
        b"a@example.org",
        b"<a@example.org>",
        b"\"",
        b"\\",
        b"[IPv6:::1]",
        b"[",
        b"]",
        b"@x,@y:",
        b" ",
        b" SIZE=1",
        b" BODY=7BIT",
        b" ENVID=+41",
        b" ORCPT=utf-8;\\x{FC}",
        b" NOTIFY=NEVER",
        b"=",
        b"+",
        b"AUTH PLAIN ",
        b"AA==",
        b"BDAT ",
        b"9",
        b" LAST",
        b"XCLIENT ",
        b"NAME=a",
        b"VRFY ",
        b" SMTPUTF8",
        b"EHLO ",
        b"\xc3\xbc",
        b"\xff",
        b"\0",
        b"\t",
        b"postmaster",
        b"\xe2\x80\xa8",
    ];
    prop::collection::vec(prop::sample::select(parts), 0..10).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_panics_and_every_error_has_a_reply(line in prop_oneof![nearly(), any::<Vec<u8>>()]) {
        if let Err(error) = parse(&line) {
            let (code, (subject, detail), text) = error.reply();
            prop_assert!((500..556).contains(&code) && subject < 8 && detail < 100);
            prop_assert!(!text.is_empty() && text.len() < 100, "{text:?}");
            prop_assert!(text.chars().all(|c| matches!(c, ' '..='~')), "{text:?}");
        }
    }
}
