//! The users file: what `hermetic user` writes and the server reads.
//!
//! Owns the form on disk and what a good entry is. Refuses to know logins. Fails by [`UsersError`], the operator's, in
//! one sentence.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use argon2::PasswordHash;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};

use super::{hashing, prepare, scram::Keys};
use crate::files::{self, Stamp};

/// Rounds of PBKDF2 for new users. RFC 7677 wants 4096 or more; the client pays them at each login.
const ITERATIONS: u32 = 32_768;
const ITERATIONS_LEAST: u32 = 4096;
const SALT_OCTETS: usize = 16;
/// Octets of a name after preparation.
const NAME_MOST: usize = 255;

const HEADER: &str = "\
# The logins of this server, written by `hermetic user`. Nobody else needs to read it.
# `secret` makes the salts that are shown for names that do not exist; if it changes, they change.

";

/// What is wrong with the users file, or with a name or password that should go into it.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// It cannot be read.
    #[error("cannot read the users file {}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the users file {}: {error}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others could read or replace the password hashes.
    #[error("the users file {0} is open to everybody on this machine; run: chmod 600 {0}", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
    },
    /// It is not what `hermetic user` writes.
    #[error("the users file {} is damaged: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// A name that cannot be a login.
    #[error("{0:?} cannot be a user name: it must not be empty, longer than 255 octets, or hold control characters")]
    Name(String),
    /// A password that clients could not send.
    #[error("the password must not be empty or hold control or unassigned characters")]
    Password,
    /// `add` of a name that is there.
    #[error("there is a user {0:?} already; remove it first to give it a new password")]
    Exists(String),
    /// `remove` of a name that is not there.
    #[error("there is no user {0:?}")]
    Unknown(String),
    /// The password could not be hashed: ours.
    #[error("the password could not be hashed: {0}")]
    Hash(String),
}

/// What is kept of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// argon2id as a PHC string.
    pub(super) password: String,
    pub(super) keys: Keys,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    secret: String,
    #[serde(default, rename = "user")]
    users: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    password: String,
    scram_sha_256: ScramEntry,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ScramEntry {
    salt: String,
    iterations: u32,
    stored_key: String,
    server_key: String,
}

/// The file's content, to be looked at or changed. Names are prepared.
#[derive(Clone, Debug)]
pub struct UsersFile {
    path: PathBuf,
    pub(super) secret: [u8; 32],
    pub(super) users: BTreeMap<String, Record>,
}

impl UsersFile {
    /// Reads the file. One that does not exist holds no users.
    pub fn load(path: &Path) -> Result<Self, UsersError> {
        let stamp = match Stamp::of(path) {
            Ok(stamp) => stamp,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::new(path)),
            Err(error) => return Err(UsersError::Read { path: path.to_owned(), error }),
        };
        if stamp.open_to_the_world() {
            return Err(UsersError::Exposed { path: path.to_owned() });
        }
        let text = fs::read_to_string(path).map_err(|error| UsersError::Read { path: path.to_owned(), error })?;
        Self::parse(path, &text).map_err(|reason| UsersError::Damaged { path: path.to_owned(), reason })
    }

    /// No users, and a secret of its own.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), secret: rand::random(), users: BTreeMap::new() }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, String> {
        // The error's own words would show the line, and with it a hash.
        let on_disk: OnDisk = toml::from_str(text).map_err(|error| match error.span() {
            Some(span) => {
                let line = text.get(..span.start).map_or(0, |before| before.matches('\n').count()) + 1;
                format!("line {line}: {}", error.message())
            }
            None => error.message().to_owned(),
        })?;
        let secret = octets(&on_disk.secret).ok_or("`secret` must be 32 octets in base64")?;
        let mut users = BTreeMap::new();
        for (name, entry) in on_disk.users {
            let prepared = prepare(&name).ok_or_else(|| format!("{name:?} cannot be a user name"))?;
            let record = entry.record().map_err(|reason| format!("user {name:?}: {reason}"))?;
            if users.insert(prepared, record).is_some() {
                return Err(format!("user {name:?} is there twice"));
            }
        }
        Ok(Self { path: path.to_owned(), secret, users })
    }

    /// Changes the file: reads it, applies `change`, writes it whole, while a lock keeps others from doing the same.
    pub fn edit(path: &Path, change: impl FnOnce(&mut Self) -> Result<(), UsersError>) -> Result<(), UsersError> {
        let failed = |error| UsersError::Write { path: path.to_owned(), error };
        files::make_private_folder(&files::folder_of(path)).map_err(failed)?;
        let lock = Self::lock(path).map_err(failed)?;
        let mut file = Self::load(path)?;
        change(&mut file)?;
        file.save()?;
        drop(lock);
        Ok(())
    }

    /// The users file itself is replaced at each change, so the lock is on a file beside it that stays.
    fn lock(path: &Path) -> io::Result<File> {
        let beside = path.with_extension("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(beside)?;
        file.lock()?;
        Ok(file)
    }

    fn save(&self) -> Result<(), UsersError> {
        let users = self.users.iter().map(|(name, record)| (name.clone(), Entry::of(record))).collect();
        let failed = |error| UsersError::Write { path: self.path.clone(), error };
        let text = toml::to_string(&OnDisk { secret: BASE64.encode(self.secret), users })
            .map_err(|error| failed(io::Error::other(error)))?;
        files::write_private(&self.path, (HEADER.to_owned() + &text).as_bytes()).map_err(failed)
    }

    /// Could this name be added? Returns it as it would be kept.
    pub fn check_new(&self, name: &str) -> Result<String, UsersError> {
        let prepared =
            prepare(name).filter(|name| name.len() <= NAME_MOST).ok_or_else(|| UsersError::Name(name.to_owned()))?;
        if self.users.contains_key(&prepared) { Err(UsersError::Exists(prepared)) } else { Ok(prepared) }
    }

    /// Adds a user and returns the name as it is kept. Takes a good fraction of a second: two slow hashes.
    pub fn add(&mut self, name: &str, password: &str) -> Result<String, UsersError> {
        let prepared = self.check_new(name)?;
        let password = prepare(password).ok_or(UsersError::Password)?;
        let hash = hashing::hash(password.as_bytes()).map_err(|error| UsersError::Hash(error.to_string()))?;
        let keys = Keys::derive(&password, rand::random::<[u8; SALT_OCTETS]>().to_vec(), ITERATIONS);
        self.users.insert(prepared.clone(), Record { password: hash, keys });
        Ok(prepared)
    }

    /// Removes a user.
    pub fn remove(&mut self, name: &str) -> Result<(), UsersError> {
        prepare(name)
            .and_then(|prepared| self.users.remove(&prepared))
            .map(drop)
            .ok_or_else(|| UsersError::Unknown(name.to_owned()))
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// What the server shows for `name` if it is nobody's: a salt that is always the same and cannot be told from a
    /// real one, as long as the salt of a user who exists and with that user's iterations. The keys fit no password.
    pub(super) fn fake_keys(&self, name: &str) -> Keys {
        let drawn = super::scram::hmac(&self.secret, &[b"whose", name.as_bytes()]);
        let whose = match self.users.len() as u64 {
            0 => None,
            n => self.users.values().nth((u64::from_be_bytes(first_eight(&drawn)) % n) as usize),
        };
        let (octets, iterations) =
            whose.map_or((SALT_OCTETS, ITERATIONS), |r| (r.keys.salt.len().min(32), r.keys.iterations));
        let salt = super::scram::hmac(&self.secret, &[b"salt", name.as_bytes()])[..octets].to_vec();
        Keys { salt, iterations, stored_key: drawn, server_key: drawn }
    }
}

fn first_eight(octets: &[u8; 32]) -> [u8; 8] {
    std::array::from_fn(|i| octets[i])
}

fn octets<const N: usize>(base64: &str) -> Option<[u8; N]> {
    BASE64.decode(base64).ok()?.try_into().ok()
}

impl Entry {
    fn of(record: &Record) -> Self {
        Self {
            password: record.password.clone(),
            scram_sha_256: ScramEntry {
                salt: BASE64.encode(&record.keys.salt),
                iterations: record.keys.iterations,
                stored_key: BASE64.encode(record.keys.stored_key),
                server_key: BASE64.encode(record.keys.server_key),
            },
        }
    }

    fn record(self) -> Result<Record, &'static str> {
        match PasswordHash::new(&self.password) {
            Ok(hash) if hash.algorithm == argon2::ARGON2ID_IDENT && hash.hash.is_some() => {}
            _ => return Err("`password` must be an argon2id hash in PHC form"),
        }
        let scram = self.scram_sha_256;
        if scram.iterations < ITERATIONS_LEAST {
            return Err("`iterations` must be at least 4096");
        }
        let salt = BASE64.decode(&scram.salt).ok().filter(|salt| !salt.is_empty() && salt.len() <= 256);
        let keys = Keys {
            salt: salt.ok_or("`salt` must be 1 to 256 octets in base64")?,
            iterations: scram.iterations,
            stored_key: octets(&scram.stored_key).ok_or("`stored-key` must be 32 octets in base64")?,
            server_key: octets(&scram.server_key).ok_or("`server-key` must be 32 octets in base64")?,
        };
        Ok(Record { password: self.password, keys })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_added_is_read_again_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        UsersFile::edit(&path, |users| {
            assert_eq!(users.add("anna", "pencil").unwrap(), "anna");
            assert_eq!(users.add("a.b \"c\"", "other").unwrap(), "a.b \"c\"");
            // U+00AD maps to nothing and U+2168 to IX: SASLprep's own examples (RFC 4013 section 3).
            assert_eq!(users.add("I\u{ad}X", "p").unwrap(), "IX");
            assert!(matches!(users.add("\u{2168}", "p"), Err(UsersError::Exists(name)) if name == "IX"));
            assert!(matches!(users.add("", "p"), Err(UsersError::Name(_))));
            assert!(matches!(users.add("a\0b", "p"), Err(UsersError::Name(_))));
            assert!(matches!(users.add("b", ""), Err(UsersError::Password)));
            Ok(())
        })
        .unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = UsersFile::load(&path).unwrap();
        assert_eq!(read.names().collect::<Vec<_>>(), ["IX", "a.b \"c\"", "anna"]);
        assert!(!fs::read_to_string(&path).unwrap().contains("pencil"));

        UsersFile::edit(&path, |users| {
            assert!(matches!(users.remove("nobody"), Err(UsersError::Unknown(_))));
            users.remove("\u{2168}")
        })
        .unwrap();
        let again = UsersFile::load(&path).unwrap();
        assert_eq!(again.names().collect::<Vec<_>>(), ["a.b \"c\"", "anna"]);
        assert_eq!((again.secret, &again.users["anna"]), (read.secret, &read.users["anna"]));
    }

    #[test]
    fn a_bad_file_is_refused_with_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        UsersFile::edit(&path, |users| users.add("anna", "pencil").map(drop)).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let check = |from: &str, to: &str, expected: &str| {
            assert!(good.contains(from), "{from:?} is not in {good}");
            let error = UsersFile::parse(&path, &good.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{from:?} -> {to:?}: {error}");
        };
        check("secret = \"", "secret = \"A", "`secret`");
        check("iterations = 32768", "iterations = 4095", "4096");
        check("$argon2id$", "$argon2i$", "argon2id");
        check("iterations =", "rounds =", "line");
        check("stored-key = \"", "stored-key = \"AAAA", "`stored-key`");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = UsersFile::load(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        UsersFile::load(&path).unwrap();
    }

    #[test]
    fn the_salt_of_nobody_is_stable_and_looks_real() {
        let mut users = UsersFile::new(Path::new("unused"));
        let alone = users.fake_keys("ghost");
        assert_eq!((alone.salt.len(), alone.iterations), (SALT_OCTETS, ITERATIONS));
        let keys = Keys { salt: vec![1; 24], iterations: 5000, stored_key: [0; 32], server_key: [0; 32] };
        users.users.insert("anna".into(), Record { password: String::new(), keys });
        let fake = users.fake_keys("ghost");
        assert_eq!((fake.salt.len(), fake.iterations), (24, 5000));
        assert_eq!(fake, users.fake_keys("ghost"));
        assert_ne!(fake.salt, users.fake_keys("spirit").salt);
        users.secret = [9; 32];
        assert_ne!(fake.salt, users.fake_keys("ghost").salt, "without the secret it cannot be computed");
    }
}
