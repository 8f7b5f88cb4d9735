//! Recipients that must come in transactions of their own, and the clients that do not understand that.
//!
//! Owns the group that a transaction's first accepted recipient fixes, and the memory of who was told to come apart. A
//! client that answers 452 (RFC 5321 section 4.5.3.1.10) by sending the same message to the same recipients again, and
//! then once more, would never get further: it is let in with all of them. One that sends to the rest, as it should, is
//! forgotten as soon as the rest is accepted. Refuses to know replies.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::RandomState},
    hash::{BuildHasher as _, Hash},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Chain;
use crate::{config::plugins::Refused, plugin::hook::Facts};

/// A client is let in when it comes for this time, the first included.
const TIMES: u8 = 3;
/// So long it is remembered since it was here last; queues rest for hours between attempts.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// So many are; the oldest are forgotten.
const MOST: usize = 10_000;

/// Who was told to come apart.
#[derive(Debug, Default)]
pub struct Returns {
    /// Nobody can choose what falls together.
    hasher: RandomState,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// By client, reverse-path and the recipient that was told.
    visits: HashMap<u64, Visit>,
    /// In the order in which they were made; what is gone or was made anew meanwhile is skipped.
    order: VecDeque<(Instant, u64)>,
}

#[derive(Debug)]
struct Visit {
    /// The recipients that the transaction had named by then.
    named: u64,
    times: u8,
    at: Instant,
}

impl Returns {
    fn hash(&self, value: impl Hash) -> u64 {
        self.hasher.hash_one(value)
    }

    /// Somebody is to be told to come apart. False: this is its third time in this very way, so let it in.
    fn tell(&self, who: u64, named: u64, now: Instant) -> bool {
        let mut told = self.told.lock();
        let Told { visits, order } = &mut *told;
        while let Some((at, who)) = order.front().copied()
            && (visits.len() >= MOST || now.duration_since(at) >= KEPT || order.len() > 2 * MOST)
        {
            order.pop_front();
            if visits.get(&who).is_some_and(|visit| visit.at == at) {
                visits.remove(&who);
            }
        }
        let visit = visits.entry(who).or_insert(Visit { named, times: 0, at: now });
        if visit.named != named {
            *visit = Visit { named, times: 0, at: now };
        }
        visit.times = visit.times.saturating_add(1).min(TIMES);
        visit.at = now;
        order.push_back((now, who));
        visit.times < TIMES
    }

    /// It came as it was told.
    fn forget(&self, who: u64) {
        self.told.lock().visits.remove(&who);
    }
}

/// The group of one transaction.
pub(super) struct Group {
    returns: Arc<Returns>,
    /// Client and sender.
    from: u64,
    /// The chain of the first recipient that was accepted.
    first: Option<Arc<[usize]>>,
    /// All accepted ones have that chain.
    uniform: bool,
    /// One of them wants to be alone with its like.
    strict: bool,
    /// All that were named so far, and the sum of their hashes, which is the same in any order.
    named: (HashSet<u64>, u64),
    /// Those that were told to come apart, each once.
    told: HashSet<u64>,
    /// When so many were told, others are let in.
    most: usize,
}

impl Group {
    /// None: nobody is remembered whose address is not known.
    pub(super) fn new(returns: Arc<Returns>, facts: &Facts, most: u32) -> Option<Self> {
        let from = returns.hash((network(facts.client_address?), facts.reverse_path.as_deref().map(str::to_lowercase)));
        let (first, named, told) = (None, Default::default(), HashSet::new());
        let most = most as usize;
        Some(Self { returns, from, first, uniform: true, strict: false, named, told, most })
    }

    /// May this recipient be in the transaction?
    pub(super) fn admits(&mut self, address: &str, chain: &Chain) -> bool {
        let who = self.who(address);
        if self.named.0.insert(who) {
            self.named.1 = self.named.1.wrapping_add(who);
        }
        let Some(first) = &self.first else { return true };
        let uniform = self.uniform && *first == chain.links;
        if uniform || !(self.strict || chain.refused == Refused::Split) {
            return true;
        }
        // Repeated within one transaction it is still the same visit.
        if self.told.contains(&who) {
            return false;
        }
        if self.told.len() >= self.most {
            return true;
        }
        let apart = self.returns.tell(who, self.named.1, Instant::now());
        if apart {
            self.told.insert(who);
        }
        !apart
    }

    /// This recipient is in the transaction.
    pub(super) fn accepted(&mut self, address: &str, chain: &Chain) {
        let first = self.first.get_or_insert_with(|| chain.links.clone());
        self.uniform &= *first == chain.links;
        self.strict |= chain.refused == Refused::Split;
        if self.uniform {
            self.returns.forget(self.who(address));
        }
    }

    fn who(&self, address: &str) -> u64 {
        self.returns.hash((self.from, address))
    }
}

/// Whose hosts are taken for one client: providers send from many.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !0xff).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_third_time_in_the_same_way() {
        let returns = Returns::default();
        let tell = |who, named| returns.tell(who, named, Instant::now());
        assert_eq!([tell(1, 9), tell(1, 9), tell(1, 9), tell(1, 9)], [true, true, false, false]);
        assert_eq!([tell(2, 9), tell(2, 9), tell(2, 8), tell(2, 8), tell(2, 8)], [true, true, true, true, false]);
        returns.forget(1);
        assert!(tell(1, 9), "it came as it was told, so this is another message");
        assert!(tell(1, 9));
        tokio::time::advance(KEPT).await;
        assert!(tell(1, 9), "too long ago");
        assert_eq!(returns.told.lock().visits.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let returns = Returns::default();
        for who in 0..3 * MOST as u64 {
            tokio::time::advance(Duration::from_micros(1)).await;
            returns.tell(who, 0, Instant::now());
            returns.forget(who.wrapping_sub(2));
            returns.tell(who, 0, Instant::now());
        }
        let told = returns.told.lock();
        assert!(
            told.visits.len() <= MOST && told.order.len() <= 2 * MOST + 1,
            "{} {}",
            told.visits.len(),
            told.order.len()
        );
    }
}
