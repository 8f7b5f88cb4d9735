//! The receiving side: one SMTP or LMTP session as a plain value.

mod options;

pub use options::{Options, Protocol};

use alloc::{string::String, vec::Vec};

use crate::question::{Answer, Refusal};
use crate::step::{Misuse, Step};

/// One inbound session. It has no clock, no socket and no secrets.
#[derive(Clone, Debug)]
pub struct Session {
    #[allow(dead_code, reason = "the behaviour follows")]
    options: Options,
}

impl Session {
    /// A session before its greeting.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// The connection is open. Once.
    pub fn start(&mut self, _now: u64) -> Result<Step, Misuse> {
        Err(Misuse::NotStarted)
    }

    /// Octets from the peer, or what is left of them. May be empty.
    pub fn receive(&mut self, _now: u64, _input: &[u8]) -> Result<Step, Misuse> {
        Err(Misuse::NotStarted)
    }

    /// The handshake that [`crate::step::Need::StartTls`] asked for is done; these mechanisms may now be offered.
    pub fn secured(&mut self, _now: u64, _mechanisms: Vec<String>) -> Result<Step, Misuse> {
        Err(Misuse::NotStarted)
    }

    /// The time has come.
    pub fn tick(&mut self, _now: u64) -> Result<Step, Misuse> {
        Err(Misuse::NotStarted)
    }

    /// The answer to the open question.
    pub fn answer(&mut self, _now: u64, _answer: Answer) -> Result<Step, Misuse> {
        Err(Misuse::NotStarted)
    }

    /// End the session with this reply as soon as no transaction is open, which may be now.
    pub fn drain(&mut self, _now: u64, _farewell: Refusal) -> Result<Step, Misuse> {
        Err(Misuse::NotStarted)
    }

    /// The whole state behind a version byte; the session is spent.
    pub fn freeze(self) -> Result<Vec<u8>, Misuse> {
        Err(Misuse::NotStarted)
    }

    /// The session whose `freeze` made this image, under the same options.
    pub fn thaw(_options: Options, _image: &[u8]) -> Result<Self, Misuse> {
        Err(Misuse::NotStarted)
    }
}
