//! The store that the configuration wants.
//!
//! Owns the choice and how keys become a store's settings. Refuses to know what is kept. Fails as the store does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use super::serve::ServeError;
use crate::{
    config::{Config, StoreKind, StoreSync},
    observe::Metrics,
    plugin::{Elsewhere, Kept},
    store::{
        Filter, NewEntry, Pending, Store,
        jetstream::{self, Durability, Keys, Placement, Settings},
        sqlite::{Beside, SqliteStore},
    },
};

/// How long a start waits for NATS servers that come up together with it, or choose who leads.
const READY: Duration = Duration::from_secs(45);
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// Opens it.
pub(super) async fn open(config: &Arc<ArcSwap<Config>>, metrics: &Arc<Metrics>) -> Result<Arc<dyn Store>, ServeError> {
    let current = config.load_full();
    let Some(settings) = settings(&current) else {
        return Ok(SqliteStore::open(&current.data, current.limits.free_space, metrics.clone())?);
    };
    warn_of_others(&current);
    let placement = placement(config.clone());
    let began = Instant::now();
    loop {
        match jetstream::open(&settings, &current.data, placement.clone()).await {
            Err(error) if error.may_pass() && began.elapsed() < READY => {
                tracing::warn!(%error, "the NATS servers are not ready; trying again");
                tokio::time::sleep(AGAIN).await;
            }
            done => return Ok(done?),
        }
    }
}

/// Mail that was accepted before the cluster was is not forgotten.
fn warn_of_others(config: &Config) {
    let left = Beside::open(&config.data).and_then(|store| match store {
        Some(store) => Ok(!store.find(Filter::default(), None, 1)?.entries.is_empty()),
        None => Ok(false),
    });
    match left {
        Ok(false) => {}
        Ok(true) => tracing::error!(
            data = %config.data.display(),
            "the SQLite store here still has mail, which nobody delivers; stop this server and run `hermetic cluster import`"
        ),
        Err(error) => tracing::warn!(%error, "whether the SQLite store here still has mail can not be seen"),
    }
}

/// Where entries belong: looked up in what counts when they are accepted.
pub(super) fn placement(config: Arc<ArcSwap<Config>>) -> Placement {
    Arc::new(move |entry: &NewEntry| match (&entry.pending, entry.route.mailbox()) {
        // What is judged, told or given back is so anywhere; what it becomes then has its own place.
        (Pending::Nothing, Some(mailbox)) => config.load().node_of(mailbox),
        _ => None,
    })
}

/// Where plugins keep what all nodes are to know; None: each in its own folder.
pub(super) fn keys(config: &Config) -> Result<Option<Arc<dyn Elsewhere>>, ServeError> {
    let Some(settings) = settings(config) else { return Ok(None) };
    let began = Instant::now();
    loop {
        match Keys::open(&settings) {
            Err(error) if error.may_pass() && began.elapsed() < READY => {
                tracing::warn!(%error, "the NATS servers are not ready; trying again");
                std::thread::sleep(AGAIN);
            }
            done => return Ok(Some(Arc::new(Shared(done?)))),
        }
    }
}

#[derive(Debug)]
struct Shared(Keys);

impl Elsewhere for Shared {
    fn get(&self, plugin: &str, key: &str) -> Result<Option<Kept>, String> {
        let kept = self.0.get(plugin, key)?;
        Ok(kept.map(|jetstream::Kept { value, expires, version }| Kept { value, expires, version }))
    }

    fn put(&self, plugin: &str, key: &str, kept: &Kept, now: u64, after: Option<u64>) -> Result<bool, String> {
        self.0.put(plugin, key, &kept.value, kept.expires, now, after)
    }

    fn remove(&self, plugin: &str, key: &str) -> Result<(), String> {
        self.0.remove(plugin, key)
    }

    fn all(&self, plugin: &str) -> Result<Vec<(String, Kept)>, String> {
        let kept = |jetstream::Kept { value, expires, version }| Kept { value, expires, version };
        Ok(self.0.all(plugin)?.into_iter().map(|(key, one)| (key, kept(one))).collect())
    }
}

/// None: it is not kept on NATS servers.
pub(super) fn settings(config: &Config) -> Option<Settings> {
    let keys = &config.store;
    (keys.kind == StoreKind::Jetstream).then(|| Settings {
        servers: keys.servers.clone(),
        name: keys.stream.clone(),
        node: config.node(),
        replicas: keys.replicas,
        lease: Duration::from_secs(keys.lease),
        durability: match keys.sync {
            StoreSync::Checked => Durability::Checked(keys.monitor.clone()),
            StoreSync::Declared => Durability::Declared,
            StoreSync::Weak => Durability::Weak,
        },
        user: keys.user.clone(),
        password_file: keys.password_file.clone(),
        credentials: keys.credentials.clone(),
        roots: keys.roots.clone(),
        certificate: keys.certificate.clone().zip(keys.key.clone()),
    })
}
