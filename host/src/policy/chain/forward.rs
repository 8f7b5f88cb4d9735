//! Copies that plugins send on: who gets them, and that nobody's plugins are bypassed that way.
//!
//! A plugin names addresses. One that is local is judged by its own chain, all hooks of it, as if it had been a recipient,
//! but beginning with the header as it was when the copy was sent on; so it may be sent on again. Addresses elsewhere are
//! not judged: routes are about who gets mail here. For one address a message is judged once, however it gets there.
//!
//! What can not be done is an error of the plugin, and costs nobody the message: the copy is kept for the recipient that
//! the plugin judged, with the reason. Such are: an address that there is not, a circle (what comes back to an address
//! that has sent it away; coming back to one that keeps a copy is none), too many steps and too many addresses.
//!
//! If all that a recipient's message is sent on to defer or refuse it, then so does the recipient; if only some do,
//! their copies are kept until they are judged again, or for the operator.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use tokio::time::Instant;

use super::{
    Copy, Fate, Judging, Landing, Outcome,
    judge::{Instances, Judged},
};
use crate::{
    config::plugins::comparable,
    plugin::hook::Wishes,
    policy::Policy,
    store::{Address, Route},
};

/// A message is sent on so many times one after the other.
const STEPS: usize = 5;
/// Addresses to which one message is sent on, in all, each as often as it is named.
const NAMES: usize = 1000;

/// What was done about an address that a plugin named.
pub(super) enum Sent {
    /// It is that of the recipient at this place. `first`: who is there only for this copy.
    To { name: String, place: usize, first: bool },
    /// Nothing, for this reason.
    Nowhere { name: String, problem: String },
}

impl Sent {
    fn place(&self) -> Option<usize> {
        match self {
            Self::To { place, .. } => Some(*place),
            Self::Nowhere { .. } => None,
        }
    }
}

/// What is known while copies are sent on.
struct Sending {
    policy: Arc<Policy>,
    /// Where everybody is, by address.
    known: HashMap<String, usize>,
    /// For the hooks that judge an envelope.
    instances: Instances,
    until: Instant,
}

impl Judging {
    /// Sends on what these recipients' plugins want to have sent on, and asks about the envelope of each copy. Returns
    /// where the new recipients are.
    pub(super) async fn send_on(&mut self, range: Range<usize>, until: Instant) -> Range<usize> {
        let begin = self.recipients.len();
        let any = self.recipients[range.clone()].iter().any(Judged::forwards);
        let Some(policy) = self.places.clone().filter(|_| any) else { return begin..begin };
        let known = self.recipients.iter().enumerate().map(|(place, judged)| (judged.key(), place)).collect();
        let mut sending = Sending { policy, known, instances: Instances::new(), until };
        for from in range {
            if self.recipients[from].outcome.fate() == Fate::Accepted {
                self.send_on_from(&mut sending, from).await;
            }
        }
        begin..self.recipients.len()
    }

    async fn send_on_from(&mut self, sending: &mut Sending, from: usize) {
        let wishes = &self.recipients[from].outcome.wishes;
        let own = self.recipients[from].key();
        let names: Vec<String> = wishes.redirect.iter().flatten().chain(&wishes.add).cloned().collect();
        let mut away = wishes.redirect.as_ref().is_some_and(|to| !to.is_empty());
        let mut sent = Vec::new();
        let mut seen = HashSet::new();
        for (index, name) in names.iter().enumerate() {
            if self.named >= NAMES {
                let rest = names.len() - index;
                let problem = format!("a message is sent on to {NAMES} addresses at most, so {rest} are left out");
                sent.push(Sent::Nowhere { name: name.clone(), problem });
                break;
            }
            self.named += 1;
            let (address, route) = match sending.policy.place(name) {
                Ok(found) => found,
                Err(problem) => {
                    sent.push(Sent::Nowhere { name: name.clone(), problem });
                    continue;
                }
            };
            let key = comparable(&address.local, &address.domain);
            if key == own {
                // To itself, by whichever word: it keeps its copy.
                away = false;
            } else if seen.insert(key.clone()) {
                match self.arrive(sending, from, address, route, key).await {
                    Ok(Some((place, first))) => sent.push(Sent::To { name: name.clone(), place, first }),
                    Ok(None) => {}
                    Err(problem) => sent.push(Sent::Nowhere { name: name.clone(), problem }),
                }
            }
        }
        let judged = &mut self.recipients[from];
        judged.outcome.sent_away = away;
        judged.sent = sent;
    }

    /// Where a copy for this address arrives, and whether it is the first there; None: it has come from there, and a copy
    /// was kept. Fails with why it can not arrive.
    async fn arrive(
        &mut self,
        sending: &mut Sending,
        from: usize,
        address: Address,
        route: Route,
        key: String,
    ) -> Result<Option<(usize, bool)>, String> {
        if let Some(place) = sending.known.get(&key).copied() {
            return match self.reaches(place, from) {
                false => Ok(Some((place, false))),
                true if self.recipients[place].outcome.sent_away => Err("it goes in a circle".into()),
                true => Ok(None),
            };
        }
        let Judged { outcome, depth, .. } = &self.recipients[from];
        if *depth >= STEPS {
            return Err(format!("it was sent on {STEPS} times already"));
        }
        let chain = match route {
            Route::Local(_) => self.chains.of(&address, &route),
            Route::Relay => self.chains.none.clone(),
        };
        let wishes = Wishes { edits: outcome.wishes.edits.clone(), ..Wishes::default() };
        let inherited = wishes.edits.clone();
        let mut copy = Judged::new(address, route, chain, wishes, depth + 1);
        self.recipient(&mut sending.instances, &mut copy, sending.until).await;
        let place = self.recipients.len();
        sending.known.insert(key, place);
        match copy.outcome.fate().is_accepted() {
            true => self.admit(copy),
            false => {
                copy.outcome.envelope_open(inherited);
                self.recipients.push(copy);
            }
        }
        Ok(Some((place, true)))
    }

    /// Does a copy of one come to the other?
    fn reaches(&self, from: usize, to: usize) -> bool {
        let mut seen = HashSet::from([from]);
        let mut next = vec![from];
        while let Some(place) = next.pop() {
            if place == to {
                return true;
            }
            let sent = self.recipients.get(place).into_iter().flat_map(|judged| &judged.sent);
            next.extend(sent.filter_map(Sent::place).filter(|place| seen.insert(*place)));
        }
        false
    }

    /// What became of the recipients that were accepted at RCPT, each with the copies that were sent on.
    pub(super) fn outcomes(mut self, accepted: usize) -> Vec<Outcome> {
        let fates = self.settle();
        (0..accepted).map(|place| self.outcome(place, &fates)).collect()
    }

    /// Everybody's fate, for which those of its copies may count. As there are no circles, each can wait for its copies.
    fn settle(&mut self) -> Vec<Fate> {
        let mut fates: Vec<Option<Fate>> = vec![None; self.recipients.len()];
        let mut open: Vec<usize> = (0..self.recipients.len()).collect();
        while let Some(place) = open.last().copied() {
            let targets: Vec<usize> = self.recipients[place].sent.iter().filter_map(Sent::place).collect();
            let waits = open.len();
            if fates[place].is_none() {
                open.extend(targets.iter().filter(|to| fates[**to].is_none()));
            }
            if open.len() > waits {
                continue;
            }
            open.pop();
            if fates[place].is_none() {
                fates[place] = Some(self.fate(place, &targets, &fates));
            }
        }
        fates.into_iter().flatten().collect()
    }

    /// That of a recipient, once those of its copies are known.
    fn fate(&mut self, place: usize, targets: &[usize], fates: &[Option<Fate>]) -> Fate {
        let Judged { outcome, sent, .. } = &mut self.recipients[place];
        let copies: Vec<&Fate> = targets.iter().filter_map(|to| fates[*to].as_ref()).collect();
        let all = copies.len() == sent.len() && !copies.iter().any(|fate| fate.is_accepted());
        if outcome.sent_away && outcome.fate() == Fate::Accepted && all {
            let deferred = copies.iter().find(|fate| matches!(fate, Fate::Deferred(..)));
            outcome.fate = deferred.or(copies.first()).map(|fate| Fate::clone(fate));
        }
        outcome.fate()
    }

    /// With its copies. Each is taken out once, for whom it is there.
    fn outcome(&mut self, place: usize, fates: &[Fate]) -> Outcome {
        let sent = std::mem::take(&mut self.recipients[place].sent);
        let copies = sent.into_iter().map(|sent| match sent {
            Sent::Nowhere { name, problem } => Copy { to: name, landing: Landing::Nowhere(problem) },
            Sent::To { name, place, first } => {
                let Judged { address, route, .. } = &self.recipients[place];
                let (address, route) = (address.clone(), route.clone());
                let landing = if first {
                    Landing::Here(address, route, Box::new(self.outcome(place, fates)))
                } else {
                    Landing::Known(address, route, fates[place].clone())
                };
                Copy { to: name, landing }
            }
        });
        let copies = copies.collect();
        Outcome { copies, ..std::mem::take(&mut self.recipients[place].outcome) }
    }
}
