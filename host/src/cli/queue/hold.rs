//! `hermetic queue hold`.

use clap::Args;

use super::{
    Context, QueueError,
    change::{self, How, reason},
    select::Target,
};
use crate::admin::{desk::Operation, wire::Wanted};

/// Keep queued entries from being delivered until they are released.
///
/// Who did it and why becomes the reason that `hermetic queue list` shows. What is being delivered at this moment is waited for.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hermetic queue hold 01M8756VKN000395ZBJ89VS1ZC --reason \"looks like spam\"
  hermetic queue hold --sender @example.org --newer-than 1h --reason \"stolen password\" --yes")]
pub(in crate::cli) struct Hold {
    #[command(flatten)]
    target: Target,
    /// Why.
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
