//! Real components behind a real server: one message, five recipients, five chains, five fates, over SMTP, PRDR and LMTP;
//! the same five behind an alias; and what the operator may want instead of a quarantine.
//!
//! The plugins are `guest-plugins/header-rules` and `guest-plugins/aliases`, built here by the recipe that builds the
//! engine.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::time::{Duration, Instant};

use hermetic_tests::guest::shipped;
use hermetic_tests::server::{Rig, Server};
use hermetic_tests::session::Session;

/// Whose rules do what. `eva`'s are no rules, so that her plugin fails; its policy is to reject.
const RULES: [(&str, &str); 5] = [
    ("anna", r#"[{ header = "Subject", add = { name = "X-Judged", value = "by Anna's rules" } }]"#),
    ("berta", r#"[{ header = "Subject", verdict = "discard" }]"#),
    ("carl", r#"[{ header = "Subject", contains = "hello", verdict = "defer", text = "Carl rests" }]"#),
    ("dora", r#"[{ header = "Subject", is = "hello", verdict = "reject", text = "Dora is not amused" }]"#),
    ("eva", r#""nonsense""#),
];

fn server() -> Server {
    Rig::full().tables(&judges("")).start()
}

/// A plugin and a route for each; `more`: keys of the routes.
fn judges(more: &str) -> String {
    let file = shipped("header-rules");
    let mut tables = String::new();
    for (name, rules) in RULES {
        tables += &format!(
            "[[plugin]]\nname = {name:?}\nfile = {file:?}\ngrants = {{ edit = true }}\non-failure = \"reject\"\n\
             settings = {{ rules = {rules} }}\n[[route]]\nrecipients = [\"{name}@example.test\"]\nplugins = [{name:?}]\n{more}\n"
        );
    }
    tables
}

/// Sends one message to all five and returns what was said after its final dot: `replies` replies.
fn send(port: u16, hello: &str, parameters: &str, replies: usize) -> Vec<String> {
    let mail = format!("MAIL FROM:<me@far.test>{parameters}");
    send_to(port, &[hello, &mail], &RULES.map(|(name, _)| name), replies)
}

/// The same with other beginnings and recipients, of which none is refused.
fn send_to(port: u16, begin: &[&str], names: &[&str], replies: usize) -> Vec<String> {
    let mut session = Session::open(port).expect("a session");
    let mut say = |line: &str, class: u16| {
        let reply = session.command(line).expect("a reply");
        assert_eq!(reply.code / 100, class, "{line}: {reply:?}");
    };
    begin.iter().for_each(|line| say(line, 2));
    names.iter().for_each(|name| say(&format!("RCPT TO:<{name}@example.test>"), 2));
    say("DATA", 3);
    session.write(b"Subject: hello\r\nFrom: me@far.test\r\n\r\nHow are you?\r\n.\r\n").expect("written");
    (0..replies).map(|_| format!("{:?}", session.reply().expect("a reply"))).collect()
}

fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Anna's copy has her edit; nobody else has one.
fn only_anna_has_it(server: &Server, copies: usize) {
    wait_for("anna's mail", || server.maildir("anna").messages().len() == copies);
    for message in server.maildir("anna").messages() {
        let text = String::from_utf8_lossy(&message).into_owned();
        assert!(text.contains("X-Judged: by Anna's rules\r\n") && text.ends_with("How are you?\r\n"), "{text}");
    }
    for (name, _) in &RULES[1..] {
        assert!(server.maildir(name).messages().is_empty(), "{name} got a copy");
    }
}

#[test]
fn each_recipient_is_answered_where_the_protocol_can() {
    let server = server();
    for (kind, hello, parameters, more) in [("lmtp", "LHLO me.test", "", 0), ("mx", "EHLO me.test", " PRDR", 2)] {
        let said = send(server.port(kind), hello, parameters, 5 + more);
        let each = if more == 2 { &said[1..6] } else { &said[..] };
        for ((reply, code), text) in
            each.iter().zip(["250", "250", "4", "5", "5"]).zip(["queued", "", "Carl rests", "not amused", ""])
        {
            assert!(reply.contains(&format!("code: {code}")) && reply.contains(text), "{kind}: {reply} in {said:#?}");
        }
        if more == 2 {
            assert!(said[0].contains("code: 353") && said[6].contains("code: 250"), "{said:#?}");
        }
    }
    only_anna_has_it(&server, 2);
    assert!(server.queue().is_empty(), "everybody knows: {:#?}", server.queue());
}

#[test]
fn plain_smtp_keeps_what_it_could_not_say() {
    let server = server();
    let said = send(server.port("mx"), "EHLO me.test", "", 1);
    assert!(said[0].contains("code: 250"), "{said:?}");
    only_anna_has_it(&server, 1);
    let held: Vec<String> = server.queue().iter().map(ToString::to_string).collect();
    for (name, why) in [("carl", "Carl rests"), ("dora", "Dora is not amused"), ("eva", "eva")] {
        assert!(held.iter().any(|entry| entry.contains(name) && entry.contains(why)), "{name} in {held:#?}");
    }
    assert_eq!(held.len(), 3, "{held:#?}");

    // `hermetic why` has it all.
    let told = why(&server);
    for (name, _) in RULES {
        assert!(told.contains(&format!("{name}@example.test")), "{name} in:\n{told}");
    }
    for word in ["discard", "defer", "reject", "Carl rests", "recipient-message", "judged again later", "quarantined"] {
        assert!(told.to_lowercase().contains(&word.to_lowercase()), "{word:?} in:\n{told}");
    }
}

/// What `hermetic why` tells of the first message that was accepted.
fn why(server: &Server) -> String {
    let id =
        server.log().split("id=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an id").to_owned();
    server.run(&["why", &id], "")
}

/// An alias is no way around the plugins of those whom it stands for, and nobody loses mail to them; an alias that
/// stands for itself in the end is found.
#[test]
fn an_alias_is_no_way_around_plugins() {
    let everybody = RULES.map(|(name, _)| format!("\"{name}@example.test\"")).join(", ");
    let aliases = format!(
        "[[plugin]]\nname = \"aliases\"\nfile = {:?}\ngrants = {{ forwarding = [\"*\"] }}\n\
         [plugin.settings.aliases]\n\"team@example.test\" = [{everybody}]\n\"dori@example.test\" = [\"dora@example.test\"]\n\
         [[route]]\nrecipients = [\"team@example.test\", \"dori@example.test\"]\nplugins = [\"aliases\"]\n",
        shipped("aliases")
    );
    let server = Rig::full().tables(&aliases).tables(&judges("")).start();
    let said = send_to(server.port("lmtp"), &["LHLO me.test", "MAIL FROM:<me@far.test>"], &["team", "dori"], 2);
    assert!(said[0].contains("code: 250") && said[1].contains("code: 550"), "{said:?}");
    assert!(said[1].contains("Dora is not amused"), "{said:?}");
    only_anna_has_it(&server, 1);
    assert!(server.maildir("team").messages().is_empty(), "it stands for others");
    let kept: Vec<String> = server.queue().iter().map(ToString::to_string).collect();
    for (name, why) in [("carl", "Carl rests"), ("dora", "Dora is not amused"), ("eva", "eva")] {
        assert!(kept.iter().any(|entry| entry.contains(name) && entry.contains(why)), "{name} in {kept:#?}");
    }
    assert_eq!(kept.len(), 3, "{kept:#?}");
    let told = why(&server);
    for line in [
        "  team@example.test: accepted; redirected by plugin aliases to anna@example.test, ",
        "    anna@example.test: ",
        "      anna (",
    ] {
        assert!(told.contains(line), "{line:?} in:\n{told}");
    }
}

/// A user's mail program is never told to come again, and the user hears of refusals, if that is wanted.
#[test]
fn who_logged_in_is_told() {
    let login = "AUTH PLAIN AGFubmEAc2VjcmV0";
    for (refused, of_dora) in [("split", "and quarantined"), ("bounce", "and its sender is told")] {
        let server = Rig::new()
            .listener("submission", "auth-without-tls = true")
            .user("anna", "secret")
            .tables(&judges(&format!("refused = {refused:?}")))
            .start();
        let begin = ["EHLO me.test", login, "MAIL FROM:<anna@example.test>"];
        let said = send_to(server.port("submission"), &begin, &["anna", "dora", "carl"], 1);
        assert!(said[0].contains("code: 250"), "{said:?}");
        let told = why(&server);
        for (name, what) in [("dora", of_dora), ("carl", "and judged again later")] {
            let line = format!("{name}@example.test: accepted with others {what}: ");
            assert!(told.contains(&line), "{line:?} in:\n{told}");
        }
    }
}
