//! How many instances of a plugin may live at a time, and who gives way.
//!
//! Owns the places and the instances that wait for their phase's next call. Refuses to know what an instance is. Whoever
//! wants a place never waits for a phase that is not in a call: the instance that has waited longest gives way, and its
//! phase gets a fresh one. So phases that hold instances of several plugins can not wait for each other.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places for one plugin's instances. A `T` holds its place for as long as it lives.
pub(super) struct Room<T> {
    places: Arc<Semaphore>,
    parked: Mutex<Parked<T>>,
}

struct Parked<T> {
    /// Those who want a place and have none.
    waiting: usize,
    next: u64,
    /// The longest waiting first.
    instances: BTreeMap<u64, T>,
}

/// Counts for as long as it lives.
struct Waiting<'a, T>(&'a Room<T>);

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.0.parked.lock().waiting -= 1;
    }
}

impl<T> Room<T> {
    pub(super) fn new(places: usize) -> Self {
        let parked = Parked { waiting: 0, next: 0, instances: BTreeMap::new() };
        Self { places: Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS))), parked: Mutex::new(parked) }
    }

    /// A place, as soon as there is one.
    pub(super) async fn enter(&self) -> Result<OwnedSemaphorePermit, tokio::sync::AcquireError> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        self.parked.lock().waiting += 1;
        let _waiting = Waiting(self);
        let longest = self.parked.lock().instances.pop_first();
        drop(longest);
        Arc::clone(&self.places).acquire_owned().await
    }

    /// Keeps an instance until its phase wants it again, and says under which number; not if somebody waits for its
    /// place.
    pub(super) fn park(&self, instance: T) -> Option<u64> {
        let mut parked = self.parked.lock();
        if parked.waiting > 0 {
            drop(parked);
            drop(instance);
            return None;
        }
        let number = parked.next;
        parked.next += 1;
        parked.instances.insert(number, instance);
        Some(number)
    }

    /// It, if it has not given way.
    pub(super) fn take(&self, number: u64) -> Option<T> {
        self.parked.lock().instances.remove(&number)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_that_hold_what_the_other_wants_do_not_wait_for_each_other() {
        let (one, two) = (Room::new(1), Room::new(1));
        let of_a = one.park(one.enter().await.unwrap()).unwrap();
        let of_b = two.park(two.enter().await.unwrap()).unwrap();
        // A wants what B holds, and B what A holds.
        let (a, b) = tokio::join!(two.enter(), one.enter());
        assert!(one.take(of_a).is_none() && two.take(of_b).is_none(), "both gave way");
        drop((a, b));
        assert!(one.enter().await.is_ok() && two.enter().await.is_ok(), "and no place is lost");
    }

    #[tokio::test]
    async fn nobody_is_kept_while_somebody_waits() {
        let room = Room::new(1);
        let busy = room.enter().await.unwrap();
        let mut waits = Box::pin(room.enter());
        assert!(futures_pending(&mut waits).await);
        assert_eq!(room.park(busy), None);
        let place = waits.await.unwrap();
        let mut gone = Box::pin(room.enter());
        assert!(futures_pending(&mut gone).await);
        drop(gone);
        let number = room.park(place).expect("who went away does not count");
        assert!(room.take(number).is_some());
    }

    async fn futures_pending(future: &mut (impl Future + Unpin)) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
