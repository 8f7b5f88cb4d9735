//! What is sent: a message as it is given, or one that is made up.
//!
//! Owns its octets. Refuses header fields that are none, and a message of more than 1 GiB. Fails with [`SendError`].

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use jiff::Timestamp;
use mail_builder::{
    MessageBuilder,
    headers::{address::Address, date::Date, raw::Raw},
};

use super::SendError;
use crate::config::domain;

/// Octets of a message that are read.
const MOST: u64 = 1 << 30;

/// The message.
#[derive(Clone, Debug, Args)]
pub(super) struct MessageArguments {
    /// The whole message, header and all, from this file; `-`: from standard input. Otherwise a message is made up.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["subject", "body", "header", "attach"])]
    data: Option<PathBuf>,
    /// Leave the line ends of --data as they are. Otherwise a bare LF becomes CRLF.
    #[arg(long, requires = "data")]
    raw: bool,
    /// The subject of the message that is made up.
    #[arg(long, value_name = "TEXT", default_value = "a test by hermetic send")]
    subject: String,
    /// Its text.
    #[arg(long, value_name = "TEXT", default_value = "This is a test message.")]
    body: String,
    /// One more header field; may be given several times.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// A file to attach; may be given several times.
    #[arg(long, value_name = "FILE")]
    attach: Vec<PathBuf>,
}

impl MessageArguments {
    /// Standard input is the message.
    pub(super) fn reads_input(&self) -> bool {
        self.data.as_deref() == Some(Path::new("-"))
    }

    /// Its octets.
    pub(super) fn octets(&self, from: Option<&str>, to: &[String], hello: &str) -> Result<Vec<u8>, SendError> {
        match &self.data {
            Some(path) => {
                let octets = read(path)?;
                Ok(if self.raw { octets } else { with_crlf(&octets) })
            }
            None => self.made_up(from, to, hello),
        }
    }

    fn made_up(&self, from: Option<&str>, to: &[String], hello: &str) -> Result<Vec<u8>, SendError> {
        let author = from.map_or_else(|| format!("postmaster@{hello}"), str::to_owned);
        let id = format!("{:032x}@{}", rand::random::<u128>(), domain::of_address(&author).unwrap_or(hello));
        let mut message = MessageBuilder::new()
            .from(Address::new_address(None::<&str>, author))
            .to(Address::new_list(to.iter().map(|one| Address::new_address(None::<&str>, one.as_str())).collect()))
            .subject(self.subject.as_str())
            .date(Date::new(Timestamp::now().as_second()))
            .message_id(id);
        for field in &self.header {
            let parts = field.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
            let good = |name: &str| !name.is_empty() && name.bytes().all(|c| c.is_ascii_graphic());
            let (name, value) =
                parts.filter(|(name, value)| good(name) && !value.chars().any(char::is_control)).ok_or_else(|| {
                    SendError::Argument(format!("{field:?} is no header field; write it like \"X-Test: yes\""))
                })?;
            message = message.header(name.to_owned(), Raw::new(value.to_owned()));
        }
        let mut message = message.text_body(format!("{}\n", self.body.trim_end_matches('\n')));
        for path in &self.attach {
            let name = path.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy().into_owned());
            message = message.attachment("application/octet-stream", name, read(path)?);
        }
        message.write_to_vec().map_err(SendError::Output)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SendError> {
    let failed = |error| SendError::Read { path: path.to_owned(), error };
    let mut octets = Vec::new();
    let length = if path == Path::new("-") {
        io::stdin().lock().take(MOST + 1).read_to_end(&mut octets)
    } else {
        fs::File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut octets))
    };
    match length.map_err(failed)? {
        length if length as u64 > MOST => Err(failed(io::Error::other(format!("more than {MOST} octets")))),
        _ => Ok(octets),
    }
}

/// Every LF that stands alone becomes CRLF.
fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(octets.len() + octets.len() / 32);
    let mut before = 0;
    for &octet in octets {
        if octet == b'\n' && before != b'\r' {
            all.push(b'\r');
        }
        all.push(octet);
        before = octet;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends() {
        for (given, expected) in
            [("a\nb\n", "a\r\nb\r\n"), ("a\r\nb", "a\r\nb"), ("\n\n", "\r\n\r\n"), ("a\rb", "a\rb"), ("", "")]
        {
            assert_eq!(with_crlf(given.as_bytes()), expected.as_bytes(), "{given:?}");
        }
    }
}
