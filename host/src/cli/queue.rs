//! `hermetic queue`.

use std::convert::Infallible;

use crate::config::Config;

/// Prints what waits.
pub fn list(_config: &Config, _json: bool) -> Result<(), Infallible> {
    Ok(())
}
