//! Who is told what became of a recipient's mail.
//!
//! Owns the rules of RFC 3461 and against backscatter, who shares a notice, and how it enters the queue. Refuses to know the
//! form of a notice ([`crate::dsn`]). Fails with [`Untold`]: whoever can not or must not be told is named in the reason, for an
//! operator to see.

use std::collections::HashMap;

use super::rules::Rules;
use crate::{
    config::Config,
    deliver::{self, smtp::courier::Said},
    dsn::{Action, Notice, Remote, Told},
    store::{self, EntryId, Lease, MessageId, NewEntry, Outcome, Pending, Route, Store, Timestamp, sqlite::now},
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
    Ok(NewEntry::to(sender.clone(), route))
}

/// What is to be told of an entry.
#[derive(Clone, Debug)]
pub(super) struct Word {
    /// To whom.
    pub(super) to: NewEntry,
    pub(super) action: Action,
    /// RFC 3463.
    pub(super) status: String,
    pub(super) reason: String,
    /// When it was tried, if it was.
    pub(super) attempt: Option<Timestamp>,
    /// By whose word.
    pub(super) said: Option<Said>,
}

/// An outcome that has yet to be settled, and what is to be told of it.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// It was tried to deliver it.
    pub(super) tried: bool,
    pub(super) word: Option<Word>,
}

impl Ended {
    /// Attempts to deliver it so far.
    pub(super) fn attempts(&self) -> u32 {
        self.outcome.lease.attempts + u32::from(self.tried)
    }

    pub(super) fn entry(&self) -> EntryId {
        self.outcome.lease.entry
    }
}

/// The outcomes with their notices. `together`: one for all recipients of a message of whom there is something to tell.
pub(super) async fn written(config: &Config, store: &dyn Store, ended: &[Ended], together: bool) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = ended.iter().map(|ended| ended.outcome.clone()).collect();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut places: HashMap<MessageId, usize> = HashMap::new();
    for (index, one) in ended.iter().enumerate().filter(|(_, one)| one.word.is_some()) {
        let place = if together { *places.entry(one.entry().message).or_insert(groups.len()) } else { groups.len() };
        match groups.get_mut(place) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    for group in groups {
        let told: Vec<(&Ended, &Word)> = group
            .iter()
            .filter_map(|index| ended.get(*index))
            .filter_map(|one| Some((one, one.word.as_ref()?)))
            .collect();
        let Some((first, word)) = told.first() else { continue };
        let notice = notice(config, store, &first.outcome.lease, &word.to, &told).await;
        for index in group.iter().skip(1) {
            if let Some(outcome) = outcomes.get_mut(*index) {
                outcome.told_with = Some(first.entry());
            }
        }
        if let Some(outcome) = group.first().and_then(|index| outcomes.get_mut(*index)) {
            outcome.notice = Some(notice);
        }
    }
    outcomes
}

/// The notice, with as much of the message as it may return. A message that can not be read is told of without it.
async fn notice(
    config: &Config,
    store: &dyn Store,
    lease: &Lease,
    to: &NewEntry,
    told: &[(&Ended, &Word)],
) -> store::Notice {
    let most = config.queue.return_size;
    let (front, whole) = match store.body(lease.entry.message).await {
        Ok(body) => deliver::front(body, most.max(FRONT)).await.unwrap_or_default(),
        Err(_) => Default::default(),
    };
    let told: Vec<Told<'_>> = told
        .iter()
        .map(|(ended, word)| Told {
            entry: ended.entry(),
            recipient: &ended.outcome.lease.recipient,
            action: word.action,
            status: &word.status,
            reason: &word.reason,
            attempt: word.attempt,
            remote: word.said.as_ref().map(|said| Remote { host: &said.host, reply: said.reply.as_deref() }),
        })
        .collect();
    let notice =
        Notice { host: &config.name, envelope: &lease.envelope, told: &told, now: now(), front: &front, whole, most };
    let content = notice.message();
    store::Notice { envelope: notice.envelope(&content), content, entries: vec![to.clone()] }
}
