//! The way to the servers: one record or several at once, acknowledged by a majority or refused as a whole.
//!
//! Owns the connection, the stream, and what is repeated when nothing is answered. Refuses to know what records mean. Fails with a
//! [`Fault`]: somebody else was first, no majority answers, or there is no room.
//!
//! Everything that is written has a name (`Nats-Msg-Id`) that is used once. An answer may be lost, and then the same is sent again:
//! the servers know the names of the last [`WINDOW`], and say that they have it. So a write is repeated without being done
//! twice, and who gives up in the end does not know whether it was done.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use async_nats::{
    Client, HeaderMap, PublishErrorKind, Request, RequestErrorKind,
    jetstream::{
        self,
        consumer::{AckPolicy, DeliverPolicy, pull},
        stream::{Config, DiscardPolicy, RawMessageErrorKind, RetentionPolicy, StorageType, Stream},
    },
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;

use super::record::{MARK, Names};
use crate::store::{StoreError, Timestamp};

/// How long servers know what was written.
const WINDOW: Duration = Duration::from_secs(120);
/// How long an answer may take before the same is sent again.
pub(super) const ANSWER: Duration = Duration::from_secs(3);
/// Before a refused write is tried again.
const AGAIN: Duration = Duration::from_millis(100);
/// Questions under way at a time.
const ASKED: usize = 64;
/// Times that a list is begun.
const LISTS: u32 = 3;
/// Records that are written at once: the servers take a thousand.
pub(super) const TOGETHER: usize = 900;

/// The header of an entry that is held.
const HELD: &str = "Hermetic-Held";
/// The header of one that is not: when it is to be looked at, milliseconds since 1970.
const NEXT: &str = "Hermetic-Next";

/// Why something was not written or read.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// What was there before was not what it was written for: nothing was written.
    Conflict,
    /// Nobody answers who may. It may have been written.
    Unavailable(String),
    /// No room.
    Full(String),
    /// Anything else that the servers say.
    Refused(String),
    /// What is there is damaged, or of a later version.
    Unreadable(String),
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Conflict => Self::Failed("it was changed meanwhile".into()),
            Fault::Unavailable(text) => Self::Failed(format!("no majority of the NATS servers answers: {text}")),
            Fault::Full(text) => Self::Full(text),
            Fault::Refused(text) => Self::Failed(format!("the NATS servers refuse: {text}")),
            Fault::Unreadable(text) => Self::Failed(text),
        }
    }
}

/// A record that is to be written.
#[derive(Clone, Debug)]
pub(super) struct Record {
    subject: String,
    payload: Bytes,
    headers: HeaderMap,
}

impl Record {
    pub(super) fn new(subject: String, payload: Bytes) -> Self {
        Self { subject, payload, headers: HeaderMap::new() }
    }

    /// A mark that something is gone.
    pub(super) fn gone(subject: String) -> Self {
        let mut record = Self::new(subject, Bytes::new());
        record.headers.insert("Nats-TTL", format!("{}s", MARK.as_secs()).as_str());
        record
    }

    /// At this time the servers write the same to `target`.
    pub(super) fn scheduled(subject: String, target: &str, at: Timestamp) -> Self {
        let mut record = Self::new(subject, Bytes::from_static(b"t"));
        // Beyond the year 9999 there is no date.
        let at = i64::try_from(at.min(253_370_764_800_000)).unwrap_or_default();
        let date = jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::MAX);
        record.headers.insert("Nats-Schedule", format!("@at {date:.3}").as_str());
        record.headers.insert("Nats-Schedule-Target", target);
        record
    }

    pub(super) fn is_for(&self, subject: &str) -> bool {
        self.subject == subject
    }

    /// An entry that is held: whoever counts need not read it.
    pub(super) fn held(mut self) -> Self {
        self.headers.insert(HELD, "1");
        self
    }

    /// An entry that is to be looked at then: whoever sweeps need not read it.
    pub(super) fn due(mut self, next: Timestamp) -> Self {
        self.headers.insert(NEXT, next.to_string().as_str());
        self
    }

    /// It vanishes by itself after so many.
    pub(super) fn for_days(mut self, days: u64) -> Self {
        self.headers.insert("Nats-TTL", format!("{}s", days * 24 * 3600).as_str());
        self
    }

    /// Only if the last record of this subject is this one; 0: there is none.
    pub(super) fn after(mut self, sequence: u64) -> Self {
        self.headers.insert("Nats-Expected-Last-Subject-Sequence", sequence.to_string().as_str());
        self
    }
}

/// A record that is there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) subject: String,
    pub(super) sequence: u64,
    /// Empty: it is gone.
    pub(super) payload: Bytes,
}

/// A record of a list.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) subject: String,
    pub(super) sequence: u64,
    /// When the servers got it, milliseconds since 1970.
    pub(super) written: Timestamp,
    /// The mark of something that is gone.
    pub(super) gone: bool,
    pub(super) held: bool,
    /// See [`Record::due`].
    pub(super) next: Option<Timestamp>,
    /// Empty if it was not asked for.
    pub(super) payload: Bytes,
}

/// Whether a list has what the records say, or only which there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    Payload,
    Headers,
}

/// What a server says to a write.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: u16,
    #[serde(default)]
    err_code: u16,
    #[serde(default)]
    description: String,
}

impl From<Refusal> for Fault {
    fn from(Refusal { code, err_code, description }: Refusal) -> Self {
        match err_code {
            10_071 | 10_164 => Self::Conflict,
            10_023 | 10_047 | 10_077 => Self::Full(description),
            // No leader, too much at once, a batch that a new leader does not know or too many of them, a name that is on its way.
            10_008 | 10_009 | 10_118 | 10_158 | 10_167 | 10_175 | 10_176 | 10_199..=10_211 => {
                Self::Unavailable(description)
            }
            _ if code == 503 => Self::Unavailable(description),
            _ => Self::Refused(description),
        }
    }
}

/// What a server says of a stream.
#[derive(Deserialize)]
struct Info {
    error: Option<Refusal>,
    #[serde(default)]
    total: usize,
    #[serde(default)]
    ts: String,
    state: Option<State>,
}

#[derive(Deserialize)]
struct State {
    subjects: Option<std::collections::HashMap<String, u64>>,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) stream: Stream<()>,
    pub(super) names: Names,
    /// How long one answer may take.
    answer: Duration,
}

/// The stream that holds everything.
pub(super) fn config(name: &str, replicas: usize) -> Config {
    Config {
        name: name.into(),
        subjects: vec![format!("{name}.>")],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: replicas,
        max_messages_per_subject: 1,
        // Nothing is ever discarded: there is no bound that would have it. A full disk refuses what comes then.
        discard: DiscardPolicy::Old,
        max_bytes: -1,
        max_messages: -1,
        max_consumers: -1,
        duplicate_window: WINDOW,
        allow_message_ttl: true,
        allow_atomic_publish: true,
        allow_message_schedules: true,
        allow_rollup: true,
        ..Config::default()
    }
}

impl Link {
    pub(super) async fn open(client: Client, name: &str) -> Result<Self, Fault> {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(ANSWER);
        let stream = context.get_stream_no_info(name).await.map_err(|error| Fault::Unavailable(error.to_string()))?;
        Ok(Self { client, stream, names: Names(name.into()), answer: ANSWER })
    }

    /// The same for whoever can not wait for long: what is asked of a server that dies is never answered.
    pub(super) fn impatient(&self, answer: Duration) -> Self {
        Self { answer: answer.min(ANSWER), ..self.clone() }
    }

    /// One record, under a name that is used once. Answers its sequence number.
    pub(super) async fn put(&self, record: Record, name: &str, patience: Duration) -> Result<u64, Fault> {
        self.commit(vec![record], name, patience).await
    }

    /// All of them or none. Answers the sequence number of the last one; those of the others are the ones before.
    pub(super) async fn commit(&self, mut records: Vec<Record>, name: &str, patience: Duration) -> Result<u64, Fault> {
        let until = Instant::now() + patience;
        if let Some(first) = records.first_mut() {
            first.headers.insert("Nats-Msg-Id", name);
        }
        loop {
            // While there is no connection, what is to be sent waits for one, and when much waits so does whoever sends.
            let once = tokio::time::timeout(2 * self.answer, self.once(&records)).await;
            let fault = match once.unwrap_or_else(|_| Err(Fault::Unavailable("it can not be sent".into()))) {
                Err(fault @ Fault::Unavailable(_)) => fault,
                done => return done,
            };
            if Instant::now() + AGAIN >= until {
                return Err(fault);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn once(&self, records: &[Record]) -> Result<u64, Fault> {
        let lost = |error: &dyn std::fmt::Display| Fault::Unavailable(error.to_string());
        let sent_not = |error: &async_nats::PublishError| match error.kind() {
            PublishErrorKind::Send => lost(error),
            PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::InvalidSubject => {
                Fault::Refused(error.to_string())
            }
        };
        let asked_not = |error: &async_nats::RequestError| match error.kind() {
            RequestErrorKind::MaxPayloadExceeded => Fault::Refused(error.to_string()),
            _ => lost(error),
        };
        let Some((last, before)) = records.split_last() else { return Ok(0) };
        let mut last = last.clone();
        if !before.is_empty() {
            let batch = self.client.new_inbox();
            let batch = batch.rsplit('.').next().unwrap_or_default().to_owned();
            for (record, number) in before.iter().zip(1_usize..) {
                let Record { subject, payload, mut headers } = record.clone();
                headers.insert("Nats-Batch-Id", batch.as_str());
                headers.insert("Nats-Batch-Sequence", number.to_string().as_str());
                let sent = self.client.publish_with_headers(subject, headers, payload);
                sent.await.map_err(|error| sent_not(&error))?;
            }
            last.headers.insert("Nats-Batch-Id", batch.as_str());
            last.headers.insert("Nats-Batch-Sequence", records.len().to_string().as_str());
            last.headers.insert("Nats-Batch-Commit", "1");
        }
        let request = Request::new().payload(last.payload).headers(last.headers).timeout(Some(self.answer));
        let answer = self.client.send_request(last.subject, request).await.map_err(|error| asked_not(&error))?;
        let answer: Answer = serde_json::from_slice(&answer.payload).map_err(|error| lost(&error))?;
        match answer.error {
            None => Ok(answer.seq),
            // Sent before, and its answer was lost. Of several at once the servers do not say which numbers they had.
            Some(Refusal { err_code: 10_201, .. }) => self.last_sequence(&records[records.len() - 1].subject).await,
            Some(refusal) => Err(refusal.into()),
        }
    }

    async fn last_sequence(&self, subject: &str) -> Result<u64, Fault> {
        Ok(self.last(subject).await?.map_or(0, |found| found.sequence))
    }

    /// The last record of a subject, which may have wildcards; marks of what is gone too.
    pub(super) async fn last(&self, subject: &str) -> Result<Option<Found>, Fault> {
        let lost = || Fault::Unavailable("no answer in time".into());
        let asked = self.stream.get_last_raw_message_by_subject(subject);
        match tokio::time::timeout(self.answer, asked).await.map_err(|_| lost())? {
            Ok(found) => {
                Ok(Some(Found { subject: found.subject.to_string(), sequence: found.sequence, payload: found.payload }))
            }
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Fault::Unavailable(error.to_string())),
        }
    }

    /// The subjects that there are, marks of what is gone included, as the stream's leader knows them.
    pub(super) async fn subjects(&self, filter: &str) -> Result<Vec<String>, Fault> {
        let mut all = Vec::new();
        loop {
            let info = self.info(serde_json::json!({ "subjects_filter": filter, "offset": all.len() })).await?;
            let some = info.state.and_then(|state| state.subjects).unwrap_or_default();
            let none = some.is_empty();
            all.extend(some.into_keys());
            if none || all.len() >= info.total {
                return Ok(all);
            }
        }
    }

    /// What time it is there, milliseconds since 1970.
    pub(super) async fn time(&self) -> Result<Timestamp, Fault> {
        let info = self.info(serde_json::json!({})).await?;
        let read = info.ts.parse::<jiff::Timestamp>().map_err(|error| Fault::Refused(error.to_string()))?;
        Ok(Timestamp::try_from(read.as_millisecond()).unwrap_or_default())
    }

    async fn info(&self, question: serde_json::Value) -> Result<Info, Fault> {
        let lost = |error: &dyn std::fmt::Display| Fault::Unavailable(error.to_string());
        let request = Request::new().payload(question.to_string().into()).timeout(Some(self.answer));
        let asked = self.client.send_request(format!("$JS.API.STREAM.INFO.{}", self.names.0), request);
        let answer = tokio::time::timeout(2 * self.answer, asked).await;
        let answer = answer.map_err(|_| Fault::Unavailable("it can not be asked".into()))?;
        let answer = answer.map_err(|error| lost(&error))?;
        let info: Info = serde_json::from_slice(&answer.payload).map_err(|error| lost(&error))?;
        match info.error {
            Some(refusal) => Err(refusal.into()),
            None => Ok(info),
        }
    }

    /// The records of these subjects that are there.
    pub(super) async fn scan(&self, filter: String, with: With) -> Result<Vec<Listed>, Fault> {
        let mut found = self.scan_all(filter, with).await?;
        found.retain(|listed| !listed.gone);
        Ok(found)
    }

    /// Of these subjects those that are not among the `seen`, as the stream's leader knows them; each is asked for by itself.
    pub(super) async fn unseen(&self, filter: &str, seen: &HashSet<String>) -> Result<Vec<Found>, Fault> {
        let subjects = self.subjects(filter).await?.into_iter().filter(|subject| !seen.contains(subject));
        let asked: Vec<_> = subjects.map(|subject| async move { self.last(&subject).await }).collect();
        let asked: Vec<_> = stream::iter(asked).buffer_unordered(ASKED).collect().await;
        let found = asked.into_iter().filter_map(Result::transpose).filter(|found| match found {
            Ok(found) => !found.payload.is_empty(),
            Err(_) => true,
        });
        found.collect()
    }

    /// The same, marks of what is gone included. They are those of one server, which may be a moment behind, or more if it
    /// has just come back.
    pub(super) async fn scan_all(&self, filter: String, with: With) -> Result<Vec<Listed>, Fault> {
        let mut tries = 1;
        loop {
            match self.try_scan(filter.clone(), with).await {
                // Whoever was to list them may not be ready, or is gone.
                Err(Fault::Unavailable(_)) if tries < LISTS => tokio::time::sleep(AGAIN * tries).await,
                done => return done,
            }
            tries += 1;
        }
    }

    async fn try_scan(&self, filter: String, with: With) -> Result<Vec<Listed>, Fault> {
        let lost = |error: &dyn std::fmt::Display| Fault::Unavailable(error.to_string());
        let consumer = self.stream.create_consumer(pull::Config {
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            filter_subject: filter,
            headers_only: with == With::Headers,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: Duration::from_secs(30),
            ..pull::Config::default()
        });
        let mut consumer = consumer.await.map_err(|error| lost(&error))?;
        let mut left = consumer.cached_info().num_pending;
        let mut found = Vec::new();
        if left == 0 {
            return Ok(found);
        }
        let mut messages = consumer.messages().await.map_err(|error| lost(&error))?;
        while left > 0 {
            let Ok(next) = tokio::time::timeout(self.answer, messages.next()).await else {
                // The last ones may have vanished meanwhile, as marks do.
                let info = consumer.info().await.map_err(|error| lost(&error))?;
                if info.num_pending == 0 && info.delivered.consumer_sequence == found.len() as u64 {
                    break;
                }
                return Err(Fault::Unavailable("a list does not go on".into()));
            };
            let message = next.ok_or_else(|| Fault::Unavailable("a list ends early".into()))?;
            let message = message.map_err(|error| lost(&error))?;
            let info = message.info().map_err(|error| lost(&error))?;
            if info.consumer_sequence != found.len() as u64 + 1 {
                // What was on its way when a connection broke does not come again.
                return Err(Fault::Unavailable("a list has a gap".into()));
            }
            left = info.pending;
            let header = |name| message.headers.as_ref().and_then(|headers| headers.get(name));
            let gone = match with {
                With::Headers => header("Nats-Msg-Size").is_some_and(|size| size.as_str() == "0"),
                With::Payload => message.payload.is_empty(),
            };
            found.push(Listed {
                sequence: info.stream_sequence,
                written: Timestamp::try_from(info.published.unix_timestamp_nanos() / 1_000_000).unwrap_or_default(),
                gone,
                held: header(HELD).is_some(),
                next: header(NEXT).and_then(|next| next.as_str().parse().ok()),
                subject: message.subject.to_string(),
                payload: message.message.payload,
            });
        }
        Ok(found)
    }

    /// Takes away what nobody needs. Nothing depends on it.
    pub(super) fn erase(&self, sequence: u64) {
        let (client, name) = (self.client.clone(), self.names.0.clone());
        tokio::spawn(async move {
            let question = serde_json::json!({ "seq": sequence, "no_erase": true }).to_string();
            let _ = client.publish(format!("$JS.API.STREAM.MSG.DELETE.{name}"), question.into()).await;
        });
    }
}
