//! The core plugged into the host's engine trait without a sandbox, to compare with: in the transcripts octet for
//! octet, in the benchmarks for speed. The product never links it.
//!
//! The values go through the very file that translates them inside the component. Steps are held to the same rules as
//! those that come out of the sandbox.

#[path = "../../core/component/src/convert.rs"]
mod convert;

/// The host's side of `wit/engine`: this is where [`convert`] looks for its types.
mod wit {
    pub(crate) use hermetic::engine::bindings::exports::hermetic::engine::{server, types};
}

use hermetic::engine::types::{Answer, Options, Refusal, Step};
use hermetic::engine::{Engine, EngineError, Session, validate, validate_tick};
use hermetic_core::server::Session as Core;
use hermetic_core::step;

/// Opens sessions in this very process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

impl Engine for Native {
    fn open(&self, options: &Options) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(Bare(Core::new(convert::options(options.clone())))))
    }

    fn thaw(&self, options: &Options, image: &[u8]) -> Result<Box<dyn Session>, EngineError> {
        let core = Core::thaw(convert::options(options.clone()), image).map_err(misuse)?;
        Ok(Box::new(Bare(core)))
    }
}

/// A session without a sandbox.
struct Bare(Core);

fn misuse(misuse: step::Misuse) -> EngineError {
    EngineError::Misuse(convert::misuse(misuse))
}

fn checked(result: Result<step::Step, step::Misuse>, input: usize) -> Result<Step, EngineError> {
    let step = convert::step(result.map_err(misuse)?);
    validate(&step, input)?;
    Ok(step)
}

impl Session for Bare {
    fn start(&mut self, now: u64) -> Result<Step, EngineError> {
        checked(self.0.start(now), 0)
    }

    fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, EngineError> {
        checked(self.0.receive(now, input), input.len())
    }

    fn secured(&mut self, now: u64, mechanisms: &[String]) -> Result<Step, EngineError> {
        checked(self.0.secured(now, mechanisms.to_vec()), 0)
    }

    fn tick(&mut self, now: u64) -> Result<Step, EngineError> {
        let step = convert::step(self.0.tick(now).map_err(misuse)?);
        validate_tick(&step, now)?;
        Ok(step)
    }

    fn answer(&mut self, now: u64, answer: &Answer) -> Result<Step, EngineError> {
        checked(self.0.answer(now, convert::answer(answer.clone())), 0)
    }

    fn drain(&mut self, now: u64, farewell: &Refusal) -> Result<Step, EngineError> {
        checked(self.0.drain(now, convert::refusal(farewell.clone())), 0)
    }

    fn freeze(self: Box<Self>) -> Result<Vec<u8>, EngineError> {
        self.0.freeze().map_err(misuse)
    }
}
