//! Logins.

use std::{io, path::Path};

use super::TlsFacts;

/// SASL mechanisms to offer, the best first.
pub fn mechanisms(tls: Option<&TlsFacts>) -> Vec<String> {
    let plus = tls.is_some_and(|tls| tls.exporter.is_some());
    let names = [("SCRAM-SHA-256-PLUS", plus), ("SCRAM-SHA-256", true), ("PLAIN", true), ("LOGIN", true)];
    names.into_iter().filter(|(_, usable)| *usable).map(|(name, _)| name.to_owned()).collect()
}

/// Who may log in.
#[derive(Debug)]
pub struct Users(());

impl Users {
    /// From a file.
    pub fn load(_path: &Path) -> io::Result<Self> {
        Ok(Self::empty())
    }

    /// Nobody.
    pub fn empty() -> Self {
        Self(())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        0
    }
}
