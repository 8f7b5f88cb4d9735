//! Sessions over loopback sockets, with an engine that does what it is told ([`parrot`]) and a store that fails when it is
//! told to ([`memory`]).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod memory;
mod parrot;
mod plugins;
mod terms;
mod tls;

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use self::{
    memory::{Memory, Trouble},
    parrot::Aviary,
};
use super::*;

/// A server on loopback.
struct Rig {
    shared: Arc<Shared>,
    listeners: Listeners,
    store: Memory,
    frozen: Arc<AtomicUsize>,
    thawed: Arc<AtomicUsize>,
}

impl Rig {
    fn new(listeners: &str, settings: &str) -> Self {
        Self::with(listeners, settings, None)
    }

    fn with(listeners: &str, settings: &str, chains: Option<Arc<Chains>>) -> Self {
        let config: Config =
            toml::from_str(&format!("name = \"mail.example.test\"\n{settings}\n{listeners}\n[[domain]]\nname = \"example.test\"\nmailboxes = [\"*\"]\n")).unwrap();
        let config = Arc::new(config);
        let users = Arc::new(Users::empty());
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::load(&config.tls, folder.path(), &config.name).unwrap();
        let store = Memory::default();
        let aviary = Aviary::default();
        let (frozen, thawed) = (aviary.frozen.clone(), aviary.thawed.clone());
        let current = Current {
            policy: Arc::new(Policy::new(config.clone(), users.clone()).unwrap()),
            users,
            certificates: Some(certificates),
            config: config.clone(),
            chains,
        };
        let shared = Shared::new(Arc::new(aviary), Arc::new(store.clone()), Metrics::new(), current);
        let mut serving = Listeners::default();
        serving.become_these(&shared, &config.listeners).unwrap();
        Self { shared, listeners: serving, store, frozen, thawed }
    }

    fn mx(settings: &str) -> Self {
        Self::new("[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:0\"", settings)
    }

    async fn socket(&self) -> TcpStream {
        TcpStream::connect(self.listeners.addresses().next().unwrap().1).await.unwrap()
    }

    async fn greeted(&self) -> Peer<TcpStream> {
        let mut peer = Peer(self.socket().await);
        peer.expect("ok\n").await;
        peer
    }
}

/// The client.
struct Peer<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    async fn say(&mut self, octets: impl AsRef<[u8]>) {
        self.0.write_all(octets.as_ref()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Exactly these are the next octets.
    async fn expect(&mut self, expected: &str) {
        let mut got = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(5);
        while got.len() < expected.len() {
            let mut octets = vec![0; expected.len() - got.len()];
            let read = tokio::time::timeout_at(deadline.into(), self.0.read(&mut octets)).await;
            match read {
                Ok(Ok(n @ 1..)) => got.extend_from_slice(&octets[..n]),
                other => panic!("expected {expected:?}, got {:?} and then {other:?}", String::from_utf8_lossy(&got)),
            }
        }
        assert_eq!(String::from_utf8_lossy(&got), expected);
    }

    /// Everything until the end of the connection.
    async fn rest(&mut self) -> String {
        let mut all = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), self.0.read_to_end(&mut all)).await;
        read.expect("the connection is still open").unwrap();
        String::from_utf8_lossy(&all).into_owned()
    }

    async fn silent(&mut self) {
        let mut octet = [0];
        let read = tokio::time::timeout(Duration::from_millis(100), self.0.read(&mut octet)).await;
        assert!(read.is_err(), "expected silence, got {read:?} {octet:?}");
    }
}

/// Invariant 5: no acceptance before the store says that the message is durable. The content arrives as it was sent,
/// however it is cut, and one mailbox gets it once.
#[tokio::test]
async fn accepted_only_when_durable() {
    let rig = Rig::mx("");
    rig.store.gate.forget_permits(1000);
    let mut peer = rig.greeted().await;
    peer.say("hello client.example\nsender anna\nrecipients bob carl bob\ndata\n").await;
    peer.expect("ok\nok\nok\nok\nok\nok\n").await;
    let long = "y".repeat(300_000);
    for piece in ["bo", "dy on", "e\nbody two\nbody ", &long, "\nmessage 3\nsay after\n"] {
        peer.say(piece).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    peer.silent().await;
    assert!(rig.store.messages.lock().is_empty());
    rig.store.gate.add_permits(1);
    let queued = "ok queued as 00000000000000000000000007\n".repeat(3);
    peer.expect(&format!("{queued}after\n")).await;
    let messages = rig.store.messages.lock();
    let (envelope, content, entries) = &messages[0];
    assert_eq!(String::from_utf8_lossy(content), format!("onetwo{long}"));
    assert!(rig.store.flushes.load(SeqCst) > 0);
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert_eq!(envelope.hello.as_deref(), Some("client.example"));
    assert_eq!(envelope.client, Some("127.0.0.1".parse().unwrap()));
    assert_eq!(envelope.session.len(), 12);
}

#[tokio::test]
async fn store_trouble_is_answered() {
    let rig = Rig::mx("");
    for (trouble, at_data, at_end) in [
        (Trouble::Begin, "452 4.3.1", "451 4.3.0"),
        (Trouble::Write, "ok", "452 4.3.1"),
        (Trouble::Accept, "ok", "451 4.3.0"),
        (Trouble::None, "ok", "ok queued as 00000000000000000000000007"),
    ] {
        *rig.store.trouble.lock() = trouble;
        let mut peer = rig.greeted().await;
        peer.say("sender anna\nrecipients bob\ndata\n").await;
        peer.expect(&format!("ok\nok\n{at_data}\n")).await;
        peer.say("body x\nmessage 1\n").await;
        peer.expect(&format!("{at_end}\n")).await;
    }
    // An abandoned message leaves nothing, and neither does a lost connection.
    let dropped = rig.store.dropped.load(SeqCst);
    let mut peer = rig.greeted().await;
    peer.say("sender anna\nrecipients bob\ndata\nbody x\nabandon\nmessage 1\n").await;
    peer.expect("ok\nok\nok\nabandoned\n451 4.3.0\n").await;
    let mut lost = rig.greeted().await;
    lost.say("sender anna\nrecipients bob\ndata\nbody x\n").await;
    lost.expect("ok\nok\nok\n").await;
    drop(lost);
    for _ in 0..100 {
        if rig.store.dropped.load(SeqCst) == dropped + 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(rig.store.dropped.load(SeqCst), dropped + 2);
    assert_eq!(rig.store.messages.lock().len(), 1);
}

/// Idle sessions give their instance back, and go on where they were.
#[tokio::test]
async fn idle_sessions_freeze() {
    let rig = Rig::mx("[engine]\nfreeze-after = 50\n");
    let mut peer = rig.greeted().await;
    peer.say("wake 150\nsay o").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((rig.frozen.load(SeqCst), rig.thawed.load(SeqCst)), (1, 0), "frozen, thawed");
    peer.say("ne\nwake 150\n").await;
    peer.expect("one\n").await;
    assert_eq!(rig.thawed.load(SeqCst), 1, "by an octet");
    tokio::time::sleep(Duration::from_millis(110)).await;
    assert_eq!(rig.frozen.load(SeqCst), 2);
    peer.expect("tick\n").await;
    assert_eq!(rig.thawed.load(SeqCst), 2, "by the time");
}

#[tokio::test]
async fn a_broken_engine_harms_its_session_only() {
    let rig = Rig::mx("");
    let mut other = rig.greeted().await;
    for directive in ["trap", "stuck"] {
        let mut peer = rig.greeted().await;
        peer.say(format!("say before\n{directive}\nsay after\n")).await;
        let said = peer.rest().await;
        let farewell = "421 4.3.0 internal trouble, closing the connection\r\n";
        assert!(said.ends_with(farewell) && !said.contains("after"), "{directive}: {said:?}");
    }
    let mut peer = rig.greeted().await;
    peer.say("panic\n").await;
    assert_eq!(peer.rest().await, "");
    other.say("say alive\n").await;
    other.expect("alive\n").await;
    drop(other);
    tokio::time::timeout(Duration::from_secs(5), rig.shared.caps.empty()).await.expect("a seat was not given back");
}

/// What came before the 220 is void, what comes after it is the handshake, and the end is a clean one.
#[tokio::test]
async fn starttls() {
    let rig = Rig::mx("[engine]\nfreeze-after = 50\n");
    let mut peer = rig.greeted().await;
    peer.say("hello plain\ntls\nsay smuggled\n").await;
    peer.expect("ok\ngo\n").await;
    let mut peer = tls::client(peer.0).await;
    peer.expect("secured\n").await;
    peer.say("say inside\nsender anna\nrecipients bob\ndata\n").await;
    peer.expect("inside\nok\nok\nok\n").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(rig.frozen.load(SeqCst), 1, "also inside TLS");
    let long = "z".repeat(200_000);
    peer.say(format!("body {long}\nmessage 1\nbye\n")).await;
    // `read_to_end` fails without a close_notify.
    assert_eq!(peer.rest().await, "ok queued as 00000000000000000000000007\nbye\n");
    let messages = rig.store.messages.lock();
    let (envelope, content, _) = &messages[0];
    assert_eq!(content.len(), 200_000);
    assert_eq!(envelope.hello, None, "what was said outside TLS is forgotten");
    assert!(envelope.tls.as_deref().is_some_and(|tls| tls.contains("TLS")), "{:?}", envelope.tls);
}

#[tokio::test]
async fn implicit_tls() {
    let rig = Rig::new("[[listener]]\nkind = \"submissions\"\naddress = \"127.0.0.1:0\"", "");
    let mut peer = tls::client(rig.socket().await).await;
    peer.expect("ok\n").await;
    peer.say("bye\n").await;
    assert_eq!(peer.rest().await, "bye\n");
}

#[tokio::test]
async fn proxy_before_all() {
    let listener = |networks: &str| {
        format!("[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:0\"\nproxy = [\"192.0.2.0/24\", \"{networks}\"]")
    };
    let rig = Rig::new(&listener("127.0.0.0/8"), "[limits]\nsessions-per-client = 1");
    let header = "PROXY TCP4 198.51.100.9 127.0.0.1 4660 25\r\n";
    let mut peer = Peer(rig.socket().await);
    peer.say(format!("{header}say hello\n")).await;
    peer.expect("ok\nhello\n").await;
    peer.say("sender anna\nrecipients bob\ndata\nmessage 1\n").await;
    peer.expect("ok\nok\nok\nok queued as 00000000000000000000000007\n").await;
    assert_eq!(rig.store.messages.lock()[0].0.client, Some("198.51.100.9".parse().unwrap()));
    let mut same = Peer(rig.socket().await);
    same.say(header).await;
    assert_eq!(same.rest().await, "421 4.7.0 too many connections, try again later\r\n", "one seat for one client");
    let untrusting = Rig::new(&listener("::1"), "");
    for (rig, says, why) in
        [(&rig, "say hello, this is no header\n", "no header"), (&untrusting, header, "not a trusted proxy")]
    {
        let mut peer = Peer(rig.socket().await);
        let _ = peer.0.write_all(says.as_bytes()).await;
        let mut said = Vec::new();
        // The connection may be reset, as what we said is not read.
        let _ = peer.0.read_to_end(&mut said).await;
        assert!(said.is_empty(), "{why}: {said:?}");
    }
}

#[tokio::test]
async fn seats_are_limited() {
    let full = "421 4.7.0 too many connections, try again later\r\n";
    for settings in ["[limits]\nsessions = 2", "[limits]\nsessions-per-client = 2"] {
        let rig = Rig::mx(settings);
        let (_one, two) = (rig.greeted().await, rig.greeted().await);
        assert_eq!(Peer(rig.socket().await).rest().await, full, "{settings}");
        drop(two);
        for attempt in 0.. {
            let mut peer = Peer(rig.socket().await);
            let mut octets = [0; 3];
            peer.0.read_exact(&mut octets).await.unwrap();
            if &octets == b"ok\n" {
                break;
            }
            assert!(attempt < 100, "{settings}: the seat is never free again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn early_talkers_are_told_apart() {
    let rig = Rig::new("[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:0\"\ngreeting-delay = 150", "");
    let begun = Instant::now();
    let mut patient = rig.greeted().await;
    assert!(begun.elapsed() >= Duration::from_millis(150));
    patient.say("say hello\n").await;
    patient.expect("hello\n").await;
    let mut hasty = Peer(rig.socket().await);
    hasty.say("say hello\n").await;
    hasty.expect("421 4.5.1\nhello\n").await;
}

/// A peer that never reads is closed, and costs one step's output until then.
#[tokio::test]
async fn readers_that_never_read() {
    let rig = Rig::mx("[limits]\nwrite-timeout = 1");
    let mut peer = rig.greeted().await;
    peer.say("flood 30000000\n").await;
    tokio::time::timeout(Duration::from_secs(10), rig.shared.caps.empty()).await.expect("still open");
}

#[tokio::test]
async fn draining() {
    let mut rig = Rig::mx("");
    let (mut idle, mut busy, mut stalled) = (rig.greeted().await, rig.greeted().await, rig.greeted().await);
    busy.say("sender anna\nrecipients bob\ndata\nbody begin").await;
    busy.expect("ok\nok\nok\n").await;
    stalled.say("sender anna\nrecipients bob\ndata\nbody begin").await;
    stalled.expect("ok\nok\nok\n").await;
    let address = rig.listeners.addresses().next().unwrap().1.to_owned();
    rig.listeners.close().await;
    assert!(TcpStream::connect(&address).await.is_err(), "nobody listens any more");
    let shared = rig.shared.clone();
    let drain = tokio::spawn(async move { shared.drain(Duration::from_millis(600)).await });
    assert_eq!(idle.rest().await, "421\n", "idle sessions end at once");
    busy.expect("421\n").await;
    busy.say("ning\nmessage 1\n").await;
    assert_eq!(busy.rest().await, "ok queued as 00000000000000000000000007\n", "a message on its way may arrive");
    assert!(!drain.is_finished());
    tokio::time::timeout(Duration::from_secs(5), drain).await.expect("cut off at the end").unwrap();
    assert_eq!(rig.store.messages.lock().len(), 1);
    assert_eq!(rig.store.dropped.load(SeqCst), 1, "and the one that did not is nowhere");
}

/// A reload opens what is new, closes what is gone, keeps what stays, and does nothing at all if it can not.
#[tokio::test]
async fn listeners_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let listener = |name: &str, discard: bool| -> Listener {
        let path = folder.path().join(name);
        toml::from_str(&format!("kind = \"lmtp\"\naddress = \"unix:{}\"\ndiscard = {discard}", path.display())).unwrap()
    };
    let there = |name: &str| folder.path().join(name).exists();
    let mut rig = Rig::mx("");
    rig.listeners.become_these(&rig.shared, &[listener("a", false), listener("b", false)]).unwrap();
    assert_eq!((there("a"), there("b"), rig.listeners.addresses().count()), (true, true, 2));
    let error = rig.listeners.become_these(&rig.shared, &[listener("c", false), listener("no/folder", false)]);
    assert!(error.is_err() && there("a") && there("b") && !there("c"), "{error:?}");
    rig.listeners.become_these(&rig.shared, &[listener("b", true), listener("c", false)]).unwrap();
    for _ in 0..100 {
        if !there("a") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((there("a"), there("b"), there("c")), (false, true, true));
    let mut peer = Peer(tokio::net::UnixStream::connect(folder.path().join("b")).await.unwrap());
    peer.say("sender anna\nrecipients bob\ndata\nbody x\nmessage 1\n").await;
    peer.expect("ok\nok\nok\nok\nok discarded, for measuring only\n").await;
    assert!(rig.store.messages.lock().is_empty(), "discarded");
}

/// What a session costs beside its engine image.
#[tokio::test]
async fn sessions_are_small() {
    let rig = Rig::mx("");
    let socket = rig.socket().await;
    let seat = rig.shared.caps.enter(10).unwrap();
    let post = rig.listeners.0[0].post.load_full();
    let future = drive::run(rig.shared.clone(), post, Socket::Tcp(socket), seat, rig.shared.phase.subscribe());
    let size = size_of_val(&future);
    assert!(size < 6 * 1024, "{size} octets");
    println!("a session's future has {size} octets");
}
