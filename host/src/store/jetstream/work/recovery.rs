//! Leases of nodes that are dead, and leases that this node has without knowing it.
//!
//! Owns the look at all leases. Refuses to decide who is dead. Fails with a [`Fault`] and is done again; repeated, it does nothing new.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::{Ready, Work};
use crate::store::{
    EntryId,
    jetstream::{
        link::{ANSWER, Fault, Found, Listed, Record, With},
        presence::on,
        record::{Claimed, Entry, decode, parse},
    },
    sqlite::now,
};

/// Questions and writes under way at a time while a dead node is taken over from.
const RECOVERIES: usize = 64;

impl Work {
    /// Writes tickets for what dead nodes had, and looks at what this one has without knowing it. Repeated, it does nothing new. `all`:
    /// those leases too that the server that lists them does not know yet, or knows as ended.
    pub(in crate::store::jetstream) async fn recover(&self, all: bool) -> Result<usize, Fault> {
        let names = self.link.names.all('l');
        let listed = self.link.scan(names.clone(), With::Payload).await?;
        let seen: HashSet<String> = listed.iter().map(|listed| listed.subject.clone()).collect();
        let found =
            listed.into_iter().map(|Listed { subject, payload, sequence, .. }| Found { subject, sequence, payload });
        let mut recovered = self.recover_some(found.collect()).await?;
        if all {
            recovered += self.recover_some(self.link.unseen(&names, &seen).await?).await?;
        }
        Ok(recovered)
    }

    async fn recover_some(&self, leases: Vec<Found>) -> Result<usize, Fault> {
        let (mut over, mut free, mut unknown) = (HashMap::new(), Vec::new(), Vec::new());
        for Found { subject, payload, sequence } in &leases {
            let Ok((claimed, _)) = decode::<Claimed>(payload) else { continue };
            if claimed.epoch == self.presence.epoch() {
                unknown.extend(parse(subject).map(|(_, place, id)| (place, id)));
                continue;
            }
            let key = (claimed.node, claimed.epoch);
            let dead = match over.get(&key) {
                Some(dead) => *dead,
                None => {
                    let dead = self.presence.is_over(&key.0, &key.1).await?;
                    over.insert(key, dead);
                    dead
                }
            };
            if dead && let Some((_, place, id)) = parse(subject) {
                free.push((self.link.names.ticket(place, id), format!("t.{id}.{sequence}")));
            }
        }
        let tickets = free
            .iter()
            .map(|(ticket, name)| self.link.put(Record::new(ticket.clone(), Bytes::from_static(b"t")), name, ANSWER));
        let written: Vec<_> = stream::iter(tickets.collect::<Vec<_>>()).buffer_unordered(RECOVERIES).collect().await;
        self.remember(unknown).await?;
        let recovered = written.iter().filter(|one| one.is_ok()).count();
        match written.into_iter().find_map(Result::err) {
            Some(fault) => Err(fault),
            None => Ok(recovered),
        }
    }

    /// Leases of this node: an answer was lost if it does not work on one.
    async fn remember(&self, leases: Vec<(&str, EntryId)>) -> Result<(), Fault> {
        let unknown = |id: &EntryId| {
            let desk = self.desk.lock();
            let waits = desk.ready.values().flatten().any(|one| one.id == *id);
            !(waits || desk.held.contains_key(id) || desk.taking.contains(id))
        };
        for (place, id) in leases.into_iter().filter(|(_, id)| unknown(id)) {
            let found = self.link.last(&self.link.names.entry(place, id)).await?;
            let Some(found) = found.filter(|found| !found.payload.is_empty()) else { continue };
            let Ok((entry, octets)) = decode::<Entry>(&found.payload) else { continue };
            if entry.held || entry.next > now() || !unknown(&id) {
                continue;
            }
            let (place, epoch, since) = (place.to_owned(), self.presence.epoch(), on());
            let one =
                Ready { place, id, entry, octets, reply: None, record: 0, ticket: None, again: false, epoch, since };
            self.put_back(&mut self.desk.lock(), one);
            self.changed.notify_one();
        }
        Ok(())
    }
}
