//! What nobody else would find: objects without a message, and entries without a ticket.
//!
//! Owns the look at everything, once in a long while and by whichever node comes to it. Refuses to decide anything: an object is
//! taken away only if nobody can still be writing its message, and an entry only gets a ticket, which is a hint. Fails with a
//! [`Fault`] and is done again.

use std::collections::HashSet;

use bytes::Bytes;

use super::{
    Core,
    link::{ANSWER, Fault, Record, With},
    record::{Entry, decode, parse},
};
use crate::store::{Timestamp, sqlite::now};

/// An object may wait so long for its message, milliseconds by the servers' clock.
const WRITING: u64 = 3_600_000;
/// An entry that should have been looked at so long ago has no ticket, milliseconds.
const OVERDUE: u64 = 900_000;

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    pub(super) objects: usize,
    pub(super) tickets: usize,
}

impl Core {
    /// Objects that were written before this long ago, and entries that were due before that long ago.
    pub(super) async fn sweep(&self, writing: u64, overdue: u64) -> Result<Swept, Fault> {
        let is_there = async |id| {
            let found = self.link.last(&self.link.names.message(id)).await?;
            Ok(found.is_some_and(|found| !found.payload.is_empty()))
        };
        let mut swept = Swept { objects: self.objects.sweep(writing, is_there).await?, tickets: 0 };
        // Where there is the mark of a lease somebody was at work a moment ago.
        let leases = self.link.scan_all(self.link.names.all('l'), With::Headers).await?;
        let worked_on: HashSet<_> =
            leases.iter().filter_map(|lease| parse(&lease.subject)).map(|(.., id)| id).collect();
        for listed in self.link.scan(self.link.names.all('e'), With::Headers).await? {
            let Some((_, place, id)) = parse(&listed.subject) else { continue };
            let is_late = |next: Timestamp| next.saturating_add(overdue) <= now();
            if listed.held || worked_on.contains(&id) || !listed.next.is_none_or(is_late) {
                continue;
            }
            let Some(found) = self.link.last(&listed.subject).await?.filter(|found| !found.payload.is_empty()) else {
                continue;
            };
            let Ok((entry, _)) = decode::<Entry>(&found.payload) else { continue };
            if entry.held || !is_late(entry.next) {
                continue;
            }
            let ticket = Record::new(self.link.names.ticket(place, id), Bytes::from_static(b"t"));
            self.link.put(ticket, &format!("w.{id}.{}", found.sequence), ANSWER).await?;
            swept.tickets += 1;
        }
        Ok(swept)
    }

    /// As often as is enough.
    pub(super) async fn sweep_now_and_then(&self) {
        loop {
            let wait = std::time::Duration::from_secs(1800 + rand::random::<u64>() % 1800);
            tokio::time::sleep(wait).await;
            match self.sweep(WRITING, OVERDUE).await {
                Ok(swept) if swept == Swept::default() => {}
                Ok(Swept { objects, tickets }) => {
                    tracing::warn!(
                        objects,
                        tickets,
                        "contents that nobody named were removed, and entries that had no ticket got one"
                    );
                }
                Err(error) => tracing::warn!(?error, "the store was not swept"),
            }
        }
    }
}
