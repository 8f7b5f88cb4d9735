//! What the queue asks of the configuration in force.
//!
//! Owns how a message that waits is judged again, in the same words as while its client waited. Refuses to know when.

use std::sync::Arc;

use async_trait::async_trait;
use tracing::warn;

use super::{
    Shared,
    entries::{Terms, judged_again},
    judging::again,
    reply::wanted,
};
use crate::{
    plugin::hook::{Facts, Message, Plugin, Ran},
    policy::chain::{Fate, Judging, Record, Step},
    queue::{Judged, Rules},
    store::{Address, Lease, NewEntry, Notice, Pending, Route, Verdicts, sqlite::now},
};

#[async_trait]
impl Rules for Shared {
    fn place(&self, address: &Address) -> Result<Route, String> {
        self.current.load().policy.place(&address.to_string()).map(|(_, route)| route)
    }

    fn sent_as(&self, sender: &Address) -> Option<Address> {
        self.current.load().policy.sent_as(sender, now())
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
            return Judged { becomes: Ok(vec![plain()]), reply: None, verdicts: None };
        };
        let transaction = facts.transaction_id.clone();
        let mut judging = Judging::new(chains, facts).sending_on(current.policy.clone());
        let asked = match &entry.pending {
            Pending::Rejudge { asked, .. } => asked.as_deref(),
            Pending::Nothing | Pending::Bounce { .. } | Pending::Expanded => None,
        };
        judging.again(&entry.recipient, &entry.route, &entry.edits, asked).await;
        let outcome = judging.message(Some(message), lease.envelope.size).await.pop().unwrap_or_default();
        let fate = outcome.fate();
        let envelope = &lease.envelope;
        let known_sender = envelope.identity.is_some() && envelope.reverse_path.is_some();
        let terms = Terms { transaction: transaction.clone(), known_sender, one_reply: true };
        let becomes = match &fate {
            Fate::Deferred(..) => Err(fate.describe()),
            _ => Ok(judged_again(entry, &outcome, &terms)),
        };
        let (session, listener) = (&envelope.session, &envelope.listener);
        let mut replies = match &becomes {
            Ok(_) => wanted(
                std::slice::from_ref(&outcome),
                envelope.reverse_path.clone(),
                session,
                listener,
                &current.policy,
            )
            .unwrap_or_else(|problem| unsent(lease, &problem)),
            Err(_) => Vec::new(),
        };
        if replies.len() > 1 {
            unsent(lease, "more than one plugin answered, and only the first one's answer is sent");
        }
        let reply = (!replies.is_empty()).then(|| replies.swap_remove(0));
        let record = again(entry, &outcome, &terms);
        let judged = serde_json::to_string(&[record]).unwrap_or_default();
        let id = Some(lease.entry.message);
        let verdicts = Verdicts { transaction, message: id, recipients: 1, judged, at: now() };
        Judged { becomes, reply, verdicts: Some(verdicts) }
    }

    fn record(&self, recipient: &Address, outcome: &str, ran: Ran) -> String {
        let (outcome, steps) = (outcome.to_owned(), vec![Step { ran, edits: 0 }]);
        // Plain data always has a JSON form.
        serde_json::to_string(&[Record { recipient: recipient.to_string(), outcome, steps, copies: Vec::new() }])
            .unwrap_or_default()
    }
}

fn unsent(lease: &Lease, why: &str) -> Vec<Notice> {
    warn!(entry = %lease.entry, "an answer that a plugin asked for is not sent: {why}");
    Vec::new()
}
