//! How many sessions there may be: in all, and of one client.
//!
//! Owns the counts. Refuses to know what is said to those who find no seat. Cannot fail.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Whose sessions are counted together: one IPv4 address, or one IPv6 network of 64 bits, which is what a customer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Client(IpAddr);

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 => v4,
        })
    }
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    clients: HashMap<Client, usize>,
}

/// The room that all sessions sit in.
#[derive(Debug, Default)]
pub struct Caps {
    counts: Mutex<Counts>,
    empty: Notify,
}

impl Caps {
    /// A seat, unless `most` are taken.
    pub fn enter(self: &Arc<Self>, most: usize) -> Option<Seat> {
        let mut counts = self.counts.lock();
        if counts.all >= most {
            return None;
        }
        counts.all += 1;
        Some(Seat { caps: self.clone(), client: None })
    }

    /// Sessions now.
    pub fn taken(&self) -> usize {
        self.counts.lock().all
    }

    /// Resolves when nobody is left.
    pub async fn empty(&self) {
        loop {
            let notified = self.empty.notified();
            if self.taken() == 0 {
                return;
            }
            notified.await;
        }
    }
}

/// One session's place, free again when it is dropped.
#[derive(Debug)]
pub struct Seat {
    caps: Arc<Caps>,
    client: Option<Client>,
}

impl Seat {
    /// Counts the session for this client; false if it has `most` already.
    pub fn belongs_to(&mut self, address: IpAddr, most: usize) -> bool {
        let client = Client::from(address);
        let mut counts = self.caps.counts.lock();
        let count = counts.clients.entry(client).or_default();
        if *count >= most {
            return false;
        }
        *count += 1;
        self.client = Some(client);
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.caps.counts.lock();
        if let Some(client) = self.client
            && let Some(count) = counts.clients.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                counts.clients.remove(&client);
            }
        }
        counts.all -= 1;
        if counts.all == 0 {
            self.caps.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn seats() {
        let caps = Arc::new(Caps::default());
        let sit = |address: &str| {
            let mut seat = caps.enter(4)?;
            seat.belongs_to(address.parse().unwrap(), 2).then_some(seat)
        };
        let (a, b) = (sit("192.0.2.1"), sit("::ffff:192.0.2.1"));
        assert!(a.is_some() && b.is_some(), "two of one client");
        assert!(sit("192.0.2.1").is_none(), "a third of the same client");
        assert_eq!(caps.taken(), 2, "whoever was refused holds no seat");
        let (c, d) = (sit("2001:db8::1"), sit("2001:db8::ffff:0:0:2"));
        assert!(c.is_some() && d.is_some());
        assert!(sit("2001:db8:0:1::1").is_none(), "the room is full");
        drop(a);
        assert!(sit("2001:db8::3").is_none(), "a third in the same /64");
        assert!(sit("2001:db8:0:1::1").is_some(), "another /64");
        drop((b, c, d));
        assert_eq!(caps.taken(), 0);
        assert!(caps.counts.lock().clients.is_empty(), "no count is kept for those who left");
    }
}
