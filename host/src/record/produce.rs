//! A file from what was held of a session.
//!
//! Owns the proof that the file is true and hides what it must: the inputs are run again, what comes out has to have the hash
//! of what came out then; then what must not be in the file is replaced, all of it is run once more, and has to go the same way.
//! Refuses to keep a file of which that can not be said, and says why ([`NotKept`]). It takes a few runs of the engine, so it is
//! for a thread that nobody waits for.

use std::hash::Hasher as _;
use std::mem::discriminant;

use serde_json::Value as Json;

use super::call::{Half as _, Outcome, ServerCall, ServerHalf};
use super::file::{Entry, Header, Recording};
use super::lines::{Level, Map};
use super::mask::{SECRET, Words};
use super::sum::Sum;
use super::take::Take;
use super::value::Value as _;
use crate::engine::types::{
    Answer, Decision, Need, Occasion, Options, Piece, Question, Refusal, SaslAnswer, SaslStep, Step, VerifyAnswer,
};
use crate::engine::{Engine, EngineError};

/// Lines for which more than one way to mask them is tried; a session with more of them is not kept.
const TRIED: usize = 32;
/// Calls that are made for that; where it may take more the session is not kept.
const WORK: usize = 100_000;

/// What may be read in a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Readable {
    /// Content.
    pub bodies: bool,
    /// Addresses.
    pub addresses: bool,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// There is no session to run it on.
    #[error("the engine can not run it again: {0}")]
    Engine(#[from] EngineError),
    /// The engine is no pure function of its input, or not all of it was held: a bug of ours.
    #[error("run again, the engine does not say the same; this is a bug")]
    Differs,
    /// What must not be in the file can not be replaced.
    #[error("without its secrets the session goes another way")]
    Masked,
}

/// The file.
///
/// # Errors
/// See [`NotKept`].
pub fn produce(
    take: &Take,
    engine: &dyn Engine,
    header: Header,
    readable: Readable,
) -> Result<Recording<ServerHalf>, NotKept> {
    let words = Words::default();
    let calls = take.calls(&take.octets);
    let original = run(engine, &take.options, &calls)?;
    if !is_as_it_was(take, &original) {
        return Err(NotKept::Differs);
    }
    let traced = match take.options.trace {
        true => original.clone(),
        false => run(engine, &Options { trace: true, ..take.options.clone() }, &calls)?,
    };
    let map = Map::of(take, &traced, !readable.addresses);
    let masked = |levels: &[Option<Level>]| {
        let octets = map.masked(&take.octets, levels, readable.bodies, &words);
        let mut calls = take.calls(&octets);
        for call in &mut calls {
            if let ServerCall::Answer { answer, .. } = call {
                mask_answer(answer, readable, &words);
            }
        }
        calls
    };
    let same = |outcomes: &[Outcome<Step>], until: usize| {
        let pairs = original.iter().zip(outcomes).zip(&calls).take(until + 1);
        let enough = outcomes.len() >= original.len().min(until + 1);
        enough && pairs.into_iter().all(|((was, is), call)| goes_the_same_way(was, is, call, readable))
    };
    let best: Vec<Option<Level>> = map.lines.iter().map(|line| line.levels.first().copied()).collect();
    let mut levels = best.clone();
    let mut outcomes = run(engine, &take.options, &masked(&levels))?;
    if !same(&outcomes, calls.len()) {
        let open: Vec<usize> = (0..levels.len()).filter(|line| map.lines[*line].levels.len() > 1).collect();
        if open.len() > TRIED || open.len().saturating_mul(calls.len()) > WORK {
            return Err(NotKept::Masked);
        }
        // Those behind the line that is looked at stay as they were, so that the fault can only be its own.
        open.iter().for_each(|line| levels[*line] = None);
        for &line in &open {
            let fits = |level: &&Level| {
                let mut levels = levels.clone();
                levels[line] = Some(**level);
                let outcomes = run(engine, &take.options, &masked(&levels));
                outcomes.is_ok_and(|outcomes| same(&outcomes, map.lines[line].call))
            };
            let level = map.lines[line].levels.iter().find(fits).ok_or(NotKept::Masked)?;
            levels[line] = Some(*level);
        }
        outcomes = run(engine, &take.options, &masked(&levels))?;
        if !same(&outcomes, calls.len()) {
            return Err(NotKept::Masked);
        }
    }
    let mut entries: Vec<Entry<ServerHalf>> =
        masked(&levels).into_iter().zip(outcomes).map(|(call, outcome)| Entry::Call(call, outcome)).collect();
    if let Some(trap) = &take.trap {
        let last = take.calls.len().saturating_sub(1);
        entries.truncate(last);
        if let Some(call) = masked(&levels).pop() {
            entries.push(Entry::Call(call, Outcome::Trap(trap.clone())));
        }
    }
    for (before, hook) in take.hooks.iter().rev() {
        let mut hook = Json::Object(hook.clone());
        if !readable.addresses {
            mask_json(&mut hook, &words);
        }
        if let Json::Object(hook) = hook {
            entries.insert((*before).min(entries.len()), Entry::Hook(hook));
        }
    }
    let mut header = header;
    let masked = [("secrets", true), ("bodies", !readable.bodies), ("addresses", !readable.addresses)];
    header.masked = masked.iter().filter(|(_, masked)| *masked).map(|(name, _)| (*name).to_owned()).collect();
    Ok(Recording { entries, ..Recording::new(header, take.options.clone()) })
}

/// All calls, up to one that traps.
fn run(engine: &dyn Engine, options: &Options, calls: &[ServerCall]) -> Result<Vec<Outcome<Step>>, EngineError> {
    let mut session = engine.open(options)?;
    let mut outcomes = Vec::with_capacity(calls.len());
    for call in calls {
        let outcome = Outcome::of(ServerHalf::call(&mut *session, call));
        let trapped = matches!(outcome, Outcome::Trap(_));
        outcomes.push(outcome);
        if trapped {
            break;
        }
    }
    Ok(outcomes)
}

/// Steps have the hash of those that came then; of a call that trapped then it does not matter what comes now.
fn is_as_it_was(take: &Take, outcomes: &[Outcome<Step>]) -> bool {
    let steps = take.calls.len() - usize::from(take.trap.is_some());
    let mut hash = Sum::default();
    for outcome in outcomes.iter().take(steps) {
        let Outcome::Step(step) = outcome else { return false };
        step.feed(&mut hash);
    }
    outcomes.len() >= steps && hash.finish() == take.sum()
}

/// All that can be the same where something was replaced by something of the same length is the same.
fn goes_the_same_way(was: &Outcome<Step>, is: &Outcome<Step>, call: &ServerCall, readable: Readable) -> bool {
    let (Outcome::Step(was), Outcome::Step(is)) = (was, is) else { return was.agrees(is) };
    let occasions = |step: &Step| step.events.iter().map(|event| event.occasion).collect::<Vec<Occasion>>();
    let pieces = |step: &Step| {
        let length = |piece: &Piece| match piece {
            Piece::Range(range) => (Some(*range), 0),
            Piece::Octets(octets) => (None, octets.len()),
        };
        step.body.iter().map(length).collect::<Vec<_>>()
    };
    let challenged = matches!(call, ServerCall::Answer { answer: Answer::Sasl(SaslAnswer::Challenge(_)), .. });
    let said = match challenged || !readable.addresses {
        true => shape(&was.transmit) == shape(&is.transmit),
        false => was.transmit == is.transmit,
    };
    said && (was.consumed, was.abandoned, was.wake) == (is.consumed, is.abandoned, is.wake)
        && occasions(was) == occasions(is)
        && pieces(was) == pieces(is)
        && needs_the_same(&was.need, &is.need)
}

/// The length of what is said, and how each line begins: its code.
fn shape(transmit: &[u8]) -> (usize, Vec<&[u8]>) {
    let lines = transmit.split_inclusive(|octet| *octet == b'\n');
    (transmit.len(), lines.map(|line| line.get(..4).unwrap_or(line)).collect())
}

fn needs_the_same(was: &Need, is: &Need) -> bool {
    let (Need::Answer(was), Need::Answer(is)) = (was, is) else { return was == is };
    match (was, is) {
        (Question::Sasl(SaslStep::Start((was, one))), Question::Sasl(SaslStep::Start((is, other)))) => {
            was == is && one.as_ref().map(Vec::len) == other.as_ref().map(Vec::len)
        }
        (Question::Sasl(SaslStep::Response(was)), Question::Sasl(SaslStep::Response(is))) => was.len() == is.len(),
        (Question::Hello(was), Question::Hello(is)) => was == is,
        (Question::Message(was), Question::Message(is)) => was == is,
        (Question::Recipients(was), Question::Recipients(is)) => was.len() == is.len(),
        (Question::Sender(was), Question::Sender(is)) => {
            was.mailbox.is_some() == is.mailbox.is_some()
                && (was.parameters.size, was.parameters.body, was.parameters.priority)
                    == (is.parameters.size, is.parameters.body, is.parameters.priority)
        }
        _ => discriminant(was) == discriminant(is),
    }
}

/// What was answered in AUTH, and addresses in texts.
fn mask_answer(answer: &mut Answer, readable: Readable, words: &Words) {
    let text = |text: &mut String| {
        if !readable.addresses {
            *text = words.text(text, false);
        }
    };
    let refusal = |refusal: &mut Refusal| text(&mut refusal.text);
    let decision = |decision: &mut Decision| match decision {
        Ok(given) => given.iter_mut().for_each(text),
        Err(given) => refusal(given),
    };
    match answer {
        Answer::Sasl(SaslAnswer::Challenge(octets)) => octets.fill(SECRET),
        Answer::Sasl(SaslAnswer::Authenticated(login)) => {
            *login = login.chars().map(|_| char::from(SECRET)).collect();
        }
        Answer::Sasl(SaslAnswer::Refused(given)) => refusal(given),
        Answer::Connection(given)
        | Answer::Hello(given)
        | Answer::Xclient(given)
        | Answer::Sender(given)
        | Answer::Data(given) => decision(given),
        Answer::Recipients(given) | Answer::Message(given) => {
            for each in given {
                decision(each);
            }
        }
        Answer::Verify(VerifyAnswer::Known(mailbox)) => text(mailbox),
        Answer::Verify(VerifyAnswer::Refused(given)) => refusal(given),
        Answer::Verify(VerifyAnswer::Unsure) | Answer::SenderWithPriority(_) => {}
    }
}

/// Addresses in every string.
fn mask_json(json: &mut Json, words: &Words) {
    match json {
        Json::String(text) => *text = words.text(text, false),
        Json::Array(list) => list.iter_mut().for_each(|value| mask_json(value, words)),
        Json::Object(object) => object.iter_mut().for_each(|(name, value)| match value {
            // A login may be a mailbox's name alone.
            Json::String(text) if name == "identity" => *text = words.text(text, true),
            // Nobody knows what a plugin makes of an address, such as a key of its database.
            value if name == "calls" => mask_words(value, words),
            value => mask_json(value, words),
        }),
        _ => {}
    }
}

/// Every word in every string, but for the names of the calls.
fn mask_words(json: &mut Json, words: &Words) {
    match json {
        Json::String(text) => *text = words.text(text, true),
        Json::Array(list) => list.iter_mut().for_each(|value| mask_words(value, words)),
        Json::Object(object) => {
            for (name, value) in object {
                if name != "call" {
                    mask_words(value, words);
                }
            }
        }
        _ => {}
    }
}
