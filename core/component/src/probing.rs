//! The probing part of the component: [`hermetic_core::probe`] behind `wit/engine/probe.wit`.
//!
//! Owns the session's place in the instance. Refuses to know what is tried, and to be frozen. Fails with the core's
//! `Misuse`.

use core::cell::RefCell;

use crate::wit::probe::{GuestSession, Options, Step};
use crate::wit::types::Misuse;
use crate::{convert, convert_probe};
use hermetic_core::probe::{Session as Core, Step as CoreStep};
use hermetic_core::step;

/// One session.
pub(crate) struct Session(RefCell<Core>);

impl Session {
    /// One call into the core. Calls never nest: there is no import through which the embedder could call back.
    fn call(&self, call: impl FnOnce(&mut Core) -> Result<CoreStep, step::Misuse>) -> Result<Step, Misuse> {
        call(&mut self.0.borrow_mut()).map(convert_probe::step).map_err(convert::misuse)
    }
}

impl GuestSession for Session {
    fn new(options: Options) -> Self {
        Self(RefCell::new(Core::new(convert_probe::options(options))))
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
}
