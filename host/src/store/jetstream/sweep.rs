//! What nobody else would find: objects without a message, and entries without a ticket.
//!
//! Owns the look at everything, once in a long while and by whichever node comes to it. Refuses to decide anything: an object is
//! taken away only if nobody can still be writing its message, and an entry only gets a ticket, which is a hint. Fails with a
//! [`Fault`] and is done again.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::{
    Core,
    link::{ANSWER, Fault, Record},
    record::{Entry, decode, parse},
};
use crate::store::{EntryId, MessageId, sqlite::now};

/// An object may wait so long for its message, milliseconds.
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
    /// Objects whose messages began to arrive before this long ago, and entries that were due before that long ago.
    pub(super) async fn sweep(&self, writing: u64, overdue: u64) -> Result<Swept, Fault> {
        let mut swept = Swept::default();
        let lost = |error: &dyn std::fmt::Display| Fault::Unavailable(error.to_string());
        let mut objects = self.objects.list().await.map_err(|error| lost(&error))?;
        let mut old = Vec::new();
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| lost(&error))?;
            if let Ok(id) = MessageId::from_string(&object.name)
                && id.timestamp_ms() + writing <= now()
            {
                old.push(id);
            }
        }
        for id in old {
            let found = self.link.last(&self.link.names.message(id)).await?;
            if found.is_none_or(|found| found.payload.is_empty()) {
                self.objects.delete(id.to_string()).await.map_err(|error| lost(&error))?;
                swept.objects += 1;
            }
        }
        let ids = |subjects: Vec<String>| -> HashSet<EntryId> {
            subjects.iter().filter_map(|subject| parse(subject)).map(|(_, _, id)| id).collect()
        };
        let worked_on = ids(self.link.subjects(&self.link.names.all('l')).await?);
        for (subject, held) in self.link.scan(self.link.names.all('e')).await? {
            let Some((_, place, id)) = parse(&subject) else { continue };
            if held || worked_on.contains(&id) || id.message.timestamp_ms() + overdue > now() {
                continue;
            }
            let Some(found) = self.link.last(&subject).await?.filter(|found| !found.payload.is_empty()) else {
                continue;
            };
            let Ok((entry, _)) = decode::<Entry>(&found.payload) else { continue };
            if entry.held || entry.next + overdue > now() {
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
