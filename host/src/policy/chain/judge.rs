//! The judging of one transaction before its content: at MAIL where the operator wants that, and at RCPT.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{Chain, Chains, Fate, Link, Outcome, Returns, Step, forward::Sent, split::Group};
use crate::{
    config::plugins::{Refused, comparable},
    plugin::hook::{Edit, Facts, Forward, Hook, Phase, Reason, Scratch, Wishes},
    policy::Policy,
    store::{Address, Asked, Route},
};

/// The last call for a batch of RCPTs begins before this: with the longest timeout of a plugin clients wait for less than
/// the 5 minutes of RFC 5321 section 4.5.3.2.3. MAIL has as long (section 4.5.3.2.2).
const ENVELOPE: Duration = Duration::from_secs(45);

/// The fate of a recipient whose turn did not come in time.
pub(super) fn late(plugin: &str) -> Fate {
    let text = "There is too much to find out about this message; please try again later.".into();
    Fate::Deferred(plugin.to_owned(), Reason { subject: 3, detail: 0, text })
}

/// What is known of a transaction's judging.
pub struct Judging {
    pub(super) chains: Arc<Chains>,
    pub(super) facts: Arc<Facts>,
    pub(super) members: BTreeMap<usize, Member>,
    /// Those that were accepted at RCPT, in their order; behind them those to whom plugins send copies on.
    pub(super) recipients: Vec<Judged>,
    /// How the addresses that plugins name are understood.
    pub(super) places: Option<Arc<Policy>>,
    /// Addresses that plugins named so far, to send copies on.
    pub(super) named: usize,
    /// Only where recipients may be told to come apart.
    group: Option<Group>,
}

/// A plugin in this transaction.
#[derive(Default)]
pub(super) struct Member {
    pub(super) scratch: Scratch,
    /// What `connection` and `sender` said together, with their steps, once they were asked.
    begun: Option<(Option<Fate>, Vec<Step>)>,
    /// Its recipients that were accepted.
    pub(super) recipients: Vec<String>,
    /// Calls of its hooks.
    calls: u32,
}

impl Member {
    /// Counts a call, or says why there is none.
    pub(super) fn count(&mut self, link: &Link) -> Result<(), Fate> {
        if self.calls >= link.calls {
            // RFC 3463: X.5.3, too many recipients.
            let text = "There are too many recipients to judge; please send to fewer at a time.".into();
            return Err(Fate::Deferred(link.plugin.name().to_owned(), Reason { subject: 5, detail: 3, text }));
        }
        self.calls += 1;
        Ok(())
    }
}

/// A recipient, or somebody to whom a copy is sent on.
pub(super) struct Judged {
    pub(super) address: Address,
    pub(super) route: Route,
    pub(super) forward: Forward,
    pub(super) chain: Chain,
    pub(super) outcome: Outcome,
    /// What was done about those whom its plugins named.
    pub(super) sent: Vec<Sent>,
    /// How often the message was sent on until it came here.
    pub(super) depth: usize,
}

impl Judged {
    pub(super) fn new(address: Address, route: Route, chain: Chain, wishes: Wishes, depth: usize) -> Self {
        let mailbox = route.mailbox().map(str::to_owned);
        let forward = Forward { forward_path: address.to_string(), mailbox };
        let outcome = Outcome { wishes, refused: chain.refused, ..Outcome::default() };
        Self { address, route, forward, chain, outcome, sent: Vec::new(), depth }
    }

    /// Its plugins want the message to go to others.
    pub(super) fn forwards(&self) -> bool {
        let wishes = &self.outcome.wishes;
        wishes.redirect.is_some() || !wishes.add.is_empty()
    }

    /// As addresses are compared.
    pub(super) fn key(&self) -> String {
        comparable(&self.address.local, &self.address.domain)
    }
}

/// The instances of one phase; they are gone with it.
pub(super) type Instances = HashMap<usize, Box<dyn Phase>>;

impl Judging {
    /// MAIL was accepted. `facts` are as they are now; of the message nothing is known yet.
    #[must_use]
    pub fn new(chains: Arc<Chains>, facts: Facts) -> Self {
        let (members, recipients) = (BTreeMap::new(), Vec::new());
        Self { chains, facts: Arc::new(facts), members, recipients, places: None, named: 0, group: None }
    }

    /// Copies that plugins send on are judged for their new recipients, whom `policy` finds.
    #[must_use]
    pub fn sending_on(mut self, policy: Arc<Policy>) -> Self {
        self.places = Some(policy);
        self
    }

    /// The client has one answer for all recipients and can come again, so those whose route wants that may be told to
    /// come apart, but no more than `most` of them: the engine counts refusals, and ends a session that has too many.
    #[must_use]
    pub fn splitting(mut self, returns: &Arc<Returns>, most: u32) -> Self {
        if self.chains.routes.iter().any(|(_, chain)| chain.refused == Refused::Split) {
            self.group = Group::new(returns.clone(), &self.facts, most);
        }
        self
    }

    /// What the plugins call the transaction.
    #[must_use]
    pub fn transaction(&self) -> &str {
        &self.facts.transaction_id
    }

    /// Asks the `connection` and `sender` hooks of the plugins that judge everybody else's recipients, before there is
    /// one: those of the first route for all. Their recipients do not make them run again.
    pub async fn early(&mut self) -> Outcome {
        let mut instances = Instances::new();
        let until = Instant::now() + ENVELOPE;
        let mut outcome = Outcome::default();
        for &link in self.chains.of_everybody().iter() {
            let chains = self.chains.clone();
            let Some(plugin) = chains.links.get(link) else { continue };
            if Instant::now() >= until {
                outcome.fate = Some(late(plugin.plugin.name()));
            } else {
                self.begin(&mut instances, link, plugin, &mut outcome).await;
            }
            if outcome.fate.is_some() {
                break;
            }
        }
        outcome
    }

    /// Judges the recipients of one batch of RCPTs, in their order. Those who are accepted are in the transaction from
    /// now on, and nothing more is told of them yet.
    pub async fn envelope(&mut self, batch: &[(Address, Route)]) -> Vec<Outcome> {
        let mut instances = Instances::new();
        let until = Instant::now() + ENVELOPE;
        let mut outcomes = Vec::with_capacity(batch.len());
        for (given, route) in batch {
            let chain = self.chains.of(given, route);
            let mut judged = Judged::new(given.clone(), route.clone(), chain, Wishes::default(), 0);
            if let Some(group) = &mut self.group
                && !group.admits(&judged.key(), &judged.chain)
            {
                outcomes.push(Outcome { fate: Some(Fate::Apart), ..judged.outcome });
                continue;
            }
            self.recipient(&mut instances, &mut judged, until).await;
            if judged.outcome.fate().is_accepted() {
                if let Some(group) = &mut self.group {
                    group.accepted(&judged.key(), &judged.chain);
                }
                self.admit(judged);
                outcomes.push(Outcome::default());
            } else {
                outcomes.push(judged.outcome);
            }
        }
        outcomes
    }

    /// A recipient whose envelope was judged in another transaction: here only its message is judged, unless `asked` says that
    /// the envelope is open. `edits` and `asked`: what it asked for then.
    pub async fn again(&mut self, given: &Address, route: &Route, edits: &[Edit], asked: Option<&Asked>) {
        let chain = self.chains.of(given, route);
        let mut judged = Judged::new(given.clone(), route.clone(), chain, Wishes::default(), 0);
        judged.outcome = Outcome { refused: judged.outcome.refused, ..Outcome::resumed(edits, asked) };
        if asked.is_some_and(|asked| asked.envelope) {
            self.recipient(&mut Instances::new(), &mut judged, Instant::now() + ENVELOPE).await;
        }
        match judged.outcome.fate().is_accepted() {
            true => self.admit(judged),
            false => self.recipients.push(judged),
        }
    }

    /// It was accepted by all who judge the envelope.
    pub(super) fn admit(&mut self, mut judged: Judged) {
        for link in judged.chain.links.iter() {
            self.members.entry(*link).or_default().recipients.push(judged.forward.forward_path.clone());
        }
        // An acceptance at the envelope ends the chain there, and not after the content.
        judged.outcome.fate = judged.outcome.fate.filter(|fate| *fate != Fate::Accepted);
        judged.outcome.envelope_judged();
        self.recipients.push(judged);
    }

    /// The hooks before the content.
    pub(super) async fn recipient(&mut self, instances: &mut Instances, judged: &mut Judged, until: Instant) {
        for &link in judged.chain.links.clone().iter() {
            let chains = self.chains.clone();
            let Some(plugin) = chains.links.get(link) else { continue };
            if Instant::now() >= until {
                judged.outcome.fate = Some(late(plugin.plugin.name()));
                break;
            }
            self.begin(instances, link, plugin, &mut judged.outcome).await;
            if judged.outcome.fate.is_none() && plugin.has(Hook::Recipient) {
                self.call_recipient(instances, link, plugin, judged).await;
            }
            if judged.outcome.fate.is_some() {
                break;
            }
        }
    }

    /// `connection` and `sender`, once a transaction; what they said counts for this recipient.
    async fn begin(&mut self, instances: &mut Instances, link: usize, plugin: &Link, outcome: &mut Outcome) {
        let hooks = [Hook::Connection, Hook::Sender].into_iter().filter(|hook| plugin.has(*hook));
        let member = self.members.entry(link).or_default();
        if member.begun.is_none() {
            let mut steps = Vec::new();
            let mut fate = None;
            for hook in hooks {
                if let Err(over) = member.count(plugin) {
                    fate = Some(over);
                    break;
                }
                let phase = instances.entry(link).or_insert_with(|| envelope_phase(plugin, &self.facts, member));
                // They have no recipient whose message they could change.
                let ran = phase.call(hook, None, &member.recipients, &mut Wishes::default()).await;
                fate = Fate::of(plugin.plugin.name(), &ran.verdict);
                steps.push(Step { ran, edits: 0 });
                if fate.is_some() {
                    break;
                }
            }
            member.begun = Some((fate, steps));
        }
        if let Some((fate, steps)) = &member.begun {
            outcome.steps.extend(steps.iter().cloned());
            outcome.fate.clone_from(fate);
        }
    }

    async fn call_recipient(&mut self, instances: &mut Instances, link: usize, plugin: &Link, judged: &mut Judged) {
        let member = self.members.entry(link).or_default();
        if let Err(over) = member.count(plugin) {
            judged.outcome.fate = Some(over);
            return;
        }
        let phase = instances.entry(link).or_insert_with(|| envelope_phase(plugin, &self.facts, member));
        let outcome = &mut judged.outcome;
        let before = outcome.wishes.clone();
        let call = phase.call(Hook::Recipient, Some(&judged.forward), &member.recipients, &mut outcome.wishes);
        let ran = call.await;
        outcome.attribute(plugin.plugin.name(), &before);
        outcome.fate = Fate::of(plugin.plugin.name(), &ran.verdict);
        let edits = outcome.wishes.edits.len().saturating_sub(before.edits.len());
        outcome.steps.push(Step { ran, edits });
    }
}

fn envelope_phase(plugin: &Link, facts: &Arc<Facts>, member: &Member) -> Box<dyn Phase> {
    plugin.plugin.clone().phase(facts.clone(), member.scratch.clone(), None)
}
