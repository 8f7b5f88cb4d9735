//! What this node's plugins have yet to be told.
//!
//! Owns the list, which is in memory and in the stream. Refuses to know what is told. Reports of a node wait until it is there again:
//! its plugins are the ones that are to hear of it.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::{
    link::{Fault, Link, Record},
    record::{Due, VERSION, decode, encode},
    settle::PATIENCE,
    work::unique,
};
use crate::store::{Report, StoreError, Timestamp, Told};

#[derive(Default)]
struct List {
    last: i64,
    due: BTreeMap<i64, (String, Due)>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Reports(Mutex<List>);

impl Reports {
    /// Those that an earlier run left.
    pub(super) async fn load(&self, link: &Link, node: &str) -> Result<(), Fault> {
        let mut found = Vec::new();
        for subject in link.subjects(&link.names.report(node, "*")).await? {
            if let Some(record) = link.last(&subject).await?.filter(|record| !record.payload.is_empty())
                && let Ok((due, _)) = decode::<Due>(&record.payload)
            {
                found.push((record.sequence, subject, due));
            }
        }
        found.sort_by_key(|(sequence, ..)| *sequence);
        found.into_iter().for_each(|(_, subject, due)| self.add(subject, due));
        Ok(())
    }

    pub(super) fn add(&self, subject: String, due: Due) {
        let mut list = self.0.lock();
        list.last += 1;
        let number = list.last;
        list.due.insert(number, (subject, due));
    }

    /// See [`crate::store::Store::reports`].
    pub(super) fn due(&self, now: Timestamp, n: usize) -> (Vec<Report>, Option<Timestamp>) {
        let list = self.0.lock();
        let mut due: Vec<_> = list.due.iter().filter(|(_, (_, due))| due.at <= now).collect();
        due.sort_by_key(|(number, (_, due))| (due.at, **number));
        let due = due.into_iter().take(n);
        let due = due.map(|(number, (_, due))| Report { number: *number, tries: due.tries, text: due.text.clone() });
        let next = list.due.values().map(|(_, due)| due.at).filter(|at| *at > now).min();
        (due.collect(), next)
    }

    /// See [`crate::store::Store::told`].
    pub(super) async fn told(&self, link: &Link, reports: Vec<(Report, Told)>) -> Result<(), StoreError> {
        for (report, told) in reports {
            let Some((subject, _)) = self.0.lock().due.get(&report.number).cloned() else { continue };
            let name = format!("r.{}", unique());
            match told {
                Told::Done => {
                    link.put(Record::gone(subject), &name, PATIENCE).await?;
                    self.0.lock().due.remove(&report.number);
                }
                Told::Again { at, text } => {
                    let due = Due { v: VERSION, at, tries: report.tries + 1, text };
                    link.put(Record::new(subject.clone(), encode(&due, &[])?), &name, PATIENCE).await?;
                    self.0.lock().due.insert(report.number, (subject, due));
                }
            }
        }
        Ok(())
    }
}
