//! What it is told, how it starts and ends, and what it promises with 250.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

use hermetic_tests::message::Message;
use hermetic_tests::session::Session;

use crate::program::{Standalone, programs, wasmtime};

const DOMAIN: [&str; 4] = ["--domain", "example.test", "--name", "mx.example.test"];

/// It ends with 1 and this sentence.
fn refused(options: &[&str], arguments: &[&str], expected: &str) {
    let Some(mut command) = wasmtime(options, None) else { return };
    let output = command.args(arguments).output().expect("wasmtime");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
    assert!(told.starts_with("hermetic-standalone: ") && told.contains(expected), "{arguments:?} gave {told:?}");
    assert_eq!(told.lines().count(), 1, "one sentence: {told}");
}

#[test]
fn bad_arguments_get_a_sentence() {
    let network = ["-S", "inherit-network"];
    refused(&network, &[], "an address to listen on is expected");
    refused(&network, &["2525"], "--domain is expected at least once");
    refused(&network, &["nowhere:25", "--domain", "a.test"], "is no address to listen on");
    refused(&network, &["2525", "--domain", "a.test", "--limit", "recipients=many"], "a number from 1 to 10000");
    refused(&[], &["0", "--domain", "a.test"], "wasmtime run -S inherit-network");
    refused(&network, &["192.0.2.1:0", "--domain", "a.test"], "no address of this machine");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    refused(&network, &[&address, "--domain", "a.test"], "somebody else does already");
}

#[test]
fn help_is_a_page() {
    let Some(mut command) = wasmtime(&[], None) else { return };
    let output = command.arg("--help").output().expect("wasmtime");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("--domain DOMAIN"), "{told}");
    assert!(told.lines().all(|line| line.chars().count() <= 100), "{told}");
}

#[test]
fn mail_for_other_domains_is_refused() {
    if programs().is_none() {
        return;
    }
    let server = Standalone::start(&DOMAIN).expect("a server");
    let mut session = Session::open(server.port).expect("a greeting");
    let mut check = |command: &str, code: u16| {
        let reply = session.command(command).expect("a reply");
        assert_eq!(reply.code, code, "{command}: {reply:?}");
    };
    check("EHLO a.test", 250);
    // Not offered, and not to be had: what follows is read as plain commands.
    check("STARTTLS", 502);
    check("AUTH PLAIN AGEAYg==", 502);
    check("XCLIENT ADDR=192.0.2.1", 502);
    check("MAIL FROM:<a@a.test>", 250);
    check("RCPT TO:<b@other.test>", 550);
    check("RCPT TO:<b@sub.example.test>", 550);
    check("RCPT TO:<b@[127.0.0.1]>", 550);
    check("RCPT TO:<b@EXAMPLE.test>", 250);
    check("RCPT TO:<postmaster>", 250);
    check("NOOP", 250);
}

#[test]
fn at_the_end_messages_are_finished() {
    if programs().is_none() {
        return;
    }
    let mut server = Standalone::keeping(&[&DOMAIN[..], &["--until-eof"]].concat()).expect("a server");
    let mut idle = server.connect();
    let mut busy = Session::open(server.port).expect("a greeting");
    for command in ["EHLO a.test", "MAIL FROM:<a@a.test>", "RCPT TO:<b@example.test>", "DATA"] {
        assert!(busy.command(command).expect("a reply").code < 400, "{command}");
    }
    drop(server.input.take());
    let mut said = String::new();
    idle.read_to_string(&mut said).expect("text");
    assert!(said.ends_with("\r\n421 4.3.2 mx.example.test is shutting down\r\n"), "{said}");
    let message = Message::seven_bit();
    busy.write(&[&message.stuffed()[..], b".\r\n"].concat()).expect("it is read");
    assert_eq!(busy.reply().expect("a reply").code, 250);
    assert_eq!(busy.reply().expect("a reply").code, 421);
    assert_eq!(server.ended(), Some(0));
    server.maildir().one(&message.token);
    assert!(server.line().contains("kept=new/"));
}

#[test]
fn what_was_accepted_outlives_a_kill() {
    if programs().is_none() {
        return;
    }
    let mut server = Standalone::keeping(&DOMAIN).expect("a server");
    let mut session = Session::open(server.port).expect("a greeting");
    session.command("EHLO a.test").expect("a reply");
    let messages: Vec<Message> = (0..5).map(|_| Message::eight_bit()).collect();
    for message in &messages {
        let reply = session.send("a@a.test", &["b@example.test".into()], message).expect("a reply");
        assert_eq!(reply.code, 250);
    }
    server.kill();
    for message in &messages {
        server.maildir().one(&message.token);
    }
}

#[test]
fn what_can_not_be_kept_is_not_accepted() {
    if programs().is_none() {
        return;
    }
    let server = Standalone::keeping(&DOMAIN).expect("a server");
    let mut session = Session::open(server.port).expect("a greeting");
    session.command("EHLO a.test").expect("a reply");
    let mut send = |code: u16| {
        let message = Message::seven_bit();
        let reply = session.send("a@a.test", &["b@example.test".into()], &message).expect("a reply");
        assert_eq!(reply.code, code, "{reply:?}");
        message
    };
    send(250);
    // The folder that the server has open is gone, and no file can be made in it.
    std::fs::remove_dir(server.folder().join("tmp")).expect("tmp is empty");
    send(451);
    assert!(server.line().contains("kept=new/"));
    let line = server.line();
    assert!(line.contains(" not kept: "), "{line}");
}

#[test]
fn a_full_disk_is_said_and_left_clean() {
    if programs().is_none() {
        return;
    }
    let disk = tempfile::tempdir().expect("a folder");
    let Some(_mounted) = Small::mount(disk.path()) else {
        return eprintln!("skipped: no disk can be mounted here");
    };
    let small = Standalone::keeping_in(disk.path(), &DOMAIN).expect("a server");
    let mut session = Session::open(small.port).expect("a greeting");
    session.command("EHLO a.test").expect("a reply");
    let mut send = |octets: usize| {
        let message = Message::sealed(&hermetic_tests::message::token(), octets);
        session.send("a@a.test", &["b@example.test".into()], &message).expect("a reply")
    };
    let reply = send(1_000_000);
    assert_eq!((reply.code, reply.lines[0].starts_with("4.3.1 ")), (452, true), "{reply:?}");
    assert_eq!(std::fs::read_dir(disk.path().join("tmp")).expect("tmp").count(), 0);
    assert_eq!(send(10_000).code, 250);
    drop(small);
}

/// A disk of 300 KiB, in memory.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(place: &std::path::Path) -> Option<Self> {
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=300k", "none"]).arg(place).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success()).then(|| Self(place.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: a server that a failed test left behind may still be there.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn folders_are_checked_at_the_start() {
    let Some(command) = wasmtime(&["-S", "inherit-network"], None) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("new"), "a file").expect("a file");
    let component = command.get_args().last().expect("the component").to_owned();
    let mut command = std::process::Command::new(command.get_program());
    command.args(["run", "-S", "inherit-network", "--dir"]).arg(format!("{}::mail", folder.path().display()));
    let output = command.arg(component).arg("0").args(DOMAIN).output().expect("wasmtime");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("messages can not be kept in mail/new"), "{told}");
}

#[test]
fn version_six_of_the_internet_protocol_is_spoken() {
    let Some(mut command) = wasmtime(&["-S", "inherit-network"], None) else { return };
    let Ok(free) = TcpListener::bind("[::1]:0") else {
        return eprintln!("skipped: there is no ::1 here");
    };
    let address = free.local_addr().expect("an address");
    drop(free);
    command.arg(address.to_string()).args(DOMAIN).arg("--until-eof");
    let mut child = command.stdin(Stdio::piped()).spawn().expect("wasmtime");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let mut stream = loop {
        match std::net::TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) => assert!(std::time::Instant::now() < end, "{error}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    stream.write_all(b"QUIT\r\n").expect("it is read");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("text");
    assert_eq!(said, "220 mx.example.test ESMTP\r\n221 2.0.0 Bye\r\n");
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());
}
