//! `hermetic queue` and the admin API below it, with a real server: what operators see and do.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hermetic_tests::server::{Rig, Server, binary, free_port};
use hermetic_tests::session::Session;
use serde_json::Value;

/// What a command wrote, and whether it did what it should.
struct Done {
    well: bool,
    code: Option<i32>,
    out: String,
    err: String,
}

/// `hermetic queue …`, without a terminal.
fn queue(server: &Server, arguments: &[&str]) -> Done {
    let done = Command::new(binary(&[]))
        .arg("queue")
        .args(arguments)
        .arg("--config")
        .arg(server.config())
        .env("USER", "anna")
        .env_remove("SUDO_USER")
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let text = |octets| String::from_utf8_lossy(octets).into_owned();
    Done { well: done.status.success(), code: done.status.code(), out: text(&done.stdout), err: text(&done.stderr) }
}

fn well(server: &Server, arguments: &[&str]) -> String {
    let done = queue(server, arguments);
    assert!(done.well, "{arguments:?}: {}{}", done.out, done.err);
    done.out
}

/// Its exit code where nobody reads what it writes.
fn unread(server: &Server, arguments: &[&str]) -> Option<i32> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(binary(&[]));
    command.arg("queue").args(arguments).arg("--config").arg(server.config()).stdin(Stdio::null()).stdout(writer);
    command.status().expect("it starts").code()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// One message; its id.
fn send(server: &Server, sender: &str, recipients: &[&str], content: &str) -> String {
    let mut session = Session::open(server.port("mx")).expect("a session");
    let mut say = |line: &str, code: u16| {
        let reply = session.command(line).expect("a reply");
        assert_eq!(reply.code, code, "{line}: {reply:?}");
    };
    say("EHLO me.test", 250);
    say(&format!("MAIL FROM:<{sender}>"), 250);
    for to in recipients {
        say(&format!("RCPT TO:<{to}>"), 250);
    }
    say("DATA", 354);
    session.write(content.as_bytes()).expect("written");
    session.write(b"\r\n.\r\n").expect("written");
    let reply = session.reply().expect("a reply");
    assert_eq!(reply.code, 250, "{reply:?}");
    let words = reply.lines.join(" ");
    words.split(' ').find(|word| word.len() == 26).unwrap_or_else(|| panic!("no id in {words}")).to_owned()
}

fn wait_for(server: &Server, what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < end, "never: {what}\n{}\n{}", server.log(), queue(server, &["list"]).out);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One request to the API as any HTTP client would make it.
fn http(server: &Server, request: &str) -> String {
    let mut stream = UnixStream::connect(server.data().join("admin/socket")).expect("the socket");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Mail for `far.test` goes to a port where nobody answers until the test does.
fn server(port: u16) -> Server {
    let tables = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\n[queue]\nretry-first = 3600\n[outbound]\nconnections = 2\n\
         [[destination]]\ndomains = [\"far.test\"]\nhosts = [\"127.0.0.1:{port}\"]\n"
    );
    Rig::new().listener("mx", "").tables(&tables).start()
}

fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

#[test]
fn an_operator_sees_and_changes_the_queue() {
    let mut far = Rig::new().listener("mx", "").tables("[[domain]]\nname = \"far.test\"\nmailboxes = [\"*\"]").start();
    far.kill();
    let mut server = server(far.port("mx"));
    let deferred = |id: &str| {
        wait_for(&server, "an attempt that failed", || {
            let found = lines(&well(&server, &["list", "--message", id, "--json"]));
            !found.is_empty() && found.iter().all(|entry| entry["attempts"] == 1 && entry["state"] == "queued")
        });
    };
    let large = format!("Subject: large\r\n\r\n..{}", "From a line of some length\r\n".repeat(10_000));
    let first = send(&server, "anna@example.test", &["b@far.test", "c@far.test"], &large);
    let second = send(&server, "carl@example.test", &["d@far.test"], "Subject: second\r\n\r\nFrom here");
    deferred(&first);
    deferred(&second);

    // What is seen, and by which filter.
    for (filters, expected) in [
        (&[][..], 3),
        (&["--sender", "anna@example.test"], 2),
        (&["--recipient", "D@FAR.test"], 1),
        (&["--domain", "far.test", "--message", &second], 1),
        (&["--domain", "else.test"], 0),
        (&["--state", "held"], 0),
        (&["--newer-than", "1h", "--reason-has", "refused"], 3),
        (&["--older-than", "1h"], 0),
        (&["--limit", "2"], 2),
        (&["--after", &format!("{first}.0")], 2),
    ] {
        let found = lines(&well(&server, &[&["list", "--json"], filters].concat()));
        assert_eq!(found.len(), expected, "{filters:?}: {found:#?}");
    }
    let shown = well(&server, &["show", &first]);
    for words in ["from      anna@example.test", "Subject: large", "c@far.test", "Received: from me.test", "1 attempt"]
    {
        assert!(shown.contains(words), "{words:?} in:\n{shown}");
    }

    // Octet for octet, and in bulk.
    let stored = well(&server, &["export", &first]);
    assert!(stored.ends_with(&format!("{}\r\n", large.replacen("..", ".", 1))), "{} octets", stored.len());
    assert!(stored.contains("Received: from me.test"));
    let folder = server.folder().join("out");
    let to = folder.display().to_string();
    assert_eq!(well(&server, &["export", "--all", "--to", &to]), "2 messages written.\n");
    assert_eq!(fs::read_to_string(folder.join(format!("{first}.eml"))).expect("a file"), stored);
    assert!(queue(&server, &["export", "--all", "--to", &to]).err.contains("exists"), "files are not replaced");
    let mbox = server.folder().join("out.mbox").display().to_string();
    let written = lines(&well(&server, &["export", "--all", "--mbox", &mbox, "--json"]));
    assert_eq!((written.len(), written[0]["octets"].as_u64()), (2, Some(stored.len() as u64)));
    let mbox = fs::read_to_string(mbox).expect("a file");
    assert_eq!(mbox.matches("\n>From a line").count(), 9_999, "the first is no line of its own");
    assert!(mbox.starts_with("From anna@example.test ") && mbox.contains("\n\nFrom carl@example.test "));

    // Named by its id it is the same message, from the same sender and of the same day.
    let one = server.folder().join("one.mbox").display().to_string();
    assert_eq!(well(&server, &["export", &second, "--mbox", &one]), "1 message written.\n");
    let one = fs::read_to_string(one).expect("a file");
    assert!(one.starts_with("From carl@example.test ") && mbox.ends_with(&one), "{one}");
    let parts =
        |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").path().extension() == Some("part".as_ref());
    assert!(![&folder, server.folder()].iter().any(|folder| fs::read_dir(folder).expect("a folder").any(parts)));

    // What makes no sense is told from what can not be done.
    for (arguments, code) in [
        (&["list", "--limit", "0"][..], 2),
        (&["list", "--after", "x"], 2),
        (&["list", "--message", "x"], 2),
        (&["hold", "x", "--reason", "odd"], 2),
        (&["hold", &first, "--reason", " "], 2),
        (&["hold", "--reason", "odd"], 2),
        (&["drop", "--all", "--reason", "odd"], 2),
        (&["export", &first, "--json"], 2),
        (&["export", "--all"], 2),
        (&["export", "--all", "--to", &to], 1),
        (&["release", "01M8756VKN000395ZBJ89VS1ZC"], 1),
        (&["why", "01M8756VKN000395ZBJ89VS1ZC"], 1),
    ] {
        let done = queue(&server, arguments);
        assert_eq!(done.code, Some(code), "{arguments:?}: {}{}", done.out, done.err);
    }

    // Held: a retry does not let it go, a release does.
    let hold = ["hold", "--message", &first, "--reason", "looks odd"];
    let out = queue(&server, &hold);
    assert!(!out.well && out.err.contains("2 entries; add --yes to hold"), "{}", out.err);
    assert_eq!(well(&server, &[&hold[..], &["--yes"]].concat()), "2 entries held.\n");
    let held = lines(&well(&server, &["list", "--state", "held", "--json"]));
    let by = format!("anna (uid {})", rustix::process::getuid().as_raw());
    let reason = held[0]["reason"].as_str().expect("a reason");
    assert!(held.len() == 2 && reason.starts_with(&format!("held by {by}: looks odd; last said: ")), "{held:#?}");
    let out = queue(&server, &["retry", &first]);
    assert!(
        !out.well && out.out.contains("is held") && out.err.contains("2 entries left as"),
        "{}{}",
        out.out,
        out.err
    );

    // Dropped, with a word for whoever asks later.
    let dropped = format!("{first}.0");
    assert_eq!(well(&server, &["drop", &dropped, "--reason", "a test"]), format!("{dropped}: dropped\n"));
    for command in [&["why", &first][..], &["queue", "why", &first]] {
        let why = server.run(command, "");
        assert!(why.contains(&format!("b@far.test: dropped by {by}: a test")), "{command:?}: {why}");
    }

    // Where nobody could be reached for several times, nobody else tries; an operator may.
    for name in ["x", "y", "z"] {
        send(&server, "anna@example.test", &[&format!("{name}@far.test")], "Subject: one more\r\n\r\n");
        std::thread::sleep(Duration::from_millis(150));
    }
    wait_for(&server, "a rest", || server.log().contains("mail for it waits for"));

    // The other side comes up: what is released arrives there, what is retried too.
    far.start_again();
    assert_eq!(well(&server, &["release", &first]), format!("{first}.1: released\n"));
    assert_eq!(well(&server, &["retry", "--sender", "carl@example.test", "--yes"]), "1 entry due now.\n");
    let maildir = |name: &str| far.data().join("mail/far.test").join(name).join("new");
    let copies = |name: &str| fs::read_dir(maildir(name)).map_or(0, Iterator::count);
    wait_for(&server, "two copies", || copies("c") == 1 && copies("d") == 1);
    assert_eq!(copies("b"), 0);
    let many = well(&server, &["retry", "--all", "--yes"]);
    assert!(many.starts_with("3 entries due now"), "{many}");
    wait_for(&server, "all to be gone", || lines(&well(&server, &["list", "--json"])).is_empty());

    // Without the server it is still seen, and what to do is said.
    let third = send(&server, "anna@example.test", &["e@example.test"], "Subject: third\r\n\r\n");
    wait_for(&server, "a local delivery", || server.maildir("e").messages().len() == 1);
    server.stop();
    assert!(!server.data().join("admin/socket").exists(), "the socket goes with the server");
    assert_eq!(well(&server, &["list"]), "The queue is empty.\n");
    assert!(well(&server, &["why", &first]).contains("dropped by anna"));
    let out = queue(&server, &["retry", &third]);
    let start = format!("`hermetic serve --config {}`", server.config().display());
    assert!(!out.well && out.err.contains("no server answers at unix:") && out.err.contains(&start), "{}", out.err);
}

#[test]
fn the_api_wants_its_token_and_bounces_tell_the_sender() {
    let server = server(closed_port());
    let token = fs::read_to_string(server.data().join("admin/token")).expect("the token");
    let mode = fs::metadata(server.data().join("admin/token")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let right = format!("Authorization: Bearer {}\r\n", token.trim());
    for (authorization, code) in [("", "401"), ("Authorization: Bearer wrong\r\n", "401"), (right.as_str(), "200")] {
        let answer = http(&server, &format!("GET /v1/queue HTTP/1.1\r\nHost: x\r\n{authorization}\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{authorization:?}: {answer}");
    }
    assert!(http(&server, "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n").contains("\"openapi\": \"3.1.0\""));
    assert_eq!(server.log().matches("admin refused").count(), 2, "{}", server.log());

    let id = send(&server, "anna@example.test", &["b@far.test"], "Subject: back\r\n\r\nbody");
    wait_for(&server, "an attempt", || server.log().contains(" deferred"));
    // Nobody reads what came of it: it is done all the same, and says so. What only shows something is content with that.
    assert_eq!(unread(&server, &["hold", &id, "--reason", "odd"]), Some(1));
    assert_eq!(lines(&well(&server, &["list", "--state", "held", "--json"])).len(), 1);
    assert_eq!(unread(&server, &["list"]), Some(0));
    let out = well(&server, &["drop", &id, "--reason", "no such mail", "--bounce"]);
    assert!(out.contains(": dropped"), "{out}");
    wait_for(&server, "a notice", || server.maildir("anna").messages().len() == 1);
    let notice = String::from_utf8_lossy(&server.maildir("anna").messages()[0]).into_owned();
    for words in ["Action: failed", "Status: 5.7.1", "refused by the operator: no such mail"] {
        assert!(notice.contains(words), "{words:?} in:\n{notice}");
    }
    wait_for(&server, "an empty queue", || well(&server, &["list"]) == "The queue is empty.\n");
    let log = server.log();
    assert!(log.contains("queue changed operation=\"bounce\"") && log.contains("by=\"anna (uid "), "{log}");
}

/// On a port, too, the server's user is known, and is shown the token.
#[test]
fn the_api_on_a_port() {
    let tables = format!("[admin]\nlisten = \"127.0.0.1:{}\"\n", free_port());
    let server = Rig::new().listener("mx", "").tables(&tables).start();
    assert_eq!(well(&server, &["list"]), "The queue is empty.\n");
    let done = queue(&server, &["release", "01M8756VKN000395ZBJ89VS1ZC"]);
    assert!(done.code == Some(1) && done.out.contains("not in the queue"), "{}{}", done.out, done.err);
}
