//! `hermetic user`.

use std::convert::Infallible;

use clap::Subcommand;

use crate::config::Config;

/// What to do with the users file.
#[derive(Clone, Debug, Subcommand)]
pub enum UserCommand {
    /// Show who may log in.
    List,
}

/// Does it.
pub fn run(_command: &UserCommand, _config: &Config) -> Result<(), Infallible> {
    Ok(())
}
