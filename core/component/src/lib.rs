//! The core as a WebAssembly component: `wit/engine` on the outside, [`hermetic_core`] on the inside, nothing between.
//!
//! Owns the translation of values in [`convert`], [`convert_client`] and [`convert_probe`]; here is the receiving side,
//! in [`outbound`] the sending one, in [`probing`] the part that tests servers. An instance holds one session of one of
//! them. Refuses to know SMTP, and imports nothing: what runs this component can only feed it octets, time and answers.
//! It fails by a trap, which ends the one session that lives in it.

mod convert;
mod convert_client;
mod convert_probe;
#[cfg(target_family = "wasm")]
mod memory;
mod outbound;
mod probing;

/// What `wit/engine` says, in Rust.
#[allow(missing_docs, unsafe_code, unreachable_pub, clippy::all, reason = "generated; documented in wit/engine")]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit/engine", world: "engine" });

    struct Engine;

    impl exports::hermetic::engine::server::Guest for Engine {
        type Session = crate::Session;
    }

    impl exports::hermetic::engine::client::Guest for Engine {
        type Session = crate::outbound::Session;
    }

    impl exports::hermetic::engine::probe::Guest for Engine {
        type Session = crate::probing::Session;
    }

    export!(Engine);
}

/// The generated types under the names of their interfaces: this is where the translation looks for them.
mod wit {
    pub(crate) use crate::bindings::exports::hermetic::engine::{client, probe, server, types};
}

use core::cell::RefCell;

use hermetic_core::server::Session as Core;
use hermetic_core::step;
use wit::server::{GuestSession, Options, Session as Handle};
use wit::types::{Answer, Misuse, Refusal, Step};

/// One session; empty once it has been frozen.
struct Session(RefCell<Option<Core>>);

impl Session {
    fn holding(core: Core) -> Self {
        Self(RefCell::new(Some(core)))
    }

    /// One call into the core. Calls never nest: there is no import through which the embedder could call back.
    fn call(&self, call: impl FnOnce(&mut Core) -> Result<step::Step, step::Misuse>) -> Result<Step, Misuse> {
        match self.0.borrow_mut().as_mut() {
            Some(core) => call(core).map(convert::step).map_err(convert::misuse),
            None => Err(Misuse::Closed),
        }
    }
}

impl GuestSession for Session {
    fn new(options: Options) -> Self {
        Self::holding(Core::new(convert::options(options)))
    }

    fn start(&self, now: u64) -> Result<Step, Misuse> {
        self.call(|core| core.start(now))
    }

    fn receive(&self, now: u64, input: Vec<u8>) -> Result<Step, Misuse> {
        self.call(|core| core.receive(now, &input))
    }

    fn secured(&self, now: u64, mechanisms: Vec<String>) -> Result<Step, Misuse> {
        self.call(|core| core.secured(now, mechanisms))
    }

    fn tick(&self, now: u64) -> Result<Step, Misuse> {
        self.call(|core| core.tick(now))
    }

    fn answer(&self, now: u64, answer: Answer) -> Result<Step, Misuse> {
        self.call(|core| core.answer(now, convert::answer(answer)))
    }

    fn drain(&self, now: u64, farewell: Refusal) -> Result<Step, Misuse> {
        self.call(|core| core.drain(now, convert::refusal(farewell)))
    }

    fn freeze(&self) -> Result<Vec<u8>, Misuse> {
        match self.0.take() {
            Some(core) => core.freeze().map_err(convert::misuse),
            None => Err(Misuse::Closed),
        }
    }

    fn thaw(options: Options, image: Vec<u8>) -> Result<Handle, Misuse> {
        match Core::thaw(convert::options(options), &image) {
            Ok(core) => Ok(Handle::new(Self::holding(core))),
            Err(misuse) => Err(convert::misuse(misuse)),
        }
    }
}
