//! A host for tests: the context as plain values, and what the plugin did with it.
//!
//! Owns the state and the rules that the real host has too: which field names and values may be, that a key-value entry
//! expires, how much scratch there is. Refuses to know time, network and files: the clock is set by hand, and names are
//! only those that a test wrote down.

mod fields;
pub(crate) mod host;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::Fault;
use crate::bindings::http::{Field, Response};
use crate::bindings::resolver::Exchanger;
use fields::Fields;

/// What a plugin did to the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A field above all others: name, value.
    Prepend(String, String),
    /// A field below all others: name, value.
    Append(String, String),
    /// Another value: the field's name, the new value.
    Replace(String, String),
    /// The name of the field that is gone.
    Remove(String),
}

/// What a plugin did about recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Instead of this recipient these.
    Redirect(Vec<String>),
    /// And this one.
    Add(String),
}

/// How loud a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `log::debug`.
    Debug,
    /// `log::info`.
    Info,
    /// `log::warn`.
    Warn,
}

/// A request that a plugin made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `POST`.
    pub method: String,
    /// Where to.
    pub url: String,
    /// In their order.
    pub fields: Vec<Field>,
    /// For `http::send_message`, the message.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a field, its name in any case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| &*field.value)
    }
}

/// A value and the second at which it is gone; none: never.
#[derive(Clone, Debug)]
struct Entry {
    value: Vec<u8>,
    expires: Option<u32>,
}

/// A host for tests. Set what the plugin will see, [`run`](Fake::run) a hook, look at what it did.
///
/// It begins as a plain session on an MX: `client.example` at 192.0.2.1 sends from `sender@client.example` to
/// `recipient@here.example`, at second 1,800,000,000. Everything is granted.
#[derive(Clone, Debug)]
pub struct Fake {
    facts: Facts,
    fields: Fields,
    body: Vec<u8>,
    scratch: BTreeMap<String, Vec<u8>>,
    settings: String,
    entries: BTreeMap<String, Entry>,
    faults: BTreeMap<&'static str, u16>,
    forward_domains: Option<Vec<String>>,
    addresses: BTreeMap<String, Vec<String>>,
    exchangers: BTreeMap<String, Vec<Exchanger>>,
    texts: BTreeMap<String, Vec<Vec<u8>>>,
    names: BTreeMap<String, Vec<String>>,
    unanswered: BTreeSet<String>,
    questions: Vec<String>,
    responses: Vec<Result<Response, Fault>>,
    attempt: (String, u32, u32),
    fate: (String, Option<String>, String, u32),
    edits: Vec<Edit>,
    forwards: Vec<Forward>,
    quarantined: Option<String>,
    reply: Option<(String, String)>,
    lines: Vec<(Level, String)>,
    requests: Vec<Request>,
    used: BTreeSet<&'static str>,
}

/// The session and the envelope.
#[derive(Clone, Debug)]
struct Facts {
    now: u32,
    listener: (String, String),
    client_address: Option<String>,
    client_name: Option<String>,
    hello_name: Option<String>,
    identity: Option<String>,
    tls_version: Option<String>,
    reverse_path: Option<String>,
    body_type: String,
    smtputf8: bool,
    forward_path: Option<String>,
    mailbox: Option<String>,
    recipients: Vec<String>,
    announced: u32,
}

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

thread_local! {
    /// The host of the hook that this thread runs.
    static RUNNING: RefCell<Option<Fake>> = const { RefCell::new(None) };
}

impl Fake {
    /// A plain session on an MX. See [`Fake`].
    #[must_use]
    pub fn new() -> Self {
        let facts = Facts {
            now: 1_800_000_000,
            listener: ("mx".into(), "mx".into()),
            client_address: Some("192.0.2.1".into()),
            client_name: None,
            hello_name: Some("client.example".into()),
            identity: None,
            tls_version: None,
            reverse_path: Some("sender@client.example".into()),
            body_type: "7BIT".into(),
            smtputf8: false,
            forward_path: Some("recipient@here.example".into()),
            mailbox: Some("recipient@here.example".into()),
            recipients: Vec::new(),
            announced: 0,
        };
        Self {
            facts,
            fields: Fields::default(),
            body: Vec::new(),
            scratch: BTreeMap::new(),
            settings: "{}".into(),
            entries: BTreeMap::new(),
            faults: BTreeMap::new(),
            forward_domains: None,
            addresses: BTreeMap::new(),
            exchangers: BTreeMap::new(),
            texts: BTreeMap::new(),
            names: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            questions: Vec::new(),
            responses: Vec::new(),
            attempt: ("key-1".into(), 1, 1_800_000_000),
            fate: ("delivered".into(), Some("2.0.0".into()), "delivered".into(), 1),
            edits: Vec::new(),
            forwards: Vec::new(),
            quarantined: None,
            reply: None,
            lines: Vec::new(),
            requests: Vec::new(),
            used: BTreeSet::new(),
        }
    }

    /// Runs a hook (or any code that uses the context) with this host, which then knows what it did. What one hook leaves,
    /// a later one sees.
    ///
    /// # Panics
    /// When the code panics, and when it is run inside itself.
    pub fn run<T>(&mut self, hook: impl FnOnce() -> T) -> T {
        let already = RUNNING.replace(Some(self.clone())).is_some();
        assert!(!already, "a hook can not run inside another");
        // A panic ends the test; the next one on this thread must not find this host.
        struct End;
        impl Drop for End {
            fn drop(&mut self) {
                RUNNING.take();
            }
        }
        let end = End;
        let answer = hook();
        if let Some(after) = RUNNING.take() {
            *self = after;
        }
        drop(end);
        answer
    }

    /// The clock: seconds since 1970.
    pub fn now(&mut self, seconds: u32) -> &mut Self {
        self.facts.now = seconds;
        self
    }

    /// So many seconds go by.
    pub fn wait(&mut self, seconds: u32) -> &mut Self {
        self.facts.now = self.facts.now.saturating_add(seconds);
        self
    }

    /// The listener's name and kind.
    pub fn listener(&mut self, name: &str, kind: &str) -> &mut Self {
        self.facts.listener = (name.into(), kind.into());
        self
    }

    /// The client's address; none: a Unix socket.
    pub fn client_address<'a>(&mut self, address: impl Into<Option<&'a str>>) -> &mut Self {
        self.facts.client_address = address.into().map(str::to_owned);
        self
    }

    /// The client's verified name.
    pub fn client_name<'a>(&mut self, name: impl Into<Option<&'a str>>) -> &mut Self {
        self.facts.client_name = name.into().map(str::to_owned);
        self
    }

    /// The argument of EHLO.
    pub fn hello_name<'a>(&mut self, name: impl Into<Option<&'a str>>) -> &mut Self {
        self.facts.hello_name = name.into().map(str::to_owned);
        self
    }

    /// The login.
    pub fn identity<'a>(&mut self, identity: impl Into<Option<&'a str>>) -> &mut Self {
        self.facts.identity = identity.into().map(str::to_owned);
        self
    }

    /// The version of TLS.
    pub fn tls_version<'a>(&mut self, version: impl Into<Option<&'a str>>) -> &mut Self {
        self.facts.tls_version = version.into().map(str::to_owned);
        self
    }

    /// The reverse-path; empty: the null one.
    pub fn reverse_path<'a>(&mut self, address: impl Into<Option<&'a str>>) -> &mut Self {
        self.facts.reverse_path = address.into().map(str::to_owned);
        self
    }

    /// BODY= of MAIL.
    pub fn body_type(&mut self, name: &str) -> &mut Self {
        self.facts.body_type = name.into();
        self
    }

    /// Whether SMTPUTF8 was given.
    pub fn smtputf8(&mut self, given: bool) -> &mut Self {
        self.facts.smtputf8 = given;
        self
    }

    /// The recipient that the hook is called for, and its mailbox (which is none where it is not local).
    pub fn recipient<'a>(&mut self, forward_path: &str, mailbox: impl Into<Option<&'a str>>) -> &mut Self {
        self.facts.forward_path = Some(forward_path.into());
        self.facts.mailbox = mailbox.into().map(str::to_owned);
        self
    }

    /// The hook is called for several recipients, these.
    pub fn recipients(&mut self, forward_paths: &[&str]) -> &mut Self {
        self.facts.forward_path = None;
        self.facts.mailbox = None;
        self.facts.recipients = forward_paths.iter().map(|path| (*path).to_owned()).collect();
        self
    }

    /// What SIZE= said, octets.
    pub fn announced_size(&mut self, octets: u32) -> &mut Self {
        self.facts.announced = octets;
        self
    }

    /// The content: header, empty line, body. Lines may end in LF.
    pub fn message(&mut self, content: impl AsRef<[u8]>) -> &mut Self {
        let (fields, body) = Fields::split(content.as_ref());
        self.fields = fields;
        self.body = body;
        self
    }

    /// The operator's settings: a JSON object.
    pub fn settings(&mut self, json: &str) -> &mut Self {
        self.settings = json.into();
        self
    }

    /// An interface that answers every call with this fault, as `keyvalue` with [`Fault::UNAVAILABLE`], until it is
    /// [`repaired`](Fake::repair).
    pub fn fault(&mut self, interface: &'static str, code: u16) -> &mut Self {
        self.faults.insert(interface, code);
        self
    }

    /// The interface works again.
    pub fn repair(&mut self, interface: &'static str) -> &mut Self {
        self.faults.remove(interface);
        self
    }

    /// The domains that are granted to `forwarding`; without this, all.
    pub fn forward_domains(&mut self, domains: &[&str]) -> &mut Self {
        self.forward_domains = Some(domains.iter().map(|domain| domain.to_ascii_lowercase()).collect());
        self
    }

    /// A and AAAA of a name. Names that were not set do not exist.
    pub fn addresses(&mut self, name: &str, addresses: &[&str]) -> &mut Self {
        self.addresses.insert(host::key(name), addresses.iter().map(|text| (*text).to_owned()).collect());
        self
    }

    /// MX of a name.
    pub fn mx(&mut self, name: &str, exchangers: &[(u16, &str)]) -> &mut Self {
        let mut list: Vec<Exchanger> = exchangers
            .iter()
            .map(|(preference, name)| Exchanger { preference: *preference, name: (*name).to_owned() })
            .collect();
        list.sort_by_key(|exchanger| exchanger.preference);
        self.exchangers.insert(host::key(name), list);
        self
    }

    /// TXT of a name.
    pub fn txt(&mut self, name: &str, texts: &[&str]) -> &mut Self {
        self.texts.insert(host::key(name), texts.iter().map(|text| text.as_bytes().to_vec()).collect());
        self
    }

    /// The names of an address.
    pub fn ptr(&mut self, address: &str, names: &[&str]) -> &mut Self {
        self.names.insert(host::key(address), names.iter().map(|text| (*text).to_owned()).collect());
        self
    }

    /// A name about which nobody knows anything now: every question for it is [`Fault::UNAVAILABLE`].
    pub fn unanswered(&mut self, name: &str) -> &mut Self {
        self.unanswered.insert(host::key(name));
        self
    }

    /// What the next request is answered with; they are used up in this order.
    pub fn respond(&mut self, response: Result<Response, Fault>) -> &mut Self {
        self.responses.push(response);
        self
    }

    /// The attempt of a delivery hook: key, number, when the message was accepted.
    pub fn attempt(&mut self, idempotency_key: &str, number: u32, queued_at: u32) -> &mut Self {
        self.attempt = (idempotency_key.into(), number, queued_at);
        self
    }

    /// What became of the recipient: state, status, text, attempts.
    pub fn fate(&mut self, state: &str, status: Option<&str>, text: &str, attempts: u32) -> &mut Self {
        self.fate = (state.into(), status.map(str::to_owned), text.into(), attempts);
        self
    }

    /// The next transaction of the same client: scratch, edits and wishes are gone; settings, key-values and the log stay.
    pub fn next_transaction(&mut self) -> &mut Self {
        self.scratch.clear();
        self.fields = Fields::default();
        self.body.clear();
        self.edits.clear();
        self.forwards.clear();
        self.quarantined = None;
        self.reply = None;
        self
    }

    /// What was done to the header, in this order.
    #[must_use]
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// The header as the recipient gets it.
    #[must_use]
    pub fn header(&self) -> String {
        String::from_utf8_lossy(&self.fields.render()).into_owned()
    }

    /// The message as the recipient gets it; the real host puts its trace fields above.
    #[must_use]
    pub fn rendered(&self) -> Vec<u8> {
        let mut octets = self.fields.render();
        octets.extend_from_slice(b"\r\n");
        octets.extend_from_slice(&self.body);
        octets
    }

    /// What was done about recipients.
    #[must_use]
    pub fn forwards(&self) -> &[Forward] {
        &self.forwards
    }

    /// Why the message is kept aside, if it is.
    #[must_use]
    pub fn quarantined(&self) -> Option<&str> {
        self.quarantined.as_deref()
    }

    /// The answer to the sender: subject and text.
    #[must_use]
    pub fn reply(&self) -> Option<(&str, &str)> {
        self.reply.as_ref().map(|(subject, text)| (&**subject, &**text))
    }

    /// The log.
    #[must_use]
    pub fn lines(&self) -> &[(Level, String)] {
        &self.lines
    }

    /// Requests that were made.
    #[must_use]
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Names and addresses that the DNS was asked about, each with the kind of the question: `MX example.org`.
    #[must_use]
    pub fn questions(&self) -> &[String] {
        &self.questions
    }

    /// The interfaces that were used so far, which are those that the component will import.
    #[must_use]
    pub fn used(&self) -> Vec<&'static str> {
        self.used.iter().copied().collect()
    }

    /// What the plugin's database has under this key now.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&[u8]> {
        let now = self.facts.now;
        self.entries.get(key).filter(|entry| entry.expires.is_none_or(|end| end > now)).map(|entry| &entry.value[..])
    }
}

#[cfg(test)]
mod tests;
