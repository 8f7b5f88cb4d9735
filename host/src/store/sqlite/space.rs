//! Is there room on the disk? Asked of the system at most once a second.
//!
//! Owns the reserve and the last answer. Refuses to know what would be written. Fails with [`StoreError::Full`] below the reserve, and
//! with the system's error where that does not say: then no message begins.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use super::ids::now;
use crate::store::StoreError;

/// The file system that the store is on.
#[derive(Debug)]
pub(super) struct Space {
    folder: PathBuf,
    /// Octets that must stay free.
    reserve: u64,
    asked: AtomicU64,
    free: AtomicU64,
}

impl Space {
    pub(super) fn new(folder: PathBuf, reserve: u64) -> Self {
        Self { folder, reserve, asked: AtomicU64::new(0), free: AtomicU64::new(u64::MAX) }
    }

    /// Fails if less than the reserve is free.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let now = now();
        if now.abs_diff(self.asked.load(Ordering::Relaxed)) >= 1000 {
            self.asked.store(now, Ordering::Relaxed);
            let found = rustix::fs::statvfs(&self.folder)
                .map_err(|error| StoreError::Failed(format!("statvfs {}: {error}", self.folder.display())))?;
            self.free.store(found.f_bavail.saturating_mul(found.f_frsize), Ordering::Relaxed);
        }
        let free = self.free.load(Ordering::Relaxed);
        if free < self.reserve {
            return Err(StoreError::Full(format!(
                "{free} octets are free below {}, {} must stay free",
                self.folder.display(),
                self.reserve
            )));
        }
        Ok(())
    }
}
