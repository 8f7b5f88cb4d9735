//! Messages for other servers, each destination by itself, so that one that is slow, full or gone holds up nobody else's.
//!
//! Owns who waits in memory for a turn, and who is sent away until later. Refuses to know how hard a destination may be
//! pushed ([`Shape`]) and how mail gets there. Cannot fail: what finds no place is postponed, never dropped.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tracing::warn;

use super::shape::{Begin, Shape, Terms, Wait};
use crate::{
    deliver::smtp::courier::Health,
    store::{Timestamp, sqlite::now},
};

/// Messages that wait in memory for each connection that there may be now: the others wait in the store, where operators can
/// change them. The leases of those that wait go on.
const WAITING: usize = 4;
/// If so many are known, those of which nothing is worth knowing are forgotten.
const KNOWN: usize = 1024;

/// All destinations that are known, by domain.
#[derive(Debug, Default)]
pub(super) struct Destinations {
    known: HashMap<String, Arc<Destination>>,
    /// If so many are known it is time to forget, if that is more than [`KNOWN`].
    full: usize,
}

#[derive(Debug)]
struct Destination {
    domain: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    shape: Shape,
    /// Places that are held.
    places: usize,
}

impl Destinations {
    /// A place where this domain's messages wait for their turn; or when to come back, and why.
    pub(super) fn enter(&mut self, domain: &str, terms: &Terms, now: Timestamp) -> Result<Place, Wait> {
        if self.known.len() >= self.full.max(KNOWN) && !self.known.contains_key(domain) {
            self.known.retain(|_, one| {
                let state = one.state.lock();
                state.places > 0 || !state.shape.is_idle(now)
            });
            // So that it costs little where many have to be kept.
            self.full = self.known.len().saturating_mul(2);
        }
        let destination = self.known.entry(domain.to_owned()).or_insert_with(|| {
            let state = Mutex::new(State { shape: Shape::new(terms.clone()), places: 0 });
            Arc::new(Destination { domain: domain.to_owned(), state, changed: Notify::new() })
        });
        let mut state = destination.state.lock();
        state.shape.obey(terms);
        let room = state.places < state.shape.window().saturating_mul(WAITING + 1);
        state.shape.admit(now, room)?;
        state.places += 1;
        Ok(Place { destination: destination.clone() })
    }

    /// Somebody wants mail tried now: whoever rests has rested.
    pub(super) fn wake(&self, now: Timestamp) {
        for destination in self.known.values() {
            destination.state.lock().shape.wake(now);
        }
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    destination: Arc<Destination>,
}

impl Place {
    /// Waits for its turn. None: the queue stops first. It may be sent away after all, if the destination is to rest.
    pub(super) async fn turn(self, stop: &mut watch::Receiver<bool>) -> Option<Result<Turn, Wait>> {
        loop {
            // Before looking, so that no change is missed.
            let changed = self.destination.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let begun = self.destination.state.lock().shape.begin(now());
            match begun {
                Begin::Now(number) => break Some(Ok(number)),
                Begin::Rest(wait) => break Some(Err(wait)),
                Begin::Full => {}
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break None,
                () = changed => {}
            }
        }
        .map(|begun| begun.map(|number| Turn { place: self, number, over: false }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.destination.state.lock();
        state.places = state.places.saturating_sub(1);
    }
}

/// An attempt may be made, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    place: Place,
    number: u64,
    over: bool,
}

impl Turn {
    /// How it went.
    pub(super) fn ended(mut self, health: Health) {
        self.end(health);
    }

    fn end(&mut self, health: Health) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let destination = &self.place.destination;
        let mut state = destination.state.lock();
        if let Some((until, why)) = state.shape.ended(self.number, health, now()) {
            let seconds = until.saturating_sub(now()) / 1000;
            warn!(domain = destination.domain, why, "mail for it waits for {seconds} s");
        }
        drop(state);
        destination.changed.notify_waiters();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.end(Health::Unknown);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn terms(most: usize) -> Terms {
        Terms { first: 1, most, rate: None, rest: (60, 600) }
    }

    #[tokio::test]
    async fn turns_are_taken_and_given_back() {
        let (stop, mut stopped) = watch::channel(false);
        let mut all = Destinations::default();
        let place = |all: &mut Destinations, domain: &str| all.enter(domain, &terms(2), 0);
        let first = place(&mut all, "a").unwrap().turn(&mut stopped).await.unwrap().unwrap();
        let second = place(&mut all, "a").unwrap();
        let waiting = tokio::spawn(async move { second.turn(&mut stopped).await.map(|turn| turn.is_ok()) });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished(), "one at a time");
        drop(first);
        assert_eq!(waiting.await.unwrap(), Some(true));
        // One at a time, so five, though it may become two.
        let held: Vec<_> = (0..5).map(|_| place(&mut all, "a").unwrap()).collect();
        assert!(place(&mut all, "a").unwrap_err().reason.is_none(), "no room");
        assert!(place(&mut all, "b").is_ok(), "another one has room");
        drop(held);
        assert!(place(&mut all, "a").is_ok());
        let mut stopped = stop.subscribe();
        let _turn = place(&mut all, "a").unwrap().turn(&mut stopped).await.unwrap().unwrap();
        let late = place(&mut all, "a").unwrap();
        stop.send(true).unwrap();
        assert!(late.turn(&mut stopped).await.is_none(), "a queue that stops waits for no turn");
    }

    #[tokio::test]
    async fn those_who_wait_for_somebody_who_is_gone_are_sent_away() {
        let (_stop, mut stopped) = watch::channel(false);
        let mut all = Destinations::default();
        let mut places: Vec<_> = (0..5).map(|_| all.enter("a", &terms(1), now()).unwrap()).collect();
        for _ in 0..3 {
            let turn = places.pop().unwrap().turn(&mut stopped).await.unwrap().unwrap();
            turn.ended(Health::Gone("refused".into()));
        }
        for place in places {
            let wait = place.turn(&mut stopped).await.unwrap().unwrap_err();
            assert!(wait.at >= now() + 50_000 && wait.reason.unwrap().contains("refused"));
        }
        assert!(all.enter("a", &terms(1), now()).is_err());
    }

    #[test]
    fn what_is_not_worth_knowing_is_forgotten() {
        let mut all = Destinations::default();
        let kept = all.enter("kept", &terms(1), 0).unwrap();
        for n in 0..5 * KNOWN {
            drop(all.enter(&format!("d{n}"), &terms(1), 1).unwrap());
        }
        assert!(all.known.len() <= KNOWN && all.known.contains_key("kept"), "{}", all.known.len());
        drop(kept);
    }

    #[tokio::test]
    async fn what_is_worth_knowing_is_kept_until_it_is_not() {
        let (_stop, mut stopped) = watch::channel(false);
        let mut all = Destinations::default();
        let rated = Terms { rate: Some((60_000.0, 1.0)), ..terms(1) };
        let begun = now();
        drop(all.enter("rated", &rated, begun).unwrap());
        // They are many, and none of them can be reached.
        for n in 1..4 * KNOWN {
            let place = all.enter(&format!("d{n}"), &terms(1), begun).unwrap();
            place.turn(&mut stopped).await.unwrap().unwrap().ended(Health::Gone("refused".into()));
        }
        assert!(all.enter("rated", &rated, begun + 1).is_err(), "one a minute, whoever else is known");
        assert_eq!(all.known.len(), 4 * KNOWN);
        drop(all.enter("late", &terms(1), now() + 2_000_000).unwrap());
        assert!(all.known.len() < KNOWN, "{}: nobody has come back to them", all.known.len());
    }
}
