//! The store read by another process: beside a running server, or without one.
//!
//! Owns a connection that only reads. What is being worked on is known to the server alone, so nothing is `leased`
//! here. Refuses to make a store or to bring one up to date. Fails with [`OpenError`].

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{
    OpenError,
    bodies::Bodies,
    folder,
    manage::{self, Part},
    read_body, rows, schema,
};
use crate::store::{Body, Details, EntryId, Filter, MessageId, Page, StoreError, Verdicts};

/// The store of a data folder, for reading.
pub struct Beside {
    connection: Connection,
    path: PathBuf,
    bodies: Bodies,
}

impl Beside {
    /// None: there is no store yet.
    pub fn open(data: &Path) -> Result<Option<Self>, OpenError> {
        let path = folder(data).join("store.db");
        match std::fs::metadata(&path) {
            Ok(_) => {
                let connection = schema::open_reader(&path)?;
                Ok(Some(Self { connection, path, bodies: Bodies::below(&folder(data)) }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(OpenError::Io { path, error }),
        }
    }

    /// As [`Store::find`](crate::store::Store::find).
    pub fn find(&self, filter: Filter, after: Option<EntryId>, most: usize) -> Result<Page, OpenError> {
        let part = Part { filter, after, most, looked_at: manage::LOOKED_AT };
        Ok(manage::find(&self.connection, &part, &HashSet::new())?)
    }

    /// As [`Store::show`](crate::store::Store::show). Fails if an earlier version made the store.
    pub fn show(&self, message: MessageId) -> Result<Option<Details>, OpenError> {
        if !schema::is_current(&self.connection)? {
            return Err(OpenError::Earlier { path: self.path.clone() });
        }
        Ok(manage::show(&self.connection, message, &HashSet::new())?)
    }

    /// As [`Store::verdicts`](crate::store::Store::verdicts).
    pub fn verdicts(&self, id: &str) -> Result<Vec<Verdicts>, OpenError> {
        Ok(rows::read_verdicts(&self.connection, id)?)
    }

    /// A message's octets.
    pub fn body(&self, message: MessageId) -> Result<Body, StoreError> {
        read_body(&self.connection, &self.bodies, message)
    }
}

/// All entries below `data`; None if there is no store.
#[cfg(test)]
pub(crate) fn list(data: &Path) -> Result<Option<Vec<crate::store::Listed>>, OpenError> {
    let read = |beside: Beside| Ok(manage::find(&beside.connection, &Part::all(), &HashSet::new())?.entries);
    Beside::open(data)?.map(read).transpose()
}

/// How the recipients of a message or transaction were judged, by its id as peers and logs have it; None if there is no
/// store.
pub fn verdicts(data: &Path, id: &str) -> Result<Option<Vec<Verdicts>>, OpenError> {
    Beside::open(data)?.map(|beside| beside.verdicts(id)).transpose()
}
