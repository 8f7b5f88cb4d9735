//! A plugin that fails again and again rests for a while: its failure policy counts without a call.
//!
//! Owns the count of failures and when to try again. Refuses to know why a call failed.

use std::time::{Duration, Instant};

/// Failures in a row that let a plugin rest.
const FAILURES: u32 = 5;
/// The first rest; each further one is twice as long.
const REST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_secs(300);

/// One plugin's.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    until: Option<Instant>,
}

impl Breaker {
    /// May it be called? After a rest one call is let through; the others wait for what becomes of it, at most for
    /// another rest.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        match self.until {
            Some(until) if now < until => false,
            Some(_) => {
                self.until = Some(now + self.rest());
                true
            }
            None => true,
        }
    }

    /// It answered.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It did not. If it is to rest from now on: how long.
    pub(super) fn failed(&mut self, now: Instant) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        (self.failures >= FAILURES).then(|| {
            let rest = self.rest();
            self.until = Some(now + rest);
            rest
        })
    }

    fn rest(&self) -> Duration {
        let doublings = self.failures.saturating_sub(FAILURES).min(16);
        REST.saturating_mul(1 << doublings).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_longer_and_longer_and_recovers_at_once() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 1..FAILURES {
            assert!(breaker.admits(start) && breaker.failed(start).is_none());
        }
        assert!(breaker.admits(start));
        assert_eq!(breaker.failed(start), Some(REST));
        assert!(!breaker.admits(start));
        let after = start + REST;
        assert!(breaker.admits(after), "one is let through");
        assert!(!breaker.admits(after), "and no other");
        assert_eq!(breaker.failed(after), Some(REST * 2));
        assert!(!breaker.admits(after + REST) && breaker.admits(after + REST * 2));
        breaker.succeeded();
        assert!(breaker.admits(after) && breaker.failed(after).is_none());
        for _ in 0..100 {
            let _ = breaker.failed(after);
        }
        assert_eq!(breaker.rest(), LONGEST);
    }
}
