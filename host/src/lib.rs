//! Hermetic: an SMTP server in which every session is sealed in its own WebAssembly sandbox.
//!
//! The order of the modules is the way of a message: from the socket to the Maildir. A module may use those below it
//! in the list of `ARCHITECTURE.md`, never those above.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod admin;
pub mod cli;
pub mod listen;
pub mod trial;

pub mod transport;

pub mod engine;
pub mod record;

pub mod policy;

pub mod store;

pub mod plugin;

pub mod queue;

pub mod deliver;
pub mod dsn;

pub mod tlsrpt;

pub mod dkim;
pub mod dns;

mod sandbox;

pub mod config;
pub mod observe;

pub mod edit;
pub mod files;
