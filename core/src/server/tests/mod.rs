//! Dialogues, and what must hold for any of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod auth;
mod bounds;
mod calls;
mod content;
mod hello;
mod model;
mod property;
mod rig;
mod transaction;
