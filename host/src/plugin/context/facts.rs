//! What every plugin gets without a grant: facts, log, config and scratch.

use std::sync::atomic::Ordering;

use super::{Code, Guest, Level, Note, fault};
use crate::plugin::{
    bindings::hermetic::plugin::{config, facts, log, scratch, types::Fault},
    reason::clean,
};

/// Octets of all that is left in the scratch by one plugin and transaction, names included.
const SCRATCH: usize = 64 << 10;
/// Octets of one line in the log.
const LINE: usize = 1 << 10;

impl facts::Host for Guest {
    fn transaction_id(&mut self) -> wasmtime::Result<String> {
        self.seam("facts.transaction-id", |guest| guest.transaction.facts.transaction_id.clone())
    }

    fn now(&mut self) -> wasmtime::Result<u32> {
        self.seam("facts.now", |guest| guest.call.now)
    }

    fn listener(&mut self) -> wasmtime::Result<String> {
        self.seam("facts.listener", |guest| guest.transaction.facts.listener.clone())
    }

    fn listener_kind(&mut self) -> wasmtime::Result<String> {
        self.seam("facts.listener-kind", |guest| guest.transaction.facts.listener_kind.clone())
    }

    fn client_address(&mut self) -> wasmtime::Result<Option<String>> {
        self.seam("facts.client-address", |guest| {
            guest.transaction.facts.client_address.map(|address| address.to_string())
        })
    }

    fn client_name(&mut self) -> wasmtime::Result<Option<String>> {
        self.seam("facts.client-name", |guest| guest.transaction.facts.client_name.clone())
    }

    fn hello_name(&mut self) -> wasmtime::Result<Option<String>> {
        self.seam("facts.hello-name", |guest| guest.transaction.facts.hello_name.clone())
    }

    fn identity(&mut self) -> wasmtime::Result<Option<String>> {
        self.seam("facts.identity", |guest| guest.transaction.facts.identity.clone())
    }

    fn tls_version(&mut self) -> wasmtime::Result<Option<String>> {
        self.seam("facts.tls-version", |guest| guest.transaction.facts.tls_version.clone())
    }

    fn reverse_path(&mut self) -> wasmtime::Result<Option<String>> {
        self.seam("facts.reverse-path", |guest| guest.transaction.facts.reverse_path.clone())
    }

    fn body_type(&mut self) -> wasmtime::Result<String> {
        self.seam("facts.body-type", |guest| guest.transaction.facts.body_type.clone())
    }

    fn smtputf8(&mut self) -> wasmtime::Result<bool> {
        self.seam("facts.smtputf8", |guest| guest.transaction.facts.smtputf8)
    }

    fn forward_path(&mut self) -> wasmtime::Result<Option<String>> {
        self.seam("facts.forward-path", |guest| guest.call.forward.as_ref().map(|to| to.forward_path.clone()))
    }

    fn mailbox(&mut self) -> wasmtime::Result<Option<String>> {
        self.seam("facts.mailbox", |guest| guest.call.forward.as_ref().and_then(|to| to.mailbox.clone()))
    }

    fn recipients(&mut self) -> wasmtime::Result<Vec<String>> {
        self.seam("facts.recipients", |guest| guest.call.recipients.to_vec())
    }

    fn message_size(&mut self) -> wasmtime::Result<u32> {
        self.seam("facts.message-size", |guest| {
            let size = match &guest.transaction.message {
                Some(message) => message.content.len() as u64,
                None => guest.transaction.facts.message_size,
            };
            u32::try_from(size).unwrap_or(u32::MAX)
        })
    }
}

impl Guest {
    pub(super) fn line(&mut self, level: Level, text: &str) {
        let left = &self.transaction.lines;
        let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let line = clean(text, LINE);
        let plugin = &*self.transaction.settings.name;
        let (hook, transaction) = (self.call.hook.as_str(), &*self.transaction.facts.transaction_id);
        match (before, level) {
            (Err(_), _) => return,
            (Ok(1), _) => tracing::warn!(plugin, hook, transaction, "the plugin's last line here; it logs too much"),
            _ => {}
        }
        match level {
            Level::Debug => tracing::debug!(plugin, hook, transaction, "{line}"),
            Level::Info => tracing::info!(plugin, hook, transaction, "{line}"),
            Level::Warn => tracing::warn!(plugin, hook, transaction, "{line}"),
        }
        if let Some(notes) = &self.transaction.notes {
            notes.lock().push(Note::Log(level, line));
        }
    }
}

impl log::Host for Guest {
    fn debug(&mut self, text: String) -> wasmtime::Result<()> {
        self.seam("log.debug", |guest| guest.line(Level::Debug, &text))
    }

    fn info(&mut self, text: String) -> wasmtime::Result<()> {
        self.seam("log.info", |guest| guest.line(Level::Info, &text))
    }

    fn warn(&mut self, text: String) -> wasmtime::Result<()> {
        self.seam("log.warn", |guest| guest.line(Level::Warn, &text))
    }
}

impl config::Host for Guest {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        self.seam("config.get", |guest| guest.transaction.settings.values.get(&key).cloned())
    }

    fn json(&mut self) -> wasmtime::Result<String> {
        self.seam("config.json", |guest| guest.transaction.settings.json.clone())
    }
}

impl scratch::Host for Guest {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        self.seam("scratch.get", |guest| guest.transaction.scratch.lock().get(&name).cloned())
    }

    fn set(&mut self, name: String, value: Vec<u8>) -> wasmtime::Result<Result<(), Fault>> {
        self.seam("scratch.set", |guest| {
            let mut scratch = guest.transaction.scratch.lock();
            let others = scratch.iter().filter(|(one, _)| **one != name).map(|(name, value)| name.len() + value.len());
            if others.sum::<usize>() + name.len() + value.len() > SCRATCH {
                return Err(fault(Code::Limit, format!("the scratch holds at most {SCRATCH} octets")));
            }
            scratch.insert(name, value);
            Ok(())
        })
    }
}
