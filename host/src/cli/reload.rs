//! What SIGHUP asks for, made aside: the configuration is read and plugins are compiled on a thread of their own, which may
//! take half a minute, while the server serves and hears signals.
//!
//! Owns the thread and what to do with a second SIGHUP: as the first may have read the files before they changed, it is
//! answered by another reload right after. Refuses to know what becomes of the result. A reload that is on its way when the
//! server ends is forgotten; nothing has changed yet then.

use std::{future, io, path::PathBuf, sync::Arc, thread};

use tokio::sync::oneshot;

use super::serve::ServeError;
use crate::{config::Config, plugin::loaded::Plugins};

/// What is to be put into place.
pub(super) struct Fresh {
    pub(super) config: Arc<Config>,
    pub(super) plugins: Plugins,
}

/// At most one reload at a time.
#[derive(Default)]
pub(super) struct Reload {
    running: Option<oneshot::Receiver<Result<Fresh, ServeError>>>,
    again: bool,
}

impl Reload {
    /// Begins, or remembers to begin again. `path`: where the configuration is read; none leaves it as it is.
    pub(super) fn wanted(&mut self, path: Option<PathBuf>, old: Arc<Config>, plugins: Plugins) {
        if self.running.is_some() {
            self.again = true;
            return;
        }
        self.running = Some(aside("reload", move || {
            let config = match path {
                Some(path) => {
                    let loaded = Config::load(&path)?;
                    for warning in loaded.warnings {
                        tracing::warn!("{warning}");
                    }
                    Arc::new(loaded.config)
                }
                None => old,
            };
            if config.listeners.is_empty() {
                return Err(ServeError::NoListener);
            }
            let plugins = plugins.become_these(&config.plugins)?;
            Ok(Fresh { config, plugins })
        }));
    }

    /// Waits for the end of the one that runs; for ever if there is none.
    pub(super) async fn ready(&mut self) -> Result<Fresh, ServeError> {
        let Some(running) = &mut self.running else { return future::pending().await };
        let result = running.await;
        self.running = None;
        result.unwrap_or(Err(ServeError::Aside))
    }

    /// Was another one asked for meanwhile? Asking takes the wish away.
    pub(super) fn again(&mut self) -> bool {
        std::mem::take(&mut self.again)
    }
}

/// The plugins for the start.
pub(super) async fn plugins(config: Arc<Config>) -> Result<Plugins, ServeError> {
    let loaded = aside("plugins", move || {
        let keys = super::keep::keys(&config)?;
        let none = Plugins::none(config.data.join("plugins"), config.dns.clone()).keeping(keys);
        Ok(none.become_these(&config.plugins)?)
    });
    loaded.await.unwrap_or(Err(ServeError::Aside))
}

/// Runs on a thread that nobody waits for at the end of the process.
fn aside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, ServeError> + Send + 'static,
) -> oneshot::Receiver<Result<T, ServeError>> {
    let (done, result) = oneshot::channel();
    let spawned: io::Result<_> = thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody listens any more when the server has ended.
        let _ = done.send(work());
    });
    if let Err(error) = spawned {
        tracing::error!("no thread can be started: {error}");
    }
    result
}
