//! What is no value of the type that was expected, and where it stands.

use alloc::{
    boxed::Box,
    string::{String, ToString as _},
};

/// Why a value was not taken. The session is unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    /// From the outside in: `options.limits.recipients`.
    path: String,
    why: String,
}

impl Misfit {
    /// Here; whoever looked inside says where that is.
    pub fn new(why: impl Into<String>) -> Self {
        Self(Box::new(Parts { path: String::new(), why: why.into() }))
    }

    /// It stood in the member of this name.
    #[must_use]
    pub fn within(mut self, name: &str) -> Self {
        let path = &mut self.0.path;
        let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
        *path = [name, dot, path].concat();
        self
    }

    /// At this place of a list, from 0.
    #[must_use]
    pub fn at(self, place: usize) -> Self {
        self.within(&["[", &place.to_string(), "]"].concat())
    }
}

impl core::fmt::Display for Misfit {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if !self.0.path.is_empty() {
            out.write_str(&self.0.path)?;
            out.write_str(": ")?;
        }
        out.write_str(&self.0.why)
    }
}

impl core::error::Error for Misfit {}
