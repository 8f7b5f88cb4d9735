//! A store that sometimes takes its time and sometimes fails, and does nothing of what it says it did not do.
//!
//! Each call is one step of the simulation: nothing else happens, and no time passes, while the real store works. So a run
//! depends little on its threads.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use super::{super::*, world::World};
use crate::store::{Body, Change, Changed, Details, EntryId, Filter, Incoming, Page, Report, Right, StoreError, Told};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for it on this thread.
pub(super) fn step<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// The same of something that the store's writer does: until it has done all that comes of it.
pub(super) fn written<T>(store: &SqliteStore, future: impl Future<Output = T>) -> T {
    let value = step(future);
    // Jobs are done one after the other, and of this one nothing comes.
    let _ = step(store.renew(Vec::new(), Duration::ZERO));
    value
}

pub(super) struct Faulty {
    pub(super) inner: Arc<SqliteStore>,
    pub(super) world: Arc<World>,
}

impl Faulty {
    /// A disk is slow now and then, and sometimes it fails.
    async fn trouble(&self, what: &str) -> Result<(), StoreError> {
        if !self.world.is_calm() && self.world.percent(20) {
            self.world.pause(1500).await;
        }
        if self.world.store_fails() {
            self.world.say(format!("the store fails: {what}"));
            return Err(StoreError::Failed("simulated".into()));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Store for Faulty {
    fn begin(&self) -> Result<Box<dyn Incoming>, StoreError> {
        self.inner.begin()
    }

    async fn claim(&self, now: Timestamp, n: usize, lease: Duration) -> Result<Vec<Lease>, StoreError> {
        self.trouble("claim").await?;
        // The clock may have been set meanwhile; the store sees to that for what waits in it.
        let now = now.min(self.world.clock().now());
        let claimed = written(&self.inner, self.inner.claim(now, n, lease));
        if let Ok(leases) = &claimed {
            for lease in leases {
                self.world.say(format!("claimed {}, attempts {}", lease.recipient.recipient, lease.attempts));
            }
        }
        claimed
    }

    async fn renew(&self, rights: Vec<Right>, lease: Duration) -> Result<Vec<EntryId>, StoreError> {
        if let Err(error) = self.trouble("renew").await {
            rights.iter().for_each(|right| self.world.unrenewed(right.entry.message));
            return Err(error);
        }
        step(self.inner.renew(rights, lease))
    }

    async fn begin_attempts(&self, leases: Vec<Lease>) -> Result<Vec<EntryId>, StoreError> {
        self.trouble("begin_attempts").await?;
        written(&self.inner, self.inner.begin_attempts(leases))
    }

    async fn settle(&self, outcomes: Vec<Outcome>) -> Result<Vec<EntryId>, StoreError> {
        if let Err(error) = self.trouble("settle").await {
            outcomes.iter().for_each(|outcome| self.world.settled(outcome, None));
            return Err(error);
        }
        let settled = written(&self.inner, self.inner.settle(outcomes.clone()));
        for outcome in &outcomes {
            let done = settled.as_ref().ok().map(|stale| !stale.contains(&outcome.lease.entry));
            let (to, notice) = (&outcome.lease.recipient.recipient, outcome.notice.is_some());
            self.world.say(format!("settled {to}: {:?}, notice {notice}, {done:?}", outcome.settlement));
            self.world.settled(outcome, done);
        }
        // The answer is on its way.
        if !self.world.is_calm() {
            self.world.pause(20).await;
        }
        settled
    }

    async fn release(&self, reason: &str) -> Result<(), StoreError> {
        written(&self.inner, self.inner.release(reason))
    }

    async fn reports(&self, now: Timestamp, n: usize) -> Result<(Vec<Report>, Option<Timestamp>), StoreError> {
        self.trouble("reports").await?;
        step(self.inner.reports(now, n))
    }

    async fn told(&self, reports: Vec<(Report, Told)>) -> Result<(), StoreError> {
        self.trouble("told").await?;
        written(&self.inner, self.inner.told(reports))
    }

    async fn bodies(&self, messages: Vec<MessageId>) -> Vec<Result<Body, StoreError>> {
        match self.trouble("bodies").await {
            Ok(()) => step(self.inner.bodies(messages)),
            Err(error) => messages.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn due(&self) {
        self.inner.due().await;
    }

    async fn find(&self, filter: Filter, after: Option<EntryId>, most: usize) -> Result<Page, StoreError> {
        step(self.inner.find(filter, after, most))
    }

    async fn show(&self, message: MessageId) -> Result<Option<Details>, StoreError> {
        step(self.inner.show(message))
    }

    async fn change(&self, changes: Vec<(EntryId, Change)>) -> Result<Vec<Changed>, StoreError> {
        self.trouble("change").await?;
        written(&self.inner, self.inner.change(changes))
    }

    async fn verdicts(&self, id: &str) -> Result<Vec<Verdicts>, StoreError> {
        step(self.inner.verdicts(id))
    }

    fn record(&self, verdicts: Verdicts) {
        self.inner.record(verdicts);
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        step(self.inner.counts())
    }

    async fn close(&self) {
        step(self.inner.close());
    }
}
