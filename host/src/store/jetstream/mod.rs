//! The store on several machines: NATS JetStream, which keeps every record on a majority of its servers.
//!
//! Owns the stream of all records (see [`record`]), the bucket of large contents, and the stream of judgements. Refuses to know where
//! mail goes and how often it is tried. Fails with [`OpenError`] at start and with [`StoreError`] while no majority answers: then
//! new mail hears 451, nothing is sent, and what is there goes on by itself when a majority is back.
//!
//! ```text
//!   begin ──► writing ──accept──► queued ◄───────────┐ Retry, Postponed (at a time: by a scheduled message); Becomes
//!                │ dropped          │ claim          │
//!                ▼                  ▼                │            ┌─► gone    Delivered; Failed with a notice; …
//!             nothing             leased ────────────┴── settle ──┤
//!                                   │ its node was silent         └─► held    Held; Failed with nobody to tell
//!                                   ▼ for a lease
//!                                 queued (unsure), for any node
//! ```
//!
//! # What if a node, or servers, die between any two steps?
//!
//! A record that is acknowledged is on the disks of a majority, if each server syncs before it says so (`sync_interval: always`).
//! Records that are written together are there together or not at all. Each step is one such write; what is
//! done before it harms nobody if the step is never made, and what is done after it is done again by whoever finds it undone.
//!
//! 1. *Writing.* Octets are in memory or in a file without a name. A large content is made an object before the message is
//!    written; without that it is swept ([`sweep`]) when nobody can still be writing it.
//! 2. *Accepting.* One write has the message, its entries, and their number. The peer hears 250 after that is acknowledged. If
//!    nothing is acknowledged it is repeated under the same name, for [`settle::PATIENCE`]; then the peer hears 451, and the
//!    message may be there all the same, whole: the peer sends it again. RFC 1047, and the lesser evil. A message with more
//!    than [`letter::FIRST`] recipients has the rest of them in its own record, and its number says which of these are
//!    entries already; whoever finds some that are not makes them, each once.
//! 3. *Queued.* A new record of an entry is the ticket by which one node hears of it. A ticket that is not acknowledged goes to
//!    another node. If an entry's time is to come, the same write has the schedule by which the servers make the ticket then. A
//!    ticket is acknowledged after the lease is written. So every entry that is not held has a ticket, a schedule or a lease; the
//!    sweep writes tickets for those that have none, which only damage to the servers' disks brings.
//! 4. *Leased.* The lease's record names the node and its epoch ([`presence`]). If the node dies somebody fences its epoch and
//!    writes tickets for what it had. If that one dies too in between, the next look at the leases does it. Whoever claims then
//!    writes after the dead node's lease; the entry is `unsure`.
//! 5. *Delivered, not settled.* As on one machine: a copy in a Maildir is found by its name, since entries for a Maildir are
//!    bound to its node; what another server has taken is sent again, if its reply was lost with the node.
//! 6. *Settled.* One write ends the lease, after its last record, and has all that comes of it: the entry's end or its next state, a
//!    notice, a report, the message's end with its last entry. If the lease is not the last one nothing is written.
//! 7. *A node that stood still* finds its epoch fenced when it next beats. It may send nothing before it has beaten; what it had
//!    claimed it can not settle.
//! 8. *An object whose message is gone* is removed after that, or swept ([`objects`]).
//! 9. *Brought from a machine's own store.* Each write has a mark that outlives the mail ([`adopt`]); it is taken out there afterwards.
//!
//! What is not in one write with the rest: judgements for `hermetic why` ([`why`]).

mod adopt;
mod incoming;
mod keys;
mod letter;
mod link;
mod manage;
mod objects;
mod onlooker;
mod open;
mod presence;
mod record;
mod reports;
mod settle;
mod status;
mod sweep;
mod why;
mod work;

#[cfg(test)]
pub(crate) mod cluster;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use tokio::task::JoinHandle;

pub use self::{
    adopt::Adopter,
    keys::{Kept, Keys},
    letter::Placement,
    onlooker::Onlooker,
    open::{Durability, OpenError, Settings, open},
    record::Node,
    status::{Status, drain, look, status, verdicts},
};
use self::{
    incoming::Arriving,
    link::{Fault, Link, With},
    objects::Objects,
    presence::Presence,
    record::{At, Count, Message, decode, parse},
    reports::Reports,
    why::Why,
    work::Work,
};
use super::{
    Body, Change, Changed, Content, Counts, Details, EntryId, Filter, Incoming, Lease, MessageId, Outcome, Page,
    Report, Right, Store, StoreError, Timestamp, Told, Verdicts,
    sqlite::{Ids, Lock},
};

/// What all of the store's parts share.
pub(super) struct Core {
    link: Link,
    presence: Arc<Presence>,
    work: Arc<Work>,
    placement: Placement,
    objects: Objects,
    why: Why,
    reports: Reports,
    ids: Ids,
    /// Whoever changes how many entries of a message are left.
    counting: tokio::sync::Mutex<()>,
    /// Messages of which perhaps not all entries are written yet, and when somebody should look.
    unfinished: parking_lot::Mutex<HashMap<MessageId, Instant>>,
    /// Operators' lists, a page at a time.
    lists: manage::Lists,
    /// For files of messages on their way.
    data: PathBuf,
}

/// See the module.
pub struct JetStreamStore {
    core: Arc<Core>,
    tasks: parking_lot::Mutex<Vec<JoinHandle<()>>>,
    _lock: Lock,
}

impl Core {
    /// A content where it belongs.
    async fn keep(&self, id: MessageId, content: Vec<u8>) -> Result<letter::Octets, StoreError> {
        if content.len() <= letter::INLINE {
            return Ok(letter::Octets::Inline(content));
        }
        let size = content.len() as u64;
        self.objects.put(id, &mut std::io::Cursor::new(content), size).await?;
        Ok(letter::Octets::Object(size))
    }

    async fn body(&self, id: MessageId) -> Result<Body, StoreError> {
        if let Some((entry, octets)) = self.work.octets(id)
            && let At::Here(prefix) = entry.at
        {
            let (prefix, content) = letter::split(&octets, prefix);
            return Ok(Body { prefix, content: Content::Inline(content) });
        }
        let unknown = || StoreError::Unknown(id.to_string());
        let there = |found: Option<link::Found>| found.filter(|found| !found.payload.is_empty());
        if let Some(found) = there(self.link.last(&self.link.names.message(id)).await?) {
            let (message, octets) = decode::<Message>(&found.payload)?;
            let (prefix, content) = letter::split(&octets, message.prefix);
            let content = match message.object {
                None => Content::Inline(content),
                Some(size) => Content::File(self.objects.get(id, size, &self.data).await?),
            };
            return Ok(Body { prefix, content });
        }
        let first = EntryId { message: id, index: 0 };
        let found = there(self.link.last(&self.link.names.entry_anywhere(first)).await?).ok_or_else(unknown)?;
        let (entry, octets) = decode::<record::Entry>(&found.payload)?;
        let At::Here(prefix) = entry.at else { return Err(unknown()) };
        let (prefix, content) = letter::split(&octets, prefix);
        Ok(Body { prefix, content: Content::Inline(content) })
    }

    /// Not all entries of this message may be written. What may still be on its way is waited for.
    fn is_unfinished(&self, id: MessageId) {
        self.unfinished.lock().insert(id, Instant::now() + self.presence.lease);
    }

    /// Writes the entries that somebody had no time to write.
    async fn finish(&self) {
        let due: Vec<_> = {
            let unfinished = self.unfinished.lock();
            unfinished.iter().filter(|(_, at)| **at <= Instant::now()).map(|(id, _)| *id).collect()
        };
        for id in due {
            self.unfinished.lock().remove(&id);
            match letter::finish(&self.link, &self.placement, id).await {
                Ok(()) => {}
                Err(Fault::Unreadable(why)) => {
                    tracing::error!(message = %id, why, "not all entries of a message can be written; it is left to a node that can");
                }
                Err(fault) => {
                    tracing::warn!(message = %id, ?fault, "not all entries of a message are written; this is tried again");
                    self.is_unfinished(id);
                }
            }
        }
    }

    /// Looks for messages that a node had no time to finish.
    async fn find_unfinished(&self) -> Result<(), Fault> {
        let names = self.link.names.all('c');
        let listed = self.link.scan(names.clone(), With::Payload).await?;
        let seen: HashSet<String> = listed.iter().map(|listed| listed.subject.clone()).collect();
        let unseen = self.link.unseen(&names, &seen).await?;
        let found = listed.into_iter().map(|listed| (listed.subject, listed.payload));
        for (subject, payload) in found.chain(unseen.into_iter().map(|found| (found.subject, found.payload))) {
            let id = subject.rsplit('.').next().and_then(|id| MessageId::from_string(id).ok());
            if let (Some(id), Ok((Count { rest: Some(_), .. }, _))) = (id, decode::<Count>(&payload)) {
                self.unfinished.lock().insert(id, Instant::now());
            }
        }
        Ok(())
    }

    async fn counts(&self) -> Result<Counts, Fault> {
        let mut counts = Counts::default();
        for listed in self.link.scan(self.link.names.all('e'), With::Headers).await? {
            if parse(&listed.subject).is_some() {
                *if listed.held { &mut counts.held } else { &mut counts.queued } += 1;
            }
        }
        Ok(counts)
    }
}

#[async_trait]
impl Store for JetStreamStore {
    fn begin(&self) -> Result<Box<dyn Incoming>, StoreError> {
        // Whoever has not been heard of for so long could write nothing.
        if self.core.presence.margin().is_none() {
            return Err(StoreError::Failed("no majority of the NATS servers answers".into()));
        }
        Ok(Box::new(Arriving::new(self.core.clone())))
    }

    async fn claim(&self, now: Timestamp, n: usize, lease: Duration) -> Result<Vec<Lease>, StoreError> {
        self.core.work.claim(now, n, lease).await
    }

    async fn renew(&self, rights: Vec<Right>, lease: Duration) -> Result<Vec<EntryId>, StoreError> {
        self.core.presence.confirmed().await?;
        Ok(self.core.work.renew(&rights, lease))
    }

    async fn begin_attempts(&self, leases: Vec<Lease>) -> Result<Vec<EntryId>, StoreError> {
        self.core.begin_attempts(leases).await
    }

    async fn settle(&self, outcomes: Vec<Outcome>) -> Result<Vec<EntryId>, StoreError> {
        self.core.settle(outcomes).await
    }

    async fn release(&self, reason: &str) -> Result<(), StoreError> {
        self.core.release(reason).await
    }

    async fn reports(&self, now: Timestamp, n: usize) -> Result<(Vec<Report>, Option<Timestamp>), StoreError> {
        Ok(self.core.reports.due(now, n))
    }

    async fn told(&self, reports: Vec<(Report, Told)>) -> Result<(), StoreError> {
        self.core.reports.told(&self.core.link, reports).await
    }

    async fn bodies(&self, messages: Vec<MessageId>) -> Vec<Result<Body, StoreError>> {
        let bodies: Vec<_> = messages.into_iter().map(|id| self.core.body(id)).collect();
        stream::iter(bodies).buffered(16).collect().await
    }

    async fn due(&self) {
        self.core.work.due().await;
    }

    async fn find(&self, filter: Filter, after: Option<EntryId>, most: usize) -> Result<Page, StoreError> {
        Ok(self.core.find(&filter, after, most).await?)
    }

    async fn show(&self, message: MessageId) -> Result<Option<Details>, StoreError> {
        Ok(self.core.show(message).await?)
    }

    async fn change(&self, changes: Vec<(EntryId, Change)>) -> Result<Vec<Changed>, StoreError> {
        self.core.change(changes).await
    }

    async fn verdicts(&self, id: &str) -> Result<Vec<Verdicts>, StoreError> {
        Ok(self.core.why.of(id).await?)
    }

    fn record(&self, verdicts: Verdicts) {
        self.core.why.record(&verdicts);
    }

    fn sharing(&self) -> usize {
        self.core.presence.sharing()
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        Ok(self.core.counts().await?)
    }

    async fn close(&self) {
        self.core.work.closing.store(true, Ordering::Release);
        self.core.work.wake();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        if tasks.is_empty() {
            return;
        }
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        // What this node had is free at once.
        self.core.presence.end().await;
    }
}

impl Drop for JetStreamStore {
    fn drop(&mut self) {
        self.tasks.lock().iter().for_each(JoinHandle::abort);
    }
}
