//! What everything that is sealed in WebAssembly shares: the engine and the plugins.
//!
//! Owns compiled code on disk ([`cache`]), the clock of deadlines ([`ticker`]), the verdict on a call that takes long
//! ([`watch`]) and the account of one that may wait ([`meter`]). Refuses to know what runs. The only `unsafe` of the host is here: loading code that we compiled.

pub(crate) mod cache;
pub(crate) mod meter;
pub(crate) mod ticker;
pub(crate) mod watch;
