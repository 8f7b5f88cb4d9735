//! A guest without an instance, for tests of what the host does for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "for tests")]

use std::{
    sync::{Arc, OnceLock, atomic::AtomicU32},
    time::{Duration, Instant},
};

use super::{Call, Guest, Transaction};
use crate::{
    config::plugins::{Grants, OnFailure, Plugin as Configured, PluginLimits},
    plugin::{
        failure::Limiter,
        hook::{Facts, Hook, Message, Scratch, Wishes},
        network::Network,
        run::Settings,
    },
    sandbox::meter::Meter,
};

/// In a delivery hook, with this time.
pub(super) fn guest(grants: Grants, network: Network, message: Option<Message>, time: Duration) -> Guest {
    let configured = Configured {
        name: "test".into(),
        file: "test.wasm".into(),
        sha256: None,
        grants,
        limits: PluginLimits { dns_questions: 3, http_requests: 3, ..PluginLimits::default() },
        on_failure: OnFailure::Defer,
        postmaster: false,
        settings: Default::default(),
    };
    let transaction = Transaction {
        settings: Arc::new(Settings::new(&configured, None, network)),
        facts: Arc::new(Facts::default()),
        scratch: Scratch::default(),
        message: message.map(Arc::new),
        header: Arc::new(OnceLock::new()),
        lines: Arc::new(AtomicU32::new(10)),
        notes: Some(Default::default()),
        ledger: None,
        now: None,
    };
    let call = Call {
        hook: Hook::Delivery,
        forward: None,
        recipients: Arc::default(),
        wishes: Wishes::default(),
        edits: 0,
        view: None,
        rendered: None,
        calls: 0,
        questions: 0,
        requests: 0,
        until: Instant::now() + time,
        now: 0,
    };
    Guest { limiter: Limiter::new(0), meter: Arc::new(Meter::new(time)), transaction, call }
}
