//! Mail that the store of one machine had, with all that had become of it by then.
//!
//! Owns how it is written so that it is there once, however often it is brought. Refuses to take it out of where it was: whoever
//! brings it does that when it is here. Fails with [`StoreError`]; then it is brought again.
//!
//! Ids stay, so copies in Maildirs are found by their names. Each write has a mark that it was made, which outlives the mail: a message that
//! is brought again after it was delivered here is not taken again.

use std::path::Path;

use super::{
    Core, Placement,
    letter::{self, FIRST, INLINE},
    link::{Fault, Record},
    open::{OpenError, Settings},
    record::{ANY, At, Count, Due, Entry, Message, VERSION, encode},
    settle::PATIENCE,
    work::unique,
};
use crate::store::{Body, Content, Details, EntryId, NewEntry, Report, StoreError, sqlite::now};

/// See the module.
pub struct Adopter(Core);

impl Adopter {
    /// `data` is the folder for large contents on their way; `placement` is as for a node.
    pub async fn open(settings: &Settings, data: &Path, placement: Placement) -> Result<Self, OpenError> {
        Ok(Self(Core::beside(settings, data, placement).await?))
    }

    /// Writes a message with the entries that are left of it. False: that was done before.
    pub async fn adopt(&self, details: &Details, body: Body) -> Result<bool, StoreError> {
        let Core { link, placement, objects, .. } = &self.0;
        let Details { id, envelope, entries } = details;
        let mark = |part: usize| Record::new(link.names.adopted(*id, part), "a".into()).after(0).for_days(30);
        let mut anything = false;
        let mut body = Some(body);
        for (part, some) in entries.chunks(FIRST).enumerate() {
            let done = link.last(&link.names.adopted(*id, part)).await?.is_some();
            // The first part has the octets.
            let octets = body.take();
            if done {
                continue;
            }
            let mut records = vec![mark(part)];
            if let Some(Body { prefix, content }) = octets {
                let (object, content) = match content {
                    Content::Inline(content) if content.len() <= INLINE => (None, content),
                    Content::Inline(content) => {
                        let size = content.len() as u64;
                        objects.put(*id, &mut std::io::Cursor::new(content), size).await?;
                        (Some(size), Vec::new())
                    }
                    Content::File(file) => {
                        let size = file.metadata().map_err(|error| StoreError::Failed(error.to_string()))?.len();
                        objects.put(*id, &mut tokio::fs::File::from_std(file), size).await?;
                        (Some(size), Vec::new())
                    }
                };
                let left = u32::try_from(entries.len()).unwrap_or(u32::MAX);
                let places = entries.iter().filter_map(|one| one.listed.entry.parse::<EntryId>().ok());
                let next = places.map(|id| id.index + 1).max().unwrap_or(0);
                let count = Count { v: VERSION, left, next, object: object.is_some(), rest: None };
                let message = Message { v: VERSION, prefix: prefix.len(), object, more: None };
                letter::apart(link, *id, &message, &[&prefix, &content], count, &mut records)?;
            }
            for detail in some {
                let place = placement(&detail.entry).unwrap_or_else(|| ANY.into());
                let id = detail.listed.entry.parse().map_err(|why: String| StoreError::Failed(why))?;
                let entry = Entry {
                    v: VERSION,
                    envelope: envelope.clone(),
                    // Whether it is held the record itself says.
                    entry: NewEntry { held: None, ..detail.entry.clone() },
                    recipients: u32::try_from(entries.len()).unwrap_or(u32::MAX),
                    reason: detail.listed.reason.clone(),
                    held: detail.listed.next_attempt.is_none(),
                    next: detail.listed.next_attempt.unwrap_or_else(now),
                    attempts: detail.listed.attempts,
                    late: detail.late,
                    unsure: detail.listed.attempts > 0,
                    at: At::Message,
                    scheduled: false,
                };
                letter::planned(link, &place, id, entry, &[], &mut records)?;
            }
            match link.commit(records, &format!("a.{id}.{part}.{}", unique()), PATIENCE).await {
                Ok(_) => anything = true,
                // A try before this one, whose answer was lost.
                Err(Fault::Conflict) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(anything)
    }

    /// What the plugins of this node have yet to be told. Brought again it is told again.
    pub async fn adopt_report(&self, report: &Report) -> Result<(), StoreError> {
        let Core { link, presence, .. } = &self.0;
        let due = Due { v: VERSION, at: now(), tries: report.tries, text: report.text.clone() };
        let record = Record::new(link.names.report(&presence.node, &unique()), encode(&due, &[])?);
        Ok(link.put(record, &format!("r.{}", unique()), PATIENCE).await.map(drop)?)
    }
}
