//! A value of JavaScript, or of JSON, that has no type yet.
//!
//! Owns the bounds of what may come in from outside. Knows neither WIT's types nor JavaScript.

use alloc::{borrow::Cow, string::String, vec::Vec};

use crate::misfit::Misfit;

/// Octets of text and of lists of octets in all arguments of one call.
pub const OCTETS: usize = 16 * 1024 * 1024;
/// Values, however nested, in all arguments of one call.
pub const VALUES: usize = 100_000;
/// How deep values lie in one another. WIT's deepest has 7.
pub const DEPTH: usize = 12;
/// The largest number that JavaScript counts to exactly; larger ones are written as digits.
pub const EXACT: u64 = (1 << 53) - 1;

/// A value without its type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, and `undefined`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Any number.
    Number(f64),
    /// Text.
    Text(String),
    /// A `Uint8Array`.
    Octets(Vec<u8>),
    /// An array.
    List(Vec<Value>),
    /// An object: its members in their order.
    Record(Vec<(Cow<'static, str>, Value)>),
}

impl Value {
    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::Octets(_) => "octets",
            Self::List(_) => "a list",
            Self::Record(_) => "an object",
        }
    }
}

/// How much may still come in.
#[derive(Debug)]
pub struct Room {
    octets: usize,
    values: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { octets: OCTETS, values: VALUES }
    }
}

impl Room {
    /// One value more, so deep.
    ///
    /// # Errors
    /// When it is one too many, or too deep.
    pub fn value(&mut self, depth: usize) -> Result<(), Misfit> {
        if depth > DEPTH {
            return Err(Misfit::new("values lie too deep in one another"));
        }
        self.values = self.values.checked_sub(1).ok_or_else(|| Misfit::new("too many values"))?;
        Ok(())
    }

    /// So many octets more.
    ///
    /// # Errors
    /// When they are too many.
    pub fn octets(&mut self, count: usize) -> Result<(), Misfit> {
        let left = self.octets.checked_sub(count);
        self.octets = left.ok_or_else(|| Misfit::new("more than 16 MiB in one call; give it in pieces"))?;
        Ok(())
    }
}
