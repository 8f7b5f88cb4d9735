//! A message as records: what is written when it is accepted.
//!
//! Owns which octets are where: a small message with one recipient is one record with everything in it; otherwise there is one with
//! the octets, one with the number of entries, and one for each entry, all written at once. Refuses to know who writes them.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    link::{Fault, Link, Record},
    record::{At, Count, Entry, Message, More, VERSION, encode},
};
use crate::store::{EntryId, Envelope, MessageId, NewEntry, StoreError, sqlite::now};

/// Contents up to this are in a record; larger ones are objects.
pub(super) const INLINE: usize = 64 * 1024;
/// An entry's record with its message's octets has at most so many.
const WITH_ENTRY: usize = 96 * 1024;

/// Entries that the write has that accepts a message; each may need a schedule.
pub(super) const FIRST: usize = 440;

/// The content of a message.
#[derive(Clone, Debug)]
pub(super) enum Octets {
    /// Here.
    Inline(Vec<u8>),
    /// An object of this size, which is there already.
    Object(u64),
}

/// Where an entry's work is to be done.
pub type Placement = Arc<dyn Fn(&NewEntry) -> Option<String> + Send + Sync>;

/// The record of an entry.
pub(super) fn entry(
    link: &Link,
    place: &str,
    id: EntryId,
    entry: &Entry,
    octets: &[&[u8]],
) -> Result<Record, StoreError> {
    let record = Record::new(link.names.entry(place, id), encode(entry, octets)?);
    Ok(if entry.held { record.held() } else { record.due(entry.next) })
}

/// The records of an entry that is to be looked at at its time, or as soon as it is written.
pub(super) fn planned(
    link: &Link,
    place: &str,
    id: EntryId,
    mut new: Entry,
    octets: &[&[u8]],
    records: &mut Vec<Record>,
) -> Result<(), StoreError> {
    new.scheduled = !new.held && new.next > now();
    records.push(entry(link, place, id, &new, octets)?);
    if new.scheduled {
        records.push(Record::scheduled(link.names.schedule(id), &link.names.ticket(place, id), new.next));
    }
    Ok(())
}

/// All records of a message.
pub(super) fn records(
    link: &Link,
    placement: &Placement,
    id: MessageId,
    envelope: Arc<Envelope>,
    prefix: &[u8],
    octets: &Octets,
    entries: Vec<NewEntry>,
) -> Result<Vec<Record>, StoreError> {
    let n = u32::try_from(entries.len()).map_err(|error| StoreError::Failed(error.to_string()))?;
    let place = |entry: &NewEntry| placement(entry).unwrap_or_else(|| super::record::ANY.into());
    let mut records = Vec::with_capacity(entries.len() + 2);
    if let Octets::Inline(content) = octets
        && n == 1
        && prefix.len() + content.len() <= WITH_ENTRY
    {
        for one in entries {
            let place = place(&one);
            let new = Entry::new(envelope.clone(), one, 1, At::Here(prefix.len()));
            planned(link, &place, EntryId { message: id, index: 0 }, new, &[prefix, content], &mut records)?;
        }
        return Ok(records);
    }
    let rest = entries.get(FIRST..).filter(|rest| !rest.is_empty()).map(<[NewEntry]>::to_vec);
    let (object, content) = match octets {
        Octets::Inline(content) => (None, content.as_slice()),
        Octets::Object(size) => (Some(*size), &[][..]),
    };
    let from = rest.as_ref().map(|_| FIRST as u32);
    let count = Count { v: VERSION, left: n, next: n, object: object.is_some(), rest: from };
    let message = Message {
        v: VERSION,
        prefix: prefix.len(),
        object,
        more: rest.map(|entries| More { envelope: envelope.clone(), entries }),
    };
    apart(link, id, &message, &[prefix, content], count, &mut records)?;
    for (one, index) in entries.into_iter().take(FIRST).zip(0..) {
        let place = place(&one);
        let new = Entry::new(envelope.clone(), one, n, At::Message);
        planned(link, &place, EntryId { message: id, index }, new, &[], &mut records)?;
    }
    Ok(records)
}

/// The octets of a message that several entries share, and their number.
pub(super) fn apart(
    link: &Link,
    id: MessageId,
    message: &Message,
    octets: &[&[u8]],
    count: Count,
    records: &mut Vec<Record>,
) -> Result<(), StoreError> {
    records.push(Record::new(link.names.message(id), encode(message, octets)?));
    records.push(Record::new(link.names.count(id), encode(&count, &[])?));
    Ok(())
}

/// Writes the entries that were too many for the write that accepted a message. Whoever finds some unwritten does it: an index is written
/// once, together with the count that says so.
pub(super) async fn finish(link: &Link, placement: &Placement, id: MessageId) -> Result<(), Fault> {
    while let Some((count, sequence)) = self::count(link, id).await?
        && let Some(from) = count.rest
    {
        let found = link.last(&link.names.message(id)).await?.filter(|found| !found.payload.is_empty());
        let Some(found) = found else { return Ok(()) };
        let unreadable = |error: StoreError| Fault::Unreadable(error.to_string());
        let (message, _) = super::record::decode::<Message>(&found.payload).map_err(unreadable)?;
        let Some(More { envelope, entries: more }) = message.more else { return Ok(()) };
        let done = (from as usize).saturating_sub(FIRST);
        let mut records = Vec::new();
        for (one, index) in more.iter().skip(done).take(FIRST).zip(from..) {
            let place = placement(one).unwrap_or_else(|| super::record::ANY.into());
            let recipients = u32::try_from(FIRST + more.len()).unwrap_or(u32::MAX);
            let new = Entry::new(envelope.clone(), one.clone(), recipients, At::Message);
            planned(link, &place, EntryId { message: id, index }, new, &[], &mut records).map_err(unreadable)?;
        }
        let left = more.len().saturating_sub(done + FIRST);
        let rest = (left > 0).then(|| from + FIRST as u32);
        let count = encode(&Count { rest, ..count }, &[]).map_err(unreadable)?;
        records.push(Record::new(link.names.count(id), count).after(sequence));
        match link.commit(records, &format!("m.{id}.{from}.{sequence}"), super::settle::PATIENCE).await {
            // Some of the others ended meanwhile.
            Ok(_) | Err(Fault::Conflict) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

/// A message's count, and the number of its record.
pub(super) async fn count(link: &Link, id: MessageId) -> Result<Option<(Count, u64)>, Fault> {
    let found = link.last(&link.names.count(id)).await?.filter(|found| !found.payload.is_empty());
    let Some(found) = found else { return Ok(None) };
    let (count, _) = super::record::decode(&found.payload).map_err(|error| Fault::Unreadable(error.to_string()))?;
    Ok(Some((count, found.sequence)))
}

/// Prefix and content of octets that begin with a prefix of this length.
pub(super) fn split(octets: &Bytes, prefix: usize) -> (Vec<u8>, Vec<u8>) {
    let (prefix, content) = octets.split_at(prefix.min(octets.len()));
    (prefix.to_vec(), content.to_vec())
}
