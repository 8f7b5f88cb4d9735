//! How much of messages may be in memory for plugins at a time, over all sessions.
//!
//! Owns the room. Refuses to know what is in it. Fails when there is no room in time, which is nobody's fault.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// So long a message waits for room; plugins have the rest of the client's 10 minutes (RFC 5321 section 4.5.3.2.6).
const PATIENCE: Duration = if cfg!(test) { Duration::from_millis(500) } else { Duration::from_secs(30) };
/// What a permit stands for, in octets: a semaphore hands out at most `u32::MAX` of them at once.
const GRAIN: u64 = 1024;

/// The room.
#[derive(Debug)]
pub(super) struct Room {
    free: Arc<Semaphore>,
    grains: u32,
}

impl Room {
    /// For so many octets.
    pub(super) fn new(octets: u64) -> Self {
        let grains = u32::try_from((octets / GRAIN).max(1)).unwrap_or(u32::MAX);
        Self { free: Arc::new(Semaphore::new(grains as usize)), grains }
    }

    /// Room for so many octets until the permit is dropped, in the order of asking. What is larger than the whole room
    /// gets all of it. None: not in time.
    pub(super) async fn take(&self, octets: u64) -> Option<OwnedSemaphorePermit> {
        let grains = u32::try_from(octets.div_ceil(GRAIN)).unwrap_or(u32::MAX).min(self.grains);
        timeout(PATIENCE, self.free.clone().acquire_many_owned(grains)).await.ok()?.ok()
    }

    /// In KiB.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.free.available_permits()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_sum_is_bounded() {
        let room = Room::new(10 * GRAIN);
        let (one, _two) = (room.take(4 * GRAIN).await.unwrap(), room.take(4 * GRAIN + 1).await.unwrap());
        assert!(room.take(2 * GRAIN).await.is_none(), "one is left");
        assert!(room.take(1).await.is_some());
        assert!(room.take(0).await.is_some());
        let (found, ()) = tokio::join!(room.take(3 * GRAIN), async {
            tokio::time::sleep(PATIENCE / 2).await;
            drop(one);
        });
        assert!(found.is_some(), "there is room in time");
        drop((found, _two));
        let all = room.take(u64::MAX).await.unwrap();
        assert!(room.take(1).await.is_none(), "what is too large is alone");
        drop(all);
        assert!(room.take(10 * GRAIN).await.is_some());
    }
}
