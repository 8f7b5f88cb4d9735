//! The core for JavaScript: sessions as an ES module for browsers and Node.
//!
//! Owns the translation of values: those of `wit/engine` as plain objects, as `wit/session.md` writes them ([`shape`]), except
//! that octets come out as `Uint8Array`. Refuses to know SMTP, clocks and sockets: `hermetic.js`, which wraps what is generated
//! from here, is all that a page sees. Nothing here panics: what is no value of its type is a [`misfit::Misfit`], the embedder's
//! wrong call a misuse, and both are returned.

#![cfg_attr(target_family = "wasm", no_std)]

extern crate alloc;

mod calls;
mod client;
mod server;

#[cfg(target_family = "wasm")]
mod alone;
#[cfg(target_family = "wasm")]
mod bindings;
pub mod misfit;
pub mod shape;
pub mod value;

#[cfg(test)]
#[allow(clippy::panic)]
mod tests;

pub use calls::{Half, Outcome};

/// The version of the package `hermetic:engine` whose functions and values these are.
pub const WIT: &str = "0.1.0";
