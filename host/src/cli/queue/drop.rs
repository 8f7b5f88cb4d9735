//! `hermetic queue drop`.

use clap::Args;

use super::{
    Context, QueueError,
    change::{self, How, reason},
    select::Target,
};
use crate::admin::{desk::Operation, wire::Wanted};

/// Remove entries: nobody gets them.
///
/// Who did it and why is logged and kept for `hermetic why`. Nobody is told, unless you say --bounce: then each sender gets a
/// notice as if delivery had failed. There is no way back; `hermetic queue export` makes a copy before.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hermetic queue drop 01M8756VKN000395ZBJ89VS1ZC.0 --reason \"test message\"
  hermetic queue drop --state held --older-than 7d --reason \"nobody asked\" --bounce")]
pub(in crate::cli) struct Drop {
    #[command(flatten)]
    target: Target,
    /// Why.
    #[arg(long, value_name = "TEXT", value_parser = reason, help_heading = "What to do")]
    reason: String,
    /// Tell the senders.
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
