//! `hermetic cluster import`: the mail of one machine's store goes to where the cluster keeps it.
//!
//! Owns the way of each message: written there, then taken out here. Refuses to work beside a server of the same data folder, whose
//! store is locked. Fails with one sentence; what was not moved by then is here as it was, and the next run goes on.

use std::{io, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;

use super::keep;
use crate::{
    config::Config,
    observe::Metrics,
    policy::chain::Record,
    store::{
        Change, Changed, Detail, EntryId, Filter, MessageId, Store as _, StoreError, Told, Verdicts,
        jetstream::{Adopter, OpenError, Settings},
        sqlite::{self, SqliteStore, now},
    },
};

/// Entries that are looked at together.
const PAGE: usize = 500;
/// Reports that are moved together.
const REPORTS: usize = 100;
/// Whoever waits is told after so many messages.
const TOLD: usize = 1000;

/// Why it ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error(transparent)]
    Here(#[from] sqlite::OpenError),
    #[error(transparent)]
    There(#[from] OpenError),
    #[error("{moved} messages were moved, then: {error}. Run it again: it goes on where it was")]
    Between { moved: usize, error: StoreError },
    #[error("{0} has no store of its own; there is nothing to move")]
    Nothing(PathBuf),
    #[error(
        "{0} messages could not be read and stay where they are; `hermetic queue show` without [store] may tell more"
    )]
    Stay(usize),
    #[error("can not write: {0}")]
    Output(#[from] io::Error),
}

/// Moves everything.
pub(super) async fn run(
    config: &Config,
    settings: &Settings,
    print: impl Fn(&str) -> io::Result<()>,
) -> Result<(), ImportError> {
    if sqlite::Beside::open(&config.data)?.is_none() {
        return Err(ImportError::Nothing(config.data.clone()));
    }
    let here = SqliteStore::open(&config.data, 0, Metrics::new())?;
    let placement = keep::placement(Arc::new(ArcSwap::from_pointee(config.clone())));
    let there = Adopter::open(settings, &config.data, placement).await?;
    let (mut moved, mut recipients, mut before, mut stay) = (0, 0, 0, 0);
    let failed = |moved| move |error| ImportError::Between { moved, error };
    let mut after: Option<EntryId> = None;
    loop {
        let page = here.find(Filter::default(), after, PAGE).await.map_err(failed(moved))?;
        let mut messages: Vec<MessageId> =
            page.entries.iter().filter_map(|one| one.entry.parse::<EntryId>().ok()).map(|id| id.message).collect();
        messages.dedup();
        for id in messages {
            let Some(details) = here.show(id).await.map_err(failed(moved))? else { continue };
            let body = here.bodies(vec![id]).await.pop().unwrap_or_else(|| Err(StoreError::Unknown(id.to_string())));
            let body = match body {
                Ok(body) => body,
                // One that can not be read is no hindrance to the others, and stays.
                Err(error) => {
                    print(&format!("{id} stays here: {error}\n"))?;
                    stay += 1;
                    continue;
                }
            };
            let new = there.adopt(&details, body).await.map_err(failed(moved))?;
            let ended = here.change(details.entries.iter().filter_map(|detail| end(id, detail)).collect());
            let ended = ended.await.map_err(failed(moved))?;
            if let Some(other) = ended.iter().find(|changed| **changed != Changed::Done) {
                let error = StoreError::Failed(format!("{id} is {} here", other.as_str()));
                return Err(ImportError::Between { moved, error });
            }
            moved += 1;
            recipients += details.entries.len();
            before += usize::from(!new);
            if moved % TOLD == 0 {
                print(&format!("{moved} messages moved\n"))?;
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut reports = 0;
    loop {
        let (some, _) = here.reports(u64::MAX >> 1, REPORTS).await.map_err(failed(moved))?;
        if some.is_empty() {
            break;
        }
        for report in &some {
            there.adopt_report(report).await.map_err(failed(moved))?;
        }
        reports += some.len();
        here.told(some.into_iter().map(|report| (report, Told::Done)).collect()).await.map_err(failed(moved))?;
    }
    here.close().await;
    let before = if before > 0 { format!("; {before} were there from an earlier run") } else { String::new() };
    let reports = if reports > 0 { format!(", and {reports} reports for plugins") } else { String::new() };
    print(&format!("{moved} messages with {recipients} recipients moved to the cluster{reports}{before}\n"))?;
    if stay == 0 { Ok(()) } else { Err(ImportError::Stay(stay)) }
}

/// It is done with here; `hermetic why` of this machine says where it is.
fn end(message: MessageId, Detail { listed, .. }: &Detail) -> Option<(EntryId, Change)> {
    let recipient = listed.recipient.clone();
    let outcome = "moved to the cluster".to_owned();
    let record = Record { recipient, outcome, steps: Vec::new(), copies: Vec::new() };
    let record = Verdicts {
        transaction: message.to_string(),
        message: Some(message),
        recipients: 1,
        judged: serde_json::to_string(&[record]).ok()?,
        at: now(),
    };
    Some((listed.entry.parse().ok()?, Change::Drop { record, report: None }))
}
