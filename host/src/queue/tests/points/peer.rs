//! Another server, as far as the matrix needs one: it survives the victim, and counts what it takes.
//!
//! A recipient's name says what becomes of it: `ok`, `later` (the first time), `never`, `mute` (taken, and the first time the
//! connection is closed in place of the reply).

use std::{
    collections::{BTreeMap, HashSet},
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::Instant,
};

use parking_lot::Mutex;

#[derive(Default)]
struct Book {
    /// Recipient -> when it was taken.
    taken: BTreeMap<String, Vec<Instant>>,
    /// Whom it has put off already.
    met: HashSet<String>,
    torn: Vec<String>,
}

pub(super) struct Peer {
    book: Arc<Mutex<Book>>,
    pub(super) port: u16,
}

impl Peer {
    pub(super) fn start(lmtp: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (book, port) = (Arc::<Mutex<Book>>::default(), listener.local_addr().unwrap().port());
        let shared = book.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, book) = (stream.unwrap(), shared.clone());
                std::thread::spawn(move || {
                    // The victim is killed: that ends a session too.
                    let _ = session(&stream, &book, lmtp);
                });
            }
        });
        Self { book, port }
    }

    pub(super) fn taken(&self) -> BTreeMap<String, Vec<Instant>> {
        self.book.lock().taken.clone()
    }

    /// Messages that came without their end.
    pub(super) fn torn(&self) -> Vec<String> {
        self.book.lock().torn.clone()
    }
}

fn session(stream: &TcpStream, book: &Mutex<Book>, lmtp: bool) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).split(b'\n');
    let mut next =
        move || lines.next().transpose().map(|line| String::from_utf8_lossy(&line.unwrap_or_default()).into_owned());
    let say = |text: &str| (&*stream).write_all(format!("{text}\r\n").as_bytes());
    let mut recipients: Vec<String> = Vec::new();
    say("220 peer.test")?;
    loop {
        let line = next()?;
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "" => return Ok(()),
            "EHLO" | "LHLO" => say("250-peer.test\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES")?,
            "RCPT" => {
                let address = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                match first_answer(&address, book, lmtp) {
                    Some(refusal) => say(refusal)?,
                    None => {
                        recipients.push(address);
                        say("250 2.1.5 yes")?;
                    }
                }
            }
            "DATA" => {
                say("354 go on")?;
                let mut text = String::new();
                loop {
                    let line = next()?;
                    if line == ".\r" {
                        break;
                    }
                    if line.is_empty() {
                        return Ok(());
                    }
                    text += &line;
                }
                if !text.ends_with("end\r") {
                    book.lock().torn.push(recipients.join(" "));
                }
                let mut silent = false;
                let mut replies = Vec::new();
                for address in recipients.drain(..) {
                    let mut book = book.lock();
                    if lmtp && let Some(refusal) = refusal(&address, &mut book) {
                        replies.push(refusal);
                        continue;
                    }
                    silent |= address.starts_with("mute") && book.met.insert(address.clone());
                    book.taken.entry(address).or_default().push(Instant::now());
                    replies.push("250 2.0.0 taken");
                }
                if silent {
                    return Ok(());
                }
                replies.truncate(if lmtp { usize::MAX } else { 1 });
                replies.into_iter().try_for_each(say)?;
            }
            "QUIT" => return say("221 bye"),
            _ => {
                if verb == "RSET" {
                    recipients.clear();
                }
                say("250 2.0.0 yes")?;
            }
        }
    }
}

/// By LMTP most is said behind the content.
fn first_answer(address: &str, book: &Mutex<Book>, lmtp: bool) -> Option<&'static str> {
    if lmtp { None } else { refusal(address, &mut book.lock()) }
}

fn refusal(address: &str, book: &mut Book) -> Option<&'static str> {
    if address.starts_with("never") {
        return Some("550 5.1.1 nobody");
    }
    (address.starts_with("later") && book.met.insert(address.to_owned())).then_some("451 4.2.1 come back")
}
