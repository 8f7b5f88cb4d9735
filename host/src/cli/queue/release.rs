//! `hermetic queue release`.
//!
//! Owns its options. Refuses to do the work, which is [`change`]'s, as is how it fails.

use clap::Args;

use super::{
    Context, QueueError,
    change::{self, How},
    select::Target,
};
use crate::admin::{desk::Operation, wire::Wanted};

/// Let held entries be delivered, now.
///
/// Whatever they were held for; if that is still so they may be held again. What its sender wants to go at a later time is due
/// then.
#[derive(Debug, Args)]
pub(in crate::cli) struct Release {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    how: How,
}

impl Release {
    pub(super) async fn run(&self, context: &Context<'_>) -> Result<(), QueueError> {
        change::run(context, Operation::Release, &self.target, &self.how, Wanted::default()).await
    }
}
