//! `hermetic queue why`.
//!
//! Owns what is said of an id of which nothing is known. Refuses what can be no id. Fails with [`QueueError`].

use clap::Args;

use super::{Context, Output, QueueError, print_entry, source::Source};
use crate::cli::why as judged;

/// Tell why a message is where it is: what waits, how plugins judged it, and what operators did.
///
/// Also of messages that are gone: judgements and what was dropped by whom are kept for 30 days, and for 100000 recipients.
#[derive(Debug, Args)]
pub(in crate::cli) struct Why {
    /// A message, an entry, or a session or transaction of the log.
    id: String,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

impl Why {
    pub(super) async fn run(&self, context: &Context<'_>) -> Result<(), QueueError> {
        if !self.id.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)) {
            return Err(QueueError::Asked(format!("{:?} is no id; the log and the queue have them", self.id)));
        }
        let why = Source::open(context).await?.why(&self.id).await?;
        if why.entries.is_empty() && why.judged.is_empty() {
            return Err(QueueError::Refused(format!("nothing is known of {}", self.id)));
        }
        let mut out = Output::new();
        if self.json {
            out.json(&why)?;
        } else {
            out.write(|out| {
                if !why.entries.is_empty() {
                    writeln!(out, "in the queue")?;
                }
                why.entries.iter().try_for_each(|entry| print_entry(out, entry))?;
                judged::print_text(out, &why.judged)
            })?;
        }
        out.end()
    }
}
