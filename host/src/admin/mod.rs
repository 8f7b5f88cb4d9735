//! The admin API: what an operator sees of the running server's queue, and does with it.
//!
//! Owns HTTP on a Unix socket or a loopback address, the token that whoever asks must show, and the operations ([`desk`]).
//! Refuses to listen anywhere else, to know how entries are kept, and to read a message for more than its header. Fails with
//! [`AdminError`] at the start; later every problem is one request's. What it answers is written down in `openapi.json`, which
//! it serves itself; a test holds the two together.

mod answer;
pub mod desk;
mod routes;
mod serve;
pub mod token;
pub mod wire;

#[cfg(test)]
mod tests;

pub use self::serve::{Admin, AdminError};
