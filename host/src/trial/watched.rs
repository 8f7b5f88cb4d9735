//! A plugin whose every call is written down.
//!
//! Owns what is seen of a call. Refuses to change it: whoever asks the plugin gets its own answer.

use std::{
    sync::{Arc, atomic::AtomicU32, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::plugin::{
    hook::{Facts, Forward, Hook, Message, Phase, Plugin, Ran, Scratch, Verdict, Wishes},
    run::{Level, Note, Notes, Shelf, Wasm, Watching},
};

/// One call of a hook.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which.
    pub hook: Hook,
    /// The recipient that it was called for.
    pub to: Option<String>,
    /// What it said.
    pub verdict: Verdict,
    /// Of a delivery: not before so many seconds.
    pub retry_after: Option<u32>,
    /// Why it failed, if it did; then the verdict is the failure policy's.
    pub failure: Option<String>,
    /// What was asked for before.
    pub before: Wishes,
    /// And after.
    pub after: Wishes,
    /// What it logged.
    pub log: Vec<(Level, String)>,
    /// What it called, and how long that took.
    pub calls: Vec<(&'static str, Duration)>,
    /// How long it took.
    pub time: Duration,
    /// Linear memory at its end, octets.
    pub memory: u64,
}

/// The plugin.
pub(super) struct Watched {
    wasm: Arc<Wasm>,
    /// Of its hooks only these are called.
    hooks: Vec<Hook>,
    /// Where all phases share one instance.
    shelf: Option<Shelf>,
    now: AtomicU32,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Watched {
    pub(super) fn new(wasm: Arc<Wasm>, hooks: Vec<Hook>, shelf: Option<Shelf>, now: u32) -> Self {
        Self { wasm, hooks, shelf, now: AtomicU32::new(now), seen: Arc::default() }
    }

    /// From now on it is this time, seconds since 1970.
    pub(super) fn set_time(&self, now: u32) {
        self.now.store(now, Ordering::Relaxed);
    }

    /// What was seen since the last time.
    pub(super) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock())
    }
}

impl Plugin for Watched {
    fn name(&self) -> &str {
        self.wasm.name()
    }

    fn hash(&self) -> &str {
        self.wasm.hash()
    }

    fn hooks(&self) -> &[Hook] {
        &self.hooks
    }

    fn phase(self: Arc<Self>, facts: Arc<Facts>, scratch: Scratch, message: Option<Arc<Message>>) -> Box<dyn Phase> {
        let notes = Notes::default();
        let now = Some(self.now.load(Ordering::Relaxed));
        let watching = Watching { notes: Some(Arc::clone(&notes)), now, shelf: self.shelf.clone(), ledger: None };
        let inner = self.wasm.watched_phase(facts, scratch, message, watching);
        Box::new(WatchedPhase { inner, notes, seen: Arc::clone(&self.seen) })
    }
}

struct WatchedPhase {
    inner: Box<dyn Phase>,
    notes: Notes,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[async_trait]
impl Phase for WatchedPhase {
    async fn call(&mut self, hook: Hook, forward: Option<&Forward>, recipients: &[String], wishes: &mut Wishes) -> Ran {
        let before = wishes.clone();
        let ran = self.inner.call(hook, forward, recipients, wishes).await;
        let (mut log, mut calls) = (Vec::new(), Vec::new());
        for note in std::mem::take(&mut *self.notes.lock()) {
            match note {
                Note::Log(level, line) => log.push((level, line)),
                Note::Call(name, time) => calls.push((name, time)),
            }
        }
        self.seen.lock().push(Seen {
            hook,
            to: forward.map(|forward| forward.forward_path.clone()),
            verdict: ran.verdict.clone(),
            retry_after: ran.retry_after,
            failure: ran.failure.clone(),
            before,
            after: wishes.clone(),
            log,
            calls,
            time: ran.time,
            memory: ran.memory,
        });
        ran
    }
}
