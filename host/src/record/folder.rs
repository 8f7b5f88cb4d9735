//! The folder of kept sessions: its bounds, and files that are there whole or not at all.
//!
//! Owns names, modes and the removal of what is too old or too much. Refuses to touch files that it has not named. Fails with
//! the disk's error.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::files::write_private;

/// The end of a file's name.
const EXTENSION: &str = "session";

/// What may be in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Files.
    pub(super) files: usize,
    /// Octets.
    pub(super) octets: u64,
    /// How old a file may become.
    pub(super) expire: Duration,
}

/// Writes a file (mode 0600) and makes room for it.
///
/// # Errors
/// The disk's. A file that is larger than all the room is an error, too.
pub(super) fn keep(folder: &Path, name: &str, octets: &[u8], room: Room) -> io::Result<PathBuf> {
    if octets.len() as u64 > room.octets {
        return Err(io::Error::other("it is larger than record.octets"));
    }
    let path = folder.join(name).with_extension(EXTENSION);
    write_private(&path, octets)?;
    sweep(folder, room)?;
    Ok(path)
}

/// Removes what is too old, and the oldest of what is too much. How many files were removed.
///
/// # Errors
/// The disk's. A folder that is not there has nothing in it.
pub(super) fn sweep(folder: &Path, room: Room) -> io::Result<usize> {
    let mut files = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // A temporary file begins with a dot; one is left where the power failed.
        let temporary = name.starts_with('.') && name.contains(".session.");
        if !temporary && !name.ends_with(".session") {
            continue;
        }
        let metadata = match entry.metadata() {
            Ok(metadata) if metadata.is_file() => metadata,
            _ => continue,
        };
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        files.push((modified, entry.path(), metadata.len()));
    }
    // The youngest first.
    files.sort_by(|one, other| other.cmp(one));
    let (mut octets, mut kept, mut removed) = (0_u64, 0, 0);
    let now = SystemTime::now();
    for (modified, path, size) in files {
        octets = octets.saturating_add(size);
        let old = now.duration_since(modified).is_ok_and(|age| age >= room.expire);
        if old || octets > room.octets || kept >= room.files {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => removed += 1,
            }
        } else {
            kept += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn old_files_make_room_for_new_ones() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room { files: 3, octets: 100, expire: Duration::from_secs(3600) };
        let names = || {
            let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        fs::write(folder.path().join("somebody-elses"), "x").unwrap();
        for name in ["a", "b", "c", "d"] {
            let path = keep(folder.path(), name, b"0123456789", room).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(names(), ["b.session", "c.session", "d.session", "somebody-elses"]);
        keep(folder.path(), "e", &[b'x'; 85], room).unwrap();
        assert_eq!(names(), ["d.session", "e.session", "somebody-elses"]);
        assert!(keep(folder.path(), "f", &[b'x'; 101], room).is_err());
        fs::write(folder.path().join(".g.session.0123456789abcdef"), "part").unwrap();
        let over = Room { expire: Duration::ZERO, ..room };
        assert_eq!(sweep(folder.path(), over).unwrap(), 3);
        assert_eq!(names(), ["somebody-elses"]);
        assert_eq!(sweep(&folder.path().join("none"), room).unwrap(), 0);
    }
}
