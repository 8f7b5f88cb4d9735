//! The logins as the running server sees them: the users file in memory, the hashing pool, the memory of failures.
//!
//! Owns what all exchanges share. Refuses to know any one exchange. A file that turns bad is an error to whoever
//! asked for the reload; the users read before stay.

use std::{path::Path, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{
    file::{UsersError, UsersFile},
    hashing::Hashing,
    scram::Keys,
    throttle::Throttle,
};
use crate::files::Stamp;

/// All logins. One for the whole process, behind an [`Arc`].
#[derive(Debug)]
pub struct Users {
    path: Option<PathBuf>,
    /// Of the file that `current` was read from, or that was last found bad.
    stamp: Mutex<Option<Stamp>>,
    current: ArcSwap<UsersFile>,
    pub(super) hashing: Hashing,
    pub(super) throttle: Throttle,
}

impl Users {
    /// Reads the users file. One that does not exist (yet) is no error: nobody can log in until there is one.
    pub fn load(path: &Path) -> Result<Self, UsersError> {
        // The stamp first: a change while reading is then seen as a change at the next look.
        let stamp = Stamp::of(path).ok();
        let file = UsersFile::load(path)?;
        Ok(Self { path: Some(path.to_owned()), stamp: Mutex::new(stamp), ..Self::of(file) })
    }

    /// For a configuration that was read again: these users, reloaded, if their file is still at `path`, so that what
    /// is known of failed logins is kept; otherwise those at `path`.
    pub fn follow(self: &Arc<Self>, path: &Path) -> Result<Arc<Self>, UsersError> {
        if self.path.as_deref() != Some(path) {
            return Self::load(path).map(Arc::new);
        }
        self.reload()?;
        Ok(Arc::clone(self))
    }

    /// Nobody.
    pub fn empty() -> Self {
        Self::of(UsersFile::new(Path::new("")))
    }

    fn of(file: UsersFile) -> Self {
        Self {
            path: None,
            stamp: Mutex::new(None),
            current: ArcSwap::from_pointee(file),
            hashing: Hashing::new(),
            throttle: Throttle::default(),
        }
    }

    /// Has the file changed since it was last read, well or badly?
    pub fn changed(&self) -> bool {
        self.path.as_deref().is_some_and(|path| *self.stamp.lock() != Stamp::of(path).ok())
    }

    /// Reads the file again if it has changed; true if it had. On an error the users stay as they were, and the same
    /// bad file is not read twice.
    pub fn reload(&self) -> Result<bool, UsersError> {
        let Some(path) = self.path.as_deref() else { return Ok(false) };
        let stamp = Stamp::of(path).ok();
        if std::mem::replace(&mut *self.stamp.lock(), stamp) == stamp {
            return Ok(false);
        }
        self.current.store(Arc::new(UsersFile::load(path)?));
        Ok(true)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.current.load().users.len()
    }

    /// The hash of a prepared name's password.
    pub(super) fn password(&self, name: &str) -> Option<String> {
        self.current.load().users.get(name).map(|record| record.password.clone())
    }

    /// The keys of a prepared name, and whether they are real.
    pub(super) fn keys(&self, name: &str) -> (Keys, bool) {
        let current = self.current.load();
        // Made for everybody, so that it takes no longer for those who do not exist.
        let fake = current.fake_keys(name);
        current.users.get(name).map_or((fake, false), |record| (record.keys.clone(), true))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_and_a_bad_one_is_not_obeyed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let users = Users::load(&path).unwrap();
        assert_eq!((users.count(), users.changed(), users.reload().unwrap()), (0, false, false));

        UsersFile::edit(&path, |file| file.add("anna", "pencil").map(drop)).unwrap();
        assert!(users.changed());
        assert!(users.reload().unwrap());
        assert_eq!((users.count(), users.changed(), users.reload().unwrap()), (1, false, false));

        std::fs::write(&path, "nonsense").unwrap();
        assert!(users.reload().is_err());
        assert_eq!((users.count(), users.changed(), users.reload().unwrap()), (1, false, false));
        assert!(users.keys("anna").1);
        let users = Arc::new(users);
        assert!(Arc::ptr_eq(&users, &users.follow(&path).unwrap()));
        assert_eq!(users.follow(&folder.path().join("other.toml")).unwrap().count(), 0);
        assert!(!users.keys("berta").1);
    }
}
