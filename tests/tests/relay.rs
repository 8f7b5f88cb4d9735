//! Mail from one server to another: by the sealed client, inside TLS, and back as a notice where it is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hermetic_tests::server::{Rig, Server};
use hermetic_tests::session::Session;

/// Takes mail for `far.test`.
fn far() -> Server {
    Rig::new()
        .listener("mx", "")
        .tables("[[domain]]\nname = \"far.test\"\nmailboxes = [\"berta\", \"carl\", \"postmaster\"]")
        .start()
}

/// Sends it there.
fn near(far: &Server) -> Server {
    near_with(far, "")
}

/// The same with more keys for that destination.
fn near_with(far: &Server, more: &str) -> Server {
    let tables = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\n[queue]\nretry-first = 1\nretry-most = 2\n[outbound]\nconnections = 2\n\
         [[destination]]\ndomains = [\"far.test\"]\nhosts = [\"127.0.0.1:{}\"]\n{more}",
        far.port("mx")
    );
    Rig::new().listener("mx", "").tables(&tables).start()
}

/// All messages below a folder's Maildirs.
fn messages(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries.map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            found.extend(messages(&entry));
        } else if entry.parent().and_then(Path::file_name).is_some_and(|name| name == "new") {
            found.push(String::from_utf8_lossy(&fs::read(&entry).expect("a message")).into_owned());
        }
    }
    found
}

fn send(server: &Server, parameters: &str, recipients: &[&str], content: &str) {
    let mut session = Session::open(server.port("mx")).expect("a session");
    let mut say = |line: &str, code: u16| {
        let reply = session.command(line).expect("a reply");
        assert_eq!(reply.code, code, "{line}: {reply:?}");
    };
    say("EHLO me.test", 250);
    say(&format!("MAIL FROM:<anna@example.test>{parameters}"), 250);
    for to in recipients {
        say(&format!("RCPT TO:<{to}>"), 250);
    }
    say("DATA", 354);
    session.write(content.as_bytes()).expect("written");
    session.write(b".\r\n").expect("written");
    assert_eq!(session.reply().expect("a reply").code, 250);
}

fn wait_for(what: &str, servers: [&Server; 2], mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !so() {
        let [near, far] = servers;
        assert!(Instant::now() < end, "never: {what}\n{}\n{}\n{:#?}", near.log(), far.log(), near.queue());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What is held because nothing is to leave goes when it may, without another start.
#[test]
fn what_was_held_goes_once_mail_may_leave() {
    let far = far();
    let tables = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\n[outbound]\nhold = true\n\
         [[destination]]\ndomains = [\"far.test\"]\nhosts = [\"127.0.0.1:{}\"]\n",
        far.port("mx")
    );
    let near = Rig::new().listener("mx", "").tables(&tables).start();
    send(&near, "", &["berta@far.test"], "Subject: held\r\n\r\n");
    wait_for("it is held", [&near, &far], || near.queue().iter().any(|line| line["state"] == "held"));
    let config = fs::read_to_string(near.config()).expect("the configuration");
    fs::write(near.config(), config.replace("hold = true", "hold = false")).expect("written");
    assert!(near.reload().contains("reloaded"), "{}", near.log());
    wait_for("it goes", [&near, &far], || messages(far.data()).len() == 1 && near.queue().is_empty());
}

#[test]
fn mail_reaches_another_server_and_refusals_come_back() {
    let far = far();
    let near = near(&far);
    let body = format!("..dots\r\n{}", "a line of some length\r\n".repeat(20_000));
    let content = format!("From: anna@example.test\r\nSubject: there\r\n\r\n{body}");
    send(&near, "", &["berta@far.test", "nobody@far.test", "carl@far.test", "noone@far.test"], &content);
    wait_for("two copies", [&near, &far], || messages(far.data()).len() == 2);
    for copy in messages(far.data()) {
        let sent = body.replacen("..", ".", 1);
        assert!(copy.ends_with(&sent), "{} octets: {:?}", copy.len(), copy.chars().take(600).collect::<String>());
        assert!(
            copy.contains("Return-Path: <anna@example.test>") && copy.contains("with ESMTPS"),
            "{:?}",
            &copy[..400]
        );
    }
    wait_for("a notice", [&near, &far], || near.maildir("anna").messages().len() == 1);
    let notice = String::from_utf8_lossy(&near.maildir("anna").messages()[0]).into_owned();
    for words in [
        "multipart/report",
        "Final-Recipient: rfc822;nobody@far.test\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; [127.0.0.1]\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 There is no such mailbox here.\r\nLast-Attempt-Date: ",
        "Final-Recipient: rfc822;noone@far.test\r\nAction: failed\r\n",
    ] {
        assert!(notice.contains(words), "{words:?} in:\n{notice}");
    }
    assert!(near.queue().is_empty(), "{:#?}", near.queue());
    assert_eq!(near.log().matches(" relayed").count(), 2, "{}", near.log());
}

#[test]
fn a_server_that_is_gone_for_a_while_gets_its_mail_later() {
    let mut far = far();
    let near = near(&far);
    far.kill();
    send(&near, "", &["berta@far.test"], "From: anna@example.test\r\nSubject: later\r\n\r\nHello\r\n");
    wait_for("a first attempt", [&near, &far], || near.log().contains("deferred"));
    far.start_again();
    wait_for("the copy", [&near, &far], || messages(far.data()).len() == 1 && near.queue().is_empty());
}

#[test]
fn who_is_gone_is_left_alone_until_one_message_gets_through() {
    let mut far = far();
    let near = near(&far);
    far.kill();
    let content = "From: anna@example.test\r\nSubject: later\r\n\r\nHello\r\n";
    for _ in 0..20 {
        send(&near, "", &["berta@far.test"], content);
    }
    let resting = |queue: &[serde_json::Value]| {
        let rests = |entry: &&serde_json::Value| {
            entry["reason"].as_str().is_some_and(|why| why.contains("nobody else tries") && why.contains("refused"))
        };
        queue.iter().filter(rests).count()
    };
    wait_for("a rest", [&near, &far], || resting(&near.queue()) >= 10);
    let attempts: u64 = near.queue().iter().filter_map(|entry| entry["attempts"].as_u64()).sum();
    assert!((3..20).contains(&attempts), "{attempts} attempts of 20 messages\n{}", near.log());
    assert!(near.log().contains("mail for it waits"), "{}", near.log());
    far.start_again();
    wait_for("all copies", [&near, &far], || messages(far.data()).len() == 20 && near.queue().is_empty());
}

#[test]
fn a_rate_and_the_messages_of_a_connection_are_kept() {
    let far = far();
    let tables = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\n[outbound]\nconnections = 1\n\
         [[destination]]\ndomains = [\"far.test\"]\nhosts = [\"127.0.0.1:{}\"]\nrate = \"4/s\"\n\
         messages-per-connection = 3\n",
        far.port("mx")
    );
    let near = Rig::new().listener("mx", "").tables(&tables).start();
    let began = Instant::now();
    for _ in 0..12 {
        send(&near, "", &["berta@far.test"], "From: anna@example.test\r\nSubject: one\r\n\r\nHello\r\n");
    }
    wait_for("all copies", [&near, &far], || messages(far.data()).len() == 12 && near.queue().is_empty());
    // Four at once, and eight more at four a second.
    assert!(began.elapsed() >= Duration::from_millis(1900), "too fast: {:?}", began.elapsed());
    // One more looked whether it was there.
    let opened = far.log().matches("session opened").count();
    assert!(opened >= 5, "at most three messages a connection: {}", far.log());
}

/// A server that takes neither 8 bits nor binary content gets it in another form; what is signed comes back as it is.
#[test]
fn content_in_another_form() {
    let far = far();
    let near = near_with(&far, "ignore = [\"8BITMIME\", \"BINARYMIME\", \"CHUNKING\"]\n");
    let long = "word ".repeat(300);
    let parts = |kind: &str| {
        format!(
            "From: anna@example.test\r\nSubject: there\r\nMIME-Version: 1.0\r\nContent-Type: multipart/{kind}; boundary=b\r\n\
             Content-Transfer-Encoding: 8bit\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrün\r\n--b\r\n\
             Content-Type: application/x-y\r\nContent-Transfer-Encoding: 8bit\r\n\r\nÄ{long}\r\n--b--\r\n"
        )
    };
    send(&near, " BODY=8BITMIME", &["berta@far.test"], &parts("mixed").replace(&long, "BC"));
    wait_for("the copy", [&near, &far], || messages(far.data()).len() == 1);
    let copy = messages(far.data()).remove(0);
    for words in [
        "with ESMTPS",
        "boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n\r\n--b\r\n",
        "charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BCn\r\n--b\r\n",
        "x-y\r\nContent-Transfer-Encoding: base64\r\n\r\nw4RCQw==\r\n--b--\r\n",
    ] {
        assert!(copy.contains(words), "{words:?} in:\n{copy}");
    }
    send(&near, " BODY=8BITMIME", &["carl@far.test"], &parts("signed").replace(&long, "BC"));
    wait_for("a notice", [&near, &far], || near.maildir("anna").messages().len() == 1);
    let notice = String::from_utf8_lossy(&near.maildir("anna").messages()[0]).into_owned();
    for words in ["Status: 5.6.3", "multipart/signed must not be", "Remote-MTA: dns; [127.0.0.1]"] {
        assert!(notice.replace("\r\n ", " ").contains(words), "{words:?} in:\n{notice}");
    }
}
