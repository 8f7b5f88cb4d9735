//! What is written into the stream: the names of records and their octets, with a version.
//!
//! Owns the subjects, and the form of each record: one line of JSON that says how the octets behind it are divided, then these
//! octets. Refuses to know when anything is written. Fails on a record of a later version, or one that can not be read: then
//! its entry is left alone, and an error is logged.
//!
//! ```text
//!   NAME.e.WHERE.ULID.INDEX   an entry, and if it is the only one of a small message, the message's octets
//!   NAME.m.ULID               the octets of a message that several entries share; a large content is an object
//!   NAME.c.ULID               how many of its entries are left, and the index of the next one
//!   NAME.l.WHERE.ULID.INDEX   who works on an entry
//!   NAME.x.ULID.INDEX         a scheduled message: at its time the server makes a ticket of it
//!   NAME.d.WHERE.ULID.INDEX   a ticket: somebody is to look at this entry
//!   NAME.n.NODE               a node, and that it is alive
//!   NAME.w.NODE               there if a node is to take no more entries
//!   NAME.r.NODE.ULID          what a node's plugins are to be told
//! ```
//!
//! WHERE is `any`, or the node that alone can deliver this entry. Each subject holds its last record only; an empty one is the
//! mark of something that is gone, and vanishes by itself after [`MARK`].

use std::{sync::Arc, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::store::{EntryId, Envelope, MessageId, NewEntry, StoreError, Timestamp};

/// The form that this version writes. It reads all up to this one.
pub(super) const VERSION: u32 = 1;
/// How long the mark of something that is gone can be seen. Longer than any lease, and than whoever repeats what was not answered.
pub(super) const MARK: Duration = Duration::from_secs(120);
/// Entries that every node may work on.
pub(super) const ANY: &str = "any";

/// Where the octets of a message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum At {
    /// Behind the entry; the prefix has so many.
    Here(usize),
    /// In the message's own record.
    Message,
}

/// An entry as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) v: u32,
    #[serde(with = "shared")]
    pub(super) envelope: Arc<Envelope>,
    pub(super) entry: NewEntry,
    pub(super) recipients: u32,
    /// Why it is held, if it is, or what was last said of it.
    pub(super) reason: Option<String>,
    pub(super) held: bool,
    /// Not before.
    pub(super) next: Timestamp,
    pub(super) attempts: u32,
    pub(super) late: bool,
    /// Somebody had it and never said what came of it.
    #[serde(default)]
    pub(super) unsure: bool,
    pub(super) at: At,
    /// A ticket comes at its time; until then it is none itself.
    #[serde(default)]
    pub(super) scheduled: bool,
}

impl Entry {
    /// As it is when its message is accepted.
    pub(super) fn new(envelope: Arc<Envelope>, mut entry: NewEntry, recipients: u32, at: At) -> Self {
        let next = envelope.begins();
        let held = entry.held.take();
        let waits = (next > envelope.received_at).then(|| format!("held until {}, as its sender asked", date(next)));
        Self {
            v: VERSION,
            recipients,
            held: held.is_some(),
            reason: held.or(waits),
            next,
            attempts: 0,
            late: false,
            unsure: false,
            scheduled: false,
            at,
            envelope,
            entry,
        }
    }
}

/// RFC 3339.
fn date(at: Timestamp) -> jiff::Timestamp {
    i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok()).unwrap_or(jiff::Timestamp::MAX)
}

/// The octets of a message beside its entries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) v: u32,
    /// Octets of the prefix.
    pub(super) prefix: usize,
    /// The content is an object, of this many octets.
    pub(super) object: Option<u64>,
    /// Entries that were too many for the write that accepted it, with the envelope: see [`Count::rest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) more: Option<More>,
}

/// Entries that are still to be written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct More {
    #[serde(with = "shared")]
    pub(super) envelope: Arc<Envelope>,
    pub(super) entries: Vec<NewEntry>,
}

/// What several share is written for each.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(value: &Arc<T>, to: S) -> Result<S::Ok, S::Error> {
        T::serialize(value, to)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Arc<T>, D::Error> {
        T::deserialize(from).map(Arc::new)
    }
}

/// How many entries of a message are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Count {
    pub(super) v: u32,
    pub(super) left: u32,
    pub(super) next: u32,
    /// The content is an object.
    pub(super) object: bool,
    /// Entries from this index on are still to be written: [`Message::more`] has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rest: Option<u32>,
}

/// Who works on an entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Claimed {
    pub(super) v: u32,
    pub(super) node: String,
    pub(super) epoch: String,
    /// Attempts, the one that has begun included.
    pub(super) attempts: u32,
}

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    pub(super) v: u32,
    /// Its name.
    pub node: String,
    /// One run of it, or as much of one as it was not taken for dead.
    pub epoch: String,
    /// The version of its program.
    pub program: String,
    /// When this epoch began, milliseconds since 1970.
    pub since: Timestamp,
    /// Entries that it works on.
    pub leases: usize,
    /// It takes no more.
    pub draining: bool,
    /// Somebody has declared it dead: what it had is free.
    pub fenced: bool,
    /// How long it may be silent, milliseconds.
    pub lease: u64,
}

/// What plugins have yet to be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Due {
    pub(super) v: u32,
    pub(super) at: Timestamp,
    pub(super) tries: u32,
    pub(super) text: String,
}

/// The names below one prefix.
#[derive(Clone, Debug)]
pub(super) struct Names(pub(super) String);

impl Names {
    pub(super) fn entry(&self, place: &str, id: EntryId) -> String {
        format!("{}.e.{place}.{id}", self.0)
    }
    /// Wherever it is.
    pub(super) fn entries_of(&self, message: MessageId) -> String {
        format!("{}.e.*.{message}.*", self.0)
    }
    pub(super) fn entry_anywhere(&self, id: EntryId) -> String {
        format!("{}.e.*.{id}", self.0)
    }
    pub(super) fn lease(&self, place: &str, id: EntryId) -> String {
        format!("{}.l.{place}.{id}", self.0)
    }
    pub(super) fn ticket(&self, place: &str, id: EntryId) -> String {
        format!("{}.d.{place}.{id}", self.0)
    }
    pub(super) fn schedule(&self, id: EntryId) -> String {
        format!("{}.x.{id}", self.0)
    }
    pub(super) fn message(&self, id: MessageId) -> String {
        format!("{}.m.{id}", self.0)
    }
    pub(super) fn count(&self, id: MessageId) -> String {
        format!("{}.c.{id}", self.0)
    }
    pub(super) fn node(&self, node: &str) -> String {
        format!("{}.n.{node}", self.0)
    }
    pub(super) fn wish(&self, node: &str) -> String {
        format!("{}.w.{node}", self.0)
    }
    pub(super) fn report(&self, node: &str, id: &str) -> String {
        format!("{}.r.{node}.{id}", self.0)
    }
    /// A part of a message was brought here from elsewhere.
    pub(super) fn adopted(&self, id: MessageId, part: usize) -> String {
        format!("{}.a.{id}.{part}", self.0)
    }
    pub(super) fn all(&self, kind: char) -> String {
        format!("{}.{kind}.>", self.0)
    }
    pub(super) fn work(&self, place: &str) -> Vec<String> {
        vec![format!("{}.e.{place}.>", self.0), format!("{}.d.{place}.>", self.0)]
    }
}

/// Kind, where, and which entry, of `NAME.KIND.WHERE.ULID.INDEX`.
pub(super) fn parse(subject: &str) -> Option<(char, &str, EntryId)> {
    let mut parts = subject.rsplitn(5, '.');
    let (index, message, place, kind) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let id = EntryId { message: MessageId::from_string(message).ok()?, index: index.parse().ok()? };
    Some((kind.chars().next()?, place, id))
}

/// A line of JSON, then these octets.
pub(super) fn encode(head: &impl Serialize, octets: &[&[u8]]) -> Result<Bytes, StoreError> {
    let mut record = BytesMut::new().writer();
    serde_json::to_writer(&mut record, head).map_err(|error| StoreError::Failed(error.to_string()))?;
    let mut record = record.into_inner();
    record.put_u8(b'\n');
    octets.iter().for_each(|octets| record.extend_from_slice(octets));
    Ok(record.freeze())
}

/// The head of a record, and the octets behind it.
pub(super) fn decode<T: DeserializeOwned>(record: &Bytes) -> Result<(T, Bytes), StoreError> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    let end = record.iter().position(|octet| *octet == b'\n').unwrap_or(record.len());
    let head = &record[..end];
    let unread = |error: serde_json::Error| StoreError::Failed(format!("a record can not be read: {error}"));
    let Versioned { v } = serde_json::from_slice(head).map_err(unread)?;
    if v > VERSION {
        return Err(StoreError::Failed(format!(
            "a record of version {v} was written by a later hermetic; this one reads up to {VERSION}"
        )));
    }
    Ok((serde_json::from_slice(head).map_err(unread)?, record.slice((end + 1).min(record.len())..)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::store::{Address, Route};

    #[test]
    fn records_and_names() {
        let id = EntryId { message: MessageId::from(7u128), index: 12 };
        let names = Names("HERMETIC".into());
        assert_eq!(parse(&names.entry(ANY, id)), Some(('e', ANY, id)));
        assert_eq!(parse(&names.lease("mx-1", id)), Some(('l', "mx-1", id)));
        assert_eq!(parse("HERMETIC.n.mx-1"), None);

        let recipient = Address { local: "a\nb".into(), domain: "x.test".into() };
        let held = NewEntry { held: Some("odd".into()), ..NewEntry::to(recipient, Route::Relay) };
        let entry = Entry::new(Arc::default(), held, 3, At::Here(4));
        let record = encode(&entry, &[b"pre\n", b"content\n\0"]).unwrap();
        let (read, octets): (Entry, _) = decode(&record).unwrap();
        assert_eq!(
            (read.entry, read.held, read.reason.as_deref(), read.at),
            (entry.entry, true, Some("odd"), At::Here(4))
        );
        assert_eq!(&octets[..], b"pre\ncontent\n\0");
    }

    #[test]
    fn a_later_version_is_left_alone() {
        let error = decode::<Count>(&Bytes::from_static(b"{\"v\":2,\"new\":true}\n")).unwrap_err().to_string();
        assert!(error.contains("written by a later hermetic"), "{error}");
        for damaged in ["", "\n", "{}", "{\"v\":1}\n", "x\n"] {
            assert!(decode::<Count>(&Bytes::from_static(damaged.as_bytes())).is_err(), "{damaged:?}");
        }
    }
}
