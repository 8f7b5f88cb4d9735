//! Between a session and the plugins that judge its mail: what they are told, and what becomes of what they say.
//!
//! Owns the facts of a transaction in the plugins' words and the record of how recipients were judged. Refuses to know
//! chains, how plugins run and what is stored. Cannot fail.

use super::{
    entries::{Instead, Terms},
    transaction::{address, notify, recipient_address},
};
use crate::{
    engine::types::{BodyKind, Recipient, Sender},
    plugin::hook::Facts,
    policy::{
        SessionFacts,
        chain::{Copy, Fate, Landing, Outcome, Record},
    },
    store::{self, MessageId, Timestamp, Verdicts},
};

/// What plugins are told of a transaction.
pub(super) fn facts(session: &SessionFacts, sender: &Sender, number: u32) -> Facts {
    let parameters = &sender.parameters;
    Facts {
        transaction_id: format!("{}.{number}", session.id),
        listener: session.listener.label(),
        listener_kind: session.listener.kind.as_str().into(),
        client_address: session.client.map(|client| client.ip().to_canonical()),
        client_name: session.client_name.clone(),
        hello_name: session.hello.clone(),
        identity: session.identity.clone(),
        tls_version: session.tls.as_ref().map(|tls| tls.version.clone()),
        reverse_path: Some(sender.mailbox.as_ref().map(|mailbox| address(mailbox).to_string()).unwrap_or_default()),
        body_type: match parameters.body {
            BodyKind::SevenBit => "7BIT",
            BodyKind::EightBitMime => "8BITMIME",
            BodyKind::BinaryMime => "BINARYMIME",
        }
        .into(),
        smtputf8: parameters.smtputf8,
        message_size: parameters.size.unwrap_or(0),
        ..Facts::default()
    }
}

/// How recipients were judged, those whom no hook ran for left out.
pub(super) fn verdicts<'a>(
    terms: &Terms,
    message: Option<MessageId>,
    judged: impl Iterator<Item = (&'a Recipient, &'a Outcome)>,
    at: Timestamp,
) -> Option<Verdicts> {
    let records: Vec<Record> = judged
        .filter(|(_, outcome)| !outcome.steps.is_empty() || !outcome.fate().is_accepted())
        .map(|(recipient, outcome)| {
            let to = recipient_address(recipient).to_string();
            record(to, recipient.notify.map(notify), outcome, terms, None)
        })
        .collect();
    if records.is_empty() {
        return None;
    }
    Some(Verdicts {
        transaction: terms.transaction.clone(),
        message,
        recipients: u32::try_from(records.len()).unwrap_or(u32::MAX),
        // Plain data always has a JSON form.
        judged: serde_json::to_string(&records).unwrap_or_default(),
        at,
    })
}

/// MAIL was answered for everybody.
pub(super) fn early(transaction: &str, outcome: &Outcome, at: Timestamp) -> Verdicts {
    let record = Record {
        recipient: "(everybody)".into(),
        outcome: format!("at MAIL, {}", outcome.fate().describe()),
        steps: outcome.steps.clone(),
        copies: Vec::new(),
    };
    let judged = serde_json::to_string(&[record]).unwrap_or_default();
    Verdicts { transaction: transaction.to_owned(), message: None, recipients: 1, judged, at }
}

/// How the queue has judged an entry once more.
pub(super) fn again(entry: &store::NewEntry, outcome: &Outcome, terms: &Terms) -> Record {
    let judged = record(entry.recipient.to_string(), entry.notify, outcome, terms, Some(false));
    Record { outcome: format!("judged again: {}", judged.outcome), ..judged }
}

/// `unanswered`: its client does not hear whether it was accepted.
fn record(to: String, notify: Option<store::Notify>, outcome: &Outcome, terms: &Terms, copy: Option<bool>) -> Record {
    let unanswered = copy.unwrap_or(terms.one_reply);
    // Where the recipient itself was not accepted there are no copies, but a reason for that.
    let kept = outcome.fate().is_accepted();
    let copies = outcome.copies.iter().map(|one| of_copy(one, notify, terms, kept)).collect();
    let instead = terms.instead(outcome, notify, copy.is_some()).filter(|_| unanswered);
    Record { recipient: to, outcome: describe(outcome, instead.as_ref()), steps: outcome.steps.clone(), copies }
}

fn of_copy(copy: &Copy, notify: Option<store::Notify>, terms: &Terms, kept: bool) -> Record {
    let bare = |outcome| Record { recipient: copy.to.clone(), outcome, steps: Vec::new(), copies: Vec::new() };
    match &copy.landing {
        Landing::Here(_, _, outcome) => record(copy.to.clone(), notify, outcome, terms, Some(kept)),
        Landing::Known(_, _, fate) => bare(format!("judged for this address already: {}", fate.describe())),
        Landing::Nowhere(problem) => bare(format!("held for whom it was sent on from: {problem}")),
    }
}

/// What came of a recipient, for people.
fn describe(outcome: &Outcome, instead: Option<&Instead>) -> String {
    let fate = outcome.fate();
    let mut text = fate.describe();
    if let Some(instead) = instead {
        let meanwhile = match instead {
            Instead::Rejudged(_) => "and judged again later",
            Instead::Bounced(_) => "and its sender is told",
            Instead::Quarantined(_) => "and quarantined",
        };
        text = format!("accepted with others {meanwhile}: {text}");
    }
    let by = |name: &Option<String>| name.as_ref().map(|name| format!(" by plugin {name}")).unwrap_or_default();
    let wishes = &outcome.wishes;
    if fate == Fate::Accepted
        && let Some(why) = &wishes.quarantine
    {
        text.push_str(&format!("; quarantined{}: {why}", by(&outcome.quarantined_by)));
    }
    if fate == Fate::Accepted || !outcome.copies.is_empty() {
        if let Some(to) = wishes.redirect.as_ref().filter(|to| !to.is_empty()) {
            text.push_str(&format!("; redirected{} to {}", by(&outcome.forwarded_by), to.join(", ")));
        }
        if !wishes.add.is_empty() {
            text.push_str(&format!("; also{} to {}", by(&outcome.forwarded_by), wishes.add.join(", ")));
        }
    }
    text
}
