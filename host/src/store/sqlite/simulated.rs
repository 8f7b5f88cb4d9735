//! The time and the chance of a simulation: what the store and the queue take for the clock, while a test says so.
//!
//! Owns what time it is for one thread, and for the stores that this thread opens. It goes with tokio's time, which a paused
//! runtime jumps through, and may be set as an operator or a virtual machine sets a clock. Refuses to know who asks. Compiled
//! for tests alone. Cannot fail.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use tokio::{runtime::Handle, time::Instant};

use crate::store::Timestamp;

thread_local! {
    static HERE: RefCell<Option<Arc<Simulated>>> = const { RefCell::new(None) };
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Simulated {
    runtime: Handle,
    /// When it was this time.
    start: (Instant, Timestamp),
    /// By how much it was set since, milliseconds.
    set: AtomicI64,
    /// Where chance has got to.
    chance: AtomicU64,
}

impl Simulated {
    /// The clock of this thread from now on; to be called within the runtime whose time it takes.
    pub(crate) fn begin(time: Timestamp, seed: u64) -> Arc<Self> {
        let clock = Arc::new(Self {
            runtime: Handle::current(),
            start: (Instant::now(), time),
            set: AtomicI64::new(0),
            chance: AtomicU64::new(seed),
        });
        inherit(Some(clock.clone()));
        clock
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn now(&self) -> Timestamp {
        let _within = self.runtime.enter();
        let passed = u64::try_from(self.start.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.start.1.saturating_add(passed).saturating_add_signed(self.set.load(Ordering::Relaxed))
    }

    /// Somebody sets the clock, by so many milliseconds.
    pub(crate) fn set(&self, by: i64) {
        self.set.fetch_add(by, Ordering::Relaxed);
    }
}

/// The time here, if it is not the real one.
pub(super) fn now() -> Option<Timestamp> {
    HERE.with_borrow(|here| here.as_ref().map(|clock| clock.now()))
}

/// By how much the clock here was set, if it is not the real one.
pub(super) fn clock_set() -> Option<i64> {
    HERE.with_borrow(|here| here.as_ref().map(|clock| clock.set.load(Ordering::Relaxed)))
}

/// A number that only the seed decides, if this thread simulates.
pub(crate) fn chance() -> Option<u8> {
    // Knuth's generator (MMIX), of which the upper bits are good.
    let next = |last: u64| last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let draw = |clock: &Arc<Simulated>| {
        let last = clock.chance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        last.unwrap_or_default().to_be_bytes()[0]
    };
    HERE.with_borrow(|here| here.as_ref().map(draw))
}

/// For a thread that works for this one.
pub(super) fn here() -> Option<Arc<Simulated>> {
    HERE.with_borrow(Clone::clone)
}

/// The clock of this thread from now on; None: the real one.
pub(crate) fn inherit(clock: Option<Arc<Simulated>>) {
    HERE.set(clock);
}
