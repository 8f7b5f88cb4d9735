//! Recorded mail, judged again: what another version of a plugin says to what the recorded one was asked.
//!
//! Owns the way from a file's lines to calls of hooks. Calls of the host are answered from the file, and nothing is asked or
//! changed anywhere else. Refuses to know how a difference looks. Fails with a sentence where a line lacks what is needed.

use std::{collections::HashMap, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::{
    plugin::{
        hook::{Forward, Hook, Message, Phase, Scratch, Verdict, Wishes},
        ledger::{self, HostCall, Ledger, Unrecorded},
        run::{Wasm, Watching},
    },
    record::{Entry, Recording, ServerHalf, file::line_of},
};

/// One call of a hook that did not go as it was recorded.
#[derive(Clone, Debug)]
pub struct Change {
    /// The file's line, from 1.
    pub line: usize,
    /// Which hook.
    pub hook: Hook,
    /// The recipient that it was called for.
    pub to: Option<String>,
    /// What was said then, and now.
    pub verdicts: (Verdict, Verdict),
    /// What is wanted beside the verdict is not what was wanted then.
    pub wishes: bool,
    /// Why it failed now.
    pub failure: Option<String>,
    /// What was asked of the host that is not in the record.
    pub unrecorded: Vec<Unrecorded>,
}

impl Change {
    /// The verdict or what is wanted beside it is another one.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.wishes || self.verdicts.0 != self.verdicts.1
    }
}

/// What came of a file.
#[derive(Clone, Debug, Default)]
pub struct Rejudged {
    /// Calls of hooks that were made again.
    pub judged: usize,
    /// Those that could not be, for the content is not in the file.
    pub left_out: usize,
    /// Those that went another way.
    pub changes: Vec<Change>,
}

/// A phase under way.
struct Running {
    phase: Box<dyn Phase>,
    ledger: Arc<Ledger>,
}

/// The plugins that a file tells of.
#[must_use]
pub fn plugins(recording: &Recording<ServerHalf>) -> Vec<String> {
    let mut names: Vec<String> =
        hooks(recording).filter_map(|(_, hook)| Some(hook.get("plugin")?.as_str()?.to_owned())).collect();
    names.sort();
    names.dedup();
    names
}

fn hooks(recording: &Recording<ServerHalf>) -> impl Iterator<Item = (usize, &Map<String, Json>)> {
    recording.entries.iter().enumerate().filter_map(|(place, entry)| match entry {
        Entry::Hook(hook) => Some((line_of(place), hook)),
        Entry::Call(..) => None,
    })
}

/// Asks `wasm` what the plugin of this name was asked.
///
/// # Errors
/// A line that lacks something, or has something that can not be.
pub async fn rejudge(wasm: &Arc<Wasm>, name: &str, recording: &Recording<ServerHalf>) -> Result<Rejudged, String> {
    let mut rejudged = Rejudged::default();
    let mut scratches: HashMap<String, Scratch> = HashMap::new();
    let mut phases: HashMap<u64, Running> = HashMap::new();
    for (line, hook) in hooks(recording).filter(|(_, hook)| hook.get("plugin").and_then(Json::as_str) == Some(name)) {
        if hook.contains_key("left-out") {
            rejudged.left_out += 1;
            continue;
        }
        let lacking = |member: &str| format!("line {line}: the hook's line has no usable `{member}`");
        let number = hook.get("phase").and_then(Json::as_u64).ok_or_else(|| lacking("phase"))?;
        let now = hook.get("now").and_then(Json::as_u64).and_then(|now| u32::try_from(now).ok());
        let running = match phases.entry(number) {
            std::collections::hash_map::Entry::Occupied(running) => running.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let facts = hook.get("facts").and_then(ledger::facts).ok_or_else(|| lacking("facts"))?;
                let scratch = scratches.entry(facts.transaction_id.clone()).or_default().clone();
                let message = hook.get("message").map(|message| message_of(message).ok_or_else(|| lacking("message")));
                let ledger = Arc::<Ledger>::default();
                let watch = Watching { now, ledger: Some(ledger.clone()), ..Watching::default() };
                let phase = wasm.watched_phase(Arc::new(facts), scratch, message.transpose()?.map(Arc::new), watch);
                place.insert(Running { phase, ledger })
            }
        };
        let which: Hook = value(hook, "hook").ok_or_else(|| lacking("hook"))?;
        let to: Option<(String, Option<String>)> = value(hook, "forward").ok_or_else(|| lacking("forward"))?;
        let recipients: Vec<String> = value(hook, "recipients").ok_or_else(|| lacking("recipients"))?;
        let calls: Vec<HostCall> = value(hook, "calls").ok_or_else(|| lacking("calls"))?;
        let mut wishes: Wishes = value(hook, "before").ok_or_else(|| lacking("before"))?;
        let after: Wishes = value(hook, "after").ok_or_else(|| lacking("after"))?;
        let verdict: Verdict = value(hook, "verdict").ok_or_else(|| lacking("verdict"))?;
        running.ledger.answer_from(calls);
        let forward = to.map(|(forward_path, mailbox)| Forward { forward_path, mailbox });
        // A hook that the other version does not have has no opinion.
        let ran = running.phase.call(which, forward.as_ref(), &recipients, &mut wishes).await;
        rejudged.judged += 1;
        let change = Change {
            line,
            hook: which,
            to: forward.map(|forward| forward.forward_path),
            verdicts: (verdict, ran.verdict),
            wishes: wishes != after,
            failure: ran.failure,
            unrecorded: running.ledger.unrecorded(),
        };
        if change.differs() || !change.unrecorded.is_empty() {
            rejudged.changes.push(change);
        }
    }
    Ok(rejudged)
}

fn value<T: DeserializeOwned>(hook: &Map<String, Json>, member: &str) -> Option<T> {
    serde_json::from_value(hook.get(member)?.clone()).ok()
}

fn message_of(json: &Json) -> Option<Message> {
    let part = |name: &str| json.get(name)?.as_str().and_then(ledger::octets);
    Some(Message { prefix: part("prefix")?, content: part("content")? })
}
