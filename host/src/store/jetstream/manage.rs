//! What an operator sees and does, on whichever node.
//!
//! Owns the way through the entries, and what each change makes of one. Refuses to change what is being worked on. Fails with
//! [`StoreError`] while no majority answers.
//!
//! A change writes the mark of a lease's end after whatever the lease's last record is, or after none. So nobody claims the
//! entry between the look and the change: one of the two comes too late, and looks again.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;

use super::{
    Core, letter,
    link::{Fault, Record, TOGETHER, With},
    record::{At, Claimed, Due, Entry, VERSION, decode, encode, parse},
    settle::{Counts, PATIENCE},
    work::unique,
};
use crate::store::{
    Change, Changed, Detail, Details, EntryId, Filter, Listed, MessageId, Page, Pending, StoreError, sqlite::now,
};

/// Entries that are looked at for one page.
const LOOKED_AT: usize = 5_000;
/// Questions that are asked at a time.
const ASKED: usize = 64;
/// Times that a change is made anew since somebody else was quicker.
const ANEW: usize = 10;

/// Lists that are kept for their next pages, and for how long.
const LISTS: usize = 4;
const KEPT: Duration = Duration::from_secs(60);

/// Which entries there were.
struct List {
    names: String,
    begun: Instant,
    ids: Vec<EntryId>,
    leases: HashSet<EntryId>,
}

impl List {
    fn is_good(&self) -> bool {
        self.begun.elapsed() < KEPT
    }
}

/// Those that operators go through: to list a million entries for each page of them would take for ever.
#[derive(Default)]
pub(super) struct Lists(Mutex<Vec<Arc<List>>>);

/// What is known of an entry.
struct Seen {
    id: EntryId,
    place: String,
    sequence: u64,
    entry: Entry,
    octets: Bytes,
}

/// An entry that is to be changed.
struct Changing {
    seen: Seen,
    /// Of the lease's last record, or 0.
    lease: u64,
    leased: bool,
    gone: bool,
    touched: bool,
}

impl Core {
    async fn seen(&self, id: EntryId) -> Result<Option<Seen>, Fault> {
        let found = self.link.last(&self.link.names.entry_anywhere(id)).await?;
        let Some(found) = found.filter(|found| !found.payload.is_empty()) else { return Ok(None) };
        let Some((_, place, _)) = parse(&found.subject) else { return Ok(None) };
        match decode::<Entry>(&found.payload) {
            Ok((entry, octets)) => Ok(Some(Seen { id, place: place.into(), sequence: found.sequence, entry, octets })),
            Err(error) => {
                tracing::error!(entry = %id, %error, "an entry can not be read");
                Ok(None)
            }
        }
    }

    /// The number of a lease's last record, whether it says that somebody has the entry, and whether that is so.
    async fn lease_of(&self, place: &str, id: EntryId) -> Result<(u64, bool, bool), Fault> {
        let Some(found) = self.link.last(&self.link.names.lease(place, id)).await? else {
            return Ok((0, false, false));
        };
        if found.payload.is_empty() {
            return Ok((found.sequence, false, false));
        }
        // Of a later version: its node may well work on it.
        let Ok((claimed, _)) = decode::<Claimed>(&found.payload) else { return Ok((found.sequence, true, true)) };
        let leased = match claimed.epoch == self.presence.epoch() {
            true => self.work.is_held(id, now()).unwrap_or(false),
            false => !self.presence.is_over(&claimed.node, &claimed.epoch).await?,
        };
        Ok((found.sequence, true, leased))
    }

    /// The entries of these names, as they were when the list was begun.
    async fn list(&self, names: String, goes_on: bool) -> Result<Arc<List>, Fault> {
        let known = self.lists.0.lock().iter().find(|list| list.names == names && list.is_good()).cloned();
        if let Some(list) = known.filter(|_| goes_on) {
            return Ok(list);
        }
        let ids = |subjects: Vec<String>| subjects.into_iter().filter_map(|subject| Some(parse(&subject)?.2));
        // The marks of what was there a moment ago can be many; those that are not seen here are asked for one by one.
        let marks = self.link.scan_all(names.clone(), With::Headers).await.unwrap_or_default();
        let marks = marks.into_iter().filter(|listed| listed.gone);
        let marks: HashSet<String> = marks.map(|listed| listed.subject).collect();
        let mut subjects = self.link.subjects(&names).await?;
        subjects.retain(|subject| !marks.contains(subject));
        let mut list: Vec<_> = ids(subjects).collect();
        list.sort_unstable();
        list.dedup();
        let leases = ids(self.link.subjects(&self.link.names.all('l')).await?).collect();
        let list = Arc::new(List { names, begun: Instant::now(), ids: list, leases });
        let mut lists = self.lists.0.lock();
        lists.retain(|other| other.is_good() && other.names != list.names);
        if lists.len() >= LISTS {
            lists.remove(0);
        }
        lists.push(list.clone());
        Ok(list)
    }

    /// See [`crate::store::Store::find`].
    pub(super) async fn find(&self, filter: &Filter, after: Option<EntryId>, most: usize) -> Result<Page, Fault> {
        let mut page = Page::default();
        if most == 0 {
            page.next = after;
            return Ok(page);
        }
        let names = match filter.message {
            Some(message) => self.link.names.entries_of(message),
            None => self.link.names.all('e'),
        };
        let list = self.list(names, after.is_some()).await?;
        let times = filter.times();
        let first = list.ids.partition_point(|id| Some(*id) <= after);
        let mut ids = list.ids[first..].to_vec();
        ids.retain(|id| times.contains(&id.message.timestamp_ms()));
        for some in ids.chunks(ASKED) {
            let seen: Vec<_> = some.iter().map(|id| self.seen(*id)).collect();
            let seen: Vec<_> = stream::iter(seen).buffered(ASKED).collect().await;
            for (id, seen) in some.iter().zip(seen) {
                if let Some(seen) = seen?
                    && let Some(listed) = self.meant(filter, &seen, list.leases.contains(id)).await?
                {
                    page.entries.push(listed);
                }
                page.next = Some(*id);
                if page.entries.len() >= most {
                    break;
                }
            }
            let looked = ids.partition_point(|id| Some(*id) <= page.next);
            if page.entries.len() >= most || looked >= LOOKED_AT {
                if looked >= ids.len() {
                    page.next = None;
                }
                return Ok(page);
            }
        }
        page.next = None;
        Ok(page)
    }

    async fn meant(&self, filter: &Filter, seen: &Seen, lease: bool) -> Result<Option<Listed>, Fault> {
        let Seen { id, entry, .. } = seen;
        let new = &entry.entry;
        if !filter.recipient(&new.recipient)
            || !filter.sender(entry.envelope.reverse_path.as_ref())
            || !filter.reason(entry.reason.as_deref(), &new.pending)
        {
            return Ok(None);
        }
        let leased = lease && self.lease_of(&seen.place, *id).await?.2;
        let state = if leased {
            "leased"
        } else if entry.held {
            "held"
        } else {
            "queued"
        };
        Ok(filter.state(state).then(|| Listed {
            entry: id.to_string(),
            state: state.into(),
            reason: entry.reason.clone(),
            reverse_path: entry.envelope.reverse_path.as_ref().map_or_else(|| "<>".into(), ToString::to_string),
            recipient: new.recipient.to_string(),
            size: entry.envelope.size,
            received_at: entry.envelope.received_at,
            attempts: entry.attempts,
            next_attempt: (!entry.held).then_some(entry.next),
            pending: new.pending.clone(),
        }))
    }

    /// See [`crate::store::Store::show`].
    pub(super) async fn show(&self, message: MessageId) -> Result<Option<Details>, Fault> {
        let filter = Filter { message: Some(message), ..Filter::default() };
        let mut details: Option<Details> = None;
        let mut after = None;
        loop {
            let page = self.find(&filter, after, LOOKED_AT).await?;
            for listed in page.entries {
                let Ok(id) = listed.entry.parse() else { continue };
                let Some(seen) = self.seen(id).await? else { continue };
                let Entry { envelope, entry, late, .. } = seen.entry;
                let empty = || Details { id: message, envelope, entries: Vec::new() };
                details.get_or_insert_with(empty).entries.push(Detail { listed, entry, late });
            }
            after = page.next;
            if after.is_none() {
                return Ok(details);
            }
        }
    }

    /// See [`crate::store::Store::release`].
    pub(super) async fn release(&self, reason: &str) -> Result<(), StoreError> {
        // Whoever answers may be a moment behind.
        tokio::time::sleep(Duration::from_millis(500)).await;
        for listed in self.link.scan(self.link.names.all('e'), With::Headers).await? {
            let Some((_, _, id)) = parse(&listed.subject).filter(|_| listed.held) else { continue };
            for _ in 0..ANEW {
                let Some(seen) = self.seen(id).await? else { break };
                if !seen.entry.held || seen.entry.reason.as_deref() != Some(reason) {
                    break;
                }
                let entry = Entry { held: false, reason: None, next: now(), ..seen.entry };
                let mut records = Vec::new();
                letter::planned(&self.link, &seen.place, id, entry, &[&seen.octets], &mut records)?;
                let first = records.remove(0).after(seen.sequence);
                records.insert(0, first);
                match self.link.commit(records, &format!("o.{}", unique()), PATIENCE).await {
                    Err(Fault::Conflict) => {}
                    done => {
                        done?;
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// See [`crate::store::Store::change`]. So many at once as the servers take.
    pub(super) async fn change(&self, changes: Vec<(EntryId, Change)>) -> Result<Vec<Changed>, StoreError> {
        let mut said = Vec::with_capacity(changes.len());
        // Five records each, and two for a message.
        for some in changes.chunks(TOGETHER / 7) {
            let mut tries = 0;
            said.extend(loop {
                tries += 1;
                match self.change_some(some).await {
                    Err(Fault::Conflict) if tries < ANEW => {}
                    done => break done?,
                }
            });
        }
        Ok(said)
    }

    async fn change_some(&self, changes: &[(EntryId, Change)]) -> Result<Vec<Changed>, Fault> {
        let refused = |error: StoreError| Fault::Refused(error.to_string());
        let mut known: BTreeMap<EntryId, Option<Changing>> = BTreeMap::new();
        let mut counts = Counts::default();
        for (id, _) in changes {
            if known.contains_key(id) {
                continue;
            }
            let Some(mut seen) = self.seen(*id).await? else {
                known.insert(*id, None);
                continue;
            };
            let (lease, unsettled, leased) = self.lease_of(&seen.place, *id).await?;
            seen.entry.unsure |= unsettled;
            if seen.entry.at == At::Message {
                // Of one that can not be read the entry can go all the same; what is left then is the message's octets.
                match counts.load(self, id.message).await {
                    Ok(()) | Err(Fault::Unreadable(_)) => {}
                    Err(fault) => return Err(fault),
                }
            }
            known.insert(*id, Some(Changing { seen, lease, leased, gone: false, touched: false }));
        }
        let (mut said, mut reports, mut verdicts) = (Vec::new(), Vec::new(), Vec::new());
        let mut records = Vec::new();
        for (id, change) in changes {
            let changed = match known.get_mut(id) {
                Some(Some(one)) if !one.gone => apply(one, change),
                _ => Changed::Gone,
            };
            said.push(changed);
            if changed != Changed::Done {
                continue;
            }
            if let Change::Drop { record, .. } | Change::Bounce { record, .. } = change {
                verdicts.push(record);
            }
            if let Change::Drop { report: Some(text), .. } = change {
                let due = Due { v: VERSION, at: now(), tries: 0, text: text.clone() };
                let subject = self.link.names.report(&self.presence.node, &unique());
                records.push(Record::new(subject.clone(), encode(&due, &[]).map_err(refused)?));
                reports.push((subject, due));
            }
        }
        let mut ended = Vec::new();
        for one in known.into_values().flatten().filter(|one| one.touched || one.gone) {
            let Seen { id, place, sequence, entry, octets } = one.seen;
            records.push(Record::gone(self.link.names.lease(&place, id)).after(one.lease));
            if one.gone {
                records.push(Record::gone(self.link.names.entry(&place, id)).after(sequence));
                if entry.at == At::Message {
                    counts.change(id.message, 1, 0, 0);
                }
            } else {
                let mut new = Vec::new();
                letter::planned(&self.link, &place, id, entry, &[&octets], &mut new).map_err(refused)?;
                let mut new = new.into_iter();
                records.extend(new.next().map(|record| record.after(sequence)));
                records.extend(new);
            }
            ended.push(id);
        }
        let needless = counts.records(self, &mut records).map_err(refused)?;
        if !records.is_empty() {
            self.link.commit(records, &format!("o.{}", unique()), PATIENCE).await?;
        }
        self.work.ended(&ended);
        self.objects.remove(needless);
        reports.into_iter().for_each(|(subject, due)| self.reports.add(subject, due));
        verdicts.into_iter().for_each(|record| self.why.record(record));
        Ok(said)
    }
}

/// Changes an entry, unless somebody works on it.
fn apply(one: &mut Changing, change: &Change) -> Changed {
    if one.leased {
        return Changed::Leased;
    }
    let (now, entry) = (now(), &mut one.seen.entry);
    let begins = entry.envelope.begins();
    match (change, entry.held) {
        (Change::Drop { .. }, _) => {
            one.gone = true;
            return Changed::Done;
        }
        (Change::Bounce { .. }, _) if entry.envelope.reverse_path.is_none() => return Changed::NoSender,
        (Change::Bounce { status, reason, .. }, _) => {
            entry.entry.pending = Pending::Bounce { status: status.clone(), reason: reason.clone() };
            (entry.held, entry.next) = (false, now);
        }
        (Change::Retry, true) => return Changed::Held,
        (Change::Retry, false) if entry.envelope.wishes.hold.is_some() && begins > now => return Changed::Early,
        (Change::Retry, false) => entry.next = entry.next.min(now),
        (Change::Hold { reason }, false) => {
            let last = entry.reason.take().map(|last| format!("; last said: {last}")).unwrap_or_default();
            entry.reason = Some(format!("{reason}{last}"));
            entry.held = true;
        }
        (Change::Release, true) => {
            entry.next = now.max(begins);
            entry.held = false;
            entry.reason = entry.reason.take().and_then(|reason| match reason.split_once("; last said: ") {
                Some((_, last)) => Some(last.to_owned()),
                None => (entry.attempts > 0).then_some(reason),
            });
        }
        (Change::Hold { .. }, true) | (Change::Release, false) => return Changed::Unneeded,
    }
    one.touched = true;
    Changed::Done
}
