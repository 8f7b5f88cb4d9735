//! What plugins were asked, and what they asked of the host: written down for a session's file, or read from one.
//!
//! Owns [`Witness`], to which every call of a hook of a recorded session is told, and [`Ledger`], which holds the calls of the
//! host within one of them, and in a replay answers them. Refuses to judge. A call that is not in the record has no answer: it
//! is a fault for the plugin (5), and is told of.
//!
//! Of WASI's own functions only the time of day is the recorded one; random numbers are never recorded.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::{
    bindings::hermetic::plugin::{
        http::{Field, Response},
        resolver::Exchanger,
        types::Fault,
    },
    hook::{Facts, Forward, Hook, Message, Ran, Wishes},
};

/// One call of the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostCall {
    /// `keyvalue.get`.
    pub call: String,
    /// What it was given.
    pub asked: Json,
    /// `{"ok": …}` or `{"fault": [code, text]}`.
    pub answer: Json,
}

/// A call of the host that is not in the record.
#[derive(Clone, Debug, PartialEq)]
pub struct Unrecorded {
    /// `keyvalue.get`.
    pub call: String,
    /// What it was given.
    pub asked: Json,
}

/// The calls of the host within one call of a hook.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Page>);

#[derive(Debug, Default)]
struct Page {
    /// None: they are recorded, not answered.
    script: Option<Vec<HostCall>>,
    calls: Vec<HostCall>,
    unrecorded: Vec<Unrecorded>,
}

impl Ledger {
    /// The next call of a hook is answered by these.
    pub fn answer_from(&self, script: Vec<HostCall>) {
        *self.0.lock() = Page { script: Some(script), ..Page::default() };
    }

    /// What was asked that is not in the record.
    pub fn unrecorded(&self) -> Vec<Unrecorded> {
        std::mem::take(&mut self.0.lock().unrecorded)
    }

    /// What was asked.
    fn calls(&self) -> Vec<HostCall> {
        std::mem::take(&mut self.0.lock().calls)
    }

    /// The recorded answer. None: nothing is replayed.
    pub(super) fn recorded<T: Told>(&self, call: &str, asked: &Json) -> Option<Result<T, Fault>> {
        let mut page = self.0.lock();
        let script = page.script.as_mut()?;
        let place = script.iter().position(|one| one.call == call && one.asked == *asked);
        let told = place.map(|place| script.remove(place)).and_then(|one| read(&one.answer));
        Some(told.unwrap_or_else(|| {
            page.unrecorded.push(Unrecorded { call: call.to_owned(), asked: asked.clone() });
            Err(Fault { code: 5, text: "this call is not in the record".into() })
        }))
    }

    /// Something was asked that can not be answered from any record.
    pub(super) fn unknown(&self, call: &str) -> bool {
        let mut page = self.0.lock();
        if page.script.is_none() {
            return false;
        }
        page.unrecorded.push(Unrecorded { call: call.to_owned(), asked: Json::Null });
        true
    }

    pub(super) fn add<T: Told>(&self, call: &str, asked: Json, answer: &Result<T, Fault>) {
        let answer = match answer {
            Ok(value) => json!({ "ok": value.json() }),
            Err(fault) => json!({ "fault": [fault.code, fault.text] }),
        };
        self.0.lock().calls.push(HostCall { call: call.to_owned(), asked, answer });
    }
}

fn read<T: Told>(answer: &Json) -> Option<Result<T, Fault>> {
    if let Some(value) = answer.get("ok") {
        return T::read(value).map(Ok);
    }
    let fault = answer.get("fault")?.as_array()?;
    let code = u16::try_from(fault.first()?.as_u64()?).ok()?;
    Some(Err(Fault { code, text: fault.get(1)?.as_str()?.to_owned() }))
}

/// Octets as text in which each character is one of them.
#[must_use]
pub fn latin(octets: &[u8]) -> String {
    octets.iter().copied().map(char::from).collect()
}

/// The octets of such text.
#[must_use]
pub fn octets(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|character| u8::try_from(character).ok()).collect()
}

/// An answer of the host in JSON.
pub(super) trait Told: Sized {
    fn json(&self) -> Json;
    fn read(json: &Json) -> Option<Self>;
}

impl Told for () {
    fn json(&self) -> Json {
        Json::Null
    }

    fn read(json: &Json) -> Option<Self> {
        json.is_null().then_some(())
    }
}

impl Told for i32 {
    fn json(&self) -> Json {
        Json::from(*self)
    }

    fn read(json: &Json) -> Option<Self> {
        json.as_i64().and_then(|number| Self::try_from(number).ok())
    }
}

impl Told for Vec<u8> {
    fn json(&self) -> Json {
        Json::from(latin(self))
    }

    fn read(json: &Json) -> Option<Self> {
        json.as_str().and_then(octets)
    }
}

impl Told for String {
    fn json(&self) -> Json {
        Json::from(self.as_str())
    }

    fn read(json: &Json) -> Option<Self> {
        json.as_str().map(str::to_owned)
    }
}

impl<T: Told> Told for Option<T> {
    fn json(&self) -> Json {
        self.as_ref().map_or(Json::Null, Told::json)
    }

    fn read(json: &Json) -> Option<Self> {
        if json.is_null() { Some(None) } else { T::read(json).map(Some) }
    }
}

impl Told for Exchanger {
    fn json(&self) -> Json {
        json!([self.preference, self.name])
    }

    fn read(json: &Json) -> Option<Self> {
        let preference = u16::try_from(json.get(0)?.as_u64()?).ok()?;
        Some(Self { preference, name: json.get(1)?.as_str()?.to_owned() })
    }
}

/// Lists of what is no octet.
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T: Told> Told for List<T> {
    fn json(&self) -> Json {
        self.0.iter().map(Told::json).collect()
    }

    fn read(json: &Json) -> Option<Self> {
        json.as_array()?.iter().map(T::read).collect::<Option<_>>().map(Self)
    }
}

impl Told for Response {
    fn json(&self) -> Json {
        let fields: Vec<_> = self.fields.iter().map(|field| json!([field.name, field.value])).collect();
        json!({ "status": self.status, "fields": fields, "body": latin(&self.body) })
    }

    fn read(json: &Json) -> Option<Self> {
        let field = |field: &Json| {
            Some(Field { name: field.get(0)?.as_str()?.to_owned(), value: field.get(1)?.as_str()?.to_owned() })
        };
        Some(Self {
            status: u16::try_from(json.get("status")?.as_u64()?).ok()?,
            fields: json.get("fields")?.as_array()?.iter().map(field).collect::<Option<_>>()?,
            body: octets(json.get("body")?.as_str()?)?,
        })
    }
}

/// Writes down what plugins are asked in one session, within bounds.
#[derive(Debug)]
pub struct Witness {
    most: usize,
    /// Content may be written down, and what a plugin that sees it asks and wants.
    bodies: bool,
    phases: AtomicU64,
    /// Octets so far, and what was not taken yet.
    held: Mutex<(usize, Vec<Written>)>,
}

/// A hook's line and its size.
type Written = (Map<String, Json>, usize);

impl Witness {
    /// Of at most so many octets.
    #[must_use]
    pub fn new(most: usize, bodies: bool) -> Self {
        Self { most, bodies, phases: AtomicU64::new(0), held: Mutex::default() }
    }

    /// The number of a new phase.
    pub(super) fn phase(&self) -> u64 {
        self.phases.fetch_add(1, Ordering::Relaxed)
    }

    /// What was written down since the last time, each with its size. Beyond the bound it is one of no content and without a bound.
    pub fn take(&self) -> Vec<Written> {
        std::mem::take(&mut self.held.lock().1)
    }

    pub(super) fn add(&self, asked: Asked<'_>, ledger: &Ledger, ran: &Ran, after: &Wishes) {
        let mut held = self.held.lock();
        if held.0 > self.most {
            return;
        }
        let (hook, size) = self.hook(asked, ledger.calls(), ran, after);
        held.0 = held.0.saturating_add(size);
        if held.0 > self.most {
            held.1.push((Map::new(), usize::MAX));
        } else {
            held.1.push((hook, size));
        }
    }

    fn hook(&self, asked: Asked<'_>, calls: Vec<HostCall>, ran: &Ran, after: &Wishes) -> Written {
        let mut hook = Map::new();
        let mut put = |name: &str, value: Json| hook.insert(name.to_owned(), value);
        put("plugin", ran.plugin.clone().into());
        put("hash", format!("sha256:{}", ran.hash).into());
        put("hook", asked.hook.as_str().into());
        put("phase", asked.phase.into());
        put("now", asked.now.into());
        put("facts", facts_json(asked.facts));
        put("forward", asked.forward.map_or(Json::Null, |to| json!([to.forward_path, to.mailbox])));
        put("recipients", asked.recipients.into());
        // Plain data always has a JSON form.
        put("verdict", serde_json::to_value(&ran.verdict).unwrap_or_default());
        put("failure", ran.failure.clone().into());
        if asked.message.is_some() && !self.bodies {
            put("left-out", "content".into());
            let names: Vec<_> = calls.iter().map(|call| json!({ "call": call.call })).collect();
            put("calls", names.into());
        } else {
            put("before", serde_json::to_value(asked.before).unwrap_or_default());
            put("after", serde_json::to_value(after).unwrap_or_default());
            put("calls", serde_json::to_value(&calls).unwrap_or_default());
            if let Some(message) = asked.message.filter(|_| asked.first) {
                put("message", json!({ "prefix": latin(&message.prefix), "content": latin(&message.content) }));
            }
        }
        let size = hook.values().map(size_of).sum();
        (hook, size)
    }
}

/// About as many octets as it has when it is written.
fn size_of(json: &Json) -> usize {
    match json {
        Json::String(text) => text.len() + 2,
        Json::Array(list) => list.iter().map(size_of).sum::<usize>() + 8,
        Json::Object(object) => object.iter().map(|(name, value)| name.len() + size_of(value)).sum::<usize>() + 8,
        _ => 8,
    }
}

/// One call of a hook.
pub(super) struct Asked<'a> {
    pub(super) hook: Hook,
    pub(super) phase: u64,
    /// It is the first of its phase.
    pub(super) first: bool,
    pub(super) now: u32,
    pub(super) facts: &'a Facts,
    pub(super) message: Option<&'a Message>,
    pub(super) forward: Option<&'a Forward>,
    pub(super) recipients: &'a [String],
    pub(super) before: &'a Wishes,
}

fn facts_json(facts: &Facts) -> Json {
    json!({
        "transaction-id": facts.transaction_id,
        "listener": facts.listener,
        "listener-kind": facts.listener_kind,
        "client-address": facts.client_address,
        "client-name": facts.client_name,
        "hello-name": facts.hello_name,
        "identity": facts.identity,
        "tls-version": facts.tls_version,
        "reverse-path": facts.reverse_path,
        "body-type": facts.body_type,
        "smtputf8": facts.smtputf8,
        "message-size": facts.message_size,
    })
}

/// The facts as they were written down.
#[must_use]
pub fn facts(json: &Json) -> Option<Facts> {
    let text = |name: &str| json.get(name)?.as_str().map(str::to_owned);
    Some(Facts {
        transaction_id: text("transaction-id")?,
        listener: text("listener")?,
        listener_kind: text("listener-kind")?,
        client_address: text("client-address").and_then(|address| address.parse().ok()),
        client_name: text("client-name"),
        hello_name: text("hello-name"),
        identity: text("identity"),
        tls_version: text("tls-version"),
        reverse_path: text("reverse-path"),
        body_type: text("body-type")?,
        smtputf8: json.get("smtputf8")?.as_bool()?,
        message_size: json.get("message-size")?.as_u64()?,
        ..Facts::default()
    })
}
