//! A small Internet on loopback: a name server with signed zones, an authority, web and mail servers of other makers.
//!
//! Owns what its servers have in common: each has an address of its own in 127.0.1.0/24 and is ended when it is
//! dropped. Refuses to reach beyond the loopback. Fails by panicking; where another maker's server is not installed, it
//! is None.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a rig for tests: a panic is how a test fails")]

pub mod dns;
pub mod middleman;
pub mod peers;
pub mod pki;
pub mod policies;
