//! How the command line says which entries are meant.
//!
//! Owns the options and the form of an age. Refuses to mean everything unless that is said. Fails with
//! [`QueueError::Asked`].

use std::time::Duration;

use clap::Args;

use super::QueueError;
use crate::{
    admin::wire::{self, Selection},
    store::{EntryState, Timestamp},
};

/// Options that choose entries; all that are given must fit. Case never matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Which entries")]
pub(super) struct Filters {
    /// In this state: queued, leased (being worked on), held, owed. May be given more than once.
    #[arg(long, value_name = "STATE", value_parser = EntryState::ALL.map(EntryState::as_str))]
    pub(super) state: Vec<String>,
    /// From this sender: an address, `@domain`, or `<>` for notices.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) sender: Option<String>,
    /// For this recipient: an address or `@domain`.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) recipient: Option<String>,
    /// For recipients at this domain.
    #[arg(long, value_name = "DOMAIN")]
    pub(super) domain: Option<String>,
    /// Of this message.
    #[arg(long, value_name = "ID")]
    pub(super) message: Option<String>,
    /// That began to arrive at least so long ago: 90s, 30m, 12h, 3d.
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(super) older_than: Option<Duration>,
    /// That began to arrive less than so long ago.
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(super) newer_than: Option<Duration>,
    /// Whose reason has this text in it.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason_has: Option<String>,
}

/// A number and its unit.
fn age(text: &str) -> Result<Duration, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let found = units.into_iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(seconds)
    });
    found.map(Duration::from_secs).ok_or_else(|| "write it like 90s, 30m, 12h or 3d".into())
}

impl Filters {
    /// Is nothing chosen?
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As the API has it, at this time.
    pub(super) fn selection(&self, now: Timestamp) -> Result<Selection, QueueError> {
        let ago = |age: Duration| now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        if let Some(id) = &self.message {
            wire::message(id).map_err(QueueError::Asked)?;
        }
        Ok(Selection {
            state: self.state.clone(),
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
            domain: self.domain.clone(),
            message: self.message.clone(),
            since: self.newer_than.map(ago),
            before: self.older_than.map(ago),
            reason: self.reason_has.clone(),
        })
    }
}

/// Entries by their ids, by filters, or all.
#[derive(Clone, Debug, Args)]
pub(super) struct Target {
    /// Entries (ID.NUMBER) or messages with all of their recipients, as `hermetic queue list` shows them.
    #[arg(value_name = "ID", conflicts_with_all = ["Filters", "all"])]
    pub(super) ids: Vec<String>,
    #[command(flatten)]
    pub(super) filters: Filters,
    /// Every entry of the queue.
    #[arg(long, conflicts_with = "Filters", help_heading = "Which entries")]
    pub(super) all: bool,
}

impl Target {
    /// None: the ids are meant.
    pub(super) fn selection(&self, now: Timestamp) -> Result<Option<Selection>, QueueError> {
        if !self.ids.is_empty() {
            self.ids.iter().try_for_each(|id| wire::message_or_entry(id).map(drop)).map_err(QueueError::Asked)?;
            return Ok(None);
        }
        if self.filters.is_empty() && !self.all {
            return Err(QueueError::Asked("which entries? Name their ids, choose by options, or say --all".into()));
        }
        // What arrives from now on is not meant.
        let selection = self.filters.selection(now)?;
        Ok(Some(Selection { before: selection.before.or(Some(now)), ..selection }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("12h", 43_200), ("3d", 259_200), ("0s", 0)] {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "90", "h", "1.5h", "-1h", "1w", "99999999999999999999d", "999999999999999999d"] {
            assert!(age(text).is_err(), "{text}");
        }
    }

    #[test]
    fn who_is_meant() {
        let target = |ids: &[&str], filters: Filters, all| Target {
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            filters,
            all,
        };
        let id = "01M8756VKN000395ZBJ89VS1ZC";
        let (none, old) = (Filters::default(), Filters { older_than: age("1m").ok(), ..Filters::default() });
        assert_eq!(target(&[id, &format!("{id}.0")], none.clone(), false).selection(100_000).unwrap(), None);
        assert!(target(&["x"], none.clone(), false).selection(0).is_err());
        assert!(target(&[], none.clone(), false).selection(0).unwrap_err().to_string().starts_with("which entries?"));
        let before = |target: Target| target.selection(100_000).unwrap().unwrap().before;
        assert_eq!(before(target(&[], none, true)), Some(100_000));
        assert_eq!(before(target(&[], old, false)), Some(40_000));
    }
}
