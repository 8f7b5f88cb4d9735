//! Sessions written down: `.session` files, and running them again.
//!
//! Owns the format that `wit/session.md` describes: reading it ([`file`]), writing it, and the way in which the values of
//! `wit/engine` look in it ([`value`]). [`mod@replay`] runs a file again on any build of the engine and finds the first
//! difference. Refuses to know SMTP: what a file holds are values that crossed the engine's boundary.
//!
//! Fails by [`file::FileError`], which says in a sentence what was wrong and what was expected. No file makes it panic.
//!
//! # A session becomes a file
//!
//! While it goes on, only what is put into the engine is held, and a hash of what comes out ([`take`]). When it is over and is
//! to be kept ([`recorder`]), a thread runs it again, finds out what must not be in a file ([`lines`], [`mask`]), and runs it once
//! more without that ([`produce`]). Files are kept in a [`folder`] with bounds.
//!
//! # A hook's line
//!
//! Beside calls a file may hold what plugins were asked ([`crate::plugin::ledger`] writes it). Whoever replays the engine passes over
//! these lines. `hermetic replay --plugins` reads them. Each is one call of a hook, and stands in front of the answer that came of
//! it:
//!
//! | member | what it is |
//! |---|---|
//! | `plugin`, `hash` | its name in the configuration, `sha256:` and the component's hash |
//! | `hook` | `connection`, `sender`, `recipient`, `message`, `recipient-message` |
//! | `phase` | a number; calls with the same one were of one instance, as far as it did not fail |
//! | `now` | seconds since 1970 |
//! | `facts` | `interface facts` of `wit/plugin/context.wit`, with `transaction-id` |
//! | `forward` | the forward-path and the mailbox; `null` where no recipient was asked about |
//! | `recipients` | those of this plugin so far |
//! | `before`, `after` | what was wanted beside a verdict (`plugin::hook::Wishes`), before and after the call |
//! | `message` | `prefix` and `content`, octets as text; in the first line of a phase that sees the content |
//! | `calls` | calls of the host: `call`, `asked` (its parameters), `answer` (`{"ok": …}` or `{"fault": [code, text]}`) |
//! | `verdict`, `failure` | what it said (`plugin::hook::Verdict`); why it failed |
//! | `left-out` | `content`: it saw the content, which is not in the file, and nor is `before`, `after` or what `calls` were about |
//!
//! Of HTTP requests the names of fields and the hash of the body are written down, for values of fields may be keys to a server.

pub mod call;
mod client;
pub mod compare;
pub mod file;
mod folder;
mod lines;
mod mask;
pub mod produce;
pub mod recorder;
pub mod replay;
mod server;
mod sum;
pub mod take;
#[cfg(test)]
mod tests;
pub mod value;

pub use call::{ClientCall, ClientHalf, Half, Outcome, ServerCall, ServerHalf};
pub use file::{Any, Entry, FileError, Header, Recording, read, read_file};
pub use recorder::Recorder;
pub use replay::{Difference, Replayed, replay};
pub use take::{Called, Take};
