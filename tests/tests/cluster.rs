//! Two nodes and three NATS servers under load from clients, and what must hold whatever of it dies: what was answered 250 is
//! delivered, once to a Maildir, and to another server once unless it was being sent at that moment.
//!
//! `CLUSTER_ROUNDS` (5) is the number of rounds; each has one fault, in turn: `CLUSTER_ROUNDS=100 cargo test -p hermetic-tests --test cluster`.
//! `CLUSTER_FAULT=AllServersKilled` has that one only.
//! The argument for each step is in `host/src/store/jetstream/mod.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::{
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

use hermetic_tests::{
    guest::shipped,
    lmtp::Sink,
    load::{ELSEWHERE, Ledger},
    logins,
    message::{Message, field, intact, token},
    nats::Nats,
    proxy::Proxy,
    server::{DOMAIN, Rig, Server},
    session::Session,
};
use rand::Rng;
use rustix::process::Signal;

/// Seconds that a node may be silent.
const LEASE: u64 = 3;
/// How long another server thinks about each message, so that there always is one on its way.
const THINKS: Duration = Duration::from_millis(30);
/// Until the servers take one that they do not hear for gone, and choose another leader.
const ELECTIONS: Duration = Duration::from_secs(10);
/// After a fault: until nobody acts any more on what he knew before.
const AFTER: Duration = Duration::from_secs(LEASE + 2);

fn rounds() -> usize {
    std::env::var("CLUSTER_ROUNDS").map_or(5, |n| n.parse().expect("CLUSTER_ROUNDS is a number"))
}

/// A node whose Maildirs are in a folder that others have too.
fn node(nats: &Nats, name: &str, ports: &[u16], mail: &Path, more: &str) -> Server {
    let store = nats.store(name, ports, &format!("lease = {LEASE}\nmaildirs = \"shared\""));
    let rig = Rig::new().listener("mx", "").tables(&format!("[observe]\nlevel = \"warn\"\n\n{store}\n{more}"));
    rig.start_below(|data| {
        symlink(mail, data.join("mail")).expect("ours");
        []
    })
}

/// What happens while mail comes in.
#[derive(Clone, Copy, Debug)]
enum Fault {
    NodeKilled,
    ServerKilled,
    AllServersKilled,
    NodeStopped,
    ServerStopped,
    NodeAndServerKilled,
    /// The first one alone.
    NodeCutOff,
    /// From the other servers, not from the nodes.
    ServerCutOff,
}

const FAULTS: [Fault; 8] = [
    Fault::NodeKilled,
    Fault::ServerKilled,
    Fault::AllServersKilled,
    Fault::NodeStopped,
    Fault::NodeCutOff,
    Fault::ServerStopped,
    Fault::ServerCutOff,
    Fault::NodeAndServerKilled,
];

/// Those that happen, in turn.
fn faults() -> Vec<Fault> {
    let wanted = std::env::var("CLUSTER_FAULT").ok();
    let is_wanted = |fault: &Fault| wanted.as_ref().is_none_or(|name| format!("{fault:?}") == *name);
    let faults: Vec<_> = FAULTS.into_iter().filter(is_wanted).collect();
    assert!(!faults.is_empty(), "CLUSTER_FAULT is one of {FAULTS:?}");
    faults
}

/// It happens, lasts, and is over. When it began.
fn happen(fault: Fault, nats: &mut Nats, nodes: &mut [Server; 2], network: &Proxy) -> Instant {
    let mut random = rand::rng();
    let (node, server) = (random.random_range(0..2), random.random_range(0..3));
    let lasting = Duration::from_millis(random.random_range(200..2000));
    std::thread::sleep(Duration::from_millis(random.random_range(200..900)));
    let began = Instant::now();
    match fault {
        Fault::NodeKilled => {
            nodes[node].kill();
            std::thread::sleep(lasting);
        }
        Fault::ServerKilled => {
            nats.kill(server);
            std::thread::sleep(lasting);
        }
        Fault::AllServersKilled => {
            (0..3).for_each(|n| nats.kill(n));
            std::thread::sleep(lasting);
        }
        Fault::NodeStopped => {
            // Long enough to be taken for dead, with everything in its hands.
            nodes[node].signal(Signal::STOP);
            std::thread::sleep(Duration::from_secs(LEASE + 2));
            nodes[node].signal(Signal::CONT);
        }
        Fault::NodeCutOff => {
            network.cut(true);
            std::thread::sleep(Duration::from_secs(LEASE + 2));
            network.cut(false);
        }
        Fault::ServerCutOff => {
            nats.cut(server, true);
            std::thread::sleep(ELECTIONS);
            nats.cut(server, false);
        }
        Fault::ServerStopped => {
            nats.signal(server, Signal::STOP);
            std::thread::sleep(Duration::from_secs(2));
            nats.signal(server, Signal::CONT);
        }
        Fault::NodeAndServerKilled => {
            nats.kill(server);
            nodes[node].kill();
            std::thread::sleep(lasting);
        }
    }
    began
}

/// Everything runs again.
fn heal(fault: Fault, nats: &mut Nats, nodes: &mut [Server; 2]) {
    (0..3).for_each(|n| {
        // One that runs is left alone.
        nats.run_if_dead(n);
    });
    nats.wait();
    for node in nodes.iter_mut() {
        if matches!(fault, Fault::NodeKilled | Fault::NodeAndServerKilled) && !node.runs() {
            node.start_again();
        }
    }
}

#[test]
fn every_promise_survives_any_of_them() {
    let Some(mut nats) = Nats::start() else { return };
    let mail = tempfile::tempdir().expect("a folder");
    let network = Proxy::start(&nats.ports());
    let sink = Sink::start(THINKS);
    let elsewhere = format!(
        "[[domain]]\nname = \"{ELSEWHERE}\"\nmailboxes = [\"*\"]\ndeliver = \"lmtp:127.0.0.1:{}\"\n\n\
         [queue]\nretry-first = 1\nretry-most = 2\n",
        sink.port
    );
    let mut nodes = [
        node(&nats, "a", &network.ports, mail.path(), &elsewhere),
        node(&nats, "b", &nats.ports(), mail.path(), &elsewhere),
    ];
    let ledger = Ledger::with_pauses(Duration::from_millis(20)).with_sink(sink);
    let began = Instant::now();
    let (rounds, faults) = (rounds(), faults());
    let mut twice = vec![0; faults.len()];
    for round in 0..rounds {
        let fault = faults[round % faults.len()];
        let (a, b) = (nodes[0].port("mx"), nodes[1].port("mx"));
        let (round_began, before) = (Instant::now(), (ledger.promised(), ledger.duplicates()));
        let broken = ledger.clients_send_while(4, a, || {
            ledger.clients_send_while(4, b, || {
                let broken = happen(fault, &mut nats, &mut nodes, &network);
                std::thread::sleep(Duration::from_millis(300));
                broken
            })
        });
        heal(fault, &mut nats, &mut nodes);
        let healed = Instant::now();
        ledger.fault(broken, healed + AFTER);
        Ledger::drained(&nodes[0]).unwrap_or_else(|why| panic!("round {round}, {fault:?}: {why}"));
        let drained = Instant::now();
        ledger.judge(&nodes[0]).unwrap_or_else(|why| panic!("round {round}, {fault:?}: {why}"));
        let (promised, again) = (ledger.promised() - before.0, ledger.duplicates() - before.1);
        twice[round % faults.len()] += again;
        println!(
            "round {round}, {fault:?}: {promised} messages answered 250, {again} sent on twice; \
             healed after {:.1} s, drained {:.1} s later, judged in {:.1} s",
            (healed - round_began).as_secs_f64(),
            (drained - healed).as_secs_f64(),
            drained.elapsed().as_secs_f64()
        );
    }
    println!(
        "{rounds} rounds, {} messages answered 250, {} not answered so; {} sent on, {} of them twice: {:?}; {:?}",
        ledger.promised(),
        ledger.unanswered(),
        ledger.sent_on(),
        ledger.duplicates(),
        faults.iter().zip(twice).filter(|(_, n)| *n > 0).collect::<Vec<_>>(),
        began.elapsed()
    );
    assert!(ledger.promised() >= 10 * rounds, "too little load to prove anything: {}", ledger.promised());
}

/// Without a majority: 451 4.3.0 at MAIL or at the final dot, and the queue goes on when it is back.
#[test]
fn without_a_majority_mail_is_refused_for_now() {
    let Some(mut nats) = Nats::start() else { return };
    let mail = tempfile::tempdir().expect("a folder");
    let node = node(&nats, "a", &nats.ports(), mail.path(), "");
    let send = |to: &str| {
        let mut session = Session::open(node.port("mx")).expect("it answers");
        session.command("EHLO client.example.org").expect("it answers");
        let to = [format!("{to}@{DOMAIN}")];
        session.send("sender@example.org", &to, &Message::sealed(&token(), 2000)).expect("it answers")
    };
    assert_eq!(send("anna").code, 250);
    nats.kill(0);
    nats.kill(1);
    let reply = send("berta");
    assert!(reply.code == 451 && reply.lines.concat().contains("4.3.0"), "{reply:?}");
    nats.run(0);
    nats.run(1);
    let end = Instant::now() + Duration::from_secs(60);
    while send("carla").code != 250 {
        assert!(Instant::now() < end, "it does not come back");
    }
    Ledger::drained(&node).unwrap_or_else(|why| panic!("{why}"));
    // What was refused because nobody could say whether it is kept may be there besides.
    let arrived = (node.maildir("anna").messages().len(), node.maildir("carla").messages().len());
    assert!(arrived.0 == 1 && arrived.1 >= 1, "{arrived:?}");
    let end = Instant::now() + Duration::from_secs(60);
    // Each stream has a leader of its own; they need not all be chosen by now.
    let status = loop {
        match node.try_run(&["cluster", "status"], "") {
            Ok(status) if status.contains("up to date") => break status,
            told => assert!(Instant::now() < end, "{told:?}"),
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    assert!(status.contains("a  alive") && status.contains("up to date") && status.contains("always"), "{status}");
}

/// All nodes are stopped: their queue can be read.
#[test]
fn a_queue_is_read_without_a_node() {
    let Some(nats) = Nats::start() else { return };
    let mail = tempfile::tempdir().expect("a folder");
    let mut node = node(&nats, "a", &nats.ports(), mail.path(), "[queue]\nhold = true\n");
    let messages = [2000, 200_000].map(|size| Message::sealed(&token(), size));
    for message in &messages {
        let mut session = Session::open(node.port("mx")).expect("it answers");
        session.command("EHLO client.example.org").expect("it answers");
        let to = [format!("anna@{DOMAIN}")];
        assert_eq!(session.send("sender@example.org", &to, message).expect("it answers").code, 250);
    }
    let before = node.queue();
    assert!(node.stop().success());
    let queue = node.queue();
    assert_eq!((before.len(), &before), (2, &queue));
    for (entry, message) in queue.iter().zip(&messages) {
        let id = entry["entry"].as_str().and_then(|id| id.split('.').next()).expect("an id");
        let shown = node.run(&["queue", "show", id], "");
        assert!(shown.contains(&format!("anna@{DOMAIN}")) && shown.contains("Subject"), "{shown}");
        let exported = node.run(&["queue", "export", id], "");
        assert!(exported.contains(&message.token), "{id}");
    }
}

/// A server that was alone joins a cluster: what it had goes along as it is, once, whatever interrupts that.
#[test]
fn mail_of_one_machine_moves_to_the_cluster() {
    let Some(nats) = Nats::start() else { return };
    let mut server = Rig::new().listener("mx", "").tables("[queue]\nhold = true\n").start();
    let messages =
        [(500, "anna"), (300_000, "berta"), (2000, "carla")].map(|(size, to)| (Message::sealed(&token(), size), to));
    for (message, to) in &messages {
        let mut session = Session::open(server.port("mx")).expect("it answers");
        session.command("EHLO client.example.org").expect("it answers");
        let to = [format!("{to}@{DOMAIN}"), format!("dora@{DOMAIN}")];
        assert_eq!(session.send("sender@example.org", &to, message).expect("it answers").code, 250);
    }
    let hers = |server: &Server| server.queue().into_iter().find(|one| one["recipient"] == format!("carla@{DOMAIN}"));
    let held = hers(&server).expect("it waits");
    let held = held["entry"].as_str().expect("an id");
    server.run(&["queue", "hold", held, "--reason", "she is away"], "");
    assert!(server.stop().success());

    let config = std::fs::read_to_string(server.config()).expect("ours");
    let store = nats.store("a", &nats.ports(), "maildirs = \"shared\"");
    let clustered = config.replace("[queue]\nhold = true\n", &store);
    std::fs::write(server.config(), &clustered).expect("ours");
    server.start_again();
    assert!(server.log().contains("hermetic cluster import"), "it says what is to be done: {}", server.log());
    let refused = server.try_run(&["cluster", "import"], "").expect_err("the server runs");
    assert!(refused.contains("another hermetic"), "{refused}");
    assert!(server.stop().success());

    // As it is after a run that ended before it had taken out here what is there.
    let (before, there) = (server.folder().join("before"), server.data().join("store"));
    let copy = |from: &Path, to: &Path| {
        let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
        assert!(done.success());
    };
    copy(&there, &before);
    let said = server.run(&["cluster", "import"], "");
    assert_eq!(said, "3 messages with 6 recipients moved to the cluster\n");
    assert_eq!(server.run(&["cluster", "import"], ""), "0 messages with 0 recipients moved to the cluster\n");
    let put_back = || {
        std::fs::remove_dir_all(&there).expect("ours");
        copy(&before, &there);
    };
    // A content that is damaged stays, and is no hindrance to the rest.
    put_back();
    let shards = std::fs::read_dir(there.join("bodies")).expect("bodies").map(|shard| shard.expect("ours").path());
    let files: Vec<_> = shards.flat_map(|shard| std::fs::read_dir(shard).expect("ours")).collect();
    let [Ok(large)] = files.as_slice() else { panic!("one message is large: {files:?}") };
    std::fs::remove_file(large.path()).expect("ours");
    let damaged = server.try_run(&["cluster", "import"], "").expect_err("one can not be read");
    assert!(damaged.contains("1 messages could not be read"), "{damaged}");
    put_back();
    let said = server.run(&["cluster", "import"], "");
    assert_eq!(said, "3 messages with 6 recipients moved to the cluster; 3 were there from an earlier run\n");

    server.start_again();
    Ledger::drained(&server).unwrap_or_else(|why| panic!("{why}"));
    let has = |name: &str| server.maildir(name).messages().len();
    assert_eq!(["anna", "berta", "carla", "dora"].map(has), [1, 1, 0, 3]);
    let held = hers(&server).expect("it is still held");
    assert!(
        held["state"] == "held" && held["reason"].as_str().is_some_and(|why| why.contains("she is away")),
        "{held}"
    );
    server.run(&["queue", "release", held["entry"].as_str().expect("an id")], "");
    Ledger::drained(&server).unwrap_or_else(|why| panic!("{why}"));
    for (message, to) in &messages {
        let copies = server.maildir(to).messages();
        assert!(copies.len() == 1 && intact(&copies[0]).is_ok(), "{to}: {}", copies.len());
        assert_eq!(field(&copies[0], "X-Token"), Some(message.token.as_str()), "{to}");
    }
}

/// With what its operator was given a node is let in, with the like of it that somebody else was given it is not, and no
/// secret is told.
#[test]
fn every_login_is_asked_for() {
    let (ours, theirs) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    for (login, other) in logins::all(ours.path()).into_iter().zip(logins::all(theirs.path())) {
        let name = login.name;
        let Some(nats) = Nats::start_with(&login.server, login.scheme) else { return };
        let store =
            |login: &logins::Login| nats.store("a", &nats.ports(), &format!("maildirs = \"shared\"\n{}", login.client));
        let server = Rig::new().listener("mx", "").tables(&store(&login)).start();
        let mut session = Session::open(server.port("mx")).expect("it answers");
        session.command("EHLO client.example.org").expect("it answers");
        let to = [format!("anna@{DOMAIN}")];
        let reply = session.send("sender@example.org", &to, &Message::sealed(&token(), 500)).expect("it answers");
        assert_eq!(reply.code, 250, "{name}: {}", server.log());
        Ledger::drained(&server).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(server.maildir("anna").messages().len(), 1, "{name}");
        let status = server.run(&["cluster", "status"], "");
        assert!(status.contains("a  alive") && status.contains("up to date"), "{name}: {status}");

        let config = std::fs::read_to_string(server.config()).expect("ours");
        std::fs::write(server.config(), config.replace(&login.client, &other.client)).expect("ours");
        let refused = server.try_run(&["cluster", "status"], "").expect_err(name);
        assert!(refused.contains("store.servers") && refused.trim().lines().count() == 2, "{name}: {refused}");
        let told = server.log() + &status + &refused;
        assert!([login.secret, other.secret].iter().all(|secret| !told.contains(secret)), "{name}: {told}");
    }
}

/// Somebody whom one node has asked to come back, and who comes to the other; and somebody who has had enough of both.
#[test]
fn what_one_node_remembers_the_other_knows() {
    let Some(nats) = Nats::start() else { return };
    let mail = tempfile::tempdir().expect("a folder");
    let plugins = format!(
        "[[plugin]]\nname = \"greylist\"\nfile = {:?}\ngrants = {{ keyvalue = 1000000 }}\nsettings = {{ delay = 2, trust-after = 0 }}\n\n\
         [[plugin]]\nname = \"rate-limit\"\nfile = {:?}\ngrants = {{ keyvalue = 1000000 }}\nsettings = {{ limits = [{{ by = \"client\", count = 4, seconds = 3600 }}] }}\n\n\
         [[route]]\nrecipients = [\"*\"]\nplugins = [\"RULE\"]\n",
        shipped("greylist"),
        shipped("rate-limit")
    );
    let node = |name: &str, rule: &str| {
        let store = nats.store(name, &nats.ports(), "maildirs = \"shared\"");
        let tables = format!("[observe]\nlevel = \"warn\"\n\n{store}\n{}", plugins.replace("RULE", rule));
        Rig::new().listener("mx", "").tables(&tables).start_below(|data| {
            symlink(mail.path(), data.join("mail")).expect("ours");
            []
        })
    };
    let send = |server: &Server, to: &str| {
        let mut session = Session::open(server.port("mx")).expect("it answers");
        session.command("EHLO client.example.org").expect("it answers");
        let to = [format!("{to}@{DOMAIN}")];
        session.send("sender@example.org", &to, &Message::sealed(&token(), 500)).expect("it answers").code
    };
    {
        let (a, b) = (node("a", "greylist"), node("b", "greylist"));
        assert_eq!(send(&a, "anna"), 451, "come back");
        assert_eq!(send(&b, "anna"), 451, "too early, and known here");
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(send(&b, "anna"), 250, "the other one remembers");
        assert_eq!(send(&a, "anna"), 250);
    }
    let (a, b) = (node("c", "rate-limit"), node("d", "rate-limit"));
    let codes: Vec<u16> = [&a, &b, &a, &b, &a, &b].map(|server| send(server, "berta")).into();
    assert_eq!(codes, [250, 250, 250, 250, 451, 451], "four from both together");
}
