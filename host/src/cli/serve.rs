//! `hermetic serve`.

use std::{convert::Infallible, path::PathBuf, sync::Arc};

use crate::config::Config;

/// Serves until SIGTERM.
pub async fn run(_config: Arc<Config>, _path: Option<PathBuf>, _defaults: bool) -> Result<(), Infallible> {
    std::future::pending().await
}
