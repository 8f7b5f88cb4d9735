//! Calls of a plugin's hooks, each bounded, none of them fatal.
//!
//! Owns limits in force and the failure policy. Refuses to know who asks. An instance serves one phase of one transaction
//! and is never used after it failed; between two calls it may give way to others, and then the next call gets a fresh one.
//! A call runs on the task of whoever asks, and where it is busy for longer than a slice, elsewhere ([`super::aside`]). Where it
//! outlasts its timeout the answer is the failure policy's, and the call is dropped with its instance.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, atomic::AtomicU32},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::{
    Store,
    component::{ComponentExportIndex, InstancePre, types::ComponentFunc},
};

use super::{
    aside::Aside,
    bindings::hermetic::plugin::types::{EnvelopeVerdict, MessageVerdict, Outcome},
    breaker::Breaker,
    context::{Call, Guest, Transaction},
    database::{Bucket, BucketError, Buckets},
    failure::{Failure, Limiter},
    hook::{Facts, Forward, Hook, Message, Phase, Plugin, Ran, Scratch, Verdict, Wishes},
    instance::Live,
    ledger::{Asked, Ledger, Witness},
    load::Description,
    network::Network,
    reason::on_failure,
    room::Room,
};
use crate::{
    config::{
        HttpHost,
        plugins::{Grants, OnFailure, Plugin as Configured, PluginLimits},
    },
    sandbox::{meter::Meter, ticker::Ticker},
};

pub use super::context::{Level, Note, Notes};

/// Octets that a plugin may hand over in one call of the host; twice the longest value of a field and more.
const HAND_OVER: usize = 2 << 20;
/// Lines in the log of one phase; a transaction has two.
const LINES: u32 = 500;

/// What all plugins share, for as long as one of them lives.
pub(super) struct Runtime {
    pub(super) buckets: Buckets,
    /// For compiling, and for components that fit in no pool.
    pub(super) engine: wasmtime::Engine,
    pub(super) aside: Aside,
    pub(super) ticker: Ticker,
}

/// What the operator says about one plugin.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) grants: Grants,
    pub(super) limits: PluginLimits,
    on_failure: OnFailure,
    /// Settings as text.
    pub(super) values: BTreeMap<String, String>,
    /// All of them.
    pub(super) json: String,
    pub(super) bucket: Option<Arc<Bucket>>,
    /// Those of `grants.http`.
    pub(super) servers: Vec<HttpHost>,
    pub(super) network: Network,
}

impl Settings {
    pub(super) fn new(configured: &Configured, bucket: Option<Arc<Bucket>>, network: Network) -> Self {
        let json: BTreeMap<_, _> = configured.settings.iter().map(|(key, value)| (key.clone(), json(value))).collect();
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Self {
            name: configured.name.clone(),
            grants: configured.grants.clone(),
            limits: configured.limits.clone(),
            on_failure: configured.on_failure,
            values: json.iter().map(|(key, value)| (key.clone(), text(value))).collect(),
            json: serde_json::Value::Object(json.into_iter().collect()).to_string(),
            bucket,
            // A validated configuration has none that is wrong; what can not be read admits nothing.
            servers: configured.grants.http.iter().filter_map(|host| host.parse().ok()).collect(),
            network,
        }
    }
}

/// Dates and times become text; numbers that JSON does not have, null.
fn json(value: &toml::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        toml::Value::String(text) => Value::String(text.clone()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(truth) => Value::from(*truth),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => Value::Array(items.iter().map(json).collect()),
        toml::Value::Table(table) => {
            Value::Object(table.iter().map(|(key, value)| (key.clone(), json(value))).collect())
        }
    }
}

/// The function of a hook's interface.
pub(super) fn function(hook: Hook) -> &'static str {
    match hook {
        Hook::Delivery => "deliver",
        Hook::Report => "note",
        _ => "judge",
    }
}

/// Is this the hook's type?
pub(super) fn typecheck(
    hook: Hook,
    ty: &ComponentFunc,
    world: &wasmtime::component::__internal::InstanceType<'_>,
) -> wasmtime::Result<()> {
    match hook {
        Hook::Connection | Hook::Sender | Hook::Recipient => ty.typecheck::<(), (EnvelopeVerdict,)>(world),
        Hook::Message | Hook::RecipientMessage => ty.typecheck::<(), (MessageVerdict,)>(world),
        Hook::Delivery => ty.typecheck::<(), (Outcome,)>(world),
        Hook::Report => ty.typecheck::<(), ()>(world),
    }
}

/// A component under wasmtime.
pub struct Wasm {
    shared: Arc<Shared>,
}

struct Shared {
    /// Keeps the ticker alive.
    runtime: Arc<Runtime>,
    instances: InstancePre<Guest>,
    exports: Vec<(Hook, ComponentExportIndex)>,
    description: Description,
    settings: Arc<Settings>,
    room: Room<Live>,
    breaker: Mutex<Breaker>,
}

impl std::fmt::Debug for Wasm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wasm").field("description", &self.shared.description).finish_non_exhaustive()
    }
}

impl Wasm {
    pub(super) fn new(
        runtime: Arc<Runtime>,
        instances: InstancePre<Guest>,
        exports: Vec<(Hook, ComponentExportIndex)>,
        description: Description,
        settings: Settings,
    ) -> Self {
        let room = Room::new(settings.limits.instances as usize);
        let settings = Arc::new(settings);
        let breaker = Mutex::default();
        Self { shared: Arc::new(Shared { runtime, instances, exports, description, settings, room, breaker }) }
    }

    /// A phase as somebody wants it who tries the plugin out.
    #[must_use]
    pub fn watched_phase(
        &self,
        facts: Arc<Facts>,
        scratch: Scratch,
        message: Option<Arc<Message>>,
        watch: Watching,
    ) -> Box<dyn Phase> {
        let Watching { notes, now, shelf, ledger } = watch;
        let witness = facts.witness.clone();
        let ledger = ledger.or_else(|| witness.is_some().then(Arc::default));
        let transaction = Transaction {
            settings: Arc::clone(&self.shared.settings),
            facts,
            scratch,
            message,
            header: Arc::new(OnceLock::new()),
            lines: Arc::new(AtomicU32::new(LINES)),
            notes,
            ledger,
            now,
        };
        let phase = witness.map(|witness| (witness.phase(), witness, true));
        let parked = shelf.as_ref().and_then(|shelf| shelf.0.lock().take());
        let (shared, recipients) = (Arc::clone(&self.shared), Arc::default());
        Box::new(WasmPhase { shared, transaction, parked, recipients, shelf, phase })
    }

    /// All that it has kept and that has not expired; nothing without the grant.
    ///
    /// # Errors
    /// The database's.
    pub fn kept(&self, now: u32) -> Result<BTreeMap<String, Vec<u8>>, BucketError> {
        self.shared.settings.bucket.as_ref().map_or_else(|| Ok(BTreeMap::new()), |bucket| bucket.all(now))
    }

    /// From now on it has kept these and nothing else: key, value and seconds. Without the grant nothing happens.
    ///
    /// # Errors
    /// The database's, and the quota.
    pub fn keep_only(&self, pairs: &[(String, Vec<u8>, u32)], now: u32) -> Result<(), BucketError> {
        let Some(bucket) = &self.shared.settings.bucket else { return Ok(()) };
        bucket.clear()?;
        pairs.iter().try_for_each(|(key, value, seconds)| bucket.set(key, value, *seconds, now))
    }
}

/// What somebody who tries a plugin out wants to see and to decide.
#[derive(Clone, Debug, Default)]
pub struct Watching {
    /// Where log lines and calls of the host are noted.
    pub notes: Option<Notes>,
    /// The time, seconds since 1970; none: the machine's.
    pub now: Option<u32>,
    /// Where the phase takes its instance from and leaves it; none: it has its own.
    pub shelf: Option<Shelf>,
    /// Where the answers of the host are; none: they are the host's own.
    pub ledger: Option<Arc<Ledger>>,
}

/// A place for an instance between phases, to see whether a plugin remembers what it should not.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Option<u64>>>);

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shelf")
    }
}

impl Plugin for Wasm {
    fn name(&self) -> &str {
        &self.shared.settings.name
    }

    fn hash(&self) -> &str {
        &self.shared.description.hash
    }

    fn hooks(&self) -> &[Hook] {
        &self.shared.description.hooks
    }

    fn delivers(&self) -> bool {
        self.shared.settings.grants.delivery && self.hooks().contains(&Hook::Delivery)
    }

    fn phase(self: Arc<Self>, facts: Arc<Facts>, scratch: Scratch, message: Option<Arc<Message>>) -> Box<dyn Phase> {
        self.watched_phase(facts, scratch, message, Watching::default())
    }
}

struct WasmPhase {
    shared: Arc<Shared>,
    transaction: Transaction,
    /// The instance of the last call, if it was good.
    parked: Option<u64>,
    shelf: Option<Shelf>,
    /// Those of the last call; most often the next one has the same, or one more.
    recipients: Arc<Vec<String>>,
    /// Where it is written down what it is asked, under which number; and whether nothing of it is yet.
    phase: Option<(u64, Arc<Witness>, bool)>,
}

impl Drop for WasmPhase {
    fn drop(&mut self) {
        let parked = self.parked.take();
        match &self.shelf {
            Some(shelf) => *shelf.0.lock() = parked,
            None => drop(parked.and_then(|number| self.shared.room.take(number))),
        }
    }
}

/// What a call brought.
struct Said {
    verdict: Verdict,
    retry_after: Option<u32>,
    /// Those from before, and its own.
    wishes: Wishes,
}

#[async_trait]
impl Phase for WasmPhase {
    async fn call(&mut self, hook: Hook, forward: Option<&Forward>, recipients: &[String], wishes: &mut Wishes) -> Ran {
        let Some((number, witness, first)) = self.phase.clone() else {
            return self.judge(hook, forward, recipients, wishes).await;
        };
        let (before, now) = (wishes.clone(), self.transaction.now.unwrap_or_else(now));
        let ran = self.judge(hook, forward, recipients, wishes).await;
        let Transaction { facts, message, ledger, .. } = &self.transaction;
        if let Some(ledger) = ledger {
            let (facts, message) = (&**facts, message.as_deref());
            let asked = Asked { hook, phase: number, first, now, facts, message, forward, recipients, before: &before };
            witness.add(asked, ledger, &ran, wishes);
        }
        self.phase = Some((number, witness, false));
        ran
    }
}

impl WasmPhase {
    async fn judge(
        &mut self,
        hook: Hook,
        forward: Option<&Forward>,
        recipients: &[String],
        wishes: &mut Wishes,
    ) -> Ran {
        let started = Instant::now();
        let mut memory = 0;
        let Some(export) = self.shared.exports.iter().find(|(one, _)| *one == hook).map(|(_, index)| *index) else {
            return self.ran(hook, Verdict::Proceed, None, started, 0);
        };
        let said = if self.shared.breaker.lock().admits(started) {
            let call = Call {
                hook,
                forward: forward.cloned(),
                recipients: self.share(recipients),
                wishes: wishes.clone(),
                edits: 0,
                view: None,
                rendered: None,
                calls: 0,
                questions: 0,
                requests: 0,
                until: started + Duration::from_millis(self.shared.settings.limits.timeout) * 9 / 10,
                now: self.transaction.now.unwrap_or_else(now),
            };
            self.attempt(export, call, &mut memory).await
        } else {
            Err(Failure::Resting)
        };
        match said {
            Ok(said) => {
                self.shared.breaker.lock().succeeded();
                if matches!(said.verdict, Verdict::Proceed | Verdict::Accept) {
                    *wishes = said.wishes;
                }
                Ran { retry_after: said.retry_after, ..self.ran(hook, said.verdict, None, started, memory) }
            }
            Err(failure) => {
                let transaction = &*self.transaction.facts.transaction_id;
                let plugin = &*self.shared.settings.name;
                let rests = failure.counts().then(|| self.shared.breaker.lock().failed(Instant::now())).flatten();
                tracing::warn!(plugin, hook = hook.as_str(), transaction, "the plugin failed: {failure}");
                if let Some(rest) = rests {
                    tracing::error!(plugin, "it fails again and again and rests for {} s", rest.as_secs());
                }
                let verdict = on_failure(self.shared.settings.on_failure, hook);
                self.ran(hook, verdict, Some(failure.to_string()), started, memory)
            }
        }
    }
}

impl WasmPhase {
    /// The same, copied only as far as they are new.
    fn share(&mut self, recipients: &[String]) -> Arc<Vec<String>> {
        match recipients.strip_prefix(&self.recipients[..]) {
            Some([]) => {}
            Some(more) => Arc::make_mut(&mut self.recipients).extend_from_slice(more),
            None => self.recipients = Arc::new(recipients.to_vec()),
        }
        Arc::clone(&self.recipients)
    }

    fn ran(&self, hook: Hook, verdict: Verdict, failure: Option<String>, started: Instant, memory: u64) -> Ran {
        Ran {
            plugin: self.shared.settings.name.clone(),
            hash: self.shared.description.hash.clone(),
            hook,
            verdict,
            retry_after: None,
            failure,
            time: started.elapsed(),
            memory,
        }
    }

    /// One call with all its waiting. The instance stays for the next one only if this one was good.
    async fn attempt(&mut self, export: ComponentExportIndex, call: Call, memory: &mut u64) -> Result<Said, Failure> {
        let limits = &self.shared.settings.limits;
        let timeout = Duration::from_millis(limits.timeout);
        let until = tokio::time::Instant::now() + timeout;
        let parked = self.parked.take().and_then(|number| self.shared.room.take(number));
        let place = match parked {
            Some(live) => Place::Taken(live),
            None => {
                let place = tokio::time::timeout_at(until, self.shared.room.enter()).await;
                let place = place.map_err(|_| Failure::Busy(limits.instances))?;
                Place::Free(place.map_err(|error| Failure::Host(error.to_string()))?)
            }
        };
        let meter = Arc::new(Meter::new(Duration::from_millis(limits.deadline)));
        let run = Arc::clone(&self.shared).run(place, self.transaction.clone(), export, call, Arc::clone(&meter));
        let work = self.shared.runtime.aside.run(run, &meter);
        let (live, said) = match tokio::time::timeout_at(until, work).await {
            Err(_) => return Err(Failure::Timeout(limits.timeout)),
            Ok(Err(broken)) => return Err(Failure::Host(broken)),
            Ok(Ok(done)) => done,
        };
        *memory = live.as_ref().map_or(0, |live| live.store.data().limiter.memory as u64);
        if said.is_ok() {
            self.parked = live.and_then(|live| self.shared.room.park(live));
        }
        said
    }
}

/// Where a call runs.
enum Place {
    Taken(Live),
    Free(OwnedSemaphorePermit),
}

impl Shared {
    /// The instance comes back even if it is of no use, for its memory to be counted.
    async fn run(
        self: Arc<Self>,
        place: Place,
        transaction: Transaction,
        export: ComponentExportIndex,
        call: Call,
        meter: Arc<Meter>,
    ) -> (Option<Live>, Result<Said, Failure>) {
        let limits = &self.settings.limits;
        let hook = call.hook;
        let mut live = match place {
            Place::Taken(mut live) => {
                let guest = live.store.data_mut();
                (guest.call, guest.meter, guest.transaction) = (call, meter, transaction);
                live.store.set_epoch_deadline(1);
                live
            }
            Place::Free(place) => {
                let limiter = Limiter::new(limits.memory);
                let mut store = Store::new(self.instances.engine(), Guest { limiter, meter, transaction, call });
                store.limiter(|guest| &mut guest.limiter);
                store.epoch_deadline_callback(|context| Ok(context.data().meter.look()));
                store.set_hostcall_fuel(HAND_OVER);
                store.set_epoch_deadline(1);
                match self.instances.instantiate_async(&mut store).await {
                    Ok(instance) => Live::new(store, instance, place),
                    Err(error) => return (None, Err(Failure::of(&error, limits.deadline))),
                }
            }
        };
        let said = live.judge(hook, &export).await.map_err(|error| Failure::of(&error, limits.deadline));
        let call = &mut live.store.data_mut().call;
        let wishes = std::mem::take(&mut call.wishes);
        // Nothing of this call is kept for the next one, least of all what would have to be copied then.
        call.recipients = Arc::default();
        (Some(live), said.map(|(verdict, retry_after)| Said { verdict, retry_after, wishes }))
    }
}

/// Seconds since 1970.
fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
