//! Changes of a message's header for one recipient's copy.
//!
//! Owns the words in which plugins ask for them and the store keeps them. Refuses to know who may ask, and how a copy is made.
//! It cannot fail.

use serde::{Deserialize, Serialize};

/// A change of header fields. Fields are counted from 0, top first, in the message as it came; a field that an edit made
/// has the number that the edit gives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Edit {
    /// Above all others: number, name, value.
    Prepend(u32, String, String),
    /// Below all others: number, name, value.
    Append(u32, String, String),
    /// Another value for a field.
    Replace(u32, String),
    /// Without a field.
    Remove(u32),
}
