//! Plugins: sandboxed judges of mail.
//!
//! Owns what a plugin is asked ([`hook`]). Refuses to know sessions and queues.

pub mod hook;
pub mod render;
