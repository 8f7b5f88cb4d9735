//! What the tests and benchmarks share: the core without its sandbox, transcripts of sessions, the real server.
//!
//! Owns test rigs. Refuses to be linked into the product. A rig fails by telling a person what to look at.

pub mod columns;
pub mod guest;
pub mod lmtp;
pub mod load;
pub mod logins;
pub mod maildir;
pub mod message;
pub mod native;
pub mod nats;
pub mod power;
pub mod programs;
pub mod proxy;
pub mod server;
pub mod session;
pub mod tape;
pub mod transcript;
pub mod world;
