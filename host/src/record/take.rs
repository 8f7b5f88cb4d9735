//! What is held of a session while it goes on: what was put in, and a hash of what came out.
//!
//! Owns the copy of the inputs and its bounds. Refuses to write files and to know what may be in them: that is
//! [`super::produce`]'s, when the session is over. It never fails a session: where it would hold too much it is given up, and
//! says why.

use std::hash::Hasher as _;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value as Json};

use super::call::ServerCall;
use super::sum::Sum;
use super::value::Value;
use crate::config::plugins::{Pattern, comparable};
use crate::engine::types::{Answer, ForwardPath, HostName, Mailbox, Need, Occasion, Options, Question, Refusal, Step};
use crate::engine::{EngineError, Session};

/// What one call costs beside its octets, about.
const CALL: usize = 96;
/// Memory is taken in such steps.
const STEP: usize = 16 * 1024;

/// One call of the engine, with what is lent to it.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "documented in wit/engine/server.wit")]
pub enum Called<'a> {
    Start,
    Receive(&'a [u8]),
    Secured(&'a [String]),
    Tick,
    Answer(&'a Answer),
    Drain(&'a Refusal),
}

impl Called<'_> {
    /// Makes it.
    ///
    /// # Errors
    /// The engine's.
    pub fn make(self, session: &mut dyn Session, now: u64) -> Result<Step, EngineError> {
        match self {
            Self::Start => session.start(now),
            Self::Receive(input) => session.receive(now, input),
            Self::Secured(mechanisms) => session.secured(now, mechanisms),
            Self::Tick => session.tick(now),
            Self::Answer(answer) => session.answer(now, answer),
            Self::Drain(farewell) => session.drain(now, farewell),
        }
    }
}

/// The same, held.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Start,
    /// A part of [`Take::octets`]. What was not used and is given again overlaps.
    Receive(Range<usize>),
    Secured(Vec<String>),
    Tick,
    Answer(Answer),
    Drain(Refusal),
}

/// Why a recording was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GivenUp {
    /// Of this session.
    #[error("the session is larger than record.largest")]
    Large,
    /// Of all sessions.
    #[error("all recordings together would be larger than record.memory")]
    Memory,
}

/// Octets that all recordings hold together.
#[derive(Debug, Default)]
pub struct Memory {
    held: AtomicUsize,
}

impl Memory {
    fn take(&self, octets: usize, most: usize) -> bool {
        let taken = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(octets).filter(|sum| *sum <= most)
        });
        taken.is_ok()
    }

    /// Octets that are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// Gives back what it took.
#[derive(Debug)]
struct Share {
    memory: Arc<Memory>,
    octets: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

/// The bounds of a recording.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Octets of one session.
    pub largest: usize,
    /// Octets of all.
    pub memory: usize,
}

/// One session.
#[derive(Debug)]
pub struct Take {
    pub(super) options: Options,
    /// When each call was made, and what it was given.
    pub(super) calls: Vec<(u64, Input)>,
    pub(super) octets: Vec<u8>,
    /// What plugins were asked, and how many calls stand before it.
    pub(super) hooks: Vec<(usize, Map<String, Json>)>,
    /// Why the last call brought no step.
    pub(super) trap: Option<String>,
    hash: Sum,
    /// Where in `octets` begins what the last `receive` left.
    rest: usize,
    size: usize,
    bounds: Bounds,
    share: Share,
    given_up: Option<GivenUp>,
    /// Something was faulty.
    faulty: bool,
    /// It was drawn, or all but its mail is of what is looked for.
    pub(super) drawn: bool,
    pub(super) looked_for: bool,
    /// The mail that is looked for; none: any.
    patterns: Vec<Pattern>,
    /// There was some.
    matched: bool,
}

impl Take {
    /// Of a session that begins.
    #[must_use]
    pub fn new(options: Options, bounds: Bounds, memory: Arc<Memory>) -> Self {
        Self {
            options,
            calls: Vec::new(),
            octets: Vec::new(),
            hooks: Vec::new(),
            trap: None,
            hash: Sum::default(),
            rest: 0,
            size: 0,
            bounds,
            share: Share { memory, octets: 0 },
            given_up: None,
            faulty: false,
            drawn: false,
            looked_for: false,
            patterns: Vec::new(),
            matched: true,
        }
    }

    /// It was drawn; it is looked for, if there is mail as one of these patterns says (none: any).
    #[must_use]
    pub fn wanted(mut self, drawn: bool, looked_for: bool, patterns: Vec<Pattern>) -> Self {
        (self.drawn, self.looked_for) = (drawn, looked_for);
        self.matched = patterns.is_empty();
        self.patterns = patterns;
        self
    }

    /// Why there will be no file.
    #[must_use]
    pub fn given_up(&self) -> Option<GivenUp> {
        self.given_up
    }

    /// A command or content was faulty, or the engine ended the session.
    #[must_use]
    pub fn faulty(&self) -> bool {
        self.faulty
    }

    /// It is of those that are looked for.
    #[must_use]
    pub fn matches(&self) -> bool {
        self.looked_for && self.matched
    }

    /// The hash of what came out.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.hash.finish()
    }

    /// A call was made, and this came of it.
    pub fn add(&mut self, now: u64, called: Called<'_>, outcome: &Result<Step, EngineError>) {
        if let Ok(step) = outcome {
            self.look(step);
        }
        if self.given_up.is_some() {
            return;
        }
        let (input, size) = match called {
            Called::Start => (Input::Start, 0),
            Called::Tick => (Input::Tick, 0),
            Called::Receive(input) => (Input::Receive(self.hold(input)), input.len()),
            Called::Secured(mechanisms) => (Input::Secured(mechanisms.to_vec()), mechanisms.len() * 32),
            Called::Answer(answer) => (Input::Answer(answer.clone()), size_of_answer(answer)),
            Called::Drain(farewell) => (Input::Drain(farewell.clone()), farewell.text.len()),
        };
        if let (Input::Receive(range), Ok(step)) = (&input, outcome) {
            self.rest = range.start.saturating_add(step.consumed as usize).min(range.end);
        }
        self.calls.push((now, input));
        match outcome {
            Ok(step) => step.feed(&mut self.hash),
            // A misuse of the engine is a bug of ours, and ends the session like a trap.
            Err(error) => self.trap = Some(error.to_string()),
        }
        self.grow(size + CALL);
    }

    /// A plugin was asked.
    pub fn hook(&mut self, hook: Map<String, Json>, size: usize) {
        if self.given_up.is_none() {
            self.hooks.push((self.calls.len(), hook));
            self.grow(size + CALL);
        }
    }

    /// Where the octets are held: those that were given before and not used are not held twice.
    fn hold(&mut self, input: &[u8]) -> Range<usize> {
        let start = match self.octets.get(self.rest..) {
            Some(rest) if input.starts_with(rest) => self.rest,
            _ => self.octets.len(),
        };
        let held = self.octets.len() - start;
        self.octets.extend_from_slice(&input[held..]);
        start..self.octets.len()
    }

    fn grow(&mut self, size: usize) {
        self.size = self.size.saturating_add(size);
        if self.size > self.bounds.largest {
            return self.give_up(GivenUp::Large);
        }
        while self.size > self.share.octets {
            if !self.share.memory.take(STEP, self.bounds.memory) {
                return self.give_up(GivenUp::Memory);
            }
            self.share.octets += STEP;
        }
    }

    fn give_up(&mut self, why: GivenUp) {
        self.given_up = Some(why);
        (self.calls, self.octets, self.hooks) = (Vec::new(), Vec::new(), Vec::new());
        self.share = Share { memory: self.share.memory.clone(), octets: 0 };
    }

    /// Is it what is looked for?
    fn look(&mut self, step: &Step) {
        self.faulty |= step.events.iter().any(|event| {
            use Occasion::{ContentRefused, PlaintextDiscarded, SequenceError, SyntaxError, TimedOut, TooManyErrors};
            matches!(
                event.occasion,
                SyntaxError | SequenceError | ContentRefused | PlaintextDiscarded | TooManyErrors | TimedOut
            )
        });
        if self.matched {
            return;
        }
        let fits = |mailbox: &Mailbox| {
            let (HostName::Domain(host) | HostName::Literal(host)) = &mailbox.host;
            let address = comparable(&mailbox.local, host);
            self.patterns.iter().any(|pattern| pattern.matches(&address))
        };
        self.matched = match &step.need {
            Need::Answer(Question::Sender(sender)) => sender.mailbox.as_ref().is_some_and(fits),
            Need::Answer(Question::Recipients(batch)) => batch.iter().any(|recipient| match &recipient.path {
                ForwardPath::Mailbox(mailbox) => fits(mailbox),
                ForwardPath::Postmaster => self.patterns.iter().any(|pattern| pattern.matches("postmaster")),
            }),
            _ => false,
        };
    }

    /// Every call, with its octets from `octets`, which are as long as those that were held.
    pub(super) fn calls(&self, octets: &[u8]) -> Vec<ServerCall> {
        let call = |(now, input): &(u64, Input)| {
            let now = *now;
            match input {
                Input::Start => ServerCall::Start { now },
                Input::Receive(range) => {
                    ServerCall::Receive { now, input: octets.get(range.clone()).unwrap_or_default().to_vec() }
                }
                Input::Secured(mechanisms) => ServerCall::Secured { now, mechanisms: mechanisms.clone() },
                Input::Tick => ServerCall::Tick { now },
                Input::Answer(answer) => ServerCall::Answer { now, answer: answer.clone() },
                Input::Drain(farewell) => ServerCall::Drain { now, farewell: farewell.clone() },
            }
        };
        self.calls.iter().map(call).collect()
    }
}

fn size_of_answer(answer: &Answer) -> usize {
    let decisions = |list: &[crate::engine::types::Decision]| {
        let size = |one: &crate::engine::types::Decision| match one {
            Ok(None) => 0,
            Ok(Some(text)) => text.len(),
            Err(refusal) => refusal.text.len(),
        };
        list.iter().map(|one| 48 + size(one)).sum::<usize>()
    };
    if let Answer::Recipients(list) | Answer::Message(list) = answer {
        return decisions(list);
    }
    // Texts of one line.
    256
}
