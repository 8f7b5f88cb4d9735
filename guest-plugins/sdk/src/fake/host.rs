//! The context's functions, answered by the [`Fake`] that runs on this thread. The signatures are those of the generated ones.

use super::{Edit, Entry, Fake, Forward, Level, RUNNING};
use crate::Fault;

/// Scratch, octets in all.
const SCRATCH: usize = 64 * 1024;

/// The most that one read returns, octets.
const PIECE: u32 = 65_536;

/// The longest line of the log, octets.
const LINE: usize = 1024;

/// With the host of this thread.
fn with<T>(interface: &'static str, ask: impl FnOnce(&mut Fake) -> T) -> T {
    RUNNING.with_borrow_mut(|running| match running {
        Some(fake) => {
            fake.used.insert(interface);
            ask(fake)
        }
        None => panic!("`{interface}` was called outside of `Fake::run`"),
    })
}

/// The same, unless the test made the interface fail.
fn try_with<T>(interface: &'static str, ask: impl FnOnce(&mut Fake) -> Result<T, Fault>) -> Result<T, Fault> {
    with(interface, |fake| match fake.faults.get(interface) {
        Some(code) => Err(Fault::new(*code, format!("{interface} was made to fail"))),
        None => ask(fake),
    })
}

/// A name of the DNS, for comparing.
pub(super) fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn piece(octets: &[u8], offset: u32, max: u32) -> Vec<u8> {
    let rest = octets.get(offset as usize..).unwrap_or_default();
    rest[..rest.len().min(max.min(PIECE) as usize)].to_vec()
}

fn count(octets: &[u8]) -> u32 {
    u32::try_from(octets.len()).unwrap_or(u32::MAX)
}

pub(crate) mod facts {
    use super::{count, with};

    pub(crate) fn transaction_id() -> String {
        with("facts", |_| "01HERMETICFAKE".into())
    }

    pub(crate) fn now() -> u32 {
        with("facts", |fake| fake.facts.now)
    }

    pub(crate) fn listener() -> String {
        with("facts", |fake| fake.facts.listener.0.clone())
    }

    pub(crate) fn listener_kind() -> String {
        with("facts", |fake| fake.facts.listener.1.clone())
    }

    pub(crate) fn client_address() -> Option<String> {
        with("facts", |fake| fake.facts.client_address.clone())
    }

    pub(crate) fn client_name() -> Option<String> {
        with("facts", |fake| fake.facts.client_name.clone())
    }

    pub(crate) fn hello_name() -> Option<String> {
        with("facts", |fake| fake.facts.hello_name.clone())
    }

    pub(crate) fn identity() -> Option<String> {
        with("facts", |fake| fake.facts.identity.clone())
    }

    pub(crate) fn tls_version() -> Option<String> {
        with("facts", |fake| fake.facts.tls_version.clone())
    }

    pub(crate) fn reverse_path() -> Option<String> {
        with("facts", |fake| fake.facts.reverse_path.clone())
    }

    pub(crate) fn body_type() -> String {
        with("facts", |fake| fake.facts.body_type.clone())
    }

    pub(crate) fn smtputf8() -> bool {
        with("facts", |fake| fake.facts.smtputf8)
    }

    pub(crate) fn forward_path() -> Option<String> {
        with("facts", |fake| fake.facts.forward_path.clone())
    }

    pub(crate) fn mailbox() -> Option<String> {
        with("facts", |fake| fake.facts.mailbox.clone())
    }

    pub(crate) fn recipients() -> Vec<String> {
        with("facts", |fake| fake.facts.recipients.clone())
    }

    pub(crate) fn message_size() -> u32 {
        with("facts", |fake| match (fake.body.is_empty(), fake.fields.render()) {
            (true, header) if header.is_empty() => fake.facts.announced,
            (_, header) => count(&header) + 2 + count(&fake.body),
        })
    }
}

pub(crate) mod header {
    use super::with;
    use crate::bindings::header::Field;

    pub(crate) fn fields(name: &str) -> Vec<Field> {
        with("header", |fake| fake.fields.named(name))
    }

    pub(crate) fn text(name: &str) -> Vec<String> {
        with("header", |fake| fake.fields.text(name))
    }
}

pub(crate) mod body {
    use super::{count, piece, with};

    pub(crate) fn read(offset: u32, max: u32) -> Vec<u8> {
        with("body", |fake| piece(&fake.body, offset, max))
    }

    pub(crate) fn size() -> u32 {
        with("body", |fake| count(&fake.body))
    }
}

pub(crate) mod edit {
    use super::{Edit, try_with};
    use crate::Fault;

    pub(crate) fn prepend(name: &str, value: &str) -> Result<u32, Fault> {
        try_with("edit", |fake| {
            let id = fake.fields.insert(true, name, value)?;
            fake.edits.push(Edit::Prepend(name.into(), value.into()));
            Ok(id)
        })
    }

    pub(crate) fn append(name: &str, value: &str) -> Result<u32, Fault> {
        try_with("edit", |fake| {
            let id = fake.fields.insert(false, name, value)?;
            fake.edits.push(Edit::Append(name.into(), value.into()));
            Ok(id)
        })
    }

    pub(crate) fn replace(field: u32, value: &str) -> Result<(), Fault> {
        try_with("edit", |fake| {
            let name = fake.fields.replace(field, value)?;
            fake.edits.push(Edit::Replace(name, value.into()));
            Ok(())
        })
    }

    pub(crate) fn remove(field: u32) -> Result<(), Fault> {
        try_with("edit", |fake| {
            let name = fake.fields.remove(field)?;
            fake.edits.push(Edit::Remove(name));
            Ok(())
        })
    }
}

pub(crate) mod forwarding {
    use super::{Fake, Forward, try_with};
    use crate::Fault;

    fn check(fake: &Fake, address: &str) -> Result<(), Fault> {
        let domain = match address.rsplit_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() => domain.to_ascii_lowercase(),
            _ => return Err(Fault::new(Fault::INVALID, format!("{address:?} is no address"))),
        };
        match &fake.forward_domains {
            Some(granted) if !granted.contains(&domain) => {
                Err(Fault::new(Fault::NOT_GRANTED, format!("{domain} is not granted")))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn redirect(to: &[String]) -> Result<(), Fault> {
        try_with("forwarding", |fake| {
            if to.is_empty() {
                return Err(Fault::new(Fault::INVALID, "a redirect to nobody; discard says so"));
            }
            to.iter().try_for_each(|address| check(fake, address))?;
            fake.forwards.push(Forward::Redirect(to.to_vec()));
            Ok(())
        })
    }

    pub(crate) fn add(to: &str) -> Result<(), Fault> {
        try_with("forwarding", |fake| {
            check(fake, to)?;
            fake.forwards.push(Forward::Add(to.into()));
            Ok(())
        })
    }
}

pub(crate) mod quarantine {
    use super::try_with;
    use crate::Fault;

    pub(crate) fn keep(why: &str) -> Result<(), Fault> {
        try_with("quarantine", |fake| {
            fake.quarantined = Some(why.into());
            Ok(())
        })
    }
}

pub(crate) mod reply {
    use super::try_with;
    use crate::Fault;

    /// Octets of the text.
    const TEXT: usize = 64 * 1024;
    /// Octets of the subject.
    const SUBJECT: usize = 400;

    pub(crate) fn send(subject: &str, text: &str) -> Result<(), Fault> {
        try_with("reply", |fake| {
            let (Some(from), to) = (&fake.facts.forward_path, fake.facts.reverse_path.clone().unwrap_or_default())
            else {
                return Err(Fault::new(Fault::UNAVAILABLE, "this hook was not called for one recipient"));
            };
            if fake.reply.is_some() {
                return Err(Fault::new(Fault::LIMIT, "this recipient has answered already"));
            }
            let no_text = text.len() > TEXT || text.trim().is_empty() || text.contains('\0');
            if no_text || subject.len() > SUBJECT || subject.chars().any(char::is_control) {
                return Err(Fault::new(Fault::INVALID, "no such subject or text"));
            }
            let by_hand =
                |value: &String| value.split([';', '(']).next().unwrap_or_default().trim().eq_ignore_ascii_case("no");
            let automatic = !fake.fields.text("Auto-Submitted").iter().all(by_hand);
            if to.is_empty() || to.eq_ignore_ascii_case(from) || automatic {
                return Err(Fault::new(Fault::NOT_FOUND, "there is nobody to answer"));
            }
            fake.reply = Some((subject.into(), text.into()));
            Ok(())
        })
    }
}

pub(crate) mod scratch {
    use super::{SCRATCH, try_with, with};
    use crate::Fault;

    pub(crate) fn get(name: &str) -> Option<Vec<u8>> {
        with("scratch", |fake| fake.scratch.get(name).cloned())
    }

    pub(crate) fn set(name: &str, value: &[u8]) -> Result<(), Fault> {
        try_with("scratch", |fake| {
            let others = fake.scratch.iter().filter(|(other, _)| *other != name);
            let taken: usize = others.map(|(name, value)| name.len() + value.len()).sum();
            if taken + name.len() + value.len() > SCRATCH {
                return Err(Fault::new(Fault::LIMIT, "scratch is full"));
            }
            fake.scratch.insert(name.into(), value.to_vec());
            Ok(())
        })
    }
}

pub(crate) mod rendered {
    use super::{count, piece, with};

    pub(crate) fn read(offset: u32, max: u32) -> Vec<u8> {
        with("rendered", |fake| piece(&fake.rendered(), offset, max))
    }

    pub(crate) fn size() -> u32 {
        with("rendered", |fake| count(&fake.rendered()))
    }
}

pub(crate) mod attempt {
    use super::with;

    pub(crate) fn idempotency_key() -> String {
        with("attempt", |fake| fake.attempt.0.clone())
    }

    pub(crate) fn number() -> u32 {
        with("attempt", |fake| fake.attempt.1)
    }

    pub(crate) fn queued_at() -> u32 {
        with("attempt", |fake| fake.attempt.2)
    }
}

pub(crate) mod fate {
    use super::with;

    pub(crate) fn state() -> String {
        with("fate", |fake| fake.fate.0.clone())
    }

    pub(crate) fn status() -> Option<String> {
        with("fate", |fake| fake.fate.1.clone())
    }

    pub(crate) fn text() -> String {
        with("fate", |fake| fake.fate.2.clone())
    }

    pub(crate) fn attempts() -> u32 {
        with("fate", |fake| fake.fate.3)
    }
}

pub(crate) mod log {
    use super::{LINE, Level, with};

    fn line(level: Level, text: &str) {
        let text = &text[..text.floor_char_boundary(LINE)];
        with("log", |fake| fake.lines.push((level, text.into())));
    }

    pub(crate) fn debug(text: &str) {
        line(Level::Debug, text);
    }

    pub(crate) fn info(text: &str) {
        line(Level::Info, text);
    }

    pub(crate) fn warn(text: &str) {
        line(Level::Warn, text);
    }
}

pub(crate) mod config {
    use super::with;

    pub(crate) fn get(key: &str) -> Option<String> {
        let settings: serde_json::Value = serde_json::from_str(&json()).unwrap_or_default();
        match settings.get(key)? {
            serde_json::Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    pub(crate) fn json() -> String {
        with("config", |fake| fake.settings.clone())
    }
}

pub(crate) mod keyvalue {
    use super::{Entry, Fake, try_with};
    use crate::Fault;

    /// Octets of a key.
    const KEY: usize = 512;

    fn check(key: &str) -> Result<(), Fault> {
        if key.len() > KEY {
            return Err(Fault::new(Fault::LIMIT, format!("a key has at most {KEY} octets")));
        }
        Ok(())
    }

    fn expiry(fake: &Fake, seconds: u32) -> Option<u32> {
        (seconds > 0).then(|| fake.facts.now.saturating_add(seconds))
    }

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, Fault> {
        try_with("keyvalue", |fake| Ok(fake.entry(key).map(<[u8]>::to_vec)))
    }

    pub(crate) fn set(key: &str, value: &[u8], seconds: u32) -> Result<(), Fault> {
        try_with("keyvalue", |fake| {
            check(key)?;
            let entry = Entry { value: value.to_vec(), expires: expiry(fake, seconds) };
            fake.entries.insert(key.into(), entry);
            Ok(())
        })
    }

    pub(crate) fn delete(key: &str) -> Result<(), Fault> {
        try_with("keyvalue", |fake| {
            fake.entries.remove(key);
            Ok(())
        })
    }

    pub(crate) fn increment(key: &str, by: i32, seconds: u32) -> Result<i32, Fault> {
        try_with("keyvalue", |fake| {
            check(key)?;
            let no_counter = || Fault::new(Fault::INVALID, format!("{key:?} holds no counter"));
            let (before, expires) = match fake.entry(key) {
                Some(value) => {
                    let text = core::str::from_utf8(value).map_err(|_| no_counter())?;
                    let number: i32 = text.parse().map_err(|_| no_counter())?;
                    (number, fake.entries.get(key).and_then(|entry| entry.expires))
                }
                None => (0, expiry(fake, seconds)),
            };
            let sum = before.saturating_add(by);
            fake.entries.insert(key.into(), Entry { value: sum.to_string().into_bytes(), expires });
            Ok(sum)
        })
    }
}

pub(crate) mod resolver {
    use std::collections::BTreeMap;

    use super::{Fake, key, try_with};
    use crate::Fault;
    use crate::bindings::resolver::Exchanger;

    fn ask<T: Clone>(
        kind: &str,
        name: &str,
        of: impl FnOnce(&Fake) -> &BTreeMap<String, Vec<T>>,
    ) -> Result<Vec<T>, Fault> {
        try_with("resolver", |fake| {
            fake.questions.push(format!("{kind} {name}"));
            if fake.unanswered.contains(&key(name)) {
                return Err(Fault::new(Fault::UNAVAILABLE, "the DNS does not answer"));
            }
            Ok(of(fake).get(&key(name)).cloned().unwrap_or_default())
        })
    }

    pub(crate) fn addresses(name: &str) -> Result<Vec<String>, Fault> {
        ask("A", name, |fake| &fake.addresses)
    }

    pub(crate) fn mx(name: &str) -> Result<Vec<Exchanger>, Fault> {
        ask("MX", name, |fake| &fake.exchangers)
    }

    pub(crate) fn txt(name: &str) -> Result<Vec<Vec<u8>>, Fault> {
        ask("TXT", name, |fake| &fake.texts)
    }

    pub(crate) fn ptr(address: &str) -> Result<Vec<String>, Fault> {
        ask("PTR", address, |fake| &fake.names)
    }
}

pub(crate) mod http {
    use super::super::Request;
    use super::{Fake, try_with};
    use crate::Fault;
    use crate::bindings::http::{Field, Response};

    /// Fields that the real host refuses, for they are its own.
    const OURS: [&str; 8] =
        ["host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect"];

    fn respond(fake: &mut Fake, method: &str, url: &str, fields: &[Field], body: Vec<u8>) -> Result<Response, Fault> {
        for Field { name, value } in fields {
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            let printed = |c: char| c == '\t' || c == ' ' || c.is_ascii_graphic();
            let ours = OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours));
            if ours || name.is_empty() || !name.chars().all(token) || !value.chars().all(printed) {
                return Err(Fault::new(Fault::INVALID, format!("not a field: {name}")));
            }
        }
        fake.requests.push(Request { method: method.into(), url: url.into(), fields: fields.to_vec(), body });
        if fake.responses.is_empty() {
            return Err(Fault::new(Fault::UNAVAILABLE, "the test has no response left"));
        }
        fake.responses.remove(0)
    }

    pub(crate) fn send(method: &str, url: &str, fields: &[Field], body: &[u8]) -> Result<Response, Fault> {
        try_with("http", |fake| respond(fake, method, url, fields, body.to_vec()))
    }

    pub(crate) fn send_message(method: &str, url: &str, fields: &[Field]) -> Result<Response, Fault> {
        try_with("http", |fake| {
            let message = fake.rendered();
            respond(fake, method, url, fields, message)
        })
    }
}
