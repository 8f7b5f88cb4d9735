//! The standalone server under a stock `wasmtime run`: transcripts, real clients, hostile peers, and its guide.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod clients;
mod conformance;
mod guide;
mod hostile;
mod program;
mod service;
