//! `hermetic queue list`.
//!
//! Owns the order of the pages and what is said of an empty queue. Refuses to hold more than a page. Fails with
//! [`QueueError`].

use clap::Args;

use super::{Context, Output, QueueError, counted, print_entry, select::Filters, source::Source};
use crate::{
    admin::desk,
    store::{EntryId, sqlite::now},
};

/// Show what is not delivered yet, and why.
///
/// Prints one entry for each recipient of each message, the oldest first, with its state and what was last said about
/// it. The states: `queued` waits for its next attempt; `leased` is being worked on; `held` waits until you release it;
/// `owed`, of an earlier version, has been delivered without its sender being told. Without a running server the store
/// is read, and nothing is leased.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hermetic queue list
  hermetic queue list --domain example.net --older-than 4h
  hermetic queue list --state held --json | jq -r .entry")]
pub(in crate::cli) struct List {
    #[command(flatten)]
    filters: Filters,
    /// Show at most this many entries.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Show only what comes after this entry, such as the last one of an earlier list.
    #[arg(long, value_name = "ENTRY", value_parser = entry)]
    after: Option<String>,
    /// Print each entry as one line of JSON.
    #[arg(long, help_heading = "How it is shown")]
    json: bool,
}

fn entry(text: &str) -> Result<String, String> {
    text.parse::<EntryId>().map(|_| text.to_owned())
}

impl List {
    pub(super) async fn run(&self, context: &Context<'_>) -> Result<(), QueueError> {
        let selection = self.filters.selection(now())?;
        let source = Source::open(context).await?;
        let mut out = Output::new();
        let limit = self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let (mut shown, mut after, mut on_hold) = (0_usize, self.after.clone(), false);
        loop {
            let most = limit.map_or(desk::PAGE, |limit| limit.saturating_sub(shown).min(desk::PAGE));
            if most == 0 {
                break;
            }
            let page = source.find(&selection, after, most).await?;
            for entry in &page.entries {
                if self.json {
                    out.json(entry)?;
                } else {
                    out.write(|out| print_entry(out, entry))?;
                }
            }
            shown += page.entries.len();
            on_hold = page.on_hold;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if !self.json {
            out.write(|out| match (shown, self.filters.is_empty() && self.after.is_none()) {
                (0, true) => writeln!(out, "The queue is empty."),
                (0, false) => writeln!(out, "No entry of the queue is so."),
                (shown, _) => writeln!(out, "{}.", counted(shown as u64, "entry")),
            })?;
            if on_hold {
                out.write(|out| writeln!(out, "The queue is on hold (queue.hold): nothing is delivered."))?;
            }
        }
        out.end()
    }
}
