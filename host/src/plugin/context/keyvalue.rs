//! The plugin's own small database.

use super::{Code, Guest, fault};
use crate::plugin::{
    bindings::hermetic::plugin::{keyvalue, types::Fault},
    database::{Bucket, BucketError, Range},
};

/// What a counter may be.
const RANGE: Range = i32::MIN as i128..=i32::MAX as i128;

impl From<BucketError> for Fault {
    fn from(error: BucketError) -> Self {
        let code = match error {
            BucketError::Limit(_) => Code::Limit,
            BucketError::Invalid(_) => Code::Invalid,
            BucketError::Database(_) => Code::Unavailable,
        };
        fault(code, error.to_string())
    }
}

impl Guest {
    pub(super) fn bucket(&self) -> Result<&Bucket, Fault> {
        let none = || fault(Code::NotGranted, "grants.keyvalue is not set");
        self.transaction.settings.bucket.as_ref().ok_or_else(none)
    }
}

impl keyvalue::Host for Guest {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Fault>> {
        self.seam("keyvalue.get", |guest| Ok(guest.bucket()?.get(&key, guest.call.now)?))
    }

    fn set(&mut self, key: String, value: Vec<u8>, seconds: u32) -> wasmtime::Result<Result<(), Fault>> {
        self.seam("keyvalue.set", |guest| Ok(guest.bucket()?.set(&key, &value, seconds, guest.call.now)?))
    }

    fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), Fault>> {
        self.seam("keyvalue.delete", |guest| Ok(guest.bucket()?.delete(&key)?))
    }

    fn increment(&mut self, key: String, by: i32, seconds: u32) -> wasmtime::Result<Result<i32, Fault>> {
        self.seam("keyvalue.increment", |guest| {
            let sum = guest.bucket()?.increment(&key, by.into(), &RANGE, seconds, guest.call.now)?;
            i32::try_from(sum).map_err(|error| fault(Code::Limit, error.to_string()))
        })
    }
}
