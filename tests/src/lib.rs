//! What the tests and benchmarks share: the core without its sandbox, and transcripts of sessions.
//!
//! Owns test rigs. Refuses to be linked into the product. A rig fails by telling a person what to look at.

pub mod native;
pub mod transcript;
