//! Tickets: how a node hears of entries, and how others hear of what it does not work on.
//!
//! Owns the consumers of the stream. Refuses to claim anything. Fails with whatever the servers say, and then asks again: a ticket
//! that nobody acknowledges goes to somebody else.
//!
//! A node asks for no more than it has room for and only while somebody there would take it, since what it has others do not have.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::jetstream::{AckKind, Message, consumer::pull};
use bytes::Bytes;
use futures_util::StreamExt as _;

use super::{Ready, Work};
use crate::store::{
    EntryId,
    jetstream::{
        presence::on,
        record::{ANY, Entry, MARK, decode, parse},
    },
    sqlite::now,
};

/// Tickets that are ready here; more are left to others.
const READY: usize = 1024;
/// Octets of what is held and ready; beyond, nothing more is claimed.
const OCTETS: usize = 256 * 1024 * 1024;
/// A ticket of which nobody has been heard for a lease and this is given to somebody else.
const TICKET: Duration = Duration::from_secs(1);
/// An entry that this program can not read is left to others for so long.
const UNREADABLE: Duration = Duration::from_secs(30);
/// A ticket that waits here is spoken for once in this part of a lease.
const WAITS: u32 = 3;
/// Tickets that are out at a time, for all nodes.
const OUT: i64 = 50_000;
/// Tickets that are asked for at a time.
const BATCH: usize = 256;
/// Beyond the time for them.
const LATE: Duration = Duration::from_millis(500);
/// How soon it is seen that there is room, if nobody says so.
const ROOM: Duration = Duration::from_secs(1);
/// What nobody here has claimed for so many leases is left to others too.
const UNCLAIMED: u32 = 2;

impl Work {
    /// Takes tickets for entries of this place, until the store is closed.
    pub(in crate::store::jetstream) async fn pull(self: Arc<Self>, place: String) {
        while !self.is_closed() {
            if self.room_for() > 0
                && let Err(error) = self.pull_once(&place).await
            {
                tracing::debug!(%error, place, "tickets do not come; trying again");
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// The consumer of a place.
    fn consumer(&self, place: &str) -> pull::Config {
        let name = if place == ANY { ANY.to_owned() } else { format!("node-{place}") };
        pull::Config {
            durable_name: Some(name),
            filter_subjects: self.link.names.work(place),
            ack_policy: async_nats::jetstream::consumer::AckPolicy::Explicit,
            ack_wait: self.presence.lease + TICKET,
            max_ack_pending: OUT,
            ..pull::Config::default()
        }
    }

    async fn pull_once(&self, place: &str) -> Result<(), async_nats::Error> {
        let config = self.consumer(place);
        // Made, or as it should be now: the lease may be another one than when it was made.
        let consumer = self.link.stream.create_consumer(config).await?;
        // A server that dies says nothing, so nobody waits for long; and one that stands still is sent no more than this.
        let expires = self.presence.lease / WAITS;
        while !self.is_closed() {
            // Before the look, so that no word of it is missed.
            let more = self.room.notified();
            let room = self.room_for();
            if room == 0 {
                let _ = tokio::time::timeout(ROOM, more).await;
                continue;
            }
            let (epoch, began) = (self.presence.epoch(), on());
            let mut tickets = consumer.batch().max_messages(room.min(BATCH)).expires(expires).messages().await?;
            while let Ok(Some(ticket)) = tokio::time::timeout(expires + LATE, tickets.next()).await {
                let ticket = ticket?;
                if !self.is_wanted() {
                    ticket.ack_with(AckKind::Nak(None)).await?;
                    continue;
                }
                // It may have waited here, unread.
                let waited = on().saturating_sub(began) > MARK / 4;
                self.look(place, &epoch, waited, ticket).await;
            }
        }
        Ok(())
    }

    /// Tickets that may come.
    fn room_for(&self) -> usize {
        let desk = self.desk.lock();
        if desk.octets < OCTETS && self.is_wanted() { READY.saturating_sub(desk.count()) } else { 0 }
    }

    /// Somebody here would take what comes.
    fn is_wanted(&self) -> bool {
        let asked = || self.wanting.load(Ordering::Relaxed) > 0 || self.wanted.lock().elapsed() < self.presence.lease;
        !self.presence.draining.load(Ordering::Relaxed) && asked()
    }

    /// What a ticket means.
    async fn look(&self, place: &str, epoch: &str, waited: bool, ticket: Message) {
        let Some((kind, _, id)) = parse(&ticket.subject) else { return drop(ticket.ack().await) };
        if kind == 'd' {
            let number = ticket.info().map(|info| info.stream_sequence).ok();
            let Ok(found) = self.link.last(&self.link.names.entry(place, id)).await else { return };
            match found.filter(|found| !found.payload.is_empty()) {
                Some(found) => self.ready(place, id, &found.payload, (epoch, waited), ticket, number).await,
                None => {
                    let _ = ticket.ack().await;
                    number.into_iter().for_each(|number| self.link.erase(number));
                }
            }
        } else if ticket.payload.is_empty() {
            let _ = ticket.ack().await;
        } else {
            let payload = ticket.payload.clone();
            self.ready(place, id, &payload, (epoch, waited), ticket, None).await;
        }
    }

    async fn ready(
        &self,
        place: &str,
        id: EntryId,
        payload: &Bytes,
        (epoch, waited): (&str, bool),
        ticket: Message,
        number: Option<u64>,
    ) {
        let (entry, octets) = match decode::<Entry>(payload) {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(entry = %id, %error, "an entry can not be read; it is left to a node that can");
                return drop(ticket.ack_with(AckKind::Nak(Some(UNREADABLE))).await);
            }
        };
        let wait = entry.next.saturating_sub(now());
        if entry.held || (number.is_none() && entry.scheduled) {
            // Released, or at its time, there is another ticket.
            number.into_iter().for_each(|number| self.link.erase(number));
            return drop(ticket.ack().await);
        }
        if number.is_some() && wait > 0 {
            let wait = Duration::from_millis(wait).min(MARK);
            return drop(ticket.ack_with(AckKind::Nak(Some(wait))).await);
        }
        let reply = ticket.reply.clone();
        let (record, again) =
            ticket.info().map_or((0, true), |info| (info.stream_sequence, waited || info.delivered > 1));
        let (epoch, since) = (epoch.to_owned(), on());
        let ready =
            Ready { place: place.into(), id, entry, octets, reply, record, ticket: number, again, epoch, since };
        self.put_back(&mut self.desk.lock(), ready);
        self.changed.notify_one();
    }

    /// What waits here for somebody to claim it is not forgotten; what has waited for long is left to others, if there are some.
    pub(in crate::store::jetstream) async fn speak_for(&self) {
        // Without a connection it would only fill what waits for one.
        if self.link.client.connection_state() != async_nats::connection::State::Connected {
            return;
        }
        if self.presence.sharing() > 1 {
            let most = self.presence.lease * UNCLAIMED;
            self.give_back(|one| one.age() > most);
        }
        let waiting: Vec<_> = {
            let desk = self.desk.lock();
            desk.ready.values().flatten().filter_map(|one| one.reply.clone()).collect()
        };
        for reply in waiting {
            let _ = self.link.client.publish(reply, Bytes::from_static(b"+WPI")).await;
        }
    }

    /// How often that is to be done.
    pub(in crate::store::jetstream) fn speaks_every(&self) -> Duration {
        self.presence.lease / WAITS
    }

    /// Others are to have what of this nobody here has claimed.
    pub(in crate::store::jetstream) fn give_back(&self, which: impl Fn(&Ready) -> bool) {
        let mut given = Vec::new();
        {
            let mut desk = self.desk.lock();
            for queue in desk.ready.values_mut() {
                for one in std::mem::take(queue) {
                    // Without a ticket nobody else would hear of it.
                    if one.reply.is_some() && which(&one) { given.push(one) } else { queue.push_back(one) }
                }
            }
            desk.ready.retain(|_, queue| !queue.is_empty());
            desk.octets = desk.octets.saturating_sub(given.iter().map(|one| one.octets.len()).sum());
        }
        self.room.notify_waiters();
        if !given.is_empty() {
            // A claim of one of these may have been written without an answer.
            self.doubt.store(true, Ordering::Release);
        }
        for reply in given.into_iter().filter_map(|one| one.reply) {
            let client = self.link.client.clone();
            tokio::spawn(async move {
                let _ = client.publish(reply, Bytes::from_static(b"-NAK")).await;
            });
        }
    }
}
