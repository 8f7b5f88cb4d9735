//! How recipients were judged, for `hermetic why`: a stream of its own, from which the oldest go.
//!
//! Owns that stream. Refuses to hold up mail: what can not be written is not kept, and what was judged in the moment before a crash may
//! be missing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client,
    jetstream::stream::{Config, DiscardPolicy, StorageType},
};
use serde::{Deserialize, Serialize};

use super::{
    link::{ANSWER, Fault, Link},
    work::unique,
};
use crate::store::{MessageId, Timestamp, VERDICTS_AGE, VERDICTS_MOST, Verdicts};

/// Records that are on their way.
const RECORDING: usize = 4096;

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    transaction: String,
    message: Option<String>,
    recipients: u32,
    judged: String,
    at: Timestamp,
}

/// See the module.
pub(super) struct Why {
    client: Client,
    name: String,
    under_way: Arc<AtomicUsize>,
}

/// The stream's settings.
pub(super) fn config(name: &str, replicas: usize) -> Config {
    Config {
        name: stream(name),
        subjects: vec![format!("{}.>", stream(name))],
        storage: StorageType::File,
        num_replicas: replicas,
        discard: DiscardPolicy::Old,
        max_age: VERDICTS_AGE,
        max_messages: i64::try_from(VERDICTS_MOST).unwrap_or(i64::MAX),
        max_bytes: 1 << 30,
        max_consumers: -1,
        ..Config::default()
    }
}

fn stream(name: &str) -> String {
    format!("{name}-WHY")
}

/// What a subject may have, level by level.
fn tokens(text: &str) -> String {
    let level = |level: &str| -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
        if level.is_empty() { "_".into() } else { level.chars().map(plain).collect() }
    };
    text.split('.').take(8).map(level).collect::<Vec<_>>().join(".")
}

impl Why {
    pub(super) fn new(client: Client, name: &str) -> Self {
        Self { client, name: stream(name), under_way: Arc::default() }
    }

    /// Keeps it, if there is not too much on its way.
    pub(super) fn record(&self, verdicts: &Verdicts) {
        if self.under_way.fetch_add(1, Ordering::Relaxed) > RECORDING {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let message = verdicts.message.map(|id| id.to_string());
        let of = message.as_deref().unwrap_or("_");
        let subject = format!("{}.{of}.{}.{}", self.name, tokens(&verdicts.transaction), unique());
        let stored = Stored {
            v: 1,
            transaction: verdicts.transaction.clone(),
            message,
            recipients: verdicts.recipients,
            judged: verdicts.judged.clone(),
            at: verdicts.at,
        };
        let (client, under_way) = (self.client.clone(), self.under_way.clone());
        tokio::spawn(async move {
            if let Ok(record) = serde_json::to_vec(&stored) {
                let _ = client.request(subject, record.into()).await;
            }
            under_way.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// See [`crate::store::Store::verdicts`].
    pub(super) async fn of(&self, id: &str) -> Result<Vec<Verdicts>, Fault> {
        let waiting = tokio::time::Instant::now() + ANSWER;
        while self.under_way.load(Ordering::Relaxed) > 0 && tokio::time::Instant::now() < waiting {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut wanted = vec![id.to_owned()];
        if MessageId::from_string(id).is_ok() {
            let of_message = self.read(vec![format!("{}.{id}.>", self.name)]).await?;
            wanted.extend(of_message.into_iter().map(|one| one.transaction));
            wanted.sort();
            wanted.dedup();
        }
        let filters = wanted.iter().take(50).flat_map(|id| {
            let tokens = tokens(id);
            [format!("{}.*.{tokens}.*", self.name), format!("{}.*.{tokens}.*.*", self.name)]
        });
        let found = self.read(filters.collect()).await?;
        let of = |transaction: &str| {
            wanted.iter().any(|id| {
                transaction.strip_prefix(id.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        Ok(found.into_iter().filter(|one| of(&one.transaction)).collect())
    }

    /// The records of these subjects, oldest first.
    async fn read(&self, filters: Vec<String>) -> Result<Vec<Verdicts>, Fault> {
        let link = Link::open(self.client.clone(), &self.name).await?;
        let mut found = Vec::new();
        for filter in filters {
            for subject in link.subjects(&filter).await? {
                found.extend(link.last(&subject).await?);
            }
        }
        found.sort_by_key(|record| record.sequence);
        found.dedup_by_key(|record| record.sequence);
        let read = found.into_iter().filter_map(|record| {
            let Stored { transaction, message, recipients, judged, at, v: _ } =
                serde_json::from_slice(&record.payload).ok()?;
            let message = message.and_then(|id| MessageId::from_string(&id).ok());
            Some(Verdicts { transaction, message, recipients, judged, at })
        });
        Ok(read.collect())
    }
}
