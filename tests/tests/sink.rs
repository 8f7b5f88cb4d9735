//! The example in Rust: short enough to be read, and a server.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use hermetic::engine::pool::COMPONENT;
use hermetic_tests::message::Message;
use hermetic_tests::programs::{command, program, run, scripts};
use hermetic_tests::server::profile_folder;

/// The most that "short" may be.
const LINES: usize = 80;

struct Sink {
    child: Child,
    output: BufReader<ChildStdout>,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn example() -> Command {
    let file = profile_folder().join("examples/sink");
    assert!(file.is_file(), "{} is missing: `cargo test --workspace` builds it", file.display());
    Command::new(file)
}

fn start() -> Sink {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = folder.path().join("engine.wasm");
    std::fs::write(&engine, COMPONENT).expect("the engine");
    let mut command = example();
    let mut child = command.arg(engine).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().expect("it starts");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    let port = line.trim_end().strip_prefix("listening on 127.0.0.1:").and_then(|port| port.parse().ok());
    Sink { child, output, port: port.unwrap_or_else(|| panic!("it said {line:?}")), _folder: folder }
}

#[test]
fn it_is_short() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/rust/sink.rs");
    let lines = std::fs::read_to_string(file).expect("the example").lines().count();
    assert!(lines <= LINES, "{lines} lines");
}

#[test]
fn smtplib_delivers_to_it() {
    let Some(python) = program("python3") else { return };
    let mut sink = start();
    let message = Message::eight_bit();
    let plan = serde_json::json!({
        "port": sink.port, "sender": "a@client.example", "recipients": ["b@example.test"], "mail_options": ["BODY=8BITMIME"],
    });
    let script = scripts().join("smtplib_send.py");
    run(&mut command(&python, [script.into_os_string(), plan.to_string().into()]), &message.octets);
    let mut line = String::new();
    sink.output.read_line(&mut line).expect("a line");
    let expected = format!("a message: {:?}\n", String::from_utf8_lossy(&message.octets));
    assert!(line == expected, "{line}\nis not\n{expected}");
}

#[test]
fn what_is_given_up_is_forgotten() {
    let mut sink = start();
    let mut stream = TcpStream::connect(("127.0.0.1", sink.port)).expect("it listens");
    let mut send = |octets: &[u8]| stream.write_all(octets).expect("it is read");
    let open = "RSET\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.test>\r\n";
    // The first two are given up, each in the step that begins the next.
    send(format!("EHLO a.test\r\n{open}BDAT 5\r\none\r\n{open}BDAT 5\r\ntwo\r\n{open}").as_bytes());
    std::thread::sleep(Duration::from_millis(200));
    send(b"BDAT 7 LAST\r\nthree\r\nQUIT\r\n");
    let mut line = String::new();
    sink.output.read_line(&mut line).expect("a line");
    assert_eq!(line, "a message: \"three\\r\\n\"\n");
}

#[test]
fn one_session_waits_for_no_other() {
    let sink = start();
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", sink.port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream
    };
    // One says nothing, one says too much.
    let _silent = connect();
    let mut endless = connect();
    let _ = endless.write_all(&vec![b'A'; 1 << 20]);
    let mut stream = connect();
    stream.write_all(b"EHLO a.test\r\nQUIT\r\n").expect("it is read");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("text");
    assert!(said.starts_with("220 localhost ESMTP\r\n250-localhost") && said.ends_with("221 2.0.0 Bye\r\n"), "{said}");
}

#[test]
fn bad_arguments_get_a_sentence() {
    let output = example().output().expect("it starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{told}");
    assert!(told.contains("two arguments are expected: engine.wasm 127.0.0.1:2525"), "{told}");
}
