//! What an attempt's end makes of its entry, and who hears of it.
//!
//! Owns retries, expiry and the end of an entry. Refuses to know how the attempt was made. Cannot fail.

use std::sync::Arc;

use super::{
    Shared,
    notices::{self, Untold},
    reports, schedule, to,
};
use crate::{
    config::Config,
    dsn::Action,
    observe::events,
    plugin::hook::State,
    store::{Lease, NewEntry, Notice, Outcome, Pending, Settlement, Verdicts, sqlite::now},
};

/// RFC 3463 section 3.5: delivery time expired.
const EXPIRED: &str = "5.4.7";

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum End {
    /// It has arrived.
    Delivered,
    /// Another server has taken it: in its words, and whether it answers for notices of success.
    Relayed { by: String, dsn: bool },
    /// Not now; and not before so many seconds, if somebody knows.
    Later { reason: String, after: Option<u32> },
    /// Never.
    Failed { status: String, reason: String },
    /// Not without an operator or a later feature.
    Held(String),
    /// Its plugins have judged it again; what one of them answers its sender.
    Becomes(Vec<NewEntry>, Option<Box<Notice>>),
    /// There was no turn for it.
    Postponed(u64),
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
        End::Relayed { by, dsn } => {
            events::relayed(lease.entry, to(&lease), attempt, &by);
            if !dsn {
                tell(shared, config, &mut outcome, Action::Relayed, "2.0.0", "").await;
            }
            Some((State::Delivered, None, by))
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
        End::Becomes(entries, reply) => {
            outcome.notice = reply.map(|reply| *reply);
            let fate = judged(&lease, &entries);
            outcome.settlement = Settlement::Becomes(entries);
            fate
        }
        End::Postponed(at) => {
            outcome.settlement = Settlement::Postponed { at };
            None
        }
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

/// Tried again later, or given up if it is too old.
async fn later(
    shared: &Shared,
    config: &Arc<Config>,
    outcome: &mut Outcome,
    reason: String,
    after: Option<u32>,
) -> Fate {
    let lease = outcome.lease.clone();
    let (queue, received_at, attempt) = (&config.queue, lease.envelope.received_at, lease.attempts + 1);
    let Some(at) = schedule::next(queue, received_at, lease.attempts, now(), rand::random()) else {
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
    let at = after.map_or(at, |after| schedule::asked(queue, received_at, now(), after));
    events::deferred(lease.entry, to(&lease), attempt, at, &reason);
    outcome.settlement = Settlement::Retry { at, reason: reason.clone() };
    let warning = queue.delay_warning.saturating_mul(1000);
    if lease.late || warning == 0 || now().saturating_sub(received_at) < warning {
        return None;
    }
    outcome.late = true;
    let until = received_at.saturating_add(queue.expire.saturating_mul(1000));
    tell(shared, config, outcome, Action::Delayed(until), "4.4.7", &reason).await;
    Some((State::Deferred, Some("4.4.7".into()), reason))
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

/// Adds the notice, or says why there is none.
async fn tell(
    shared: &Shared,
    config: &Config,
    outcome: &mut Outcome,
    action: Action,
    status: &str,
    reason: &str,
) -> Option<Untold> {
    match notices::whom(config, &*shared.rules, &outcome.lease, action) {
        Ok(to) => {
            let notice = notices::notice(config, &*shared.store, &outcome.lease, to, action, status, reason).await;
            outcome.notice = Some(notice);
            None
        }
        Err(untold) => {
            if let (Untold::Barred(why), true) = (&untold, matches!(action, Action::Delivered | Action::Relayed))
                && action.is_wanted(outcome.lease.recipient.notify)
            {
                tracing::info!(entry = %outcome.lease.entry, why, "delivered; the sender, who asked to be told, is not");
            }
            Some(untold)
        }
    }
}
