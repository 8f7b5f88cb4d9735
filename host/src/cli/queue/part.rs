//! A file that has its name only once it is whole and on the disk.
//!
//! Owns the way there: written as `NAME.part`, synced, renamed, and the folder synced. A file under its own name is
//! never half written, also after a crash. Refuses to replace anything. A part that is not finished is removed; one
//! that a crash left is in the way until somebody removes it. Fails as the file system does.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use crate::files::folder_of;

/// A file on its way.
pub(super) struct Part {
    file: BufWriter<File>,
    part: PathBuf,
    path: PathBuf,
}

impl Part {
    /// For its owner only.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        free(path)?;
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
        let file = file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", part.display())))?;
        Ok(Self { file: BufWriter::new(file), part, path: path.to_owned() })
    }

    /// It is whole: when this is done it will be there, whatever happens.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        match renameat_with(CWD, &self.part, CWD, &self.path, RenameFlags::NOREPLACE) {
            // Not every file system can look and rename in one step.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                free(&self.path)?;
                fs::rename(&self.part, &self.path)?;
            }
            done => done?,
        }
        File::open(folder_of(&self.path))?.sync_all()
    }
}

/// Nothing has this name.
fn free(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

impl Write for Part {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.file.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Nothing is there any more if it was finished.
        let _ = fs::remove_file(&self.part);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.eml");
        let names = || {
            let all = fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap());
            let mut all: Vec<String> = all.collect();
            all.sort();
            all
        };
        let mut part = Part::create(&path).unwrap();
        part.write_all(b"half").unwrap();
        part.flush().unwrap();
        assert_eq!(names(), ["a.eml.part"], "not under its own name yet");
        drop(part);
        assert!(names().is_empty());

        let mut part = Part::create(&path).unwrap();
        part.write_all(b"whole").unwrap();
        let second = Part::create(&path).err().unwrap().to_string();
        assert!(second.contains("a.eml.part: "), "somebody else's is not touched: {second}");
        part.finish().unwrap();
        assert_eq!((names(), fs::read(&path).unwrap()), (vec!["a.eml".to_owned()], b"whole".to_vec()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        assert_eq!(Part::create(&path).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        fs::remove_file(&path).unwrap();
        let mut part = Part::create(&path).unwrap();
        part.write_all(b"other").unwrap();
        fs::write(&path, "meanwhile").unwrap();
        assert_eq!(part.finish().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((names(), fs::read(&path).unwrap()), (vec!["a.eml".to_owned()], b"meanwhile".to_vec()));
    }
}
