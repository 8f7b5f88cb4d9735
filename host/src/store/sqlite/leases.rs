//! Who works on what. In memory only: a lease dies with its process, and the lock file says that there is one process.
//!
//! Owns the tokens and the ends of leases. Refuses to know what is worked on. Cannot fail: a lease that does not count any more
//! is stale.
//!
//! What time it is the store is told, but a lease lasts as long as it was given for, though somebody sets the clock meanwhile: to
//! set it forward would have mail sent twice that is on its way, and to set it back would keep mail whose task has died.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::ids::clock_set;
use crate::store::Timestamp;

/// An entry: the message's key and its place.
pub(super) type Place = (i64, u32);

#[derive(Clone, Copy, Debug)]
struct Held {
    token: u64,
    /// By a clock that nobody sets; None: it was fenced.
    until: Option<Timestamp>,
}

impl Held {
    fn new(token: u64, now: Timestamp, lease: Duration) -> Self {
        let until = now.saturating_add(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
        Self { token, until: Some(until.saturating_add_signed(clock_set().saturating_neg())) }
    }

    /// By the clock as it is now.
    fn until(&self) -> Timestamp {
        self.until.map_or(0, |until| until.saturating_add_signed(clock_set()))
    }
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
        self.held.get(&entry).map(Held::until)
    }

    /// A new lease: its token, and whether an earlier one was never settled.
    pub(super) fn give(&mut self, entry: Place, now: Timestamp, lease: Duration) -> (u64, bool) {
        self.last += 1;
        let earlier = self.held.insert(entry, Held::new(self.last, now, lease));
        (self.last, earlier.is_some())
    }

    /// Is this the entry's latest token?
    pub(super) fn valid(&self, entry: Place, token: u64) -> bool {
        self.held.get(&entry).is_some_and(|held| held.token == token)
    }

    /// It goes on for so long from now, even if it has expired. False: it is stale.
    pub(super) fn renew(&mut self, entry: Place, token: u64, now: Timestamp, lease: Duration) -> bool {
        let Some(held) = self.held.get_mut(&entry).filter(|held| held.token == token) else { return false };
        *held = Held::new(token, now, lease);
        true
    }

    /// What is being worked on.
    pub(super) fn entries(&self, now: Timestamp) -> HashSet<Place> {
        self.held.iter().filter(|(_, held)| held.until() > now).map(|(entry, _)| *entry).collect()
    }

    /// Whoever had it may not settle it any more. That it was never settled is still known.
    pub(super) fn fence(&mut self, entry: Place) {
        if let Some(held) = self.held.get_mut(&entry) {
            self.last += 1;
            *held = Held { token: self.last, until: None };
        }
    }

    pub(super) fn end(&mut self, entry: Place) {
        self.held.remove(&entry);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::{super::simulated, *};

    #[tokio::test(start_paused = true)]
    async fn a_lease_lasts_as_long_whatever_the_clock_is_set_to() {
        let clock = simulated::Simulated::begin(1_000_000_000, 0);
        let mut leases = Leases::new(1);
        let (entry, lease) = ((1, 0), Duration::from_secs(900));
        for by in [0, 7_200_000, -7_200_000] {
            let (token, _) = leases.give(entry, clock.now(), lease);
            clock.set(by);
            let left = |leases: &Leases| leases.until(entry).unwrap().saturating_sub(clock.now());
            assert_eq!(left(&leases), 900_000, "{by}");
            assert!(leases.entries(clock.now()).contains(&entry));
            tokio::time::sleep(Duration::from_secs(300)).await;
            assert!(leases.renew(entry, token, clock.now(), lease));
            clock.set(by);
            assert_eq!(left(&leases), 900_000, "{by}");
            tokio::time::sleep(lease).await;
            assert_eq!(left(&leases), 0, "{by}");
            assert!(leases.entries(clock.now()).is_empty());
        }
        simulated::inherit(None);
    }
}
