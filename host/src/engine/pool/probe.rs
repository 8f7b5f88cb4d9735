//! Probing sessions under wasmtime: the same instances, deadlines and bounds of memory as for the others.
//!
//! Owns the calls and the check of what comes back. Refuses to know what is tried. Fails with [`EngineError`]; then the
//! session is gone.

use std::fmt;

use wasmtime::Store;
use wasmtime::component::ResourceAny;

use super::super::bindings::exports::hermetic::engine::probe::GuestSession;
use super::super::probe::{Options, Step, validate};
use super::super::types::Misuse;
use super::super::{EngineError, bindings};
use super::{Guest, Seat, WasmEngine};

impl WasmEngine {
    /// A probing session before the greeting.
    ///
    /// # Errors
    /// [`EngineError::Instance`] where the pool is full; what a call may fail with.
    pub fn probe(&self, options: &Options) -> Result<SealedProbe, EngineError> {
        let session = |world: &bindings::Engine, store: &mut Store<Guest>| {
            Ok(Ok(world.hermetic_engine_probe().session().call_constructor(store, options)?))
        };
        Ok(SealedProbe { seat: self.seat(session)?, lost: false })
    }
}

/// One probing session. `now` is milliseconds on one monotonic clock for the whole session. What each call is for stands in
/// `wit/engine/probe.wit`.
pub struct SealedProbe {
    seat: Seat,
    lost: bool,
}

impl fmt::Debug for SealedProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedProbe").finish_non_exhaustive()
    }
}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "documented in wit/engine/probe.wit")]
impl SealedProbe {
    pub fn start(&mut self, now: u64) -> Result<Step, EngineError> {
        self.step(None, |session, store, this| session.call_start(store, this, now))
    }

    pub fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, EngineError> {
        self.step(None, |session, store, this| session.call_receive(store, this, now, input))
    }

    pub fn secured(&mut self, now: u64) -> Result<Step, EngineError> {
        self.step(None, |session, store, this| session.call_secured(store, this, now))
    }

    pub fn tick(&mut self, now: u64) -> Result<Step, EngineError> {
        self.step(Some(now), |session, store, this| session.call_tick(store, this, now))
    }

    pub fn lost(&mut self, now: u64) -> Result<Step, EngineError> {
        self.lost = true;
        self.step(None, |session, store, this| session.call_lost(store, this, now))
    }

    fn step(
        &mut self,
        tick: Option<u64>,
        call: impl FnOnce(&GuestSession<'_>, &mut Store<Guest>, ResourceAny) -> wasmtime::Result<Result<Step, Misuse>>,
    ) -> Result<Step, EngineError> {
        let lost = self.lost;
        self.seat.call(
            |world, store, this| call(&world.hermetic_engine_probe().session(), store, this),
            |step| validate(step, tick, lost),
        )
    }
}
