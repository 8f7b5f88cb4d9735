//! One timer for everybody who waits: a call of the runtime's clock for the earliest, none for the others.
//!
//! Owns who is woken when. Refuses to know why. Does not fail; an alarm that is dropped is forgotten.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures::future::select;
use wasip3::clocks::monotonic_clock;

/// Nanoseconds in a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// Milliseconds on the monotonic clock.
pub(crate) fn now() -> u64 {
    monotonic_clock::now() / MILLISECOND
}

/// Everybody who waits. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Alarms(Rc<RefCell<Waiting>>);

#[derive(Default)]
struct Waiting {
    /// By the time and a number that tells equal times apart.
    wakers: BTreeMap<(u64, u64), Waker>,
    next: u64,
    keeper: Option<Waker>,
}

impl Waiting {
    fn first(&self) -> Option<u64> {
        // Whoever waits for the end of time waits to be roused.
        self.wakers.first_key_value().map(|((due, _), _)| *due).filter(|due| *due != u64::MAX)
    }
}

impl Alarms {
    /// Ready when the clock is at `due`, in milliseconds, or shortly after. `u64::MAX` never is.
    pub(crate) fn at(&self, due: u64) -> Alarm {
        Alarm { alarms: self.clone(), due, key: None }
    }

    /// Has everybody who waits look again, whatever the time.
    pub(crate) fn rouse(&self) {
        let wakers: Vec<Waker> = self.0.borrow().wakers.values().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Keeps the time. Never ends.
    pub(crate) async fn keep(self) {
        loop {
            let due = self.earlier_than(None).await;
            let moment = pin!(monotonic_clock::wait_until(due.saturating_mul(MILLISECOND)));
            select(moment, pin!(self.earlier_than(Some(due)))).await;
            let now = now();
            loop {
                let mut waiting = self.0.borrow_mut();
                if waiting.first().is_none_or(|due| due > now) {
                    break;
                }
                let first = waiting.wakers.pop_first();
                drop(waiting);
                if let Some((_, waker)) = first {
                    waker.wake();
                }
            }
        }
    }

    /// Waits until somebody waits for a time before this one.
    async fn earlier_than(&self, due: Option<u64>) -> u64 {
        poll_fn(|context| {
            let mut waiting = self.0.borrow_mut();
            match waiting.first() {
                Some(first) if due.is_none_or(|due| first < due) => Poll::Ready(first),
                _ => {
                    waiting.keeper = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// See [`Alarms::at`].
pub(crate) struct Alarm {
    alarms: Alarms,
    due: u64,
    key: Option<(u64, u64)>,
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.due != u64::MAX && now() >= self.due {
            return Poll::Ready(());
        }
        let alarms = self.alarms.clone();
        let mut waiting = alarms.0.borrow_mut();
        let due = self.due;
        let key = *self.key.get_or_insert_with(|| {
            waiting.next += 1;
            (due, waiting.next)
        });
        waiting.wakers.insert(key, context.waker().clone());
        if waiting.first() == Some(due)
            && let Some(keeper) = waiting.keeper.take()
        {
            drop(waiting);
            keeper.wake();
        }
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.alarms.0.borrow_mut().wakers.remove(&key);
        }
    }
}

/// Lets everybody else have a turn.
pub(crate) async fn turn() {
    let mut waited = false;
    poll_fn(|context| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
