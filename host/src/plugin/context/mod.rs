//! What the host does for a plugin: the imports of `wit/plugin`, one file for each kind of privilege.
//!
//! Owns the state of one call and the one seam ([`Guest::seam`]) through which every call of the host goes. Refuses to
//! know how instances are made. A mistake of the plugin is a fault that it can read; too many calls are a trap.

mod attempt;
pub(super) mod drafts;
mod edit;
mod facts;
#[cfg(test)]
mod fake;
mod http;
mod keyvalue;
mod message;
mod reach;
mod reply;
mod resolver;
pub(super) mod wasi;
mod wishes;

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    bindings::hermetic::plugin::types::{Fault, Host as TypesHost},
    failure::{Failure, Limiter},
    header::{Header, View},
    hook::{Facts, Forward, Hook, Message, Scratch, Wishes},
    ledger::{Ledger, Told},
    run::Settings,
};
use crate::sandbox::meter::Meter;

/// `not granted`, `invalid argument`, ... as in `wit/plugin/types.wit`.
#[derive(Clone, Copy)]
pub(super) enum Code {
    NotGranted = 1,
    Invalid = 2,
    Limit = 3,
    NotFound = 4,
    Unavailable = 5,
}

pub(super) fn fault(code: Code, text: impl Into<String>) -> Fault {
    Fault { code: code as u16, text: text.into() }
}

/// How urgent a line of the plugin's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they say it")]
pub enum Level {
    Debug,
    Info,
    Warn,
}

/// What happened during a call, for those who watch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A line for the log.
    Log(Level, String),
    /// A call of the host and how long it took.
    Call(&'static str, Duration),
}

/// Where notes go.
pub type Notes = Arc<Mutex<Vec<Note>>>;

/// What the hooks of one phase share.
#[derive(Clone)]
pub(super) struct Transaction {
    pub(super) settings: Arc<Settings>,
    pub(super) facts: Arc<Facts>,
    pub(super) scratch: Scratch,
    pub(super) message: Option<Arc<Message>>,
    /// Read when the first hook wants it.
    pub(super) header: Arc<OnceLock<Header>>,
    /// Lines that may still be logged.
    pub(super) lines: Arc<std::sync::atomic::AtomicU32>,
    pub(super) notes: Option<Notes>,
    /// Where calls of the host are written down, or answered from.
    pub(super) ledger: Option<Arc<Ledger>>,
    /// Seconds since 1970; none: the machine's clock tells.
    pub(super) now: Option<u32>,
}

/// One call of a hook.
pub(super) struct Call {
    pub(super) hook: Hook,
    pub(super) forward: Option<Forward>,
    pub(super) recipients: Arc<Vec<String>>,
    pub(super) wishes: Wishes,
    /// Edits that this call has made.
    pub(super) edits: usize,
    /// The header as the recipient gets it.
    pub(super) view: Option<View>,
    /// The top of the message as the recipient gets it, and where in the content the rest begins.
    pub(super) rendered: Option<(Vec<u8>, usize)>,
    /// Calls of the host so far.
    pub(super) calls: u32,
    /// Questions to the DNS so far.
    pub(super) questions: u32,
    /// HTTP requests so far.
    pub(super) requests: u32,
    /// When no call of the host goes on waiting, so that the plugin has time left to say something.
    pub(super) until: Instant,
    /// Seconds since 1970.
    pub(super) now: u32,
}

/// What a store holds beside its instance.
pub(super) struct Guest {
    pub(super) limiter: Limiter,
    /// Of the call under way.
    pub(super) meter: Arc<Meter>,
    pub(super) transaction: Transaction,
    /// None while an instance is being made: its start has nobody to ask about.
    pub(super) call: Call,
}

impl Guest {
    fn count(&mut self) -> wasmtime::Result<()> {
        let most = self.transaction.settings.limits.host_calls;
        self.call.calls = self.call.calls.saturating_add(1);
        if self.call.calls > most { Err(Failure::Budget(most).into()) } else { Ok(()) }
    }

    /// Every call of the host comes through here: it is counted, bounded and, if somebody watches, noted.
    fn seam<T>(&mut self, name: &'static str, run: impl FnOnce(&mut Self) -> T) -> wasmtime::Result<T> {
        self.count()?;
        let Some(notes) = self.transaction.notes.clone() else { return Ok(run(self)) };
        let started = Instant::now();
        let value = run(self);
        notes.lock().push(Note::Call(name, started.elapsed()));
        Ok(value)
    }

    /// The same for calls that wait. `begin` says what for; then the guest is left alone, and not for longer than this
    /// call of the hook has time.
    async fn waiting_seam<T, F>(
        &mut self,
        name: &'static str,
        begin: impl FnOnce(&mut Self) -> Result<F, Fault>,
    ) -> wasmtime::Result<Result<T, Fault>>
    where
        F: Future<Output = Result<T, Fault>> + Send,
    {
        self.count()?;
        let (started, until) = (Instant::now(), self.call.until);
        let answer = match begin(self) {
            Ok(waiting) => match tokio::time::timeout_at(until.into(), waiting).await {
                Ok(answer) => answer,
                Err(_) => Err(fault(Code::Unavailable, "no answer in the time that this call has")),
            },
            Err(fault) => Err(fault),
        };
        if let Some(notes) = &self.transaction.notes {
            notes.lock().push(Note::Call(name, started.elapsed()));
        }
        Ok(answer)
    }

    /// What a call of the host is given, if that is written down or has its answer in a record.
    fn asked(&self, asked: impl FnOnce() -> serde_json::Value) -> Option<(Arc<Ledger>, serde_json::Value)> {
        self.transaction.ledger.clone().map(|ledger| (ledger, asked()))
    }

    /// Its recorded answer, where a record is replayed.
    fn recorded<T: Told>(
        &mut self,
        name: &'static str,
        asked: Option<&(Arc<Ledger>, serde_json::Value)>,
    ) -> wasmtime::Result<Option<Result<T, Fault>>> {
        let Some(answer) = asked.and_then(|(ledger, asked)| ledger.recorded(name, asked)) else { return Ok(None) };
        self.count()?;
        Ok(Some(answer))
    }

    /// The message's content; empty before there is one.
    fn content(&self) -> Option<Arc<Message>> {
        self.transaction.message.clone()
    }

    /// The header as the recipient gets it now.
    fn view(&mut self) -> Option<(&mut View, Arc<Message>)> {
        let message = self.content()?;
        let header = self.transaction.header.get_or_init(|| Header::of(&message.content));
        let wishes = &self.call.wishes;
        let view = self.call.view.get_or_insert_with(|| View::new(header, &message.content, &wishes.edits));
        Some((view, message))
    }
}

impl TypesHost for Guest {}
