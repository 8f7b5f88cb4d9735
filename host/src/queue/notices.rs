//! Who is told what became of a recipient's mail.
//!
//! Owns the rules of RFC 3461 and against backscatter, and how a notice enters the queue. Refuses to know the form of a
//! notice ([`crate::dsn`]). Whoever can not or must not be told is named in the reason, for an operator to see.

use super::rules::Rules;
use crate::{
    config::Config,
    deliver,
    dsn::{Action, Notice},
    store::{self, Lease, NewEntry, Pending, Route, Store, sqlite::now},
};

/// Octets of a message that are read for the sake of its header.
const FRONT: usize = 64 * 1024;

/// Why a sender is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Untold {
    /// It does not want to be (NOTIFY).
    Unwanted,
    /// It can not or must not be.
    Barred(String),
}

/// Where news of an entry go, if its sender may be told.
pub(super) fn whom(config: &Config, rules: &dyn Rules, lease: &Lease) -> Result<NewEntry, Untold> {
    let envelope = &lease.envelope;
    let barred = |why: &str| Err(Untold::Barred(why.into()));
    // RFC 5321 section 4.5.5: a notice is never answered with one.
    let Some(sender) = &envelope.reverse_path else { return barred("the null reverse-path is never told") };
    let route = match rules.place(sender) {
        Ok(route) => route,
        Err(why) => return Err(Untold::Barred(format!("the sender can not be told: {why}"))),
    };
    let trusted = || envelope.client.is_some_and(|client| config.relay.networks.iter().any(|net| net.contains(client)));
    let known = envelope.identity.is_some()
        || matches!(route, Route::Local(_))
        || config.queue.notify_strangers
        // Whoever wanted this told has looked at the sender.
        || matches!(lease.recipient.pending, Pending::Bounce { .. })
        || trusted();
    if !known {
        return barred("nobody has authenticated the sender, who is not told (queue.notify-strangers)");
    }
    Ok(NewEntry {
        recipient: sender.clone(),
        notify: None,
        orcpt: None,
        route,
        held: None,
        edits: Vec::new(),
        pending: Pending::Nothing,
    })
}

/// The notice, with as much of the message as it may return. A message that can not be read is told of without it.
pub(super) async fn notice(
    config: &Config,
    store: &dyn Store,
    lease: &Lease,
    to: NewEntry,
    action: Action,
    status: &str,
    reason: &str,
) -> store::Notice {
    let most = config.queue.return_size;
    let (front, whole) = match store.body(lease.entry.message).await {
        Ok(body) => deliver::front(body, most.max(FRONT)).await.unwrap_or_default(),
        Err(_) => Default::default(),
    };
    let notice = Notice {
        host: &config.name,
        entry: lease.entry,
        envelope: &lease.envelope,
        recipient: &lease.recipient,
        action,
        status,
        reason,
        now: now(),
        front: &front,
        whole,
        most,
    };
    let content = notice.message();
    store::Notice { envelope: notice.envelope(&content), content, entries: vec![to] }
}
