//! `hermetic serve` as an operator has it: a process, a configuration, signals.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
    time::{Duration, Instant},
};

struct Server {
    process: Child,
    log: BufReader<ChildStderr>,
    said: String,
    folder: tempfile::TempDir,
}

impl Server {
    fn start(configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hermetic.toml");
        fs::write(&file, configuration).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_hermetic"))
            .args(["serve", "--config"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        Self { process, log, said: String::new(), folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("hermetic.toml")
    }

    /// Reads the log up to a line with `text` in it.
    fn until(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            if self.log.read_line(&mut line).unwrap() == 0 {
                panic!("no line with {text:?} in:\n{}", self.said);
            }
            self.said.push_str(&line);
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(process, signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Ports that nobody listens on, each another: all are taken before the first is given back.
fn free<const N: usize>() -> [SocketAddr; N] {
    let taken: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    taken.map(|socket| socket.local_addr().unwrap())
}

fn configuration(name: &str, listeners: &[SocketAddr]) -> String {
    let mut text = format!("name = {name:?}\ndata = \"data\"\n[outbound]\nhold = true\n[limits]\ndrain = 5\n");
    for address in listeners {
        text += &format!("[[listener]]\nkind = \"mx\"\naddress = \"{address}\"\n");
    }
    text + "[[domain]]\nname = \"example.test\"\nmailboxes = [\"*\"]\n"
}

/// Connects and reads the greeting.
fn greeted(address: SocketAddr, name: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let greeting = answer(&mut stream);
    assert!(greeting.starts_with(&format!("220 {name} ")), "{greeting:?}");
    stream
}

fn answer(stream: &mut TcpStream) -> String {
    let mut octets = [0; 512];
    let n = stream.read(&mut octets).unwrap();
    String::from_utf8_lossy(&octets[..n]).into_owned()
}

#[test]
fn reload_and_end() {
    let [first, second, third] = free();
    let mut server = Server::start(&configuration("one.test", &[first, second]));
    server.until(&second.to_string());
    let mut session = greeted(first, "one.test");

    // A bad configuration changes nothing, and says why.
    for (bad, why) in [
        (configuration("two.test", &[first]) + "colour = \"blue\"\n", "colour"),
        (configuration("two.test", &[first, "192.0.2.1:2525".parse().unwrap()]), "192.0.2.1:2525"),
    ] {
        fs::write(server.file(), bad).unwrap();
        server.signal(rustix::process::Signal::HUP);
        let line = server.until("reload failed");
        assert!(line.contains(why), "{line}");
        greeted(first, "one.test");
        greeted(second, "one.test");
    }

    // A good one counts for new sessions; the old ones go on.
    fs::write(server.file(), configuration("two.test", &[first, third])).unwrap();
    server.signal(rustix::process::Signal::HUP);
    server.until("reloaded");
    greeted(first, "two.test");
    greeted(third, "two.test");
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(second).is_ok() {
        assert!(Instant::now() < deadline, "{second} is still open");
        std::thread::sleep(Duration::from_millis(20));
    }
    session.write_all(b"\r\n").unwrap();
    assert!(answer(&mut session).starts_with('5'), "the old session is alive");

    server.signal(rustix::process::Signal::TERM);
    assert!(answer(&mut session).starts_with("421 "), "the session is told");
    assert_eq!(session.read(&mut [0]).unwrap(), 0);
    assert!(server.process.wait().unwrap().success());
    server.until("stopped");
    assert!(TcpStream::connect(first).is_err());
}

/// Whatever stops the start is one sentence, and no listener was open.
#[test]
fn a_start_that_fails() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (bad, why) in [
        (configuration("one.test", &[address]), "Address already in use"),
        (configuration("one.test", &[]), "listener"),
        (
            configuration("one.test", &free::<1>()) + "[tls]\ncertificate = \"missing.pem\"\nkey = \"missing.pem\"\n",
            "missing.pem",
        ),
    ] {
        let mut server = Server::start(&bad);
        let line = server.until("hermetic: ");
        assert!(line.contains(why), "expected {why:?}: {line}");
        assert_eq!(server.process.wait().unwrap().code(), Some(1));
    }
}
