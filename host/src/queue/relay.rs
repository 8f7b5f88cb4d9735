//! Entries for other servers, and for mailboxes that a server keeps which takes mail by LMTP.
//!
//! Owns which of them travel together, and what a server's words make of each. Refuses to know how mail gets there, and whose
//! turn it is: [`super::destinations`] says. Cannot fail: what does not get there is an attempt that is made again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    Shared,
    destinations::{Place, Turn},
    ending::{self, End},
    leases, settle,
    shape::Terms,
};
use crate::{
    config::{Config, domain},
    deliver::smtp::{
        courier::{self, Said, Sent},
        plan::Plan,
    },
    observe::point::{Point, pass},
    store::{Address, Edit, Lease, MessageId, Pending, Route, sqlite::now},
};

/// Is it taken to another server now, if no plugin has to do with it?
pub(super) fn is_for(shared: &Shared, config: &Config, lease: &Lease) -> bool {
    let goes = match &lease.recipient.route {
        Route::Relay => !config.outbound.hold,
        Route::Local(mailbox) => by_lmtp(config, mailbox),
    };
    shared.courier.is_some() && goes && lease.recipient.pending == Pending::Nothing
}

/// Is a local mailbox, which is still configured, delivered by LMTP?
pub(super) fn by_lmtp(config: &Config, mailbox: &str) -> bool {
    config.lmtp_recipient(mailbox, "", "").is_some()
}

/// RFC 2852: its sender wants it back rather than late.
pub(super) fn is_overdue(lease: &Lease) -> bool {
    lease.envelope.returns_at().is_some_and(|at| at <= now())
}

/// Recipients of one message at one domain who get the same.
pub(super) struct Shipment {
    domain: String,
    /// The domain is ours.
    local: bool,
    pub(super) leases: Vec<Lease>,
}

/// Who travels with whom.
pub(super) fn shipments(leases: Vec<Lease>) -> Vec<Shipment> {
    type Key = (MessageId, bool, String, Vec<Edit>, bool);
    let mut places: HashMap<Key, usize> = HashMap::new();
    let mut shipments: Vec<Shipment> = Vec::new();
    for lease in leases {
        let given = &lease.recipient.recipient.domain;
        let (local, domain) = match &lease.recipient.route {
            Route::Relay => (false, domain::canonical(given).map_or_else(|| given.to_lowercase(), Into::into)),
            Route::Local(mailbox) => (true, domain::of_address(mailbox).unwrap_or(given).to_owned()),
        };
        let entry = &lease.recipient;
        let key = (lease.entry.message, local, domain.clone(), entry.edits.clone(), entry.sent_on);
        let place = *places.entry(key).or_insert(shipments.len());
        match shipments.get_mut(place) {
            Some(shipment) => shipment.leases.push(lease),
            None => shipments.push(Shipment { domain, local, leases: vec![lease] }),
        }
    }
    shipments
}

impl Shipment {
    /// Where it goes.
    pub(super) fn domain(&self) -> &str {
        &self.domain
    }

    /// How hard that may be pushed by each of so many servers.
    pub(super) fn terms(&self, config: &Config, sharing: usize) -> Terms {
        let plan = Plan::new(config, &self.domain);
        let terms = Terms {
            first: plan.initial,
            most: plan.connections,
            rate: plan.rate,
            rest: (config.queue.retry_first, config.queue.retry_most),
        };
        terms.shared(sharing)
    }

    /// Waits for its turn at this place, and makes one attempt.
    pub(super) async fn wait(
        self,
        shared: Arc<Shared>,
        config: Arc<Config>,
        place: Place,
        mut stop: watch::Receiver<bool>,
    ) {
        let rights = leases::rights(&self.leases);
        let work = async {
            match place.turn(&mut stop).await {
                Some(Ok(turn)) => self.attempt(&shared, &config, turn, stop).await,
                Some(Err(wait)) => {
                    let ends = self.leases.iter().map(|_| (End::Postponed(wait.clone()), None)).collect();
                    self.settled(&shared, &config, ends).await;
                }
                // As it was: the next start finds it.
                None => {}
            }
        };
        leases::kept(&shared, rights, work).await;
    }

    /// One attempt, with its settlement. When the queue stops, it has as long as sessions have to end; an attempt that is cut
    /// off then is made again after the next start.
    async fn attempt(
        mut self,
        shared: &Arc<Shared>,
        config: &Arc<Config>,
        turn: Turn,
        mut stop: watch::Receiver<bool>,
    ) {
        let cut = async {
            // Gone means stopped.
            let _ = stop.wait_for(|stop| *stop).await;
            tokio::time::sleep(Duration::from_secs(config.limits.drain)).await;
        };
        // What was answered is stored all the same.
        let ends = tokio::select! {
            biased;
            ends = self.made(shared, config, turn) => ends,
            () = cut => return,
        };
        self.settled(shared, config, ends).await;
    }

    /// What became of each that its lease still holds for.
    async fn made(&mut self, shared: &Arc<Shared>, config: &Arc<Config>, turn: Turn) -> Vec<(End, Option<Said>)> {
        let Some(courier) = shared.courier.clone() else {
            self.leases.clear();
            return Vec::new();
        };
        self.leases = leases::holding(shared, std::mem::take(&mut self.leases)).await;
        let Some(first) = self.leases.first() else { return Vec::new() };
        // It may have waited for its turn.
        if is_overdue(first) {
            return self.leases.iter().map(|_| (End::Overdue, None)).collect();
        }
        match shared.store.body(first.entry.message).await {
            Ok(body) => {
                let leases = self.leases.iter().map(|lease| addressed(config, lease)).collect();
                // Made now, for it counts only so long, and mail may have waited.
                let sender = first.envelope.reverse_path.as_ref().filter(|_| first.recipient.sent_on && !self.local);
                let sent_as = sender.and_then(|sender| shared.rules.sent_as(sender));
                let shipment = courier::Shipment { leases, body: Arc::new(body), sent_as };
                pass(Point::ShipmentBegun);
                let (sent, health) = courier.send(config, &shipment, &**shared).await;
                pass(Point::ShipmentAnswered);
                turn.ended(health);
                sent.into_iter().map(|sent| end(sent, self.local)).collect()
            }
            Err(error) => {
                let later = || End::Later { reason: error.to_string(), after: None };
                self.leases.iter().map(|_| (later(), None)).collect()
            }
        }
    }

    async fn settled(self, shared: &Shared, config: &Arc<Config>, ends: Vec<(End, Option<Said>)>) {
        let outcome = |(lease, (end, said))| {
            let mut ended = ending::outcome(shared, config, lease, end, None);
            if let Some(word) = &mut ended.word {
                word.said = said;
            }
            ended
        };
        if self.leases.is_empty() {
            return;
        }
        settle(shared, config, self.leases.into_iter().zip(ends).map(outcome).collect()).await;
    }
}

/// As the server that takes it should see it.
fn addressed(config: &Config, lease: &Lease) -> Lease {
    let mut lease = lease.clone();
    let given = &lease.recipient.recipient;
    if let Route::Local(mailbox) = &lease.recipient.route
        && let Some((local, domain)) = config.lmtp_recipient(mailbox, &given.local, &given.domain)
    {
        lease.recipient.recipient = Address { local, domain };
    }
    lease
}

/// What a server's words make of an entry, and those words for the sender. `local`: who takes it keeps the mailbox, so that it
/// has arrived.
fn end(sent: Sent, local: bool) -> (End, Option<Said>) {
    match sent {
        Sent::Taken { dsn: false, said, .. } if local => (End::Delivered, said),
        Sent::Taken { by, dsn, timed, said } => (End::Relayed { by, dsn, timed }, said),
        Sent::Later { status: (subject, detail), text, said } => {
            (End::Later { reason: format!("4.{subject}.{detail} {text}"), after: None }, said)
        }
        Sent::Never { status: (subject, detail), text, said } => {
            (End::Failed { status: format!("5.{subject}.{detail}"), reason: text }, said)
        }
    }
}
