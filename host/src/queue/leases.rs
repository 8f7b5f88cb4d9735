//! The right to an entry, for as long as it is worked on or waits in memory for its turn.
//!
//! Owns when leases are renewed, and the question, before something is sent, whether they still hold. Refuses to know what is
//! done with them. A lease may be lost all the same, as when the machine stood still for longer than it lasts: then somebody
//! else has the entry, nothing more is sent for it here, and what was settled of it would not count. While the store does
//! not answer nothing is renewed, and nothing is sent.

use std::{convert::Infallible, future::Future};

use async_trait::async_trait;

use super::{PAUSE, Shared};
use crate::{
    deliver::smtp::courier::Leases,
    observe::events,
    store::{EntryId, Lease, Right},
};

/// Times that a lease is renewed before it would end, so that one that fails is made up for.
const RENEWED: u32 = 3;

/// What works with leases.
pub(super) fn rights<'a>(leases: impl IntoIterator<Item = &'a Lease>) -> Vec<Right> {
    leases.into_iter().map(Lease::right).collect()
}

/// Does the work, for as long as it needs; meanwhile the leases go on.
pub(super) async fn kept<T>(shared: &Shared, rights: Vec<Right>, work: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = work => done,
        never = renewed(shared, rights) => match never {},
    }
}

async fn renewed(shared: &Shared, rights: Vec<Right>) -> Infallible {
    loop {
        tokio::time::sleep(shared.lease / RENEWED).await;
        // A stale one stays so: whoever works with it finds that before it sends, or when it settles.
        let _ = stale(shared, rights.clone()).await;
    }
}

/// Those that still hold, and go on from now. While the store does not say, it is asked again: what is let go of without a word to the
/// store would rest until its lease ends. None hold if the queue stops first.
pub(super) async fn holding(shared: &Shared, leases: Vec<Lease>) -> Vec<Lease> {
    let stale = loop {
        match stale(shared, rights(&leases)).await {
            Some(stale) => break stale,
            None if shared.bell.is_stopping() => return Vec::new(),
            None => tokio::time::sleep(PAUSE).await,
        }
    };
    let (lost, holding): (Vec<_>, Vec<_>) = leases.into_iter().partition(|lease| stale.contains(&lease.entry));
    for lease in lost {
        tracing::warn!(entry = %lease.entry, "its turn came after the end of its lease; nothing is sent");
    }
    holding
}

#[async_trait]
impl Leases for Shared {
    async fn lost(&self, leases: &[&Lease]) -> Vec<EntryId> {
        let all = || leases.iter().map(|lease| lease.entry).collect();
        stale(self, rights(leases.iter().copied())).await.unwrap_or_else(all)
    }
}

/// Renews all of them but these, which are stale; None: the store does not say.
async fn stale(shared: &Shared, rights: Vec<Right>) -> Option<Vec<EntryId>> {
    match shared.store.renew(rights, shared.lease).await {
        Ok(stale) => Some(stale),
        Err(error) => {
            events::store_failed(error);
            None
        }
    }
}
