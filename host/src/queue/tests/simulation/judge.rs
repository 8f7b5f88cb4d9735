//! Was the promise kept? Judged by what senders, recipients and operators can see, not by what the store says it did.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::*,
    faulty::step,
    world::{Owed, SENDER, World, told},
};
use crate::store::{Content, EntryId, Listed};

/// Of each recipient: the notices that tell of it, by what they say.
type Told = BTreeMap<&'static str, BTreeMap<String, BTreeSet<MessageId>>>;

/// All that can be seen.
struct Seen {
    stored: BTreeMap<String, Listed>,
    told: Told,
    copies: BTreeMap<String, usize>,
    reported: BTreeSet<String>,
}

impl Seen {
    fn told(&self, action: &str, address: &str) -> usize {
        self.told.get(action).and_then(|told| told.get(address)).map_or(0, BTreeSet::len)
    }
}

fn look(world: &World, store: &SqliteStore) -> Seen {
    let mut notices: BTreeMap<EntryId, String> = world.notices();
    let mut copies = BTreeMap::new();
    for mailbox in fs::read_dir(world.folder.path().join("mail")).into_iter().flatten().flatten() {
        let mailbox = mailbox.file_name().into_string().unwrap();
        let found = mail(world.folder.path(), &mailbox);
        if !mailbox.starts_with(SENDER) {
            copies.insert(mailbox, found.len());
            continue;
        }
        for (name, octets) in found {
            let entry = name.split('.').nth(1).unwrap().replace('_', ".").parse().unwrap();
            notices.insert(entry, String::from_utf8_lossy(&octets).into_owned());
        }
    }
    let mut stored = BTreeMap::new();
    for listed in step(store.list()).unwrap() {
        let entry: EntryId = listed.entry.parse().unwrap();
        if listed.recipient.starts_with(SENDER) {
            let Content::Inline(octets) = step(store.body(entry.message)).unwrap().content else { panic!("a file") };
            notices.insert(entry, String::from_utf8_lossy(&octets).into_owned());
        }
        let (state, reason) = (listed.state.clone(), listed.reason.clone());
        // What a plugin delivers is counted before it is tried, and there may be nothing to say of it yet.
        let tried = listed.attempts > 0 && !listed.recipient.starts_with("p-");
        if (tried || state == "held") && reason.is_none_or(|reason| reason.is_empty()) {
            world.accuse(format!("{} is {state}, and nobody says why: {listed:?}", listed.recipient));
        }
        let key = if listed.recipient.starts_with(SENDER) { listed.entry.clone() } else { listed.recipient.clone() };
        if stored.insert(key, listed).is_some() {
            world.accuse(format!("{entry} is in the store twice"));
        }
    }
    let mut all = Told::new();
    for (entry, text) in notices {
        for action in ["failed", "delayed", "delivered", "relayed", "expanded"] {
            for address in told(&text, action) {
                all.entry(action).or_default().entry(address).or_default().insert(entry.message);
            }
        }
    }
    Seen { stored, told: all, copies, reported: world.all_reported() }
}

/// Judges all that was promised so far; `over`: nothing more is going to happen.
pub(super) fn judge(world: &World, store: &SqliteStore, over: bool) {
    let (seen, now) = (look(world, store), world.latest());
    let mut wrong = Vec::new();
    let mut counted: Vec<&'static str> = Vec::new();
    world.owed(|all| {
        for (address, owed) in all {
            let mut accuse = |why: &str| wrong.push(format!("{address} ({}): {why}: {owed:?}", owed.entry));
            let of_another = owed.instead_of.as_ref().and_then(|name| Some((name, all.get(name)?)));
            let waits = of_another.is_some_and(|(name, other)| {
                let unheard = other.notify.is_some_and(|notify| !notify.failure) && now >= other.expiry;
                let ended = other.dropped.is_some() || other.bounced || unheard || seen.told("failed", name) > 0;
                ended || seen.stored.contains_key(name)
            });
            one(&seen, address, owed, (waits, now, over), &mut accuse, &mut |what| counted.push(what));
        }
    });
    if over {
        counted.into_iter().for_each(|what| world.count(what));
        let queued: Vec<_> = seen.stored.values().filter(|listed| listed.state != "held").collect();
        if !queued.is_empty() {
            wrong.push(format!("still queued at the end: {queued:#?}"));
        }
    }
    wrong.into_iter().for_each(|why| world.accuse(why));
}

fn one(
    seen: &Seen,
    address: &str,
    owed: &Owed,
    (waits, now, over): (bool, Timestamp, bool),
    accuse: &mut dyn FnMut(&str),
    count: &mut dyn FnMut(&'static str),
) {
    let told = |action| seen.told(action, address);
    let successes = told("delivered") + told("relayed") + told("expanded");
    let copies = seen.copies.get(address).copied().unwrap_or(0);
    let here = seen.stored.get(address);
    let arrived = copies > 0 || !owed.received.is_empty();
    let wants_failures = owed.notify.is_none_or(|notify| notify.failure);
    // Nobody hears of a failure who does not want to.
    let unheard = !wants_failures && (owed.refused || owed.bounced || owed.only_told || now >= owed.expiry);
    // Told of a success is all that there is to some; and to nobody where nobody is to be told.
    let wants_success = owed.tellable && owed.notify.is_some_and(|notify| notify.success);
    let over_with = owed.vanishes || successes > 0 || address.starts_with("expanded") && !wants_success;
    let kept =
        arrived || here.is_some() || told("failed") > 0 || owed.dropped.is_some() || over_with || unheard || waits;
    if owed.acknowledged && !kept {
        accuse("LOST");
    }
    if copies > 1 {
        accuse("more than one copy");
    }
    for (action, n) in [("failed", told("failed")), ("delayed", told("delayed")), ("success", successes)] {
        if n > 1 {
            accuse(&format!("told of twice: {action}"));
        }
    }
    if owed.dropped.is_some() && here.is_some() {
        accuse("dropped, and still there");
    }
    if here.is_some() && owed.is_recorded() {
        accuse("delivered, and still there");
    }
    if told("failed") > 0 && (owed.is_recorded() || copies > 0 && !owed.bounced) {
        accuse("told that it failed, although it did not");
    }
    if told("failed") > 0 && here.is_some() {
        accuse("told that it failed, and still there");
    }
    if !over {
        return;
    }
    let done = here.is_none() && owed.dropped.is_none() && !owed.bounced;
    if done && wants_success && (copies > 0 || owed.is_recorded()) && successes != 1 {
        accuse("nobody told its sender of the success");
    }
    if done && owed.is_recorded() && !owed.numbers.is_empty() && !seen.reported.contains(address) {
        accuse("its plugin does not know what became of it");
    }
    for (so, what) in [
        (owed.acknowledged, "accepted"),
        (!owed.acknowledged && arrived, "accepted, but for the answer"),
        (here.is_some(), "held at the end"),
        (copies > 0, "received by a Maildir"),
        (told("delayed") > 0, "told of a delay"),
        (told("failed") > 0, "told of a failure"),
        (successes > 0, "told of a success"),
        (told("failed") > 0 && arrived, "told of a failure, although the reply was lost or an operator wanted it"),
    ] {
        if so {
            count(what);
        }
    }
}
