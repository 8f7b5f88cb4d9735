//! Stand-in until the real one is merged.
#![allow(missing_docs, clippy::unused_async)]
use std::{path::Path, sync::Arc};

use super::SessionFacts;
use crate::{
    config::ConfigError,
    engine::types::{Refusal, SaslAnswer},
};

#[derive(Debug, Default)]
pub struct Users;
impl Users {
    pub fn empty() -> Self {
        Self
    }
    pub fn load(_path: &Path) -> Result<Self, ConfigError> {
        Ok(Self)
    }
}
pub struct Exchange;
impl Exchange {
    pub fn begin(_users: &Arc<Users>, _facts: &SessionFacts, _mechanism: &str) -> Result<Self, Refusal> {
        Err(Refusal { code: 504, subject: 5, detail: 4, text: "no such mechanism".into() })
    }
    pub async fn step(&mut self, _input: Option<&[u8]>) -> SaslAnswer {
        SaslAnswer::Refused(Refusal { code: 535, subject: 7, detail: 8, text: "no".into() })
    }
}
