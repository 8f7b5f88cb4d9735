//! Work that waits for plugins, each kind in a lane of its own, so that a slow one holds up nobody else's mail.
//!
//! Owns how many entries of a lane are worked on at a time, how many wait in memory, and when the others should come back.
//! Refuses to know what the work is. Cannot fail: what finds no place is postponed, never dropped.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::store::Timestamp;

/// Entries that wait in memory for each one that is worked on. Their leases go on.
const WAITING: usize = 4;
/// So far apart those that found no place come back, each for each that is worked on.
const APART: Duration = Duration::from_millis(500);
/// Nobody is sent away for longer.
const AWAY: Duration = Duration::from_secs(900);

/// All lanes, by name.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<String, Lane>,
}

#[derive(Debug)]
struct Lane {
    limit: usize,
    room: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    /// When the last one that was sent away comes back.
    back: Timestamp,
}

/// A place in a lane, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _room: OwnedSemaphorePermit,
    turns: Arc<Semaphore>,
}

impl Place {
    /// Waits for its turn, which lasts until what is returned is dropped. None: the queue stops first.
    pub(super) async fn turn(&self, stop: &mut watch::Receiver<bool>) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => None,
            turn = self.turns.clone().acquire_owned() => turn.ok(),
        }
    }
}

impl Lanes {
    /// A place in this lane, which works on `limit` at a time; or when to come back.
    pub(super) fn enter(&mut self, name: &str, limit: usize, now: Timestamp) -> Result<Place, Timestamp> {
        let limit = limit.max(1);
        let lane = self.lanes.entry(name.to_owned()).or_insert_with(|| Lane::new(limit));
        if lane.limit != limit {
            // Those who are in the old one leave it in their time.
            *lane = Lane::new(limit);
        }
        match lane.room.clone().try_acquire_owned() {
            Ok(room) => Ok(Place { _room: room, turns: lane.turns.clone() }),
            Err(_) => {
                let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                let step = ms(APART) / u64::try_from(limit).unwrap_or(1).clamp(1, 500);
                // One after the other: all at once would only be sent away again.
                let first = now.saturating_add(ms(APART));
                let next = lane.back.max(first).saturating_add(step);
                lane.back = if next > now.saturating_add(ms(AWAY)) { first } else { next };
                Err(lane.back)
            }
        }
    }
}

impl Lane {
    fn new(limit: usize) -> Self {
        let room = Arc::new(Semaphore::new(limit.saturating_mul(WAITING + 1).min(Semaphore::MAX_PERMITS)));
        Self { limit, room, turns: Arc::new(Semaphore::new(limit)), back: 0 }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_finds_no_place_comes_back_one_after_the_other() {
        let mut lanes = Lanes::default();
        let (_stop, mut stopped) = watch::channel(false);
        let places: Vec<_> = (0..10).map(|_| lanes.enter("a", 2, 1000).unwrap()).collect();
        let back: Vec<_> = (0..3).map(|_| lanes.enter("a", 2, 1000).unwrap_err()).collect();
        assert_eq!(back, [1750, 2000, 2250]);
        assert!(lanes.enter("b", 2, 1000).is_ok(), "another lane");
        let turns = [places[0].turn(&mut stopped).await.unwrap(), places[1].turn(&mut stopped).await.unwrap()];
        let third = tokio::time::timeout(Duration::from_millis(20), places[2].turn(&mut stopped)).await;
        assert!(third.is_err(), "two at a time");
        drop(turns);
        assert!(places[2].turn(&mut stopped).await.is_some());
        drop(places);
        let _all: Vec<_> = (0..10).map(|_| lanes.enter("a", 2, 1000).unwrap()).collect();
        let far = (0..10_000).filter_map(|_| lanes.enter("a", 2, 1000).err()).max().unwrap();
        assert!(far <= 1000 + 900_000, "{far}");
    }

    #[tokio::test]
    async fn a_queue_that_stops_waits_for_no_turn() {
        let mut lanes = Lanes::default();
        let (stop, mut stopped) = watch::channel(false);
        let (one, other) = (lanes.enter("a", 1, 0).unwrap(), lanes.enter("a", 1, 0).unwrap());
        let _turn = one.turn(&mut stopped).await.unwrap();
        stop.send(true).unwrap();
        assert!(other.turn(&mut stopped).await.is_none());
    }
}
