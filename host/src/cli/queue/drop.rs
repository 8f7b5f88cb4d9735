//! `hermetic queue drop`.
//!
//! Owns its options. Refuses to do the work, which is [`change`]'s, as is how it fails.

use clap::Args;

use super::{
    Context, QueueError,
    change::{self, How, reason},
    select::Target,
};
use crate::admin::{desk::Operation, wire::Wanted};

/// Remove entries from the queue without delivering them.
///
/// This can not be undone; make a copy with `hermetic queue export` first. Who dropped an entry and why is logged, and
/// shown by `hermetic why`. Nobody else is told unless --bounce is given: then each sender gets a notice that delivery
/// has failed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hermetic queue drop 01M8756VKN000395ZBJ89VS1ZC.0 --reason \"test message\"
  hermetic queue drop --state held --older-than 7d --reason \"nobody asked\" --bounce")]
pub(in crate::cli) struct Drop {
    #[command(flatten)]
    target: Target,
    /// Why it is dropped. Kept with your name.
    #[arg(long, value_name = "TEXT", value_parser = reason, help_heading = "What to do")]
    reason: String,
    /// Send each sender a notice that delivery has failed.
    #[arg(long, help_heading = "What to do")]
    bounce: bool,
    #[command(flatten)]
    how: How,
}

impl Drop {
    pub(super) async fn run(&self, context: &Context<'_>) -> Result<(), QueueError> {
        let wanted = Wanted { reason: Some(self.reason.clone()), bounce: self.bounce, ..Wanted::default() };
        change::run(context, Operation::Drop, &self.target, &self.how, wanted).await
    }
}
