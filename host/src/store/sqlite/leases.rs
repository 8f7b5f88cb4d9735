//! Who works on what. In memory only: a lease dies with its process, and the lock file says that there is one process.
//!
//! Owns the tokens and the ends of leases. Refuses to know clocks, which it is told, and what is worked on. Cannot fail: a lease
//! that does not count any more is stale.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use crate::store::Timestamp;

/// An entry: the message's key and its place.
pub(super) type Place = (i64, u32);

#[derive(Clone, Copy, Debug)]
struct Held {
    token: u64,
    until: Timestamp,
}

fn end(now: Timestamp, lease: Duration) -> Timestamp {
    now.saturating_add(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX))
}

/// All leases, expired ones too until their entry is claimed again or settled.
#[derive(Debug)]
pub(super) struct Leases {
    held: HashMap<Place, Held>,
    /// The token last given. Its upper half is the number of the run, so that tokens grow over restarts too.
    last: u64,
}

impl Leases {
    pub(super) fn new(run: u32) -> Self {
        Self { held: HashMap::new(), last: u64::from(run) << 32 }
    }

    /// When the entry may be claimed, if somebody has it.
    pub(super) fn until(&self, entry: Place) -> Option<Timestamp> {
        self.held.get(&entry).map(|held| held.until)
    }

    /// A new lease: its token, and whether an earlier one was never settled.
    pub(super) fn give(&mut self, entry: Place, now: Timestamp, lease: Duration) -> (u64, bool) {
        self.last += 1;
        let earlier = self.held.insert(entry, Held { token: self.last, until: end(now, lease) });
        (self.last, earlier.is_some())
    }

    /// Is this the entry's latest token?
    pub(super) fn valid(&self, entry: Place, token: u64) -> bool {
        self.held.get(&entry).is_some_and(|held| held.token == token)
    }

    /// It goes on for so long from now, even if it has expired. False: it is stale.
    pub(super) fn renew(&mut self, entry: Place, token: u64, now: Timestamp, lease: Duration) -> bool {
        let Some(held) = self.held.get_mut(&entry).filter(|held| held.token == token) else { return false };
        held.until = end(now, lease);
        true
    }

    /// What is being worked on.
    pub(super) fn entries(&self, now: Timestamp) -> HashSet<Place> {
        self.held.iter().filter(|(_, held)| held.until > now).map(|(entry, _)| *entry).collect()
    }

    /// Whoever had it may not settle it any more. That it was never settled is still known.
    pub(super) fn fence(&mut self, entry: Place) {
        if let Some(held) = self.held.get_mut(&entry) {
            self.last += 1;
            *held = Held { token: self.last, until: 0 };
        }
    }

    pub(super) fn end(&mut self, entry: Place) {
        self.held.remove(&entry);
    }
}
