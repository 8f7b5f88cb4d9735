//! The least of an SMTP client: for loads and for what no ready-made client says.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use crate::message::Message;

/// A reply of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its three digits.
    pub code: u16,
    /// Its lines without code and line end.
    pub lines: Vec<String>,
}

/// A connection. Every error is the connection's; replies are only returned.
#[derive(Debug)]
pub struct Session {
    stream: BufReader<TcpStream>,
}

impl Session {
    /// Connects to 127.0.0.1 and reads the greeting.
    pub fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut session = Self { stream: BufReader::new(stream) };
        session.reply()?;
        Ok(session)
    }

    /// Writes octets as they are.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(octets)
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut reply = Reply { code: 0, lines: Vec::new() };
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("not a reply line: {line:?}"));
            let text = line.strip_suffix("\r\n").ok_or_else(wrong)?;
            let code = text.get(..3).and_then(|c| c.parse().ok()).ok_or_else(wrong)?;
            reply.code = code;
            reply.lines.push(text.get(4..).unwrap_or_default().to_owned());
            if text.get(3..4).is_none_or(|c| c != "-") {
                return Ok(reply);
            }
        }
    }

    /// A command, and its reply.
    pub fn command(&mut self, line: &str) -> io::Result<Reply> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// A whole transaction by DATA; the reply after the final dot, or the first that was no success.
    pub fn send(&mut self, from: &str, to: &[String], message: &Message) -> io::Result<Reply> {
        let mut commands = vec![format!("MAIL FROM:<{from}>")];
        commands.extend(to.iter().map(|r| format!("RCPT TO:<{r}>")));
        for command in commands {
            let reply = self.command(&command)?;
            if reply.code / 100 != 2 {
                return Ok(reply);
            }
        }
        let reply = self.command("DATA")?;
        if reply.code != 354 {
            return Ok(reply);
        }
        let mut content = message.stuffed();
        content.extend_from_slice(b".\r\n");
        self.write(&content)?;
        self.reply()
    }
}
