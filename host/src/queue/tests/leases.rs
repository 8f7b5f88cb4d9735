//! Leases go on as long as somebody works or waits, and nothing is sent without one.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};

use super::*;
use crate::{
    deliver::smtp::courier::{self, Courier, Leases, Means, Sent},
    dkim::Signers,
    dns::Resolver,
    engine::pool::{EngineSettings, WasmEngine},
    queue::{
        destinations::{Place, Turn},
        shape::Terms,
    },
    store::{EntryId, Listed},
    transport::{http::Client, trust::Roots},
};

/// Over before anything else is, unless it goes on.
const SHORT: Duration = Duration::from_millis(600);

/// With outbound delivery to this server, over so many connections.
fn relaying(rig: &Rig, to: SocketAddr, connections: usize) -> Shared {
    rig.change(|config| {
        let text = format!(
            "[queue]\nretry-first = 3600\n[outbound]\nconnections = {connections}\ninitial-connections = {connections}\n\
             [[destination]]\ndomains = [\"far.test\"]\nhosts = [\"{to}\"]\n"
        );
        let read: Config = toml::from_str(&text).unwrap();
        (config.queue, config.outbound, config.destinations) = (read.queue, read.outbound, read.destinations);
    });
    let settings = EngineSettings { sessions: 8, deadline: Duration::from_secs(10), ..EngineSettings::default() };
    let engine = Arc::new(WasmEngine::new(&settings).unwrap());
    let config = rig.config.load_full();
    let roots = Roots::load(None).unwrap();
    let means = Means { signers: Signers::default(), roots, client: Client::new() };
    let courier = Courier::new(&config, engine, Resolver::new(&config.dns).unwrap(), means);
    Shared { courier: Some(courier), lease: SHORT, ..rig.shared() }
}

fn far(local: &str) -> NewEntry {
    NewEntry::to(Address { local: local.into(), domain: "far.test".into() }, Route::Relay)
}

/// Runs the queue until what is listed is so.
async fn run_until(rig: &Rig, shared: Shared, condition: impl Fn(&[Listed]) -> bool) {
    let (stop, stopped) = watch::channel(false);
    let queue = tokio::spawn(deliver(Arc::new(shared), stopped));
    let began = Instant::now();
    loop {
        let listed = rig.store.list().await.unwrap();
        if condition(&listed) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{listed:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.send(true).unwrap();
    queue.await.unwrap();
}

/// Whether they wait for their turn or for a server that takes its time: for each message there is one connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_tried_twice_because_it_takes_long() {
    const MESSAGES: usize = 3;
    for connections in [1, MESSAGES] {
        let rig = Rig::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = relaying(&rig, listener.local_addr().unwrap(), connections);
        let seen = Arc::new(AtomicUsize::new(0));
        let count = seen.clone();
        tokio::spawn(async move {
            loop {
                let (mut peer, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    tokio::time::sleep(2 * SHORT).await;
                    peer.write_all(b"421 busy\r\n").await
                });
            }
        });
        for _ in 0..MESSAGES {
            accept(&rig.store, b"x", vec![far("berta")]).await;
        }
        run_until(&rig, shared, |listed| listed.iter().all(|line| line.attempts == 1)).await;
        assert_eq!(seen.load(Ordering::Relaxed), MESSAGES, "over {connections}");
        assert!(rig.store.list().await.unwrap().iter().all(|line| line.state == "queued"));
    }
}

/// A place with a turn, and one that waits for it.
async fn waiting(all: &mut Destinations) -> (Turn, Place) {
    let terms = Terms { first: 1, most: 1, rate: None, rest: (60, 600) };
    let (_stop, mut stopped) = watch::channel(false);
    let turn = all.enter("far.test", &terms, now()).unwrap().turn(&mut stopped).await.unwrap().unwrap();
    (turn, all.enter("far.test", &terms, now()).unwrap())
}

/// Who has lost a lease while it waited sends nothing, and settles nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_without_a_lease() {
    let rig = Rig::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shared = relaying(&rig, listener.local_addr().unwrap(), 1);
    let shared = Arc::new(Shared { lease: LEASE, ..shared });
    let (_stop, stopped) = watch::channel(false);
    let mut all = Destinations::default();
    let (turn, place) = waiting(&mut all).await;
    accept(&rig.store, b"x", vec![far("berta")]).await;
    let leases = rig.store.claim(now(), 1, SHORT).await.unwrap();
    let shipment = relay::shipments(leases).pop().unwrap();
    let waits = tokio::spawn(shipment.wait(shared, rig.config.load_full(), place, stopped));
    // As when the machine stands still.
    let other = rig.store.claim(now() + 60_000, 1, LEASE).await.unwrap().pop().unwrap();
    drop(turn);
    waits.await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), listener.accept()).await.is_err(), "it connected");
    assert_eq!(rig.store.settle(vec![(other, Settlement::Delivered).into()]).await.unwrap(), []);
}

/// A lease that is lost between the connection and the transaction.
struct Lost;

#[async_trait::async_trait]
impl Leases for Lost {
    async fn lost(&self, leases: &[&Lease]) -> Vec<EntryId> {
        leases.iter().map(|lease| lease.entry).take(1).collect()
    }
}

/// It is asked once more when there is a connection: who has none then is not named there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_looked_at_before_each_transaction() {
    let rig = Rig::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shared = relaying(&rig, listener.local_addr().unwrap(), 1);
    let said = tokio::spawn(async move {
        let (peer, _) = listener.accept().await.unwrap();
        let mut peer = BufReader::new(peer);
        let mut said = Vec::new();
        let mut reply = "220 far.test\r\n";
        while peer.write_all(reply.as_bytes()).await.is_ok() {
            let mut line = String::new();
            if peer.read_line(&mut line).await.unwrap_or(0) == 0 {
                break;
            }
            reply = if line.starts_with(['E', 'M']) { "250 far.test\r\n" } else { "451 4.0.0 not now\r\n" };
            said.push(line);
        }
        said
    });
    accept(&rig.store, b"x", vec![far("berta"), far("carl")]).await;
    let leases = rig.store.claim(now(), 2, LEASE).await.unwrap();
    let body = Arc::new(rig.store.body(leases[0].entry.message).await.unwrap());
    let (config, shipment) = (rig.config.load_full(), courier::Shipment { leases, body, sent_as: None });
    let courier = shared.courier.unwrap();
    let (sent, _) = courier.send(&config, &shipment, &Lost).await;
    let texts: Vec<_> =
        sent.iter().map(|sent| if let Sent::Later { text, .. } = sent { text.as_str() } else { "" }).collect();
    assert!(texts[0].contains("lease") && texts[1].contains("not now"), "{texts:?}");
    drop(courier);
    let said = said.await.unwrap();
    assert!(
        said.iter().any(|line| line.contains("carl")) && !said.iter().any(|line| line.contains("berta")),
        "{said:?}"
    );
}

/// What was held under a configuration that is in force no more is not left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_too_late_is_released() {
    for hold in [true, false] {
        let rig = Rig::new();
        let shared = relaying(&rig, "127.0.0.1:1".parse().unwrap(), 1);
        rig.change(|config| config.outbound.hold = true);
        accept(&rig.store, b"x", vec![far("berta")]).await;
        let leases = rig.store.claim(now(), 1, LEASE).await.unwrap();
        let old = rig.config.load_full();
        let ended = attempt(&shared, &old, leases.into_iter().map(|lease| (lease, None)).collect()).await;
        rig.change(|config| config.outbound.hold = hold);
        settle(&shared, &old, ended).await;
        let state = rig.store.list().await.unwrap().remove(0).state;
        assert_eq!(state, if hold { "held" } else { "queued" });
    }
}
