//! What an attempt's end makes of its entry, and who hears of it.
//!
//! Owns retries, expiry and the end of an entry. Refuses to know how the attempt was made. Cannot fail.

use std::sync::Arc;

use super::{
    Shared,
    notices::{self, Ended, Untold, Word},
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
/// RFC 3886 section 4: relayed to a server that does not tell.
const RELAYED: &str = "2.1.9";

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
    /// Others get it instead, which is all that there is to say.
    Expanded,
    /// There was no turn for it.
    Postponed(u64),
}

/// What is to be settled. `verdicts`: how plugins judged it or delivered it.
pub(super) fn outcome(
    shared: &Shared,
    config: &Arc<Config>,
    lease: Lease,
    end: End,
    verdicts: Option<Verdicts>,
) -> Ended {
    let attempt = lease.attempts + 1;
    let outcome = Outcome { verdicts, ..Outcome::from((lease.clone(), Settlement::Delivered)) };
    let mut ended = Ended { outcome, word: None };
    let fate = match end {
        End::Delivered => {
            events::delivered(lease.entry, to(&lease), attempt);
            tell(shared, config, &mut ended, Action::Delivered, "2.0.0", "");
            Some((State::Delivered, None, String::new()))
        }
        End::Relayed { by, dsn } => {
            events::relayed(lease.entry, to(&lease), attempt, &by);
            if !dsn {
                tell(shared, config, &mut ended, Action::Relayed, RELAYED, "");
            }
            Some((State::Delivered, None, by))
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
        End::Postponed(at) => {
            ended.outcome.settlement = Settlement::Postponed { at };
            None
        }
    };
    if let Some((state, status, text)) = fate {
        ended.outcome.report = reports::text(shared, &lease, state, status, text);
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

/// Tried again later, or given up if it is too old.
fn later(shared: &Shared, config: &Arc<Config>, ended: &mut Ended, reason: String, after: Option<u32>) -> Fate {
    let lease = ended.outcome.lease.clone();
    let (queue, received_at, attempt) = (&config.queue, lease.envelope.received_at, lease.attempts + 1);
    let Some(at) = schedule::next(queue, received_at, lease.attempts, now(), rand::random()) else {
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
    let at = after.map_or(at, |after| schedule::asked(queue, received_at, now(), after));
    events::deferred(lease.entry, to(&lease), attempt, at, &reason);
    ended.outcome.settlement = Settlement::Retry { at, reason: reason.clone() };
    let warning = queue.delay_warning.saturating_mul(1000);
    if lease.late || warning == 0 || now().saturating_sub(received_at) < warning {
        return None;
    }
    ended.outcome.late = true;
    let until = received_at.saturating_add(queue.expire.saturating_mul(1000));
    tell(shared, config, ended, Action::Delayed(until), "4.4.7", &reason);
    Some((State::Deferred, Some("4.4.7".into()), reason))
}

/// Given up. The sender is told, or an operator sees it; or, if that is what the sender wanted, nobody.
fn failed(shared: &Shared, config: &Arc<Config>, ended: &mut Ended, status: &str, reason: &str) {
    let (entry, attempt) = (ended.outcome.lease.entry, ended.outcome.lease.attempts + 1);
    events::failed(entry, to(&ended.outcome.lease), attempt, reason);
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

/// Adds what is to be told, or says why nothing is.
fn tell(
    shared: &Shared,
    config: &Config,
    ended: &mut Ended,
    action: Action,
    status: &str,
    reason: &str,
) -> Option<Untold> {
    let lease = &ended.outcome.lease;
    match notices::whom(config, &*shared.rules, lease, action) {
        Ok(to) => {
            let attempt = (lease.recipient.pending == Pending::Nothing).then(now);
            let (status, reason) = (status.to_owned(), reason.to_owned());
            ended.word = Some(Word { to, action, status, reason, attempt, said: None });
            None
        }
        Err(untold) => {
            if let (Untold::Barred(why), true) =
                (&untold, matches!(action, Action::Delivered | Action::Relayed | Action::Expanded))
                && action.is_wanted(lease.recipient.notify)
            {
                tracing::info!(entry = %lease.entry, why, "delivered; the sender, who asked to be told, is not");
            }
            Some(untold)
        }
    }
}
