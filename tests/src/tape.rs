//! Engines that write down what is done with them: each call and what came of it, as a `.session` file has it ([`Tape`]), or
//! what a server holds of it until it is over ([`Held`]).
//!
//! Owns the wrappers of both traits. Freezing and thawing are passed on and leave no mark. Refuses to change anything: what
//! the engine says is what its caller gets. It fails where the engine does, and writes that down too.

use std::sync::{Arc, Mutex, PoisonError};

use hermetic::engine::client::{self, Client, ClientEngine, Transaction};
use hermetic::engine::types::{Answer, Options, Refusal, Step};
use hermetic::engine::{Engine, EngineError, Session};
use hermetic::record::take::{Bounds, Memory};
use hermetic::record::{
    Called, ClientCall, ClientHalf, Entry, Half, Header, Outcome, Recording, ServerCall, ServerHalf, Take,
};

/// What was written down so far.
#[derive(Debug)]
pub struct Tape<H: Half>(Arc<Mutex<Vec<Entry<H>>>>);

impl<H: Half> Clone for Tape<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<H: Half> Default for Tape<H> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<H: Half> Tape<H> {
    /// As a file, of the one session that was opened on it.
    #[must_use]
    pub fn recording(&self, header: Header, options: &H::Options) -> Recording<H> {
        let entries = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        Recording { entries, ..Recording::new(header, options.clone()) }
    }

    fn add(&self, call: H::Call, result: Result<H::Step, EngineError>) -> Result<H::Step, EngineError> {
        let (outcome, result) = match result {
            Ok(step) => (Outcome::Step(step.clone()), Ok(step)),
            Err(EngineError::Misuse(misuse)) => (Outcome::Misuse(misuse.clone()), Err(EngineError::Misuse(misuse))),
            Err(error) => (Outcome::Trap(error.to_string()), Err(error)),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Entry::Call(call, outcome));
        result
    }
}

/// An engine of the receiving half with a tape. Open one session on it.
pub struct TapedEngine {
    /// The engine.
    pub engine: &'static dyn Engine,
    /// What is written.
    pub tape: Tape<ServerHalf>,
}

/// A receiving session with a tape.
struct Taped {
    session: Box<dyn Session>,
    tape: Tape<ServerHalf>,
}

impl Engine for TapedEngine {
    fn open(&self, options: &Options) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(Taped { session: self.engine.open(options)?, tape: self.tape.clone() }))
    }

    fn thaw(&self, options: &Options, image: &[u8]) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(Taped { session: self.engine.thaw(options, image)?, tape: self.tape.clone() }))
    }
}

impl Taped {
    fn call(&mut self, call: ServerCall) -> Result<Step, EngineError> {
        let result = ServerHalf::call(&mut *self.session, &call);
        self.tape.add(call, result)
    }
}

impl Session for Taped {
    fn start(&mut self, now: u64) -> Result<Step, EngineError> {
        self.call(ServerCall::Start { now })
    }

    fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, EngineError> {
        self.call(ServerCall::Receive { now, input: input.to_vec() })
    }

    fn secured(&mut self, now: u64, mechanisms: &[String]) -> Result<Step, EngineError> {
        self.call(ServerCall::Secured { now, mechanisms: mechanisms.to_vec() })
    }

    fn tick(&mut self, now: u64) -> Result<Step, EngineError> {
        self.call(ServerCall::Tick { now })
    }

    fn answer(&mut self, now: u64, answer: &Answer) -> Result<Step, EngineError> {
        self.call(ServerCall::Answer { now, answer: answer.clone() })
    }

    fn drain(&mut self, now: u64, farewell: &Refusal) -> Result<Step, EngineError> {
        self.call(ServerCall::Drain { now, farewell: farewell.clone() })
    }

    fn freeze(self: Box<Self>) -> Result<Vec<u8>, EngineError> {
        self.session.freeze()
    }
}

/// An engine of the sending half with a tape. Open one session on it.
pub struct TapedClientEngine {
    /// The engine.
    pub engine: &'static dyn ClientEngine,
    /// What is written.
    pub tape: Tape<ClientHalf>,
}

/// A sending session with a tape.
struct TapedClient {
    client: Box<dyn Client>,
    tape: Tape<ClientHalf>,
}

impl ClientEngine for TapedClientEngine {
    fn client(&self, options: &client::Options) -> Result<Box<dyn Client>, EngineError> {
        Ok(Box::new(TapedClient { client: self.engine.client(options)?, tape: self.tape.clone() }))
    }

    fn thaw_client(&self, options: &client::Options, image: &[u8]) -> Result<Box<dyn Client>, EngineError> {
        Ok(Box::new(TapedClient { client: self.engine.thaw_client(options, image)?, tape: self.tape.clone() }))
    }
}

impl TapedClient {
    fn call(&mut self, call: ClientCall) -> Result<client::Step, EngineError> {
        let result = ClientHalf::call(&mut *self.client, &call);
        self.tape.add(call, result)
    }
}

impl Client for TapedClient {
    fn start(&mut self, now: u64) -> Result<client::Step, EngineError> {
        self.call(ClientCall::Start { now })
    }

    fn receive(&mut self, now: u64, input: &[u8]) -> Result<client::Step, EngineError> {
        self.call(ClientCall::Receive { now, input: input.to_vec() })
    }

    fn secured(&mut self, now: u64) -> Result<client::Step, EngineError> {
        self.call(ClientCall::Secured { now })
    }

    fn tick(&mut self, now: u64) -> Result<client::Step, EngineError> {
        self.call(ClientCall::Tick { now })
    }

    fn lost(&mut self, now: u64) -> Result<client::Step, EngineError> {
        self.call(ClientCall::Lost { now })
    }

    fn login(&mut self, now: u64, mechanism: &str, initial: Option<&[u8]>) -> Result<client::Step, EngineError> {
        self.call(ClientCall::Login { now, mechanism: mechanism.to_owned(), initial: initial.map(<[u8]>::to_vec) })
    }

    fn respond(&mut self, now: u64, response: &[u8]) -> Result<client::Step, EngineError> {
        self.call(ClientCall::Respond { now, response: response.to_vec() })
    }

    fn cancel(&mut self, now: u64) -> Result<client::Step, EngineError> {
        self.call(ClientCall::Cancel { now })
    }

    fn deliver(&mut self, now: u64, transaction: &Transaction) -> Result<client::Step, EngineError> {
        self.call(ClientCall::Deliver { now, transaction: transaction.clone() })
    }

    fn content(&mut self, now: u64, octets: &[u8], last: bool) -> Result<client::Step, EngineError> {
        self.call(ClientCall::Content { now, octets: octets.to_vec(), last })
    }

    fn quit(&mut self, now: u64) -> Result<client::Step, EngineError> {
        self.call(ClientCall::Quit { now })
    }

    fn freeze(self: Box<Self>) -> Result<Vec<u8>, EngineError> {
        self.client.freeze()
    }
}

/// An engine whose sessions are held, each for itself, as a server holds those that may become files.
pub struct Held {
    engine: Arc<dyn Engine>,
    bounds: Bounds,
    memory: Arc<Memory>,
    last: Mutex<Arc<Mutex<Take>>>,
}

impl Held {
    /// Nothing is held yet.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, bounds: Bounds) -> Self {
        let memory: Arc<Memory> = Arc::default();
        let none = Take::new(super::transcript::plain(), bounds, memory.clone());
        Self { engine, bounds, memory, last: Mutex::new(Arc::new(Mutex::new(none))) }
    }

    /// What is held of the session that was opened last.
    pub fn take(&self) -> Arc<Mutex<Take>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Engine for Held {
    fn open(&self, options: &Options) -> Result<Box<dyn Session>, EngineError> {
        let session = self.engine.open(options)?;
        let take = Arc::new(Mutex::new(Take::new(options.clone(), self.bounds, self.memory.clone())));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = take.clone();
        Ok(Box::new(HeldSession { session, take }))
    }

    /// Of the last one, the rest.
    fn thaw(&self, options: &Options, image: &[u8]) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(HeldSession { session: self.engine.thaw(options, image)?, take: self.take() }))
    }
}

/// A session with what is held of it.
struct HeldSession {
    session: Box<dyn Session>,
    take: Arc<Mutex<Take>>,
}

impl HeldSession {
    fn call(&mut self, now: u64, called: Called<'_>) -> Result<Step, EngineError> {
        let outcome = called.make(&mut *self.session, now);
        self.take.lock().unwrap_or_else(PoisonError::into_inner).add(now, called, &outcome);
        outcome
    }
}

impl Session for HeldSession {
    fn start(&mut self, now: u64) -> Result<Step, EngineError> {
        self.call(now, Called::Start)
    }

    fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, EngineError> {
        self.call(now, Called::Receive(input))
    }

    fn secured(&mut self, now: u64, mechanisms: &[String]) -> Result<Step, EngineError> {
        self.call(now, Called::Secured(mechanisms))
    }

    fn tick(&mut self, now: u64) -> Result<Step, EngineError> {
        self.call(now, Called::Tick)
    }

    fn answer(&mut self, now: u64, answer: &Answer) -> Result<Step, EngineError> {
        self.call(now, Called::Answer(answer))
    }

    fn drain(&mut self, now: u64, farewell: &Refusal) -> Result<Step, EngineError> {
        self.call(now, Called::Drain(farewell))
    }

    fn freeze(self: Box<Self>) -> Result<Vec<u8>, EngineError> {
        self.session.freeze()
    }
}
