//! The last step: a message becomes a file in somebody's mailbox, or another server's.
//!
//! Owns how a message is written where its reader looks for it. Refuses to know retries, leases' terms and
//! configuration: [`crate::queue`] says what goes where. Fails with [`DeliverError`], always worth another attempt.

mod edits;
pub mod maildir;
mod read;
pub mod smtp;

use std::{io, path::PathBuf, sync::Arc};

pub use self::read::{content, front};
use crate::store::{Body, Lease};

/// One entry, with all that its delivery needs.
#[derive(Debug)]
pub struct Parcel {
    /// The right to deliver it.
    pub lease: Lease,
    /// Its octets; entries of one message share them.
    pub body: Arc<Body>,
    /// The Maildir.
    pub maildir: PathBuf,
}

/// How a delivery ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The copy was made now.
    Now,
    /// An earlier attempt had made it; its record was lost.
    Earlier,
}

/// Why a delivery did not succeed: the disk, the quota, the operator's permissions. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct DeliverError {
    /// What was tried.
    pub path: PathBuf,
    /// Why it failed.
    pub error: io::Error,
}
