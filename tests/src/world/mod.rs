//! A small Internet on loopback: a name server with signed zones, an authority, web and mail servers of other makers.
//!
//! Each server has an address of its own in 127.0.1.0/24. Every part is ended when it is dropped.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a rig for tests: a panic is how a test fails")]

pub mod dns;
pub mod middleman;
pub mod peers;
pub mod pki;
pub mod policies;
