//! The sealed engine, from the outside: one session, one instance, short synchronous calls.
//!
//! Here is its receiving side, in [`client`] the sending one, in [`probe`] the one that tests servers; all are in the same
//! component and the same [`pool`].
//!
//! Owns the boundary to `engine.wasm`. Refuses to know SMTP. Fails by [`EngineError`]: a misuse is our fault, anything
//! else ends this one session and no other.

pub mod client;
pub mod pool;
pub mod probe;

/// What `wit/engine` says, in Rust.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated; documented in wit/engine")]
pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit/engine",
        world: "engine",
        additional_derives: [Clone, PartialEq],
    });
}

/// The values that cross the boundary.
pub mod types {
    pub use super::bindings::exports::hermetic::engine::server::{Limits, Options, Protocol};
    pub use super::bindings::exports::hermetic::engine::types::*;
}

use types::{Answer, Misuse, Need, Options, Piece, Question, Refusal, Step};

/// Why a call into the engine brought no step.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// We called it wrongly: a bug of ours, not the peer's.
    #[error("the engine was misused: {0:?}")]
    Misuse(Misuse),
    /// The engine trapped: a bug in the engine. The instance is gone.
    #[error("the engine trapped: {0}")]
    Trap(String),
    /// A call took longer than its deadline. The instance is gone.
    #[error("the engine did not return within {0} ms")]
    Deadline(u64),
    /// No instance is free, or none could be made.
    #[error("no engine instance: {0}")]
    Instance(String),
}

/// Something that can open sessions: the component under wasmtime, or in the benchmarks the same core natively.
pub trait Engine: Send + Sync + 'static {
    /// A session before its greeting.
    fn open(&self, options: &Options) -> Result<Box<dyn Session>, EngineError>;
    /// A session from the image that [`Session::freeze`] made under the same options.
    fn thaw(&self, options: &Options, image: &[u8]) -> Result<Box<dyn Session>, EngineError>;
    /// The component's SHA-256 in hexadecimal; none: it is no component.
    fn hash(&self) -> Option<&str> {
        None
    }
}

/// One session. `now` is milliseconds on one monotonic clock for the whole session.
pub trait Session: Send {
    /// See `wit/engine/server.wit`.
    fn start(&mut self, now: u64) -> Result<Step, EngineError>;
    /// See `wit/engine/server.wit`.
    fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, EngineError>;
    /// See `wit/engine/server.wit`.
    fn secured(&mut self, now: u64, mechanisms: &[String]) -> Result<Step, EngineError>;
    /// See `wit/engine/server.wit`.
    fn tick(&mut self, now: u64) -> Result<Step, EngineError>;
    /// See `wit/engine/server.wit`.
    fn answer(&mut self, now: u64, answer: &Answer) -> Result<Step, EngineError>;
    /// See `wit/engine/server.wit`.
    fn drain(&mut self, now: u64, farewell: &Refusal) -> Result<Step, EngineError>;
    /// The state as bytes; the instance goes back to the pool.
    fn freeze(self: Box<Self>) -> Result<Vec<u8>, EngineError>;
}

/// What a step claims must be possible. An engine that was taken over, or that is merely wrong, can then not make its
/// embedder read beyond the input, spin, or write a forged line into a log. `input` is how many octets the call was
/// given: none, unless it was `receive`.
///
/// # Errors
/// [`EngineError::Trap`], for such a step is as good as a trap: the session cannot go on.
pub fn validate(step: &Step, input: usize) -> Result<(), EngineError> {
    let lie = |what: &str| Err(EngineError::Trap(format!("the step is impossible: {what}")));
    let consumed = step.consumed as usize;
    if consumed > input {
        return lie("it consumed more than it was given");
    }
    let mut end = 0;
    for piece in &step.body {
        if let Piece::Range((offset, length)) = piece {
            let (offset, length) = (*offset as usize, *length as usize);
            if offset < end {
                return lie("its ranges overlap or run backwards");
            }
            end = offset.saturating_add(length);
        }
    }
    if end > consumed {
        return lie("a range is outside of what it consumed");
    }
    if step.events.iter().any(|event| event.detail.chars().any(char::is_control)) {
        return lie("an event is not printable");
    }
    if consumed == 0 && input > 0 && step.need != Need::Close {
        return lie("it was given input and used none");
    }
    match &step.need {
        Need::Input if consumed < input => lie("it wants more input and leaves some of it"),
        Need::Answer(Question::Recipients(batch)) if batch.is_empty() => lie("it asks about no recipient"),
        Need::Answer(Question::Message(facts)) if facts.recipients == 0 => lie("it has a message for nobody"),
        _ => Ok(()),
    }
}

/// The same for the step of a `tick` at `now`: what is due must be dealt with, or its embedder would call again at once,
/// for ever.
///
/// # Errors
/// As [`validate`].
pub fn validate_tick(step: &Step, now: u64) -> Result<(), EngineError> {
    validate(step, 0)?;
    if step.wake <= now && step.need != Need::Close {
        return Err(EngineError::Trap("the step is impossible: a tick leaves its time in the past".into()));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
mod tests {
    use super::types::{Event, MessageFacts, Occasion};
    use super::*;

    fn step(consumed: u32, body: Vec<Piece>, need: Need) -> Step {
        Step { consumed, transmit: Vec::new(), body, abandoned: false, events: Vec::new(), need, wake: 0 }
    }

    #[test]
    fn what_cannot_be_true_is_refused() {
        let range = |offset, length| Piece::Range((offset, length));
        let check = |step: &Step, input, expected: Option<&str>| match (validate(step, input), expected) {
            (Ok(()), None) => {}
            (Err(EngineError::Trap(why)), Some(what)) if why.contains(what) => {}
            (got, _) => panic!("{step:?} with {input} octets: expected {expected:?}, got {got:?}"),
        };
        let body = |consumed, body: &[Piece]| step(consumed, body.to_vec(), Need::Input);
        check(&body(0, &[]), 0, None);
        check(&body(9, &[range(0, 4), Piece::Octets(b"..".to_vec()), range(4, 5)]), 9, None);
        check(&step(3, vec![range(0, 3)], Need::Answer(Question::Data)), 9, None);
        check(&step(0, vec![], Need::Close), 9, None);
        assert!(validate_tick(&step(0, vec![], Need::Close), 9).is_ok());
        assert!(validate_tick(&Step { wake: 10, ..step(0, vec![], Need::Input) }, 9).is_ok());
        assert!(validate_tick(&Step { wake: 9, ..step(0, vec![], Need::Input) }, 9).is_err());

        check(&body(10, &[]), 9, Some("more than it was given"));
        check(&body(9, &[range(0, 10)]), 9, Some("outside"));
        check(&body(5, &[range(0, 6)]), 5, Some("outside"));
        check(&step(5, vec![range(0, 6)], Need::Answer(Question::Data)), 9, Some("outside"));
        check(&body(9, &[range(u32::MAX, u32::MAX)]), 9, Some("outside"));
        check(&body(9, &[range(4, 2), range(5, 1)]), 9, Some("overlap"));
        check(&body(9, &[range(4, 2), range(0, 1)]), 9, Some("backwards"));
        check(&body(8, &[]), 9, Some("leaves some"));
        check(&step(0, vec![], Need::Answer(Question::Data)), 9, Some("used none"));
        check(&step(1, vec![], Need::Answer(Question::Recipients(vec![]))), 1, Some("no recipient"));
        let facts = MessageFacts { size: 0, eight_bit: false, bare_line_ends: false, longest_line: 0, recipients: 0 };
        check(&step(1, vec![], Need::Answer(Question::Message(facts))), 1, Some("for nobody"));
        for detail in ["a\nb", "a\rb", "\u{1b}[2J", "\u{9b}2J"] {
            let mut step = step(1, vec![], Need::Input);
            step.events.push(Event { occasion: Occasion::Refused, detail: detail.into(), secret: false });
            check(&step, 1, Some("not printable"));
        }
    }
}
