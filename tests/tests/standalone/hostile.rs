//! Peers that mean harm, or do it: nobody else notices.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use hermetic_tests::message::Message;
use hermetic_tests::session::Session;

use crate::program::{Standalone, programs, wasmtime};

const DOMAIN: [&str; 4] = ["--domain", "example.test", "--name", "mx.example.test"];
/// Others may wait so long for a reply; machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(3);

fn started(more: &[&str]) -> Option<Standalone> {
    programs()?;
    Standalone::start(&[&DOMAIN[..], more].concat())
}

fn deliver(server: &Standalone, count: usize) {
    let mut session = Session::open(server.port).expect("a greeting");
    assert_eq!(session.command("EHLO client.example").expect("a reply").code, 250);
    for _ in 0..count {
        let reply = session.send("a@client.example", &["b@example.test".into()], &Message::seven_bit());
        assert_eq!(reply.expect("a reply").code, 250);
    }
    assert_eq!(session.command("QUIT").expect("a reply").code, 221);
}

/// The longest that another session waited for a reply while `harm` was done.
fn beside(server: &Standalone, harm: impl FnOnce() + Send) -> Duration {
    let mut session = Session::open(server.port).expect("a greeting");
    let mut longest = Duration::ZERO;
    std::thread::scope(|scope| {
        let harm = scope.spawn(harm);
        while !harm.is_finished() {
            let asked = Instant::now();
            assert_eq!(session.command("NOOP").expect("a reply").code, 250);
            longest = longest.max(asked.elapsed());
            std::thread::sleep(Duration::from_millis(20));
        }
        harm.join().expect("the harm is done");
    });
    deliver(server, 1);
    longest
}

/// Octets of memory that the runtime holds.
fn resident(server: &Standalone) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("a number") * 1024
}

#[test]
fn a_peer_that_never_reads_is_cut_off() {
    let Some(server) = started(&["--quiet", "--limit", "idle-commands=100000000", "--limit", "command-timeout=3000"])
    else {
        return;
    };
    let before = resident(&server);
    let longest = beside(&server, || {
        let mut stream = server.connect();
        let commands = b"HELP\r\n".repeat(10_000);
        let end = Instant::now() + Duration::from_secs(60);
        // It fails once the server has waited long enough.
        while stream.write_all(&commands).is_ok() {
            assert!(Instant::now() < end, "it is never cut off");
        }
    });
    assert!(longest < PATIENCE, "somebody else waited for {longest:?}");
    let more = resident(&server).saturating_sub(before);
    assert!(more < 64 << 20, "{more} octets more are held");
}

#[test]
fn an_endless_line_is_bounded() {
    let Some(server) = started(&["--quiet"]) else { return };
    let before = resident(&server);
    let longest = beside(&server, || {
        let mut stream = server.connect();
        let line = vec![b'A'; 1 << 20];
        for _ in 0..100 {
            if stream.write_all(&line).is_err() {
                break;
            }
        }
    });
    assert!(longest < PATIENCE, "somebody else waited for {longest:?}");
    let more = resident(&server).saturating_sub(before);
    assert!(more < 64 << 20, "{more} octets more are held");
}

#[test]
fn a_peer_that_never_pauses_leaves_time_for_others() {
    let Some(server) = started(&["--quiet", "--limit", "message-size=0"]) else { return };
    let longest = beside(&server, || {
        let mut session = Session::open(server.port).expect("a greeting");
        for command in ["EHLO client.example", "MAIL FROM:<>", "RCPT TO:<b@example.test>", "DATA"] {
            assert!(session.command(command).expect("a reply").code < 400);
        }
        let lines = b"0123456789012345678901234567890123456789012345678901234567890\r\n".repeat(16_384);
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            session.write(&lines).expect("it is read");
        }
        session.write(b".\r\n").expect("it is read");
        assert_eq!(session.reply().expect("a reply").code, 250);
    });
    assert!(longest < PATIENCE, "somebody else waited for {longest:?}");
}

#[test]
fn two_hundred_at_once_are_served() {
    let Some(server) = started(&["--quiet"]) else { return };
    // All are open before the first speaks.
    let open: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| deliver(&server, 3));
        }
    });
    for mut stream in open {
        stream.write_all(b"EHLO a.test\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\nQUIT\r\n").expect("it is read");
        stream.shutdown(Shutdown::Write).expect("our last word");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("text");
        assert!(said.starts_with("220 ") && said.ends_with("221 2.0.0 Bye\r\n"), "{said}");
        assert_eq!(said.matches("\r\n250 2.1.").count(), 2, "{said}");
    }
}

#[test]
fn one_too_many_is_told_so() {
    for bound in ["--sessions", "--sessions-per-client"] {
        let Some(server) = started(&["--quiet", bound, "3"]) else { return };
        let mut open: Vec<Session> = (0..3).map(|_| Session::open(server.port).expect("a greeting")).collect();
        let mut said = String::new();
        server.connect().read_to_string(&mut said).expect("text");
        assert_eq!(said, "421 4.3.2 Too many connections, please come again later\r\n", "{bound}");
        assert_eq!(open[0].command("QUIT").expect("a reply").code, 221);
        open.remove(0);
        let end = Instant::now() + PATIENCE;
        while Session::open(server.port).and_then(|mut session| session.command("NOOP")).is_err() {
            assert!(Instant::now() < end, "{bound}: the place is not given back");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn who_says_nothing_is_sent_away() {
    let Some(server) = started(&["--limit", "command-timeout=1500", "--limit", "data-timeout=700"]) else { return };
    let wait = |commands: &[u8], least: u64| {
        let mut stream = server.connect();
        stream.write_all(commands).expect("it is read");
        let start = Instant::now();
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("text");
        assert!(said.contains("\r\n421 4.4.2 "), "{said}");
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(least) && waited < Duration::from_secs(20), "{waited:?}");
    };
    wait(b"EHLO a.test\r\n", 1400);
    wait(b"HELO a.test\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\nDATA\r\nhalf a", 600);
}

#[test]
fn half_a_message_leaves_nothing() {
    if programs().is_none() {
        return;
    }
    let server = Standalone::keeping(&DOMAIN).expect("a server");
    for content in [b"half a message\r\n".to_vec(), b"much of a message\r\n".repeat(20_000)] {
        let mut stream = server.connect();
        stream.write_all(b"HELO a.test\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n").expect("it is read");
        stream.write_all(&content).expect("it is read");
        drop(stream);
    }
    let mut session = Session::open(server.port).expect("a greeting");
    let sent = session.send("a@client.example", &["b@example.test".into()], &Message::seven_bit());
    assert_ne!(sent.expect("a reply").code / 100, 2, "HELO comes first");
    assert_eq!(session.command("HELO a.test").expect("a reply").code, 250);
    let sent = session.send("a@client.example", &["b@example.test".into()], &Message::seven_bit());
    assert_eq!(sent.expect("a reply").code, 250);
    let end = Instant::now() + PATIENCE;
    while std::fs::read_dir(server.folder().join("tmp")).expect("tmp").count() > 0 {
        assert!(Instant::now() < end, "something is left in tmp");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.maildir().files().len(), 1);
}

#[test]
fn its_lines_have_no_reader_any_more_and_mail_goes_on() {
    let Some(mut command) = wasmtime(&["-S", "inherit-network"], None) else { return };
    command.arg("127.0.0.1:0").args(DOMAIN).arg("--until-eof");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("wasmtime");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    drop(output);
    let port = line.strip_prefix("listening on 127.0.0.1:").and_then(|rest| rest.split(' ').next());
    let port = port.and_then(|port| port.parse().ok()).expect("a port");
    let mut session = Session::open(port).expect("a greeting");
    assert_eq!(session.command("EHLO client.example").expect("a reply").code, 250);
    for _ in 0..20 {
        let sent = session.send("a@client.example", &["b@example.test".into()], &Message::seven_bit());
        assert_eq!(sent.expect("a reply").code, 250);
    }
    drop(session);
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());
}
