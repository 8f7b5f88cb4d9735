//! Shipped plugins behind a real server: what autoreply sends and what it does not, and where aliases end.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::time::{Duration, Instant};

use hermetic_tests::{
    guest::shipped,
    server::{Rig, Server},
    session::Session,
};

/// Sends a message and returns the code and the text of the last reply.
fn send(server: &Server, from: &str, to: &str, header: &str) -> (u16, String) {
    let mut session = Session::open(server.port("mx")).expect("a session");
    for (line, code) in [
        ("EHLO me.test".to_owned(), 250),
        (format!("MAIL FROM:<{from}>"), 250),
        (format!("RCPT TO:<{to}>"), 250),
        ("DATA".to_owned(), 354),
    ] {
        let reply = session.command(&line).expect("a reply");
        assert_eq!(reply.code, code, "{line}: {reply:?}");
    }
    session.write(format!("{header}\r\nHow are you?\r\n.\r\n").as_bytes()).expect("written");
    let reply = session.reply().expect("a reply");
    (reply.code, reply.lines.join("\n"))
}

fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn texts(server: &Server, mailbox: &str) -> Vec<String> {
    let messages = server.maildir(mailbox).messages().into_iter();
    messages.map(|message| String::from_utf8_lossy(&message).into_owned()).collect()
}

#[test]
fn a_sender_is_answered_once_and_a_machine_never() {
    let file = shipped("autoreply");
    let server = Rig::full()
        .tables(&format!(
            "[[plugin]]\nname = \"away\"\nfile = {file:?}\ngrants = {{ reply = true, keyvalue = 65536 }}\n\
             settings = {{ text = \"Back in May.\\nAnna\" }}\n\
             [[plugin]]\nname = \"no\"\nfile = {:?}\ngrants = {{ edit = true }}\n\
             settings = {{ rules = [{{ header = \"X-Bad\", verdict = \"reject\" }}] }}\n\
             [[route]]\nrecipients = [\"anna@example.test\", \"berta@example.test\"]\nplugins = [\"away\", \"no\"]\n",
            shipped("header-rules")
        ))
        .start();
    let to = "From: dora@example.test\r\nTo: anna@example.test\r\n";
    let question = format!("{to}Subject: Lunch?\r\nMessage-ID: <1@me.test>\r\nReferences: <0@me.test>\r\n");

    // What the next plugin refuses is not answered; nor is a machine, nor nobody.
    assert_eq!(send(&server, "carl@example.test", "anna@example.test", &format!("{to}X-Bad: yes\r\n")).0, 550);
    assert_eq!(send(&server, "carl@example.test", "anna@example.test", &format!("{to}Precedence: bulk\r\n")).0, 250);
    assert_eq!(
        send(&server, "carl@example.test", "anna@example.test", &format!("{to}Auto-Submitted: auto-replied\r\n")).0,
        250
    );
    assert_eq!(send(&server, "", "anna@example.test", to).0, 250);
    // Dora is, once.
    assert_eq!(send(&server, "dora@example.test", "anna@example.test", &question).0, 250);
    assert_eq!(send(&server, "dora@example.test", "anna@example.test", &question).0, 250);
    // And one who is elsewhere, whose answer leaves the machine.
    assert_eq!(send(&server, "me@far.test", "anna@example.test", &question).0, 250);

    wait_for("anna's mail", || texts(&server, "anna").len() == 6);
    wait_for("dora's answer", || !texts(&server, "dora").is_empty());
    let answers = texts(&server, "dora");
    assert_eq!(answers.len(), 1, "{answers:#?}");
    for line in [
        "Return-Path: <>\r\n",
        "Delivered-To: dora@example.test\r\n",
        "From: <anna@example.test>\r\n",
        "To: <dora@example.test>\r\n",
        "Subject: Auto: Lunch?\r\n",
        "Auto-Submitted: auto-replied\r\n",
        "In-Reply-To: <1@me.test>\r\n",
        "References: <0@me.test> <1@me.test>\r\n",
    ] {
        assert!(answers[0].contains(line), "{line:?} in:\n{}", answers[0]);
    }
    assert!(answers[0].replace("\r\n", "\n").trim_end().ends_with("\n\nBack in May.\nAnna"), "{}", answers[0]);
    assert!(texts(&server, "carl").is_empty(), "{:#?}", texts(&server, "carl"));
    // Mail is in its folder a moment before its entry is settled.
    wait_for("what is delivered to be settled", || server.queue().len() <= 1);
    let queue: Vec<String> = server.queue().iter().map(ToString::to_string).collect();
    assert!(queue.len() == 1 && queue[0].contains("me@far.test"), "{queue:#?}");
}

/// Two machines that are away write to each other: one answer, and silence.
#[test]
fn two_who_are_away_do_not_answer_each_other() {
    let file = shipped("autoreply");
    let mut tables = String::new();
    for name in ["anna", "berta"] {
        tables += &format!(
            "[[plugin]]\nname = {name:?}\nfile = {file:?}\ngrants = {{ reply = true, keyvalue = 65536 }}\n\
             settings = {{ text = \"{name} is away\" }}\n\
             [[route]]\nrecipients = [\"{name}@example.test\"]\nplugins = [{name:?}]\n"
        );
    }
    let server = Rig::full().tables(&tables).start();
    let header = "To: anna@example.test\r\nSubject: Hello\r\n";
    assert_eq!(send(&server, "berta@example.test", "anna@example.test", header).0, 250);
    wait_for("berta's answer", || texts(&server, "berta").len() == 1);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!((texts(&server, "anna").len(), texts(&server, "berta").len()), (1, 1));
    assert!(server.queue().is_empty(), "{:#?}", server.queue());
}

/// Mail that is sent on to another server goes out in a name of ours, and what comes back to that goes to its sender.
#[test]
fn senders_are_rewritten_and_bounces_find_them() {
    let far = Rig::new()
        .listener("mx", "")
        .tables("[[domain]]\nname = \"far.test\"\nmailboxes = [\"berta\", \"postmaster\"]\n[[domain]]\nname = \"near.test\"\nmailboxes = [\"x\", \"postmaster\"]")
        .start();
    let server = Rig::new()
        .listener("mx", "")
        .tables(&format!(
            "[srs]\ndomain = \"example.test\"\n[outbound]\nconnections = 2\n\
             [[destination]]\ndomains = [\"*\"]\nhosts = [\"127.0.0.1:{}\"]\n\
             [[plugin]]\nname = \"aliases\"\nfile = {:?}\ngrants = {{ forwarding = [\"far.test\"] }}\n\
             [plugin.settings.aliases]\n\"away@example.test\" = \"berta@far.test\"\n\
             [[route]]\nrecipients = [\"*\"]\nplugins = [\"aliases\"]\n",
            far.port("mx"),
            shipped("aliases")
        ))
        .start();
    let there = |mailbox: &str| -> Vec<String> {
        let new = far.data().join("mail").join(mailbox).join("new");
        let files = std::fs::read_dir(new).into_iter().flatten().flatten();
        files
            .map(|file| String::from_utf8_lossy(&std::fs::read(file.path()).expect("a message")).into_owned())
            .collect()
    };
    assert_eq!(send(&server, "x@near.test", "away@example.test", "Subject: sent on\r\n").0, 250);
    wait_for("the copy", || !there("far.test/berta").is_empty());
    let copy = there("far.test/berta").remove(0);
    let sender = copy.split("Return-Path: <").nth(1).and_then(|rest| rest.split('>').next()).unwrap().to_owned();
    assert!(sender.starts_with("SRS0=") && sender.ends_with("=near.test=x@example.test"), "{copy}");
    // The sender here keeps its own name.
    assert_eq!(send(&server, "anna@example.test", "away@example.test", "Subject: sent on\r\n").0, 250);
    wait_for("the second copy", || {
        there("far.test/berta").iter().any(|copy| copy.contains("Path: <anna@example.test>"))
    });

    // Back, with its case lost; and nothing else that looks like it.
    assert_eq!(send(&server, "", &sender.to_uppercase(), "Subject: a bounce\r\n").0, 250);
    wait_for("the bounce", || !there("near.test/x").is_empty());
    let bounce = there("near.test/x").remove(0);
    assert!(bounce.contains("Subject: a bounce") && bounce.contains("Return-Path: <>"), "{bounce}");
    for (from, to) in [
        ("y@near.test", sender.clone()),
        ("", sender.replace("near.test", "evil.test")),
        ("", "SRS0=AAAAAAAA=AA=near.test=x@example.test".into()),
        ("", "SRS1=AAAAAAAA=near.test==x@example.test".into()),
    ] {
        let mut session = Session::open(server.port("mx")).expect("a session");
        session.command("EHLO me.test").expect("a reply");
        session.command(&format!("MAIL FROM:<{from}>")).expect("a reply");
        let reply = session.command(&format!("RCPT TO:<{to}>")).expect("a reply");
        assert_eq!(reply.code, 550, "{from} {to}: {reply:?}");
    }
}

/// Aliases of aliases name nobody twice, and what went round between servers is refused.
#[test]
fn aliases_end() {
    let file = shipped("aliases");
    let server = Rig::full()
        .tables(&format!(
            "[[plugin]]\nname = \"aliases\"\nfile = {file:?}\ngrants = {{ forwarding = [\"example.test\"] }}\n\
             [plugin.settings.aliases]\n\
             \"all@example.test\" = [\"info@example.test\", \"Anna@Example.test\", \"berta@example.test\"]\n\
             \"info@example.test\" = [\"anna@example.test\", \"all@example.test\"]\n\
             \"deep0@example.test\" = \"deep1@example.test\"\n{}\
             [[route]]\nrecipients = [\"*\"]\nplugins = [\"aliases\"]\n",
            (1..20).map(|n| format!("\"deep{n}@example.test\" = \"deep{}@example.test\"\n", n + 1)).collect::<String>()
        ))
        .start();
    assert_eq!(send(&server, "me@far.test", "all@example.test", "Subject: to all\r\n").0, 250);
    for mailbox in ["anna", "berta"] {
        wait_for(mailbox, || !texts(&server, mailbox).is_empty());
        // So that the alias knows it again, wherever it goes.
        let copy = texts(&server, mailbox).remove(0);
        assert!(copy.contains("\r\nDelivered-To: all@example.test\r\n"), "{copy}");
    }
    // The same message comes back from a server that this one sent it to.
    let (code, text) = send(&server, "me@far.test", "info@example.test", "Delivered-To: info@example.test\r\n");
    assert!(code == 550 && text.contains("5.4.6"), "{code} {text}");
    let (code, text) = send(&server, "me@far.test", "info+x@example.test", "Delivered-To: INFO@example.test\r\n");
    assert!(code == 550 && text.contains("5.4.6"), "{code} {text}");
    // Whoever has a mailbox may have been delivered to before: that is no loop.
    assert_eq!(send(&server, "me@far.test", "anna@example.test", "Delivered-To: anna@example.test\r\n").0, 250);
    wait_for("anna's second message", || texts(&server, "anna").len() == 2);

    // Too deep: a failure that the operator's policy answers, at RCPT.
    let mut session = Session::open(server.port("mx")).expect("a session");
    session.command("EHLO me.test").expect("a reply");
    session.command("MAIL FROM:<me@far.test>").expect("a reply");
    let reply = session.command("RCPT TO:<deep0@example.test>").expect("a reply");
    assert_eq!(reply.code, 451, "{reply:?}");

    assert_eq!((texts(&server, "anna").len(), texts(&server, "berta").len()), (2, 1));
    for mailbox in ["all", "info"] {
        assert!(texts(&server, mailbox).is_empty(), "{mailbox}");
    }
    assert!(server.queue().is_empty(), "{:#?}", server.queue());
}
