//! What the queue's hooks are called for. In any other hook these answer with nothing at all: empty text and zeros.

use super::Guest;
use crate::plugin::{
    bindings::hermetic::plugin::{attempt, fate},
    hook::{Attempt, Report},
};

impl Guest {
    fn attempt(&self) -> Attempt {
        self.transaction.facts.attempt.clone().unwrap_or_default()
    }

    fn report<T: Default>(&self, what: impl FnOnce(&Report) -> T) -> T {
        self.transaction.facts.report.as_ref().map(what).unwrap_or_default()
    }
}

impl attempt::Host for Guest {
    fn idempotency_key(&mut self) -> wasmtime::Result<String> {
        self.seam("attempt.idempotency-key", |guest| guest.attempt().idempotency_key)
    }

    fn number(&mut self) -> wasmtime::Result<u32> {
        self.seam("attempt.number", |guest| guest.attempt().number)
    }

    fn queued_at(&mut self) -> wasmtime::Result<u32> {
        self.seam("attempt.queued-at", |guest| guest.attempt().queued_at)
    }
}

impl fate::Host for Guest {
    fn state(&mut self) -> wasmtime::Result<String> {
        self.seam("fate.state", |guest| guest.report(|report| report.state.as_str().to_owned()))
    }

    fn status(&mut self) -> wasmtime::Result<Option<String>> {
        self.seam("fate.status", |guest| guest.report(|report| report.status.clone()))
    }

    fn text(&mut self) -> wasmtime::Result<String> {
        self.seam("fate.text", |guest| guest.report(|report| report.text.clone()))
    }

    fn attempts(&mut self) -> wasmtime::Result<u32> {
        self.seam("fate.attempts", |guest| guest.report(|report| report.attempts))
    }
}
