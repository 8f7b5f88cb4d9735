//! The sealed engine, from the outside: one session, one instance, short synchronous calls.
//!
//! Owns the boundary to `engine.wasm`. Refuses to know SMTP. Fails by [`EngineError`]: a misuse is our fault, anything
//! else ends this one session and no other.

pub mod pool;

/// What `wit/engine` says, in Rust.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated; documented in wit/engine")]
pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit/engine",
        world: "engine",
        additional_derives: [Clone, PartialEq],
    });
}

/// The values that cross the boundary.
pub mod types {
    pub use super::bindings::exports::hermetic::engine::server::{Limits, Options, Protocol};
    pub use super::bindings::exports::hermetic::engine::types::*;
}

use types::{Answer, Misuse, Options, Refusal, Step};

/// Why a call into the engine brought no step.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// We called it wrongly: a bug of ours, not the peer's.
    #[error("the engine was misused: {0:?}")]
    Misuse(Misuse),
    /// The engine trapped: a bug in the engine. The instance is gone.
    #[error("the engine trapped: {0}")]
    Trap(String),
    /// A call took longer than its deadline. The instance is gone.
    #[error("the engine did not return within {0} ms")]
    Deadline(u64),
    /// No instance is free, or none could be made.
    #[error("no engine instance: {0}")]
    Instance(String),
}

/// Something that can open sessions: the component under wasmtime, or in the benchmarks the same core natively.
pub trait Engine: Send + Sync + 'static {
    /// A session before its greeting.
    fn open(&self, options: &Options) -> Result<Box<dyn Session>, EngineError>;
    /// A session from the image that [`Session::freeze`] made under the same options.
    fn thaw(&self, options: &Options, image: &[u8]) -> Result<Box<dyn Session>, EngineError>;
}

/// One session. `now` is milliseconds on one monotonic clock for the whole session.
pub trait Session: Send {
    /// See `wit/engine/server.wit`.
    fn start(&mut self, now: u64) -> Result<Step, EngineError>;
    /// See `wit/engine/server.wit`.
    fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, EngineError>;
    /// See `wit/engine/server.wit`.
    fn secured(&mut self, now: u64, mechanisms: &[String]) -> Result<Step, EngineError>;
    /// See `wit/engine/server.wit`.
    fn tick(&mut self, now: u64) -> Result<Step, EngineError>;
    /// See `wit/engine/server.wit`.
    fn answer(&mut self, now: u64, answer: &Answer) -> Result<Step, EngineError>;
    /// See `wit/engine/server.wit`.
    fn drain(&mut self, now: u64, farewell: &Refusal) -> Result<Step, EngineError>;
    /// The state as bytes; the instance goes back to the pool.
    fn freeze(self: Box<Self>) -> Result<Vec<u8>, EngineError>;
}
