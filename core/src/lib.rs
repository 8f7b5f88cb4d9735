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
//!
//! ```
//! use hermetic_core::question::{Answer, Question};
//! use hermetic_core::server::{Options, Session};
//! use hermetic_core::step::Need;
//!
//! # fn main() -> Result<(), hermetic_core::step::Misuse> {
//! let mut session = Session::new(Options { server_name: "mx.example".into(), ..Options::default() });
//! let step = session.start(0)?;
//! assert_eq!(step.need, Need::Answer(Question::Connection));
//! let step = session.answer(0, Answer::Connection(Ok(None)))?;
//! assert_eq!(step.transmit, b"220 mx.example ESMTP\r\n");
//! let step = session.receive(1, b"NOOP\r\nQUIT\r\n")?;
//! assert_eq!(step.transmit, b"250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n");
//! assert_eq!(step.need, Need::Close);
//! # Ok(())
//! # }
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod address;
pub mod client;
pub mod command;
pub mod limits;
pub mod probe;
pub mod question;
pub mod reply;
pub mod server;
pub mod step;
pub mod syntax;
