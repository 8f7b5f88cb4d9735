//! A recorded session, run again.
//!
//! Owns the comparison of each call's outcome with the recorded one. Refuses to look for more than the first difference:
//! what comes behind it follows from it. It fails where the engine gives no session; what a session does is never a
//! failure but a difference.

use std::fmt;

use serde_json::Value as Json;

use super::call::{Call as _, Half, Outcome, ServerHalf};
use super::compare::{Fields, fields};
use super::file::{Any, Entry, Recording, line_of};
use super::value::Value;
use crate::engine::client::ClientEngine;
use crate::engine::{Engine, EngineError};

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replayed {
    /// Calls that were made, the one that differs included.
    pub calls: usize,
    /// The first difference.
    pub difference: Option<Difference>,
}

/// A call that went another way than it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The file's line, from 1.
    pub line: usize,
    /// The function.
    pub call: String,
    /// Its time.
    pub now: u64,
    /// What is not the same.
    pub fields: Fields,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, `{}` at {} ms:", self.line, self.call, self.now)?;
        for field in &self.fields.listed {
            let path = if field.path.is_empty() { "the outcome" } else { &field.path };
            let [recorded, came] = [&field.recorded, &field.came].map(text);
            let at = recorded.chars().zip(came.chars()).take_while(|(one, other)| one == other).count();
            write!(f, "\n  {path}\n    recorded {}\n    came     {}", around(&recorded, at), around(&came, at))?;
        }
        match self.fields.more {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

fn text(value: &Option<Json>) -> String {
    value.as_ref().map_or_else(|| "nothing".into(), Json::to_string)
}

/// As much of a long text as shows what is at this place.
fn around(text: &str, at: usize) -> String {
    const BEFORE: usize = 40;
    const SHOWN: usize = 160;
    let start = if text.chars().count() > SHOWN { at.saturating_sub(BEFORE) } else { 0 };
    let mut rest = text.chars().skip(start);
    let shown: String = rest.by_ref().take(SHOWN).collect();
    let before = if start > 0 { "…" } else { "" };
    let behind = if rest.next().is_some() { "…" } else { "" };
    format!("{before}{shown}{behind}")
}

/// Makes the recorded calls, in order, up to the first that goes another way. The session is one that was just opened with
/// the recording's options.
pub fn replay<H: Half>(recording: &Recording<H>, session: &mut H::Session) -> Replayed {
    let mut replayed = Replayed::default();
    for (place, entry) in recording.entries.iter().enumerate() {
        let Entry::Call(call, recorded) = entry else { continue };
        replayed.calls += 1;
        let came = Outcome::of(H::call(session, call));
        if !recorded.agrees(&came) {
            let fields = fields(&json(recorded), &json(&came));
            let difference = Difference { line: line_of(place), call: call.name(), now: call.now(), fields };
            replayed.difference = Some(difference);
            break;
        }
    }
    replayed
}

fn json<S: Value>(outcome: &Outcome<S>) -> Json {
    let mut text = String::from("{");
    outcome.write(&mut text);
    text.push('}');
    serde_json::from_str(&text).unwrap_or_default()
}

/// The same for a session of a server.
///
/// # Errors
/// The engine gives no session.
pub fn server(recording: &Recording<ServerHalf>, engine: &dyn Engine) -> Result<Replayed, EngineError> {
    let mut session = engine.open(&recording.options)?;
    Ok(replay(recording, &mut *session))
}

/// The same for a session of either half.
///
/// # Errors
/// The engine gives no session.
pub fn any<E: Engine + ClientEngine>(recording: &Any, engine: &E) -> Result<Replayed, EngineError> {
    match recording {
        Any::Server(recording) => server(recording, engine),
        Any::Client(recording) => {
            let mut session = engine.client(&recording.options)?;
            Ok(replay(recording, &mut *session))
        }
    }
}
