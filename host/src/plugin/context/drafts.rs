//! Drafts of WASI that stand for what `wit/plugin` has too: settings, the log, the plugin's own database.
//!
//! Owns what a draft's words mean here. Refuses to give more than the interfaces beside them: the same settings, lines and
//! octets, the same bounds, the same grant. A draft fits by its exact version or not at all; any other is inert
//! ([`super::wasi`]).

use wasmtime::component::{HasSelf, Linker, Resource};

use self::bindings::wasi::{
    config::store as settings,
    keyvalue::{atomics, store},
    logging::logging,
};
use super::{Guest, Level, fault};
use crate::plugin::{bindings::hermetic::plugin::types::Fault, database::Range};

/// The drafts as far as they are offered.
#[allow(missing_docs, unreachable_pub, dead_code, clippy::all, reason = "generated")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit/drafts",
        world: "hermetic:drafts/drafts",
        imports: { default: trappable },
        with: { "wasi:keyvalue/store.bucket": super::Own },
    });
}

/// What a handle of a bucket stands for: there is one, the plugin's own.
#[allow(unreachable_pub, reason = "what is generated exports it")]
pub struct Own;

/// Keys of one answer.
const KEYS: u32 = 1000;

/// A draft that is offered.
#[derive(Clone, Copy)]
pub(in crate::plugin) enum Draft {
    Config,
    Store,
    Atomics,
    Logging,
}

impl Draft {
    /// By an import's name.
    pub(in crate::plugin) fn of(import: &str) -> Option<Self> {
        Some(match import {
            "wasi:config/store@0.2.0-rc.1" => Self::Config,
            "wasi:keyvalue/store@0.2.0-draft" => Self::Store,
            "wasi:keyvalue/atomics@0.2.0-draft" => Self::Atomics,
            "wasi:logging/logging@0.1.0-draft" => Self::Logging,
            _ => return None,
        })
    }

    /// Does it need the grant `keyvalue`?
    pub(in crate::plugin) fn keeps(self) -> bool {
        matches!(self, Self::Store | Self::Atomics)
    }

    pub(in crate::plugin) fn link(self, linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
        type Of = HasSelf<Guest>;
        match self {
            Self::Config => settings::add_to_linker::<_, Of>(linker, |guest| guest),
            Self::Store => store::add_to_linker::<_, Of>(linker, |guest| guest),
            Self::Atomics => atomics::add_to_linker::<_, Of>(linker, |guest| guest),
            Self::Logging => logging::add_to_linker::<_, Of>(linker, |guest| guest),
        }
    }
}

impl From<Fault> for store::Error {
    fn from(fault: Fault) -> Self {
        Self::Other(fault.text)
    }
}

impl settings::Host for Guest {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, settings::Error>> {
        self.seam("wasi:config/store.get", |guest| Ok(guest.transaction.settings.values.get(&key).cloned()))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, settings::Error>> {
        self.seam("wasi:config/store.get-all", |guest| {
            Ok(guest.transaction.settings.values.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
        })
    }
}

impl logging::Host for Guest {
    fn log(&mut self, level: logging::Level, context: String, message: String) -> wasmtime::Result<()> {
        use logging::Level as Given;
        let level = match level {
            Given::Trace | Given::Debug => Level::Debug,
            Given::Info => Level::Info,
            Given::Warn | Given::Error | Given::Critical => Level::Warn,
        };
        self.seam("wasi:logging/logging.log", |guest| {
            let line = if context.is_empty() { message } else { format!("{context}: {message}") };
            guest.line(level, &line);
        })
    }
}

impl store::Host for Guest {
    /// The empty name and `default` are the plugin's own; there is no other.
    fn open(&mut self, identifier: String) -> wasmtime::Result<Result<Resource<Own>, store::Error>> {
        self.seam("wasi:keyvalue/store.open", |guest| {
            guest.bucket().map_err(|_| store::Error::AccessDenied)?;
            match &*identifier {
                "" | "default" => Ok(Resource::new_own(0)),
                _ => Err(store::Error::NoSuchStore),
            }
        })
    }
}

impl store::HostBucket for Guest {
    fn get(&mut self, _: Resource<Own>, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        self.seam("wasi:keyvalue/store.get", |guest| {
            Ok(guest.bucket()?.get(&key, guest.call.now).map_err(Fault::from)?)
        })
    }

    fn set(&mut self, _: Resource<Own>, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), store::Error>> {
        self.seam("wasi:keyvalue/store.set", |guest| {
            Ok(guest.bucket()?.set(&key, &value, 0, guest.call.now).map_err(Fault::from)?)
        })
    }

    fn delete(&mut self, _: Resource<Own>, key: String) -> wasmtime::Result<Result<(), store::Error>> {
        self.seam("wasi:keyvalue/store.delete", |guest| Ok(guest.bucket()?.delete(&key).map_err(Fault::from)?))
    }

    fn exists(&mut self, _: Resource<Own>, key: String) -> wasmtime::Result<Result<bool, store::Error>> {
        self.seam("wasi:keyvalue/store.exists", |guest| {
            Ok(guest.bucket()?.get(&key, guest.call.now).map_err(Fault::from)?.is_some())
        })
    }

    /// A cursor is the number of keys before it.
    fn list_keys(
        &mut self,
        _: Resource<Own>,
        cursor: Option<u64>,
    ) -> wasmtime::Result<Result<store::KeyResponse, store::Error>> {
        self.seam("wasi:keyvalue/store.list-keys", |guest| {
            let from = cursor.unwrap_or(0);
            let keys = guest.bucket()?.keys(from, KEYS, guest.call.now).map_err(Fault::from)?;
            let more = keys.len() >= KEYS as usize;
            let cursor = more.then(|| from.saturating_add(u64::from(KEYS)));
            Ok(store::KeyResponse { keys, cursor })
        })
    }

    fn drop(&mut self, _: Resource<Own>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl atomics::Host for Guest {
    fn increment(&mut self, _: Resource<Own>, key: String, delta: u64) -> wasmtime::Result<Result<u64, store::Error>> {
        self.seam("wasi:keyvalue/atomics.increment", |guest| {
            let sum = guest.bucket()?.increment(&key, i128::from(delta), &RANGE, 0, guest.call.now);
            let sum = sum.map_err(Fault::from)?;
            u64::try_from(sum).map_err(|_| fault(super::Code::Limit, "it is below 0").into())
        })
    }
}

/// What a counter of the draft may be.
const RANGE: Range = 0..=u64::MAX as i128;
