//! Mail on its way to other servers: who takes it, how they are reached and believed, and what they said.
//!
//! Owns one attempt. Refuses to speak SMTP (the sealed engine does) and to know when an attempt is made (the queue does).

pub mod connect;
pub mod content;
pub mod conversation;
mod counted;
pub mod courier;
mod delivery;
#[cfg(test)]
pub(crate) mod fake;
pub mod plan;
pub mod reencode;
pub mod route;
pub mod security;
pub mod sts;
mod transaction;
pub mod watch;

pub use self::transaction::why;
