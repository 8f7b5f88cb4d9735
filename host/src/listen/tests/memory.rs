//! A store in memory that can be told to fail or to wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::store::{
    Body, Change, Changed, Counts, Details, EntryId, Envelope, Filter, Incoming, Lease, MessageId, NewEntry, Page,
    Pressure, Store, StoreError, Verdicts,
};

/// What went wrong, if the test wants it so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    Begin,
    Write,
    Accept,
}

pub(super) type Message = (Envelope, Vec<u8>, Vec<NewEntry>);

/// A store in memory.
#[derive(Clone)]
pub(super) struct Memory {
    pub(super) trouble: Arc<Mutex<Trouble>>,
    /// `accept` needs a permit of this, which it forgets.
    pub(super) gate: Arc<Semaphore>,
    pub(super) messages: Arc<Mutex<Vec<Message>>>,
    pub(super) flushes: Arc<AtomicUsize>,
    pub(super) dropped: Arc<AtomicUsize>,
    /// How recipients were judged, in the order in which it was recorded.
    pub(super) verdicts: Arc<Mutex<Vec<Verdicts>>>,
    /// How often a content was read before it was accepted.
    pub(super) reads: Arc<AtomicUsize>,
}

struct Arriving {
    store: Memory,
    judged: Option<Verdicts>,
    content: Vec<u8>,
    buffered: usize,
    accepted: bool,
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if !self.accepted {
            self.store.dropped.fetch_add(1, SeqCst);
        }
    }
}

#[async_trait]
impl Incoming for Arriving {
    fn id(&self) -> MessageId {
        MessageId::from(7u128)
    }
    fn write(&mut self, octets: &[u8]) -> Result<Pressure, StoreError> {
        assert!(self.buffered < 100_000, "written on in spite of the pressure");
        if *self.store.trouble.lock() == Trouble::Write {
            return Err(StoreError::Full("test".into()));
        }
        self.content.extend_from_slice(octets);
        self.buffered += octets.len();
        Ok(if self.buffered > 50_000 { Pressure::Flush } else { Pressure::None })
    }
    async fn flush(&mut self) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        self.buffered = 0;
        self.store.flushes.fetch_add(1, SeqCst);
        Ok(())
    }
    fn header(&self) -> &[u8] {
        &[]
    }
    async fn content(&mut self) -> Result<Vec<u8>, StoreError> {
        self.store.reads.fetch_add(1, SeqCst);
        Ok(self.content.clone())
    }
    fn judged(&mut self, verdicts: Verdicts) {
        self.judged = Some(verdicts);
    }
    async fn accept(
        mut self: Box<Self>,
        envelope: Envelope,
        _prefix: Vec<u8>,
        entries: Vec<NewEntry>,
    ) -> Result<MessageId, StoreError> {
        self.store.gate.acquire().await.unwrap().forget();
        if *self.store.trouble.lock() == Trouble::Accept {
            return Err(StoreError::Failed("test".into()));
        }
        self.accepted = true;
        let content = std::mem::take(&mut self.content);
        self.store.verdicts.lock().extend(self.judged.take());
        self.store.messages.lock().push((envelope, content, entries));
        Ok(self.id())
    }
}

#[async_trait]
impl Store for Memory {
    fn begin(&self) -> Result<Box<dyn Incoming>, StoreError> {
        if *self.trouble.lock() == Trouble::Begin {
            return Err(StoreError::Full("test".into()));
        }
        Ok(Box::new(Arriving { store: self.clone(), judged: None, content: Vec::new(), buffered: 0, accepted: false }))
    }
    async fn claim(&self, _: u64, _: usize, _: Duration) -> Result<Vec<Lease>, StoreError> {
        Ok(Vec::new())
    }
    async fn settle(&self, _: Vec<crate::store::Outcome>) -> Result<Vec<EntryId>, StoreError> {
        Ok(Vec::new())
    }
    async fn bodies(&self, messages: Vec<MessageId>) -> Vec<Result<Body, StoreError>> {
        messages.iter().map(|id| Err(StoreError::Unknown(id.to_string()))).collect()
    }
    async fn due(&self) {
        std::future::pending().await
    }
    async fn find(&self, _: Filter, _: Option<EntryId>, _: usize) -> Result<Page, StoreError> {
        Ok(Page::default())
    }
    async fn show(&self, _: MessageId) -> Result<Option<Details>, StoreError> {
        Ok(None)
    }
    async fn change(&self, changes: Vec<(EntryId, Change)>) -> Result<Vec<Changed>, StoreError> {
        Ok(changes.iter().map(|_| Changed::Gone).collect())
    }
    async fn verdicts(&self, _: &str) -> Result<Vec<Verdicts>, StoreError> {
        Ok(self.verdicts.lock().clone())
    }
    fn record(&self, verdicts: Verdicts) {
        self.verdicts.lock().push(verdicts);
    }
    async fn counts(&self) -> Result<Counts, StoreError> {
        Ok(Counts::default())
    }
    async fn close(&self) {}
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            trouble: Arc::new(Mutex::new(Trouble::None)),
            gate: Arc::new(Semaphore::new(1000)),
            messages: Arc::default(),
            flushes: Arc::default(),
            dropped: Arc::default(),
            verdicts: Arc::default(),
            reads: Arc::default(),
        }
    }
}
