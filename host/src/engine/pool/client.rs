//! Sending sessions under wasmtime: the same instances, deadlines and bounds of memory as for receiving ones.

use wasmtime::Store;
use wasmtime::component::ResourceAny;

use super::super::bindings::exports::hermetic::engine::client::GuestSession;
use super::super::client::{Client, ClientEngine, Given, Ledger, Options, Step, Transaction};
use super::super::types::Misuse;
use super::super::{EngineError, bindings};
use super::{Guest, Seat, WasmEngine};

impl ClientEngine for WasmEngine {
    fn client(&self, options: &Options) -> Result<Box<dyn Client>, EngineError> {
        let session = |world: &bindings::Engine, store: &mut Store<Guest>| {
            Ok(Ok(world.hermetic_engine_client().session().call_constructor(store, options)?))
        };
        Ok(Box::new(SealedClient { seat: self.seat(session)?, ledger: Ledger::new() }))
    }

    fn thaw_client(&self, options: &Options, image: &[u8]) -> Result<Box<dyn Client>, EngineError> {
        let session = |world: &bindings::Engine, store: &mut Store<Guest>| {
            world.hermetic_engine_client().session().call_thaw(store, options, image)
        };
        Ok(Box::new(SealedClient { seat: self.seat(session)?, ledger: Ledger::thawed() }))
    }
}

/// One sending session.
struct SealedClient {
    seat: Seat,
    ledger: Ledger,
}

impl SealedClient {
    fn step(
        &mut self,
        given: Given,
        call: impl FnOnce(&GuestSession<'_>, &mut Store<Guest>, ResourceAny) -> wasmtime::Result<Result<Step, Misuse>>,
    ) -> Result<Step, EngineError> {
        let ledger = &mut self.ledger;
        self.seat.call(
            |world, store, this| call(&world.hermetic_engine_client().session(), store, this),
            |step| ledger.validate(step, given),
        )
    }
}

impl Client for SealedClient {
    fn start(&mut self, now: u64) -> Result<Step, EngineError> {
        self.step(Given::default(), |session, store, this| session.call_start(store, this, now))
    }

    fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, EngineError> {
        let given = Given { input: input.len(), ..Given::default() };
        self.step(given, |session, store, this| session.call_receive(store, this, now, input))
    }

    fn secured(&mut self, now: u64) -> Result<Step, EngineError> {
        self.step(Given::default(), |session, store, this| session.call_secured(store, this, now))
    }

    fn tick(&mut self, now: u64) -> Result<Step, EngineError> {
        let given = Given { tick: Some(now), ..Given::default() };
        self.step(given, |session, store, this| session.call_tick(store, this, now))
    }

    fn lost(&mut self, now: u64) -> Result<Step, EngineError> {
        let given = Given { lost: true, ..Given::default() };
        self.step(given, |session, store, this| session.call_lost(store, this, now))
    }

    fn login(&mut self, now: u64, mechanism: &str, initial: Option<&[u8]>) -> Result<Step, EngineError> {
        self.step(Given::default(), |session, store, this| session.call_login(store, this, now, mechanism, initial))
    }

    fn respond(&mut self, now: u64, response: &[u8]) -> Result<Step, EngineError> {
        self.step(Given::default(), |session, store, this| session.call_respond(store, this, now, response))
    }

    fn cancel(&mut self, now: u64) -> Result<Step, EngineError> {
        self.step(Given::default(), |session, store, this| session.call_cancel(store, this, now))
    }

    fn deliver(&mut self, now: u64, transaction: &Transaction) -> Result<Step, EngineError> {
        let before = self.ledger.clone();
        self.ledger.deliver(transaction.recipients.len());
        let step =
            self.step(Given::default(), |session, store, this| session.call_deliver(store, this, now, transaction));
        if let Err(EngineError::Misuse(_)) = step {
            self.ledger = before;
        }
        step
    }

    fn content(&mut self, now: u64, octets: &[u8], last: bool) -> Result<Step, EngineError> {
        let given = Given { content: octets.len(), ..Given::default() };
        self.step(given, |session, store, this| session.call_content(store, this, now, octets, last))
    }

    fn quit(&mut self, now: u64) -> Result<Step, EngineError> {
        self.step(Given::default(), |session, store, this| session.call_quit(store, this, now))
    }

    fn freeze(mut self: Box<Self>) -> Result<Vec<u8>, EngineError> {
        self.seat.freeze(|world, store, this| world.hermetic_engine_client().session().call_freeze(store, this))
    }
}
