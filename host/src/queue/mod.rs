//! From the store to delivery and back: what is due is claimed, tried, and settled.
//!
//! Owns when something is tried, how often, when it is given up, and who is told. Refuses to know how mail is written, how
//! entries are stored and who judges. Fails never: what does not work now is tried later, and what never works is told to its
//! sender or ends as `held`, where `hermetic queue list` shows it.
//!
//! An entry is delivered to its Maildir, by LMTP to whom `domain.deliver` names, or by the first plugin of its chain that has the
//! hook `delivery` and the grant. Entries that wait for plugins go by lanes of their own ([`lanes`]), those for other servers by
//! destination ([`destinations`]), the others in batches.

mod bell;
mod carrier;
mod destinations;
mod ending;
mod facts;
mod lanes;
mod leases;
mod notices;
mod plugins;
mod relay;
mod reports;
mod rules;
mod schedule;
mod shape;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
};
use tracing::{error, warn};

pub use self::{
    bell::{Bell, Orders},
    carrier::Carrier,
    reports::dropped,
    rules::{Judged, Rules},
};
use self::{destinations::Destinations, ending::End, lanes::Lanes, notices::Ended, plugins::Work, shape::Wait};
use crate::{
    config::Config,
    deliver::{Parcel, maildir::Maildirs},
    observe::{
        Address, Metrics, events,
        point::{Point, pass},
    },
    store::{Lease, MessageId, Outcome, Pending, Route, Settlement, Store, sqlite::now},
};

/// Entries that one delivery task takes at a time.
const BATCH: usize = 64;
/// After a batch that was not full, so long is waited for company: folders are synced and entries settled once a batch,
/// so under load a batch of many costs little more than a batch of one. What comes after a longer silence never waits.
const GATHER: Duration = Duration::from_millis(50);
/// So long after it was last heard of is a task taken for dead, and others may try. Whoever works says so three times as often.
const LEASE: Duration = Duration::from_secs(900);
/// Where a copy could not be looked for, it is looked for again after so long, milliseconds.
const LOOK_AGAIN: u64 = 30_000;
/// A queue that stops asks a store that fails no more often than this to settle something.
const LAST_TRIES: u32 = 30;
/// The wait after the store itself failed, and between looks at a queue on hold.
const PAUSE: Duration = Duration::from_secs(1);
/// Why relay mail is held.
pub const NEEDS_OUTBOUND: &str = "needs outbound delivery";

/// Where the mail of a canonical mailbox goes under a configuration; None if it is not configured.
pub type Places = fn(&Config, &str) -> Option<PathBuf>;

/// What all deliveries share.
struct Shared {
    store: Arc<dyn Store>,
    config: Arc<ArcSwap<Config>>,
    places: Places,
    rules: Arc<dyn Rules>,
    metrics: Arc<Metrics>,
    maildirs: Arc<Maildirs>,
    /// Takes mail to other servers; without it, it is held.
    courier: Option<Arc<dyn Carrier>>,
    bell: Arc<Bell>,
    /// How long leases last: [`LEASE`].
    lease: Duration,
}

/// Delivers until `stop` is true or its sender is gone, then ends what is under way. A changed configuration is obeyed from the next batch on.
pub async fn run(
    store: Arc<dyn Store>,
    config: Arc<ArcSwap<Config>>,
    places: Places,
    rules: Arc<dyn Rules>,
    courier: Option<Arc<dyn Carrier>>,
    metrics: Arc<Metrics>,
    orders: impl Into<Orders>,
) {
    let Orders { stop, bell } = orders.into();
    let maildirs = Arc::new(Maildirs::new(&config.load().name));
    let lease = LEASE;
    deliver(Arc::new(Shared { store, config, places, rules, metrics, maildirs, courier, bell, lease }), stop).await;
}

async fn deliver(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let reports = tokio::spawn(reports::run(shared.clone(), stop.clone()));
    let (mut lanes, mut destinations) = (Lanes::default(), Destinations::default());
    let (mut tasks, mut slow) = (JoinSet::new(), JoinSet::new());
    loop {
        let queue = shared.config.load().queue.clone();
        let full = tasks.len() >= queue.concurrency.max(1);
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = tasks.join_next() => {
                report(ended);
                continue;
            }
            Some(ended) = slow.join_next() => {
                report(ended);
                continue;
            }
            () = tokio::time::sleep(PAUSE), if queue.hold => continue,
            () = shared.store.due(), if !full && !queue.hold => {}
        }
        let current = shared.config.load_full();
        if current.queue.hold {
            continue;
        }
        if shared.bell.take_wanted_now() {
            destinations.wake(now());
        }
        match shared.store.claim(now(), BATCH, shared.lease).await {
            Ok(leases) if leases.is_empty() => {}
            Ok(leases) => {
                let sharing = shared.store.sharing();
                pass(Point::Sorted);
                let few = leases.len() < BATCH;
                let mut batch = Vec::with_capacity(leases.len());
                let mut relayed = Vec::new();
                for lease in leases {
                    // What is only to be told comes too late for nobody.
                    let told = matches!(lease.recipient.pending, Pending::Bounce { .. } | Pending::Expanded);
                    if relay::is_overdue(&lease) && !told {
                        batch.push((lease, Some(End::Overdue)));
                        continue;
                    }
                    let Some(work) = Work::of(&shared, &lease) else {
                        match relay::is_for(&shared, &current, &lease) {
                            true => relayed.push(lease),
                            false => batch.push((lease, None)),
                        }
                        continue;
                    };
                    let (lane, limit) = work.lane(&current);
                    match lanes.enter(&lane, limit, now()) {
                        Err(at) => batch.push((lease, Some(End::Postponed(Wait { at, reason: None })))),
                        Ok(place) => {
                            let (shared, current, mut stop) = (shared.clone(), current.clone(), stop.clone());
                            let rights = leases::rights([&lease]);
                            slow.spawn(async move {
                                let work = async {
                                    // Without a turn it stays as it was, and the next start finds it.
                                    let Some(_turn) = place.turn(&mut stop).await else { return };
                                    if let Some(lease) = leases::holding(&shared, vec![lease]).await.pop() {
                                        work.attempt(shared.clone(), current, lease).await;
                                    }
                                };
                                leases::kept(&shared, rights, work).await;
                            });
                        }
                    }
                }
                for shipment in relay::shipments(relayed) {
                    match destinations.enter(shipment.domain(), &shipment.terms(&current, sharing), now()) {
                        Err(wait) => {
                            let away = |lease| (lease, Some(End::Postponed(wait.clone())));
                            batch.extend(shipment.leases.into_iter().map(away));
                        }
                        Ok(place) => {
                            slow.spawn(shipment.wait(shared.clone(), current.clone(), place, stop.clone()));
                        }
                    }
                }
                if !batch.is_empty() {
                    let (shared, current) = (shared.clone(), current.clone());
                    let rights = leases::rights(batch.iter().map(|(lease, _)| lease));
                    tasks.spawn(async move {
                        let work = async {
                            let ended = attempt(&shared, &current, batch).await;
                            settle(&shared, &current, ended).await;
                        };
                        leases::kept(&shared, rights, work).await;
                    });
                }
                if few {
                    tokio::time::sleep(GATHER).await;
                }
            }
            Err(error) => {
                events::store_failed(error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    shared.bell.stop();
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
    while let Some(ended) = slow.join_next().await {
        report(ended);
    }
    report(reports.await);
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        error!(%error, "a delivery task broke; its entries are tried again when their lease ends");
    }
}

/// The Maildir that an entry is delivered to, if it is to be by us.
fn maildir(shared: &Shared, config: &Config, lease: &Lease) -> Option<PathBuf> {
    match &lease.recipient.route {
        Route::Local(mailbox) if !relay::by_lmtp(config, mailbox) => (shared.places)(config, mailbox),
        Route::Local(_) | Route::Relay => None,
    }
}

/// Tries a batch, save for what has ended already; what became of it has yet to be settled. What came too late may have been
/// delivered in time, if the record of that was lost: its copy is looked for.
async fn attempt(shared: &Shared, config: &Arc<Config>, batch: Vec<(Lease, Option<End>)>) -> Vec<Ended> {
    let mut ended = Vec::with_capacity(batch.len());
    let mut local = Vec::with_capacity(batch.len());
    let mut overdue = Vec::new();
    for (lease, end) in batch {
        let maildir = maildir(shared, config, &lease);
        if let Some(end) = end {
            match (end, maildir) {
                (End::Overdue, Some(maildir)) if lease.unsure => overdue.push((lease, maildir)),
                (end, _) => ended.push((lease, end)),
            }
            continue;
        }
        let told = match &lease.recipient.pending {
            Pending::Bounce { status, reason } => Some(End::Failed { status: status.clone(), reason: reason.clone() }),
            Pending::Expanded => Some(End::Expanded),
            Pending::Nothing | Pending::Rejudge { .. } => None,
        };
        if let Some(end) = told {
            ended.push((lease, end));
            continue;
        }
        if let Some(maildir) = maildir {
            local.push((lease, maildir));
            continue;
        }
        let end = match &lease.recipient.route {
            Route::Local(mailbox) if !relay::by_lmtp(config, mailbox) => {
                End::Later { reason: format!("the mailbox {mailbox} is not configured any more"), after: None }
            }
            Route::Local(_) | Route::Relay => End::Held(NEEDS_OUTBOUND.into()),
        };
        ended.push((lease, end));
    }
    if !overdue.is_empty() {
        let maildirs = shared.maildirs.clone();
        let looked = spawn_blocking(move || {
            let results = maildirs.delivered(&overdue);
            overdue.into_iter().zip(results).collect::<Vec<_>>()
        });
        match looked.await {
            Ok(looked) => ended.extend(looked.into_iter().map(|((lease, _), found)| match found {
                Ok(true) => (lease, End::Delivered),
                Ok(false) => (lease, End::Overdue),
                // To try again is too late; only to look again is not.
                Err(error) => (lease, End::Postponed(Wait { at: now() + LOOK_AGAIN, reason: Some(error.to_string()) })),
            })),
            Err(error) => error!(%error, "a delivery broke; its entries are tried again when their lease ends"),
        }
    }
    if !local.is_empty() {
        let parcels = pack(&*shared.store, local, &mut ended).await;
        let maildirs = shared.maildirs.clone();
        let delivered = spawn_blocking(move || {
            let results = maildirs.deliver(&parcels);
            parcels.into_iter().zip(results).collect::<Vec<_>>()
        });
        match delivered.await {
            Ok(delivered) => ended.extend(delivered.into_iter().map(|(Parcel { lease, .. }, result)| match result {
                Ok(_) => (lease, End::Delivered),
                Err(error) => (lease, End::Later { reason: error.to_string(), after: None }),
            })),
            Err(error) => error!(%error, "a delivery broke; its entries are tried again when their lease ends"),
        }
    }
    ended.into_iter().map(|(lease, end)| ending::outcome(shared, config, lease, end, None)).collect()
}

fn count(metrics: &Metrics, ended: &[Ended]) {
    for one in ended {
        match one.outcome.settlement {
            Settlement::Delivered => metrics.delivered(),
            Settlement::Retry { .. } => metrics.deferred(),
            Settlement::Failed { .. } => metrics.failed(),
            Settlement::Held { .. } => metrics.held(),
            Settlement::Postponed { .. } | Settlement::Becomes(_) => {}
        }
    }
}

/// Fetches the bodies. What has none has ended already.
async fn pack(store: &dyn Store, leases: Vec<(Lease, PathBuf)>, ended: &mut Vec<(Lease, End)>) -> Vec<Parcel> {
    let mut messages: Vec<MessageId> = leases.iter().map(|(lease, _)| lease.entry.message).collect();
    messages.sort_unstable();
    messages.dedup();
    let bodies = store.bodies(messages.clone()).await.into_iter().map(|body| body.map(Arc::new));
    let bodies: HashMap<_, _> = messages.into_iter().zip(bodies).collect();
    let mut parcels = Vec::with_capacity(leases.len());
    for (lease, maildir) in leases {
        let reason = match bodies.get(&lease.entry.message) {
            Some(Ok(body)) => {
                parcels.push(Parcel { lease, body: body.clone(), maildir });
                continue;
            }
            Some(Err(error)) => error.to_string(),
            None => "the store gave no body".into(),
        };
        ended.push((lease, End::Later { reason, after: None }));
    }
    parcels
}

/// Tells the store, again and again until it listens: its leases go on meanwhile, for what another server has taken would be sent
/// again without them. Only when the queue stops is there an end to that.
///
/// What senders are told is stored by the same transaction. The recipients of a message share a notice, and then the store
/// settles all of them or none: if the lease of one is stale, the others are settled again, each with a notice of its own.
async fn settle(shared: &Shared, config: &Config, mut ended: Vec<Ended>) {
    count(&shared.metrics, &ended);
    let mut outcomes = notices::written(config, &*shared.store, &ended, true).await;
    pass(Point::Ended);
    let mut tries = 0;
    while tries < LAST_TRIES || !shared.bell.is_stopping() {
        tries += 1;
        match shared.store.settle(outcomes.clone()).await {
            Ok(refused) => {
                pass(Point::Settled);
                let refused: HashSet<_> = refused.into_iter().collect();
                let settled = |outcome: &&Outcome| !refused.contains(&outcome.lease.entry);
                if outcomes.iter().filter(settled).any(|outcome| outcome.report.is_some()) {
                    shared.bell.reported();
                }
                if outcomes.iter().filter(settled).any(|outcome| needs_outbound(&outcome.settlement)) {
                    release(shared).await;
                }
                let shared_notice: HashSet<_> = outcomes.iter().filter_map(|outcome| outcome.told_with).collect();
                ended.retain(|one| refused.contains(&one.entry()));
                for entry in ended.iter().map(Ended::entry).filter(|_| shared_notice.is_empty()) {
                    warn!(%entry, "worked on for longer than its lease; the outcome does not count");
                }
                if ended.is_empty() || shared_notice.is_empty() {
                    return;
                }
                outcomes = notices::written(config, &*shared.store, &ended, false).await;
                continue;
            }
            Err(error) => events::store_failed(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn needs_outbound(settlement: &Settlement) -> bool {
    matches!(settlement, Settlement::Held { reason } if reason == NEEDS_OUTBOUND)
}

/// Something was held for want of outbound delivery, perhaps by a configuration that was replaced meanwhile: whoever did that
/// has released what was held by then, and not this.
async fn release(shared: &Shared) {
    let goes = shared.courier.is_some() && !shared.config.load().outbound.hold;
    if goes && let Err(error) = shared.store.release(NEEDS_OUTBOUND).await {
        events::store_failed(error);
    }
}

/// The recipient, for a log line.
fn to(lease: &Lease) -> Address<'_> {
    Address::new(&lease.recipient.recipient.local, &lease.recipient.recipient.domain)
}
