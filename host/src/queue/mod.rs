//! From the store to delivery and back: what is due is claimed, tried, and settled.
//!
//! Owns when something is tried, how often, and when it is given up. Refuses to know how mail is written and how
//! entries are stored. Fails never: what does not work now is tried later, and what never works ends as `failed` or
//! `held`, where `hermetic queue list` shows it.

mod schedule;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
};
use tracing::{error, warn};

use crate::{
    config::{Config, Queue},
    deliver::{Parcel, maildir::Maildirs},
    observe::{Address, Metrics, events},
    store::{Lease, MessageId, Route, Settlement, Store, sqlite::now},
};

/// Entries that one delivery task takes at a time.
const BATCH: usize = 64;
/// After a batch that was not full, so long is waited for company: folders are synced and entries settled once a batch,
/// so under load a batch of many costs little more than a batch of one. What comes after a longer silence never waits.
const GATHER: Duration = Duration::from_millis(50);
/// So long a task may work on its batch before others may try too. A batch is never near it, unless the disk stalls.
const LEASE: Duration = Duration::from_secs(900);
/// The wait after the store itself failed, and between looks at a queue on hold.
const PAUSE: Duration = Duration::from_secs(1);
/// Why relay mail is held.
pub const NEEDS_OUTBOUND: &str = "needs outbound delivery";

/// Where the mail of a canonical mailbox goes under a configuration; None if it is not configured.
pub type Places = fn(&Config, &str) -> Option<PathBuf>;

/// Delivers until `stop` is true or its sender is gone, then ends what is under way. A changed configuration is obeyed from the next batch on.
pub async fn run(
    store: Arc<dyn Store>,
    config: Arc<ArcSwap<Config>>,
    places: Places,
    metrics: Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
) {
    let maildirs = Arc::new(Maildirs::new(&config.load().name));
    let mut tasks = JoinSet::new();
    loop {
        let queue = config.load().queue.clone();
        let full = tasks.len() >= queue.concurrency.max(1);
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = tasks.join_next() => {
                report(ended);
                continue;
            }
            () = tokio::time::sleep(PAUSE), if queue.hold => continue,
            () = store.due(), if !full && !queue.hold => {}
        }
        let current = config.load_full();
        if current.queue.hold {
            continue;
        }
        match store.claim(now(), BATCH, LEASE).await {
            Ok(leases) if leases.is_empty() => {}
            Ok(leases) => {
                let few = leases.len() < BATCH;
                let (store, maildirs, metrics) = (store.clone(), maildirs.clone(), metrics.clone());
                tasks.spawn(async move {
                    let outcomes = attempt(&*store, &maildirs, &current, places, leases).await;
                    count(&metrics, &outcomes);
                    settle(&*store, outcomes).await;
                });
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
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        error!(%error, "a delivery task broke; its entries are tried again when their lease ends");
    }
}

/// Tries a batch; what became of it has yet to be settled.
async fn attempt(
    store: &dyn Store,
    maildirs: &Arc<Maildirs>,
    config: &Config,
    places: Places,
    leases: Vec<Lease>,
) -> Vec<(Lease, Settlement)> {
    let mut outcomes = Vec::with_capacity(leases.len());
    let mut local = Vec::with_capacity(leases.len());
    for lease in leases {
        match &lease.recipient.route {
            Route::Relay => {
                events::held(lease.entry, to(&lease), NEEDS_OUTBOUND);
                outcomes.push((lease, Settlement::Held { reason: NEEDS_OUTBOUND.into() }));
            }
            Route::Local(mailbox) => match places(config, mailbox) {
                Some(maildir) => local.push((lease, maildir)),
                None => {
                    let reason = format!("the mailbox {mailbox} is not configured any more");
                    outcomes.push(later(&config.queue, lease, reason));
                }
            },
        }
    }
    if !local.is_empty() {
        let parcels = pack(store, &config.queue, local, &mut outcomes).await;
        let maildirs = maildirs.clone();
        let delivered = spawn_blocking(move || {
            let results = maildirs.deliver(&parcels);
            parcels.into_iter().zip(results).collect::<Vec<_>>()
        });
        match delivered.await {
            Ok(delivered) => {
                outcomes.extend(delivered.into_iter().map(|(Parcel { lease, .. }, result)| match result {
                    Ok(_) => {
                        events::delivered(lease.entry, to(&lease), lease.attempts + 1);
                        (lease, Settlement::Delivered)
                    }
                    Err(error) => later(&config.queue, lease, error.to_string()),
                }))
            }
            Err(error) => error!(%error, "a delivery broke; its entries are tried again when their lease ends"),
        }
    }
    outcomes
}

fn count(metrics: &Metrics, outcomes: &[(Lease, Settlement)]) {
    for (_, outcome) in outcomes {
        match outcome {
            Settlement::Delivered => metrics.delivered(),
            Settlement::Retry { .. } => metrics.deferred(),
            Settlement::Failed { .. } => metrics.failed(),
            Settlement::Held { .. } => metrics.held(),
        }
    }
}

/// Fetches the bodies. What has none is an outcome already.
async fn pack(
    store: &dyn Store,
    queue: &Queue,
    leases: Vec<(Lease, PathBuf)>,
    outcomes: &mut Vec<(Lease, Settlement)>,
) -> Vec<Parcel> {
    let mut messages: Vec<MessageId> = leases.iter().map(|(lease, _)| lease.entry.message).collect();
    messages.sort_unstable();
    messages.dedup();
    let bodies = store.bodies(messages.clone()).await.into_iter().map(|body| body.map(Arc::new));
    let bodies: HashMap<_, _> = messages.into_iter().zip(bodies).collect();
    let mut parcels = Vec::with_capacity(leases.len());
    for (lease, maildir) in leases {
        match bodies.get(&lease.entry.message) {
            Some(Ok(body)) => parcels.push(Parcel { lease, body: body.clone(), maildir }),
            Some(Err(error)) => outcomes.push(later(queue, lease, error.to_string())),
            None => outcomes.push(later(queue, lease, "the store gave no body".into())),
        }
    }
    parcels
}

/// Tells the store, again and again until it listens: the lease says for how long that makes sense.
async fn settle(store: &dyn Store, outcomes: Vec<(Lease, Settlement)>) {
    for _ in 0..30 {
        match store.settle(outcomes.clone()).await {
            Ok(stale) => {
                for entry in stale {
                    warn!(%entry, "worked on for longer than its lease; the outcome does not count");
                }
                return;
            }
            Err(error) => events::store_failed(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tried again later, or given up if it is too old.
fn later(queue: &Queue, lease: Lease, reason: String) -> (Lease, Settlement) {
    let settlement = schedule::next(queue, lease.envelope.received_at, lease.attempts, now(), rand::random())
        .map_or_else(
            || Settlement::Failed { reason: format!("{reason}; given up after {} attempts", lease.attempts + 1) },
            |at| Settlement::Retry { at, reason: reason.clone() },
        );
    match &settlement {
        Settlement::Retry { at, reason } => events::deferred(lease.entry, to(&lease), lease.attempts + 1, *at, reason),
        _ => events::failed(lease.entry, to(&lease), lease.attempts + 1, &reason),
    }
    (lease, settlement)
}

/// The recipient, for a log line.
fn to(lease: &Lease) -> Address<'_> {
    Address::new(&lease.recipient.recipient.local, &lease.recipient.recipient.domain)
}
