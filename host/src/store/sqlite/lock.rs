//! One process at a time: a lock on a file in the store's folder, held until the process ends, however it ends.
//!
//! Owns that file. Refuses to wait for it. Fails with [`OpenError::InUse`], which names the process that has it, or the system's
//! error.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use super::OpenError;

/// The lock; it goes when this is dropped.
#[derive(Debug)]
pub(in crate::store) struct Lock(#[allow(dead_code, reason = "held open, never read again")] File);

impl Lock {
    /// Takes the lock of the store below `data`, or says who has it.
    pub(in crate::store) fn take(data: &Path, folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join("lock");
        let failed = |error: std::io::Error| OpenError::Io { path: path.clone(), error };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut owner = String::new();
                // Who it is is a courtesy: without it the message still says what is wrong.
                let _ = (&mut file).take(32).read_to_string(&mut owner);
                return Err(OpenError::InUse { data: data.to_owned(), process: owner.trim().to_owned() });
            }
            Err(error) => return Err(failed(error.into())),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self(file))
    }
}
