//! What happens: lives of the server, one after the other, and in each of them mail, operators and bad luck.

use tokio::runtime::Builder;

use super::{
    super::*,
    faulty::{Faulty, step, written},
    judge::judge,
    world::{DOMAINS, Mood, Owed, SENDER, World},
};
use crate::{
    plugin::hook::Hook,
    policy::chain::fake::{Fake, Log},
    queue::bell::{Bell, Orders},
    store::{Change, Changed, DeliverBy, EntryId, Filter, Hold, Notify, Wishes, sqlite::simulated::Simulated},
};

/// The first life begins at this time.
const BEGIN: Timestamp = 1_800_000_000_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
/// Why operators hold.
const HOLD: &str = "an operator holds it";

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Everything stops where it is.
    Died,
    /// As an operator stops it.
    Stopped,
    /// Nothing is left to do.
    Over,
}

/// All lives of a run.
pub(super) fn all(world: &Arc<World>) {
    let config = Arc::new(ArcSwap::from_pointee(config(world)));
    let (mut time, mut steps) = (BEGIN, 30 + world.below(70));
    loop {
        let mut builder = Builder::new_current_thread();
        // What other threads have done is seen in one order, whenever they did it: one after the other, and behind all else.
        builder.enable_all().start_paused(true).max_blocking_threads(1).global_queue_interval(u32::MAX);
        let runtime = builder.build().unwrap();
        let (end, at) = runtime.block_on(life(world, &config, time, &mut steps));
        // Whatever is under way is dropped where it waits.
        drop(runtime);
        match end {
            End::Died => world.count("the process died"),
            End::Stopped => world.count("the process was stopped"),
            End::Over => return,
        }
        time = at + world.below(world.one_of(&[1000, MINUTE, 2 * HOUR]));
    }
}

fn config(world: &World) -> Config {
    let queue = Queue {
        retry_first: 1 + world.below(120),
        retry_most: 600 + world.below(3000),
        expire: 4 * 3600 + world.below(20 * 3600),
        delay_warning: world.one_of(&[0, 600, 3600, 7200]),
        concurrency: usize::try_from(1 + world.below(4)).unwrap(),
        notify_strangers: world.percent(50),
        ..Queue::default()
    };
    Config { data: world.folder.path().to_owned(), name: "mx.test".into(), queue, ..Config::default() }
}

/// The store, as soon as the last life has let go of it.
fn open(world: &World) -> Arc<SqliteStore> {
    for _ in 0..10_000 {
        match SqliteStore::open(world.folder.path(), 0, Metrics::new()) {
            Ok(store) => return store,
            Err(crate::store::sqlite::OpenError::InUse { .. }) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("somebody keeps the store");
}

async fn life(world: &Arc<World>, config: &Arc<ArcSwap<Config>>, time: Timestamp, steps: &mut u64) -> (End, Timestamp) {
    let clock = Simulated::begin(time, world.below(u64::MAX));
    world.born(clock.clone());
    let store = open(world);
    judge(world, &store, false);
    let faulty = Arc::new(Faulty { inner: store.clone(), world: world.clone() });
    let (stop, stopped) = watch::channel(false);
    let bell = Arc::new(Bell::default());
    let orders = Orders { stop: stopped, bell: bell.clone() };
    let rules = Arc::new(Place::new(world.clone()));
    let queue =
        tokio::spawn(run(faulty.clone(), config.clone(), places, rules, Some(world.clone()), Metrics::new(), orders));
    let end = loop {
        if *steps == 0 {
            break End::Over;
        }
        *steps -= 1;
        world.pause(world.one_of(&[300, 3000, MINUTE, 20 * MINUTE])).await;
        match world.below(100) {
            0..=44 => drop(tokio::spawn(message(world.clone(), store.clone(), config.load_full()))),
            45..=59 => operator(world, &*faulty, &bell).await,
            60..=74 => {
                let moods = [Mood::Well, Mood::Moody, Mood::Gone, Mood::Slow, Mood::Mute];
                let (domain, mood) = (world.one_of(&DOMAINS), world.one_of(&moods));
                world.say(format!("{domain} is {mood:?}"));
                world.set_mood(domain, mood);
            }
            75..=79 => {
                let percent = world.one_of(&[0, 0, 0, 10, 50, 100]);
                world.say(format!("the store fails {percent} times of 100"));
                world.set_store(percent);
            }
            80..=83 => {
                let by = i64::try_from(world.below(world.one_of(&[MINUTE, 3 * HOUR]))).unwrap();
                let by = if world.percent(50) { by } else { -by };
                world.set_clock(by);
            }
            84..=87 => {
                let mut new = self::config(world);
                new.queue.expire = config.load().queue.expire;
                new.queue.hold = world.percent(20);
                world.say(format!("reload: {:?}", new.queue));
                world.count("the configuration changed");
                config.store(Arc::new(new));
            }
            88..=91 => break End::Stopped,
            _ => break End::Died,
        }
    };
    world.say(format!("{end:?}"));
    match end {
        End::Died => {}
        End::Stopped => {
            stop.send_replace(true);
            queue.await.unwrap();
            step(store.close());
        }
        End::Over => {
            drain(world, &store, config, &bell).await;
            stop.send_replace(true);
            queue.await.unwrap();
            judge(world, &store, true);
            step(store.close());
        }
    }
    (end, clock.now())
}

/// Everybody is well and no operator holds anything: until nothing is queued.
async fn drain(world: &World, store: &SqliteStore, config: &ArcSwap<Config>, bell: &Bell) {
    world.calm();
    let mut calm = Config::clone(&config.load());
    calm.queue.hold = false;
    config.store(Arc::new(calm));
    for _ in 0..24 * 30 {
        let held = Filter { reason: Some(HOLD.into()), ..Filter::default() };
        let held = step(store.find(held, None, usize::MAX)).unwrap().entries;
        let release = |listed: crate::store::Listed| (listed.entry.parse().unwrap(), Change::Release);
        written(store, store.change(held.into_iter().map(release).collect())).unwrap();
        bell.wanted_now();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        if step(store.counts()).unwrap().queued == 0 {
            return;
        }
    }
}

/// A sender, with a message to several.
async fn message(world: Arc<World>, store: Arc<SqliteStore>, config: Arc<Config>) {
    let now = world.clock().now();
    let n = world.name();
    let percent = |chance| world.percent(chance);
    let deliver_by = || {
        let seconds = i32::try_from(60 + world.below(6 * 3600)).unwrap();
        DeliverBy { seconds, returns: world.percent(50), trace: world.percent(20) }
    };
    let wishes = Wishes {
        hold: percent(10).then(|| Hold::For(u32::try_from(world.below(7200)).unwrap())),
        deliver_by: percent(15).then(deliver_by),
        priority: percent(10).then(|| world.one_of(&[-9, -1, 3, 9])),
    };
    let address = |local: &str, domain: &str| Address { local: local.into(), domain: domain.into() };
    let sender = world.one_of(&[Some("example.test"), Some("example.test"), Some("far.test"), None]);
    let known = percent(70);
    let envelope = Envelope {
        reverse_path: sender.map(|domain| address("s", domain)),
        received_at: now,
        identity: known.then(|| "somebody".into()),
        wishes,
        ..Envelope::default()
    };
    let tellable = sender.is_some_and(|domain| known || domain == "example.test");
    let expiry = envelope.begins() + config.queue.expire * 1000;
    let expiry = envelope.returns_at().map_or(expiry, |at| at.min(expiry));
    let mark = format!("X-Mark: {n}\r\n");
    let mut incoming = store.begin().unwrap();
    let id = incoming.id();
    let mut entries = Vec::new();
    for _ in 0..1 + world.below(5) {
        let (local, domain) = world.one_of(&KINDS);
        let name = format!("{local}{}", world.name());
        let notify = percent(40).then(|| Notify { success: percent(60), failure: percent(70), delay: percent(50) });
        let recipient = address(&name, domain);
        let route = if domain == "example.test" { Route::Local(recipient.to_string()) } else { Route::Relay };
        let pending = match local {
            "jsame" | "jsplit" | "jto" | "jgone" => {
                Pending::Rejudge { transaction: format!("{n}"), reason: "deferred".into(), asked: None }
            }
            "bounce" => Pending::Bounce { status: "5.7.1".into(), reason: "refused".into() },
            "expanded" => Pending::Expanded,
            _ => Pending::Nothing,
        };
        let owed = || Owed {
            entry: EntryId { message: id, index: u32::try_from(entries.len()).unwrap() },
            acknowledged: false,
            tellable,
            notify,
            instead_of: None,
            vanishes: matches!(local, "jto" | "jgone"),
            only_told: matches!(local, "bounce" | "expanded"),
            expiry,
            received: Vec::new(),
            refused: false,
            dropped: None,
            bounced: false,
            unrenewed: false,
            numbers: Vec::new(),
            mark: mark.clone(),
        };
        if let Some(other) = instead(&recipient) {
            let instead_of = Some(recipient.to_string());
            world.owe(other.to_string(), Owed { instead_of, vanishes: false, ..owed() });
        }
        world.owe(recipient.to_string(), owed());
        entries.push(NewEntry { notify, pending, ..NewEntry::to(recipient, route) });
    }
    let to: Vec<_> = entries.iter().map(|entry| entry.recipient.to_string()).collect();
    world.say(format!("message {n} from {sender:?} to {to:?}, {wishes:?}"));
    world.pause(500).await;
    let mut content = format!("{mark}\r\n");
    // Some are files.
    content += &"x\r\n".repeat(if percent(10) { 30_000 } else { 10 });
    for piece in content.as_bytes().chunks(50_000) {
        if incoming.write(piece).unwrap() == Pressure::Flush {
            step(incoming.flush()).unwrap();
        }
    }
    if percent(5) {
        world.say(format!("message {n}: the client is gone"));
        return;
    }
    let accepted = written(&store, incoming.accept(envelope, b"Received: x\r\n".to_vec(), entries)).unwrap();
    world.pause(2000).await;
    world.say(format!("message {n} accepted"));
    world.acknowledged(accepted);
}

/// Local parts and domains of recipients.
const KINDS: [(&str, &str); 14] = [
    ("local", "example.test"),
    ("local", "example.test"),
    ("lost", "example.test"),
    ("far", "d0.test"),
    ("far", "d0.test"),
    ("far", "d1.test"),
    ("far", "d2.test"),
    ("jsame", "example.test"),
    ("jsplit", "example.test"),
    ("jto", "example.test"),
    ("jgone", "example.test"),
    ("bounce", "example.test"),
    ("expanded", "example.test"),
    ("p-", "example.test"),
];

/// Who gets it instead of this one, or beside it.
fn instead(recipient: &Address) -> Option<Address> {
    let name = recipient.local.strip_prefix("jsplit").map(|n| (format!("beside{n}"), "d1.test"));
    let name = name.or_else(|| recipient.local.strip_prefix("jto").map(|n| (format!("instead{n}"), "example.test")));
    name.map(|(local, domain)| Address { local, domain: domain.into() })
}

/// Somebody who changes what waits. Notices are only held and released.
async fn operator(world: &World, store: &dyn Store, bell: &Bell) {
    let entries = store.find(Filter::default(), None, 1000).await.unwrap().entries;
    let record = || Verdicts {
        transaction: "t".into(),
        message: None,
        recipients: 1,
        judged: "dropped".into(),
        at: world.clock().now(),
    };
    let mut changes = Vec::new();
    for listed in entries.iter().filter(|_| world.percent(30)) {
        let notice = listed.recipient.starts_with(SENDER);
        let change = match world.below(20) {
            0 if !notice => Change::Drop { record: record(), report: None },
            1 if !notice => Change::Bounce { status: "5.7.0".into(), reason: "unwanted".into(), record: record() },
            2..=6 => Change::Hold { reason: HOLD.into() },
            7..=12 => Change::Retry,
            _ => Change::Release,
        };
        changes.push((listed, change));
    }
    let all = changes.iter().map(|(listed, change)| (listed.entry.parse().unwrap(), change.clone())).collect();
    let Ok(changed) = store.change(all).await else { return };
    for ((listed, change), changed) in changes.iter().zip(changed) {
        let to = &listed.recipient;
        let what = format!("{change:?}");
        let what = what.split(' ').next().unwrap_or_default();
        let event = world.say(format!("an operator wants of {to}: {what}, {changed:?}"));
        if changed != Changed::Done {
            continue;
        }
        world.count("an operator changed");
        match change {
            Change::Drop { .. } => {
                world.count("an operator dropped");
                world.with(to, |owed| owed.dropped = Some(event));
            }
            Change::Bounce { .. } => drop(world.with(to, |owed| owed.bounced = true)),
            Change::Retry => bell.wanted_now(),
            Change::Hold { .. } | Change::Release => {}
        }
    }
}

/// Everybody at `example.test` has a mailbox; names say what plugins do.
struct Place {
    world: Arc<World>,
    plugin: Arc<dyn Plugin>,
}

impl Place {
    fn new(world: Arc<World>) -> Self {
        let seen = world.clone();
        let plugin = Fake::make(&Log::default(), "courier", &[Hook::Delivery, Hook::Report], move |asked, _| {
            let address = format!("{}@example.test", asked.to);
            if asked.hook == Hook::Report {
                seen.reported(address);
                return crate::plugin::hook::Verdict::Proceed;
            }
            let attempt = asked.facts.attempt.as_ref().unwrap();
            seen.plugin(&address, &attempt.idempotency_key, attempt.number)
        });
        Self { world, plugin }
    }
}

#[async_trait::async_trait]
impl Rules for Place {
    fn place(&self, address: &Address) -> Result<Route, String> {
        Ok(if address.domain == "example.test" { Route::Local(address.to_string()) } else { Route::Relay })
    }

    fn sent_as(&self, _: &Address) -> Option<Address> {
        None
    }

    fn chain(&self, recipient: &Address, _: &Route) -> Vec<Arc<dyn Plugin>> {
        if recipient.local.starts_with("p-") { vec![self.plugin.clone()] } else { Vec::new() }
    }

    async fn judge(&self, _: Facts, lease: &Lease, _: Message) -> Judged {
        let to = &lease.recipient.recipient;
        self.world.pause(5000).await;
        let same = || NewEntry { pending: Pending::Nothing, ..lease.recipient.clone() };
        let other = || {
            let other = instead(to).unwrap();
            let route = self.place(&other).unwrap();
            NewEntry { recipient: other, route, ..same() }
        };
        let deferred = !self.world.is_calm() && self.world.percent(40);
        let becomes = match to.local.trim_end_matches(|c: char| c.is_ascii_digit()) {
            _ if deferred => Err("deferred again".to_owned()),
            "jsplit" => Ok(vec![same(), other()]),
            "jto" => Ok(vec![other()]),
            "jgone" => Ok(Vec::new()),
            _ => Ok(vec![same()]),
        };
        self.world.say(format!("{to} is judged: {:?}", becomes.as_ref().map(Vec::len)));
        Judged { becomes, reply: None, verdicts: None }
    }

    fn record(&self, recipient: &Address, outcome: &str, _: Ran) -> String {
        format!("{recipient}: {outcome}")
    }
}
