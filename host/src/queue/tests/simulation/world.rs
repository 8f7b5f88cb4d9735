//! All that is outside the server and survives its death: who sent what, who received it, and who heard of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::super::*;
use crate::{
    deliver::smtp::courier::{Health, Leases, Sent, Shipment},
    plugin::hook::{Reason, Verdict},
    queue::carrier::Carrier,
    store::{Content, EntryId, Notify, sqlite::simulated::Simulated},
};

/// Domains of other servers.
pub(super) const DOMAINS: [&str; 4] = ["d0.test", "d1.test", "d2.test", "far.test"];

/// Senders begin so, and recipients do not.
pub(super) const SENDER: &str = "s@";

/// How a server is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// Of everything something.
    Moody,
    /// Nobody answers.
    Gone,
    /// It takes its time.
    Slow,
    /// It takes mail, and the reply gets lost.
    Mute,
}

/// A recipient that somebody was promised to reach, by its address.
#[derive(Debug)]
pub(super) struct Owed {
    pub(super) entry: EntryId,
    /// The sender has heard 250.
    pub(super) acknowledged: bool,
    /// Somebody who can be told, local or far.
    pub(super) tellable: bool,
    pub(super) notify: Option<Notify>,
    /// It is made in place of somebody, who stood for it until then.
    pub(super) instead_of: Option<String>,
    /// Its judges want nobody to get it, or others.
    pub(super) vanishes: bool,
    /// Nobody is to receive it: it is only told of.
    pub(super) only_told: bool,
    /// When it is given up, at the latest.
    pub(super) expiry: Timestamp,
    pub(super) received: Vec<Received>,
    /// A server has refused it for good.
    pub(super) refused: bool,
    /// The store would not renew a lease of its message.
    pub(super) unrenewed: bool,
    /// The number of the event by which an operator dropped it.
    pub(super) dropped: Option<u64>,
    /// An operator wants its sender told.
    pub(super) bounced: bool,
    /// Numbers of the plugin's attempts.
    pub(super) numbers: Vec<u32>,
    /// What the content says.
    pub(super) mark: String,
}

impl Owed {
    /// A server or a plugin has it, and the store knows that.
    pub(super) fn is_recorded(&self) -> bool {
        self.received.iter().any(|received| received.recorded)
    }
}

/// One time that it was received by a server.
#[derive(Debug)]
pub(super) struct Received {
    life: u32,
    /// The number of the event.
    at: u64,
    /// The reply got through.
    heard: bool,
    /// The task died with it.
    died: bool,
    /// The store has it.
    recorded: bool,
    /// Times that the store refused to record it.
    refusals: u32,
    /// The lease was not ours any more.
    stale: bool,
}

#[derive(Debug)]
struct Inner {
    chance: StdRng,
    clock: Option<Arc<Simulated>>,
    life: u32,
    /// The latest time that the clock has shown.
    latest: Timestamp,
    /// Counts what happens.
    events: u64,
    history: String,
    wrong: Vec<String>,
    tally: BTreeMap<&'static str, u64>,
    owed: BTreeMap<String, Owed>,
    moods: BTreeMap<&'static str, Mood>,
    /// How often of 100 the store fails.
    store: u32,
    /// No more faults.
    calm: bool,
    /// Notices that servers have: the entry, and what it says.
    notices: BTreeMap<EntryId, String>,
    /// Names that were given.
    names: u64,
    /// Recipients whose plugin was told what became of them.
    reported: BTreeSet<String>,
}

/// See the module.
pub(super) struct World {
    inner: Mutex<Inner>,
    pub(super) folder: tempfile::TempDir,
}

/// A copy of a message is not worth a sync here: that is what the crash tests are for.
fn folder() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

impl World {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let inner = Inner {
            chance: StdRng::seed_from_u64(seed),
            clock: None,
            life: 0,
            latest: 0,
            events: 0,
            history: String::new(),
            wrong: Vec::new(),
            tally: BTreeMap::new(),
            owed: BTreeMap::new(),
            moods: DOMAINS.iter().map(|domain| (*domain, Mood::Well)).collect(),
            store: 0,
            calm: false,
            notices: BTreeMap::new(),
            names: 0,
            reported: BTreeSet::new(),
        };
        Arc::new(Self { inner: Mutex::new(inner), folder: folder() })
    }

    /// A new life of the server.
    pub(super) fn born(&self, clock: Arc<Simulated>) {
        let mut inner = self.inner.lock();
        inner.clock = Some(clock);
        inner.life += 1;
        drop(inner);
        self.say("born".into());
    }

    /// A number below this one.
    pub(super) fn below(&self, n: u64) -> u64 {
        self.inner.lock().chance.random_range(0..n.max(1))
    }

    /// So many times of 100.
    pub(super) fn percent(&self, n: u64) -> bool {
        self.below(100) < n
    }

    pub(super) fn one_of<T: Clone>(&self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()].clone()
    }

    /// A pause of up to so many milliseconds.
    pub(super) async fn pause(&self, most: u64) {
        let wait = self.below(most + 1);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    pub(super) fn name(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.names += 1;
        inner.names
    }

    /// The latest time that the clock has shown: it may have been set back since.
    pub(super) fn latest(&self) -> Timestamp {
        self.inner.lock().latest
    }

    pub(super) fn clock(&self) -> Arc<Simulated> {
        self.inner.lock().clock.clone().unwrap()
    }

    /// Writes it down; the number of the event.
    pub(super) fn say(&self, what: String) -> u64 {
        let mut inner = self.inner.lock();
        let (life, now) = (inner.life, inner.clock.as_ref().map_or(0, |clock| clock.now()));
        inner.events += 1;
        inner.latest = inner.latest.max(now);
        // Ids have a part that is random.
        let _ = writeln!(inner.history, "{life} {:>12.3}  {what}", (now % 100_000_000_000) as f64 / 1000.0);
        inner.events
    }

    pub(super) fn count(&self, what: &'static str) {
        *self.inner.lock().tally.entry(what).or_default() += 1;
    }

    pub(super) fn accuse(&self, why: String) {
        self.say(format!("WRONG: {why}"));
        self.inner.lock().wrong.push(why);
    }

    pub(super) fn wrong(&self) -> Vec<String> {
        self.inner.lock().wrong.clone()
    }

    pub(super) fn history(&self) -> String {
        self.inner.lock().history.clone()
    }

    pub(super) fn tally(&self) -> BTreeMap<&'static str, u64> {
        self.inner.lock().tally.clone()
    }

    pub(super) fn set_mood(&self, domain: &'static str, mood: Mood) {
        self.inner.lock().moods.insert(domain, mood);
    }

    /// The clock is set.
    pub(super) fn set_clock(&self, by: i64) {
        self.say(format!("the clock is set by {by} ms"));
        self.count("the clock was set");
        self.clock().set(by);
    }

    /// How often of 100 the store fails from now on.
    pub(super) fn set_store(&self, percent: u32) {
        self.inner.lock().store = percent;
    }

    /// Does the store fail now?
    pub(super) fn store_fails(&self) -> bool {
        let percent = self.inner.lock().store;
        percent > 0 && self.percent(u64::from(percent)) && {
            self.count("the store failed");
            true
        }
    }

    /// Nothing bad happens from now on.
    pub(super) fn calm(&self) {
        let mut inner = self.inner.lock();
        inner.calm = true;
        inner.store = 0;
        inner.moods.values_mut().for_each(|mood| *mood = Mood::Well);
    }

    pub(super) fn is_calm(&self) -> bool {
        self.inner.lock().calm
    }

    /// Somebody is to be reached.
    pub(super) fn owe(&self, address: String, owed: Owed) {
        self.inner.lock().owed.insert(address, owed);
    }

    pub(super) fn acknowledged(&self, message: MessageId) {
        let mut inner = self.inner.lock();
        inner.owed.values_mut().filter(|owed| owed.entry.message == message).for_each(|owed| owed.acknowledged = true);
    }

    pub(super) fn with<T>(&self, address: &str, change: impl FnOnce(&mut Owed) -> T) -> Option<T> {
        self.inner.lock().owed.get_mut(address).map(change)
    }

    pub(super) fn owed<T>(&self, look: impl FnOnce(&BTreeMap<String, Owed>) -> T) -> T {
        look(&self.inner.lock().owed)
    }

    /// Notices that servers have received.
    pub(super) fn notices(&self) -> BTreeMap<EntryId, String> {
        self.inner.lock().notices.clone()
    }

    /// A plugin delivers it, or does not.
    pub(super) fn plugin(&self, address: &str, key: &str, number: u32) -> Verdict {
        let began = self.say(format!("{address}: the plugin delivers, attempt {number}"));
        let wrong = self.with(address, |owed| {
            let wrong = owed.entry.to_string() != key || owed.numbers.last().is_some_and(|last| *last >= number);
            owed.numbers.push(number);
            wrong
        });
        if wrong != Some(false) {
            self.accuse(format!("{address}: attempt {number} with key {key} is told of twice, or of another"));
        }
        let reason = || Reason { subject: 4, detail: 0, text: "the plugin says so".into() };
        match self.below(10) {
            0..=2 if !self.is_calm() => Verdict::Defer(reason()),
            3 if !self.is_calm() => {
                self.with(address, |owed| owed.refused = true);
                Verdict::Reject(reason())
            }
            _ => {
                self.count("received by a plugin");
                self.received(address, began, true, false);
                Verdict::Accept
            }
        }
    }

    /// A plugin hears what became of somebody.
    pub(super) fn reported(&self, address: String) {
        self.inner.lock().reported.insert(address);
    }

    /// Of whom that is so.
    pub(super) fn all_reported(&self) -> BTreeSet<String> {
        self.inner.lock().reported.clone()
    }

    /// A server receives it, in an attempt that began with this event.
    fn received(&self, address: &str, began: u64, heard: bool, died: bool) {
        let (life, at) = {
            let inner = self.inner.lock();
            (inner.life, inner.events)
        };
        let wrong = self.with(address, |owed| {
            let before = owed.received.last();
            let excuse = match before {
                None => Ok(None),
                Some(before) if before.recorded => Err("although it was recorded"),
                Some(before) if !before.heard => Ok(Some("received twice: the reply was lost")),
                Some(before) if before.life != life => {
                    Ok(Some("received twice: the process died before it was recorded"))
                }
                Some(before) if before.died => Ok(Some("received twice: the task died before it was recorded")),
                Some(before) if before.refusals >= 30 => Ok(Some("received twice: the store would not record it")),
                // While the reply to the final dot was awaited: whoever had begun before that would have had to withhold it.
                Some(before) if owed.unrenewed && began > before.at => {
                    Ok(Some("received twice: the store would not renew its lease"))
                }
                Some(before) if before.stale => Err("because its lease was over"),
                Some(_) => Err("for no reason"),
            };
            owed.received.push(Received { life, at, heard, died, recorded: false, refusals: 0, stale: false });
            match (excuse, owed.dropped) {
                (_, Some(dropped)) if began > dropped => Err("received after it was dropped".to_owned()),
                _ if owed.only_told => Err("received, although it was to be told of only".to_owned()),
                (Err(why), _) => Err(format!("received twice, {why}")),
                (Ok(excuse), _) => Ok(excuse),
            }
        });
        match wrong {
            None => self.accuse(format!("{address} was received, and is nobody")),
            Some(Err(why)) => self.accuse(format!("{address}: {why}")),
            Some(Ok(Some(excuse))) => self.count(excuse),
            Some(Ok(None)) => {}
        }
    }

    /// The store would not renew a lease: others may be given it.
    pub(super) fn unrenewed(&self, message: MessageId) {
        let mut inner = self.inner.lock();
        inner.owed.values_mut().filter(|owed| owed.entry.message == message).for_each(|owed| owed.unrenewed = true);
    }

    /// The store was asked to settle it. `settled`: it did; or the lease was void, or (None) it failed.
    pub(super) fn settled(&self, outcome: &Outcome, settled: Option<bool>) {
        let address = outcome.lease.recipient.recipient.to_string();
        let delivered = outcome.settlement == Settlement::Delivered;
        self.with(&address, |owed| {
            if let Some(last) = owed.received.last_mut().filter(|last| last.heard && !last.recorded && delivered) {
                match settled {
                    None => last.refusals += 1,
                    Some(settled) => (last.recorded, last.stale) = (settled, !settled),
                }
            }
        });
    }
}

/// Reads it as a server does, and fails if it is not whole.
fn text(shipment: &Shipment) -> String {
    let mut octets = shipment.body.prefix.clone();
    match &shipment.body.content {
        Content::Inline(content) => octets.extend(content),
        Content::File(file) => {
            use std::os::unix::fs::FileExt as _;
            let mut content = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
            file.read_exact_at(&mut content, 0).unwrap();
            octets.extend(content);
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

/// What a server does with a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Taken,
    Later,
    Never,
}

#[async_trait::async_trait]
impl Carrier for World {
    async fn send(&self, _: &Config, shipment: &Shipment, leases: &dyn Leases) -> (Vec<Sent>, Health) {
        let began = self.say(String::new());
        let to: Vec<_> = shipment.leases.iter().map(|lease| lease.recipient.recipient.to_string()).collect();
        let domain = shipment.leases[0].recipient.recipient.domain.as_str();
        let mood = self.inner.lock().moods.get(domain).copied().unwrap_or(Mood::Well);
        let later = |text: &str| Sent::Later { status: (4, 2), text: text.into(), said: None };
        let all = |sent: Sent| vec![sent; to.len()];
        if mood == Mood::Gone {
            self.say(format!("{to:?}: nobody is there"));
            self.count("a server was gone");
            self.pause(30_000).await;
            return (all(later("nobody answers")), Health::Gone("nobody answers".into()));
        }
        self.pause(if mood == Mood::Slow { 2_000_000 } else { 2000 }).await;
        let asked: Vec<&Lease> = shipment.leases.iter().collect();
        let lost = leases.lost(&asked).await;
        self.pause(if mood == Mood::Slow { 2_000_000 } else { 1000 }).await;
        let fate = |lease: &Lease| match (mood, self.below(10)) {
            _ if lost.contains(&lease.entry) => Fate::Later,
            (Mood::Moody, 0..=2) => Fate::Later,
            (Mood::Moody, 3) | (Mood::Well | Mood::Slow, 0) if !self.is_calm() => Fate::Never,
            _ => Fate::Taken,
        };
        let fates: Vec<_> = shipment.leases.iter().map(fate).collect();
        if mood == Mood::Moody && self.percent(10) {
            self.say(format!("{to:?}: lost before the content"));
            return (all(later("the connection was lost")), Health::Unwell);
        }
        if !self.is_calm() && self.percent(1) {
            self.say(format!("{to:?}: the task dies"));
            self.count("a delivery task died");
            std::panic::resume_unwind(Box::new("a task dies"));
        }
        // Before the end of the content they are asked for again; if one is lost, it is not sent.
        let holding: Vec<&Lease> = asked.into_iter().filter(|lease| !lost.contains(&lease.entry)).collect();
        if !leases.lost(&holding).await.is_empty() {
            self.say(format!("{to:?}: withheld"));
            self.count("the end was withheld, for a lease was lost");
            return (all(later("a lease was lost")), Health::Unwell);
        }
        // The final dot: from here on they have it, whatever we hear of it.
        let heard = !(mood == Mood::Mute || mood == Mood::Moody && self.percent(20));
        let died = !self.is_calm() && self.percent(1);
        self.say(format!("{to:?}: {fates:?}, heard {heard}, died {died}"));
        let text = text(shipment);
        for (lease, (address, fate)) in shipment.leases.iter().zip(to.iter().zip(&fates)) {
            match fate {
                Fate::Taken if address.starts_with(SENDER) => {
                    self.inner.lock().notices.insert(lease.entry, text.clone());
                }
                Fate::Taken => {
                    if self.with(address, |owed| text.contains(&owed.mark)) == Some(false) {
                        self.accuse(format!("{address} received something else"));
                    }
                    self.count("received by a server");
                    self.received(address, began, heard, died);
                }
                Fate::Never => {
                    self.count("a server refused");
                    self.with(address, |owed| owed.refused = true);
                }
                Fate::Later => {}
            }
        }
        self.pause(if mood == Mood::Slow { 2_000_000 } else { 2000 }).await;
        if died {
            self.count("a delivery task died");
            std::panic::resume_unwind(Box::new("a task dies"));
        }
        let sent = |fate: &Fate| match fate {
            Fate::Taken if !heard => later("the connection was lost after the final dot"),
            Fate::Taken => Sent::Taken { by: domain.to_owned(), dsn: false, timed: false, said: None },
            Fate::Later => later("come back later"),
            Fate::Never => Sent::Never { status: (1, 1), text: "nobody".into(), said: None },
        };
        (fates.iter().map(sent).collect(), if heard { Health::Well } else { Health::Unwell })
    }
}

/// The addresses that a notice tells of as this.
pub(super) fn told(notice: &str, action: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for group in notice.split("\r\n\r\n").filter(|group| group.contains(&format!("\r\nAction: {action}\r\n"))) {
        let address = group.lines().find_map(|line| line.strip_prefix("Final-Recipient: rfc822;"));
        found.extend(address.map(str::to_owned));
    }
    found
}
