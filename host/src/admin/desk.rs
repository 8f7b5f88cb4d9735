//! The operations on the queue of the running server.
//!
//! Owns what each of them means: whom a selection names, who is said to have done it, what is recorded and logged. Refuses to
//! know HTTP. Fails with [`Trouble`].

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use super::wire::{self, Came, Each, Wanted};
use crate::{
    config::Config,
    deliver,
    observe::{Metrics, events},
    policy::chain::Record,
    queue::{self, Bell, Rules},
    store::{
        Body, Change, Changed, Detail, Details, EntryId, Filter, MessageId, Store, StoreError, Verdicts, sqlite::now,
    },
};

/// Entries on one page, at most.
pub const PAGE: usize = 1000;
/// Entries that are changed in one transaction.
const BATCH: usize = 500;
/// Ids in one request.
const NAMED: usize = 1000;
/// Entries of these.
const MEANT: usize = 20_000;
/// Pages that are counted for one answer.
const COUNTED: usize = 20;
/// Octets of a message that are looked at for its header.
const HEADER: usize = 64 * 1024;
/// What is being worked on is tried again after this.
const AGAIN: Duration = Duration::from_millis(100);
/// And for so long at most, in seconds.
pub const WAIT: u64 = 30;
/// Characters of a reason, and of a name.
const REASON: usize = 500;
const NAME: usize = 64;
/// RFC 3463: delivery not authorized, message refused.
const REFUSED: &str = "5.7.1";

/// What can be done with entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see `store::Change`")]
pub enum Operation {
    Retry,
    Hold,
    Release,
    Drop,
}

impl Operation {
    /// As commands and paths have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Drop => "drop",
        }
    }
}

/// Why it can not be done.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Asked(String),
    /// There is no such thing (any more).
    #[error("{0}")]
    Unknown(String),
    /// The store can not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whoever does it.
#[derive(Clone)]
pub struct Desk {
    store: Arc<dyn Store>,
    rules: Arc<dyn Rules>,
    config: Arc<ArcSwap<Config>>,
    metrics: Arc<Metrics>,
    bell: Arc<Bell>,
}

impl Desk {
    /// `rules`: who knows the plugins of a recipient. The configuration may change. `bell`: where the queue hears of changes.
    pub fn new(
        store: Arc<dyn Store>,
        rules: Arc<dyn Rules>,
        config: Arc<ArcSwap<Config>>,
        metrics: Arc<Metrics>,
        bell: Arc<Bell>,
    ) -> Self {
        Self { store, rules, config, metrics, bell }
    }

    fn on_hold(&self) -> bool {
        self.config.load().queue.hold
    }

    /// A part of the queue.
    pub async fn find(&self, filter: Filter, after: Option<EntryId>, most: usize) -> Result<wire::Page, Trouble> {
        let page = self.store.find(filter, after, most.min(PAGE)).await?;
        let on_hold = self.on_hold();
        let entries = page.entries.into_iter().map(|listed| wire::Entry::new(listed, on_hold)).collect();
        Ok(wire::Page { entries, next: page.next.map(|next| next.to_string()), on_hold })
    }

    /// How many there are, in as many pages as one answer is worth.
    pub async fn count(&self, filter: Filter, mut after: Option<EntryId>) -> Result<wire::Count, Trouble> {
        let mut count = 0;
        for _ in 0..COUNTED {
            let page = self.store.find(filter.clone(), after, PAGE).await?;
            count += page.entries.len() as u64;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(wire::Count { count, next: after.map(|next| next.to_string()) })
    }

    /// A message with its recipients.
    pub async fn show(&self, message: MessageId) -> Result<wire::Message, Trouble> {
        let details = self.store.show(message).await?.ok_or_else(|| unknown(message))?;
        let front = header(self.store.body(message).await?).await?;
        Ok(wire::Message::new(&details, &front, self.on_hold()))
    }

    /// A message's octets.
    pub async fn body(&self, message: MessageId) -> Result<Body, Trouble> {
        self.store.body(message).await.map_err(|error| match error {
            StoreError::Unknown(_) => unknown(message),
            error => error.into(),
        })
    }

    /// How the recipients of a message, a transaction or a session were judged, and what became of them.
    pub async fn why(&self, id: &str) -> Result<wire::Why, Trouble> {
        let (message, id) = match wire::message_or_entry(id) {
            Ok((message, _)) => (Some(message), message.to_string()),
            Err(_) => (None, id.to_owned()),
        };
        let entries = match message {
            Some(message) => self.store.show(message).await?.map(|details| details.entries).unwrap_or_default(),
            None => Vec::new(),
        };
        let on_hold = self.on_hold();
        let entries: Vec<_> = entries.into_iter().map(|one| wire::Entry::new(one.listed, on_hold)).collect();
        let judged = wire::Judged::all(&self.store.verdicts(&id).await?);
        if entries.is_empty() && judged.is_empty() {
            return Err(Trouble::Unknown(format!("nothing is known of {id}")));
        }
        Ok(wire::Why { entries, judged })
    }

    /// Changes entries, and says what came of each. `peer`: who asks, as far as the system knows. Where the store
    /// fails, what was changed in the batches before stays so, and is logged.
    pub async fn change(&self, operation: Operation, wanted: Wanted, peer: &str) -> Result<Came, Trouble> {
        let name = plain(wanted.by.as_deref().unwrap_or_default(), NAME);
        let by = format!("{} ({peer})", if name.is_empty() { "somebody" } else { &name });
        let reason = plain(wanted.reason.as_deref().unwrap_or_default(), REASON);
        if reason.is_empty() && matches!(operation, Operation::Hold | Operation::Drop) {
            return Err(Trouble::Asked(format!("`{}` must have a reason", operation.as_str())));
        }
        if wanted.bounce && operation != Operation::Drop {
            return Err(Trouble::Asked("only what is dropped can bounce".into()));
        }
        let mut came = Came::default();
        let entries = match (&wanted.entries, wanted.filter) {
            (Some(ids), None) if wanted.after.is_none() => self.named(ids, &mut came).await?,
            (None, Some(filter)) => {
                let after = wanted.after.as_deref().map(str::parse).transpose().map_err(Trouble::Asked)?;
                let page = self.store.find(filter.try_into().map_err(Trouble::Asked)?, after, BATCH).await?;
                came.next = page.next.map(|next| next.to_string());
                page.entries.iter().filter_map(|listed| listed.entry.parse().ok()).collect()
            }
            _ => return Err(Trouble::Asked("give either `entries` or `filter`, and `after` only with that".into())),
        };
        let job = Job { operation, bounce: wanted.bounce, by, reason };
        let end = Instant::now() + Duration::from_secs(wanted.wait.min(WAIT));
        let each =
            |(entry, changed): (EntryId, Changed)| Each { entry: entry.to_string(), result: changed.as_str().into() };
        for batch in entries.chunks(BATCH) {
            came.entries.extend(self.all(&job, batch.to_vec(), end).await?.into_iter().map(each));
        }
        Ok(came)
    }

    /// The entries of these ids; what is none (any more) is said at once.
    async fn named(&self, ids: &[String], came: &mut Came) -> Result<Vec<EntryId>, Trouble> {
        if ids.len() > NAMED {
            return Err(Trouble::Asked(format!("{} ids are too many for one request; at most {NAMED}", ids.len())));
        }
        let mut entries = Vec::new();
        for id in ids {
            match wire::message_or_entry(id).map_err(Trouble::Asked)? {
                (_, Some(entry)) => entries.push(entry),
                (message, None) => match self.store.show(message).await? {
                    Some(details) => {
                        entries
                            .extend(details.entries.iter().filter_map(|one| one.listed.entry.parse::<EntryId>().ok()));
                    }
                    None => came.entries.push(Each { entry: id.clone(), result: Changed::Gone.as_str().into() }),
                },
            }
            if entries.len() > MEANT {
                let text = format!("these ids mean more than {MEANT} entries; name fewer, or use the filter `message`");
                return Err(Trouble::Asked(text));
            }
        }
        Ok(entries)
    }

    /// What is being worked on is tried again until `end`: an attempt seldom takes long.
    async fn all(&self, job: &Job, entries: Vec<EntryId>, end: Instant) -> Result<Vec<(EntryId, Changed)>, Trouble> {
        let (mut left, mut results) = (entries, Vec::new());
        loop {
            let changed = self.once(job, left).await?;
            left = Vec::new();
            let over = Instant::now() >= end;
            for (entry, changed) in changed {
                if changed == Changed::Leased && !over {
                    left.push(entry);
                } else {
                    results.push((entry, changed));
                }
            }
            if left.is_empty() {
                return Ok(results);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn once(&self, job: &Job, entries: Vec<EntryId>) -> Result<Vec<(EntryId, Changed)>, Trouble> {
        let mut changes = Vec::with_capacity(entries.len());
        let mut results = Vec::with_capacity(entries.len());
        let mut messages: HashMap<MessageId, Option<Details>> = HashMap::new();
        for entry in entries {
            let change = match job.operation {
                Operation::Retry => Change::Retry,
                Operation::Hold => Change::Hold { reason: format!("held by {}: {}", job.by, job.reason) },
                Operation::Release => Change::Release,
                Operation::Drop => {
                    if !messages.contains_key(&entry.message) {
                        // One at a time: a batch is mostly one message after the other.
                        messages.clear();
                        messages.insert(entry.message, self.store.show(entry.message).await?);
                    }
                    let found = messages.get(&entry.message).and_then(Option::as_ref).and_then(|details| {
                        let id = entry.to_string();
                        Some((details, details.entries.iter().find(|one| one.listed.entry == id)?))
                    });
                    match found {
                        Some((details, detail)) => self.dropping(job, details, detail),
                        None => {
                            results.push((entry, Changed::Gone));
                            continue;
                        }
                    }
                }
            };
            changes.push((entry, change));
        }
        if changes.is_empty() {
            return Ok(results);
        }
        // Whoever asked may be gone before it is done: it is logged all the same.
        let (desk, job) = (self.clone(), job.clone());
        let done = tokio::spawn(async move { desk.commit(&job, changes).await });
        results.extend(done.await.map_err(|error| StoreError::Failed(error.to_string()))??);
        Ok(results)
    }

    /// Changes in one transaction, logs and counts.
    async fn commit(&self, job: &Job, changes: Vec<(EntryId, Change)>) -> Result<Vec<(EntryId, Changed)>, StoreError> {
        debug_assert!(changes.len() <= BATCH, "nobody else gets at the store meanwhile");
        let entries: Vec<_> = changes.iter().map(|(entry, _)| *entry).collect();
        if matches!(job.operation, Operation::Retry | Operation::Release) {
            // Before they are due.
            self.bell.wanted_now();
        }
        let results: Vec<_> = entries.into_iter().zip(self.store.change(changes).await?).collect();
        if job.operation == Operation::Drop {
            self.bell.reported();
        }
        let done: Vec<_> = results.iter().filter(|(_, changed)| *changed == Changed::Done).collect();
        for (entry, _) in &done {
            events::queue_changed(job.name(), entry, &job.by, &job.reason);
        }
        self.metrics.changed(job.name(), done.len());
        Ok(results)
    }

    /// What is to be stored with the end of an entry.
    fn dropping(&self, job: &Job, details: &Details, detail: &Detail) -> Change {
        let Job { by, reason, bounce, .. } = job;
        let how = if *bounce { "dropped, its sender to be told," } else { "dropped" };
        let outcome = format!("{how} by {by}: {reason}");
        let record = Record {
            recipient: detail.listed.recipient.clone(),
            outcome: outcome.clone(),
            steps: Vec::new(),
            copies: Vec::new(),
        };
        let record = Verdicts {
            // Nobody judged it: it has no transaction of its own.
            transaction: details.id.to_string(),
            message: Some(details.id),
            recipients: 1,
            // Plain data always has a JSON form.
            judged: serde_json::to_string(&[record]).unwrap_or_default(),
            at: now(),
        };
        if *bounce {
            return Change::Bounce {
                status: REFUSED.into(),
                reason: format!("refused by the operator: {reason}"),
                record,
            };
        }
        Change::Drop { record, report: queue::dropped(&*self.rules, details, detail, &outcome) }
    }
}

/// What is to be done with each entry.
#[derive(Clone)]
struct Job {
    operation: Operation,
    bounce: bool,
    by: String,
    reason: String,
}

impl Job {
    fn name(&self) -> &'static str {
        if self.bounce { "bounce" } else { self.operation.as_str() }
    }
}

fn unknown(message: MessageId) -> Trouble {
    Trouble::Unknown(format!(
        "no message {message} is in the queue; `hermetic why {message}` may know what became of it"
    ))
}

/// What a message begins with, as far as it is looked at for its header.
pub async fn header(body: Body) -> Result<Vec<u8>, StoreError> {
    let front = deliver::front(body, HEADER).await;
    front.map(|(front, _)| front).map_err(|error| StoreError::Failed(error.to_string()))
}

/// One line of so many characters.
fn plain(text: &str, most: usize) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect();
    text.trim().to_owned()
}
