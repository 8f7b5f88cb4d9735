//! The clock by which a call into the engine is cut off.
//!
//! Owns one plain OS thread that advances wasmtime's epoch, so that a busy or blocked tokio worker cannot delay it.
//! Refuses to know what is running. It can fail only at its start, when the thread cannot be made; it ends when it is
//! dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use wasmtime::{Engine, EngineWeak};

/// How often the epoch advances: the grain of every deadline.
pub(super) const PERIOD: Duration = Duration::from_millis(10);

/// How many epochs make sure that at least `deadline` passes. One is added because the current one may be about to end.
pub(crate) fn epochs(deadline: Duration) -> u64 {
    let periods = deadline.as_nanos().div_ceil(PERIOD.as_nanos());
    u64::try_from(periods).unwrap_or(u64::MAX / 2).saturating_add(1)
}

/// Advances the epochs of some wasmtime engines for as long as it and they live.
pub(crate) struct Ticker {
    engines: Arc<Mutex<Vec<EngineWeak>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread.
    pub(crate) fn start(engines: Vec<Engine>) -> std::io::Result<Self> {
        let engines = Arc::new(Mutex::new(engines.iter().map(Engine::weak).collect::<Vec<_>>()));
        let ticked = Arc::clone(&engines);
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopped);
        let thread = thread::Builder::new().name("engine-ticker".into()).spawn(move || {
            while !stop.load(Ordering::Acquire) {
                thread::park_timeout(PERIOD);
                ticked.lock().retain(|engine| engine.upgrade().inspect(Engine::increment_epoch).is_some());
            }
        })?;
        Ok(Self { engines, stopped, thread: Some(thread) })
    }

    /// One more.
    pub(crate) fn add(&self, engine: &Engine) {
        let mut engines = self.engines.lock();
        let known = engines.iter().filter_map(EngineWeak::upgrade).any(|known| Engine::same(&known, engine));
        if !known {
            engines.push(engine.weak());
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It does nothing that could panic, and there is nothing to do about it if it did.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_cut_short() {
        let check = |milliseconds, expected| assert_eq!(epochs(Duration::from_millis(milliseconds)), expected);
        check(0, 1);
        check(1, 2);
        check(10, 2);
        check(11, 3);
        check(100, 11);
        assert_eq!(epochs(Duration::MAX), u64::MAX / 2 + 1);
    }
}
