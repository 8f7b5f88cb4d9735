//! How much of the processor a call that may wait has had, and when that is enough.
//!
//! Owns the account of one call, whichever threads it runs on. Refuses to know what is called. Waiting is free, for the
//! account stands still while nobody polls the call, and so is waiting for the processor, where the system tells how long
//! a thread ran. Reading that costs more than most calls, so nothing is read before a call has lasted for a tick: up to then it is
//! charged by the clock on the wall, for a tick at most.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use wasmtime::UpdateDeadline;

use super::{ticker::PERIOD, watch::on_the_processor};

/// A call that was begun this short before a tick is not disturbed by it.
const BRIEF: Duration = Duration::from_millis(1);

/// One call under way.
#[derive(Debug)]
pub(crate) struct Meter {
    deadline: Duration,
    account: Mutex<Account>,
}

#[derive(Debug)]
struct Account {
    spent: Duration,
    /// It has had a slice.
    busy: bool,
    /// Since when it runs, in time on this thread's processor where that was read.
    since: (Instant, Option<Duration>),
}

impl Meter {
    /// `deadline`: time on the processor.
    pub(crate) fn new(deadline: Duration) -> Self {
        let account = Account { spent: Duration::ZERO, busy: false, since: (Instant::now(), None) };
        Self { deadline, account: Mutex::new(account) }
    }

    /// It has been polled for longer than a tick without an end, so it should go on where it holds up nobody.
    pub(crate) fn is_busy(&self) -> bool {
        self.account.lock().busy
    }

    /// An epoch has passed; it may be the first of many.
    pub(crate) fn look(&self) -> UpdateDeadline {
        let mut account = self.account.lock();
        if !account.busy && account.since.0.elapsed() < BRIEF {
            return UpdateDeadline::Continue(1);
        }
        account.settle(on_the_processor());
        if account.spent >= self.deadline {
            return UpdateDeadline::Interrupt;
        }
        account.busy = true;
        UpdateDeadline::Yield(1)
    }

    fn begin(&self) {
        let mut account = self.account.lock();
        let now = if account.busy { on_the_processor() } else { None };
        account.since = (Instant::now(), now);
    }

    fn pause(&self) {
        let mut account = self.account.lock();
        let now = account.since.1.and_then(|_| on_the_processor());
        account.settle(now);
    }
}

impl Account {
    /// Charges for the time since it was last charged. `now`: this thread's time on the processor, if it was read.
    fn settle(&mut self, now: Option<Duration>) {
        let wall = self.since.0.elapsed();
        self.spent += match (self.since.1, now) {
            (Some(before), Some(now)) => now.saturating_sub(before).min(wall),
            (None, Some(_)) => wall.min(PERIOD),
            (_, None) => wall,
        };
        self.since = (Instant::now(), now);
    }
}

/// A call whose time is on an account.
pub(crate) struct Metered<F> {
    /// The call.
    pub(crate) call: Pin<Box<F>>,
    /// Its account, which the callback of its store looks at.
    pub(crate) meter: Arc<Meter>,
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.meter.begin();
        let polled = self.call.as_mut().poll(context);
        if polled.is_pending() {
            self.meter.pause();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_not_charged_and_who_is_busy_ends() {
        let meter = Meter::new(Duration::from_millis(30));
        meter.begin();
        assert!(matches!(meter.look(), UpdateDeadline::Continue(1)), "it has only begun");
        meter.pause();
        std::thread::sleep(Duration::from_millis(50));
        meter.begin();
        assert!(meter.account.lock().spent < Duration::from_millis(5), "{meter:?}");
        let started = Instant::now();
        let mut looks = 0;
        loop {
            let until = Instant::now() + PERIOD;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            looks += 1;
            match meter.look() {
                UpdateDeadline::Interrupt => break,
                UpdateDeadline::Yield(1) => assert!(meter.is_busy()),
                _ => panic!("a look {looks} that neither yields nor ends"),
            }
        }
        assert!(started.elapsed() >= Duration::from_millis(25), "{meter:?}");
        assert!(looks >= 3, "{meter:?}");
    }
}
