//! Deliveries to servers on loopback by an engine that is made up.

use tokio::time::timeout;

use super::*;
use crate::{
    config::{Config, Destination},
    deliver::smtp::fake::{Fake, Log, Server, means},
    dns::Resolver,
    store::{Address, Body, Content, EntryId, Envelope, MessageId, NewEntry, Route},
};

#[test]
fn mail_is_given_up_only_if_no_host_may_take_it_later() {
    let later = |n| Trouble::Later((4, n), String::new(), None);
    let never = |n| Trouble::Never((4, n), String::new(), None);
    for (hosts, expected) in [
        (vec![later(1)], later(1)),
        (vec![never(4)], never(4)),
        (vec![later(2), never(4)], later(2)),
        (vec![never(4), later(2)], later(2)),
        (vec![never(6), never(4)], never(4)),
        (vec![later(1), later(2), never(4)], later(2)),
    ] {
        let all = hosts.iter().cloned().fold(None, |earlier, this| Some(this.beside(earlier)));
        assert_eq!(all, Some(expected), "{hosts:?}");
    }
}

/// All leases hold.
struct Held;

#[async_trait::async_trait]
impl Leases for Held {
    async fn lost(&self, _: &[&Lease]) -> Vec<EntryId> {
        Vec::new()
    }
}

/// The first one's lease holds when it is asked for the first time only.
#[derive(Default)]
struct Lapsing(std::sync::atomic::AtomicUsize);

#[async_trait::async_trait]
impl Leases for Lapsing {
    async fn lost(&self, leases: &[&Lease]) -> Vec<EntryId> {
        let before = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        leases.iter().map(|lease| lease.entry).filter(|entry| before > 0 && entry.index == 0).collect()
    }
}

/// The servers of `far.test`, in order, and somebody who sends there.
struct Rig {
    servers: Vec<Server>,
    config: Config,
    courier: Arc<Courier>,
    log: Log,
}

impl Rig {
    async fn new(letters: &str) -> Self {
        let mut servers = Vec::new();
        for letter in letters.chars() {
            servers.push(Server::start(letter).await);
        }
        let hosts: Vec<String> = servers.iter().map(|server| server.address.to_string()).collect();
        let text = format!("domains = ['far.test']\nhosts = {hosts:?}\ntls = 'none'");
        let destination: Destination = toml::from_str(&text).unwrap();
        let config = Config { name: "us.test".into(), destinations: vec![destination], ..Config::default() };
        let log = Log::default();
        let resolver = Resolver::told(&std::collections::BTreeMap::new()).unwrap();
        let courier = Courier::new(&config, Arc::new(Fake(log.clone())), resolver, means());
        Self { servers, config, courier, log }
    }

    /// What became of each, in short.
    async fn send(&self, content: &str, recipients: usize) -> Vec<String> {
        self.send_while(content, recipients, &Held).await
    }

    async fn send_while(&self, content: &str, recipients: usize, held: &dyn Leases) -> Vec<String> {
        let size = content.len() as u64;
        let envelope = Arc::new(Envelope { size, ..Envelope::default() });
        let lease = |index| Lease {
            entry: EntryId { message: MessageId::default(), index },
            token: 1,
            envelope: envelope.clone(),
            recipient: NewEntry::to(Address { local: format!("r{index}"), domain: "far.test".into() }, Route::Relay),
            recipients: 1,
            attempts: 0,
            unsure: false,
            late: false,
        };
        let leases = (0..).take(recipients).map(lease).collect();
        let body = Body { prefix: Vec::new(), content: Content::Inline(content.as_bytes().to_vec()) };
        let shipment = Shipment { leases, body: Arc::new(body), sent_as: None };
        let sending = self.courier.send(&self.config, &shipment, held);
        let (sent, _) = timeout(Duration::from_secs(20), sending).await.expect("an end");
        let short = |sent: &Sent| match sent {
            Sent::Taken { .. } => "taken".to_owned(),
            Sent::Later { status, .. } => format!("later {}.{}", status.0, status.1),
            Sent::Never { status, .. } => format!("never {}.{}", status.0, status.1),
        };
        sent.iter().map(short).collect()
    }

    fn connections(&self) -> Vec<usize> {
        self.servers.iter().map(Server::connections).collect()
    }
}

const PLAIN: &str = "Subject: x\r\n\r\nHello\r\n";
const GREEN: &str = "Subject: x\r\n\r\nGrün\r\n";
/// It has no other form.
const SEALED: &str = "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nGrün\r\n--b--\r\n";

#[tokio::test]
async fn a_host_that_lacks_something_is_followed_by_the_next() {
    for (letters, content, ends, asked) in [
        ("t", PLAIN, "taken taken", "t"),
        ("r", PLAIN, "never 7.30 never 7.30", "r"),
        ("rt", PLAIN, "taken taken", "rt"),
        ("rst", PLAIN, "taken taken", "rst"),
        ("rs", PLAIN, "never 7.1 never 7.1", "rs"),
        ("r!", PLAIN, "later 4.2 later 4.2", "r"),
        ("!r", PLAIN, "later 4.2 later 4.2", "r"),
        // What a server says of a recipient is an answer; what one lacks for one recipient, it need not for the other.
        ("n", PLAIN, "never 7.4 never 7.4", "n"),
        ("nt", PLAIN, "never 7.4 never 7.4", "n"),
        ("rx", PLAIN, "later 7.5 later 7.5", "rx"),
        ("ut", PLAIN, "taken taken", "ut"),
        ("un", PLAIN, "never 7.4 taken", "un"),
        ("u", PLAIN, "never 7.2 taken", "u"),
        // Another form where there is one, another host where there is none.
        ("7t", GREEN, "taken taken", "77"),
        ("7t", SEALED, "taken taken", "7t"),
        ("7", SEALED, "never 6.3 never 6.3", "7"),
    ] {
        let rig = Rig::new(letters).await;
        assert_eq!(rig.send(content, 2).await.join(" "), ends, "{letters}");
        let log: String = rig.log.lock().iter().map(|one| one.server).collect();
        assert_eq!(log, asked, "{letters}");
        // What is kept is asked once, and no host that lacks something twice.
        rig.log.lock().clear();
        rig.send(content, 2).await;
        let log: String = rig.log.lock().iter().map(|one| one.server).collect();
        assert!(log.len() <= asked.len() + 1, "{letters}, again: {log}");
    }
}

#[tokio::test]
async fn the_end_of_a_message_is_withheld_when_a_lease_ended_on_the_way() {
    assert_eq!(Rig::new("d").await.send(PLAIN, 2).await, ["taken", "taken"]);
    let lapsing = Lapsing::default();
    assert_eq!(Rig::new("d").await.send_while(PLAIN, 2, &lapsing).await, ["later 3.0", "later 3.0"]);
    assert_eq!(lapsing.0.into_inner(), 2, "once before the transaction, once before its end");
    // Where nothing takes long it is asked once.
    let lapsing = Lapsing::default();
    assert_eq!(Rig::new("t").await.send_while(PLAIN, 2, &lapsing).await, ["taken", "taken"]);
}

#[tokio::test]
async fn a_connection_is_used_for_what_it_was_made_for() {
    let mut rig = Rig::new("t").await;
    let mut count = 0;
    let usual = rig.config.clone();
    let password = tempfile::NamedTempFile::new().unwrap();
    let changes: [&dyn Fn(&mut Config); 6] = [
        &|_| {},
        &|config| config.name = "other.test".into(),
        &|config| config.outbound.source = vec![[127, 0, 0, 1].into()],
        &|config| config.destinations[0].ignore = vec!["SIZE".into()],
        &|config| config.destinations[0].tls = crate::config::outbound::Security::Opportunistic,
        &|config| {
            config.destinations[0].login = Some("anna".into());
            config.destinations[0].password_file = Some(password.path().to_owned());
        },
    ];
    for (number, change) in changes.iter().enumerate() {
        rig.config = usual.clone();
        change(&mut rig.config);
        count += 1;
        for _ in 0..2 {
            assert_eq!(rig.send(PLAIN, 1).await, ["taken"]);
            assert_eq!(rig.connections(), [count], "{number}");
        }
    }
    // What has nothing to do with it changes nothing; other roots and keys do.
    rig.config = usual.clone();
    rig.config.destinations[0].connections = Some(7);
    assert_eq!((rig.send(PLAIN, 1).await, rig.connections()), (vec!["taken".to_owned()], vec![count]));
    rig.courier.become_these(means());
    assert_eq!((rig.send(PLAIN, 1).await, rig.connections()), (vec!["taken".to_owned()], vec![count + 1]));
}

#[tokio::test]
async fn what_was_converted_waits_for_room() {
    let rig = Rig::new("7").await;
    let long = GREEN.replace("Grün", &"Grün ".repeat(20_000));
    let all = u64::from(u32::MAX);
    let others = rig.courier.room(all).await;
    let sending = timeout(Duration::from_millis(500), rig.send(&long, 1));
    assert!(sending.await.is_err(), "there was room");
    assert_eq!(rig.log.lock().len(), 1, "the form that was not taken");
    drop(others);
    assert_eq!(rig.send(&long, 1).await, ["taken"]);
    let sizes: Vec<u64> = rig.log.lock().iter().map(|one| one.size).collect();
    assert!(sizes.last() > sizes.first(), "{sizes:?}");
    // All of it was given back.
    assert!(timeout(Duration::from_secs(5), rig.courier.room(all)).await.is_ok());
}
