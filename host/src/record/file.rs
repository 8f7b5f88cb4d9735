//! `.session` files: reading and writing them as `wit/session.md` says.
//!
//! Owns the lines, the header, and the end that tells a whole file from a part of one. Refuses to run anything. Fails by
//! [`FileError`]; whatever octets are given, nothing panics, and no more than [`LARGEST`] of them are read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};

use super::call::{Call as _, ClientHalf, Half, Outcome, ServerHalf};
use super::value::{Value, Wrong, member, only, shown, write_text};

/// The version of the format.
pub const VERSION: u64 = 1;
/// The version of `hermetic:engine` that this host speaks.
pub const WIT: &str = "0.1.0";
/// Octets of a file; a larger one is not read.
pub const LARGEST: u64 = 256 * 1024 * 1024;

/// Why a file can not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk's word.
    #[error("the file can not be read: {0}")]
    Io(#[from] std::io::Error),
    /// It is larger than anything that is read.
    #[error("the file has more than {LARGEST} octets, which is the most that is read")]
    TooLarge,
    /// Its first line is no header.
    #[error(
        "this is no session file: its first line should be a JSON object with the member `hermetic-session`, not {found}"
    )]
    NoSession {
        /// What stands there.
        found: String,
    },
    /// A format that is not this one.
    #[error("the file is of version {found} of the format, and this reads version {VERSION}")]
    Version {
        /// Its version.
        found: String,
    },
    /// It is of another half than it should be.
    #[error("the file has a session of the half `{found}`, and expected is one of {expected}")]
    Half {
        /// Its half.
        found: String,
        /// What can be run.
        expected: String,
    },
    /// It has no end.
    #[error("the file was cut short: line {line}, its last, is not the end (`{{\"end\":…}}`) that it should be")]
    Truncated {
        /// The last line.
        line: usize,
    },
    /// It is not what was written.
    #[error("the file was changed after it was written: its end says {said}, and there are {are}")]
    Changed {
        /// What its end says.
        said: String,
        /// What is there.
        are: String,
    },
    /// A line is no JSON.
    #[error("line {line} is no JSON: {why}")]
    Json {
        /// From 1.
        line: usize,
        /// The reader's word.
        why: String,
    },
    /// A line is neither a call nor a hook.
    #[error("line {line} should be an object with `call` or `plugin`, not {found}")]
    Line {
        /// From 1.
        line: usize,
        /// What stands there.
        found: String,
    },
    /// There is no such function.
    #[error("line {line} calls `{name}`, and the {half} has {known}")]
    UnknownCall {
        /// From 1.
        line: usize,
        /// What it calls.
        name: String,
        /// `server` or `client`.
        half: &'static str,
        /// What could be called.
        known: String,
    },
    /// Something is of another type than it should be, or not there.
    #[error("line {line}: {wrong}")]
    Value {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        wrong: Wrong,
    },
}

/// What the first line says beside the options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version of `hermetic:engine`.
    pub wit: String,
    /// The component's hash, `sha256:…`.
    pub engine: Option<String>,
    /// When (RFC 3339).
    pub recorded: Option<String>,
    /// Why it was kept.
    pub why: Option<String>,
    /// What was replaced: `secrets`, `bodies`, `addresses`.
    pub masked: Vec<String>,
    /// For people.
    pub about: BTreeMap<String, String>,
}

impl Default for Header {
    fn default() -> Self {
        Self { wit: WIT.into(), engine: None, recorded: None, why: None, masked: Vec::new(), about: BTreeMap::new() }
    }
}

/// One line between header and end.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<H: Half> {
    /// A call of the engine, and what came of it.
    Call(H::Call, Outcome<H::Step>),
    /// What a plugin was asked.
    Hook(Map<String, Json>),
}

/// A file of one half.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording<H: Half> {
    /// The first line.
    pub header: Header,
    /// What the constructor was given.
    pub options: H::Options,
    /// The lines behind it; the first of them is line 2.
    pub entries: Vec<Entry<H>>,
}

/// A file of either half.
#[derive(Clone, Debug, PartialEq)]
pub enum Any {
    /// Of `server.wit`.
    Server(Recording<ServerHalf>),
    /// Of `client.wit`.
    Client(Recording<ClientHalf>),
}

impl Any {
    /// Of a server, and of nothing else.
    ///
    /// # Errors
    /// [`FileError::Half`]
    pub fn server(self) -> Result<Recording<ServerHalf>, FileError> {
        match self {
            Self::Server(recording) => Ok(recording),
            Self::Client(_) => Err(FileError::Half { found: ClientHalf::NAME.into(), expected: "`server`".into() }),
        }
    }

    /// The first line.
    #[must_use]
    pub fn header(&self) -> &Header {
        match self {
            Self::Server(recording) => &recording.header,
            Self::Client(recording) => &recording.header,
        }
    }
}

/// The line of an entry.
#[must_use]
pub fn line_of(entry: usize) -> usize {
    entry + 2
}

impl<H: Half> Recording<H> {
    /// Nothing was called yet.
    #[must_use]
    pub fn new(header: Header, options: H::Options) -> Self {
        Self { header, options, entries: Vec::new() }
    }

    /// The whole file.
    #[must_use]
    pub fn write(&self) -> String {
        let mut text = String::new();
        self.header.write::<H>(&self.options, &mut text);
        for entry in &self.entries {
            match entry {
                Entry::Call(call, outcome) => {
                    text.push('{');
                    call.write(&mut text);
                    text.push(',');
                    outcome.write(&mut text);
                    text.push_str("}\n");
                }
                Entry::Hook(hook) => {
                    let _ = writeln!(text, "{}", Json::Object(hook.clone()));
                }
            }
        }
        let end = end(self.entries.len() + 1, text.as_bytes());
        text.push_str(&end);
        text
    }
}

/// The last line, for what stands before it.
#[must_use]
pub fn end(lines: usize, octets: &[u8]) -> String {
    format!("{{\"end\":{lines},\"sha256\":\"{}\"}}\n", hex(&Sha256::digest(octets)))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut hex, octet| {
        let _ = write!(hex, "{octet:02x}");
        hex
    })
}

impl Header {
    fn write<H: Half>(&self, options: &H::Options, json: &mut String) {
        let _ = write!(json, "{{\"hermetic-session\":{VERSION},\"half\":\"{}\",\"wit\":", H::NAME);
        self.wit.write(json);
        for (name, value) in [("engine", &self.engine), ("recorded", &self.recorded), ("why", &self.why)] {
            if let Some(value) = value {
                let _ = write!(json, ",\"{name}\":");
                value.write(json);
            }
        }
        if !self.masked.is_empty() {
            json.push_str(",\"masked\":");
            self.masked.write(json);
        }
        if !self.about.is_empty() {
            json.push_str(",\"about\":");
            for (place, (name, value)) in self.about.iter().enumerate() {
                json.push(if place == 0 { '{' } else { ',' });
                write_text(name, json);
                json.push(':');
                write_text(value, json);
            }
            json.push('}');
        }
        json.push_str(",\"options\":");
        options.write(json);
        json.push_str("}\n");
    }

    fn read(object: &Map<String, Json>) -> Result<Self, Wrong> {
        let text = |name: &str| match object.get(name) {
            None => Ok(None),
            Some(value) => Option::<String>::read(value).map_err(|wrong| wrong.inside(name)),
        };
        let about = match object.get("about") {
            None => BTreeMap::new(),
            Some(Json::Object(about)) => {
                let texts = about.iter().map(|(name, value)| {
                    let value = String::read(value).map_err(|wrong| wrong.inside(name).inside("about"))?;
                    Ok((name.clone(), value))
                });
                texts.collect::<Result<_, Wrong>>()?
            }
            Some(other) => return Err(Wrong::new("an object of strings", other).inside("about")),
        };
        Ok(Self {
            wit: member(object, "wit")?,
            engine: text("engine")?,
            recorded: text("recorded")?,
            why: text("why")?,
            masked: match object.get("masked") {
                None => Vec::new(),
                Some(masked) => Vec::read(masked).map_err(|wrong| wrong.inside("masked"))?,
            },
            about,
        })
    }
}

/// Reads a file.
///
/// # Errors
/// See [`FileError`].
pub fn read_file(path: &Path) -> Result<Any, FileError> {
    let mut octets = Vec::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut octets)?;
    read(&octets)
}

/// Reads what a file holds.
///
/// # Errors
/// See [`FileError`].
pub fn read(octets: &[u8]) -> Result<Any, FileError> {
    if octets.len() as u64 > LARGEST {
        return Err(FileError::TooLarge);
    }
    let lines: Vec<&[u8]> = octets.split_inclusive(|octet| *octet == b'\n').collect();
    let (first, last) = match lines[..] {
        [] => return Err(FileError::NoSession { found: "nothing".into() }),
        [first] => (first, first),
        [first, .., last] => (first, last),
    };
    let header = match serde_json::from_slice(first) {
        Ok(Json::Object(header)) if header.contains_key("hermetic-session") => header,
        Ok(other) => return Err(FileError::NoSession { found: shown(&other) }),
        Err(_) => return Err(FileError::NoSession { found: "something else".into() }),
    };
    match &header["hermetic-session"] {
        version if version.as_u64() == Some(VERSION) => {}
        version => return Err(FileError::Version { found: shown(version) }),
    }
    let before = octets.len() - last.len();
    ended(last, &octets[..before], lines.len())?;
    let lines = &lines[..lines.len() - 1];
    match header.get("half").and_then(Json::as_str) {
        Some(ServerHalf::NAME) => entries::<ServerHalf>(&header, lines).map(Any::Server),
        Some(ClientHalf::NAME) => entries::<ClientHalf>(&header, lines).map(Any::Client),
        _ => Err(FileError::Half {
            found: header.get("half").map_or_else(|| "none".into(), shown),
            expected: "`server`, `client`".into(),
        }),
    }
}

/// The end is one, and fits what stands before it.
fn ended(last: &[u8], before: &[u8], lines: usize) -> Result<(), FileError> {
    let truncated = || FileError::Truncated { line: lines };
    let end = match serde_json::from_slice(last) {
        Ok(Json::Object(end)) if last.ends_with(b"\n") => end,
        _ => return Err(truncated()),
    };
    let (Some(count), Some(sum)) = (end.get("end"), end.get("sha256")) else { return Err(truncated()) };
    only(&end, &["end".into(), "sha256".into()]).map_err(|wrong| FileError::Value { line: lines, wrong })?;
    let changed = |said: String, are: String| Err(FileError::Changed { said, are });
    if count.as_u64() != Some(lines as u64 - 1) {
        return changed(format!("that {} lines stand before it", shown(count)), (lines - 1).to_string());
    }
    let is = hex(&Sha256::digest(before));
    if sum.as_str() != Some(&is) {
        return changed(format!("that their SHA-256 is {}", shown(sum)), format!("lines of {is}"));
    }
    Ok(())
}

fn entries<H: Half>(header: &Map<String, Json>, lines: &[&[u8]]) -> Result<Recording<H>, FileError> {
    let wrong = |line, wrong| FileError::Value { line, wrong };
    let options = member(header, "options").map_err(|why| wrong(1, why))?;
    let mut recording = Recording::new(Header::read(header).map_err(|why| wrong(1, why))?, options);
    for (place, text) in lines.iter().enumerate().skip(1) {
        let line = place + 1;
        let json = serde_json::from_slice(text).map_err(|why| FileError::Json { line, why: why.to_string() })?;
        let Json::Object(object) = json else { return Err(FileError::Line { line, found: shown(&json) }) };
        let entry = match object.get("call") {
            Some(Json::String(name)) => match H::Call::read(name, &object).map_err(|why| wrong(line, why))? {
                Some(call) => Entry::Call(call, Outcome::read(&object).map_err(|why| wrong(line, why))?),
                None => {
                    let (name, known) = (name.clone(), H::Call::names().join(", "));
                    return Err(FileError::UnknownCall { line, name, half: H::NAME, known });
                }
            },
            None if object.get("plugin").is_some_and(Json::is_string) => Entry::Hook(object),
            _ => return Err(FileError::Line { line, found: shown(&Json::Object(object)) }),
        };
        recording.entries.push(entry);
    }
    Ok(recording)
}
