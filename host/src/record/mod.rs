//! Sessions written down: `.session` files, and running them again.
//!
//! Owns the format that `wit/session.md` describes: reading it ([`file`]), writing it, and the way in which the values of
//! `wit/engine` look in it ([`value`]). [`mod@replay`] runs a file again on any build of the engine and finds the first
//! difference. Refuses to know SMTP: what a file holds are values that crossed the engine's boundary.
//!
//! Fails by [`file::FileError`], which says in a sentence what was wrong and what was expected. No file makes it panic.
//!
//! # A hook's line
//!
//! Beside calls a file may hold what plugins were asked. Whoever replays the engine passes over these lines.

pub mod call;
mod client;
pub mod compare;
pub mod file;
pub mod replay;
mod server;
#[cfg(test)]
mod tests;
pub mod value;

pub use call::{ClientCall, ClientHalf, Half, Outcome, ServerCall, ServerHalf};
pub use file::{Any, Entry, FileError, Header, Recording, read, read_file};
pub use replay::{Difference, Replayed, replay};
