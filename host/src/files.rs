//! Small files that hold secrets: written whole or not at all, readable by their owner only, watched for changes.
//!
//! Owns how such a file reaches the disk. Refuses to know what is in it. Fails with the plain [`io::Error`]; whoever
//! calls knows what the file was for and says so.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Replaces the file at `path` in one step, with mode 0600: a reader sees the old octets or the new ones, also after
/// a crash. The folder is made (mode 0700) if it does not exist. Errors are the file system's.
pub fn write_private(path: &Path, octets: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    make_private_folder(&folder)?;
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    let temporary = folder.join(format!(".{}.{:016x}", name.to_string_lossy(), rand::random::<u64>()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(octets)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if let Err(error) = written {
        // The first error is the one that matters; the temporary file may not even exist.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(&folder)?.sync_all()
}

/// Makes the folder and those above it, each new one with mode 0700.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The folder that a file is in; `.` for a bare name.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Which version of a file this is. Two equal stamps mean: not replaced, not rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: Option<SystemTime>,
    changed: (i64, i64),
    length: u64,
    inode: u64,
    mode: u32,
}

impl Stamp {
    /// Follows symbolic links, so that a link turned to another file counts as a change.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
            inode: metadata.ino(),
            mode: metadata.permissions().mode(),
        })
    }

    /// Everybody on this machine can read or write the file.
    pub fn open_to_the_world(&self) -> bool {
        self.mode & 0o007 != 0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_replaced_whole_and_its_stamp_tells() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("secret");
        write_private(&path, b"one").unwrap();
        let first = Stamp::of(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(first, Stamp::of(&path).unwrap());

        write_private(&path, b"two").unwrap();
        assert_ne!(first, Stamp::of(&path).unwrap(), "same length, other inode");
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["secret"], "no temporary file is left behind");

        assert!(!Stamp::of(&path).unwrap().open_to_the_world());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Stamp::of(&path).unwrap().open_to_the_world());
    }
}
