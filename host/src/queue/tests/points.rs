//! The crash matrix: a victim is killed at every point that [`Point`] names, and starts again. Nothing may be lost, nothing told
//! or received twice but where that can not be avoided, and that is counted.
//!
//! The victim is this very test executable, started again with [`VICTIM`] set: the queue and the store as they are, mail by SMTP
//! and LMTP from the sealed engine to servers that this process runs ([`peer`]), Maildirs, plugins, judges, reports and an
//! operator. It takes the same messages each time, one after the other. Where a message can be received twice:
//!
//! * between the peer's 2xx and its record ([`BETWEEN`]), and
//! * where the peer takes a message and its reply does not arrive (RFC 1047): recipients whose names begin with `mute`.
//!
//! [`ROUNDS`] says how often the victim is killed at random beside that, under load; and with it the victim is also killed in the
//! middle of all passings of a point, not only at the first one.

mod peer;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;

use self::peer::Peer;
use super::*;
use crate::{
    config::Domain,
    config::outbound::{Destination, Protocol},
    deliver::smtp::courier::{Courier, Means},
    dkim::Signers,
    dns::Resolver,
    engine::pool::{EngineSettings, WasmEngine},
    observe::point::{DIE_AT, Point, passed},
    plugin::hook::{Hook, Reason, Verdict},
    policy::chain::fake::{Fake, Log},
    store::{Change, EntryId, Filter, Notify},
    transport::{http::Client, trust::Roots},
};

/// How many rounds of random deaths, and whether more than the first passings.
const ROUNDS: &str = "HERMETIC_CRASH_ROUNDS";
/// The folder that the victim works in, and its peers' ports.
const VICTIM: &str = "HERMETIC_POINTS_VICTIM";
/// Messages that are not sent again.
const SENT: &str = "HERMETIC_POINTS_SENT";
/// How many times everything is sent, at once.
const LOAD: &str = "HERMETIC_POINTS_LOAD";

/// The first of the two places where something may be received twice, and the second if the peer has died there.
const BETWEEN: [Point; 4] = [Point::ContentSent, Point::ShipmentAnswered, Point::Ended, Point::SettleBeforeCommit];

/// What is counted there.
const DOUBLE: &str = "sent twice: killed between 2xx and record";

/// Names of messages with their recipients. `@` is added, and which message it is.
const MESSAGES: [(&str, u64, bool, &[&str]); 12] = [
    // Name, age in seconds, large, recipients: what becomes of them, and where.
    ("both", 0, false, &["anna here", "berta here"]),
    ("file", 0, true, &["anna here", "berta here"]),
    ("lost", 8000, true, &["lost1 here", "lost2 here", "anna here"]),
    ("away", 0, true, &["ok1 far", "ok2 far", "never1 far", "never2 far", "later1 far"]),
    ("mute", 0, false, &["mute1 far", "mute2 far"]),
    ("kept", 0, false, &["ok1 kept", "never1 kept", "later1 kept"]),
    ("plug", 0, false, &["p-ok here", "p-later here"]),
    ("judg", 0, false, &["judged here"]),
    ("late", 4000, false, &["later1 far"]),
    ("oper", 0, true, &["drop here", "release here", "bounce here"]),
    ("wait", 0, false, &["wait far"]),
    ("told", 0, false, &["ok1 far", "success here"]),
];

/// A message's recipients are told apart from those of every other.
fn address(name: &str, message: &str, place: &str) -> Address {
    let domain = match place {
        "far" => "far.test",
        "kept" => "kept.test",
        _ => "example.test",
    };
    Address { local: format!("{name}-{message}"), domain: domain.into() }
}

fn entries(message: &str, recipients: &[&str]) -> Vec<NewEntry> {
    let entry = |recipient: &&str| {
        let (name, place) = recipient.split_once(' ').unwrap();
        let recipient = address(name, message, place);
        let route = if place == "far" { Route::Relay } else { Route::Local(recipient.to_string()) };
        let entry = NewEntry::to(recipient, route);
        match name {
            "judged" => {
                let pending = Pending::Rejudge { transaction: "t".into(), reason: "deferred".into(), asked: None };
                NewEntry { pending, ..entry }
            }
            "drop" | "release" | "bounce" => NewEntry { held: Some("held".into()), ..entry },
            "wait" => NewEntry { held: Some(NEEDS_OUTBOUND.into()), ..entry },
            "success" => {
                let notify = Some(Notify { success: true, failure: true, delay: false });
                NewEntry { notify, ..entry }
            }
            _ => entry,
        }
    };
    recipients.iter().map(entry).collect()
}

fn content(message: &str, large: bool) -> Vec<u8> {
    let size = if large { 200_000 } else { 100 };
    format!("X-Message: {message}\r\n\r\n{}end\r\n", "line\r\n".repeat(size / 6)).into_bytes()
}

fn configuration(data: &Path, ports: [u16; 2]) -> Arc<ArcSwap<Config>> {
    let queue = Queue { retry_first: 1, retry_most: 1, delay_warning: 3600, expire: 7200, ..Queue::default() };
    let destination = |domain: &str, host: String, protocol| {
        let tls = crate::config::outbound::Security::None;
        let (domains, hosts) = (vec![domain.to_owned()], vec![host]);
        Destination { domains, hosts, tls, protocol, ..toml::from_str("domains = []").unwrap() }
    };
    let far = destination("far.test", format!("127.0.0.1:{}", ports[0]), Protocol::Smtp);
    let mut kept = Domain::new("kept.test", &[]);
    kept.catch_all = None;
    kept.deliver = format!("lmtp:127.0.0.1:{}", ports[1]);
    let names = ["ok1", "never1", "later1"];
    kept.mailboxes =
        (0..LOADS).flat_map(|n| names.iter().map(move |name| format!("{name}-kept{}", suffix(n)))).collect();
    let config = Config {
        data: data.to_owned(),
        name: "mx.test".into(),
        queue,
        destinations: vec![far],
        domains: vec![kept],
        ..Config::default()
    };
    Arc::new(ArcSwap::from_pointee(config))
}

/// As often all is sent at most.
const LOADS: usize = 8;

/// Of the nth time that all is sent.
fn suffix(n: usize) -> String {
    if n == 0 { String::new() } else { format!("x{n}") }
}

/// Compiled once for all victims, which find it in this folder.
fn engine(folder: &Path) -> Arc<WasmEngine> {
    let settings = EngineSettings {
        sessions: 16,
        deadline: Duration::from_secs(10),
        memory: 16 << 20,
        cache: Some(folder.to_owned()),
    };
    Arc::new(WasmEngine::new(&settings).unwrap())
}

/// A plugin that delivers, and is told; what it does it writes down, so that it is known after its death.
fn plugin(data: &Path) -> Arc<dyn Plugin> {
    let file = data.join("plugin");
    Fake::make(&Log::default(), "courier", &[Hook::Delivery, Hook::Report], move |asked, _| {
        let write = |line: String| {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(&file).unwrap();
            file.write_all(format!("{line}\n").as_bytes()).unwrap();
        };
        if asked.hook == Hook::Report {
            write(format!("told {}", asked.to));
            return Verdict::Proceed;
        }
        let attempt = asked.facts.attempt.as_ref().unwrap();
        if asked.to.starts_with("p-later") && attempt.number == 1 {
            return Verdict::Defer(Reason { subject: 4, detail: 0, text: "later".into() });
        }
        write(format!("delivered {} {}", asked.to, attempt.number));
        Verdict::Accept
    })
}

/// What is judged again is for two.
fn judge(lease: &Lease) -> Vec<NewEntry> {
    let same = NewEntry { pending: Pending::Nothing, ..lease.recipient.clone() };
    let other = lease.recipient.recipient.local.replace("judged", "beside");
    let other = Address { local: other, domain: "example.test".into() };
    vec![same, NewEntry::to(other.clone(), Route::Local(other.to_string()))]
}

/// Not a test: takes and delivers all messages, and says so, until it is killed or done.
#[test]
fn victim() {
    let Ok(given) = std::env::var(VICTIM) else { return };
    let given: Vec<_> = given.split('|').collect();
    let (data, ports) = (PathBuf::from(given[0]), [given[1].parse().unwrap(), given[2].parse().unwrap()]);
    let sent = std::env::var(SENT).unwrap_or_default();
    let load: usize = std::env::var(LOAD).map_or(1, |load| load.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let config = configuration(&data, ports);
        let engine = engine(Path::new(given[3]));
        let means = Means { signers: Signers::default(), roots: Roots::load(None).unwrap(), client: Client::new() };
        let resolver = Resolver::new(&config.load().dns).unwrap();
        let courier = Courier::new(&config.load(), engine, resolver, means);
        let store = SqliteStore::open(&data, 0, Metrics::new()).unwrap();
        let house = House {
            chain: vec![plugin(&data)],
            judge: Some(Box::new(|lease, _| Ok(judge(lease)))),
            ..House::default()
        };
        let (stop, stopped) = watch::channel(false);
        let (rules, metrics) = (Arc::new(house), Metrics::new());
        let queue = tokio::spawn(run(store.clone(), config, places, rules, Some(courier), metrics, stopped));
        let mut all = tokio::task::JoinSet::new();
        for n in 0..load {
            let (store, sent) = (store.clone(), sent.clone());
            all.spawn(async move { everything(&store, n, load > 1, &sent).await });
        }
        while let Some(done) = all.join_next().await {
            done.unwrap();
        }
        loop {
            let queued = store.counts().await.unwrap().queued;
            let reports = store.reports(u64::MAX >> 1, 1).await.unwrap().0.len();
            if queued == 0 && reports == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.send(true).unwrap();
        queue.await.unwrap();
        store.close().await;
    });
    for (point, times) in passed() {
        println!("passed {point:?} {times}");
    }
    println!("over");
}

/// Takes what was not sent yet, each when the one before was tried; then an operator comes.
async fn everything(store: &SqliteStore, n: usize, hurry: bool, sent: &str) {
    for (name, age, large, recipients) in MESSAGES {
        let message = format!("{name}{}", suffix(n));
        if sent.split(' ').any(|sent| sent == message) {
            continue;
        }
        println!("sending {message}");
        let reverse_path = Some(Address { local: "s".into(), domain: "example.test".into() });
        let envelope = Envelope { reverse_path, received_at: now() - age * 1000, ..Envelope::default() };
        let id = accept_with(store, envelope, &content(&message, large), entries(&message, recipients)).await;
        println!("accepted {message} {id}");
        while !hurry && !tried(store, id).await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    store.release(NEEDS_OUTBOUND).await.unwrap();
    let held = Filter { recipient: None, reason: Some("held".into()), ..Filter::default() };
    for listed in store.find(held, None, 1000).await.unwrap().entries {
        let mine = listed.recipient.ends_with(&format!("-oper{}@example.test", suffix(n)));
        let entry: EntryId = listed.entry.parse().unwrap();
        let record = || Verdicts {
            transaction: "t".into(),
            message: Some(entry.message),
            recipients: 1,
            judged: "dropped".into(),
            at: now(),
        };
        let change = match listed.recipient.split('-').next().unwrap() {
            _ if !mine || listed.state != "held" => continue,
            "drop" => Change::Drop { record: record(), report: None },
            "bounce" => Change::Bounce { status: "5.7.0".into(), reason: "unwanted".into(), record: record() },
            _ => Change::Release,
        };
        store.change(vec![(entry, change)]).await.unwrap();
    }
}

/// Each of its recipients that is still there has had an attempt, or is held.
async fn tried(store: &SqliteStore, id: MessageId) -> bool {
    let filter = Filter { message: Some(id), ..Filter::default() };
    let entries = store.find(filter, None, 100).await.unwrap().entries;
    entries.iter().all(|listed| listed.state == "held" || listed.state == "queued" && listed.attempts > 0)
}

/// One victim after the other in one folder, with what they said.
struct Scene {
    folder: tempfile::TempDir,
    engine: PathBuf,
    far: Peer,
    kept: Peer,
    sent: BTreeSet<String>,
    accepted: BTreeSet<String>,
    died: Vec<Instant>,
    load: usize,
}

/// How a life ended.
enum Ended {
    Killed,
    /// How often each point was passed.
    Over(BTreeMap<String, u32>),
}

impl Scene {
    fn new(engine: &Path, load: usize) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            engine: engine.to_owned(),
            far: Peer::start(false),
            kept: Peer::start(true),
            sent: BTreeSet::new(),
            accepted: BTreeSet::new(),
            died: Vec::new(),
            load,
        }
    }

    /// A life that ends at this point, or after this time, or when all is done.
    fn live(&mut self, point: Option<String>, time: Option<Duration>) -> Ended {
        let given =
            format!("{}|{}|{}|{}", self.folder.path().display(), self.far.port, self.kept.port, self.engine.display());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["queue::tests::points::victim", "--exact", "--nocapture"])
            .env(VICTIM, given)
            .env(SENT, self.sent.iter().cloned().collect::<Vec<_>>().join(" "))
            .env(LOAD, self.load.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(point) = &point {
            command.env(DIE_AT, point);
        }
        let mut victim = command.spawn().unwrap();
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let victim = Arc::new(Mutex::new(victim));
        let (over, stopped) = std::sync::mpsc::channel::<()>();
        let killed = victim.clone();
        // Nobody waits for ever.
        let patience = time.unwrap_or(Duration::from_secs(100));
        let killer = std::thread::spawn(move || {
            let late = stopped.recv_timeout(patience).is_err();
            if late {
                // It may have ended just now.
                let _ = killed.lock().kill();
            }
            late
        });
        let (mut passed, mut done) = (BTreeMap::new(), false);
        for line in lines {
            let line = line.unwrap();
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["sending", message] => drop(self.sent.insert(message.to_owned())),
                // The last line may be cut off: then it was not said.
                ["accepted", message, id] if id.len() == 26 => drop(self.accepted.insert(message.to_owned())),
                ["passed", point, times] => drop(passed.insert(point.to_owned(), times.parse().unwrap())),
                ["over"] => done = true,
                _ => {}
            }
        }
        self.died.push(Instant::now());
        let _ = over.send(());
        let late = killer.join().unwrap();
        let status = victim.lock().wait().unwrap();
        if done {
            return Ended::Over(passed);
        }
        let asked_for = late && time.is_some() || point.is_some() && status.signal() == Some(6);
        assert!(asked_for, "{point:?} {time:?}: a victim ended with {status}, late {late}");
        Ended::Killed
    }

    /// Whoever died had no time to record it; the peer may have read the final dot only after that.
    fn died_near(&self, taken: Instant) -> bool {
        let apart = |died: &Instant| died.max(&taken).duration_since(*died.min(&taken));
        self.died.iter().any(|died| apart(died) < Duration::from_secs(2))
    }

    /// Judges everything; what could not be avoided, by name.
    fn judge(&self, when: &str) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        let mut count = |what: &'static str, n: usize| *counts.entry(what).or_default() += n;
        let mut wrong = Vec::new();
        let data = self.folder.path();
        let notices: Vec<String> = mail(data, "s@example.test")
            .into_values()
            .map(|octets| String::from_utf8_lossy(&octets).into_owned())
            .collect();
        let told = |action: &str, address: &str| {
            let of = |group: &str| {
                group.contains(&format!("Final-Recipient: rfc822;{address}\r\n"))
                    && group.contains(&format!("\r\nAction: {action}\r\n"))
            };
            notices.iter().filter(|notice| notice.split("\r\n\r\n").any(of)).count()
        };
        let plugin = fs::read_to_string(data.join("plugin")).unwrap_or_default();
        let (far, kept) = (self.far.taken(), self.kept.taken());
        for message in &self.sent {
            let name = &message[..4];
            let (_, _, large, recipients) = MESSAGES.into_iter().find(|known| known.0 == name).unwrap();
            let mut recipients: Vec<String> = recipients.iter().map(ToString::to_string).collect();
            if name == "judg" {
                recipients.push("beside here".into());
            }
            let mut seen = Vec::new();
            for recipient in &recipients {
                let (name, place) = recipient.split_once(' ').unwrap();
                let address = address(name, message, place);
                let text = address.to_string();
                let takings = far.get(&text).or(kept.get(&text)).cloned().unwrap_or_default();
                let copies: Vec<_> = mail(data, &text).into_values().collect();
                let whole = content(message, large);
                if copies.iter().any(|copy| !copy.ends_with(&whole)) {
                    wrong.push(format!("{text}: torn"));
                }
                let delivered: Vec<u32> = plugin
                    .lines()
                    .filter_map(|line| line.strip_prefix(&format!("delivered {} ", address.local)))
                    .map(|number| number.parse().unwrap())
                    .collect();
                let times = takings.len() + copies.len() + delivered.len();
                let (failed, delayed) = (told("failed", &text), told("delayed", &text));
                let fails = ["lost", "never", "bounce"].iter().any(|what| name.starts_with(what));
                let gone = fails || name == "drop";
                if !gone {
                    seen.push(times > 0);
                } else if name != "drop" {
                    seen.push(failed > 0);
                }
                let known = times > 0 || failed > 0;
                if failed > 1 || delayed > 1 || fails && known && failed != 1 || !fails && failed > 0 {
                    wrong.push(format!("{text}: told of {failed} failures, {delayed} delays"));
                }
                if gone && times > 0 {
                    wrong.push(format!("{text}: received"));
                }
                if message.starts_with("late") && known && delayed != 1 {
                    wrong.push(format!("{text}: told of {delayed} delays"));
                }
                if name == "success" && known && told("delivered", &text) != 1 {
                    wrong.push(format!("{text}: told of success {} times", told("delivered", &text)));
                }
                if !delivered.is_empty() && !plugin.contains(&format!("told {}\n", address.local)) {
                    wrong.push(format!("{text}: its plugin was not told"));
                }
                if delivered.windows(2).any(|pair| pair[0] >= pair[1]) {
                    wrong.push(format!("{text}: the plugin was given the numbers {delivered:?}"));
                }
                if times < 2 {
                    continue;
                }
                if copies.len() > 1 {
                    wrong.push(format!("{text}: {} copies", copies.len()));
                } else if !delivered.is_empty() {
                    count("called a plugin twice, with the next number", delivered.len() - 1);
                } else if name.starts_with("mute") {
                    count("sent twice: the reply was lost", takings.len() - 1);
                } else if takings.iter().rev().skip(1).all(|taken| self.died_near(*taken)) {
                    count(DOUBLE, takings.len() - 1);
                } else {
                    wrong.push(format!("{text}: taken {} times", takings.len()));
                }
            }
            let all = seen.iter().all(|seen| *seen);
            let nobody = seen.iter().all(|seen| !*seen);
            if !(all || nobody && !self.accepted.contains(message)) {
                wrong.push(format!("{message}: LOST, accepted {}: {seen:?}", self.accepted.contains(message)));
            }
            if !self.accepted.contains(message) && all {
                count("stored, and nobody was answered", 1);
            }
        }
        wrong.extend([self.far.torn(), self.kept.torn()].concat());
        let left = crate::store::sqlite::list(data).unwrap().unwrap_or_default();
        wrong.extend(left.iter().map(|listed| format!("left in the store: {listed:?}")));
        let files = fs::read_dir(data.join("store/bodies")).unwrap().flatten();
        let files = files.flat_map(|shard| fs::read_dir(shard.path()).unwrap().flatten()).count();
        if files > 0 {
            wrong.push(format!("{files} bodies are left"));
        }
        assert!(wrong.is_empty(), "killed {when}: {wrong:#?}\nin {}", self.folder.path().display());
        counts
    }
}

/// One death, and what could not be avoided; None if the point was not reached so often.
fn die_at(engine: &Path, point: Point, nth: u32) -> Option<BTreeMap<&'static str, usize>> {
    let mut scene = Scene::new(engine, 1);
    // A start has something to repair only after a death that left something.
    if matches!(point, Point::Opened | Point::Repaired) {
        scene.live(Some(format!("{:?}", Point::BodySynced)), None);
    }
    if let Ended::Over(_) = scene.live(Some(format!("{point:?}:{nth}")), None) {
        return None;
    }
    let Ended::Over(_) = scene.live(None, None) else { panic!("a victim without a point died") };
    Some(scene.judge(&format!("at {point:?}, passing {nth}")))
}

#[test]
fn every_point_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    drop(engine(folder.path()));
    let mut calm = Scene::new(folder.path(), 1);
    let Ended::Over(passed) = calm.live(None, None) else { panic!("nobody asked it to die") };
    assert_eq!(calm.judge("never"), BTreeMap::from([("sent twice: the reply was lost", 2)]));
    let began = Instant::now();
    let mut deaths = Vec::new();
    for point in Point::ALL {
        let times = passed.get(&format!("{point:?}")).copied();
        let times = times.unwrap_or_else(|| panic!("nothing passes {point:?}"));
        deaths.push((*point, 1));
        if times > 1 && std::env::var_os(ROUNDS).is_some() {
            deaths.push((*point, times.div_ceil(2).max(2)));
        }
    }
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some((point, nth)) = deaths.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let mut died = die_at(folder.path(), *point, *nth);
                    // The death may have met another message on its way to another server, but not each time.
                    for _ in 0..2 {
                        if BETWEEN.contains(point) || died.as_ref().is_none_or(|counts| !counts.contains_key(DOUBLE)) {
                            break;
                        }
                        died = die_at(folder.path(), *point, *nth);
                    }
                    results.lock().push(((*point, *nth), died));
                }
            });
        }
    });
    let mut results = results.into_inner();
    results.sort_by_key(|(death, _)| *death);
    assert_eq!(results.len(), deaths.len());
    println!("{} deaths in {:.1} s", deaths.len(), began.elapsed().as_secs_f64());
    for ((point, nth), counts) in results {
        println!("{point:?} {nth}: {counts:?}");
        let Some(counts) = counts else {
            assert!(nth > 1, "{point:?} was not reached");
            continue;
        };
        if nth > 1 {
            continue;
        }
        let twice = counts.get(DOUBLE).copied().unwrap_or(0);
        let may = BETWEEN.contains(&point);
        assert!(may || twice == 0, "{point:?}: {counts:?}");
        // The first passing is that of the message `away`, which nobody has recorded.
        if matches!(point, Point::ContentSent | Point::ShipmentAnswered) {
            assert_eq!(twice, 2, "{point:?}: this is how a double looks: {counts:?}");
        }
        // That is no loss, and may happen beside any other point: messages come in while others leave.
        let unanswered = counts.contains_key("stored, and nobody was answered");
        assert!(
            unanswered || !matches!(point, Point::AcceptCommitted | Point::AcceptAnswered),
            "{point:?}: {counts:?}"
        );
    }
}

/// Killed at random under load, three times in a row each.
#[test]
fn random_deaths_under_load_are_survived() {
    let rounds: u64 = std::env::var(ROUNDS).map_or(1, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    drop(engine(folder.path()));
    let mut all: BTreeMap<&'static str, usize> = BTreeMap::new();
    for round in 0..rounds {
        let mut scene = Scene::new(folder.path(), LOADS);
        for _ in 0..3 {
            let time = Duration::from_millis(200 + rand::random::<u64>() % 3000);
            if let Ended::Over(_) = scene.live(None, Some(time)) {
                break;
            }
        }
        let Ended::Over(_) = scene.live(None, None) else { panic!("nobody asked it to die") };
        for (what, n) in scene.judge(&format!("in round {round}")) {
            *all.entry(what).or_default() += n;
        }
    }
    println!("{rounds} rounds: {all:#?}");
}

/// Who adds a point adds it here too; and what is listed is passed somewhere.
#[test]
fn every_point_stands_in_the_source_once() {
    let mut sources = String::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            let name = file.display().to_string();
            if file.is_dir() {
                folders.push(file);
            } else if !name.contains("tests") && !name.ends_with("point.rs") {
                sources += &fs::read_to_string(file).unwrap();
            }
        }
    }
    let words: Vec<&str> = sources.split("Point::").skip(1).collect();
    for point in Point::ALL {
        let name = format!("{point:?}");
        let places = words.iter().filter(|rest| rest.split(|c: char| !c.is_alphanumeric()).next() == Some(&name));
        assert_eq!(places.count(), 1, "{name} is passed in one place");
    }
    assert_eq!(words.len(), Point::ALL.len(), "a point that is not listed");
}
