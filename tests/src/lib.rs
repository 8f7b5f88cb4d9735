//! What the end-to-end tests share.

pub mod load;
pub mod maildir;
pub mod message;
pub mod power;
pub mod server;
pub mod session;
