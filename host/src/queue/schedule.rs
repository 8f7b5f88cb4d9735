//! When the next attempt is: the wait doubles, with a little chance in it, until the message is too old or the time is over
//! that its sender gave.
//!
//! Owns these times. Refuses to know clocks and chance, which it is told, and what was tried. Cannot fail: times without end are
//! cut off.

use crate::{
    config::Queue,
    store::{Envelope, Timestamp},
    tlsrpt,
};

/// When a message is given up.
pub(super) fn expiry(queue: &Queue, envelope: &Envelope) -> Timestamp {
    let expire = match envelope.listener == tlsrpt::LISTENER {
        true => queue.expire.min(tlsrpt::TRIED_FOR),
        false => queue.expire,
    };
    let too_old = envelope.begins().saturating_add(expire.saturating_mul(1000));
    envelope.returns_at().map_or(too_old, |at| at.min(too_old))
}

/// When its sender is told that it is late: when the sender said (RFC 2852), otherwise when the operator says. None: never.
pub(super) fn late(queue: &Queue, envelope: &Envelope) -> Option<Timestamp> {
    match envelope.wishes.deliver_by {
        // What came without any time left has been told of before.
        Some(by) if !by.returns => envelope.deadline().filter(|_| by.seconds > 0),
        _ => (queue.delay_warning > 0)
            .then(|| envelope.begins().saturating_add(queue.delay_warning.saturating_mul(1000))),
    }
}

/// The time of the next attempt, or None if the message should be given up.
///
/// `attempts` were made before the one that has just failed. `chance` spreads the wait by a quarter up or down, so that
/// what failed together does not come back together.
pub(super) fn next(queue: &Queue, expiry: Timestamp, attempts: u32, now: Timestamp, chance: u8) -> Option<Timestamp> {
    if now >= expiry {
        return None;
    }
    let doubled = queue.retry_first.max(1).saturating_mul(1u64.checked_shl(attempts).unwrap_or(u64::MAX));
    let wait = doubled.min(queue.retry_most.max(1)).saturating_mul(1000);
    let wait = wait / 1024 * (768 + u64::from(chance) * 2);
    // One more attempt at the very end, rather than none after a long wait.
    Some(now.saturating_add(wait.max(1000)).min(expiry.max(now + 1000)))
}

/// Chance, for [`next`].
pub(super) fn chance() -> u8 {
    #[cfg(test)]
    if let Some(chance) = crate::store::sqlite::simulated::chance() {
        return chance;
    }
    rand::random()
}

/// The time that a plugin asks for, `after` seconds from now, within what the operator allows.
pub(super) fn asked(queue: &Queue, expiry: Timestamp, now: Timestamp, after: u32) -> Timestamp {
    let wait = u64::from(after).min(queue.retry_most).max(1).saturating_mul(1000);
    now.saturating_add(wait).min(expiry.max(now.saturating_add(1000)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DeliverBy, Hold, Wishes};

    /// RFC 8460 section 5.5.
    #[test]
    fn a_tls_report_is_tried_for_a_day() {
        for (listener, expire, expected) in
            [("mx", 432_000, 432_000_000), (tlsrpt::LISTENER, 432_000, 86_400_000), (tlsrpt::LISTENER, 60, 60_000)]
        {
            let envelope = Envelope { listener: listener.into(), ..Envelope::default() };
            assert_eq!(expiry(&Queue { expire, ..Queue::default() }, &envelope), expected, "{listener} {expire}");
        }
    }

    #[test]
    fn times_are_counted_from_the_release() {
        let queue = Queue { expire: 1000, delay_warning: 100, ..Queue::default() };
        let by = |seconds, returns| Some(DeliverBy { seconds, returns, trace: false });
        // Received at 10 s; then when it begins, is late and is given up, in seconds.
        for (hold, deliver_by, expected) in [
            (None, None, (10, Some(110), 1010)),
            (Some(Hold::For(50)), None, (60, Some(160), 1060)),
            (Some(Hold::Until(40)), None, (40, Some(140), 1040)),
            (Some(Hold::Until(5)), None, (10, Some(110), 1010)),
            (None, by(5, true), (10, Some(110), 15)),
            (None, by(5000, true), (10, Some(110), 1010)),
            (None, by(5, false), (10, Some(15), 1010)),
            (None, by(-5, false), (10, None, 1010)),
            (Some(Hold::For(50)), by(5, true), (60, Some(160), 65)),
        ] {
            let wishes = Wishes { hold, deliver_by, priority: None };
            let envelope = Envelope { received_at: 10_000, wishes, ..Envelope::default() };
            let late = late(&queue, &envelope).map(|at| at / 1000);
            assert_eq!((envelope.begins() / 1000, late, expiry(&queue, &envelope) / 1000), expected, "{wishes:?}");
        }
        let never = Queue { delay_warning: 0, ..queue };
        assert_eq!(super::late(&never, &Envelope::default()), None);
    }

    #[test]
    fn what_is_asked_for_is_bounded() {
        let queue = Queue { retry_first: 60, retry_most: 600, ..Queue::default() };
        for (after, now, expected) in
            [(0, 100, 101), (5, 100, 105), (3600, 100, 700), (600, 9_800, 10_000), (600, 10_001, 10_002)]
        {
            assert_eq!(asked(&queue, 10_000_000, now * 1000, after), expected * 1000, "{after} at {now}");
        }
    }

    #[test]
    fn waits_double_up_to_a_bound_and_end() {
        let queue = Queue { retry_first: 60, retry_most: 600, ..Queue::default() };
        // received 0, attempts before, now (s) -> the least and the greatest next attempt (s)
        let cases = [
            (0, 0, Some((45, 75))),
            (1, 100, Some((190, 250))),
            (2, 100, Some((280, 400))),
            (4, 100, Some((550, 850))),
            (63, 100, Some((550, 850))),
            (64, 100, Some((550, 850))),
            (u32::MAX, 9_900, Some((10_000, 10_000))),
            (3, 9_999, Some((10_000, 10_000))),
            (3, 10_000, None),
        ];
        for (attempts, now, expected) in cases {
            let at = |chance| next(&queue, 10_000_000, attempts, now * 1000, chance);
            match expected {
                None => assert_eq!(at(0), None),
                Some((least, most)) => {
                    let (low, high) = (at(0).unwrap_or(0) / 1000, at(255).unwrap_or(0).div_ceil(1000));
                    let near = |a: u64, b: u64| a.abs_diff(b) <= 3;
                    assert!(near(low, least) && near(high, most), "{attempts} at {now}: {low}..{high}");
                }
            }
        }
    }
}
