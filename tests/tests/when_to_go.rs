//! When mail is to go: FUTURERELEASE, DELIVERBY and MT-PRIORITY in a real server, said by Python's smtplib.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use hermetic_tests::server::{Rig, Server, free_port};

/// Says MAIL with these options, RCPT and DATA; prints the reply to MAIL.
const CLIENT: &str = r#"
import smtplib, sys
port, source, login, sender, to, options = sys.argv[1:]
with smtplib.SMTP("127.0.0.1", int(port), source_address=(source, 0)) as smtp:
    smtp.ehlo("client.example")
    if login:
        smtp.login(login, "secret")
        smtp.ehlo("client.example")
    code, text = smtp.mail(sender, options.split())
    print(code, text.decode())
    assert code == 250, (code, text)
    code, text = smtp.rcpt(to)
    assert code == 250, (code, text)
    code, text = smtp.data(f"From: {sender}\r\nTo: {to}\r\nSubject: in time\r\n\r\nHello\r\n")
    assert code == 250, (code, text)
"#;

struct Client<'a> {
    server: &'a Server,
    kind: &'a str,
    source: &'a str,
    login: &'a str,
}

impl Client<'_> {
    fn send(&self, to: &str, options: &str) -> String {
        let port = self.server.port(self.kind).to_string();
        let out = Command::new("python3")
            .args(["-c", CLIENT, &port, self.source, self.login, "anna@example.test", to, options])
            .output()
            .expect("python3");
        assert!(out.status.success(), "{to} {options}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("UTF-8").trim().to_owned()
    }
}

fn by(server: &Server) -> Client<'_> {
    Client { server, kind: "mx", source: "127.0.0.1", login: "" }
}

#[track_caller]
fn wait_for(what: &str, server: &Server, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < end, "never: {what}\n{:#?}", server.queue());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn mail_is_held_until_its_time_even_over_a_restart() {
    let mut server =
        Rig::new().listener("submission", "auth-without-tls = true").listener("mx", "").user("anna", "secret").start();
    let began = Instant::now();
    let user = Client { server: &server, kind: "submission", source: "127.0.0.1", login: "anna" };
    user.send("held@example.test", "HOLDFOR=4");
    user.send("now@example.test", "");
    wait_for("what is not held", &server, || server.maildir("now").messages().len() == 1);
    let queue = server.queue();
    assert_eq!(queue.len(), 1, "{queue:#?}");
    assert!(queue[0]["reason"].as_str().is_some_and(|why| why.starts_with("held until 20")), "{queue:#?}");
    server.kill();
    server.start_again();
    wait_for("what was held", &server, || server.maildir("held").messages().len() == 1);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(4), "after {waited:?}");
    assert!(server.queue().is_empty());
}

#[test]
fn higher_priorities_go_first_and_strangers_have_none() {
    let server = Rig::new()
        .listener("mx", "")
        .tables("[relay]\npriority-from = [\"127.0.0.1\"]\n[queue]\nhold = true\n")
        .start();
    let stranger = Client { source: "127.0.0.2", ..by(&server) };
    assert_eq!(by(&server).send("low@example.test", "MT-PRIORITY=-4"), "250 2.1.0 Sender ok");
    assert_eq!(stranger.send("none@example.test", "MT-PRIORITY=9"), "250 2.3.6 0 is the new priority of the message");
    assert_eq!(by(&server).send("usual@example.test", ""), "250 2.1.0 Sender ok");
    assert_eq!(by(&server).send("some@example.test", "MT-PRIORITY=3"), "250 2.1.0 Sender ok");
    assert_eq!(by(&server).send("high@example.test", "MT-PRIORITY=9"), "250 2.1.0 Sender ok");
    let config = fs::read_to_string(server.config()).expect("the configuration");
    fs::write(server.config(), config.replace("[queue]\nhold = true", "[queue]\nhold = false")).expect("written");
    assert!(server.reload().contains("reloaded"), "{}", server.log());
    wait_for("all five", &server, || server.queue().is_empty());
    let log = server.log();
    let mut order: Vec<_> = ["high", "some", "none", "usual", "low"]
        .map(|name| {
            let delivered =
                log.lines().position(|line| line.contains(" delivered") && line.contains(&format!("{name}@")));
            (delivered.unwrap_or_else(|| panic!("{name}:\n{log}")), name)
        })
        .into();
    order.sort_unstable();
    let order: Vec<_> = order.into_iter().map(|(_, name)| name).collect();
    assert_eq!(order, ["high", "some", "none", "usual", "low"]);
}

#[test]
fn what_must_be_delivered_in_time_comes_back_or_is_told_of() {
    let far = Rig::new().listener("mx", "").tables("[[domain]]\nname = \"far.test\"\nmailboxes = [\"*\"]").start();
    let (port, dead) = (far.port("mx"), free_port());
    let tables = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\n[outbound]\nconnections = 2\n\
         [[destination]]\ndomains = [\"far.test\"]\nhosts = [\"127.0.0.1:{port}\"]\n\
         [[destination]]\ndomains = [\"plain.test\"]\nhosts = [\"127.0.0.1:{port}\"]\nignore = [\"DELIVERBY\"]\n\
         [[destination]]\ndomains = [\"dead.test\"]\nhosts = [\"127.0.0.1:{dead}\"]\n"
    );
    let near = Rig::new().listener("mx", "").tables(&tables).start();
    let began = Instant::now();
    by(&near).send("a@dead.test", "BY=2;R");
    by(&near).send("b@dead.test", "BY=2;N");
    by(&near).send("c@far.test", "BY=60;R");
    by(&near).send("d@plain.test", "BY=60;R");
    let notices = || -> Vec<String> {
        let all = near.maildir("anna").messages();
        all.iter().map(|notice| String::from_utf8_lossy(notice).into_owned()).collect()
    };
    let told = |to: &str, words: &[&str]| {
        notices().iter().any(|notice| {
            notice.contains(&format!("Final-Recipient: rfc822;{to}\r\n"))
                && notice.contains("\r\nDeliver-By-Date: ")
                && words.iter().all(|word| notice.contains(&format!("\r\n{word}\r\n")))
        })
    };
    wait_for("the return", &near, || told("a@dead.test", &["Action: failed", "Status: 5.4.7"]));
    assert!(began.elapsed() >= Duration::from_secs(2), "too early");
    wait_for("the news of delay", &near, || told("b@dead.test", &["Action: delayed", "Status: 4.4.7"]));
    wait_for("the refusal to relay", &near, || told("d@plain.test", &["Action: failed", "Status: 5.3.3"]));
    wait_for("the copy", &near, || {
        fs::read_dir(far.data().join("mail/far.test/c/new")).is_ok_and(|all| all.count() == 1)
    });
    let queue = near.queue();
    assert!(queue.len() == 1 && queue[0]["recipient"] == "b@dead.test", "{queue:#?}");
    assert_eq!(notices().len(), 3, "{:#?}", notices());
}
