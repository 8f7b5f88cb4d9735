//! That this node is alive, and which others are.
//!
//! Owns this node's record and its *epoch*: the name of the time from when it began until somebody took it for dead. Refuses to know
//! what a node works on. Fails with a [`Fault`] while no majority answers; then nothing may be sent.
//!
//! ```text
//!   begin ──► alive ──beat (only after the last one)──► alive
//!               │ silent for a lease, by the clock of whoever watches
//!               ▼
//!            fenced ──► a new epoch begins; what was held in the old one is stale
//! ```
//!
//! A node declares another one dead by writing *after* its last beat, and a node's beat is written *after* its last one: the
//! servers take one of the two. So either the beat is there and the other one lives on, or it is fenced and knows it as
//! soon as it tries to beat. No two clocks are compared: how long a node is silent is measured by those who listen.
//!
//! Who has beaten may send for as long as the lease less the time since that beat was *sent*. A process that stands still between
//! this look and the final dot can not know that it did: RFC 1047's window, and here it is as long as the process stands still.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    link::{Fault, Found, Link, Record},
    open::OpenError,
    record::{Node, VERSION, decode, encode},
};
use crate::store::{StoreError, sqlite::now};

/// A beat is sent when the last one is this part of a lease ago.
const BEATS: u32 = 5;
/// Who is about to send must have beaten within this part of a lease.
const FRESH: u32 = 4;
/// An answer that takes longer than this part of a lease is asked for anew: a beat that a dying server swallowed must not cost the lease.
const ANSWERS: u32 = 6;

/// A server that led until a moment ago answers with what it knew then, so a beat that comes too early or too late is tried again.
const TRIES: u32 = 5;
/// After a wait that grows by this.
const AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Own {
    epoch: String,
    since: u64,
    sequence: u64,
    /// When the last beat that was acknowledged was sent, by [`on`].
    beaten: Duration,
}

impl Own {
    fn silent(&self) -> Duration {
        on().saturating_sub(self.beaten)
    }
}

/// How long this machine has been on, sleep included: a clock that stands while it sleeps would take an old beat for a
/// fresh one when it wakes.
pub(super) fn on() -> Duration {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let part = |n: i64| u64::try_from(n).unwrap_or_default();
    Duration::new(part(clock.tv_sec), u32::try_from(clock.tv_nsec).unwrap_or_default())
}

/// Another node, and since when it was not heard of.
#[derive(Debug)]
struct Other {
    record: Node,
    sequence: u64,
    heard: Instant,
}

/// See the module.
pub(super) struct Presence {
    link: Link,
    pub(super) node: String,
    pub(super) lease: Duration,
    own: Mutex<Own>,
    others: Mutex<HashMap<String, Other>>,
    turn: tokio::sync::Mutex<()>,
    pub(super) leases: AtomicUsize,
    pub(super) draining: AtomicBool,
}

fn epoch() -> String {
    ulid::Ulid::from_parts(now(), rand::random()).to_string()
}

impl Presence {
    /// Of one who only looks, and is no node.
    pub(super) fn onlooker(link: Link, node: &str, lease: Duration) -> Arc<Self> {
        Arc::new(Self::new(link, node, lease))
    }

    fn new(link: Link, node: &str, lease: Duration) -> Self {
        Self {
            own: Mutex::new(Own { epoch: epoch(), since: now(), sequence: 0, beaten: on() }),
            link: link.impatient(lease / ANSWERS),
            node: node.into(),
            lease,
            others: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            leases: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
        }
    }

    /// Begins an epoch. `before` is the last one of this data folder: nobody else has that. If another process beats under
    /// this name it is an error of the operator's.
    pub(super) async fn begin(
        link: Link,
        node: &str,
        lease: Duration,
        before: Option<&str>,
    ) -> Result<Arc<Self>, OpenError> {
        let patient = link.clone();
        let presence = Self::new(link, node, lease);
        let mut found = patient.last(&patient.names.node(node)).await.map_err(StoreError::from)?;
        if let Some(before_this) = &found
            && let Ok((record, _)) = decode::<Node>(&before_this.payload)
            && !record.fenced
            && Some(record.epoch.as_str()) != before
        {
            // Of another data folder: it may be alive.
            tracing::info!(node, "another data folder had this node's name; waiting whether it is still in use");
            tokio::time::sleep(Duration::from_millis(record.lease).max(lease)).await;
            let again = patient.last(&patient.names.node(node)).await.map_err(StoreError::from)?;
            // Whoever fences it says that it is silent.
            let beats = |again: &Found| match decode::<Node>(&again.payload) {
                Ok((record, _)) => again.sequence != before_this.sequence && !record.fenced,
                Err(_) => true,
            };
            if again.as_ref().is_some_and(beats) {
                return Err(OpenError::Unfit(format!(
                    "another hermetic is running as node {node:?}; give each its own store.node"
                )));
            }
            found = again;
        }
        presence.own.lock().sequence = found.map_or(0, |found| found.sequence);
        presence.write(lease * 2).await.map_err(StoreError::from)?;
        Ok(Arc::new(presence))
    }

    pub(super) fn epoch(&self) -> String {
        self.own.lock().epoch.clone()
    }

    /// How long this node may still send; none: no longer.
    pub(super) fn margin(&self) -> Option<Duration> {
        self.lease.checked_sub(self.own.lock().silent()).filter(|left| !left.is_zero())
    }

    /// It has beaten a moment ago, or does so now.
    pub(super) async fn confirmed(&self) -> Result<(), Fault> {
        let fresh = |own: &Own| own.silent() < self.lease / FRESH;
        if fresh(&self.own.lock()) {
            return Ok(());
        }
        self.beat().await?;
        // An answer that came too late is none.
        if fresh(&self.own.lock()) { Ok(()) } else { Err(Fault::Unavailable("the answer came too late".into())) }
    }

    /// If it is time for one.
    pub(super) async fn keep(&self) -> Result<(), Fault> {
        if self.own.lock().silent() < self.lease / BEATS {
            return Ok(());
        }
        self.beat().await
    }

    async fn beat(&self) -> Result<(), Fault> {
        let _turn = self.turn.lock().await;
        if self.own.lock().silent() < self.lease / (2 * BEATS) {
            return Ok(());
        }
        for round in 0..TRIES {
            match self.write(self.lease / 2).await {
                Err(Fault::Conflict) => self.learn().await?,
                done => return done,
            }
            tokio::time::sleep(AGAIN * round).await;
        }
        Err(Fault::Unavailable("the servers do not agree on what this node has said".into()))
    }

    /// Somebody has written since: this node, whose answer was lost; or whoever took it for dead.
    async fn learn(&self) -> Result<(), Fault> {
        let found = self.link.last(&self.link.names.node(&self.node)).await?;
        let record = found.as_ref().and_then(|found| decode::<Node>(&found.payload).ok());
        let mut own = self.own.lock();
        let mine = record.is_some_and(|(record, _)| record.epoch == own.epoch && !record.fenced);
        own.sequence = found.map_or(0, |found| found.sequence);
        if !mine {
            *own = Own { epoch: epoch(), since: now(), sequence: own.sequence, beaten: own.beaten };
            tracing::warn!(node = %self.node, "this node was silent for too long and was taken for dead; what it worked on is free");
        }
        Ok(())
    }

    fn record(&self) -> Node {
        let own = self.own.lock();
        Node {
            v: VERSION,
            node: self.node.clone(),
            epoch: own.epoch.clone(),
            program: env!("CARGO_PKG_VERSION").into(),
            since: own.since,
            leases: self.leases.load(Ordering::Relaxed),
            draining: self.draining.load(Ordering::Relaxed),
            fenced: false,
            lease: u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX),
        }
    }

    async fn write(&self, patience: Duration) -> Result<(), Fault> {
        let record = encode(&self.record(), &[]).map_err(|error| Fault::Refused(error.to_string()))?;
        let sequence = self.own.lock().sequence;
        let record = Record::new(self.link.names.node(&self.node), record).after(sequence);
        let sent = on();
        let sequence = self.link.put(record, &format!("n.{}", epoch()), patience).await?;
        let mut own = self.own.lock();
        // Repeated until it was answered: which one was is not known, and the first counts.
        own.sequence = sequence;
        own.beaten = sent;
        Ok(())
    }

    /// Nothing more comes, and what this node had is free at once.
    pub(super) async fn end(&self) {
        let _turn = self.turn.lock().await;
        let record = Node { fenced: true, leases: 0, ..self.record() };
        let sequence = self.own.lock().sequence;
        if let Ok(record) = encode(&record, &[]) {
            let record = Record::new(self.link.names.node(&self.node), record).after(sequence);
            let _ = self.link.put(record, &format!("n.{}", epoch()), Duration::ZERO).await;
        }
    }

    /// All that have ever been, by name.
    pub(super) async fn nodes(link: &Link) -> Result<Vec<(Node, u64)>, Fault> {
        let mut nodes = Vec::new();
        for subject in link.subjects(&link.names.all('n')).await? {
            if let Some(found) = link.last(&subject).await?
                && let Ok((record, _)) = decode::<Node>(&found.payload)
            {
                nodes.push((record, found.sequence));
            }
        }
        nodes.sort_by(|(a, _), (b, _)| a.node.cmp(&b.node));
        Ok(nodes)
    }

    /// Looks at the others, and declares dead who was silent for its lease. True: what somebody had is free now.
    pub(super) async fn watch(&self) -> Result<bool, Fault> {
        let asked = Instant::now();
        let nodes = match Self::nodes(&self.link).await {
            Ok(nodes) if asked.elapsed() < self.lease / 2 => nodes,
            // Who can not listen can not tell who is silent.
            done => {
                self.others.lock().values_mut().for_each(|other| other.heard = Instant::now());
                return done.map(|_| false);
            }
        };
        let (mut silent, mut freed) = (Vec::new(), false);
        {
            let mut others = self.others.lock();
            for (record, sequence) in nodes.into_iter().filter(|(record, _)| record.node != self.node) {
                let heard = Instant::now();
                match others.get_mut(&record.node) {
                    Some(known) if known.sequence == sequence => {
                        let lease = Duration::from_millis(known.record.lease);
                        if !known.record.fenced && known.heard.elapsed() > lease {
                            silent.push((known.record.clone(), sequence));
                        }
                    }
                    known => {
                        // It has ended, or another one has fenced it.
                        freed |= record.fenced && known.is_some_and(|known| !known.record.fenced);
                        others.insert(record.node.clone(), Other { record, sequence, heard });
                    }
                }
            }
        }
        for (record, sequence) in silent {
            let subject = self.link.names.node(&record.node);
            let name = format!("f.{}.{sequence}", record.epoch);
            let node = record.node.clone();
            let record = Node { fenced: true, ..record };
            let octets = encode(&record, &[]).map_err(|error| Fault::Refused(error.to_string()))?;
            match self.link.put(Record::new(subject, octets).after(sequence), &name, self.lease / 2).await {
                Ok(_) => {
                    tracing::warn!(%node, "a node is silent; what it worked on is taken over");
                    if let Some(other) = self.others.lock().get_mut(&node) {
                        other.record.fenced = true;
                    }
                    freed = true;
                }
                // It was quicker, or somebody else was.
                Err(Fault::Conflict) => {}
                // It is tried again, but what is free is not forgotten.
                Err(fault) => return if freed { Ok(true) } else { Err(fault) },
            }
        }
        Ok(freed)
    }

    /// How many nodes share the work, this one included, as far as it knows: those that it has not seen dead.
    pub(super) fn sharing(&self) -> usize {
        let works = |other: &&Other| !other.record.fenced && !other.record.draining;
        1 + self.others.lock().values().filter(works).count()
    }

    /// An operator wants a node to take no more entries, or to take them again.
    pub(super) async fn wish(link: &Link, node: &str, drain: bool) -> Result<(), Fault> {
        let subject = link.names.wish(node);
        let record = if drain { Record::new(subject, Bytes::from_static(b"drain")) } else { Record::gone(subject) };
        link.put(record, &format!("w.{}", epoch()), super::link::ANSWER).await.map(drop)
    }

    /// Looks whether an operator wants that.
    pub(super) async fn heed(&self) -> Result<bool, Fault> {
        let found = self.link.last(&self.link.names.wish(&self.node)).await?;
        let drain = found.is_some_and(|found| !found.payload.is_empty());
        Ok(self.draining.swap(drain, Ordering::Relaxed) != drain)
    }

    /// Is this epoch of that node over? Asks the servers.
    pub(super) async fn is_over(&self, node: &str, epoch: &str) -> Result<bool, Fault> {
        if node == self.node {
            return Ok(epoch != self.own.lock().epoch);
        }
        let found = self.link.last(&self.link.names.node(node)).await?;
        let Some(found) = found else { return Ok(true) };
        // Of a later version, it may well be alive.
        let Ok((record, _)) = decode::<Node>(&found.payload) else { return Ok(false) };
        Ok(record.fenced || record.epoch != epoch)
    }
}
