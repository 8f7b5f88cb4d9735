//! What plugins keep, for all nodes: a stream with one record for each key, which vanishes at its time.
//!
//! Owns that stream, and a thread with a connection of its own, so that whoever can only wait by blocking may. Refuses to know quotas and
//! counters. Fails with what the servers say; a plugin is told that its database is not available. A flood here is no part of the mail's
//! stream.
//!
//! What one node has written the other reads: reads are answered by the server that leads. A write may ask that the record is still
//! the one that was read, so that of two nodes that count at once none is lost.

use std::{
    future::Future,
    sync::mpsc,
    time::{Duration, Instant},
};

use async_nats::{
    Client, HeaderMap, Request,
    jetstream::{
        self,
        consumer::{AckPolicy, DeliverPolicy, pull},
        stream::{Config, RawMessageErrorKind, StorageType, Stream},
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};

use super::open::{self, OpenError, Settings};

/// How long whoever asks is kept waiting.
const WAIT: Duration = Duration::from_secs(5);
/// An answer to one of several tries.
const ANSWER: Duration = Duration::from_millis(1500);

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// As it was put.
    pub value: Vec<u8>,
    /// Seconds since 1970; 0: never.
    pub expires: u64,
    /// Of this record.
    pub version: u64,
}

#[derive(Serialize, Deserialize)]
struct Head {
    v: u32,
    expires: u64,
}

#[derive(Clone)]
struct Way {
    client: Client,
    stream: Stream<()>,
    name: String,
}

/// See the module.
pub struct Keys {
    way: Way,
    runtime: Option<tokio::runtime::Runtime>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("stream", &self.way.name).finish_non_exhaustive()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn config(name: &str, replicas: usize) -> Config {
    Config {
        name: name.into(),
        subjects: vec![format!("{name}.>")],
        storage: StorageType::File,
        num_replicas: replicas,
        max_messages_per_subject: 1,
        max_bytes: -1,
        max_messages: -1,
        max_consumers: -1,
        allow_message_ttl: true,
        duplicate_window: Duration::from_secs(120),
        ..Config::default()
    }
}

impl Keys {
    /// Connects, and makes the stream if need be. Blocks.
    ///
    /// # Errors
    /// As [`open::open`].
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let built = builder.worker_threads(1).thread_name("keys").enable_all().build();
        let runtime = built.map_err(|error| OpenError::Folder(format!("no threads to run on: {error}")))?;
        let settings = settings.clone();
        let (done, result) = mpsc::channel();
        runtime.spawn(async move {
            let way = async {
                let client = open::connect(&settings).await?;
                let context = jetstream::new(client.clone());
                let name = format!("{}-KEYS", settings.name);
                open::stream(&context, config(&name, settings.replicas)).await?;
                let stream = context.get_stream_no_info(&name).await;
                let stream = stream.map_err(|error| OpenError::Servers(error.to_string()))?;
                Ok(Way { client, stream, name })
            };
            let _ = done.send(way.await);
        });
        let way = result.recv().unwrap_or_else(|error| Err(OpenError::Folder(error.to_string())))?;
        Ok(Self { way, runtime: Some(runtime) })
    }

    /// Waits for it, and not for long.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, String>> + Send + 'static,
    ) -> Result<T, String> {
        let runtime = self.runtime.as_ref().ok_or("closed")?;
        let (done, result) = mpsc::channel();
        runtime.spawn(async move {
            let _ = done.send(work.await);
        });
        result.recv_timeout(WAIT).map_err(|_| "no majority of the NATS servers answers in time".to_owned())?
    }

    /// What is there under a key; what has expired may be there for a moment more.
    ///
    /// # Errors
    /// What the servers say.
    pub fn get(&self, part: &str, key: &str) -> Result<Option<Kept>, String> {
        let (way, subject) = (self.way.clone(), subject(&self.way.name, part, key));
        self.wait(async move { way.read(&subject).await })
    }

    /// Puts it there. `after`: only if what is there is of this version (0: nothing). False: it is not.
    ///
    /// # Errors
    /// What the servers say.
    pub fn put(
        &self,
        part: &str,
        key: &str,
        value: &[u8],
        expires: u64,
        now: u64,
        after: Option<u64>,
    ) -> Result<bool, String> {
        let head = serde_json::to_vec(&Head { v: 1, expires }).map_err(|error| error.to_string())?;
        let record = Bytes::from([&head, &b"\n"[..], value].concat());
        let seconds = (expires > 0).then(|| expires.saturating_sub(now).max(1));
        let (way, subject) = (self.way.clone(), subject(&self.way.name, part, key));
        self.wait(async move { way.write(subject, record, seconds, after).await })
    }

    /// Nothing is there any more.
    ///
    /// # Errors
    /// What the servers say.
    pub fn remove(&self, part: &str, key: &str) -> Result<(), String> {
        let (way, subject) = (self.way.clone(), subject(&self.way.name, part, key));
        self.wait(async move {
            let purged = way.stream.purge().filter(subject).await;
            purged.map(drop).map_err(|error| error.to_string())
        })
    }

    /// All keys of a part with what is there.
    ///
    /// # Errors
    /// What the servers say.
    pub fn all(&self, part: &str) -> Result<Vec<(String, Kept)>, String> {
        let (way, filter) = (self.way.clone(), format!("{}.{}.>", self.way.name, encode(part)));
        self.wait(async move { way.all(filter).await })
    }
}

fn encode(text: &str) -> String {
    // A level may not be empty.
    format!("k{}", URL_SAFE_NO_PAD.encode(text))
}

fn subject(name: &str, part: &str, key: &str) -> String {
    format!("{name}.{}.{}", encode(part), encode(key))
}

fn decode(record: &[u8], version: u64) -> Option<Kept> {
    let end = record.iter().position(|octet| *octet == b'\n')?;
    let head: Head = serde_json::from_slice(&record[..end]).ok()?;
    Some(Kept { value: record[end + 1..].to_vec(), expires: head.expires, version })
}

impl Way {
    async fn read(&self, subject: &str) -> Result<Option<Kept>, String> {
        match self.stream.get_last_raw_message_by_subject(subject).await {
            Ok(found) => Ok(decode(&found.payload, found.sequence)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn write(
        &self,
        subject: String,
        record: Bytes,
        seconds: Option<u64>,
        after: Option<u64>,
    ) -> Result<bool, String> {
        #[derive(Deserialize)]
        struct Refusal {
            err_code: u16,
            #[serde(default)]
            description: String,
        }
        #[derive(Deserialize)]
        struct Answer {
            error: Option<Refusal>,
        }
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", super::work::unique().as_str());
        if let Some(seconds) = seconds {
            headers.insert("Nats-TTL", format!("{seconds}s").as_str());
        }
        if let Some(after) = after {
            headers.insert("Nats-Expected-Last-Subject-Sequence", after.to_string().as_str());
        }
        let until = Instant::now() + WAIT;
        loop {
            let request = Request::new().payload(record.clone()).headers(headers.clone()).timeout(Some(ANSWER));
            let fault = match self.client.send_request(subject.clone(), request).await {
                Ok(answer) => match serde_json::from_slice::<Answer>(&answer.payload) {
                    Ok(Answer { error: None }) => return Ok(true),
                    Ok(Answer { error: Some(Refusal { err_code: 10_071 | 10_164, .. }) }) => return Ok(false),
                    Ok(Answer { error: Some(refusal) }) => refusal.description,
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            };
            if Instant::now() > until {
                return Err(fault);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn all(&self, filter: String) -> Result<Vec<(String, Kept)>, String> {
        let consumer = self.stream.create_consumer(pull::Config {
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            filter_subject: filter,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: Duration::from_secs(30),
            ..pull::Config::default()
        });
        let consumer = consumer.await.map_err(|error| error.to_string())?;
        let mut left = consumer.cached_info().num_pending;
        let mut found = Vec::new();
        if left == 0 {
            return Ok(found);
        }
        let mut messages = consumer.messages().await.map_err(|error| error.to_string())?;
        while left > 0 {
            let Some(message) = messages.next().await else { break };
            let message = message.map_err(|error| error.to_string())?;
            let info = message.info().map_err(|error| error.to_string())?;
            let version = info.stream_sequence;
            left = info.pending;
            let key = message.subject.rsplit('.').next().and_then(|key| key.strip_prefix('k'));
            let key = key.and_then(|key| URL_SAFE_NO_PAD.decode(key).ok()).and_then(|key| String::from_utf8(key).ok());
            found.extend(key.zip(decode(&message.payload, version)));
        }
        Ok(found)
    }
}
