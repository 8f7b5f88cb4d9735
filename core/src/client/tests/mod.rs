//! Dialogues, and what must hold for any of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod dialogue;
mod hostile;
mod misuse;
mod property;
mod rig;
mod round_trip;
