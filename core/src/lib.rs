//! The SMTP and LMTP protocol as a sans-IO state machine.
//!
//! Octets, time and answers go in; octets to transmit, content, events and questions come out. There is no clock, no
//! socket, no randomness and no global: the same code runs natively, as a WebAssembly component and in a browser, and
//! a recorded session replays bit for bit.
//!
//! A run loop, in steps:
//!
//! 1. [`server::Session::new`], then [`server::Session::start`] when the connection is open.
//! 2. Write [`step::Step::transmit`] to the peer, hand [`step::Step::body`] to the store.
//! 3. Meet [`step::Step::need`]: read and `receive`, decide and `answer`, shake hands and `secured`, or close.
//! 4. Call `tick` at [`step::Step::wake`] if nothing else happened before. Back to 2.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod address;
pub mod command;
pub mod limits;
pub mod question;
pub mod reply;
pub mod server;
pub mod step;
pub mod syntax;
