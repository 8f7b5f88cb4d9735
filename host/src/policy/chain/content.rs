//! The judging of one transaction after its content: for each recipient, and then for each copy that was sent on.

use std::{collections::HashMap, ops::Range, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Fate, Judging, Outcome, Step,
    judge::{Instances, Judged, late},
};
use crate::plugin::hook::{Edit, Facts, Hook, Message, Wishes};

/// The last call after the content begins before this: with the longest timeout of a plugin clients wait for less than the
/// 10 minutes of RFC 5321 section 4.5.3.2.6.
const CONTENT: Duration = Duration::from_secs(300);

/// The message phase.
struct Content {
    facts: Arc<Facts>,
    message: Option<Arc<Message>>,
    instances: Instances,
    /// For each plugin what its `message` hook said and asked for.
    said: HashMap<usize, Said>,
    until: Instant,
}

impl Judging {
    /// Does anybody want to see the content?
    #[must_use]
    pub fn wants_content(&self) -> bool {
        // Whom a copy is sent on to may have any plugin of the configuration.
        let forwards = |judged: &Judged| self.places.is_some() && judged.forwards();
        let any = || (0..self.chains.links.len()).any(|link| self.judges_content(link));
        self.recipients.iter().flat_map(|judged| judged.chain.links.iter()).any(|link| self.judges_content(*link))
            || (self.recipients.iter().any(forwards) && any())
    }

    fn judges_content(&self, link: usize) -> bool {
        let plugin = self.chains.links.get(link);
        plugin.is_some_and(|plugin| plugin.has(Hook::Message) || plugin.has(Hook::RecipientMessage))
    }

    /// Judges the message for each recipient, in the order of RCPT. `message`: if somebody wants to see it. `size`: octets
    /// of its content.
    pub async fn message(mut self, message: Option<Message>, size: u64) -> Vec<Outcome> {
        let accepted = self.recipients.len();
        let mut content = Content {
            facts: Arc::new(Facts { message_size: size, ..Facts::clone(&self.facts) }),
            message: message.map(Arc::new),
            instances: Instances::new(),
            said: HashMap::new(),
            until: Instant::now() + CONTENT,
        };
        let mut fresh = 0..accepted;
        while !fresh.is_empty() {
            self.round(&mut content, fresh.clone()).await;
            fresh = self.send_on(fresh, content.until).await;
        }
        self.outcomes(accepted)
    }

    /// The chains of these recipients, plugin by plugin.
    async fn round(&mut self, content: &mut Content, range: Range<usize>) {
        let Some(message) = content.message.clone() else { return };
        // For each recipient how much of its chain is done.
        let mut done = vec![0; self.recipients.len()];
        while let Some(link) = self.next(range.clone(), &done) {
            let chains = self.chains.clone();
            let waiting: Vec<usize> = range.clone().filter(|i| self.at(*i, &done) == Some(link)).collect();
            let Some(plugin) = chains.links.get(link).filter(|_| self.judges_content(link)) else {
                waiting.iter().for_each(|i| done[*i] += 1);
                continue;
            };
            let name = plugin.plugin.name();
            if Instant::now() >= content.until {
                waiting.iter().for_each(|i| self.recipients[*i].outcome.fate = Some(late(name)));
                continue;
            }
            let member = self.members.entry(link).or_default();
            let phase = content.instances.entry(link).or_insert_with(|| {
                plugin.plugin.clone().phase(content.facts.clone(), member.scratch.clone(), Some(message.clone()))
            });
            if plugin.has(Hook::Message) && !content.said.contains_key(&link) {
                if let Err(over) = member.count(plugin) {
                    waiting.iter().for_each(|i| self.recipients[*i].outcome.fate = Some(over.clone()));
                    continue;
                }
                let base = common(&self.recipients[range.clone()], link);
                let mut wishes = base.clone();
                let ran = phase.call(Hook::Message, None, &member.recipients, &mut wishes).await;
                let edits = wishes.edits.len().saturating_sub(base.edits.len());
                content.said.insert(link, Said { base, wishes, step: Step { ran, edits } });
            }
            for i in waiting {
                let recipient = &mut self.recipients[i];
                let outcome = &mut recipient.outcome;
                if let Some(said) = content.said.get(&link) {
                    let before = outcome.wishes.clone();
                    said.put_behind(&mut outcome.wishes);
                    outcome.attribute(name, &before);
                    outcome.steps.push(said.step.clone());
                    outcome.fate = Fate::of(name, &said.step.ran.verdict);
                }
                if outcome.fate.is_none() && Instant::now() >= content.until {
                    outcome.fate = Some(late(name));
                }
                if outcome.fate.is_none() && plugin.has(Hook::RecipientMessage) {
                    if let Err(over) = member.count(plugin) {
                        outcome.fate = Some(over);
                        continue;
                    }
                    let before = outcome.wishes.clone();
                    let call = phase.call(
                        Hook::RecipientMessage,
                        Some(&recipient.forward),
                        &member.recipients,
                        &mut outcome.wishes,
                    );
                    let ran = call.await;
                    outcome.attribute(name, &before);
                    outcome.fate = Fate::of(name, &ran.verdict);
                    let edits = outcome.wishes.edits.len().saturating_sub(before.edits.len());
                    outcome.steps.push(Step { ran, edits });
                }
                done[i] += 1;
            }
        }
    }

    /// The plugin that recipient `i` waits for.
    fn at(&self, i: usize, done: &[usize]) -> Option<usize> {
        let recipient = self.recipients.get(i)?;
        if recipient.outcome.fate.is_some() {
            return None;
        }
        recipient.chain.links.get(*done.get(i)?).copied()
    }

    /// The next plugin to ask: one that all of its recipients wait for, so that it is asked for them together; where
    /// chains contradict each other the one that the first waiting recipient needs.
    fn next(&self, range: Range<usize>, done: &[usize]) -> Option<usize> {
        let mut first = None;
        for i in range.clone() {
            let Some(link) = self.at(i, done) else { continue };
            first = first.or(Some(link));
            let later = |j: usize| {
                let rest = self.recipients[j].chain.links.get(done[j] + 1..).unwrap_or_default();
                self.at(j, done).is_some() && rest.contains(&link)
            };
            if !range.clone().any(later) {
                return Some(link);
            }
        }
        first
    }
}

/// What the recipients of a plugin that still go on have all asked for; nothing, if they differ.
fn common(recipients: &[Judged], link: usize) -> Wishes {
    let mut theirs = recipients
        .iter()
        .filter(|recipient| recipient.outcome.fate.is_none() && recipient.chain.links.contains(&link))
        .map(|recipient| &recipient.outcome.wishes);
    match theirs.next() {
        Some(first) if theirs.all(|wishes| wishes == first) => first.clone(),
        _ => Wishes::default(),
    }
}

/// What a `message` hook said, and what it asked for beyond what was there before.
struct Said {
    base: Wishes,
    wishes: Wishes,
    step: Step,
}

impl Said {
    /// Adds it to what a recipient has asked for.
    fn put_behind(&self, wishes: &mut Wishes) {
        let makes = |edit: &Edit| match edit {
            Edit::Prepend(id, ..) | Edit::Append(id, ..) => Some(*id),
            Edit::Replace(..) | Edit::Remove(_) => None,
        };
        let new = self.wishes.edits.get(self.base.edits.len()..).unwrap_or_default();
        let made: Vec<u32> = new.iter().filter_map(makes).collect();
        let count = |edits: &[Edit]| edits.iter().filter_map(makes).count();
        // Numbers are given out in turn: what this recipient has more of than the view had, these have to make way for.
        let shift = u32::try_from(count(&wishes.edits).saturating_sub(count(&self.base.edits))).unwrap_or(u32::MAX);
        let moved = |id: u32| if made.contains(&id) { id.saturating_add(shift) } else { id };
        wishes.edits.extend(new.iter().map(|edit| match edit {
            Edit::Prepend(id, name, value) => Edit::Prepend(moved(*id), name.clone(), value.clone()),
            Edit::Append(id, name, value) => Edit::Append(moved(*id), name.clone(), value.clone()),
            Edit::Replace(id, value) => Edit::Replace(moved(*id), value.clone()),
            Edit::Remove(id) => Edit::Remove(moved(*id)),
        }));
        if self.wishes.redirect != self.base.redirect {
            wishes.redirect.clone_from(&self.wishes.redirect);
        }
        wishes.add.extend(self.wishes.add.iter().skip(self.base.add.len()).cloned());
        if self.wishes.quarantine != self.base.quarantine {
            wishes.quarantine.clone_from(&self.wishes.quarantine);
        }
    }
}
