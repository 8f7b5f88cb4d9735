//! Sessions counted in memory, until they are written down.
//!
//! Owns the sums and their bounds. Refuses to know files and reports. Cannot fail: what is beyond a bound is counted in a sum
//! with others, or not at all.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Failure, Policy, Session};

/// Domains of a day.
pub(super) const DOMAINS: usize = 10_000;
/// Policies of a domain on one day; a policy that is changed is another one.
const POLICIES: usize = 20;
/// Kinds of failures below one policy. Others count in the sum alone.
const FAILURES: usize = 50;
/// Octets of a reason.
const REASON: usize = 200;
/// Strings of a policy, and octets of one.
const STRINGS: (usize, usize) = (50, 1000);

/// The sessions of one policy, in the form of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tally {
    /// Which one.
    pub policy: Policy,
    /// How many there were.
    pub summary: Summary,
    /// How they failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failure_details: Vec<Detail>,
}

/// The sums of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Sessions with TLS as the policy wants it.
    #[serde(rename = "total-successful-session-count")]
    pub successful: u64,
    /// The others.
    #[serde(rename = "total-failure-session-count")]
    pub failed: u64,
}

/// Sessions that failed in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// How.
    #[serde(flatten)]
    pub failure: Failure,
    /// How many.
    #[serde(rename = "failed-session-count")]
    pub sessions: u64,
}

/// The sessions of some days, by day (since 1970, in UTC) and domain.
pub type Days = BTreeMap<(u64, String), Vec<Tally>>;

/// What is counted now. Nothing until somebody wants it.
#[derive(Debug, Default)]
pub struct Counts {
    wanted: AtomicBool,
    days: Mutex<Days>,
}

impl Counts {
    /// From now on sessions are counted, or not any more.
    pub fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Are they counted?
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// A session with a host of this domain, in A-labels, ended its handshake at this time (seconds since 1970).
    pub fn count(&self, domain: &str, session: Session, now: u64) {
        if !self.wanted() {
            return;
        }
        let mut days = self.days.lock();
        let full = days.len() >= DOMAINS;
        let tallies = match days.entry((now / 86_400, domain.to_owned())) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if full => return,
            Entry::Vacant(entry) => entry.insert(Vec::new()),
        };
        add(tallies, one(session));
    }

    /// What was counted since the last time.
    #[must_use]
    pub fn take(&self) -> Days {
        std::mem::take(&mut *self.days.lock())
    }

    /// What was taken and could not be written down: it counts again.
    pub fn give_back(&self, given: Days) {
        let mut days = self.days.lock();
        for (key, tallies) in given {
            if days.len() >= DOMAINS && !days.contains_key(&key) {
                return;
            }
            let here = days.entry(key).or_default();
            tallies.into_iter().for_each(|tally| add(here, tally));
        }
    }
}

/// A session as a tally.
fn one(session: Session) -> Tally {
    let mut policy = session.policy;
    for list in [&mut policy.text, &mut policy.hosts] {
        list.truncate(STRINGS.0);
        list.iter_mut().for_each(|text| cut(text, STRINGS.1));
    }
    let failed = u64::from(session.failure.is_some());
    let detail = |mut failure: Failure| {
        failure.reason.iter_mut().for_each(|reason| cut(reason, REASON));
        Detail { failure, sessions: 1 }
    };
    Tally {
        policy,
        summary: Summary { successful: 1 - failed, failed },
        failure_details: session.failure.map(detail).into_iter().collect(),
    }
}

/// One line of ASCII of at most so many octets.
fn cut(text: &mut String, most: usize) {
    *text = text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).take(most).collect();
}

/// Adds a tally to those of the same domain and day.
pub(super) fn add(tallies: &mut Vec<Tally>, tally: Tally) {
    let place = tallies.iter().position(|known| known.policy == tally.policy);
    let Some(known) = place.and_then(|place| tallies.get_mut(place)) else {
        if tallies.len() < POLICIES {
            tallies.push(tally);
        }
        return;
    };
    known.summary.successful = known.summary.successful.saturating_add(tally.summary.successful);
    known.summary.failed = known.summary.failed.saturating_add(tally.summary.failed);
    for detail in tally.failure_details {
        let details = &mut known.failure_details;
        match details.iter().position(|known| known.failure == detail.failure) {
            Some(place) => {
                if let Some(known) = details.get_mut(place) {
                    known.sessions = known.sessions.saturating_add(detail.sessions);
                }
            }
            None if details.len() < FAILURES => details.push(detail),
            None => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::tlsrpt::{PolicyType, ResultType};

    fn session(policy: &str, reason: Option<&str>) -> Session {
        let failure = reason.map(|reason| Failure {
            result: ResultType::ValidationFailure,
            from: None,
            host: None,
            to: None,
            reason: Some(reason.to_owned()),
        });
        let policy = Policy {
            kind: PolicyType::Sts,
            text: vec![policy.to_owned()],
            domain: "far.example".into(),
            hosts: Vec::new(),
        };
        Session { policy, failure }
    }

    #[test]
    fn sums_and_bounds() {
        let counts = Counts::default();
        counts.count("far.example", session("a", None), 0);
        assert!(counts.take().is_empty(), "nobody wants it");
        counts.want(true);
        for (policy, reason, now) in [
            ("a", None, 0),
            ("a", Some("x\r\n"), 86_399),
            ("a", Some("x\r\n"), 86_399),
            ("b", None, 5),
            ("a", None, 86_400),
        ] {
            counts.count("far.example", session(policy, reason), now);
        }
        let days = counts.take();
        counts.give_back(days.clone());
        assert_eq!(counts.take(), days);
        let shown: Vec<_> = days
            .iter()
            .flat_map(|((day, _), tallies)| tallies.iter().map(move |tally| (*day, tally)))
            .map(|(day, tally)| (day, &*tally.policy.text[0], tally.summary.successful, tally.summary.failed))
            .collect();
        assert_eq!(shown, [(0, "a", 1, 2), (0, "b", 1, 0), (1, "a", 1, 0)]);
        let details = &days[&(0, "far.example".to_owned())][0].failure_details;
        assert_eq!((details.len(), details[0].sessions, details[0].failure.reason.as_deref()), (1, 2, Some("x??")));

        // Strangers choose names and certificates: what they can make us keep is bounded.
        for n in 0..1000 {
            counts.count("far.example", session(&format!("policy {n}"), None), 0);
            counts.count("far.example", session("policy 0", Some(&format!("{n} {}", "x".repeat(9999)))), 0);
        }
        let days = counts.take();
        let tallies = &days[&(0, "far.example".to_owned())];
        assert_eq!((tallies.len(), tallies[0].failure_details.len()), (POLICIES, FAILURES));
        assert_eq!((tallies[0].summary.successful, tallies[0].summary.failed), (1, 1000), "all of them are in the sum");
        assert!(serde_json::to_string(tallies).unwrap().len() < 30_000);
        for n in 0..DOMAINS + 10 {
            counts.count(&format!("{n}.example"), session("a", None), 0);
        }
        assert_eq!(counts.take().len(), DOMAINS);
    }
}
