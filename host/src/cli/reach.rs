//! What the commands share that talk to a server: the sealed engine, the DNS, whom to believe; addresses as they are typed.
//!
//! Owns how these are set up without a running server, and how an address is read that is typed. Refuses to speak to
//! anybody. Fails by [`NotReady`], one sentence for the terminal.

use std::{path::PathBuf, time::Duration};

use crate::{
    config::{Config, domain},
    dns::{self, Resolver},
    engine::{
        pool::{EngineSettings, SetupError, WasmEngine},
        types::{HostName, Mailbox},
    },
    transport::{
        http::Client,
        trust::{Roots, RootsError},
    },
};

/// Sessions at a time.
const SESSIONS: u32 = 16;

/// Why nothing can be begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotReady {
    #[error(transparent)]
    Engine(#[from] SetupError),
    #[error("outbound.roots: {0}")]
    Roots(#[from] RootsError),
    #[error(transparent)]
    Dns(#[from] dns::SetupError),
    #[error("no threads to run on: {0}")]
    Runtime(std::io::Error),
}

/// What it takes to reach somebody.
pub(super) struct Means {
    pub(super) engine: WasmEngine,
    pub(super) resolver: Resolver,
    pub(super) roots: Roots,
    pub(super) client: Client,
}

impl Means {
    pub(super) fn new(config: &Config) -> Result<Self, NotReady> {
        let engine = WasmEngine::new(&EngineSettings {
            sessions: SESSIONS,
            deadline: Duration::from_millis(config.engine.deadline),
            memory: config.engine.memory,
            cache: caches().map(|folder| folder.join("hermetic-engine")),
        })?;
        let roots = Roots::load(config.outbound.roots.as_deref())?;
        let client = if config.outbound.roots.is_some() { Client::trusting(roots.store()) } else { Client::new() };
        Ok(Self { engine, resolver: Resolver::new(&config.dns)?, roots, client })
    }
}

/// Runs it to its end. One thread is enough: most of the time is waiting.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, NotReady> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(NotReady::Runtime)?;
    Ok(runtime.block_on(future))
}

/// Where the user's programs keep what they can make again.
pub(super) fn caches() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))
}

/// An address as it is typed: the local part as it is, without quotes. The domain as A-labels where that saves the need for
/// SMTPUTF8.
pub(super) fn mailbox(text: &str) -> Result<Mailbox, String> {
    let wrong = || format!("{text:?} is no address; write it like anna@example.org");
    let (local, domain) = domain::parts_of_address(text).ok_or_else(wrong)?;
    let host = host(domain).ok_or_else(wrong)?;
    let host = match host {
        HostName::Domain(name) if local.is_ascii() && !name.is_ascii() => {
            HostName::Domain(domain::canonical(&name).ok_or_else(wrong)?.into_owned())
        }
        other => other,
    };
    Ok(Mailbox { local: local.to_owned(), host })
}

/// A domain, or `[192.0.2.1]`.
pub(super) fn host(text: &str) -> Option<HostName> {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => Some(HostName::Literal(literal.to_owned())),
        None => domain::canonical(text).map(|_| HostName::Domain(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_they_are_typed() {
        for (text, expected) in [
            ("anna@example.org", Some(("anna", "example.org"))),
            ("a b@example.org", Some(("a b", "example.org"))),
            ("a@b@example.org", Some(("a@b", "example.org"))),
            ("anna@[192.0.2.1]", Some(("anna", "[192.0.2.1]"))),
            ("anna@bücher.example", Some(("anna", "xn--bcher-kva.example"))),
            ("grüße@bücher.example", Some(("grüße", "bücher.example"))),
            ("anna", None),
            ("@example.org", None),
            ("anna@", None),
            ("anna@a b", None),
        ] {
            let found = mailbox(text).ok().map(|mailbox| {
                let host = match mailbox.host {
                    HostName::Domain(domain) => domain,
                    HostName::Literal(literal) => format!("[{literal}]"),
                };
                (mailbox.local, host)
            });
            let found = found.as_ref().map(|(local, host)| (local.as_str(), host.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
