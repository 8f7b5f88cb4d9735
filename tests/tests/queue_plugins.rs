//! A real component delivers from a real server's queue, is told what became of its recipients, and outlives a kill.
//!
//! The plugin is `fixtures/delivery-plugin`, built here by the recipe that builds the engine.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::time::{Duration, Instant};

use hermetic_tests::guest::fixture;
use hermetic_tests::server::{Rig, Server};
use hermetic_tests::session::Session;

/// The courier has everybody but `anna`. A call may take `deadline` milliseconds.
fn server(deadline: u32) -> Server {
    let tables = format!(
        "[queue]\nretry-first = 1\nretry-most = 2\n\
         [[plugin]]\nname = \"courier\"\nfile = {:?}\ngrants = {{ edit = true, keyvalue = 65536, delivery = true }}\n\
         limits = {{ deadline = {deadline}, timeout = 60000 }}\n\
         [[route]]\nrecipients = [\"anna@example.test\"]\nplugins = []\n\
         [[route]]\nrecipients = [\"*\"]\nplugins = [\"courier\"]\n",
        fixture("delivery-plugin", "plugin")
    );
    Rig::full().tables(&tables).start()
}

fn send(server: &Server, names: &[&str]) {
    let mut session = Session::open(server.port("mx")).expect("a session");
    let mut say = |line: &str, code: u16| {
        let reply = session.command(line).expect("a reply");
        assert_eq!(reply.code, code, "{line}: {reply:?}");
    };
    say("EHLO me.test", 250);
    say("MAIL FROM:<anna@example.test>", 250);
    for name in names {
        say(&format!("RCPT TO:<{name}@example.test>"), 250);
    }
    say("DATA", 354);
    session.write(b"Subject: hello\r\nFrom: anna@example.test\r\n\r\nHow are you?\r\n.\r\n").expect("written");
    assert_eq!(session.reply().expect("a reply").code, 250);
}

/// What the courier said, sorted.
fn said(server: &Server) -> Vec<String> {
    let log = server.log();
    let mut said: Vec<_> = log
        .lines()
        .filter_map(|line| Some(line.split_once("courier: ")?.1.split_once(" plugin=")?.0.to_owned()))
        .collect();
    said.sort();
    said
}

fn wait_for(server: &Server, what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < end, "never: {what}\n{}\n{:#?}", server.log(), server.queue());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_component_delivers() {
    let server = server(1000);
    send(&server, &["anna", "later", "never", "now", "wait"]);
    // Her own copy, and the news of the one that was given up.
    wait_for(&server, "anna's mail", || server.maildir("anna").messages().len() == 2);
    wait_for(&server, "an empty queue", || server.queue().is_empty());
    wait_for(&server, "reports", || said(&server).iter().filter(|line| line.starts_with("fate")).count() == 4);
    let said: Vec<String> = said(&server)
        .iter()
        .map(|line| line.split(' ').filter(|word| word.len() < 20).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        said,
        [
            "fate of later: delivered - after 2",
            "fate of never: failed 5.1.1 after 1",
            "fate of now: delivered - after 1",
            "fate of wait: delivered - after 1",
            "later 1",
            "later 2",
            "never 1",
            "now 1",
            "wait 1 judged",
        ]
    );
    let mail = server.maildir("anna").messages();
    let notices: Vec<_> = mail.iter().map(|message| String::from_utf8_lossy(message)).collect();
    let notice = notices.iter().find(|text| text.contains("multipart/report")).expect("a notice");
    for part in [
        "Return-Path: <>\r\n",
        "Auto-Submitted: auto-replied\r\n",
        "Final-Recipient: rfc822;never@example.test\r\n",
        "Action: failed\r\n",
        "Status: 5.1.1\r\n",
        "the gateway knows nobody of this name",
        "Content-Type: message/rfc822\r\n",
        "How are you?\r\n",
    ] {
        assert!(notice.contains(part), "{part:?} in {notice}");
    }
    for name in ["later", "never", "now", "wait"] {
        assert!(server.maildir(name).messages().is_empty(), "{name} has no Maildir");
    }
    let id =
        server.log().split("id=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an id").to_owned();
    let told = server.run(&["why", &id], "");
    for words in ["not judged yet", "judged again: accepted", "delivered by plugin courier", "come back"] {
        assert!(told.contains(words), "{words:?} in:\n{told}");
    }
}

/// Killed while the plugin delivers: the next process asks again, with the same key and the next number.
#[test]
fn a_kill_between_delivery_and_record() {
    let mut server = server(20_000);
    send(&server, &["hang"]);
    wait_for(&server, "the first attempt", || said(&server).iter().any(|line| line.starts_with("hang 1 ")));
    server.kill();
    let first = said(&server);
    server.start_again();
    wait_for(&server, "the second attempt", || said(&server).iter().any(|line| line.starts_with("hang 2 ")));
    let second = said(&server).into_iter().find(|line| line.starts_with("hang 2 ")).expect("an attempt");
    let key = |line: &str| line.split(' ').nth(2).map(str::to_owned);
    let first = first.iter().find(|line| line.starts_with("hang 1 ")).expect("an attempt");
    assert!(key(first).is_some_and(|key| key.ends_with(".0")));
    assert_eq!(key(first), key(&second));
    wait_for(&server, "an empty queue", || server.queue().is_empty());
}
