//! The plugin's own small database.

use std::sync::Arc;

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
            BucketError::Database(_) | BucketError::Elsewhere(_) => Code::Unavailable,
        };
        fault(code, error.to_string())
    }
}

impl Guest {
    /// Something for the database, where it holds up nobody: a plugin's instances wait there for each other.
    async fn keep<T: Send + 'static>(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&Bucket, u32) -> Result<T, BucketError> + Send + 'static,
    ) -> wasmtime::Result<Result<T, Fault>> {
        self.waiting_seam(name, |guest| {
            let none = || fault(Code::NotGranted, "grants.keyvalue is not set");
            let bucket = Arc::clone(guest.transaction.settings.bucket.as_ref().ok_or_else(none)?);
            let now = guest.call.now;
            Ok(async move {
                let turn = bucket.turn().await;
                let work = tokio::task::spawn_blocking(move || {
                    let _turn = turn;
                    work(&bucket, now)
                });
                work.await.map_err(|error| fault(Code::Unavailable, error.to_string()))?.map_err(Fault::from)
            })
        })
        .await
    }

    /// For whoever can not wait.
    pub(super) fn bucket(&self) -> Result<&Bucket, Fault> {
        let none = || fault(Code::NotGranted, "grants.keyvalue is not set");
        self.transaction.settings.bucket.as_deref().ok_or_else(none)
    }
}

impl keyvalue::Host for Guest {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Fault>> {
        self.keep("keyvalue.get", move |bucket, now| bucket.get(&key, now)).await
    }

    async fn set(&mut self, key: String, value: Vec<u8>, seconds: u32) -> wasmtime::Result<Result<(), Fault>> {
        self.keep("keyvalue.set", move |bucket, now| bucket.set(&key, &value, seconds, now)).await
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), Fault>> {
        self.keep("keyvalue.delete", move |bucket, _| bucket.delete(&key)).await
    }

    async fn increment(&mut self, key: String, by: i32, seconds: u32) -> wasmtime::Result<Result<i32, Fault>> {
        let work = move |bucket: &Bucket, now| bucket.increment(&key, by.into(), &RANGE, seconds, now);
        let sum = self.keep("keyvalue.increment", work).await?;
        Ok(sum.and_then(|sum| i32::try_from(sum).map_err(|error| fault(Code::Limit, error.to_string()))))
    }
}
