//! The engine under wasmtime: every session an instance of its own from a pool, every call with a deadline.
//!
//! Owns compiled code, instances and their bounds of time and memory. Refuses to know what a step means, beyond that it
//! has to be true ([`super::validate`]). A trap, a late return and a lie end the one session they happen in: its
//! instance is dropped at once and never used again.
//!
//! # What it costs
//!
//! A live session holds one instance: some 40 kB of memory touched, five memory mappings, and 96 MiB of address space
//! (64 MiB that a memory may fill, and a guard behind it). A frozen one holds its image alone.
//!
//! When an instance is dropped its slot is wiped for the next one. Up to [`KEEP`] octets of it stay resident, because
//! wiping pages is cheaper than giving them back and faulting them in again; this is done only where the kernel can
//! tell which pages were written to (`PAGEMAP_SCAN`, Linux 6.7), elsewhere all is given back. So what remains resident
//! after a burst is bounded by the most sessions that were ever live at once times the smaller of [`KEEP`] and what a
//! session touched. Slots are used again before fresh ones are ([`WARM_SLOTS`]).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::component::{Linker, ResourceAny};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Store, StoreLimits,
    StoreLimitsBuilder, Trap, WasmBacktrace,
};

use super::bindings::exports::hermetic::engine::server::GuestSession;
use super::bindings::{self, EnginePre};
use super::ticker::{self, Ticker};
use super::types::{Answer, Misuse, Options, Refusal, Step};
use super::{Engine, EngineError, Session, cache, validate, validate_tick};

/// The component that was built with this program: `wit/engine`'s world, WebAssembly, nothing of the host's.
pub static COMPONENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/engine.wasm"));

/// Address space for one memory, octets. It bounds [`EngineSettings::memory`]. More would only spread the page tables.
const RESERVATION: usize = 64 * 1024 * 1024;

/// Written pages of a dropped instance that stay resident for the next one, octets.
const KEEP: usize = 256 * 1024;

/// The longest image of a frozen session, octets. Usual are some hundreds; the open question of a full batch of
/// recipients makes it longer. What is frozen is not bounded by the pool, so it is bounded here.
const IMAGE: usize = 1024 * 1024;

/// How many slots may lie unused and warm before one of another component is taken for want of a fitting one. There is
/// but one component in this pool, so none has to be kept back.
const WARM_SLOTS: u32 = 0;

/// Core instances, tables and functions in a table that one component may need.
const CORE_INSTANCES: u32 = 4;
const TABLES: u32 = 2;
const TABLE_ELEMENTS: usize = 4096;

/// The bounds of the engine.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Sessions that may be live (not frozen) at once.
    pub sessions: u32,
    /// For one call. It is kept to about 10 ms.
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
    live: AtomicU64,
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
    engine: wasmtime::Engine,
    instances: EnginePre<Guest>,
    limits: StoreLimits,
    deadline: Duration,
    epochs: u64,
    counters: Counters,
    _ticker: Ticker,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("deadline", &self.deadline).field("counters", &self.counters).finish()
    }
}

/// What a store holds beside its instance.
struct Guest {
    limits: StoreLimits,
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
        let runtime = |error: wasmtime::Error| SetupError::Runtime(format!("{error:#}"));
        let unusable = |error: wasmtime::Error| SetupError::Component(format!("{error:#}"));
        let engine = wasmtime::Engine::new(&config(settings)).map_err(runtime)?;
        let component = cache::component(&engine, component, settings.cache.as_deref()).map_err(unusable)?;
        // The linker stays empty: a component that wants anything from us is not our engine.
        let instances = Linker::new(&engine).instantiate_pre(&component).and_then(EnginePre::new).map_err(unusable)?;
        let ticker = Ticker::start(&engine).map_err(|error| SetupError::Runtime(error.to_string()))?;
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
                engine,
                instances,
                limits,
                deadline: settings.deadline,
                epochs: ticker::epochs(settings.deadline),
                counters: Counters::default(),
                _ticker: ticker,
            }),
        })
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        Counts {
            live: of(&counters.live),
            opened: of(&counters.opened),
            frozen: of(&counters.frozen),
            trapped: of(&counters.trapped),
            late: of(&counters.late),
        }
    }

    /// An instance, and the session that `make` makes in it.
    fn session(
        &self,
        make: impl FnOnce(&GuestSession<'_>, &mut Store<Guest>) -> wasmtime::Result<Result<ResourceAny, Misuse>>,
    ) -> Result<Box<dyn Session>, EngineError> {
        let shared = &self.shared;
        let mut store = Store::new(&shared.engine, Guest { limits: shared.limits.clone() });
        store.limiter(|guest| &mut guest.limits);
        store.set_epoch_deadline(shared.epochs);
        let world = shared
            .instances
            .instantiate(&mut store)
            .map_err(|error| EngineError::Instance(format!("{:#}", error.root_cause())))?;
        let made = make(&world.hermetic_engine_server().session(), &mut store);
        let session = made.map_err(|error| shared.cause(&error))?.map_err(EngineError::Misuse)?;
        shared.counters.opened.fetch_add(1, Ordering::Relaxed);
        let live = Live::one(Arc::clone(shared));
        Ok(Box::new(Sealed { instance: Some(Instance { store, world, session, live }) }))
    }
}

impl Engine for WasmEngine {
    fn open(&self, options: &Options) -> Result<Box<dyn Session>, EngineError> {
        self.session(|session, store| Ok(Ok(session.call_constructor(store, options)?)))
    }

    fn thaw(&self, options: &Options, image: &[u8]) -> Result<Box<dyn Session>, EngineError> {
        self.session(|session, store| session.call_thaw(store, options, image))
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

/// Counts one instance for as long as it lives.
struct Live(Arc<Shared>);

impl Live {
    fn one(shared: Arc<Shared>) -> Self {
        shared.counters.live.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.counters.live.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Instance {
    store: Store<Guest>,
    world: bindings::Engine,
    session: ResourceAny,
    live: Live,
}

/// One session in its instance, which is gone after a trap.
struct Sealed {
    instance: Option<Instance>,
}

impl Sealed {
    /// One call with its deadline. Whatever brings no step that holds takes the instance with it, save our own misuse.
    fn call<T>(
        &mut self,
        call: impl FnOnce(&GuestSession<'_>, &mut Store<Guest>, ResourceAny) -> wasmtime::Result<Result<T, Misuse>>,
        holds: impl FnOnce(&T) -> Result<(), EngineError>,
    ) -> Result<T, EngineError> {
        let Some(instance) = &mut self.instance else {
            return Err(EngineError::Instance("the session ended in an earlier call".into()));
        };
        let shared = &instance.live.0;
        instance.store.set_epoch_deadline(shared.epochs);
        let session = instance.world.hermetic_engine_server().session();
        let result = match call(&session, &mut instance.store, instance.session) {
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
        let image = self.call(
            |session, store, this| session.call_freeze(store, this),
            |image: &Vec<u8>| match image.len() {
                0..=IMAGE => Ok(()),
                length => Err(EngineError::Trap(format!("an image of {length} octets"))),
            },
        )?;
        if let Some(instance) = &self.instance {
            instance.live.0.counters.frozen.fetch_add(1, Ordering::Relaxed);
        }
        Ok(image)
    }
}

fn config(settings: &EngineSettings) -> Config {
    let n = settings.sessions;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(n)
        .total_core_instances(n.saturating_mul(CORE_INSTANCES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .total_memories(n)
        .max_memories_per_component(1)
        .max_memory_size(settings.memory)
        .total_tables(n.saturating_mul(TABLES))
        .max_tables_per_component(TABLES)
        .table_elements(TABLE_ELEMENTS)
        .max_unused_warm_slots(WARM_SLOTS);
    // Either alone gains nothing: without the scan the first octets are wiped whether or not they were written to.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(KEEP).table_keep_resident(KEEP);
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
