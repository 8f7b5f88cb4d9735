//! What the sessions tell the log and the metrics, in one place.

use std::time::Duration;

use super::{
    Shared,
    drive::{End, shown},
    name,
};
use crate::{
    engine::types::{Event, Refusal},
    policy::SessionFacts,
    store::MessageId,
};

pub(super) fn no_session(_shared: &Shared, facts: &SessionFacts, end: &End) {
    tracing::info!(session = facts.id, listener = name(&facts.listener), client = shown(facts.client), %end, "no session");
}

pub(super) fn session_begins(_shared: &Shared, facts: &SessionFacts) {
    tracing::debug!(
        session = facts.id,
        listener = name(&facts.listener),
        client = shown(facts.client),
        "session begins"
    );
}

pub(super) fn session_ends(
    _shared: &Shared,
    facts: &SessionFacts,
    end: &End,
    messages: u32,
    last: &'static str,
    took: Duration,
) {
    if let End::Engine(error) = end {
        tracing::error!(session = facts.id, client = shown(facts.client), %error, last, "the engine failed");
    } else if let End::Stuck = end {
        tracing::error!(session = facts.id, client = shown(facts.client), last, "the engine makes no progress");
    }
    tracing::info!(session = facts.id, client = shown(facts.client), %end, messages, ms = took.as_millis(), "session ends");
}

pub(super) fn event(facts: &SessionFacts, occasion: &'static str, event: &Event) {
    if event.secret {
        tracing::debug!(session = facts.id, occasion, "secret");
    } else {
        tracing::debug!(session = facts.id, occasion, detail = event.detail, "event");
    }
}

pub(super) fn secured(facts: &SessionFacts) {
    if let Some(tls) = &facts.tls {
        tracing::debug!(session = facts.id, version = tls.version, cipher = tls.cipher, "TLS");
    }
}

pub(super) fn xclient(before: &SessionFacts, after: &SessionFacts) {
    tracing::info!(session = before.id, before = shown(before.client), client = shown(after.client), "XCLIENT");
}

pub(super) fn accepted(facts: &SessionFacts, id: MessageId, size: u64, entries: usize) {
    tracing::info!(session = facts.id, message = %id, size, entries, "message accepted");
}

pub(super) fn not_accepted(facts: &SessionFacts, refusal: &Refusal) {
    tracing::info!(session = facts.id, code = refusal.code, text = refusal.text, "message not accepted");
}
