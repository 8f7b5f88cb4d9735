//! How hard one destination is pushed: how many connections at a time, how many messages in a time, and whether at all.
//!
//! The rule for connections is AIMD (additive increase, multiplicative decrease), as in TCP's congestion avoidance: a window
//! that grows by one connection for each windowful of attempts that went well, and halves when one ran into trouble, but
//! once for all those that were under way together, for they met the same trouble. A destination that could not be reached
//! several times in a row rests, for longer each time; then a single attempt tries it, and the others wait for what that
//! brings.
//!
//! Owns these rules. Refuses to know connections, clocks and tasks: it is a plain value, and what time it is it is told. Cannot
//! fail: who may not go now is told when to come back.

use crate::{deliver::smtp::courier::Health, store::Timestamp};

/// So many attempts in a row that reached nobody, and it rests.
const GONE: u32 = 3;
/// Those who come back after a rest come so far apart, so that they do not fill the claims of others. Milliseconds.
const APART: u64 = 10;
/// Those who come while one tries whether the destination is back are sent away for at least so long. Milliseconds.
const TRYING: u64 = 1000;
/// Nobody who finds no place is sent away for longer, if there is no rest. Milliseconds.
const AWAY: u64 = 900_000;
/// What an attempt is taken to need before one has shown it, and at most. Milliseconds. Who is sent away meanwhile comes back by the
/// first, so it is a fast server's: a slow one's mail is sent away once more.
const ATTEMPT: (f64, f64) = (50.0, 500.0);
/// Nobody who finds no place is sent away for less, if nobody rests. Milliseconds.
const SHORTLY: f64 = 20.0;
/// Trouble is remembered for so many of the longest rests: no mail waits for two of them from one attempt to the next.
const MEMORY: u64 = 2;

/// What the operator says of a destination.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Terms {
    /// The window at first.
    pub(super) first: usize,
    /// The window at most.
    pub(super) most: usize,
    /// Milliseconds from one message to the next on average, if there is a rate, and how many may go at once.
    pub(super) rate: Option<(f64, f64)>,
    /// The first rest, and the longest one. Seconds.
    pub(super) rest: (u64, u64),
}

impl Terms {
    /// What each of so many servers may do so that all of them together keep to it: its part, and one at a time at least.
    pub(super) fn shared(self, servers: usize) -> Self {
        let servers = servers.max(1);
        let part = |n: usize| (n / servers).max(1);
        let rate = self.rate.map(|(apart, at_once)| (apart * count(servers), (at_once / count(servers)).max(1.0)));
        Self { first: part(self.first), most: part(self.most), rate, ..self }
    }
}

/// Not now: when to come back, and why if it is for longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) at: Timestamp,
    pub(super) reason: Option<String>,
}

/// May an attempt begin?
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// Yes. The number is for [`Shape::ended`].
    Now(u64),
    /// When another one has ended.
    Full,
    /// Not before.
    Rest(Wait),
}

/// All that is known of a destination. In memory only: a restart is often what follows the end of the trouble, and to find out
/// anew costs [`GONE`] attempts.
#[derive(Debug)]
pub(super) struct Shape {
    terms: Terms,
    window: f64,
    active: usize,
    begun: u64,
    /// Attempts up to this number have had their trouble counted.
    cut: u64,
    /// Attempts in a row that reached nobody.
    gone: u32,
    /// Rests in a row.
    rests: u32,
    rest: Option<(Timestamp, String)>,
    /// When the next message may go, if all that were admitted go on time. Milliseconds.
    next: f64,
    /// When the last one that was sent away comes back.
    back: Timestamp,
    /// When the last attempt ended.
    ended: Timestamp,
    /// The attempts under way: which, and since when.
    under_way: Vec<(u64, Timestamp)>,
    /// How long an attempt that goes well takes of late, milliseconds.
    takes: f64,
}

impl Shape {
    pub(super) fn new(terms: Terms) -> Self {
        let empty = Self {
            terms,
            window: 1.0,
            active: 0,
            begun: 0,
            cut: 0,
            gone: 0,
            rests: 0,
            rest: None,
            next: 0.0,
            back: 0,
            ended: 0,
            under_way: Vec::new(),
            takes: ATTEMPT.0,
        };
        Self { window: empty.first(), ..empty }
    }

    /// What the operator says now; what was learned stays.
    pub(super) fn obey(&mut self, terms: &Terms) {
        if self.terms != *terms {
            self.terms = terms.clone();
            self.window = self.window.clamp(1.0, self.most());
        }
    }

    fn most(&self) -> f64 {
        count(self.terms.most.max(1))
    }

    /// The window at first.
    fn first(&self) -> f64 {
        count(self.terms.first.clamp(1, self.terms.most.max(1)))
    }

    /// Attempts at a time: one while nobody knows whether the destination is back.
    pub(super) fn window(&self) -> usize {
        let window = self.window as usize;
        if self.rest.is_some() { 1 } else { window.max(1) }
    }

    /// Whoever comes next may as well be the first one: nothing is under way, no rate has to be kept and nobody was sent away;
    /// and there was no trouble, or it was so long ago that all mail that met it has been tried again or given up.
    pub(super) fn is_idle(&self, now: Timestamp) -> bool {
        let trouble = self.gone > 0 || self.rest.is_some() || self.window < self.first();
        let old = self.ended.saturating_add(self.terms.rest.1.saturating_mul(1000 * MEMORY)) < now;
        self.active == 0 && self.back < now && self.next <= now as f64 && (old || !trouble)
    }

    /// It rests, or the one attempt after a rest is under way: when to look again, and why.
    fn resting(&self, now: Timestamp) -> Option<(Timestamp, &str)> {
        let (until, why) = self.rest.as_ref()?;
        match *until > now {
            true => Some((*until, why.as_str())),
            false => (self.active > 0).then_some((now.saturating_add(TRYING), why.as_str())),
        }
    }

    /// May one more message wait here for its turn, if there is `room` in memory? Those who may not come back one after the
    /// other.
    pub(super) fn admit(&mut self, now: Timestamp, room: bool) -> Result<(), Wait> {
        if let Some((until, why)) = self.resting(now) {
            let reason = Some(why.to_owned());
            return Err(Wait { at: self.later(until, APART, u64::MAX), reason });
        }
        if !room {
            // They come back as fast as there will be places for them.
            let step = (self.takes / count(self.window())).max(1.0) as u64;
            let first = now.saturating_add(self.takes.max(SHORTLY) as u64);
            return Err(Wait { at: self.later(first, step, AWAY), reason: None });
        }
        let Some((apart, at_once)) = self.terms.rate else { return Ok(()) };
        let time = now as f64;
        // No slot is further away than those of a full bucket: the rate may have been raised, and the clock set back.
        let next = self.next.clamp(time, time + apart * at_once.max(1.0));
        // A bucket that holds `at_once` and is filled by one each `apart`.
        if next - time <= apart * (at_once - 1.0).max(0.0) {
            self.next = next + apart;
            return Ok(());
        }
        // Whoever comes back before its slot, as when its sender is to be told, leaves that empty. So nobody is given a slot
        // that is far away, or those who are left would all be behind a time at which nobody goes.
        let step = apart.ceil() as u64;
        Err(Wait { at: self.later(now, step, AWAY), reason: Some("as many go there at a time as may".into()) })
    }

    /// One after the other from `from` on, and nobody for longer than `most` from there, or than `step` if that is longer.
    fn later(&mut self, from: Timestamp, step: u64, most: u64) -> Timestamp {
        let first = from.saturating_add(step);
        let next = self.back.saturating_add(step).max(first);
        self.back = if next > from.saturating_add(most) { first } else { next };
        self.back
    }

    pub(super) fn begin(&mut self, now: Timestamp) -> Begin {
        if let Some((until, why)) = self.resting(now) {
            let reason = Some(why.to_owned());
            return Begin::Rest(Wait { at: self.later(until, APART, u64::MAX), reason });
        }
        if self.active >= self.window() {
            return Begin::Full;
        }
        self.active += 1;
        self.begun += 1;
        self.under_way.push((self.begun, now));
        Begin::Now(self.begun)
    }

    /// It has rested: the next one tries whether the destination is back.
    pub(super) fn wake(&mut self, now: Timestamp) {
        if let Some((until, _)) = &mut self.rest {
            *until = now.min(*until);
            self.back = now;
        }
    }

    /// The attempt of this number has ended. If the destination is to rest now: until when, and why.
    pub(super) fn ended(&mut self, number: u64, health: Health, now: Timestamp) -> Option<(Timestamp, &str)> {
        self.active = self.active.saturating_sub(1);
        self.ended = now;
        let place = self.under_way.iter().position(|(begun, _)| *begun == number);
        let began = place.map(|place| self.under_way.swap_remove(place).1);
        if let (Some(began), Health::Well) = (began, &health) {
            let took = count(usize::try_from(now.saturating_sub(began)).unwrap_or(usize::MAX)).min(ATTEMPT.1);
            self.takes += (took - self.takes) / 8.0;
        }
        match health {
            Health::Unknown => {}
            Health::Well => {
                if self.rest.take().is_some() {
                    // Those who were sent away beyond its rest come back as they were told.
                    self.back = now;
                }
                (self.gone, self.rests) = (0, 0);
                self.window = (self.window + 1.0 / self.window).min(self.most());
            }
            Health::Unwell => {
                self.shrink(number);
                (self.gone, self.rests, self.rest) = (0, 0, None);
            }
            Health::Gone(why) => {
                self.shrink(number);
                self.gone = self.gone.saturating_add(1);
                // Of those who were under way together only the last one's word counts.
                if self.gone >= GONE && self.rest.as_ref().is_none_or(|(until, _)| *until <= now) {
                    let (first, most) = self.terms.rest;
                    let rest = first.max(1).saturating_mul(1 << self.rests.min(20)).min(most.max(1));
                    let until = now.saturating_add(rest.saturating_mul(1000));
                    self.rests = self.rests.saturating_add(1);
                    self.rest = Some((until, format!("nobody there can be reached, so nobody else tries: {why}")));
                    self.back = until;
                    self.window = 1.0;
                    return self.rest.as_ref().map(|(until, why)| (*until, why.as_str()));
                }
            }
        }
        None
    }

    fn shrink(&mut self, number: u64) {
        if number > self.cut {
            self.cut = self.begun;
            self.window = (self.window / 2.0).max(1.0);
        }
    }
}

fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use std::{cmp::Reverse, collections::BinaryHeap};

    use super::*;

    fn terms() -> Terms {
        Terms { first: 4, most: 10, rate: None, rest: (60, 600) }
    }

    fn gone() -> Health {
        Health::Gone("refused".into())
    }

    fn begun(shape: &mut Shape, now: Timestamp) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Begin::Now(number) = shape.begin(now) {
            numbers.push(number);
        }
        numbers
    }

    #[test]
    fn several_servers_share_what_one_may() {
        let all = Terms { first: 4, most: 10, rate: Some((100.0, 5.0)), rest: (60, 600) };
        assert_eq!(all.clone().shared(1), all);
        assert_eq!(all.clone().shared(0), all);
        let each = all.clone().shared(3);
        assert_eq!((each.first, each.most), (1, 3));
        let (apart, at_once) = each.rate.unwrap_or_default();
        assert!((apart - 300.0).abs() < 1e-9 && (at_once - 5.0 / 3.0).abs() < 1e-9, "{apart} {at_once}");
        // None is left without any.
        let each = all.shared(20);
        assert_eq!((each.first, each.most), (1, 1));
        assert!(each.rate.is_some_and(|(apart, at_once)| apart >= 1999.0 && at_once >= 1.0));
    }

    #[test]
    fn the_window_grows_by_one_a_round_and_halves_once() {
        let mut shape = Shape::new(terms());
        let mut windows = Vec::new();
        for _ in 0..8 {
            let round = begun(&mut shape, 0);
            windows.push(round.len());
            for number in round {
                shape.ended(number, Health::Well, 0);
            }
        }
        assert!(windows.windows(2).all(|pair| (pair[0]..=pair[0] + 1).contains(&pair[1])), "{windows:?}");
        assert_eq!((windows.first(), shape.window()), (Some(&4), 10));
        // All that were under way met the same trouble.
        for number in begun(&mut shape, 0) {
            shape.ended(number, Health::Unwell, 0);
        }
        assert_eq!(shape.window(), 5);
        for _ in 0..9 {
            for number in begun(&mut shape, 0) {
                shape.ended(number, Health::Unwell, 0);
            }
        }
        assert_eq!(begun(&mut shape, 0).len(), 1, "never none");
        assert_eq!(shape.begin(0), Begin::Full);
    }

    #[test]
    fn who_is_gone_rests_for_longer_each_time_and_is_tried_by_one() {
        let mut shape = Shape::new(terms());
        let mut now = 1_000_000;
        for rest in [60_000, 120_000, 240_000, 480_000, 600_000, 600_000] {
            while shape.rest.as_ref().is_none_or(|(until, _)| *until <= now) {
                let Begin::Now(number) = shape.begin(now) else { panic!("{shape:?}") };
                shape.ended(number, gone(), now);
            }
            assert!(matches!(shape.begin(now + rest - 1), Begin::Rest(_)), "{rest}: {shape:?}");
            let back: Vec<_> =
                (0..3).filter_map(|_| shape.admit(now, true).err()).map(|wait| wait.at - now - rest).collect();
            assert_eq!(back.len(), 3, "{rest}");
            assert!(back.is_sorted() && back[0] > 0 && back[2] <= 100, "one after the other: {rest}: {back:?}");
            now += rest;
            // One tries, the others wait for what it brings.
            let Begin::Now(number) = shape.begin(now) else { panic!("{shape:?}") };
            assert!(matches!(shape.begin(now), Begin::Rest(_)) && shape.admit(now, true).is_err());
            shape.ended(number, gone(), now);
        }
        now += 600_000;
        let Begin::Now(number) = shape.begin(now) else { panic!("{shape:?}") };
        shape.ended(number, Health::Well, now);
        assert!(shape.admit(now, true).is_ok() && !begun(&mut shape, now).is_empty(), "{shape:?}");
    }

    /// Who finds no place is called back as fast as attempts have ended of late, however fast or slow they are.
    #[test]
    fn places_are_expected_as_fast_as_attempts_end() {
        for (took, least, most) in [(0, 20, 22), (5, 20, 25), (50, 50, 80), (400, 390, 600), (60_000, 490, 750)] {
            let mut shape = Shape::new(terms());
            let mut now = 1_000_000;
            for _ in 0..60 {
                let Begin::Now(number) = shape.begin(now) else { panic!("there is a place") };
                now += took;
                shape.ended(number, Health::Well, now);
            }
            let (Err(wait), Err(next)) = (shape.admit(now, false), shape.admit(now, false)) else {
                panic!("there is no room");
            };
            assert!((now + least..=now + most).contains(&wait.at), "{took}: {}", wait.at - now);
            assert!(next.at > wait.at && next.at - wait.at <= took.max(1), "{took}: one after the other");
        }
    }

    #[test]
    fn who_is_woken_is_tried_by_one_at_once() {
        let mut shape = Shape::new(terms());
        shape.wake(0);
        for _ in 0..GONE {
            let Begin::Now(number) = shape.begin(0) else { panic!("{shape:?}") };
            shape.ended(number, gone(), 0);
        }
        assert!(shape.admit(1, true).is_err());
        shape.wake(1);
        assert!(shape.admit(1, true).is_ok());
        let Begin::Now(number) = shape.begin(1) else { panic!("{shape:?}") };
        let Begin::Rest(wait) = shape.begin(1) else { panic!("only one: {shape:?}") };
        assert!(wait.at < 1 + 2 * TRYING, "{wait:?}");
        shape.ended(number, gone(), 1);
        let Err(again) = shape.admit(2, true) else { panic!("{shape:?}") };
        assert!(again.at > 100_000, "it rests again, for longer: {again:?}");
    }

    #[test]
    fn a_few_failures_and_a_success_are_no_rest() {
        let mut shape = Shape::new(terms());
        for health in [gone(), gone(), Health::Well, gone(), gone(), Health::Unwell, gone(), Health::Unknown, gone()] {
            let Begin::Now(number) = shape.begin(0) else { panic!("{shape:?}") };
            shape.ended(number, health, 0);
        }
        assert!(shape.admit(0, true).is_ok() && !shape.is_idle(1));
    }

    /// What was tried at second 1000, and when nothing of that is worth knowing any more.
    #[test]
    fn what_was_learned_is_known_as_long_as_it_counts() {
        let (well, rate) = (Health::Well, Some((60_000.0, 2.0)));
        for (case, rate, tried, idle) in [
            ("nothing", None, vec![], 1000),
            ("it went well", None, vec![well.clone()], 1000),
            ("one of a rate", rate, vec![well.clone()], 1060),
            ("two of a rate", rate, vec![well.clone(); 2], 1120),
            ("one that reached nobody", None, vec![gone()], 2200),
            ("a rest", None, vec![gone(); 3], 2200),
            ("after a rest", None, [vec![gone(); 3], vec![well.clone()]].concat(), 2200),
            ("trouble", None, vec![Health::Unwell], 2200),
            ("trouble that is over", None, [vec![Health::Unwell], vec![well; 6]].concat(), 1000),
        ] {
            let mut shape = Shape::new(Terms { rate, ..terms() });
            for health in tried {
                shape.wake(1_000_000);
                assert_eq!(shape.admit(1_000_000, true), Ok(()), "{case}");
                let Begin::Now(number) = shape.begin(1_000_000) else { panic!("{case}: {shape:?}") };
                assert!(!shape.is_idle(u64::MAX), "{case}: it is under way");
                shape.ended(number, health, 1_000_000);
            }
            let second = (1000..9999).find(|second| shape.is_idle(second * 1000 + 1));
            assert_eq!(second, Some(idle), "{case}: {shape:?}");
        }
    }

    #[test]
    fn a_rate_is_kept() {
        // How many messages, milliseconds apart, how many at once; when they are all back, as they are when their senders are
        // to be told; how much longer than that needs it may take.
        for (messages, apart, at_once, told, more) in [
            (200, 1000, 3_u32, None, 60_000),
            (3000, 60_000, 1, None, 2 * AWAY),
            (3000, 60_000, 1, Some(14_400_000), 4 * AWAY),
            (3, 3_600_000, 1, None, 60_000),
        ] {
            let case = format!("{messages} each {apart} ms, told at {told:?}");
            let mut shape = Shape::new(Terms { rate: Some((apart as f64, f64::from(at_once))), ..terms() });
            let start: Timestamp = 1_700_000_000_000;
            let told = told.map_or(0, |told| start + told);
            let mut waiting: BinaryHeap<Reverse<Timestamp>> = (0..messages).map(|_| Reverse(start)).collect();
            let mut sent = Vec::new();
            while let Some(Reverse(now)) = waiting.pop() {
                match shape.admit(now, true) {
                    Ok(()) => sent.push(now - start),
                    Err(wait) => {
                        assert!(wait.at > now && wait.at <= now + apart.max(AWAY) && wait.reason.is_some(), "{case}");
                        waiting.push(Reverse(if now < told { wait.at.min(told) } else { wait.at }));
                    }
                }
            }
            assert_eq!(sent.len(), messages, "{case}");
            let most = usize::try_from(60_000 / apart + u64::from(at_once)).unwrap_or(0);
            for (place, at) in sent.iter().enumerate() {
                let within = sent[place..].iter().take_while(|later| **later < at + 60_000).count();
                assert!(within <= most.max(1), "{case}: {within} within a minute of {at}");
            }
            let last = sent.last().copied().unwrap_or(0);
            assert!(last <= messages as u64 * apart + more, "{case}: not much slower than it may be: {last}");
        }
    }
}
