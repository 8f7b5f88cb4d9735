//! The judging of one transaction, from its first recipient to the answer after the final dot.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{Chains, Fate, Step};
use crate::{
    plugin::hook::{Edit, Facts, Forward, Hook, Message, Phase, Reason, Scratch, Verdict, Wishes},
    store::{Address, Route},
};

/// The last call for a batch of RCPTs begins before this: with the longest timeout of a plugin clients wait for less than
/// the 5 minutes of RFC 5321 section 4.5.3.2.3.
const ENVELOPE: Duration = Duration::from_secs(45);
/// The same after the content, for the 10 minutes of section 4.5.3.2.6.
const CONTENT: Duration = Duration::from_secs(300);

/// The fate of a recipient whose turn did not come in time.
fn late(plugin: &str) -> Fate {
    let text = "There is too much to find out about this message; please try again later.".into();
    Fate::Deferred(plugin.to_owned(), Reason { subject: 3, detail: 0, text })
}

/// What is known of a transaction's judging.
pub struct Judging {
    chains: Arc<Chains>,
    facts: Arc<Facts>,
    members: BTreeMap<usize, Member>,
    recipients: Vec<Judged>,
}

/// A plugin in this transaction.
#[derive(Default)]
struct Member {
    scratch: Scratch,
    /// What `connection` and `sender` said together, with their steps, once they were asked.
    begun: Option<(Verdict, Vec<Step>)>,
    /// Its recipients that were accepted.
    recipients: Vec<String>,
}

/// A recipient that was accepted at RCPT.
struct Judged {
    forward: Forward,
    chain: Arc<[usize]>,
    outcome: Outcome,
}

/// What became of a recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// None: nobody said anything final, which is an acceptance.
    pub fate: Option<Fate>,
    /// What was asked for.
    pub wishes: Wishes,
    /// Who asked for it to be kept aside.
    pub quarantined_by: Option<String>,
    /// Who asked for other recipients.
    pub forwarded_by: Option<String>,
    /// Every hook that ran.
    pub steps: Vec<Step>,
}

impl Outcome {
    /// An acceptance if nobody said anything else.
    #[must_use]
    pub fn fate(&self) -> Fate {
        self.fate.clone().unwrap_or(Fate::Accepted)
    }

    /// Remembers who asked for what was not there before.
    fn attribute(&mut self, plugin: &str, before: &Wishes) {
        if self.wishes.quarantine != before.quarantine {
            self.quarantined_by = Some(plugin.to_owned());
        }
        if self.wishes.redirect != before.redirect || self.wishes.add != before.add {
            self.forwarded_by = Some(plugin.to_owned());
        }
    }
}

/// The instances of one phase; they are gone with it.
type Instances = HashMap<usize, Box<dyn Phase>>;

impl Judging {
    /// MAIL was accepted. `facts` are as they are now; of the message nothing is known yet.
    #[must_use]
    pub fn new(chains: Arc<Chains>, facts: Facts) -> Self {
        Self { chains, facts: Arc::new(facts), members: BTreeMap::new(), recipients: Vec::new() }
    }

    /// What the plugins call the transaction.
    #[must_use]
    pub fn transaction(&self) -> &str {
        &self.facts.transaction_id
    }

    /// Judges the recipients of one batch of RCPTs, in their order. Those who are accepted are in the transaction from
    /// now on, and nothing more is told of them yet.
    pub async fn envelope(&mut self, batch: &[(Address, Route)]) -> Vec<Outcome> {
        let mut instances = Instances::new();
        let until = Instant::now() + ENVELOPE;
        let mut outcomes = Vec::with_capacity(batch.len());
        for (given, route) in batch {
            let mailbox = match route {
                Route::Local(mailbox) => Some(mailbox.clone()),
                Route::Relay => None,
            };
            let forward = Forward { forward_path: given.to_string(), mailbox };
            let chain = self.chains.of(given, route);
            let outcome = self.recipient(&mut instances, &forward, &chain, until).await;
            if outcome.fate().is_accepted() {
                for link in chain.iter() {
                    self.members.entry(*link).or_default().recipients.push(forward.forward_path.clone());
                }
                // An acceptance at the envelope ends the chain there, and not after the content.
                let fate = outcome.fate.clone().filter(|fate| *fate != Fate::Accepted);
                let outcome = Outcome { fate, ..outcome };
                self.recipients.push(Judged { forward, chain, outcome });
                outcomes.push(Outcome::default());
            } else {
                outcomes.push(outcome);
            }
        }
        outcomes
    }

    /// A recipient whose envelope was judged in another transaction: here only its message is judged.
    pub fn again(&mut self, given: &Address, route: &Route) {
        let mailbox = match route {
            Route::Local(mailbox) => Some(mailbox.clone()),
            Route::Relay => None,
        };
        let forward = Forward { forward_path: given.to_string(), mailbox };
        let chain = self.chains.of(given, route);
        for link in chain.iter() {
            self.members.entry(*link).or_default().recipients.push(forward.forward_path.clone());
        }
        self.recipients.push(Judged { forward, chain, outcome: Outcome::default() });
    }

    async fn recipient(
        &mut self,
        instances: &mut Instances,
        forward: &Forward,
        chain: &[usize],
        until: Instant,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for &link in chain {
            let chains = self.chains.clone();
            let Some(plugin) = chains.links.get(link) else { continue };
            if Instant::now() >= until {
                outcome.fate = Some(late(plugin.plugin.name()));
                break;
            }
            let member = self.members.entry(link).or_default();
            let facts = &self.facts;
            if ![Hook::Connection, Hook::Sender, Hook::Recipient].into_iter().any(|hook| plugin.has(hook)) {
                continue;
            }
            let phase = instances
                .entry(link)
                .or_insert_with(|| plugin.plugin.clone().phase(facts.clone(), member.scratch.clone(), None));
            if member.begun.is_none() {
                let mut steps = Vec::new();
                let mut verdict = Verdict::Proceed;
                for hook in [Hook::Connection, Hook::Sender].into_iter().filter(|hook| plugin.has(*hook)) {
                    // They have no recipient whose message they could change.
                    let ran = phase.call(hook, None, &member.recipients, &mut Wishes::default()).await;
                    verdict = ran.verdict.clone();
                    steps.push(Step { ran, edits: 0 });
                    if verdict != Verdict::Proceed {
                        break;
                    }
                }
                member.begun = Some((verdict, steps));
            }
            if let Some((verdict, steps)) = &member.begun {
                outcome.steps.extend(steps.iter().cloned());
                outcome.fate = Fate::of(plugin.plugin.name(), verdict);
            }
            if outcome.fate.is_none() && plugin.has(Hook::Recipient) {
                let before = outcome.wishes.clone();
                let ran = phase.call(Hook::Recipient, Some(forward), &member.recipients, &mut outcome.wishes).await;
                outcome.attribute(plugin.plugin.name(), &before);
                outcome.fate = Fate::of(plugin.plugin.name(), &ran.verdict);
                let edits = outcome.wishes.edits.len().saturating_sub(before.edits.len());
                outcome.steps.push(Step { ran, edits });
            }
            if outcome.fate.is_some() {
                break;
            }
        }
        outcome
    }

    /// Does anybody want to see the content?
    #[must_use]
    pub fn wants_content(&self) -> bool {
        self.recipients.iter().flat_map(|recipient| recipient.chain.iter()).any(|link| self.judges_content(*link))
    }

    fn judges_content(&self, link: usize) -> bool {
        let plugin = self.chains.links.get(link);
        plugin.is_some_and(|plugin| plugin.has(Hook::Message) || plugin.has(Hook::RecipientMessage))
    }

    /// Judges the message for each recipient, in the order of RCPT. `size`: octets of its content.
    pub async fn message(mut self, message: Option<Message>, size: u64) -> Vec<Outcome> {
        let Some(message) = message.map(Arc::new) else {
            return self.recipients.into_iter().map(|recipient| recipient.outcome).collect();
        };
        let facts = Arc::new(Facts { message_size: size, ..Facts::clone(&self.facts) });
        let mut instances = Instances::new();
        let until = Instant::now() + CONTENT;
        // For each recipient how much of its chain is done, and for each plugin what its `message` hook said and asked for.
        let mut done = vec![0; self.recipients.len()];
        let mut said: HashMap<usize, Said> = HashMap::new();
        while let Some(link) = self.next(&done) {
            let chains = self.chains.clone();
            let waiting: Vec<usize> = (0..self.recipients.len()).filter(|i| self.at(*i, &done) == Some(link)).collect();
            let Some(plugin) = chains.links.get(link).filter(|_| self.judges_content(link)) else {
                waiting.iter().for_each(|i| done[*i] += 1);
                continue;
            };
            let name = plugin.plugin.name();
            if Instant::now() >= until {
                waiting.iter().for_each(|i| self.recipients[*i].outcome.fate = Some(late(name)));
                continue;
            }
            let member = self.members.entry(link).or_default();
            let phase = instances.entry(link).or_insert_with(|| {
                plugin.plugin.clone().phase(facts.clone(), member.scratch.clone(), Some(message.clone()))
            });
            if plugin.has(Hook::Message) && !said.contains_key(&link) {
                let base = common(&self.recipients, link);
                let mut wishes = base.clone();
                let ran = phase.call(Hook::Message, None, &member.recipients, &mut wishes).await;
                let edits = wishes.edits.len().saturating_sub(base.edits.len());
                said.insert(link, Said { base, wishes, step: Step { ran, edits } });
            }
            for i in waiting {
                let recipient = &mut self.recipients[i];
                let outcome = &mut recipient.outcome;
                if let Some(said) = said.get(&link) {
                    let before = outcome.wishes.clone();
                    said.put_behind(&mut outcome.wishes);
                    outcome.attribute(name, &before);
                    outcome.steps.push(said.step.clone());
                    outcome.fate = Fate::of(name, &said.step.ran.verdict);
                }
                if outcome.fate.is_none() && Instant::now() >= until {
                    outcome.fate = Some(late(name));
                }
                if outcome.fate.is_none() && plugin.has(Hook::RecipientMessage) {
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
        self.recipients.into_iter().map(|recipient| recipient.outcome).collect()
    }

    /// The plugin that recipient `i` waits for.
    fn at(&self, i: usize, done: &[usize]) -> Option<usize> {
        let recipient = self.recipients.get(i)?;
        if recipient.outcome.fate.is_some() {
            return None;
        }
        recipient.chain.get(*done.get(i)?).copied()
    }

    /// The next plugin to ask: one that all of its recipients wait for, so that it is asked for them together; where
    /// chains contradict each other the one that the first waiting recipient needs.
    fn next(&self, done: &[usize]) -> Option<usize> {
        let mut first = None;
        for i in 0..self.recipients.len() {
            let Some(link) = self.at(i, done) else { continue };
            first = first.or(Some(link));
            let later = |j: usize| {
                let rest = self.recipients[j].chain.get(done[j] + 1..).unwrap_or_default();
                self.at(j, done).is_some() && rest.contains(&link)
            };
            if !(0..self.recipients.len()).any(later) {
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
        .filter(|recipient| recipient.outcome.fate.is_none() && recipient.chain.contains(&link))
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
