//! Why a configuration can not be used. Always the operator's to mend, so each is one sentence that says how.

use std::{fmt, io, path::PathBuf};

/// Where in which file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// None: no file was read, the configuration is built in or was made by a program.
    pub file: Option<PathBuf>,
    /// Counted from 1; 0: the place is the whole file.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            None => f.write_str("configuration"),
            Some(file) if self.line == 0 => write!(f, "{}", file.display()),
            Some(file) => write!(f, "{}:{}", file.display(), self.line),
        }
    }
}

/// Why a configuration can not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can not be read.
    #[error("{place}: the configuration can not be read: {error}")]
    Unreadable {
        /// The file.
        place: Place,
        /// What the system said.
        error: io::Error,
    },
    /// It is no TOML.
    #[error("{place}: this is no TOML: {message}")]
    Syntax {
        /// The line.
        place: Place,
        /// What the TOML parser said.
        message: String,
    },
    /// A key that does not exist.
    #[error("{place}: unknown key `{key}`; {hint}")]
    UnknownKey {
        /// The line.
        place: Place,
        /// With its table: `limits.recipents`.
        key: String,
        /// The nearest valid name, or all of them.
        hint: String,
    },
    /// A key whose value can not be used.
    #[error("{place}: {key}: {problem}")]
    Value {
        /// The line.
        place: Place,
        /// With its table.
        key: String,
        /// What is wrong and how to mend it.
        problem: String,
    },
}

impl ConfigError {
    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        match self {
            Self::Unreadable { place, .. }
            | Self::Syntax { place, .. }
            | Self::UnknownKey { place, .. }
            | Self::Value { place, .. } => place,
        }
    }
}
