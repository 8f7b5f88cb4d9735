//! A Maildir, read.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a rig for tests: a panic is how a test fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a delivery may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with `new`, `cur` and `tmp`; it need not exist yet.
#[derive(Clone, Debug)]
pub struct Maildir {
    folder: PathBuf,
}

impl Maildir {
    /// Looks nowhere yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files in `new` and `cur`.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut all = Vec::new();
        for part in ["new", "cur"] {
            all.extend(fs::read_dir(self.folder.join(part)).into_iter().flatten().flatten().map(|e| e.path()));
        }
        all.sort();
        all
    }

    /// The messages in `new` and `cur`.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.files().iter().map(|f| fs::read(f).unwrap_or_else(|e| panic!("{}: {e}", f.display()))).collect()
    }

    /// Waits for the one message that has this word in it. Panics when there is none in time, or more than one.
    pub fn one(&self, word: &str) -> Vec<u8> {
        let end = Instant::now() + PATIENCE;
        loop {
            let mut found: Vec<_> =
                self.messages().into_iter().filter(|m| m.windows(word.len()).any(|w| w == word.as_bytes())).collect();
            if found.len() == 1 {
                return found.remove(0);
            }
            assert!(found.is_empty(), "{} messages with {word} in {}", found.len(), self.folder.display());
            assert!(Instant::now() < end, "no message with {word} in {} within {PATIENCE:?}", self.folder.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
