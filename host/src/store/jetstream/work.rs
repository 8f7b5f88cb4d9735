//! What this node works on: tickets come in ([`tickets`]), entries are claimed, and leases are kept.
//!
//! Owns what is ready to be claimed, and the leases that this node holds. Refuses to know what is done with an
//! entry. Fails with a [`Fault`]; a ticket that was not made use of comes again, here or elsewhere.
//!
//! A ticket is only a hint that somebody should look. An entry is had by whoever writes its lease after nothing, after the mark
//! of one that has ended, or after one whose node is dead; and is settled by whoever writes after that lease. A lease may be written
//! though nobody said so: others leave its entry alone then, so this node goes on until it knows ([`Work::take`], [`recovery`]).

mod recovery;
mod tickets;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    link::{ANSWER, Fault, Link, Record},
    presence::{Presence, on},
    record::{Claimed, Entry, MARK, VERSION, decode, encode},
};
use crate::store::{
    EntryId, Lease, StoreError, Timestamp,
    sqlite::{clock_set, now},
};

/// Claims under way at a time.
const CLAIMS: usize = 256;

/// An entry that somebody should look at.
pub(super) struct Ready {
    place: String,
    id: EntryId,
    entry: Entry,
    octets: Bytes,
    reply: Option<async_nats::Subject>,
    /// The number of the record that told of it.
    record: u64,
    /// The same, if that is not the entry itself.
    ticket: Option<u64>,
    /// Somebody else may have been told before.
    again: bool,
    /// In which this node asked for it.
    epoch: String,
    /// By [`on`].
    since: Duration,
}

impl Ready {
    fn age(&self) -> Duration {
        on().saturating_sub(self.since)
    }
}

/// An entry that this node has.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) place: String,
    /// Of the lease's last record.
    pub(super) sequence: u64,
    pub(super) token: u64,
    epoch: String,
    /// By a clock that nobody sets.
    until: Timestamp,
    pub(super) attempts: u32,
    pub(super) entry: Entry,
    pub(super) octets: Bytes,
}

impl Held {
    fn until(&self) -> Timestamp {
        self.until.saturating_add_signed(clock_set())
    }
}

fn end_of(now: Timestamp, lease: Duration) -> Timestamp {
    let until = now.saturating_add(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
    until.saturating_add_signed(clock_set().saturating_neg())
}

#[derive(Default)]
struct Desk {
    /// By priority.
    ready: BTreeMap<i8, VecDeque<Ready>>,
    taking: HashSet<EntryId>,
    held: HashMap<EntryId, Held>,
    /// Tickets for what is held here, or being taken: for what becomes of it then. What settles an entry may make its next ticket, which
    /// can be here before the answer that it is settled.
    later: HashMap<EntryId, Ready>,
    octets: usize,
}

impl Desk {
    fn count(&self) -> usize {
        self.ready.values().map(VecDeque::len).sum()
    }

    /// Up to `n`: of high priority first, and one of each that there is.
    fn pop(&mut self, n: usize) -> Vec<Ready> {
        let mut found = Vec::new();
        for queue in self.ready.values_mut().take(n.saturating_sub(1)) {
            found.extend(queue.pop_front());
        }
        for queue in self.ready.values_mut().rev() {
            while found.len() < n
                && let Some(one) = queue.pop_front()
            {
                found.push(one);
            }
        }
        found.sort_by_key(|one| std::cmp::Reverse(one.entry.envelope.priority()));
        self.ready.retain(|_, queue| !queue.is_empty());
        found
    }
}

/// See the module.
pub(super) struct Work {
    pub(super) link: Link,
    pub(super) presence: Arc<Presence>,
    desk: Mutex<Desk>,
    /// Something is ready, or the other way round.
    changed: Notify,
    room: Notify,
    pub(super) closing: AtomicBool,
    /// Those who wait for something to claim, and when somebody last asked.
    wanting: AtomicUsize,
    wanted: Mutex<Instant>,
    /// All leases are to be looked at.
    pub(super) look: AtomicBool,
    /// This node may have a lease without knowing it.
    pub(super) doubt: AtomicBool,
    /// For whoever takes over.
    pub(super) looking: Notify,
}

/// Counts one who waits.
struct Wants<'a>(&'a Work);

impl<'a> Wants<'a> {
    fn new(work: &'a Work) -> Self {
        work.wanting.fetch_add(1, Ordering::Relaxed);
        work.room.notify_waiters();
        Self(work)
    }
}

impl Drop for Wants<'_> {
    fn drop(&mut self) {
        *self.0.wanted.lock() = Instant::now();
        self.0.wanting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Work {
    pub(super) fn new(link: Link, presence: Arc<Presence>) -> Arc<Self> {
        Arc::new(Self {
            link,
            presence,
            desk: Mutex::default(),
            changed: Notify::new(),
            room: Notify::new(),
            closing: AtomicBool::new(false),
            wanting: AtomicUsize::new(0),
            wanted: Mutex::new(Instant::now()),
            look: AtomicBool::new(true),
            doubt: AtomicBool::new(false),
            looking: Notify::new(),
        })
    }

    /// All leases are looked at, at once.
    pub(super) fn look_at_all(&self) {
        self.look.store(true, Ordering::Release);
        self.looking.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Resolves when there may be something to claim.
    pub(super) async fn due(&self) {
        let _wants = Wants::new(self);
        loop {
            let changed = self.changed.notified();
            let next = {
                let desk = self.desk.lock();
                // What nobody else can have is worked on even when the node drains.
                let takes = |one: &Ready| one.reply.is_none() || !self.presence.draining.load(Ordering::Relaxed);
                if desk.ready.values().flatten().any(takes) {
                    return;
                }
                desk.held.values().map(Held::until).min().unwrap_or(u64::MAX)
            };
            let Some(wait) = next.checked_sub(now()).filter(|wait| *wait > 0) else { return };
            let sleep = tokio::time::sleep(Duration::from_millis(wait.min(3_600_000)));
            tokio::select! { () = changed => {} () = sleep => {} }
        }
    }

    /// See [`crate::store::Store::claim`].
    pub(super) async fn claim(&self, at: Timestamp, n: usize, lease: Duration) -> Result<Vec<Lease>, StoreError> {
        let epoch = self.presence.epoch();
        *self.wanted.lock() = Instant::now();
        let (mut again, ready) = {
            let mut desk = self.desk.lock();
            // Of an epoch that is over: whoever has them now, it is not this node.
            let old: Vec<_> = desk.held.iter().filter(|(_, held)| held.epoch != epoch).map(|(id, _)| *id).collect();
            old.iter().for_each(|id| self.forget(&mut desk, *id));
            let expired = desk.held.iter().filter(|(_, held)| held.until() <= at).map(|(id, held)| (*id, held.clone()));
            let again: Vec<_> = expired.take(n).collect();
            let mut ready = desk.pop(n - again.len());
            let mut free = Vec::with_capacity(ready.len());
            for one in ready.drain(..) {
                if !desk.held.contains_key(&one.id) && desk.taking.insert(one.id) {
                    free.push(one);
                    continue;
                }
                desk.octets = desk.octets.saturating_sub(one.octets.len());
                // Of two the newer one counts; the same one, sent again, is acknowledged when it is done with.
                match desk.later.remove(&one.id) {
                    Some(before) if before.record > one.record => {
                        acknowledge(&self.link, &one);
                        desk.later.insert(before.id, before);
                    }
                    before => {
                        if let Some(before) = before.filter(|before| before.record != one.record) {
                            acknowledge(&self.link, &before);
                        }
                        desk.later.insert(one.id, one);
                    }
                }
            }
            (again, free)
        };
        self.room.notify_waiters();
        let mut claimed = Vec::with_capacity(again.len() + ready.len());
        let mut fault = None;
        for (id, held) in again.drain(..) {
            match self.reclaim(id, held, at, lease).await {
                Ok(lease) => claimed.extend(lease),
                Err(error) => fault = Some(error),
            }
        }
        let takes: Vec<_> = ready.into_iter().map(|one| self.take(one, &epoch, at, lease)).collect();
        let taken: Vec<_> = stream::iter(takes).buffered(CLAIMS).collect().await;
        for one in taken {
            match one {
                Ok(lease) => claimed.extend(lease),
                Err(error) => fault = Some(error),
            }
        }
        // What was written while this node stood still does not count; it is looked at again when it has beaten.
        if self.presence.margin().is_none() || self.presence.epoch() != epoch {
            let mut desk = self.desk.lock();
            for lease in claimed.drain(..) {
                if let Some(held) = desk.held.get_mut(&lease.entry) {
                    held.until = 0;
                }
            }
        }
        match fault {
            Some(fault) if claimed.is_empty() => Err(fault.into()),
            _ => Ok(claimed),
        }
    }

    fn forget(&self, desk: &mut Desk, id: EntryId) {
        if let Some(held) = desk.held.remove(&id) {
            desk.octets = desk.octets.saturating_sub(held.octets.len());
            self.presence.leases.store(desk.held.len(), Ordering::Relaxed);
        }
        self.look_again(desk, id);
    }

    /// It is nobody's here any more.
    fn look_again(&self, desk: &mut Desk, id: EntryId) {
        if let Some(one) = desk.later.remove(&id) {
            self.put_back(desk, one);
            self.changed.notify_one();
        }
    }

    fn claimed(&self, epoch: &str, attempts: u32) -> Result<Bytes, Fault> {
        let claimed = Claimed { v: VERSION, node: self.presence.node.clone(), epoch: epoch.into(), attempts };
        encode(&claimed, &[]).map_err(|error| Fault::Refused(error.to_string()))
    }

    /// Somebody here had it for too long.
    async fn reclaim(&self, id: EntryId, held: Held, at: Timestamp, lease: Duration) -> Result<Option<Lease>, Fault> {
        let record = Record::new(self.link.names.lease(&held.place, id), self.claimed(&held.epoch, held.attempts)?);
        let name = format!("l.{id}.{}", unique());
        match self.link.put(record.after(held.sequence), &name, 2 * ANSWER).await {
            Ok(sequence) => {
                let mut desk = self.desk.lock();
                let Some(held) = desk.held.get_mut(&id) else { return Ok(None) };
                held.sequence = sequence;
                held.token = sequence;
                held.until = end_of(at, lease);
                held.entry.unsure = true;
                Ok(Some(leased(id, held)))
            }
            Err(Fault::Conflict) => {
                // Perhaps by what this node wrote itself, without an answer.
                self.doubt.store(true, Ordering::Release);
                self.forget(&mut self.desk.lock(), id);
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Tries to have it.
    async fn take(&self, one: Ready, epoch: &str, at: Timestamp, lease: Duration) -> Result<Option<Lease>, Fault> {
        let (id, length) = (one.id, one.octets.len());
        let result = self.try_take(&one, epoch).await;
        let mut desk = self.desk.lock();
        desk.taking.remove(&id);
        desk.octets = desk.octets.saturating_sub(length);
        match result {
            Ok(Some((entry, octets, sequence, attempts))) => {
                acknowledge(&self.link, &one);
                desk.octets += octets.len();
                let held = Held {
                    place: one.place.clone(),
                    sequence,
                    token: sequence,
                    epoch: epoch.into(),
                    until: end_of(at, lease),
                    attempts,
                    entry,
                    octets,
                };
                let lease = leased(id, &held);
                desk.held.insert(id, held);
                self.presence.leases.store(desk.held.len(), Ordering::Relaxed);
                Ok(Some(lease))
            }
            Ok(None) => {
                acknowledge(&self.link, &one);
                self.look_again(&mut desk, id);
                Ok(None)
            }
            Err(fault) => {
                // It may be written all the same, and then nobody else takes it.
                self.put_back(&mut desk, one);
                self.look_again(&mut desk, id);
                Err(fault)
            }
        }
    }

    fn put_back(&self, desk: &mut Desk, one: Ready) {
        desk.octets += one.octets.len();
        desk.ready.entry(one.entry.envelope.priority()).or_default().push_back(one);
    }

    async fn try_take(&self, one: &Ready, epoch: &str) -> Result<Option<(Entry, Bytes, u64, u32)>, Fault> {
        let subject = self.link.names.lease(&one.place, one.id);
        let (mut entry, mut octets) = (one.entry.clone(), one.octets.clone());
        let (mut expected, mut attempts) = (0, entry.attempts);
        // A ticket that waited here may be of something that is over, and the mark of that may have vanished.
        let mut stale = one.again || one.epoch != epoch || one.age() > MARK / 4;
        for _ in 0..4 {
            if stale {
                let found = self.link.last(&self.link.names.entry(&one.place, one.id)).await?;
                let Some(found) = found.filter(|found| !found.payload.is_empty()) else { return Ok(None) };
                let Ok(read) = decode::<Entry>(&found.payload) else { return Ok(None) };
                let unsure = entry.unsure;
                (entry, octets) = read;
                if entry.held || (entry.scheduled && entry.next > now() + 1000) {
                    return Ok(None);
                }
                entry.unsure |= unsure;
                attempts = attempts.max(entry.attempts);
            }
            let began = on();
            let record = Record::new(subject.clone(), self.claimed(epoch, attempts)?).after(expected);
            match self.link.put(record, &format!("l.{}.{}", one.id, unique()), 2 * ANSWER).await {
                Ok(sequence) => {
                    let age = if stale { on().saturating_sub(began) } else { one.age() };
                    if age > MARK / 2 {
                        let gone = Record::gone(subject).after(sequence);
                        self.link.put(gone, &format!("l.{}.{}", one.id, unique()), ANSWER).await?;
                        return Err(Fault::Unavailable("it took too long".into()));
                    }
                    return Ok(Some((entry, octets, sequence, attempts)));
                }
                Err(Fault::Conflict) => {}
                Err(fault) => return Err(fault),
            }
            stale = true;
            let Some(found) = self.link.last(&subject).await? else {
                expected = 0;
                continue;
            };
            expected = found.sequence;
            if found.payload.is_empty() {
                continue;
            }
            let Ok((claimed, _)) = decode::<Claimed>(&found.payload) else { return Ok(None) };
            let mine = claimed.epoch == epoch;
            if !mine && !self.presence.is_over(&claimed.node, &claimed.epoch).await? {
                return Ok(None);
            }
            // Whoever had it may have got far.
            entry.unsure = true;
            attempts = attempts.max(claimed.attempts);
        }
        Err(Fault::Unavailable("others are quicker".into()))
    }

    /// Those that still are this node's, and go on; the others are returned.
    pub(super) fn renew(&self, rights: &[crate::store::Right], lease: Duration) -> Vec<EntryId> {
        let (epoch, now) = (self.presence.epoch(), now());
        let mut desk = self.desk.lock();
        let mut stale = Vec::new();
        for right in rights {
            match desk.held.get_mut(&right.entry) {
                Some(held) if held.token == right.token && held.epoch == epoch => held.until = end_of(now, lease),
                _ => stale.push(right.entry),
            }
        }
        stale
    }

    /// What is held under this token, if it is.
    pub(super) fn held(&self, id: EntryId, token: u64) -> Option<Held> {
        let epoch = self.presence.epoch();
        let desk = self.desk.lock();
        desk.held.get(&id).filter(|held| held.token == token && held.epoch == epoch).cloned()
    }

    /// An attempt begins: that is known to whoever has the entry next.
    pub(super) async fn count_attempt(&self, id: EntryId, held: &Held, attempts: u32) -> Result<(), Fault> {
        let record = Record::new(self.link.names.lease(&held.place, id), self.claimed(&held.epoch, attempts)?);
        let name = format!("l.{id}.{}", unique());
        let sequence = self.link.put(record.after(held.sequence), &name, 2 * ANSWER).await?;
        // What the lease says of earlier attempts stays.
        if let Some(held) = self.desk.lock().held.get_mut(&id) {
            held.sequence = sequence;
            held.attempts = attempts;
        }
        Ok(())
    }

    /// The octets of a message of which an entry is held here.
    pub(super) fn octets(&self, message: crate::store::MessageId) -> Option<(Entry, Bytes)> {
        let desk = self.desk.lock();
        // Only a message's first entry has its octets.
        let held = desk.held.get(&EntryId { message, index: 0 })?;
        Some((held.entry.clone(), held.octets.clone()))
    }

    pub(super) fn ended(&self, ids: &[EntryId]) {
        let mut desk = self.desk.lock();
        ids.iter().for_each(|id| self.forget(&mut desk, *id));
        drop(desk);
        self.room.notify_waiters();
    }

    /// Is it being worked on here, or about to be?
    pub(super) fn is_held(&self, id: EntryId, at: Timestamp) -> Option<bool> {
        let desk = self.desk.lock();
        let taken = desk.taking.contains(&id).then_some(true);
        taken.or_else(|| desk.held.get(&id).map(|held| held.until() > at))
    }

    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
        self.room.notify_waiters();
    }
}

/// Used once.
pub(super) fn unique() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn acknowledge(link: &Link, one: &Ready) {
    if let Some(number) = one.ticket {
        link.erase(number);
    }
    if let Some(reply) = one.reply.clone() {
        let client = link.client.clone();
        tokio::spawn(async move {
            let _ = client.publish(reply, Bytes::from_static(b"+ACK")).await;
        });
    }
}

fn leased(id: EntryId, held: &Held) -> Lease {
    Lease {
        entry: id,
        token: held.token,
        envelope: held.entry.envelope.clone(),
        recipient: held.entry.entry.clone(),
        recipients: held.entry.recipients,
        attempts: held.attempts,
        unsure: held.attempts > 0 || held.entry.unsure,
        late: held.entry.late,
    }
}
