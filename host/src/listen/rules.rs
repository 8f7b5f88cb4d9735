//! What the queue asks of the configuration in force.
//!
//! Owns how a message that waits is judged again, in the same words as while its client waited. Refuses to know when.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Shared,
    entries::{Terms, judged_again},
};
use crate::{
    plugin::hook::{Facts, Message, Plugin, Ran},
    policy::chain::{Fate, Judging, Record, Step},
    queue::{Judged, Rules},
    store::{Address, Lease, NewEntry, Pending, Route, Verdicts, sqlite::now},
};

#[async_trait]
impl Rules for Shared {
    fn place(&self, address: &Address) -> Result<Route, String> {
        self.current.load().policy.place(&address.to_string()).map(|(_, route)| route)
    }

    fn chain(&self, recipient: &Address, route: &Route) -> Vec<Arc<dyn Plugin>> {
        let current = self.current.load();
        current.chains.as_ref().map(|chains| chains.plugins(recipient, route)).unwrap_or_default()
    }

    async fn judge(&self, facts: Facts, lease: &Lease, message: Message) -> Judged {
        let current = self.current.load_full();
        let entry = &lease.recipient;
        let plain = || NewEntry { pending: Pending::Nothing, ..entry.clone() };
        // Nobody judges any more: what deferred it is gone.
        let Some(chains) = current.chains.clone() else {
            return Judged { becomes: Ok(vec![plain()]), verdicts: None };
        };
        let transaction = facts.transaction_id.clone();
        let mut judging = Judging::new(chains, facts).sending_on(current.policy.clone());
        judging.again(&entry.recipient, &entry.route);
        let outcome = judging.message(Some(message), lease.envelope.size).await.pop().unwrap_or_default();
        let fate = outcome.fate();
        let (becomes, text) = match &fate {
            Fate::Deferred(..) => {
                let reason = fate.describe();
                (Err(reason.clone()), format!("judged again: {reason}"))
            }
            _ => {
                let envelope = &lease.envelope;
                let known_sender = envelope.identity.is_some() && envelope.reverse_path.is_some();
                let sent_as = envelope.reverse_path.as_ref().and_then(|sender| current.policy.sent_as(sender, now()));
                let terms = Terms { transaction: transaction.clone(), known_sender, one_reply: true, sent_as };
                let entries = judged_again(entry, &outcome, &terms);
                (Ok(entries), format!("judged again: {}", fate.describe()))
            }
        };
        let judged = record(&entry.recipient, text, outcome.steps);
        let id = Some(lease.entry.message);
        Judged { becomes, verdicts: Some(Verdicts { transaction, message: id, recipients: 1, judged, at: now() }) }
    }

    fn record(&self, recipient: &Address, outcome: &str, ran: Ran) -> String {
        record(recipient, outcome.to_owned(), vec![Step { ran, edits: 0 }])
    }
}

/// Plain data always has a JSON form.
fn record(recipient: &Address, outcome: String, steps: Vec<Step>) -> String {
    serde_json::to_string(&[Record { recipient: recipient.to_string(), outcome, steps, copies: Vec::new() }])
        .unwrap_or_default()
}
