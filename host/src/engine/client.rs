//! The outbound half of the sealed engine: one session with a server, one instance, short synchronous calls.
//!
//! Owns the boundary to `wit/engine/client.wit`. Refuses to know SMTP.

use super::EngineError;
pub use super::bindings::exports::hermetic::engine::client::{
    Cause, ContentFacts, Failure, Fate, Limits, Login, Need, Options, Outcome, Peer, Stage, Step, TlsUse, Transaction,
};

/// Something that can open outbound sessions.
pub trait Engine: Send + Sync + 'static {
    /// A session before its greeting.
    ///
    /// # Errors
    /// No instance.
    fn open(&self, options: &Options) -> Result<Box<dyn Session>, EngineError>;
}

/// One session. See `wit/engine/client.wit`.
#[allow(missing_docs, clippy::missing_errors_doc)]
pub trait Session: Send {
    fn start(&mut self, now: u64) -> Result<Step, EngineError>;
    fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, EngineError>;
    fn secured(&mut self, now: u64) -> Result<Step, EngineError>;
    fn tick(&mut self, now: u64) -> Result<Step, EngineError>;
    fn lost(&mut self, now: u64) -> Result<Step, EngineError>;
    fn login(&mut self, now: u64, mechanism: &str, initial: Option<&[u8]>) -> Result<Step, EngineError>;
    fn respond(&mut self, now: u64, response: &[u8]) -> Result<Step, EngineError>;
    fn cancel(&mut self, now: u64) -> Result<Step, EngineError>;
    fn deliver(&mut self, now: u64, transaction: &Transaction) -> Result<Step, EngineError>;
    fn content(&mut self, now: u64, octets: &[u8], last: bool) -> Result<Step, EngineError>;
    fn quit(&mut self, now: u64) -> Result<Step, EngineError>;
}
