//! How the queue hears of what an operator changed in the store.
//!
//! Owns the signal. Refuses to know what was changed: the queue finds that in the store. Cannot fail; a signal that nobody hears
//! yet is kept.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{Notify, watch};

/// Rung by whoever changes entries.
#[derive(Debug, Default)]
pub struct Bell {
    wanted_now: AtomicBool,
    stopping: AtomicBool,
    /// There is something to report.
    pub(super) reported: Notify,
}

impl Bell {
    /// Entries are about to become due because somebody wants them tried now: destinations that rest are tried, too.
    pub fn wanted_now(&self) {
        self.wanted_now.store(true, Ordering::Release);
    }

    /// Plugins are to be told something.
    pub fn reported(&self) {
        self.reported.notify_one();
    }

    /// The queue ends what is under way, and begins nothing more.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Was it rung for entries? Asking forgets it.
    pub(super) fn take_wanted_now(&self) -> bool {
        // Almost always not, and that is a mere load.
        self.wanted_now.load(Ordering::Acquire) && self.wanted_now.swap(false, Ordering::AcqRel)
    }
}

/// What the queue listens to.
#[derive(Debug)]
pub struct Orders {
    /// It is to stop: true, or the sender is gone.
    pub stop: watch::Receiver<bool>,
    /// Operators.
    pub bell: Arc<Bell>,
}

impl From<watch::Receiver<bool>> for Orders {
    fn from(stop: watch::Receiver<bool>) -> Self {
        Self { stop, bell: Arc::default() }
    }
}
