//! What the end-to-end tests share.

pub mod maildir;
pub mod message;
pub mod server;
pub mod session;
