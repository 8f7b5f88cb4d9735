//! From octets to typed values: the one place that reads what a peer wrote.
//!
//! [`mod@line`] cuts the command stream, [`command`] turns one line into a [`crate::command::Command`], [`data`] finds the
//! end of the content. Nothing here knows the state of a session: whether a command is allowed now, or a parameter's
//! extension is offered, is judged by [`crate::server`]. Every failure is the peer's and is a typed error that knows
//! its reply; nothing panics.

pub mod base64;
pub mod command;
pub mod data;
pub(crate) mod date;
mod error;
pub mod line;
mod parameter;
pub mod path;
pub mod xtext;

pub use error::{PathFault, SyntaxError};
