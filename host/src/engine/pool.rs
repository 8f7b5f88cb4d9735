//! The engine under wasmtime: every session an instance of its own from a pool, every call with a deadline.
//!
//! Owns compiled code, instances and their bounds of time and memory. Refuses to know what a step means, beyond that it
//! has to be true ([`super::validate`]). A trap, a late return and a lie end the one session they happen in: its
//! instance is dropped at once and never used again.
//!
//! # What it costs
//!
//! A live session holds one instance: some 40 kB of memory touched (and as much again as the longest input of one
//! call), five memory mappings, and 96 MiB of address space: 64 MiB that a memory may fill, and a guard behind it. A
//! frozen one holds its image alone, usually some dozens of octets.
//!
//! When an instance is dropped its slot is wiped for the next one. There are two pools, because there are two ways:
//!
//! - [`WARM`] slots keep up to [`KEEP`] octets resident, which are wiped in place: the next instance finds them without
//!   a page fault. This pays only where the kernel can tell which pages were written to (`PAGEMAP_SCAN`, Linux 6.7).
//! - All others give their pages back, so that nothing remains of a thousand sessions that were live at once and are
//!   frozen now. A session gets such a slot only while the first pool is full.
//!
//! So what idle slots hold is at most `WARM * KEEP`, 16 MiB.

mod client;
pub(super) mod probe;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wasmtime::component::{Component, Linker, ResourceAny};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Store, StoreLimits,
    StoreLimitsBuilder, Trap, WasmBacktrace,
};

use super::bindings::exports::hermetic::engine::server::GuestSession;
use super::bindings::{self, EnginePre};
use super::types::{Answer, Misuse, Options, Refusal, Step};
use super::{Engine, EngineError, Session, validate, validate_tick};
use crate::sandbox::cache::{self, Purpose};
use crate::sandbox::ticker::{self, Ticker};
use crate::sandbox::watch::Watch;

/// The component that was built with this program: `wit/engine`'s world, WebAssembly, nothing of the host's.
pub static COMPONENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/engine.wasm"));

/// Address space for one memory, octets. It bounds [`EngineSettings::memory`]. More would only spread the page tables.
const RESERVATION: usize = 64 * 1024 * 1024;

/// Slots that stay warm. More sessions than these are rarely busy in the same moment, and idle ones are frozen.
const WARM: u32 = 64;

/// Written pages of a dropped instance that stay resident in a warm slot, octets.
const KEEP: usize = 256 * 1024;

/// The longest image of a frozen session, octets. Usual are some hundreds; the open question of a full batch of
/// recipients makes it longer. What is frozen is not bounded by the pool, so it is bounded here.
const IMAGE: usize = 1024 * 1024;

/// Core instances, tables and functions in a table that one component may need.
const CORE_INSTANCES: u32 = 4;
const TABLES: u32 = 2;
const TABLE_ELEMENTS: usize = 4096;

/// The bounds of the engine.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Sessions that may be live (not frozen) at once.
    pub sessions: u32,
    /// For one call. It is kept to some 20 ms; a thread that does not get the processor has longer.
    pub deadline: Duration,
    /// Memory of one instance, octets. At most 64 MiB.
    pub memory: usize,
    /// Where the compiled engine is kept: a folder of our own with mode 0700, made if it is missing. `None`: nowhere.
    pub cache: Option<PathBuf>,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self { sessions: 10_000, deadline: Duration::from_millis(100), memory: 16 * 1024 * 1024, cache: None }
    }
}

/// Why there is no engine. Each is the operator's or ours, and stops the start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A setting out of its range.
    #[error("{0}")]
    Settings(String),
    /// wasmtime refused these settings, most often for want of address space.
    #[error("the WebAssembly runtime cannot be set up: {0}")]
    Runtime(String),
    /// The component could not be compiled, or it is not an engine: it wants imports, or lacks exports.
    #[error("the engine component cannot be used: {0}")]
    Component(String),
}

/// What has happened so far, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Instances in use now.
    pub live: u64,
    /// Instances made: sessions opened and thawed.
    pub opened: u64,
    /// Sessions frozen.
    pub frozen: u64,
    /// Sessions ended by a trap or a lie.
    pub trapped: u64,
    /// Sessions ended at the deadline.
    pub late: u64,
}

#[derive(Debug, Default)]
struct Counters {
    opened: AtomicU64,
    frozen: AtomicU64,
    trapped: AtomicU64,
    late: AtomicU64,
}

/// Opens sessions, each in an instance of its own.
#[derive(Clone, Debug)]
pub struct WasmEngine {
    shared: Arc<Shared>,
}

/// What all sessions share, for as long as one of them lives.
struct Shared {
    warm: Pool,
    cold: Option<Pool>,
    limits: StoreLimits,
    deadline: Duration,
    /// Half of it.
    epochs: u64,
    counters: Counters,
    /// The component's SHA-256 in hexadecimal.
    hash: String,
    _ticker: Ticker,
}

/// Slots of one kind, and the compiled engine to fill them with.
struct Pool {
    engine: wasmtime::Engine,
    instances: EnginePre<Guest>,
    slots: u64,
    taken: AtomicU64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("deadline", &self.deadline).field("counters", &self.counters).finish()
    }
}

/// What a store holds beside its instance.
struct Guest {
    limits: StoreLimits,
    watch: Watch,
}

impl WasmEngine {
    /// The engine that was built with this program.
    pub fn new(settings: &EngineSettings) -> Result<Self, SetupError> {
        Self::from_component(COMPONENT, settings)
    }

    /// Another component with the same world.
    pub fn from_component(component: &[u8], settings: &EngineSettings) -> Result<Self, SetupError> {
        if settings.sessions == 0 {
            return Err(SetupError::Settings("the engine needs room for at least one session".into()));
        }
        if settings.memory > RESERVATION {
            let most = RESERVATION / 1024 / 1024;
            return Err(SetupError::Settings(format!("the engine's memory can be at most {most} MiB a session")));
        }
        let unusable = |error: wasmtime::Error| SetupError::Component(format!("{error:#}"));
        let hash = Sha256::digest(component).iter().map(|octet| format!("{octet:02x}")).collect();
        let warm = Pool::runtime(settings.sessions.min(WARM), settings.memory, KEEP)?;
        let component =
            cache::component(&warm, component, settings.cache.as_deref(), Purpose::Engine).map_err(unusable)?;
        let mut engines = vec![warm.clone()];
        let cold = match settings.sessions.saturating_sub(WARM) {
            0 => None,
            slots => {
                let cold = Pool::runtime(slots, settings.memory, 0)?;
                engines.push(cold.clone());
                // The two differ in how slots are wiped, which compiled code knows nothing of.
                let code = component.serialize().map_err(unusable)?;
                let component = cache::load(&cold, &code).map_err(unusable)?;
                Some(Pool::new(cold, &component, slots).map_err(unusable)?)
            }
        };
        let warm = Pool::new(warm, &component, settings.sessions.min(WARM)).map_err(unusable)?;
        let ticker = Ticker::start(engines).map_err(|error| SetupError::Runtime(error.to_string()))?;
        let limits = StoreLimitsBuilder::new()
            .memory_size(settings.memory)
            .table_elements(TABLE_ELEMENTS)
            .instances(CORE_INSTANCES as usize)
            .tables(TABLES as usize)
            .memories(1)
            .trap_on_grow_failure(true)
            .build();
        Ok(Self {
            shared: Arc::new(Shared {
                warm,
                cold,
                limits,
                deadline: settings.deadline,
                epochs: ticker::epochs(settings.deadline / 2),
                counters: Counters::default(),
                hash,
                _ticker: ticker,
            }),
        })
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { counters, warm, cold, .. } = &*self.shared;
        Counts {
            live: of(&warm.taken) + cold.as_ref().map_or(0, |cold| of(&cold.taken)),
            opened: of(&counters.opened),
            frozen: of(&counters.frozen),
            trapped: of(&counters.trapped),
            late: of(&counters.late),
        }
    }

    /// An instance, and the session that `make` makes in it.
    fn seat(
        &self,
        make: impl FnOnce(&bindings::Engine, &mut Store<Guest>) -> wasmtime::Result<Result<ResourceAny, Misuse>>,
    ) -> Result<Seat, EngineError> {
        let shared = &self.shared;
        let slot = Slot::take(shared).ok_or_else(|| EngineError::Instance("all are taken".into()))?;
        let pool = slot.pool();
        let mut store = Store::new(&pool.engine, Guest { limits: shared.limits.clone(), watch: Watch::default() });
        store.limiter(|guest| &mut guest.limits);
        let (half, epochs) = (shared.deadline / 2, shared.epochs);
        store.epoch_deadline_callback(move |mut context| Ok(context.data_mut().watch.look(half, epochs)));
        store.set_epoch_deadline(shared.epochs);
        let world = pool
            .instances
            .instantiate(&mut store)
            .map_err(|error| EngineError::Instance(format!("{:#}", error.root_cause())))?;
        let made = make(&world, &mut store);
        let session = made.map_err(|error| shared.cause(&error))?.map_err(EngineError::Misuse)?;
        shared.counters.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Seat { instance: Some(Instance { store, world, session, slot }) })
    }
}

impl Engine for WasmEngine {
    fn open(&self, options: &Options) -> Result<Box<dyn Session>, EngineError> {
        let session = |world: &bindings::Engine, store: &mut Store<Guest>| {
            Ok(Ok(world.hermetic_engine_server().session().call_constructor(store, options)?))
        };
        Ok(Box::new(Sealed(self.seat(session)?)))
    }

    fn thaw(&self, options: &Options, image: &[u8]) -> Result<Box<dyn Session>, EngineError> {
        let session = |world: &bindings::Engine, store: &mut Store<Guest>| {
            world.hermetic_engine_server().session().call_thaw(store, options, image)
        };
        Ok(Box::new(Sealed(self.seat(session)?)))
    }

    fn hash(&self) -> Option<&str> {
        Some(&self.shared.hash)
    }
}

impl Shared {
    /// Who is to blame for a call that did not return, and counts it.
    fn cause(&self, error: &wasmtime::Error) -> EngineError {
        if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
            self.counters.late.fetch_add(1, Ordering::Relaxed);
            return EngineError::Deadline(u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX));
        }
        self.counters.trapped.fetch_add(1, Ordering::Relaxed);
        let mut cause = error.root_cause().to_string();
        // The innermost functions say where. Names of functions are ours; nothing of the peer's is in them.
        if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
            for name in backtrace.frames().iter().filter_map(|frame| frame.func_name()).take(4) {
                cause = format!("{cause} in {name}");
            }
        }
        EngineError::Trap(cause)
    }
}

impl Pool {
    fn runtime(slots: u32, memory: usize, keep: usize) -> Result<wasmtime::Engine, SetupError> {
        wasmtime::Engine::new(&config(slots, memory, keep)).map_err(|error| SetupError::Runtime(format!("{error:#}")))
    }

    /// The linker stays empty: a component that wants anything from us is not our engine.
    fn new(engine: wasmtime::Engine, component: &Component, slots: u32) -> wasmtime::Result<Self> {
        let instances = Linker::new(&engine).instantiate_pre(component).and_then(EnginePre::new)?;
        Ok(Self { engine, instances, slots: u64::from(slots), taken: AtomicU64::new(0) })
    }

    fn take(&self) -> bool {
        let more = |taken| (taken < self.slots).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// A place in a pool, taken for as long as it lives.
struct Slot {
    shared: Arc<Shared>,
    warm: bool,
}

impl Slot {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let warm = shared.warm.take();
        let taken = warm || shared.cold.as_ref().is_some_and(Pool::take);
        taken.then(|| Self { shared: Arc::clone(shared), warm })
    }

    fn pool(&self) -> &Pool {
        match &self.shared.cold {
            Some(cold) if !self.warm => cold,
            _ => &self.shared.warm,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pool().taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The fields are dropped in this order: the instance has left its slot when the slot is free.
struct Instance {
    store: Store<Guest>,
    world: bindings::Engine,
    session: ResourceAny,
    slot: Slot,
}

/// The place of one session of either side: its instance, which is gone after a trap.
struct Seat {
    instance: Option<Instance>,
}

impl Seat {
    /// One call with its deadline. Whatever brings no step that holds takes the instance with it, save our own misuse.
    fn call<T>(
        &mut self,
        call: impl FnOnce(&bindings::Engine, &mut Store<Guest>, ResourceAny) -> wasmtime::Result<Result<T, Misuse>>,
        holds: impl FnOnce(&T) -> Result<(), EngineError>,
    ) -> Result<T, EngineError> {
        let Some(instance) = &mut self.instance else {
            return Err(EngineError::Instance("the session ended in an earlier call".into()));
        };
        let shared = &instance.slot.shared;
        instance.store.data_mut().watch = Watch::default();
        instance.store.set_epoch_deadline(shared.epochs);
        let result = match call(&instance.world, &mut instance.store, instance.session) {
            Ok(Ok(value)) => holds(&value).map(|()| value).inspect_err(|_| {
                shared.counters.trapped.fetch_add(1, Ordering::Relaxed);
            }),
            Ok(Err(misuse)) => return Err(EngineError::Misuse(misuse)),
            Err(error) => Err(shared.cause(&error)),
        };
        if result.is_err() {
            self.instance = None;
        }
        result
    }

    /// The image that this call freezes the session to.
    fn freeze(
        &mut self,
        call: impl FnOnce(&bindings::Engine, &mut Store<Guest>, ResourceAny) -> wasmtime::Result<Result<Vec<u8>, Misuse>>,
    ) -> Result<Vec<u8>, EngineError> {
        let image = self.call(call, |image: &Vec<u8>| match image.len() {
            0..=IMAGE => Ok(()),
            length => Err(EngineError::Trap(format!("an image of {length} octets"))),
        })?;
        if let Some(instance) = &self.instance {
            instance.slot.shared.counters.frozen.fetch_add(1, Ordering::Relaxed);
        }
        Ok(image)
    }
}

/// One receiving session.
struct Sealed(Seat);

impl Sealed {
    fn call(
        &mut self,
        call: impl FnOnce(&GuestSession<'_>, &mut Store<Guest>, ResourceAny) -> wasmtime::Result<Result<Step, Misuse>>,
        holds: impl FnOnce(&Step) -> Result<(), EngineError>,
    ) -> Result<Step, EngineError> {
        self.0.call(|world, store, this| call(&world.hermetic_engine_server().session(), store, this), holds)
    }

    fn step(
        &mut self,
        input: usize,
        call: impl FnOnce(&GuestSession<'_>, &mut Store<Guest>, ResourceAny) -> wasmtime::Result<Result<Step, Misuse>>,
    ) -> Result<Step, EngineError> {
        self.call(call, |step| validate(step, input))
    }
}

impl Session for Sealed {
    fn start(&mut self, now: u64) -> Result<Step, EngineError> {
        self.step(0, |session, store, this| session.call_start(store, this, now))
    }

    fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, EngineError> {
        self.step(input.len(), |session, store, this| session.call_receive(store, this, now, input))
    }

    fn secured(&mut self, now: u64, mechanisms: &[String]) -> Result<Step, EngineError> {
        self.step(0, |session, store, this| session.call_secured(store, this, now, mechanisms))
    }

    fn tick(&mut self, now: u64) -> Result<Step, EngineError> {
        self.call(|session, store, this| session.call_tick(store, this, now), |step| validate_tick(step, now))
    }

    fn answer(&mut self, now: u64, answer: &Answer) -> Result<Step, EngineError> {
        self.step(0, |session, store, this| session.call_answer(store, this, now, answer))
    }

    fn drain(&mut self, now: u64, farewell: &Refusal) -> Result<Step, EngineError> {
        self.step(0, |session, store, this| session.call_drain(store, this, now, farewell))
    }

    fn freeze(mut self: Box<Self>) -> Result<Vec<u8>, EngineError> {
        self.0.freeze(|world, store, this| world.hermetic_engine_server().session().call_freeze(store, this))
    }
}

/// `keep` octets of a slot stay resident when its instance is dropped.
fn config(slots: u32, memory: usize, keep: usize) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .total_memories(slots)
        .max_memories_per_component(1)
        .max_memory_size(memory)
        .total_tables(slots.saturating_mul(TABLES))
        .max_tables_per_component(TABLES)
        .table_elements(TABLE_ELEMENTS)
        // Used slots come first: there is no other component whose slots would have to be spared.
        .max_unused_warm_slots(0);
    // Either alone gains nothing: without the scan the first octets are wiped whether or not they were written to.
    if keep > 0 && PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(keep).table_keep_resident(keep);
    }
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_reservation(RESERVATION as u64)
        .epoch_interruption(true)
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::Speed);
    config
}
