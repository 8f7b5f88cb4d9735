//! The sending side of the component: [`hermetic_core::client`] behind `wit/engine/client.wit`.

use core::cell::RefCell;

use crate::wit::client::{GuestSession, Options, Session as Handle, Step, Transaction};
use crate::wit::types::Misuse;
use crate::{convert, convert_client};
use hermetic_core::client::{Session as Core, Step as CoreStep};
use hermetic_core::step;

/// One session; empty once it has been frozen.
pub(crate) struct Session(RefCell<Option<Core>>);

impl Session {
    fn holding(core: Core) -> Self {
        Self(RefCell::new(Some(core)))
    }

    /// One call into the core. Calls never nest: there is no import through which the embedder could call back.
    fn call(&self, call: impl FnOnce(&mut Core) -> Result<CoreStep, step::Misuse>) -> Result<Step, Misuse> {
        match self.0.borrow_mut().as_mut() {
            Some(core) => call(core).map(convert_client::step).map_err(convert::misuse),
            None => Err(Misuse::Closed),
        }
    }
}

impl GuestSession for Session {
    fn new(options: Options) -> Self {
        Self::holding(Core::new(convert_client::options(options)))
    }

    fn start(&self, now: u64) -> Result<Step, Misuse> {
        self.call(|core| core.start(now))
    }

    fn receive(&self, now: u64, input: Vec<u8>) -> Result<Step, Misuse> {
        self.call(|core| core.receive(now, &input))
    }

    fn secured(&self, now: u64) -> Result<Step, Misuse> {
        self.call(|core| core.secured(now))
    }

    fn tick(&self, now: u64) -> Result<Step, Misuse> {
        self.call(|core| core.tick(now))
    }

    fn lost(&self, now: u64) -> Result<Step, Misuse> {
        self.call(|core| core.lost(now))
    }

    fn login(&self, now: u64, mechanism: String, initial: Option<Vec<u8>>) -> Result<Step, Misuse> {
        self.call(|core| core.login(now, &mechanism, initial))
    }

    fn respond(&self, now: u64, response: Vec<u8>) -> Result<Step, Misuse> {
        self.call(|core| core.respond(now, &response))
    }

    fn cancel(&self, now: u64) -> Result<Step, Misuse> {
        self.call(|core| core.cancel(now))
    }

    fn deliver(&self, now: u64, transaction: Transaction) -> Result<Step, Misuse> {
        self.call(|core| core.deliver(now, &convert_client::transaction(transaction)))
    }

    fn content(&self, now: u64, octets: Vec<u8>, last: bool) -> Result<Step, Misuse> {
        self.call(|core| core.content(now, &octets, last))
    }

    fn quit(&self, now: u64) -> Result<Step, Misuse> {
        self.call(|core| core.quit(now))
    }

    fn freeze(&self) -> Result<Vec<u8>, Misuse> {
        match self.0.take() {
            Some(core) => core.freeze().map_err(convert::misuse),
            None => Err(Misuse::Closed),
        }
    }

    fn thaw(options: Options, image: Vec<u8>) -> Result<Handle, Misuse> {
        match Core::thaw(convert_client::options(options), &image) {
            Ok(core) => Ok(Handle::new(Self::holding(core))),
            Err(misuse) => Err(convert::misuse(misuse)),
        }
    }
}
