//! Entries that wait for plugins: delivered, judged again, reported.

use parking_lot::Mutex;

use super::*;
use crate::{
    plugin::hook::{Forward, Hook, Phase, Reason, Scratch, Verdict, Wishes},
    policy::chain::fake::{Asked, Fake, Log, reject},
    store::{Edit, sqlite},
};

/// A plugin with these hooks.
fn plugin(hooks: &[Hook], answer: impl Fn(&Asked<'_>) -> Verdict + Send + Sync + 'static) -> House {
    let fake = Fake::make(&Log::default(), "courier", hooks, move |asked, _| answer(asked));
    House { chain: vec![fake], ..House::default() }
}

fn retry(text: &str) -> Verdict {
    Verdict::Defer(Reason { subject: 4, detail: 1, text: text.into() })
}

type Calls = Arc<Mutex<Vec<String>>>;

/// Each attempt has its number and one key; the message is the recipient's own; other mail goes on.
#[tokio::test]
async fn a_plugin_delivers() {
    let calls = Calls::default();
    let seen = calls.clone();
    let rig = Rig::new().with(plugin(&[Hook::Delivery, Hook::Report], move |asked| {
        if asked.hook == Hook::Report {
            let report = asked.facts.report.as_ref().unwrap();
            seen.lock().push(format!("{} is {:?} after {}", asked.to, report.state, report.attempts));
            return Verdict::Proceed;
        }
        let attempt = asked.facts.attempt.as_ref().unwrap();
        let message = asked.message.unwrap();
        assert_eq!((&*message.prefix, &*message.content), (&b"Received: x\r\n"[..], &b"Subject: x\r\n\r\n"[..]));
        let key = attempt.idempotency_key.split_once('.').unwrap().1;
        seen.lock().push(format!("{} {key} attempt {}", asked.to, attempt.number));
        match attempt.number {
            1 => retry("not yet"),
            _ => Verdict::Accept,
        }
    }));
    rig.configure(|queue| queue.retry_first = 1);
    let relayed = NewEntry { route: Route::Relay, ..entry("p-far") };
    let edited = NewEntry { edits: vec![Edit::Remove(9)], ..entry("p-a") };
    let id = accept(&rig.store, b"Subject: x\r\n\r\n", vec![entry("anna"), edited, relayed]).await;
    rig.run_until(|counts, _| counts.queued == 0 && calls.lock().len() == 6).await;
    let mut calls = calls.lock().clone();
    calls.sort();
    assert_eq!(
        calls,
        [
            "p-a 1 attempt 1",
            "p-a 1 attempt 2",
            "p-a is Delivered after 2",
            "p-far 2 attempt 1",
            "p-far 2 attempt 2",
            "p-far is Delivered after 2",
        ]
    );
    assert_eq!(rig.mail("anna@example.test").len(), 1);
    assert!(rig.mail("p-a@example.test").is_empty(), "instead of the Maildir");
    let told: Vec<_> =
        sqlite::verdicts(rig.folder.path(), &id.to_string()).unwrap().unwrap().into_iter().map(|v| v.judged).collect();
    assert_eq!(told.iter().filter(|told| told.contains("delivered by plugin courier")).count(), 2, "{told:?}");
    assert_eq!(told.iter().filter(|told| told.contains("not delivered yet: plugin courier: not yet")).count(), 2);
}

/// What a plugin gives up is told to its sender, with the plugin's status.
#[tokio::test]
async fn a_plugin_gives_up() {
    let calls = Calls::default();
    let seen = calls.clone();
    let rig = Rig::new().with(plugin(&[Hook::Delivery, Hook::Report], move |asked| match &asked.facts.report {
        Some(report) => {
            seen.lock().push(format!("{:?} {:?} {}", report.state, report.status, report.text));
            Verdict::Proceed
        }
        None => reject("the gateway is closed"),
    }));
    rig.configure(|queue| queue.notify_strangers = true);
    accept(&rig.store, b"x", vec![entry("p-a")]).await;
    rig.run_until(|counts, _| counts.queued == 0 && !calls.lock().is_empty()).await;
    assert_eq!(*calls.lock(), [r#"Failed Some("5.7.1") plugin courier: the gateway is closed"#]);
    let listed = rig.store.list().await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((listed[0].recipient.as_str(), listed[0].reverse_path.as_str()), ("\"a b\"@far.test", "<>"));
}

/// A process that dies after the plugin delivered and before that is recorded asks again, with the same key and the next
/// number.
#[tokio::test]
async fn a_lost_record() {
    let calls = Calls::default();
    let seen = calls.clone();
    let rig = Rig::new().with(plugin(&[Hook::Delivery], move |asked| {
        let attempt = asked.facts.attempt.as_ref().unwrap();
        seen.lock().push(format!("{} {}", attempt.idempotency_key, attempt.number));
        Verdict::Accept
    }));
    let id = accept(&rig.store, b"x", vec![entry("p-a")]).await;
    // The first process: as far as the call, and no farther.
    let lease = rig.store.claim(now(), 1, LEASE).await.unwrap().remove(0);
    assert!(rig.store.begin_attempts(vec![lease]).await.unwrap().is_empty());
    calls.lock().push(format!("{id}.0 1"));
    let rig = rig.restart().await;
    rig.run_until(|counts, _| counts.queued == 0).await;
    assert_eq!(*calls.lock(), [format!("{id}.0 1"), format!("{id}.0 2")]);
}

/// A plugin that does not answer until it is let go.
struct Stuck {
    free: watch::Receiver<bool>,
    /// Calls that are under way, and the most that ever were.
    calls: Mutex<(usize, usize)>,
}

impl Plugin for Stuck {
    fn name(&self) -> &str {
        "stuck"
    }
    fn hash(&self) -> &str {
        "00"
    }
    fn hooks(&self) -> &[Hook] {
        &[Hook::Delivery]
    }
    fn phase(self: Arc<Self>, _: Arc<Facts>, _: Scratch, _: Option<Arc<Message>>) -> Box<dyn Phase> {
        Box::new(StuckPhase(self))
    }
}

struct StuckPhase(Arc<Stuck>);

#[async_trait::async_trait]
impl Phase for StuckPhase {
    async fn call(&mut self, hook: Hook, _: Option<&Forward>, _: &[String], _: &mut Wishes) -> Ran {
        {
            let mut calls = self.0.calls.lock();
            calls.0 += 1;
            calls.1 = calls.1.max(calls.0);
        }
        let _ = self.0.free.clone().wait_for(|free| *free).await;
        self.0.calls.lock().0 -= 1;
        Ran {
            plugin: "stuck".into(),
            hash: "00".into(),
            hook,
            verdict: Verdict::Accept,
            retry_after: None,
            failure: None,
            time: Duration::ZERO,
            memory: 0,
        }
    }
}

/// However long a plugin takes, nobody else is asked to deliver the same meanwhile.
#[tokio::test]
async fn a_plugin_that_takes_longer_than_a_lease() {
    let (let_go, free) = watch::channel(false);
    let stuck = Arc::new(Stuck { free, calls: Mutex::default() });
    let rig = Rig::new().with(House { chain: vec![stuck.clone()], judge: None });
    rig.change(|config| {
        let table = "[[plugin]]\nname = \"stuck\"\nfile = \"x\"\nlimits = { instances = 6 }\n";
        config.plugins = toml::from_str::<Config>(table).unwrap().plugins;
    });
    accept(&rig.store, b"x", vec![entry("p-a")]).await;
    let lease = Duration::from_millis(300);
    let (stop, stopped) = watch::channel(false);
    let queue = tokio::spawn(deliver(Arc::new(Shared { lease, ..rig.shared() }), stopped));
    tokio::time::sleep(4 * lease).await;
    assert_eq!(*stuck.calls.lock(), (1, 1));
    let_go.send(true).unwrap();
    while rig.store.counts().await.unwrap() != Counts::default() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.send(true).unwrap();
    queue.await.unwrap();
    assert_eq!(*stuck.calls.lock(), (0, 1));
}

/// One that is stuck holds up only its own mail, of which few are worked on and few wait in memory.
#[tokio::test]
async fn a_stuck_plugin() {
    let (let_go, free) = watch::channel(false);
    let stuck = Arc::new(Stuck { free, calls: Mutex::default() });
    let rig = Rig::new().with(House { chain: vec![stuck.clone()], ..House::default() });
    rig.change(|config| {
        let table = "[[plugin]]\nname = \"stuck\"\nfile = \"x\"\nlimits = { instances = 6 }\n";
        config.plugins = toml::from_str::<Config>(table).unwrap().plugins;
    });
    for _ in 0..40 {
        accept(&rig.store, b"x", vec![entry("p-a"), entry("anna")]).await;
    }
    let others = async {
        let waiting = || async { rig.store.list().await.unwrap().len() > 40 };
        while rig.mail("anna@example.test").len() < 40 || stuck.calls.lock().0 < 3 || waiting().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Who has arrived is settled a little later.
        let mut listed = rig.store.list().await.unwrap();
        while listed.len() > 40 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            listed = rig.store.list().await.unwrap();
        }
        let leased = listed.iter().filter(|line| line.state == "leased").count();
        assert_eq!((listed.len(), leased), (40, 15), "the others wait in the store");
        let_go.send(true).unwrap();
    };
    tokio::join!(rig.run_until(|counts, _| counts.queued == 0), others);
    assert_eq!(*stuck.calls.lock(), (0, 3));
}

fn again(name: &str) -> NewEntry {
    let pending =
        Pending::Rejudge { transaction: "s.1".into(), reason: "deferred by plugin p: wait".into(), asked: None };
    NewEntry { pending, ..entry(name) }
}

/// Judged again, an entry is delivered with its edits, held, sent on, dropped or told of; nothing is delivered before.
#[tokio::test]
async fn judged_again() {
    let plain = |lease: &Lease| NewEntry { pending: Pending::Nothing, ..lease.recipient.clone() };
    let rig = Rig::new().with(House {
        chain: plugin(&[Hook::Report], |_| Verdict::Proceed).chain,
        judge: Some(Box::new(move |lease, message| {
            assert_eq!((&*message.prefix, &*message.content), (&b"Received: x\r\n"[..], &b"Subject: x\r\n\r\n"[..]));
            match lease.recipient.recipient.local.as_str() {
                "p-edited" if lease.attempts == 0 => Err("deferred by plugin p: wait more".into()),
                "p-edited" => {
                    let edits = vec![Edit::Append(1, "X-Judged".into(), "twice".into())];
                    Ok(vec![NewEntry { edits, ..plain(lease) }])
                }
                "p-held" => Ok(vec![NewEntry { held: Some("quarantined: no".into()), ..plain(lease) }]),
                "p-sent" => Ok(vec![entry("there"), entry("elsewhere")]),
                "p-bounced" => {
                    let pending = Pending::Bounce { status: "5.7.1".into(), reason: "no".into() };
                    Ok(vec![NewEntry { pending, ..plain(lease) }])
                }
                _ => Ok(vec![]),
            }
        })),
        ..House::default()
    });
    rig.configure(|queue| {
        queue.retry_first = 1;
        queue.notify_strangers = true;
    });
    let entries = ["p-edited", "p-held", "p-sent", "p-bounced", "p-gone"].map(again).to_vec();
    let id = accept(&rig.store, b"Subject: x\r\n\r\n", entries).await;
    rig.run_until(|counts, _| counts.queued == 0).await;
    let found = rig.mail("p-edited@example.test").pop_first().unwrap().1;
    assert!(String::from_utf8_lossy(&found).contains("X-Judged: twice\r\n"));
    assert_eq!((rig.mail("there@example.test").len(), rig.mail("elsewhere@example.test").len()), (1, 1));
    for name in ["p-held", "p-sent", "p-bounced", "p-gone"] {
        assert!(rig.mail(&format!("{name}@example.test")).is_empty(), "{name}");
    }
    let listed = rig.store.list().await.unwrap();
    let lines: Vec<_> = listed
        .iter()
        .map(|line| format!("{} {}", line.recipient, line.reason.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(lines, ["p-held@example.test quarantined: no".to_owned(), format!("\"a b\"@far.test {NEEDS_OUTBOUND}")]);
    let verdicts = sqlite::verdicts(rig.folder.path(), &id.to_string()).unwrap().unwrap();
    assert_eq!(verdicts.len(), 6, "each time of each: {verdicts:?}");
}

/// What can not be judged in time is quarantined, never delivered and never told of.
#[tokio::test]
async fn never_judged() {
    let calls = Calls::default();
    let seen = calls.clone();
    let mut house = plugin(&[Hook::Report], move |asked| {
        let report = asked.facts.report.as_ref().unwrap();
        seen.lock().push(format!("{:?}", report.state));
        Verdict::Proceed
    });
    house.judge = Some(Box::new(|_, _| Err("deferred by plugin p: wait".into())));
    let rig = Rig::new().with(house);
    let id = accept_at(&rig.store, 1, b"x", vec![again("p-a")]).await;
    rig.run_until(|counts, _| counts.held == 1 && !calls.lock().is_empty()).await;
    let listed = rig.store.list().await.unwrap();
    let expected =
        "quarantined, because it could not be judged in time: deferred by plugin p: wait; given up after 1 attempts";
    assert_eq!(listed[0].reason.as_deref(), Some(expected));
    assert_eq!(*calls.lock(), ["Quarantined"]);
    assert_eq!(sqlite::verdicts(rig.folder.path(), &id.to_string()).unwrap().unwrap().len(), 1);
    assert!(rig.mail("p-a@example.test").is_empty());
}

/// What a process that died left untold is told by the next one.
#[tokio::test]
async fn reports_outlive_the_process() {
    let calls = Calls::default();
    let seen = calls.clone();
    let rig = Rig::new().with(plugin(&[Hook::Report], move |asked| {
        seen.lock().push(asked.facts.transaction_id.clone());
        Verdict::Proceed
    }));
    let id = accept(&rig.store, b"x", vec![entry("p-a")]).await;
    let lease = rig.store.claim(now(), 1, LEASE).await.unwrap().remove(0);
    let shared = rig.shared();
    let config = rig.config.load_full();
    let outcome = ending::outcome(&shared, &config, lease, End::Delivered, None).outcome;
    assert!(outcome.report.is_some());
    rig.store.settle(vec![outcome]).await.unwrap();
    drop(shared);
    let rig = rig.restart().await;
    rig.run_until(|_, _| !calls.lock().is_empty()).await;
    assert_eq!(*calls.lock(), [id.to_string()]);
    assert_eq!(rig.store.reports(u64::MAX >> 1, 9).await.unwrap().0, []);
}
