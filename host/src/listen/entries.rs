//! What the store is given for the recipients of a message: one entry for each mailbox here and each address elsewhere.
//!
//! Owns what plugins' verdicts and wishes make of a recipient, and which of several entries for one place counts. Refuses
//! to know who judged and how. Cannot fail: what can not be done is an entry that is held, with the reason.
//!
//! Of a copy that is sent on the sender is told as RFC 3461 section 5.2.7 has it: who takes the place of a recipient
//! inherits NOTIFY; of several, and of those beside it, no success is told. Instead of several the sender hears that there
//! are several.

use std::collections::HashMap;

use super::transaction::{notify, recipient_address};
use crate::{
    config::plugins::Refused,
    engine::types::Recipient,
    policy::chain::{Copy, Fate, Landing, Outcome},
    store::{self, Address, Edit, NewEntry, Pending, Route},
};

/// What is true of all recipients of a message that are refused or deferred beside others that are accepted.
pub(super) struct Terms {
    /// What the judges called the transaction.
    pub(super) transaction: String,
    /// The sender may be told: it logged in, so it is who it says, and it is not the null reverse-path. (SPF, which would
    /// prove as much of strangers, is not checked.)
    pub(super) known_sender: bool,
    /// The client had one reply for all of them, and it was positive.
    pub(super) one_reply: bool,
}

/// What becomes of a recipient that could not be answered by itself.
pub(super) enum Instead {
    /// Its chain is asked again by the queue.
    Rejudged(Pending),
    /// The queue tells its sender.
    Bounced(Pending),
    /// It is held for this reason.
    Quarantined(String),
}

impl Terms {
    /// None: it is accepted. `copy`: it is not the client's recipient, but one that a plugin named; that it exists is not
    /// for the sender to know.
    pub(super) fn instead(&self, outcome: &Outcome, wanted: Option<store::Notify>, copy: bool) -> Option<Instead> {
        let fate = outcome.fate();
        let reason = fate.held()?;
        let transaction = self.transaction.clone();
        let refusal = match (&fate, fate.refusal()) {
            (Fate::Refused(..), Some(refusal)) => refusal,
            _ => {
                return Some(Instead::Rejudged(Pending::Rejudge {
                    transaction,
                    reason,
                    asked: outcome.asked.1.clone(),
                }));
            }
        };
        // RFC 3461 section 4.1: NEVER, or only other reports.
        let wants = wanted.is_none_or(|notify| notify.failure);
        if outcome.refused == Refused::Bounce && self.known_sender && wants && !copy {
            let status = format!("5.{}.{}", refusal.subject, refusal.detail);
            return Some(Instead::Bounced(Pending::Bounce { status, reason: refusal.text }));
        }
        Some(Instead::Quarantined(format!("quarantined: {reason}")))
    }
}

/// Fields that are added here have numbers from here on, where no field of a message and of a plugin is.
const TRACE: u32 = 1 << 24;

/// Where a copy goes; two of one place are one.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Here(String),
    Elsewhere(String, String),
    Nowhere(String, String),
    /// Only told of.
    Told(String),
}

impl Place {
    fn of(to: &Address, route: &Route) -> Self {
        match route {
            Route::Local(mailbox) => Self::Here(mailbox.clone()),
            Route::Relay => Self::Elsewhere(to.local.clone(), to.domain.to_ascii_lowercase()),
        }
    }
}

/// How much an entry counts: one that counts less gives way to another of its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Kept aside, or only to be told of.
    Aside,
    /// It may be delivered, as somebody wants who sends it on; what its own recipient wants counts for more.
    Named,
    /// It may be delivered.
    Later,
    /// It is delivered.
    Now,
}

/// An entry that somebody wants.
struct Wanted {
    place: Place,
    entry: NewEntry,
    rank: Rank,
}

/// One entry for each place. `outcomes`: what plugins made of each recipient, if there are plugins.
pub(super) fn entries(
    recipients: &[Recipient],
    routes: &[Route],
    outcomes: &[Outcome],
    terms: &Terms,
) -> Vec<NewEntry> {
    let mut all = Vec::with_capacity(recipients.len());
    for (index, (recipient, route)) in recipients.iter().zip(routes).enumerate() {
        let entry = NewEntry {
            notify: recipient.notify.map(notify),
            orcpt: recipient.orcpt.as_ref().map(|orcpt| (orcpt.address_type.clone(), orcpt.address.clone())),
            held: None,
            route: route.clone(),
            sent_on: false,
            edits: Vec::new(),
            pending: Pending::Nothing,
            recipient: recipient_address(recipient),
        };
        match outcomes.get(index) {
            None => all.push(Wanted { place: Place::of(&entry.recipient, route), entry, rank: Rank::Now }),
            Some(outcome) => wanted(entry, outcome, terms, terms.one_reply, false, &mut all),
        }
    }
    one_for_each_place(all)
}

/// What an entry of the queue becomes that its plugins have judged again.
pub(super) fn judged_again(entry: &NewEntry, outcome: &Outcome, terms: &Terms) -> Vec<NewEntry> {
    let entry = NewEntry { held: None, edits: Vec::new(), pending: Pending::Nothing, ..entry.clone() };
    let mut all = Vec::new();
    wanted(entry, outcome, terms, true, false, &mut all);
    one_for_each_place(all)
}

/// What plugins make of an entry. `unanswered`: nobody is told if it is not accepted.
fn wanted(mut entry: NewEntry, outcome: &Outcome, terms: &Terms, unanswered: bool, copy: bool, all: &mut Vec<Wanted>) {
    let wishes = &outcome.wishes;
    entry.edits.clone_from(&wishes.edits);
    let place = Place::of(&entry.recipient, &entry.route);
    let quarantine = wishes.quarantine.as_ref().map(|why| {
        let by = outcome.quarantined_by.as_deref().unwrap_or("(unknown)");
        format!("quarantined by plugin {by}: {why}")
    });
    match outcome.fate() {
        Fate::Discarded => {}
        Fate::Accepted => {
            let mut copies = Vec::new();
            if !outcome.sent_away {
                copies.push(Wanted { place, entry: entry.clone(), rank: Rank::Now });
            }
            let by = outcome.forwarded_by.as_deref().unwrap_or("(unknown)");
            let several = outcome.copies.len() > 1;
            let source = on_behalf(&entry, several || !outcome.sent_away);
            outcome.copies.iter().for_each(|one| sent_on(&source, one, by, terms, &mut copies));
            if several && outcome.sent_away && quarantine.is_none() {
                copies.extend(expanded(&entry));
            }
            // Kept aside are those that would not be anyway.
            if let Some(why) = quarantine {
                for copy in copies.iter_mut().filter(|copy| copy.rank > Rank::Aside) {
                    *copy = kept(copy.place.clone(), copy.entry.clone(), Instead::Quarantined(why.clone()));
                }
            }
            all.append(&mut copies);
        }
        Fate::Deferred(..) | Fate::Refused(..) | Fate::Apart => {
            if unanswered && let Some(instead) = terms.instead(outcome, entry.notify, copy) {
                if let Instead::Rejudged(_) = instead {
                    // What its plugins made of the content they will make of it again.
                    entry.edits.clone_from(&outcome.asked.0);
                }
                all.push(kept(place, entry, instead));
            }
        }
    }
}

/// The entry as those inherit it to whom it is sent on. `beside`: they are not the only ones who get it.
fn on_behalf(entry: &NewEntry, beside: bool) -> NewEntry {
    let kind = if entry.recipient.to_string().is_ascii() { "rfc822" } else { "utf-8" };
    // RFC 3461 section 5.2.1: a sender knows the address that it wrote to, and perhaps no other.
    let orcpt = entry.orcpt.clone().unwrap_or_else(|| (kind.into(), entry.recipient.to_string()));
    let notify = entry.notify.map(|notify| store::Notify { success: notify.success && !beside, ..notify });
    NewEntry { orcpt: Some(orcpt), notify, ..entry.clone() }
}

/// Tells the sender, who wants to hear of success, that several others get it instead.
fn expanded(entry: &NewEntry) -> Option<Wanted> {
    entry.notify.filter(|notify| notify.success)?;
    let notify = Some(store::Notify { success: true, failure: false, delay: false });
    let place = Place::Told(entry.recipient.to_string());
    let entry = NewEntry { notify, edits: Vec::new(), pending: Pending::Expanded, ..entry.clone() };
    Some(Wanted { place, entry, rank: Rank::Aside })
}

/// A copy of the entry for somebody whom a plugin named.
fn sent_on(entry: &NewEntry, copy: &Copy, by: &str, terms: &Terms, all: &mut Vec<Wanted>) {
    let to = &copy.to;
    let for_them = |recipient: &Address, route: &Route| NewEntry {
        recipient: recipient.clone(),
        route: route.clone(),
        sent_on: *route == Route::Relay,
        held: None,
        ..entry.clone()
    };
    match &copy.landing {
        Landing::Here(recipient, route, outcome) => {
            let begin = all.len();
            wanted(for_them(recipient, route), outcome, terms, true, true, all);
            // Mail that comes back here by way of another server shows whom it has been to.
            let through = entry.recipient.to_string();
            for one in all.iter_mut().skip(begin) {
                let edits = &mut one.entry.edits;
                let number = TRACE + u32::try_from(edits.len()).unwrap_or(u32::MAX / 2);
                edits.push(Edit::Prepend(number, "Delivered-To".into(), through.clone()));
            }
        }
        // Who gets it has an entry already; who does not may have been answered, where this copy's recipient was not.
        Landing::Known(recipient, route, fate) => {
            let outcome = Outcome { fate: Some(fate.clone()), ..Outcome::default() };
            if let Some(instead) = terms.instead(&outcome, entry.notify, true) {
                let copy = kept(Place::of(recipient, route), for_them(recipient, route), instead);
                all.push(Wanted { rank: copy.rank.min(Rank::Named), ..copy });
            }
        }
        Landing::Nowhere(problem) => all.push(Wanted {
            place: Place::Nowhere(entry.recipient.to_string(), to.clone()),
            entry: NewEntry { held: Some(format!("sent on to {to:?} by plugin {by}: {problem}")), ..entry.clone() },
            rank: Rank::Aside,
        }),
    }
}

fn kept(place: Place, entry: NewEntry, instead: Instead) -> Wanted {
    let (held, pending, rank) = match instead {
        Instead::Rejudged(pending) => (entry.held.clone(), pending, Rank::Later),
        Instead::Bounced(pending) => (None, pending, Rank::Aside),
        Instead::Quarantined(why) => (Some(why), Pending::Nothing, Rank::Aside),
    };
    Wanted { place, entry: NewEntry { held, pending, ..entry }, rank }
}

/// The first of each place among those that count most. Its address, ORCPT and edits count; NOTIFY is what any of them
/// asked for.
fn one_for_each_place(all: Vec<Wanted>) -> Vec<NewEntry> {
    let mut places: HashMap<Place, usize> = HashMap::with_capacity(all.len());
    let mut entries: Vec<(NewEntry, Rank)> = Vec::with_capacity(all.len());
    for Wanted { place, entry, rank } in all {
        let index = *places.entry(place).or_insert(entries.len());
        match entries.get_mut(index) {
            None => entries.push((entry, rank)),
            Some((_, earlier)) if rank < *earlier => {}
            Some(earlier) if rank > earlier.1 => *earlier = (entry, rank),
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

    fn terms(one_reply: bool, known_sender: bool) -> Terms {
        Terms { transaction: "s.1".into(), known_sender, one_reply }
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
        let shown: Vec<String> = entries(&recipients, &routes, &[], &terms(false, false))
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
                "Carl@far.test None held: false",
                "carl@far.test None held: false",
            ]
        );
    }

    /// Redirects, additions, quarantine and what could not be answered.
    #[test]
    fn what_plugins_wish_for() {
        use crate::plugin::hook::{Edit, Reason, Wishes};
        let reason = |text: &str| Reason { subject: 7, detail: 1, text: text.into() };
        let later = || Some(Fate::Deferred("p".into(), reason("wait")));
        let never = || Some(Fate::Refused("p".into(), reason("no")));
        let fate = |fate, refused| Outcome { fate, refused, ..Outcome::default() };
        let here = |mailbox: &str| Route::Local(format!("{mailbox}@example.test"));
        let address = |local: &str| Address { local: local.into(), domain: "example.test".into() };
        let copy = |local: &str, outcome| Copy {
            to: format!("{local}@example.test"),
            landing: Landing::Here(address(local), here(local), Box::new(outcome)),
        };
        let known = |local: &str, fate| Copy {
            to: format!("{local}@example.test"),
            landing: Landing::Known(address(local), here(local), fate),
        };
        let far = Copy {
            to: "b@far.test".into(),
            landing: Landing::Here(
                Address { local: "b".into(), domain: "far.test".into() },
                Route::Relay,
                Box::default(),
            ),
        };
        let nowhere = Copy { to: "what?".into(), landing: Landing::Nowhere("it is no address".into()) };
        let sent_on =
            |sent_away, copies| Outcome { copies, sent_away, forwarded_by: Some("f".into()), ..Outcome::default() };
        let aside = Wishes { quarantine: Some("odd".into()), ..Wishes::default() };
        let aside = Outcome {
            wishes: aside,
            quarantined_by: Some("q".into()),
            ..sent_on(
                true,
                vec![
                    copy("m", Outcome::default()),
                    copy("n", fate(never(), Refused::Quarantine)),
                    copy("o", fate(later(), Refused::Quarantine)),
                ],
            )
        };
        let edited = Wishes { quarantine: Some("odd".into()), edits: vec![Edit::Remove(1)], ..Wishes::default() };
        let kept = Outcome { wishes: edited, quarantined_by: Some("q".into()), ..Outcome::default() };
        let never_is = Some(store::Notify::default());
        let given = [
            ("a", None, sent_on(true, vec![copy("anna", Outcome::default()), far])),
            // Of copies no sender is told, and those of a copy are copies too.
            (
                "b",
                None,
                sent_on(
                    false,
                    vec![
                        known("anna", Fate::Accepted),
                        known("z", Fate::Refused("p".into(), reason("no"))),
                        nowhere,
                        copy(
                            "y",
                            sent_on(
                                true,
                                vec![
                                    copy("x", fate(never(), Refused::Bounce)),
                                    copy("w", fate(later(), Refused::Bounce)),
                                ],
                            ),
                        ),
                    ],
                ),
            ),
            ("c", None, kept),
            ("l", None, aside),
            ("e", None, fate(Some(Fate::Discarded), Refused::Quarantine)),
            ("f", None, fate(later(), Refused::Bounce)),
            ("g", None, fate(never(), Refused::Quarantine)),
            // The same mailbox again: a copy that is delivered comes before one that is kept aside.
            ("g", None, Outcome::default()),
            ("h", None, fate(never(), Refused::Bounce)),
            ("i", never_is, fate(never(), Refused::Bounce)),
            ("j", None, fate(never(), Refused::Split)),
            // One that may be delivered later comes before one that will not.
            ("k", None, fate(never(), Refused::Quarantine)),
            ("k", None, fate(later(), Refused::Quarantine)),
        ];
        let recipients: Vec<_> = given
            .iter()
            .map(|(local, never, _)| recipient(local, "example.test", never.map(|_| Notify::empty())))
            .collect();
        let routes: Vec<_> = given.iter().map(|(local, ..)| here(local)).collect();
        let outcomes: Vec<_> = given.into_iter().map(|(_, _, outcome)| outcome).collect();
        let shown = |one_reply, known_sender| -> Vec<String> {
            let shown = |entry: &NewEntry| {
                let fate = match &entry.pending {
                    Pending::Nothing => entry.held.clone().unwrap_or_else(|| "-".into()),
                    Pending::Rejudge { transaction, reason, .. } => format!("again {transaction} {reason}"),
                    Pending::Bounce { status, reason } => format!("told {status} {reason}"),
                    Pending::Expanded => "expanded".into(),
                };
                format!("{} {fate} {}", entry.recipient, entry.edits.len())
            };
            entries(&recipients, &routes, &outcomes, &terms(one_reply, known_sender)).iter().map(shown).collect()
        };
        let always = [
            "anna@example.test - 1",
            "b@far.test - 1",
            "b@example.test - 0",
            "z@example.test quarantined: refused by plugin p: no 0",
            "b@example.test sent on to \"what?\" by plugin f: it is no address 0",
            "x@example.test quarantined: refused by plugin p: no 2",
            "w@example.test again s.1 deferred by plugin p: wait 2",
            "c@example.test quarantined by plugin q: odd 1",
            "m@example.test quarantined by plugin q: odd 1",
            "n@example.test quarantined: refused by plugin p: no 1",
            "o@example.test quarantined by plugin q: odd 1",
        ];
        assert_eq!(shown(false, true), [&always[..], &["g@example.test - 0"]].concat());
        let quarantined = |local: &str| format!("{local}@example.test quarantined: refused by plugin p: no 0");
        let deferred = |local: &str| format!("{local}@example.test again s.1 deferred by plugin p: wait 0");
        let mut expected: Vec<String> = always.iter().map(ToString::to_string).collect();
        expected.extend([
            deferred("f"),
            "g@example.test - 0".into(),
            quarantined("h"),
            quarantined("i"),
            quarantined("j"),
            deferred("k"),
        ]);
        assert_eq!(shown(true, false), expected);
        expected[always.len() + 2] = "h@example.test told 5.7.1 no 0".into();
        assert_eq!(shown(true, true), expected);
    }
    /// RFC 3461 section 5.2.7: who inherits what.
    #[test]
    fn what_is_told_of_copies() {
        let address = |local: &str| Address { local: local.into(), domain: "far.test".into() };
        let copy = |local: &str| Copy {
            to: local.into(),
            landing: Landing::Here(address(local), Route::Relay, Box::default()),
        };
        let all = Notify::SUCCESS | Notify::FAILURE;
        for (away, copies, asked, expected) in [
            (true, &["x"][..], Some(all), &["x SF rfc822;anna@example.test -"][..]),
            (true, &["x"], None, &["x none rfc822;anna@example.test -"]),
            (
                true,
                &["x", "y"],
                Some(all),
                &["x F rfc822;anna@example.test -", "y F rfc822;anna@example.test -", "anna S - expanded"],
            ),
            (
                true,
                &["x", "y"],
                Some(Notify::SUCCESS),
                &["x  rfc822;anna@example.test -", "y  rfc822;anna@example.test -", "anna S - expanded"],
            ),
            (
                true,
                &["x", "y"],
                Some(Notify::FAILURE),
                &["x F rfc822;anna@example.test -", "y F rfc822;anna@example.test -"],
            ),
            (true, &["x", "y"], None, &["x none rfc822;anna@example.test -", "y none rfc822;anna@example.test -"]),
            (false, &["x"], Some(all), &["anna SF - -", "x F rfc822;anna@example.test -"]),
        ] {
            let outcome = Outcome {
                copies: copies.iter().map(|local| copy(local)).collect(),
                sent_away: away,
                ..Outcome::default()
            };
            let here = Route::Local("anna@example.test".into());
            let found = entries(&[recipient("anna", "example.test", asked)], &[here], &[outcome], &terms(false, true));
            for entry in &found {
                assert_eq!(entry.sent_on, entry.route == Route::Relay, "{}", entry.recipient);
            }
            let shown: Vec<String> = found
                .iter()
                .map(|entry| {
                    let notify = entry.notify.map_or("none".into(), |notify| {
                        format!("{}{}", if notify.success { "S" } else { "" }, if notify.failure { "F" } else { "" })
                    });
                    let orcpt = entry.orcpt.as_ref().map_or("-".into(), |(kind, address)| format!("{kind};{address}"));
                    let pending = if entry.pending == Pending::Expanded { "expanded" } else { "-" };
                    format!("{} {notify} {orcpt} {pending}", entry.recipient.local)
                })
                .collect();
            assert_eq!(shown, expected, "{away} {copies:?} {asked:?}");
        }
    }

    /// What a recipient asked for by RCPT is not lost behind a copy for the same place that came first.
    #[test]
    fn its_own_wishes_count_for_more_than_a_copy() {
        use crate::plugin::hook::Reason;
        use crate::store::Asked;
        let later = || Fate::Deferred("p".into(), Reason { subject: 7, detail: 1, text: "wait".into() });
        let b = Address { local: "b".into(), domain: "example.test".into() };
        let here = |mailbox: &str| Route::Local(format!("{mailbox}@example.test"));
        let copy = Copy { to: b.to_string(), landing: Landing::Known(b, here("b"), later()) };
        let asked = Asked { quarantine: Some("odd".into()), ..Asked::default() };
        let own =
            Outcome { fate: Some(later()), asked: (Vec::new(), Some(Box::new(asked.clone()))), ..Outcome::default() };
        let names = ["a", "b"].map(|local| recipient(local, "example.test", None));
        let outcomes = [Outcome { copies: vec![copy], ..Outcome::default() }, own];
        let entries = entries(&names, &[here("a"), here("b")], &outcomes, &terms(true, false));
        let Pending::Rejudge { asked: found, .. } = &entries[1].pending else { panic!("{entries:?}") };
        assert_eq!((entries.len(), found.as_deref()), (2, Some(&asked)), "{entries:?}");
    }
}
