//! argon2id, slow on purpose, in a pool that is small on purpose.
//!
//! Owns the parameters and the pool. Refuses to know users. Fails by [`Busy`] when too many wait already: memory
//! and threads are bounded whatever arrives.

use std::sync::Arc;

use argon2::{
    Argon2, PasswordHasher, PasswordVerifier,
    password_hash::{PasswordHash, SaltString},
};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use tokio::sync::Semaphore;

/// How many verifications may wait for a free worker.
const WAITING: usize = 64;
/// Each worker needs 19 MiB while it works.
const WORKERS_MOST: usize = 8;

/// Too many verifications are waiting.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// The pool, and a hash that no password fits for names that nobody has.
#[derive(Debug)]
pub(super) struct Hashing {
    /// Working or waiting.
    places: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    nobody: String,
}

/// Hashes a prepared password with a new salt: argon2id, 19 MiB, two passes, one lane (OWASP's first choice).
pub(super) fn hash(password: &[u8]) -> Result<String, argon2::password_hash::Error> {
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>())?;
    Ok(Argon2::default().hash_password(password, &salt)?.to_string())
}

impl Hashing {
    pub(super) fn new() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MOST);
        Self::sized(workers, WAITING)
    }

    fn sized(workers: usize, waiting: usize) -> Self {
        let nobody = format!(
            "$argon2id$v=19$m=19456,t=2,p=1${}${}",
            BASE64.encode(rand::random::<[u8; 16]>()),
            BASE64.encode(rand::random::<[u8; 32]>())
        );
        let (places, workers) = (Arc::new(Semaphore::new(workers + waiting)), Arc::new(Semaphore::new(workers)));
        Self { places, workers, nobody }
    }

    /// Does the prepared password fit the PHC string? `None` is a user that does not exist: the same work, then no.
    pub(super) async fn verify(&self, hash: Option<String>, password: Vec<u8>) -> Result<bool, Busy> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Busy)?;
        let worker = Arc::clone(&self.workers).acquire_owned().await.map_err(|_| Busy)?;
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        let fits = tokio::task::spawn_blocking(move || {
            // Held until the work is done, even if nobody waits for it any more.
            let _held = (place, worker);
            let Ok(hash) = PasswordHash::new(&hash) else { return false };
            // The parameters are the hash's own; the comparison inside takes constant time.
            Argon2::default().verify_password(&password, &hash).is_ok()
        });
        Ok(fits.await.unwrap_or(false) & known)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn right_wrong_and_nobody() {
        let pool = Hashing::new();
        let hash = hash(b"pencil").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let check = async |hash: Option<&String>, password: &[u8], expected| {
            assert_eq!(pool.verify(hash.cloned(), password.to_vec()).await, Ok(expected));
        };
        check(Some(&hash), b"pencil", true).await;
        check(Some(&hash), b"Pencil", false).await;
        check(Some(&hash), b"", false).await;
        check(None, b"pencil", false).await;
        PasswordHash::new(&pool.nobody).expect("as costly as a real one");
    }

    #[tokio::test]
    async fn more_than_the_pool_holds_is_refused_at_once() {
        let pool = Hashing::sized(1, 1);
        let tries = (0..3).map(|_| pool.verify(None, b"x".to_vec()));
        let [first, second, third] = tries.collect::<Vec<_>>().try_into().ok().unwrap();
        assert_eq!(tokio::join!(first, second, third), (Ok(false), Ok(false), Err(Busy)));
        assert_eq!(pool.verify(None, b"x".to_vec()).await, Ok(false), "free again");
    }
}
