//! `hermetic queue retry`.
//!
//! Owns its options. Refuses to do the work, which is [`change`]'s, as is how it fails.

use clap::Args;

use super::{
    Context, QueueError,
    change::{self, How},
    select::Target,
};
use crate::admin::{desk::Operation, wire::Wanted};

/// Try entries now instead of at their next time.
///
/// For what is queued; what is held has to be released. Attempts so far still count. A destination that rests because it could
/// not be reached is tried, too. What its sender wants to go at a later time (FUTURERELEASE) stays as it is.
#[derive(Debug, Args)]
pub(in crate::cli) struct Retry {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    how: How,
}

impl Retry {
    pub(super) async fn run(&self, context: &Context<'_>) -> Result<(), QueueError> {
        change::run(context, Operation::Retry, &self.target, &self.how, Wanted::default()).await
    }
}
