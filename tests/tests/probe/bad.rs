//! A server that is bad on purpose, in one way at a time.
//!
//! Owns a port of its own, a thread a connection, and the faults. It delivers nothing.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The name that it goes by.
pub(crate) const NAME: &str = "mail.bad.test";
/// Its domain.
pub(crate) const DOMAIN: &str = "bad.test";

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: what the tests compare with.
    Nothing,
    /// It takes mail for anybody.
    OpenRelay,
    /// It takes `user%host@domain`.
    PercentHack,
    /// What was read before the handshake counts behind it.
    Injection,
    /// This ends the content too.
    Smuggling(&'static [u8]),
    /// It takes this end for one, and throws away what came behind it.
    QuietSmuggling(&'static [u8]),
    /// It offers a login without TLS.
    PlaintextAuth,
    /// It takes one that it does not offer.
    SilentPlaintextAuth,
    /// It offers extensions that it does not know.
    Liar,
    /// It offers PIPELINING, and reads one command a packet.
    Deaf,
    /// A line of more than 512 octets is two lines.
    ShortLines,
    /// It hangs up at such a line.
    Fragile,
    /// VRFY tells who is there.
    Talkative,
    /// It refuses notices.
    NoNotices,
    /// It has no postmaster.
    NoPostmaster,
    /// It offers STARTTLS inside TLS.
    TlsForEver,
    /// It offers STARTTLS, and its handshake is none.
    BrokenTls,
    /// It takes TLS 1.0: a ServerHello as such a server would begin it.
    OldTls,
    /// No STARTTLS.
    NoTls,
    /// It takes MAIL from anybody without a name.
    Nameless,
    /// It takes parameters that it does not know.
    TakesAll,
    /// It says that it takes 1000 octets, and takes an announced 1001.
    Size,
    /// It knows HELO alone.
    NoExtensions,
    /// It says nothing.
    Silent,
    /// It has no time for anybody.
    Closed,
    /// It has no time for TLS.
    BusyTls,
}

/// A running server, until the test ends.
pub(crate) struct Bad {
    pub(crate) port: u16,
}

impl Bad {
    pub(crate) fn start(fault: Fault, tls: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let tls = Arc::clone(&tls);
                thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
                    let _ = Connection { wire: Wire::Plain(stream), input: VecDeque::new(), fault, tls }.serve();
                });
            }
        });
        Self { port }
    }
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

struct Connection {
    wire: Wire,
    input: VecDeque<u8>,
    fault: Fault,
    tls: Arc<ServerConfig>,
}

impl Connection {
    fn serve(&mut self) -> io::Result<()> {
        if self.fault == Fault::Silent {
            thread::sleep(Duration::from_secs(30));
            return Ok(());
        }
        if self.fault == Fault::Closed {
            return self.say("554 not you");
        }
        self.say(&format!("220 {NAME} ESMTP"))?;
        let (mut greeted, mut mail, mut recipients) = (false, false, 0);
        loop {
            let line = self.line()?;
            if self.fault == Fault::Deaf {
                self.input.clear();
            }
            let upper = line.to_ascii_uppercase();
            let verb = upper.split(' ').next().unwrap_or_default().to_owned();
            match &*verb {
                "EHLO" if self.fault != Fault::NoExtensions => {
                    (greeted, mail, recipients) = (true, false, 0);
                    let all: Vec<String> =
                        [NAME.to_owned()].into_iter().chain(self.offers().iter().map(ToString::to_string)).collect();
                    for (place, line) in all.iter().enumerate() {
                        self.say(&format!("250{}{line}", if place + 1 < all.len() { "-" } else { " " }))?;
                    }
                }
                "STARTTLS" if self.fault == Fault::BusyTls => return self.say("421 too many of you"),
                "STARTTLS" if self.fault != Fault::NoTls => {
                    self.say("220 go ahead")?;
                    if !self.encrypt()? {
                        return Ok(());
                    }
                    (greeted, mail, recipients) = (false, false, 0);
                }
                "AUTH" if matches!(self.fault, Fault::PlaintextAuth | Fault::SilentPlaintextAuth) => {
                    self.say("334 ")?;
                    self.line()?;
                    self.say("501 cancelled")?;
                }
                "MAIL" if !greeted && self.fault != Fault::Nameless => self.say("503 hello?")?,
                "MAIL" => {
                    let parameters = upper.split_once('>').map(|(_, rest)| rest.trim().to_owned()).unwrap_or_default();
                    let null = upper.contains("<>");
                    let reply = self.mail(null, &parameters);
                    mail = reply.starts_with("250");
                    recipients = 0;
                    self.say(reply)?;
                }
                "RCPT" if mail => {
                    let good = self.takes(line.trim());
                    recipients += u32::from(good);
                    self.say(if good { "250 ok" } else { "550 not here" })?;
                }
                "DATA" if recipients > 0 => {
                    self.say("354 go")?;
                    self.content()?;
                    self.say("250 taken")?;
                    (mail, recipients) = (false, 0);
                }
                "MAIL FROM" | "RCPT" | "DATA" => self.say("503 not now")?,
                "RSET" => {
                    (mail, recipients) = (false, 0);
                    self.say("250 ok")?;
                }
                "NOOP" => self.say("250 ok")?,
                "VRFY" if self.fault == Fault::Talkative => {
                    self.say(if upper.contains("POSTMASTER") { "250 <postmaster@bad.test>" } else { "550 nobody" })?;
                }
                "VRFY" => self.say("252 perhaps")?,
                "EXPN" if self.fault == Fault::Talkative => self.say("250 <anna@bad.test>")?,
                "QUIT" => return self.say("221 bye"),
                _ => self.say("500 what?")?,
            }
        }
    }

    fn offers(&self) -> Vec<&'static str> {
        let inside = matches!(self.wire, Wire::Tls(_));
        let mut offers = vec!["PIPELINING", "8BITMIME"];
        offers.push(if self.fault == Fault::Size { "SIZE 1000" } else { "SIZE 100000" });
        if self.fault != Fault::NoTls && (!inside || self.fault == Fault::TlsForEver) {
            offers.push("STARTTLS");
        }
        if self.fault == Fault::PlaintextAuth || inside {
            offers.push("AUTH PLAIN LOGIN");
        }
        if self.fault == Fault::Liar {
            offers.extend(["SMTPUTF8", "CHUNKING"]);
        }
        offers
    }

    fn mail(&self, null: bool, parameters: &str) -> &'static str {
        if null && self.fault == Fault::NoNotices {
            return "550 no notices";
        }
        for parameter in parameters.split_ascii_whitespace() {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "SIZE" if self.fault != Fault::Size && value.parse::<u64>().unwrap_or(u64::MAX) > 100_000 => {
                    return "552 too much";
                }
                "SIZE" | "BODY" => {}
                _ if self.fault == Fault::TakesAll => {}
                _ => return "555 what?",
            }
        }
        "250 ok"
    }

    /// `RCPT TO:<…>`.
    fn takes(&self, line: &str) -> bool {
        let path = line.split_once('<').map_or("", |(_, rest)| rest).trim_end_matches('>').to_ascii_lowercase();
        if path == "postmaster" {
            return self.fault != Fault::NoPostmaster;
        }
        if self.fault == Fault::OpenRelay {
            return true;
        }
        let Some(local) = path.strip_suffix(&format!("@{DOMAIN}")) else { return false };
        matches!(local, "anna" | "postmaster") || (self.fault == Fault::PercentHack && local.contains('%'))
    }

    /// Up to its end, or what is taken for it.
    fn content(&mut self) -> io::Result<()> {
        let mut seen: Vec<u8> = b"\r\n".to_vec();
        loop {
            seen.push(self.octet()?);
            if seen.ends_with(b"\r\n.\r\n") {
                return Ok(());
            }
            match self.fault {
                Fault::Smuggling(end) if seen.ends_with(end) => return Ok(()),
                Fault::QuietSmuggling(end) if seen.ends_with(end) => {
                    self.input.clear();
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// False: there is no TLS.
    fn encrypt(&mut self) -> io::Result<bool> {
        if self.fault == Fault::BrokenTls {
            self.write(b"this is no TLS at all\r\n")?;
            return Ok(false);
        }
        if self.fault != Fault::Injection {
            self.input.clear();
        }
        let Wire::Plain(stream) = &self.wire else { return Err(io::ErrorKind::InvalidData.into()) };
        let mut stream = stream.try_clone()?;
        if self.fault == Fault::OldTls {
            // A version is chosen before anything is encrypted, and here it is whichever is asked for.
            let mut hello = [0; 11];
            stream.read_exact(&mut hello)?;
            if hello[9..] == [3, 1] {
                stream.write_all(&[22, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1])?;
                return Ok(false);
            }
            self.wire = Wire::Tls(Box::new(StreamOwned::new(
                ServerConnection::new(Arc::clone(&self.tls)).map_err(io::Error::other)?,
                stream,
            )));
            let Wire::Tls(tls) = &mut self.wire else { return Ok(false) };
            tls.conn.read_tls(&mut &hello[..])?;
            return Ok(true);
        }
        let connection = ServerConnection::new(Arc::clone(&self.tls)).map_err(io::Error::other)?;
        self.wire = Wire::Tls(Box::new(StreamOwned::new(connection, stream)));
        Ok(true)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            line.push(self.octet()?);
            if line.ends_with(b"\r\n") {
                line.truncate(line.len() - 2);
                break;
            }
            match self.fault {
                Fault::ShortLines if line.len() == 512 => break,
                Fault::Fragile if line.len() > 512 => return Err(io::ErrorKind::InvalidData.into()),
                _ => {}
            }
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn octet(&mut self) -> io::Result<u8> {
        if self.input.is_empty() {
            let mut octets = [0; 65_536];
            let length = match &mut self.wire {
                Wire::Plain(stream) => stream.read(&mut octets)?,
                Wire::Tls(stream) => stream.read(&mut octets)?,
            };
            self.input.extend(&octets[..length]);
        }
        self.input.pop_front().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.write(format!("{line}\r\n").as_bytes())
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Plain(stream) => stream.write_all(octets),
            Wire::Tls(stream) => {
                stream.write_all(octets)?;
                stream.flush()
            }
        }
    }
}
