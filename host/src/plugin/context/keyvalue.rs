//! The plugin's own small database.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{Code, Guest, fault};
use crate::plugin::{
    bindings::hermetic::plugin::{keyvalue, types::Fault},
    database::{Bucket, BucketError, Range},
    ledger::{Ledger, Told, latin},
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
    /// The same with what is written down of it, and from a record, where one is replayed.
    async fn kept<T: Told + Send + 'static>(
        &mut self,
        name: &'static str,
        asked: Option<(Arc<Ledger>, Json)>,
        work: impl FnOnce(&Bucket, u32) -> Result<T, BucketError> + Send + 'static,
    ) -> wasmtime::Result<Result<T, Fault>> {
        if let Some(answer) = self.recorded(name, asked.as_ref())? {
            return Ok(answer);
        }
        let answer = self.keep(name, work).await?;
        if let Some((ledger, asked)) = asked {
            ledger.add(name, asked, &answer);
        }
        Ok(answer)
    }

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
        if self.transaction.ledger.as_ref().is_some_and(|ledger| ledger.unknown("wasi:keyvalue")) {
            return Err(fault(Code::Unavailable, "calls of wasi:keyvalue are not in the record"));
        }
        let none = || fault(Code::NotGranted, "grants.keyvalue is not set");
        self.transaction.settings.bucket.as_deref().ok_or_else(none)
    }
}

impl keyvalue::Host for Guest {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Fault>> {
        let asked = self.asked(|| json!([key]));
        self.kept("keyvalue.get", asked, move |bucket, now| bucket.get(&key, now)).await
    }

    async fn set(&mut self, key: String, value: Vec<u8>, seconds: u32) -> wasmtime::Result<Result<(), Fault>> {
        let asked = self.asked(|| json!([key, latin(&value), seconds]));
        self.kept("keyvalue.set", asked, move |bucket, now| bucket.set(&key, &value, seconds, now)).await
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), Fault>> {
        let asked = self.asked(|| json!([key]));
        self.kept("keyvalue.delete", asked, move |bucket, _| bucket.delete(&key)).await
    }

    async fn increment(&mut self, key: String, by: i32, seconds: u32) -> wasmtime::Result<Result<i32, Fault>> {
        let asked = self.asked(|| json!([key, by, seconds]));
        let work = move |bucket: &Bucket, now| {
            let sum = bucket.increment(&key, by.into(), &RANGE, seconds, now)?;
            i32::try_from(sum).map_err(|error| BucketError::Limit(error.to_string()))
        };
        self.kept("keyvalue.increment", asked, work).await
    }
}
