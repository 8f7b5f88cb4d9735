//! Failed logins wait, and those who fail often wait longer.
//!
//! Owns the memory of who failed. Refuses to know names and passwords, and never locks a user out: what counts is
//! the client's address. The first mistake costs a second, each further one half a second more, up to four; after a
//! quarter of a minute a failure is forgotten. An address with many failures still waiting may not begin another
//! login until they are over, so opening more connections gains nothing.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

const FIRST: Duration = Duration::from_millis(1000);
const STEP: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(4);
const FORGET: Duration = Duration::from_secs(15);
/// Failures that may wait at a time for one address.
const PENDING: usize = 32;
/// Addresses that are remembered. The one quiet for longest is forgotten first.
const CLIENTS: usize = 4096;

/// The table.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    clients: Mutex<HashMap<IpAddr, Record>>,
}

#[derive(Debug)]
struct Record {
    failures: u32,
    /// Up to when the forgetting has been done.
    counted: Instant,
    /// When each waiting failure is over.
    pending: Vec<Instant>,
}

impl Record {
    fn age(&mut self, now: Instant) {
        let passed = (now.saturating_duration_since(self.counted).as_millis() / FORGET.as_millis()) as u32;
        self.failures = self.failures.saturating_sub(passed);
        self.counted += FORGET * passed;
        self.pending.retain(|over| *over > now);
    }
}

/// One household or customer: an IPv4 address, or the first 64 bits of an IPv6 one. All Unix sockets are one.
fn client_key(client: Option<IpAddr>) -> IpAddr {
    match client.map(|ip| ip.to_canonical()) {
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Some(IpAddr::V4(ip)) => IpAddr::V4(ip),
        Some(IpAddr::V6(ip)) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

impl Throttle {
    /// May this client begin a login?
    pub(super) fn admits(&self, client: Option<IpAddr>, now: Instant) -> bool {
        self.clients.lock().get_mut(&client_key(client)).is_none_or(|record| {
            record.age(now);
            record.pending.len() < PENDING
        })
    }

    /// A login failed: how long its answer waits.
    pub(super) fn failed(&self, client: Option<IpAddr>, now: Instant) -> Duration {
        let mut clients = self.clients.lock();
        let key = client_key(client);
        if clients.len() >= CLIENTS && !clients.contains_key(&key) {
            clients.retain(|_, record| {
                record.age(now);
                record.failures > 0 || !record.pending.is_empty()
            });
            if clients.len() >= CLIENTS
                && let Some(quiet) = clients.iter().min_by_key(|(_, record)| record.counted).map(|(key, _)| *key)
            {
                clients.remove(&quiet);
            }
        }
        let record = clients.entry(key).or_insert_with(|| Record { failures: 0, counted: now, pending: Vec::new() });
        record.age(now);
        if record.failures == 0 {
            record.counted = now;
        }
        let wait = (FIRST + STEP * record.failures).min(MOST);
        // Bounded, so that an attack is forgotten within minutes of its end.
        record.failures = (record.failures + 1).min(20);
        record.pending.push(now + wait);
        wait
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_forgotten() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let check = |client: &str, second: u64, expected: u64| {
            let client = client.parse().ok();
            let wait = throttle.failed(client, start + Duration::from_secs(second));
            assert_eq!(wait.as_millis() as u64, expected, "{client:?} after {second} s");
        };
        check("192.0.2.1", 0, 1000);
        check("192.0.2.1", 1, 1500);
        check("192.0.2.1", 2, 2000);
        check("::ffff:192.0.2.1", 3, 2500);
        check("192.0.2.2", 3, 1000);
        check("2001:db8::1", 3, 1000);
        check("2001:db8::2", 3, 1500);
        check("2001:db8:0:1::2", 3, 1000);
        check("none", 3, 1000);
        check("192.0.2.1", 15, 2500);
        check("192.0.2.1", 300, 1000);
        for _ in 0..40 {
            throttle.failed("192.0.2.9".parse().ok(), start);
        }
        check("192.0.2.9", 0, 4000);
        check("192.0.2.9", 20 * 15 + 15, 1000);
    }

    #[test]
    fn many_at_a_time_are_not_admitted() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let client = "192.0.2.1".parse().ok();
        for _ in 0..PENDING {
            assert!(throttle.admits(client, start));
            throttle.failed(client, start);
        }
        assert!(!throttle.admits(client, start));
        assert!(throttle.admits("192.0.2.2".parse().ok(), start));
        assert!(throttle.admits(client, start + MOST), "as soon as the waiting is over");
    }

    #[test]
    fn the_table_is_bounded() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        for n in 0..2 * CLIENTS as u32 {
            let client = Some(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)));
            throttle.failed(client, start + Duration::from_millis(u64::from(n)));
        }
        assert_eq!(throttle.clients.lock().len(), CLIENTS);
    }
}
