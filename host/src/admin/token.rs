//! The token: who can read its file may see and change the queue.
//!
//! Owns the file `admin/token` below the data folder, made by the server and kept over restarts. Refuses a file that
//! others can read, and to be shown in a log. Fails with [`TokenError`].

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use subtle::ConstantTimeEq as _;

use crate::files;

/// Octets of chance.
const OCTETS: usize = 32;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file system says no.
    #[error("the token {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others could have read it.
    #[error("the token {0} can be read by others than its owner; remove it, and the next start makes a new one")]
    Open(PathBuf),
    /// Not what the server writes.
    #[error("{0} holds no token; remove it, and the next start makes a new one")]
    Damaged(PathBuf),
}

/// The secret. Its debug form does not show it.
#[derive(Clone)]
pub struct Token {
    text: String,
    owner: u32,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Where it is kept.
#[must_use]
pub fn file(data: &Path) -> PathBuf {
    data.join("admin").join("token")
}

impl Token {
    /// The one below this data folder.
    pub fn read(data: &Path) -> Result<Self, TokenError> {
        let path = file(data);
        let failed = |error| TokenError::Io { path: path.clone(), error };
        let mut file = File::open(&path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if found.mode() & 0o077 != 0 {
            return Err(TokenError::Open(path));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        let text = text.trim_end();
        match BASE64.decode(text) {
            Ok(octets) if octets.len() >= OCTETS => Ok(Self { text: text.to_owned(), owner: found.uid() }),
            _ => Err(TokenError::Damaged(path)),
        }
    }

    /// The same, made if there is none yet; in a folder that only the owner can look into.
    pub fn read_or_make(data: &Path) -> Result<Self, TokenError> {
        match Self::read(data) {
            Err(TokenError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                let path = file(data);
                let text = BASE64.encode(rand::random::<[u8; OCTETS]>());
                files::write_private(&path, format!("{text}\n").as_bytes())
                    .map_err(|error| TokenError::Io { path, error })?;
                Self::read(data)
            }
            other => other,
        }
    }

    /// Is it this one? How much of it was right does not show in the time that it takes.
    #[must_use]
    pub fn is(&self, shown: &[u8]) -> bool {
        self.text.as_bytes().ct_eq(shown).into()
    }

    /// The field that shows it: RFC 6750 section 2.1.
    #[must_use]
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.text)
    }

    /// The user whose file it is: the server's. Whoever is that, or root, can read it anyway.
    #[must_use]
    pub fn owner(&self) -> u32 {
        self.owner
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_token_is_made_once_and_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Token::read(folder.path()), Err(TokenError::Io { .. })), "reading makes none");
        let made = Token::read_or_make(folder.path()).unwrap();
        let again = Token::read_or_make(folder.path()).unwrap();
        assert_eq!((&made.text, made.owner), (&again.text, rustix::process::getuid().as_raw()));
        assert!(made.is(again.text.as_bytes()) && !made.is(b"") && !made.is(&made.text.as_bytes()[1..]));
        assert_eq!(format!("{made:?}"), "Token(..)");
        let path = file(folder.path());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for (mode, text, expected) in [
            (0o640, made.text.as_str(), "can be read by others"),
            (0o600, "short\n", "no token"),
            (0o600, "", "no token"),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Token::read_or_make(folder.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{mode:o} {text:?}: {error}");
        }
    }
}
