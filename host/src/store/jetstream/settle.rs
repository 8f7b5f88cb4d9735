//! What becomes of entries that this node has, written all at once or not at all.
//!
//! Owns the records that end a lease. Refuses to know why an entry ends so. Fails with [`StoreError`] while no majority
//! answers; whoever asks again is told of what had been written after all that its lease is stale.
//!
//! Every outcome writes the mark of its lease's end *after* the lease's last record: whoever lost it meanwhile writes
//! nothing. The number of entries of a message changes together with them, after its last record too: so whoever takes
//! the last one away takes the message along, whichever nodes work on the others.

use std::collections::{HashMap, HashSet};

use super::{
    Core, letter,
    link::{Fault, Record, TOGETHER},
    record::{ANY, At, Count, Due, Entry, Message, VERSION, decode, encode, parse},
    work::{Held, unique},
};
use crate::store::{EntryId, MessageId, NewEntry, Outcome, Pending, Settlement, StoreError, sqlite::now};

/// How long a write is repeated that nobody answers.
pub(super) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// Times that outcomes are put together anew since other entries of their messages changed.
const ANEW: usize = 20;

/// An outcome, what it is of, and the message that tells of it, if there is one.
struct Ending {
    outcome: Outcome,
    held: Held,
    notice: Option<(MessageId, letter::Octets)>,
}

/// Outcomes that are written together or not at all.
type Group = Vec<Ending>;

/// The counts of messages, as they were and as they are to be.
#[derive(Default)]
pub(super) struct Counts(HashMap<MessageId, (Count, u64, Count)>);

impl Counts {
    pub(super) async fn load(&mut self, core: &Core, id: MessageId) -> Result<(), Fault> {
        if !self.0.contains_key(&id)
            && let Some((count, sequence)) = letter::count(&core.link, id).await?
        {
            self.0.insert(id, (count, sequence, count));
        }
        Ok(())
    }

    pub(super) fn change(&mut self, id: MessageId, removed: u32, added: u32, places: u32) {
        if let Some((_, _, count)) = self.0.get_mut(&id) {
            count.left = (count.left + added).saturating_sub(removed);
            count.next += places;
        }
    }

    fn next(&self, id: MessageId) -> u32 {
        self.0.get(&id).map_or(1, |(_, _, count)| count.next)
    }

    /// The records, and the objects that nobody needs then.
    pub(super) fn records(&self, core: &Core, records: &mut Vec<Record>) -> Result<Vec<MessageId>, StoreError> {
        let mut objects = Vec::new();
        for (id, (before, sequence, count)) in &self.0 {
            let subject = core.link.names.count(*id);
            if count.left == 0 {
                records.push(Record::gone(subject).after(*sequence));
                records.push(Record::gone(core.link.names.message(*id)));
                objects.extend(count.object.then_some(*id));
            } else if count != before {
                records.push(Record::new(subject, encode(count, &[])?).after(*sequence));
            }
        }
        Ok(objects)
    }
}

/// The same mailbox, or the same address elsewhere.
fn same(a: &NewEntry, b: &NewEntry) -> bool {
    match (a.route.mailbox(), b.route.mailbox()) {
        (None, None) => {
            a.recipient.local == b.recipient.local && a.recipient.domain.eq_ignore_ascii_case(&b.recipient.domain)
        }
        (a, b) => a == b,
    }
}

impl Core {
    /// See [`crate::store::Store::settle`].
    pub(super) async fn settle(&self, outcomes: Vec<Outcome>) -> Result<Vec<EntryId>, StoreError> {
        let mut refused = Vec::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut by_notice: HashMap<EntryId, usize> = HashMap::new();
        let shared: HashSet<EntryId> = outcomes.iter().filter_map(|outcome| outcome.told_with).collect();
        let mut spoilt: HashSet<EntryId> = shared
            .iter()
            .filter(|teller| !outcomes.iter().any(|one| one.lease.entry == **teller && one.notice.is_some()))
            .copied()
            .collect();
        let held: Vec<_> = outcomes.iter().map(|one| self.work.held(one.lease.entry, one.lease.token)).collect();
        for (outcome, held) in outcomes.iter().zip(&held) {
            let teller = outcome.told_with.unwrap_or(outcome.lease.entry);
            if held.is_none() && shared.contains(&teller) {
                spoilt.insert(teller);
            }
        }
        let (mut notices, mut unkept, mut last) = (HashMap::new(), HashSet::new(), None);
        for outcome in outcomes.iter().zip(&held).filter(|(_, held)| held.is_some()).map(|(outcome, _)| outcome) {
            let Some(notice) = &outcome.notice else { continue };
            let id = self.ids.next();
            match self.keep(id, notice.content.clone()).await {
                Ok(octets) => drop(notices.insert(outcome.lease.entry, (id, octets))),
                // Those whom it tells of are settled another time.
                Err(error) => {
                    unkept.insert(outcome.lease.entry);
                    last = Some(error);
                }
            }
        }
        for (outcome, held) in outcomes.into_iter().zip(held) {
            let id = outcome.lease.entry;
            if unkept.contains(&outcome.told_with.unwrap_or(id)) {
                continue;
            }
            let teller = outcome.told_with.unwrap_or(id);
            match held {
                Some(held) if !spoilt.contains(&teller) => {
                    let notice = notices.remove(&id);
                    let ending = Ending { outcome, held, notice };
                    if !shared.contains(&teller) {
                        groups.push(vec![ending]);
                    } else if let Some(place) = by_notice.get(&teller) {
                        groups[*place].push(ending);
                    } else {
                        by_notice.insert(teller, groups.len());
                        groups.push(vec![ending]);
                    }
                }
                _ => refused.push(id),
            }
        }
        // About four records for each outcome, and more for a notice.
        let (mut some, mut weight) = (Vec::new(), 0);
        for group in groups {
            let more = group.iter().map(|one| weigh(&one.outcome)).sum::<usize>();
            if weight + more > TOGETHER && !some.is_empty() {
                refused.extend(self.settle_some(std::mem::take(&mut some)).await?);
                weight = 0;
            }
            weight += more;
            some.push(group);
        }
        if !some.is_empty() {
            refused.extend(self.settle_some(some).await?);
        }
        last.map_or(Ok(refused), Err)
    }

    /// Together if possible; if not, each group by itself.
    async fn settle_some(&self, groups: Vec<Group>) -> Result<Vec<EntryId>, StoreError> {
        let mut refused = Vec::new();
        // Mostly it is another node that settles other recipients of the same message.
        for round in 1..=4 {
            match self.try_settle(&groups).await {
                Ok(()) => return Ok(refused),
                Err(Fault::Conflict) => tokio::time::sleep(std::time::Duration::from_millis(5 * round)).await,
                // One of them, perhaps.
                Err(Fault::Refused(_) | Fault::Unreadable(_)) => break,
                Err(fault) => return Err(fault.into()),
            }
        }
        let mut last = None;
        for group in groups {
            match self.settle_group(group).await {
                Ok(more) => refused.extend(more),
                Err(fault @ Fault::Refused(_)) => last = Some(fault),
                Err(fault) => return Err(fault.into()),
            }
        }
        last.map_or(Ok(refused), |fault| Err(fault.into()))
    }

    async fn settle_group(&self, group: Group) -> Result<Vec<EntryId>, Fault> {
        let group = vec![group];
        for round in 0..ANEW {
            match self.try_settle(&group).await {
                Ok(()) => return Ok(Vec::new()),
                Err(Fault::Conflict) => {}
                Err(Fault::Unreadable(why)) => return self.hold(&group[0], &why).await.map(|()| Vec::new()),
                Err(fault) => return Err(fault),
            }
            let mut stale = Vec::new();
            for Ending { outcome, held, .. } in &group[0] {
                let found = self.link.last(&self.link.names.lease(&held.place, outcome.lease.entry)).await?;
                if found.is_none_or(|found| found.sequence != held.sequence) {
                    stale.push(outcome.lease.entry);
                }
            }
            if !stale.is_empty() {
                self.work.doubt.store(true, std::sync::atomic::Ordering::Release);
                self.work.ended(&stale);
                return Ok(group[0].iter().map(|one| one.outcome.lease.entry).collect());
            }
            tokio::time::sleep(std::time::Duration::from_millis(5 * (round as u64 + rand::random::<u64>() % 8))).await;
        }
        Err(Fault::Refused("other recipients of the message change all the time".into()))
    }

    /// What is not known to be right is nobody's to go on with: an operator is told, and no other mail is hindered.
    async fn hold(&self, group: &Group, why: &str) -> Result<(), Fault> {
        let mut records = Vec::new();
        for Ending { outcome, held, .. } in group {
            let id = outcome.lease.entry;
            let done = match outcome.settlement {
                Settlement::Delivered => "it is delivered",
                Settlement::Becomes(_) => "other recipients take its place",
                Settlement::Failed { .. } => "it failed for good",
                _ => "it is not delivered",
            };
            let reason = Some(format!("{done}, but {why}"));
            tracing::error!(entry = %id, reason, "what became of an entry can not be written; it is held");
            let entry = Entry { held: true, unsure: true, reason, ..held.entry.clone() };
            records.push(Record::gone(self.link.names.lease(&held.place, id)).after(held.sequence));
            let unreadable = |error: StoreError| Fault::Refused(error.to_string());
            letter::planned(&self.link, &held.place, id, entry, &[&held.octets], &mut records).map_err(unreadable)?;
        }
        match self.link.commit(records, &format!("h.{}", unique()), PATIENCE).await {
            // Somebody else has it.
            Ok(_) | Err(Fault::Conflict) => {}
            Err(fault) => return Err(fault),
        }
        self.work.ended(&group.iter().map(|one| one.outcome.lease.entry).collect::<Vec<_>>());
        Ok(())
    }

    async fn try_settle(&self, groups: &[Group]) -> Result<(), Fault> {
        let refused = |error: StoreError| Fault::Refused(error.to_string());
        // On this node one after the other: each changes the number that the others have read.
        let counted = groups.iter().flatten().any(|one| one.held.entry.at == At::Message);
        let _turn = if counted { Some(self.counting.lock().await) } else { None };
        let mut counts = Counts::default();
        let mut others: HashMap<MessageId, Vec<NewEntry>> = HashMap::new();
        for Ending { outcome, held, .. } in groups.iter().flatten() {
            let message = outcome.lease.entry.message;
            if held.entry.at == At::Message {
                counts.load(self, message).await?;
                if matches!(&outcome.settlement, Settlement::Becomes(entries) if !entries.is_empty())
                    && !others.contains_key(&message)
                {
                    others.insert(message, self.entries_of(message, outcome.lease.entry).await?);
                }
            }
        }
        let (mut records, mut reports) = (Vec::new(), Vec::new());
        for Ending { outcome, held, notice: kept } in groups.iter().flatten() {
            let id = outcome.lease.entry;
            records.push(Record::gone(self.link.names.lease(&held.place, id)).after(held.sequence));
            self.end(outcome, held, &mut counts, &mut others, &mut records).map_err(refused)?;
            if let (Some(notice), Some((id, octets))) = (&outcome.notice, kept) {
                let mut envelope = notice.envelope.clone();
                envelope.size = notice.content.len() as u64;
                let entries = notice.entries.clone();
                let new = letter::records(&self.link, &self.placement, *id, envelope.into(), &[], octets, entries);
                records.extend(new.map_err(refused)?);
            }
            if let Some(text) = &outcome.report {
                let due = Due { v: VERSION, at: now(), tries: 0, text: text.clone() };
                let subject = self.link.names.report(&self.presence.node, &unique());
                records.push(Record::new(subject.clone(), encode(&due, &[]).map_err(refused)?));
                reports.push((subject, due));
            }
        }
        let needless = counts.records(self, &mut records).map_err(refused)?;
        self.link.commit(records, &format!("s.{}", unique()), PATIENCE).await?;
        let ids: Vec<_> = groups.iter().flatten().map(|one| one.outcome.lease.entry).collect();
        self.work.ended(&ids);
        self.objects.remove(needless);
        reports.into_iter().for_each(|(subject, due)| self.reports.add(subject, due));
        groups.iter().flatten().filter_map(|one| one.outcome.verdicts.as_ref()).for_each(|one| self.why.record(one));
        Ok(())
    }

    /// The other entries of a message that count as somebody's copy.
    async fn entries_of(&self, message: MessageId, but: EntryId) -> Result<Vec<NewEntry>, Fault> {
        let mut entries = Vec::new();
        for subject in self.link.subjects(&self.link.names.entries_of(message)).await? {
            let other = parse(&subject).is_some_and(|(_, _, id)| id != but);
            if other
                && let Some(found) = self.link.last(&subject).await?.filter(|found| !found.payload.is_empty())
                && let Ok((entry, _)) = decode::<Entry>(&found.payload)
                && entry.entry.pending != Pending::Expanded
            {
                entries.push(entry.entry);
            }
        }
        Ok(entries)
    }

    /// The entry as the outcome leaves it.
    fn end(
        &self,
        outcome: &Outcome,
        held: &Held,
        counts: &mut Counts,
        others: &mut HashMap<MessageId, Vec<NewEntry>>,
        records: &mut Vec<Record>,
    ) -> Result<(), StoreError> {
        let (id, lease) = (outcome.lease.entry, &outcome.lease);
        let told = outcome.notice.is_some() || outcome.told_with.is_some();
        let before = || Entry { late: outcome.late, unsure: lease.unsure, held: false, ..held.entry.clone() };
        let entry = match &outcome.settlement {
            Settlement::Becomes(entries) if !entries.is_empty() => {
                let others = others.entry(id.message).or_default();
                return self.replace(id, held, outcome.late, entries, counts, others, records);
            }
            Settlement::Delivered | Settlement::Becomes(_) => {
                self.remove(id, held, counts, records);
                return Ok(());
            }
            Settlement::Failed { .. } if told => {
                self.remove(id, held, counts, records);
                return Ok(());
            }
            Settlement::Retry { at, reason } => {
                Entry { next: *at, attempts: lease.attempts + 1, reason: Some(reason.clone()), ..before() }
            }
            Settlement::Postponed { at, reason } => {
                let reason = reason.clone().or_else(|| held.entry.reason.clone());
                Entry { next: *at, attempts: lease.attempts, reason, ..before() }
            }
            Settlement::Failed { reason, .. } => {
                Entry { held: true, attempts: lease.attempts + 1, reason: Some(reason.clone()), ..before() }
            }
            Settlement::Held { reason } => {
                Entry { held: true, attempts: lease.attempts, reason: Some(reason.clone()), ..before() }
            }
        };
        letter::planned(&self.link, &held.place, id, entry, &[&held.octets], records)
    }

    fn remove(&self, id: EntryId, held: &Held, counts: &mut Counts, records: &mut Vec<Record>) {
        records.push(Record::gone(self.link.names.entry(&held.place, id)));
        if held.entry.at == At::Message {
            counts.change(id.message, 1, 0, 0);
        }
    }

    /// See [`Settlement::Becomes`].
    #[allow(clippy::too_many_arguments, reason = "what it changes belongs to whoever puts several together")]
    fn replace(
        &self,
        id: EntryId,
        held: &Held,
        late: bool,
        entries: &[NewEntry],
        counts: &mut Counts,
        others: &mut Vec<NewEntry>,
        records: &mut Vec<Record>,
    ) -> Result<(), StoreError> {
        let places = std::iter::once(id.index).chain(counts.next(id.message)..);
        let mut new = Vec::new();
        for (index, entry) in places.zip(entries) {
            let copy = entry.held.is_none() && entry.pending != Pending::Expanded;
            if copy && others.iter().any(|other| same(other, entry)) {
                continue;
            }
            if copy {
                others.push(entry.clone());
            }
            new.push((EntryId { message: id.message, index }, entry.clone()));
        }
        let spare = u32::try_from(entries.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let added = u32::try_from(new.len()).unwrap_or(u32::MAX);
        let alone = matches!(new.as_slice(), [(only, _)] if *only == id);
        let mut at = held.entry.at;
        if let At::Here(prefix) = at
            && !alone
            && added > 0
        {
            let (prefix, content) = letter::split(&held.octets, prefix);
            let count = Count { v: VERSION, left: added, next: 1 + spare, object: false, rest: None };
            let message = Message { v: VERSION, prefix: prefix.len(), object: None, more: None };
            letter::apart(&self.link, id.message, &message, &[&prefix, &content], count, records)?;
            at = At::Message;
        } else if at == At::Message {
            counts.change(id.message, 1, added, spare);
        }
        let recipients = held.entry.recipients + spare;
        // It may be elsewhere now: then nothing is to be left here.
        records.push(Record::gone(self.link.names.entry(&held.place, id)));
        for (new_id, new) in new {
            let place = (self.placement)(&new).unwrap_or_else(|| ANY.into());
            let mut entry = Entry::new(held.entry.envelope.clone(), new, recipients, at);
            if !entry.held {
                entry.reason = None;
            }
            entry.next = now();
            entry.late = late;
            if place == held.place && new_id == id {
                records.pop_if(|record| record.is_for(&self.link.names.entry(&place, id)));
            }
            let octets: &[u8] = if matches!(at, At::Here(_)) { &held.octets } else { &[] };
            letter::planned(&self.link, &place, new_id, entry, &[octets], records)?;
        }
        Ok(())
    }

    /// Attempts are counted before they are made.
    pub(super) async fn begin_attempts(&self, leases: Vec<crate::store::Lease>) -> Result<Vec<EntryId>, StoreError> {
        let mut stale = Vec::new();
        for lease in leases {
            let Some(held) = self.work.held(lease.entry, lease.token) else {
                stale.push(lease.entry);
                continue;
            };
            match self.work.count_attempt(lease.entry, &held, lease.attempts + 1).await {
                Ok(()) => {}
                Err(Fault::Conflict) => {
                    self.work.doubt.store(true, std::sync::atomic::Ordering::Release);
                    self.work.ended(&[lease.entry]);
                    stale.push(lease.entry);
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(stale)
    }
}

/// About how many records an outcome is.
fn weigh(outcome: &Outcome) -> usize {
    let becomes = match &outcome.settlement {
        Settlement::Becomes(entries) => 2 * entries.len() + 2,
        _ => 0,
    };
    6 + becomes + outcome.notice.as_ref().map_or(0, |notice| 2 * notice.entries.len() + 2)
}
