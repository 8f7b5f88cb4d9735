//! Another server's mailboxes: an LMTP server that takes everything, and remembers when.
//!
//! Owns its listener and threads, which end with the process. Refuses nothing and keeps no mail. Fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a rig for tests: a panic is how a test fails")]

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::message::{field, intact};

/// Copies by the message's token: when each was whole here, which is before it was answered.
type Arrivals = HashMap<String, Vec<Instant>>;

/// See the module.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Of 127.0.0.1.
    pub port: u16,
    arrivals: Arc<Mutex<Arrivals>>,
    torn: Arc<Mutex<Vec<String>>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink {
    /// One that takes so long from the final dot to its answer.
    pub fn start(pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let sink = Self { port, arrivals: Arc::default(), torn: Arc::default() };
        let here = sink.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let here = here.clone();
                // A client that dies is none of our trouble.
                thread::spawn(move || here.serve(stream, pause).unwrap_or_default());
            }
        });
        sink
    }

    /// All copies so far.
    pub fn arrivals(&self) -> Arrivals {
        lock(&self.arrivals).clone()
    }

    /// What did not arrive as it was sent.
    pub fn torn(&self) -> Vec<String> {
        lock(&self.torn).clone()
    }

    fn serve(&self, stream: TcpStream, pause: Duration) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(300)))?;
        let (mut stream, mut recipients) = (BufReader::new(stream), 0);
        stream.get_mut().write_all(b"220 sink.test LMTP\r\n")?;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let verb = line.split([' ', '\r', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let reply = match verb.as_str() {
                "LHLO" => "250-sink.test\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n".to_owned(),
                "MAIL" | "RSET" => {
                    recipients = 0;
                    "250 2.0.0 yes\r\n".to_owned()
                }
                "RCPT" => {
                    recipients += 1;
                    "250 2.1.5 yes\r\n".to_owned()
                }
                "DATA" => {
                    stream.get_mut().write_all(b"354 go on\r\n")?;
                    self.keep(&content(&mut stream)?);
                    thread::sleep(pause);
                    "250 2.0.0 kept\r\n".repeat(std::mem::take(&mut recipients))
                }
                "QUIT" => return stream.get_mut().write_all(b"221 2.0.0 bye\r\n"),
                "NOOP" => "250 2.0.0 yes\r\n".to_owned(),
                _ => "500 5.5.1 what?\r\n".to_owned(),
            };
            stream.get_mut().write_all(reply.as_bytes())?;
        }
    }

    fn keep(&self, octets: &[u8]) {
        let token = field(octets, "X-Token").unwrap_or_default().to_owned();
        if let Err(why) = intact(octets) {
            lock(&self.torn).push(format!("{token}: {why}"));
        }
        lock(&self.arrivals).entry(token).or_default().push(Instant::now());
    }
}

/// Up to the final dot.
fn content(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(content);
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
