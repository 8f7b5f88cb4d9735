//! Large contents: one file each, `bodies/SHARD/ULID`, written as the octets arrive.
//!
//! Owns these files and their names, and at start makes rows and files agree. Refuses to know what is in them. Fails with the
//! system's error, which loses nobody's mail: a message whose file can not be written is not accepted.
//!
//! The crash argument is in the header of [`super`]: the file and its name are synced before the row that needs them
//! commits, and the file is removed after the row is gone. So a file without a row is an orphan to remove at start, and
//! a row without a file is damage to be loud about.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use tracing::{error, info};

use super::{OpenError, ids, schema::State};
use crate::store::{MessageId, durable};

/// The last letter of a ULID is one of these (Crockford's base 32), and random.
const SHARDS: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The folder of all bodies.
#[derive(Debug)]
pub(super) struct Bodies {
    folder: PathBuf,
}

impl Bodies {
    /// The folders as they are.
    pub(super) fn below(store: &Path) -> Self {
        Self { folder: store.join("bodies") }
    }

    /// Makes the folders, so that no message has to.
    pub(super) fn open(store: &Path) -> io::Result<Self> {
        let bodies = Self::below(store);
        let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        SHARDS.chars().try_for_each(|shard| make(&bodies.folder.join(shard.to_string())))?;
        // Also if they were there: a process that died may have made them without syncing them.
        durable::folder(&bodies.folder)?;
        durable::folder(store)?;
        Ok(bodies)
    }

    pub(super) fn path(&self, id: MessageId) -> PathBuf {
        let name = id.to_string();
        self.folder.join(&name[name.len() - 1..]).join(name)
    }

    /// Makes files and rows agree after a crash; called before anything else happens in the store.
    pub(super) fn reconcile(&self, connection: &Connection) -> Result<(), OpenError> {
        let io = |path: &Path, error| OpenError::Io { path: path.to_owned(), error };
        let mut row = connection.prepare("SELECT 1 FROM message WHERE key = ?1 AND id = ?2 AND content IS NULL")?;
        for shard in SHARDS.chars() {
            let folder = self.folder.join(shard.to_string());
            for file in fs::read_dir(&folder).map_err(|error| io(&folder, error))? {
                let file = file.map_err(|error| io(&folder, error))?;
                let Some(id) = file.file_name().to_str().and_then(|name| MessageId::from_string(name).ok()) else {
                    error!(file = %file.path().display(), "a file that is none of ours lies among the bodies; it is left alone");
                    continue;
                };
                if !row.exists((ids::key(id), id.to_bytes()))? {
                    info!(message = %id, "removing the body of a message that was never accepted, or is done");
                    fs::remove_file(file.path()).map_err(|error| io(&file.path(), error))?;
                }
            }
        }
        let mut filed = connection.prepare("SELECT id, size FROM message INDEXED BY filed WHERE content IS NULL")?;
        let mut damaged = Vec::new();
        let mut rows = filed.query(())?;
        while let Some(row) = rows.next()? {
            let id = MessageId::from_bytes(row.get(0)?);
            let (path, size): (_, u64) = (self.path(id), row.get(1)?);
            match fs::metadata(&path) {
                Ok(found) if found.len() == size => {}
                Ok(found) => damaged.push((id, format!("its body has {} octets instead of {size}", found.len()))),
                Err(error) => damaged.push((id, format!("its body can not be read: {error}"))),
            }
        }
        for (id, reason) in damaged {
            error!(message = %id, file = %self.path(id).display(), reason, "an accepted message is damaged; its entries are held");
            connection.execute(
                "UPDATE entry SET state = ?1, next_attempt = NULL, reason = ?2 WHERE message = ?3",
                (State::Held, format!("damaged: {reason}"), ids::key(id)),
            )?;
        }
        Ok(())
    }
}

/// A file that is being written. Dropping it removes it, unless it was kept.
#[derive(Debug)]
pub(super) struct BodyFile {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl BodyFile {
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path, kept: false })
    }

    pub(super) fn append(&mut self, octets: &[u8]) -> io::Result<()> {
        self.file.write_all(octets)
    }

    /// Octets and name are on stable storage.
    pub(super) fn sync(&self) -> io::Result<()> {
        durable::file(&self.file)?;
        self.path.parent().map_or(Ok(()), durable::folder)
    }

    /// The row is there, or may be: the next start decides.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for BodyFile {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.path);
        }
    }
}

/// Removes the file of a message that is gone. If that fails it is an orphan, and the next start tries again.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        error!(file = %path.display(), %error, "can not remove a body that is no longer needed");
    }
}
