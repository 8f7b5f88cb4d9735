//! `hermetic queue hold`.
//!
//! Owns its options. Refuses to do the work, which is [`change`]'s, as is how it fails.

use clap::Args;

use super::{
    Context, QueueError,
    change::{self, How, reason},
    select::Target,
};
use crate::admin::{desk::Operation, wire::Wanted};

/// Keep queued entries from being delivered until they are released.
///
/// Who held an entry and why is the reason that `hermetic queue list` shows. An entry that is being delivered at this
/// moment is waited for; see --wait.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hermetic queue hold 01M8756VKN000395ZBJ89VS1ZC --reason \"looks like spam\"
  hermetic queue hold --sender @example.org --newer-than 1h --reason \"stolen password\" --yes")]
pub(in crate::cli) struct Hold {
    #[command(flatten)]
    target: Target,
    /// Why it is held. Shown with your name.
    #[arg(long, value_name = "TEXT", value_parser = reason, help_heading = "What to do")]
    reason: String,
    #[command(flatten)]
    how: How,
}

impl Hold {
    pub(super) async fn run(&self, context: &Context<'_>) -> Result<(), QueueError> {
        let wanted = Wanted { reason: Some(self.reason.clone()), ..Wanted::default() };
        change::run(context, Operation::Hold, &self.target, &self.how, wanted).await
    }
}
