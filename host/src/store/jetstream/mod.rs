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
//! 8. *An object whose message is gone* is removed after that, or swept.
//!
//! What is not in one write with the rest: judgements for `hermetic why` ([`why`]).

mod incoming;
mod keys;
mod letter;
mod link;
mod manage;
mod onlooker;
mod open;
mod presence;
mod record;
mod reports;
mod settle;
mod sweep;
mod why;
mod work;

#[cfg(test)]
pub(crate) mod cluster;
#[cfg(test)]
mod tests;

use std::{
    io::{Seek as _, SeekFrom},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::jetstream::object_store::{GetErrorKind, ObjectStore};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinHandle,
};

use self::{
    incoming::Arriving,
    link::{Fault, Link},
    presence::Presence,
    record::{At, Message, decode, parse},
    reports::Reports,
    why::Why,
    work::Work,
};
pub use self::{
    keys::{Kept, Keys},
    letter::Placement,
    onlooker::Onlooker,
    open::{Durability, OpenError, Settings, Status, drain, look, open, status, verdicts},
    record::Node,
};
use super::{
    Body, Change, Changed, Content, Counts, Details, EntryId, Filter, Incoming, Lease, MessageId, Outcome, Page,
    Report, Right, Store, StoreError, Timestamp, Told, Verdicts,
    sqlite::{Ids, Lock},
};

/// A large content is given up, and asked for anew, when nothing of it has come for so long.
const OBJECT_PIECE: Duration = Duration::from_secs(5);
/// A large content may take so long to be kept, and a second more for each MiB.
const OBJECT_PUT: Duration = Duration::from_secs(30);
/// Times that it is asked for.
const OBJECT_TRIES: usize = 3;

/// What all of the store's parts share.
pub(super) struct Core {
    link: Link,
    presence: Arc<Presence>,
    work: Arc<Work>,
    placement: Placement,
    objects: ObjectStore,
    why: Why,
    reports: Reports,
    ids: Ids,
    /// Whoever changes how many entries of a message are left.
    counting: tokio::sync::Mutex<()>,
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
    /// A large content becomes an object.
    async fn put_object(
        &self,
        id: MessageId,
        octets: &mut (impl AsyncRead + Unpin + Send),
        size: u64,
    ) -> Result<(), StoreError> {
        let name = id.to_string();
        let put =
            tokio::time::timeout(OBJECT_PUT + Duration::from_secs(size >> 20), self.objects.put(name.as_str(), octets));
        let late = |_| StoreError::Failed("a large content can not be kept: it takes too long".into());
        let info = put
            .await
            .map_err(late)?
            .map_err(|error| StoreError::Failed(format!("a large content can not be kept: {error}")))?;
        if info.size as u64 != size {
            return Err(StoreError::Failed(format!("{} of {size} octets were kept", info.size)));
        }
        Ok(())
    }

    /// A content where it belongs.
    async fn keep(&self, id: MessageId, content: Vec<u8>) -> Result<letter::Octets, StoreError> {
        if content.len() <= letter::INLINE {
            return Ok(letter::Octets::Inline(content));
        }
        let size = content.len() as u64;
        self.put_object(id, &mut content.as_slice(), size).await?;
        Ok(letter::Octets::Object(size))
    }

    /// Nobody needs them any more. What fails is swept.
    fn remove_objects(&self, ids: Vec<MessageId>) {
        for id in ids {
            let objects = self.objects.clone();
            tokio::spawn(async move {
                let _ = objects.delete(id.to_string()).await;
            });
        }
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
                Some(size) => Content::File(self.object(id, size).await?),
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

    /// A large content, in a file without a name. A server that dies while it sends one says nothing: then another is asked.
    async fn object(&self, id: MessageId, size: u64) -> Result<std::fs::File, StoreError> {
        let mut tries = 1;
        loop {
            match self.try_object(id, size).await {
                Err(StoreError::Failed(_)) if tries < OBJECT_TRIES => tries += 1,
                done => return done,
            }
        }
    }

    async fn try_object(&self, id: MessageId, size: u64) -> Result<std::fs::File, StoreError> {
        let failed = |error: &dyn std::fmt::Display| StoreError::Failed(format!("the content of {id}: {error}"));
        let late = |_| failed(&"nothing comes");
        let asked = tokio::time::timeout(OBJECT_PIECE, self.objects.get(id.to_string()));
        let mut object = match asked.await.map_err(late)? {
            Ok(object) => object,
            Err(error) if error.kind() == GetErrorKind::NotFound => return Err(StoreError::Unknown(id.to_string())),
            Err(error) => return Err(failed(&error)),
        };
        let file = incoming::nameless(&self.data).map_err(|error| failed(&error))?;
        let mut file = tokio::fs::File::from_std(file);
        let (mut copied, mut piece) = (0, vec![0; 64 * 1024]);
        loop {
            let read = tokio::time::timeout(OBJECT_PIECE, object.read(&mut piece)).await;
            let n = read.map_err(late)?.map_err(|error| failed(&error))?;
            let Some(octets) = piece.get(..n).filter(|octets| !octets.is_empty()) else { break };
            file.write_all(octets).await.map_err(|error| failed(&error))?;
            copied += n as u64;
        }
        file.flush().await.map_err(|error| failed(&error))?;
        if copied != size {
            return Err(failed(&format!("{copied} of {size} octets are there")));
        }
        let mut file = file.into_std().await;
        file.seek(SeekFrom::Start(0)).map_err(|error| failed(&error))?;
        Ok(file)
    }

    /// Entries that somebody had no time to write.
    async fn finish_all(&self) -> Result<(), StoreError> {
        for subject in self.link.subjects(&self.link.names.all('c')).await? {
            let id = subject.rsplit('.').next().and_then(|id| MessageId::from_string(id).ok());
            if let Some(id) = id {
                letter::finish(&self.link, &self.placement, id).await?;
            }
        }
        Ok(())
    }

    async fn counts(&self) -> Result<Counts, Fault> {
        let mut counts = Counts::default();
        for (subject, held) in self.link.scan(self.link.names.all('e')).await? {
            if parse(&subject).is_some() {
                *if held { &mut counts.held } else { &mut counts.queued } += 1;
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
