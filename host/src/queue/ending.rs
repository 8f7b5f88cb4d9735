//! What an attempt's end makes of its entry, and who hears of it.
//!
//! Owns retries, expiry and the end of an entry. Refuses to know how the attempt was made. Cannot fail.

use std::sync::Arc;

use super::{
    Shared,
    notices::{self, Untold},
    reports, schedule,
    shape::Wait,
    to,
};
use crate::{
    config::Config,
    dsn::Action,
    observe::events,
    plugin::hook::State,
    store::{Lease, NewEntry, Outcome, Pending, Settlement, Verdicts, sqlite::now},
};

/// RFC 3463 section 3.5: delivery time expired.
const EXPIRED: &str = "5.4.7";

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum End {
    /// It has arrived.
    Delivered,
    /// Another server has taken it: in its words, and whether it answers for notices of success and for the time that the
    /// sender gave.
    Relayed { by: String, dsn: bool, timed: bool },
    /// The time is over in which its sender wanted it delivered.
    Overdue,
    /// Not now; and not before so many seconds, if somebody knows.
    Later { reason: String, after: Option<u32> },
    /// Never.
    Failed { status: String, reason: String },
    /// Not without an operator or a later feature.
    Held(String),
    /// Its plugins have judged it again.
    Becomes(Vec<NewEntry>),
    /// There was no turn for it.
    Postponed(Wait),
}

/// What is to be settled. `verdicts`: how plugins judged it or delivered it.
pub(super) async fn outcome(
    shared: &Shared,
    config: &Arc<Config>,
    lease: Lease,
    end: End,
    verdicts: Option<Verdicts>,
) -> Outcome {
    let attempt = lease.attempts + 1;
    let mut outcome = Outcome { verdicts, ..Outcome::from((lease.clone(), Settlement::Delivered)) };
    let fate = match end {
        End::Delivered => {
            events::delivered(lease.entry, to(&lease), attempt);
            tell(shared, config, &mut outcome, Action::Delivered, "2.0.0", "").await;
            Some((State::Delivered, None, String::new()))
        }
        End::Relayed { by, dsn, timed } => {
            events::relayed(lease.entry, to(&lease), attempt, &by);
            if (!dsn && Action::Relayed.is_wanted(lease.recipient.notify)) || is_told_of_time(&lease, timed) {
                tell_wanted(shared, config, &mut outcome, Action::Relayed, "2.0.0", "").await;
            }
            Some((State::Delivered, None, by))
        }
        End::Overdue => {
            let reason = "not delivered in the time that its sender gave";
            failed(shared, config, &mut outcome, EXPIRED, reason).await;
            Some((State::Expired, Some(EXPIRED.into()), reason.into()))
        }
        End::Later { reason, after } => later(shared, config, &mut outcome, reason, after).await,
        End::Failed { status, reason } => {
            let refused = matches!(lease.recipient.pending, Pending::Bounce { .. });
            failed(shared, config, &mut outcome, &status, &reason).await;
            Some((if refused { State::Refused } else { State::Failed }, Some(status), reason))
        }
        End::Held(reason) => {
            events::held(lease.entry, to(&lease), &reason);
            outcome.settlement = Settlement::Held { reason };
            None
        }
        End::Becomes(entries) => {
            let fate = judged(&lease, &entries);
            outcome.settlement = Settlement::Becomes(entries);
            fate
        }
        End::Postponed(wait) => postponed(shared, config, &mut outcome, wait).await,
    };
    if let Some((state, status, text)) = fate {
        outcome.report = reports::text(shared, &lease, state, status, text);
    }
    outcome
}

type Fate = Option<(State, Option<String>, String)>;

/// What came of judging again; None: delivery tells.
fn judged(lease: &Lease, entries: &[NewEntry]) -> Fate {
    let Some(first) = entries.first() else { return Some((State::Discarded, None, String::new())) };
    if entries.iter().all(|entry| entry.held.is_some()) {
        let reason = first.held.clone().unwrap_or_default();
        events::held(lease.entry, to(lease), &reason);
        return Some((State::Quarantined, None, reason));
    }
    if entries.iter().any(|entry| entry.recipient == lease.recipient.recipient) {
        return None;
    }
    let names: Vec<_> = entries.iter().map(|entry| entry.recipient.to_string()).collect();
    Some((State::Redirected, None, names.join(", ")))
}

/// It waits without an attempt, which may be for long where its destination rests: it grows too old and late as any other.
async fn postponed(shared: &Shared, config: &Arc<Config>, outcome: &mut Outcome, wait: Wait) -> Fate {
    let lease = outcome.lease.clone();
    let (queue, envelope) = (&config.queue, &lease.envelope);
    let expiry = schedule::expiry(queue, envelope);
    let Wait { at, reason } = wait;
    if let Some(reason) = reason.as_ref().filter(|_| expiry <= now()) {
        let reason = format!("{reason}; given up after {} attempts", lease.attempts);
        failed(shared, config, outcome, EXPIRED, &reason).await;
        return Some((State::Expired, Some(EXPIRED.into()), reason));
    }
    let times = [Some(expiry), schedule::late(queue, envelope).filter(|_| !lease.late)];
    let at = times.into_iter().flatten().filter(|time| *time > now()).fold(at, u64::min);
    let why = reason.clone().unwrap_or_else(|| "it waits for its turn".into());
    outcome.settlement = Settlement::Postponed { at, reason };
    late(shared, config, outcome, &why).await
}

/// RFC 2852 section 4: who gave a time is told where it goes on to a server that keeps none, and with `T` at each relay; if
/// NOTIFY leaves room for it.
fn is_told_of_time(lease: &Lease, timed: bool) -> bool {
    let by = lease.envelope.wishes.deliver_by;
    by.is_some_and(|by| by.trace || !timed)
        && lease.recipient.notify.is_none_or(|notify| notify.success || notify.delay)
}

/// Tells the sender, once and if it is time, that the message is late.
async fn late(shared: &Shared, config: &Arc<Config>, outcome: &mut Outcome, reason: &str) -> Fate {
    let (queue, envelope) = (&config.queue, outcome.lease.envelope.clone());
    if outcome.lease.late || schedule::late(queue, &envelope).is_none_or(|at| now() < at) {
        return None;
    }
    outcome.late = true;
    let until = schedule::expiry(queue, &envelope);
    tell(shared, config, outcome, Action::Delayed(until), "4.4.7", reason).await;
    Some((State::Deferred, Some("4.4.7".into()), reason.to_owned()))
}

/// Tried again later, or given up if it is too old.
async fn later(
    shared: &Shared,
    config: &Arc<Config>,
    outcome: &mut Outcome,
    reason: String,
    after: Option<u32>,
) -> Fate {
    let lease = outcome.lease.clone();
    let (queue, attempt) = (&config.queue, lease.attempts + 1);
    let expiry = schedule::expiry(queue, &lease.envelope);
    let Some(at) = schedule::next(queue, expiry, lease.attempts, now(), rand::random()) else {
        let reason = format!("{reason}; given up after {attempt} attempts");
        if let Pending::Rejudge { .. } = lease.recipient.pending {
            let reason = format!("quarantined, because it could not be judged in time: {reason}");
            events::held(lease.entry, to(&lease), &reason);
            outcome.settlement = Settlement::Held { reason: reason.clone() };
            return Some((State::Quarantined, None, reason));
        }
        failed(shared, config, outcome, EXPIRED, &reason).await;
        return Some((State::Expired, Some(EXPIRED.into()), reason));
    };
    let at = after.map_or(at, |after| schedule::asked(queue, expiry, now(), after));
    // Whoever gave a time is told when it is over, and not when there happens to be an attempt.
    let told = lease.envelope.deadline().filter(|told| !lease.late && *told > now());
    let at = told.map_or(at, |told| at.min(told));
    events::deferred(lease.entry, to(&lease), attempt, at, &reason);
    outcome.settlement = Settlement::Retry { at, reason: reason.clone() };
    late(shared, config, outcome, &reason).await
}

/// Given up. The sender is told, or an operator sees it; or, if that is what the sender wanted, nobody.
async fn failed(shared: &Shared, config: &Arc<Config>, outcome: &mut Outcome, status: &str, reason: &str) {
    let (entry, attempt) = (outcome.lease.entry, outcome.lease.attempts + 1);
    events::failed(entry, to(&outcome.lease), attempt, reason);
    outcome.settlement = Settlement::Failed { status: status.to_owned(), reason: reason.to_owned() };
    match tell(shared, config, outcome, Action::Failed, status, reason).await {
        None => {}
        // RFC 3461 section 4.1: the sender wants to hear of no failure. So be it.
        Some(Untold::Unwanted) => {
            tracing::warn!(%entry, "undeliverable; dropped, because the sender asked not to be told (NOTIFY)");
            outcome.settlement = Settlement::Becomes(Vec::new());
        }
        Some(Untold::Barred(why)) => {
            let reason = format!("undeliverable: {reason}; {why}");
            outcome.settlement = Settlement::Failed { status: status.to_owned(), reason };
        }
    }
}

/// Adds the notice if NOTIFY wants it, or says why there is none.
async fn tell(
    shared: &Shared,
    config: &Config,
    outcome: &mut Outcome,
    action: Action,
    status: &str,
    reason: &str,
) -> Option<Untold> {
    if !action.is_wanted(outcome.lease.recipient.notify) {
        return Some(Untold::Unwanted);
    }
    tell_wanted(shared, config, outcome, action, status, reason).await
}

/// Adds the notice, or says why there is none.
async fn tell_wanted(
    shared: &Shared,
    config: &Config,
    outcome: &mut Outcome,
    action: Action,
    status: &str,
    reason: &str,
) -> Option<Untold> {
    match notices::whom(config, &*shared.rules, &outcome.lease) {
        Ok(to) => {
            let notice = notices::notice(config, &*shared.store, &outcome.lease, to, action, status, reason).await;
            outcome.notice = Some(notice);
            None
        }
        Err(untold) => {
            if let (Untold::Barred(why), Action::Delivered | Action::Relayed) = (&untold, action) {
                tracing::info!(entry = %outcome.lease.entry, why, "delivered; the sender, who asked to be told, is not");
            }
            Some(untold)
        }
    }
}
