//! Between a session and the plugins that judge its mail: what they are told, and what becomes of what they say.
//!
//! Owns the facts of a transaction in the plugins' words, the entries that their verdicts and wishes make, and the
//! record of how recipients were judged. Refuses to know chains and how plugins run. Cannot fail.

use std::collections::HashMap;

use super::transaction::{address, notify, recipient_address};
use crate::{
    engine::types::{BodyKind, Recipient, Sender},
    plugin::hook::Facts,
    policy::{
        Policy, SessionFacts,
        chain::{Fate, Outcome, Record},
    },
    queue::NEEDS_OUTBOUND,
    store::{self, MessageId, NewEntry, Route, Timestamp, Verdicts},
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

/// How recipients were judged, those whom no hook ran for left out. `held`: whoever was not accepted is kept for the
/// operator.
pub(super) fn verdicts<'a>(
    transaction: &str,
    message: Option<MessageId>,
    judged: impl Iterator<Item = (&'a Recipient, &'a Outcome)>,
    held: bool,
    at: Timestamp,
) -> Option<Verdicts> {
    let records: Vec<Record> = judged
        .filter(|(_, outcome)| !outcome.steps.is_empty() || !outcome.fate().is_accepted())
        .map(|(recipient, outcome)| Record {
            recipient: recipient_address(recipient).to_string(),
            outcome: describe(outcome, held),
            steps: outcome.steps.clone(),
        })
        .collect();
    if records.is_empty() {
        return None;
    }
    Some(Verdicts {
        transaction: transaction.to_owned(),
        message,
        recipients: u32::try_from(records.len()).unwrap_or(u32::MAX),
        // Plain data always has a JSON form.
        judged: serde_json::to_string(&records).unwrap_or_default(),
        at,
    })
}

/// What came of a recipient, for people.
fn describe(outcome: &Outcome, held: bool) -> String {
    let fate = outcome.fate();
    let mut text = fate.describe();
    let by = |name: &Option<String>| name.as_ref().map(|name| format!(" by plugin {name}")).unwrap_or_default();
    if held && !fate.is_accepted() {
        return format!("accepted with the others and held: {text}");
    }
    if fate == Fate::Accepted {
        let wishes = &outcome.wishes;
        if let Some(why) = &wishes.quarantine {
            text.push_str(&format!("; quarantined{}: {why}", by(&outcome.quarantined_by)));
        }
        if let Some(to) = wishes.redirect.as_ref().filter(|to| !to.is_empty()) {
            text.push_str(&format!("; redirected{} to {}", by(&outcome.forwarded_by), to.join(", ")));
        }
        if !wishes.add.is_empty() {
            text.push_str(&format!("; also{} to {}", by(&outcome.forwarded_by), wishes.add.join(", ")));
        }
    }
    text
}

/// Where a copy goes; two of one place are one.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Here(String),
    Elsewhere(String, String),
    Nowhere(String),
}

impl Place {
    fn of(to: &store::Address, route: &Route) -> Self {
        match route {
            Route::Local(mailbox) => Self::Here(mailbox.clone()),
            Route::Relay => Self::Elsewhere(to.local.clone(), to.domain.to_ascii_lowercase()),
        }
    }
}

/// An entry that somebody wants.
struct Wanted {
    place: Place,
    entry: NewEntry,
    /// Kept aside: gives way to one of the same place that is not.
    aside: bool,
}

/// One entry for each place. `outcomes`: what plugins made of each recipient, if there are plugins; `held`: those that
/// were not accepted get entries that an operator sees, because they could not be answered.
pub(super) fn entries(
    policy: &Policy,
    recipients: &[Recipient],
    routes: &[Route],
    outcomes: &[Outcome],
    held: bool,
) -> Vec<NewEntry> {
    let mut all = Vec::with_capacity(recipients.len());
    for (index, (recipient, route)) in recipients.iter().zip(routes).enumerate() {
        let to = recipient_address(recipient);
        let entry = NewEntry {
            notify: recipient.notify.map(notify),
            orcpt: recipient.orcpt.as_ref().map(|orcpt| (orcpt.address_type.clone(), orcpt.address.clone())),
            held: matches!(route, Route::Relay).then(|| NEEDS_OUTBOUND.into()),
            route: route.clone(),
            edits: Vec::new(),
            pending: store::Pending::Nothing,
            recipient: to,
        };
        let plain = Wanted { place: Place::of(&entry.recipient, route), entry, aside: false };
        match outcomes.get(index) {
            None => all.push(plain),
            Some(outcome) => wanted(policy, plain, outcome, held, &mut all),
        }
    }
    one_for_each_place(all)
}

/// What an entry of the queue becomes that its plugins have judged again.
pub(super) fn judged_again(policy: &Policy, entry: &NewEntry, outcome: &Outcome) -> Vec<NewEntry> {
    let entry = NewEntry {
        held: matches!(entry.route, Route::Relay).then(|| NEEDS_OUTBOUND.into()),
        edits: Vec::new(),
        pending: store::Pending::Nothing,
        ..entry.clone()
    };
    let plain = Wanted { place: Place::of(&entry.recipient, &entry.route), entry, aside: false };
    let mut all = Vec::new();
    wanted(policy, plain, outcome, true, &mut all);
    one_for_each_place(all)
}

/// What plugins make of an entry.
fn wanted(policy: &Policy, mut plain: Wanted, outcome: &Outcome, held: bool, all: &mut Vec<Wanted>) {
    let wishes = &outcome.wishes;
    plain.entry.edits = wishes.edits.clone();
    match outcome.fate() {
        Fate::Discarded => return,
        fate @ (Fate::Deferred(..) | Fate::Refused(..)) => {
            if held {
                plain.entry.held = fate.held();
                plain.aside = true;
                all.push(plain);
            }
            return;
        }
        Fate::Accepted => {}
    }
    let redirected = wishes.redirect.as_deref().unwrap_or_default();
    let mut copies: Vec<Wanted> = Vec::new();
    let by = outcome.forwarded_by.as_deref().unwrap_or("(unknown)");
    for to in redirected.iter().chain(&wishes.add) {
        let entry = plain.entry.clone();
        copies.push(match policy.place(to) {
            Ok((recipient, route)) => Wanted {
                place: Place::of(&recipient, &route),
                entry: NewEntry {
                    held: matches!(route, Route::Relay).then(|| NEEDS_OUTBOUND.into()),
                    recipient,
                    route,
                    ..entry
                },
                aside: false,
            },
            Err(problem) => Wanted {
                place: Place::Nowhere(to.clone()),
                entry: NewEntry { held: Some(format!("sent on to {to:?} by plugin {by}: {problem}")), ..entry },
                aside: true,
            },
        });
    }
    if redirected.is_empty() {
        copies.insert(0, plain);
    }
    if let Some(why) = &wishes.quarantine {
        let by = outcome.quarantined_by.as_deref().unwrap_or("(unknown)");
        for copy in &mut copies {
            copy.entry.held = Some(format!("quarantined by plugin {by}: {why}"));
            copy.aside = true;
        }
    }
    all.append(&mut copies);
}

/// The first of each place, or the first that is not kept aside. Its address, ORCPT and edits count; NOTIFY is what any
/// of them asked for.
fn one_for_each_place(all: Vec<Wanted>) -> Vec<NewEntry> {
    let mut places: HashMap<Place, usize> = HashMap::with_capacity(all.len());
    let mut entries: Vec<(NewEntry, bool)> = Vec::with_capacity(all.len());
    for Wanted { place, entry, aside } in all {
        let index = *places.entry(place).or_insert(entries.len());
        match entries.get_mut(index) {
            None => entries.push((entry, aside)),
            Some((_, false)) if aside => {}
            Some(earlier) if earlier.1 && !aside => *earlier = (entry, aside),
            Some((earlier, _)) => {
                earlier.notify = match (earlier.notify, entry.notify) {
                    (Some(a), Some(b)) => Some(store::Notify {
                        success: a.success || b.success,
                        failure: a.failure || b.failure,
                        delay: a.delay || b.delay,
                    }),
                    _ => None,
                };
            }
        }
    }
    entries.into_iter().map(|(entry, _)| entry).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::engine::types::{ForwardPath, HostName, Mailbox, Notify};

    fn policy() -> Policy {
        let config: crate::config::Config =
            toml::from_str("[[domain]]\nname = \"example.test\"\nmailboxes = [\"anna\", \"postmaster\"]\n").unwrap();
        Policy::new(config.into(), crate::policy::auth::Users::empty().into()).unwrap()
    }

    fn recipient(local: &str, domain: &str, notify: Option<Notify>) -> Recipient {
        Recipient {
            path: ForwardPath::Mailbox(Mailbox { local: local.into(), host: HostName::Domain(domain.into()) }),
            notify,
            orcpt: None,
        }
    }

    #[test]
    fn one_entry_for_each_place() {
        let here = |mailbox: &str| Route::Local(mailbox.into());
        let given = [
            (recipient("anna", "example.test", Some(Notify::empty())), here("anna@example.test")),
            (recipient("anna+lists", "EXAMPLE.test", Some(Notify::SUCCESS)), here("anna@example.test")),
            (recipient("bob", "example.test", None), here("bob@example.test")),
            (recipient("bob", "example.test", Some(Notify::DELAY)), here("bob@example.test")),
            (recipient("Carl", "far.test", None), Route::Relay),
            (recipient("carl", "far.test", None), Route::Relay),
            (recipient("Carl", "Far.Test", None), Route::Relay),
        ];
        let (recipients, routes): (Vec<_>, Vec<_>) = given.into_iter().unzip();
        let shown: Vec<String> = entries(&policy(), &recipients, &routes, &[], false)
            .iter()
            .map(|e| {
                let notify = e.notify.map(|n| (n.success, n.failure, n.delay));
                format!("{}@{} {notify:?} held: {}", e.recipient.local, e.recipient.domain, e.held.is_some())
            })
            .collect();
        assert_eq!(
            shown,
            [
                "anna@example.test Some((true, false, false)) held: false",
                "bob@example.test None held: false",
                "Carl@far.test None held: true",
                "carl@far.test None held: true",
            ]
        );
    }

    /// Redirects, additions, quarantine and what could not be answered.
    #[test]
    fn what_plugins_wish_for() {
        use crate::plugin::hook::{Edit, Reason, Wishes};
        let reason = |text: &str| Reason { subject: 7, detail: 1, text: text.into() };
        let wishes = |wishes: Wishes| Outcome {
            wishes,
            quarantined_by: Some("q".into()),
            forwarded_by: Some("f".into()),
            ..Outcome::default()
        };
        let fate = |fate| Outcome { fate: Some(fate), ..Outcome::default() };
        let text = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let here = |mailbox: &str| Route::Local(format!("{mailbox}@example.test"));
        let given = [
            ("a", wishes(Wishes { redirect: Some(text(&["anna+x@example.test", "b@far.test"])), ..Wishes::default() })),
            (
                "b",
                wishes(Wishes {
                    add: text(&["Anna@Example.Test", "nobody@example.test", "what?"]),
                    ..Wishes::default()
                }),
            ),
            ("c", wishes(Wishes { quarantine: Some("odd".into()), edits: vec![Edit::Remove(1)], ..Wishes::default() })),
            ("d", wishes(Wishes { redirect: Some(vec![]), ..Wishes::default() })),
            ("e", fate(Fate::Discarded)),
            ("f", fate(Fate::Deferred("p".into(), reason("wait")))),
            ("g", fate(Fate::Refused("p".into(), reason("no")))),
            // The same mailbox again: a copy that is delivered comes before one that is kept aside.
            ("g", Outcome::default()),
            ("d", fate(Fate::Refused("p".into(), reason("no")))),
        ];
        let recipients: Vec<_> = given.iter().map(|(local, _)| recipient(local, "example.test", None)).collect();
        let routes: Vec<_> = given.iter().map(|(local, _)| here(local)).collect();
        let outcomes: Vec<_> = given.into_iter().map(|(_, outcome)| outcome).collect();
        let shown = |held| -> Vec<String> {
            entries(&policy(), &recipients, &routes, &outcomes, held)
                .iter()
                .map(|e| format!("{} {} {}", e.recipient, e.held.as_deref().unwrap_or("-"), e.edits.len()))
                .collect()
        };
        let always = [
            "anna+x@example.test - 0",
            "b@far.test needs outbound delivery 0",
            "b@example.test - 0",
            "b@example.test sent on to \"nobody@example.test\" by plugin f: there is no such mailbox here 0",
            "b@example.test sent on to \"what?\" by plugin f: it is no address 0",
            "c@example.test quarantined by plugin q: odd 1",
            "d@example.test - 0",
        ];
        assert_eq!(shown(false), [&always[..], &["g@example.test - 0"]].concat());
        let held = ["f@example.test deferred by plugin p: wait 0", "g@example.test - 0"];
        assert_eq!(shown(true), [&always[..], &held[..]].concat());
    }
}
