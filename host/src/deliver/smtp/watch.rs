//! What a session tells somebody who watches it: `hermetic send`, for its transcript.
//!
//! Owns what there is to see. Refuses to change anything of the session. Can not fail.

use crate::engine::types::Event;

/// What somebody who watches a session is told, as it happens.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// What the engine tells of it.
    Event(&'a Event),
    /// So many octets of content are about to be written.
    Content(usize),
    /// There is TLS: its version and cipher.
    Secured(&'a str),
}

/// Somebody who watches.
pub type Watch = Box<dyn FnMut(Seen<'_>) + Send>;
