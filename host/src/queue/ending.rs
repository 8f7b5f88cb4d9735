//! What an attempt's end makes of its entry, and who hears of it.
//!
//! Owns retries, expiry and the end of an entry. Refuses to know how the attempt was made. Cannot fail.

use std::sync::Arc;

use super::{
    Shared,
    notices::{self, Ended, Untold, Word},
    reports, schedule,
    shape::Wait,
    to,
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
/// RFC 3886 section 4: relayed to a server that does not tell.
const RELAYED: &str = "2.1.9";

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
    /// Its plugins have judged it again; what one of them answers its sender.
    Becomes(Vec<NewEntry>, Option<Box<Notice>>),
    /// Others get it instead, which is all that there is to say.
    Expanded,
    /// There was no turn for it.
    Postponed(Wait),
}

/// What is to be settled. `verdicts`: how plugins judged it or delivered it.
pub(super) fn outcome(
    shared: &Shared,
    config: &Arc<Config>,
    lease: Lease,
    end: End,
    verdicts: Option<Verdicts>,
) -> Ended {
    let tried = match &end {
        End::Delivered | End::Relayed { .. } | End::Later { .. } | End::Failed { .. } => {
            lease.recipient.pending == Pending::Nothing
        }
        End::Overdue | End::Held(_) | End::Becomes(..) | End::Expanded | End::Postponed(_) => false,
    };
    let outcome = Outcome { verdicts, ..Outcome::from((lease.clone(), Settlement::Delivered)) };
    let mut ended = Ended { outcome, tried, word: None };
    let attempt = ended.attempts();
    let fate = match end {
        End::Delivered => {
            events::delivered(lease.entry, to(&lease), attempt);
            tell(shared, config, &mut ended, Action::Delivered, "2.0.0", "");
            Some((State::Delivered, None, String::new()))
        }
        End::Relayed { by, dsn, timed } => {
            events::relayed(lease.entry, to(&lease), attempt, &by);
            if (!dsn && Action::Relayed.is_wanted(lease.recipient.notify)) || is_told_of_time(&lease, timed) {
                tell_wanted(shared, config, &mut ended, Action::Relayed, RELAYED, "");
            }
            Some((State::Delivered, None, by))
        }
        End::Overdue => {
            let reason = "not delivered in the time that its sender gave";
            failed(shared, config, &mut ended, EXPIRED, reason);
            Some((State::Expired, Some(EXPIRED.into()), reason.into()))
        }
        End::Later { reason, after } => later(shared, config, &mut ended, reason, after),
        End::Failed { status, reason } => {
            let refused = matches!(lease.recipient.pending, Pending::Bounce { .. });
            failed(shared, config, &mut ended, &status, &reason);
            Some((if refused { State::Refused } else { State::Failed }, Some(status), reason))
        }
        End::Held(reason) => {
            events::held(lease.entry, to(&lease), &reason);
            ended.outcome.settlement = Settlement::Held { reason };
            None
        }
        End::Becomes(entries, reply) => {
            ended.outcome.notice = reply.map(|reply| *reply);
            let fate = judged(&lease, &entries);
            ended.outcome.settlement = Settlement::Becomes(entries);
            fate
        }
        End::Expanded => {
            tell(shared, config, &mut ended, Action::Expanded, "2.0.0", "");
            None
        }
        End::Postponed(wait) => postponed(shared, config, &mut ended, wait),
    };
    if let Some((state, status, text)) = fate {
        ended.outcome.report = reports::text(shared, &lease, attempt, state, status, text);
    }
    ended
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
fn postponed(shared: &Shared, config: &Arc<Config>, ended: &mut Ended, wait: Wait) -> Fate {
    let lease = ended.outcome.lease.clone();
    let (queue, envelope) = (&config.queue, &lease.envelope);
    let expiry = schedule::expiry(queue, envelope);
    let Wait { at, reason } = wait;
    if let Some(reason) = reason.as_ref().filter(|_| expiry <= now()) {
        let reason = format!("{reason}; given up after {} attempts", lease.attempts);
        failed(shared, config, ended, EXPIRED, &reason);
        return Some((State::Expired, Some(EXPIRED.into()), reason));
    }
    let times = [Some(expiry), schedule::late(queue, envelope).filter(|_| !lease.late)];
    let at = times.into_iter().flatten().filter(|time| *time > now()).fold(at, u64::min);
    let why = reason.clone().unwrap_or_else(|| "it waits for its turn".into());
    ended.outcome.settlement = Settlement::Postponed { at, reason };
    late(shared, config, ended, &why)
}

/// RFC 2852 section 4: who gave a time is told where it goes on to a server that keeps none, and with `T` at each relay; if
/// NOTIFY leaves room for it.
fn is_told_of_time(lease: &Lease, timed: bool) -> bool {
    let by = lease.envelope.wishes.deliver_by;
    by.is_some_and(|by| by.trace || !timed)
        && lease.recipient.notify.is_none_or(|notify| notify.success || notify.delay)
}

/// Tells the sender, once and if it is time, that the message is late.
fn late(shared: &Shared, config: &Arc<Config>, ended: &mut Ended, reason: &str) -> Fate {
    let (queue, envelope) = (&config.queue, ended.outcome.lease.envelope.clone());
    if ended.outcome.lease.late || schedule::late(queue, &envelope).is_none_or(|at| now() < at) {
        return None;
    }
    ended.outcome.late = true;
    let until = schedule::expiry(queue, &envelope);
    tell(shared, config, ended, Action::Delayed(until), "4.4.7", reason);
    Some((State::Deferred, Some("4.4.7".into()), reason.to_owned()))
}

/// Tried again later, or given up if it is too old.
fn later(shared: &Shared, config: &Arc<Config>, ended: &mut Ended, reason: String, after: Option<u32>) -> Fate {
    let lease = ended.outcome.lease.clone();
    let (queue, attempt) = (&config.queue, lease.attempts + 1);
    let expiry = schedule::expiry(queue, &lease.envelope);
    let Some(at) = schedule::next(queue, expiry, lease.attempts, now(), schedule::chance()) else {
        let reason = format!("{reason}; given up after {attempt} attempts");
        if let Pending::Rejudge { .. } = lease.recipient.pending {
            let reason = format!("quarantined, because it could not be judged in time: {reason}");
            events::held(lease.entry, to(&lease), &reason);
            ended.outcome.settlement = Settlement::Held { reason: reason.clone() };
            return Some((State::Quarantined, None, reason));
        }
        failed(shared, config, ended, EXPIRED, &reason);
        return Some((State::Expired, Some(EXPIRED.into()), reason));
    };
    let at = after.map_or(at, |after| schedule::asked(queue, expiry, now(), after));
    // Whoever gave a time is told when it is over, and not when there happens to be an attempt.
    let told = lease.envelope.deadline().filter(|told| !lease.late && *told > now());
    let at = told.map_or(at, |told| at.min(told));
    events::deferred(lease.entry, to(&lease), attempt, at, &reason);
    ended.outcome.settlement = Settlement::Retry { at, reason: reason.clone() };
    late(shared, config, ended, &reason)
}

/// Given up. The sender is told, or an operator sees it; or, if that is what the sender wanted, nobody.
fn failed(shared: &Shared, config: &Arc<Config>, ended: &mut Ended, status: &str, reason: &str) {
    let entry = ended.outcome.lease.entry;
    events::failed(entry, to(&ended.outcome.lease), ended.attempts(), reason);
    ended.outcome.settlement = Settlement::Failed { status: status.to_owned(), reason: reason.to_owned() };
    match tell(shared, config, ended, Action::Failed, status, reason) {
        None => {}
        // RFC 3461 section 4.1: the sender wants to hear of no failure. So be it.
        Some(Untold::Unwanted) => {
            tracing::warn!(%entry, "undeliverable; dropped, because the sender asked not to be told (NOTIFY)");
            ended.outcome.settlement = Settlement::Becomes(Vec::new());
        }
        Some(Untold::Barred(why)) => {
            let reason = format!("undeliverable: {reason}; {why}");
            ended.outcome.settlement = Settlement::Failed { status: status.to_owned(), reason };
        }
    }
}

/// Adds what is to be told if NOTIFY wants it, or says why nothing is.
fn tell(
    shared: &Shared,
    config: &Config,
    ended: &mut Ended,
    action: Action,
    status: &str,
    reason: &str,
) -> Option<Untold> {
    if !action.is_wanted(ended.outcome.lease.recipient.notify) {
        return Some(Untold::Unwanted);
    }
    tell_wanted(shared, config, ended, action, status, reason)
}

/// Adds what is to be told, or says why nothing is.
fn tell_wanted(
    shared: &Shared,
    config: &Config,
    ended: &mut Ended,
    action: Action,
    status: &str,
    reason: &str,
) -> Option<Untold> {
    let lease = &ended.outcome.lease;
    match notices::whom(config, &*shared.rules, lease) {
        Ok(to) => {
            let attempt = ended.tried.then(now);
            let (status, reason) = (status.to_owned(), reason.to_owned());
            ended.word = Some(Word { to, action, status, reason, attempt, said: None });
            None
        }
        Err(untold) => {
            if let (Untold::Barred(why), Action::Delivered | Action::Relayed | Action::Expanded) = (&untold, action) {
                tracing::info!(entry = %lease.entry, why, "delivered; the sender, who asked to be told, is not");
            }
            Some(untold)
        }
    }
}
