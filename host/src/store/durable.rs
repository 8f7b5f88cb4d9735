//! Every fsync of a file or a folder that mail depends on.
//!
//! Owns the two calls that make octets and names survive a loss of power, and the making of folders, which needs both.
//! SQLite syncs its own files; [`DATABASE`] says how. Refuses to know what is in the files. Fails with the system's
//! error: after a failed fsync nothing may be said about what is on the disk, so the caller gives the file up.
//!
//! The features `unsafe-skip-fsync-file`, `-folder` and `-database` (`unsafe-skip-fsync` is all three) take the calls
//! out. They exist so that the crash tests can show that they notice; a build with one of them must never carry mail.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

/// `PRAGMA synchronous` of the database.
pub(crate) const DATABASE: &str = if cfg!(feature = "unsafe-skip-fsync-database") { "OFF" } else { "FULL" };

/// True of a build that loses mail when the power fails.
pub(crate) const CRIPPLED: bool = cfg!(feature = "unsafe-skip-fsync-file")
    || cfg!(feature = "unsafe-skip-fsync-folder")
    || cfg!(feature = "unsafe-skip-fsync-database");

/// The file's octets and length are on stable storage when this returns. Its name is not: see [`folder`].
pub(crate) fn file(file: &File) -> io::Result<()> {
    if cfg!(feature = "unsafe-skip-fsync-file") { Ok(()) } else { file.sync_all() }
}

/// The names in the folder, new, renamed and removed, are on stable storage when this returns.
pub(crate) fn folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let folder = File::open(path)?;
    if cfg!(feature = "unsafe-skip-fsync-folder") { Ok(()) } else { folder.sync_all() }
}

/// The folder and those above it exist, with mode 0700 where they are made here, and their names are on stable storage.
///
/// A folder that is already there may have been made by a process that died before its fsync, so those above are
/// synced all the same, up to one that is in `known`. A folder that we may not read can not have been made by us, and
/// is passed over.
pub(crate) fn make(path: &Path, known: impl Fn(&Path) -> bool) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mut named = path;
    while let Some(above) = named.parent().filter(|_| !known(named)) {
        match folder(above) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            // Some file systems of the system itself (the root of an overlay, say) know no fsync of a folder.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            other => other?,
        }
        named = above;
    }
    Ok(())
}
