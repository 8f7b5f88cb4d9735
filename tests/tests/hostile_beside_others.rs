//! Hostile plugins in a real server: every misdeed changes the answer for its own recipient and nothing else, while fifty
//! other sessions deliver; and when it is over, memory and file descriptors are what they were.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::{
    fmt::Write as _,
    fs,
    time::{Duration, Instant},
};

use hermetic_tests::{
    guest::hostile,
    load::Ledger,
    message::{Message, assert_same, field, token},
    server::{Rig, Server},
    session::Session,
};

/// Other sessions.
const OTHERS: usize = 50;
/// Their longest rest between two messages.
const PAUSE: Duration = Duration::from_secs(3);
/// Each misdeed so often: less often than what lets a plugin rest, so that each is really done each time.
const ROUNDS: usize = 2;
/// Octets that may be in use more than before: less than what two of the instances hold that take all they may, and
/// some more than an allocator keeps back of what was freed.
const MORE_MEMORY: u64 = 24 << 20;
/// Memory of a hostile instance.
const HOARD: u64 = 16 << 20;
/// How long what is freed late may take: threads that rest, sessions that end.
const SETTLE: Duration = Duration::from_secs(40);

/// Where a misdeed shows, and what is answered there.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// To RCPT.
    Rcpt(&'static str),
    /// After the content.
    Content(&'static str),
}
use Answer::{Content, Rcpt};

/// The failure policy's words.
const DEFERRED: &str = "451 4.3.0";
const REJECTED: &str = "550 5.3.0";

/// The name of a plugin and of its recipient; the deed, the hook that does it, more of its configuration; the answer.
const DEEDS: [(&str, &str, &str, &str, Answer); 28] = [
    ("trap-connection", "trap", "connection", "", Rcpt(DEFERRED)),
    ("trap-sender", "trap", "sender", "", Rcpt(DEFERRED)),
    ("trap-recipient", "trap", "recipient", "on-failure = \"reject\"", Rcpt(REJECTED)),
    ("trap-message", "trap", "message", "", Content(DEFERRED)),
    ("trap-recipient-message", "trap", "recipient-message", "on-failure = \"reject\"", Content(REJECTED)),
    ("trap-skipped", "trap", "recipient-message", "on-failure = \"skip\"", Content("250")),
    ("spin-recipient", "spin", "recipient", "", Rcpt(DEFERRED)),
    ("spin", "spin", "recipient-message", "", Content(DEFERRED)),
    ("hog", "hog", "recipient-message", "", Content(DEFERRED)),
    ("grab", "grab", "message", "", Content(DEFERRED)),
    ("recurse", "recurse", "recipient-message", "", Content(DEFERRED)),
    ("flood", "flood", "recipient-message", "", Content(DEFERRED)),
    ("flood-recipient", "flood", "recipient", "", Rcpt(DEFERRED)),
    ("gigabyte", "gigabyte", "recipient-message", "", Content(DEFERRED)),
    ("giant", "giant", "recipient-message", "", Content(DEFERRED)),
    ("large", "large", "recipient-message", "", Content("550 5.7.1 [3, 2]")),
    ("fields", "fields", "recipient-message", "", Content(DEFERRED)),
    ("edits", "edits", "recipient-message", "", Content("550 5.7.1 100")),
    ("nobytes", "nobytes", "recipient-message", "", Content(DEFERRED)),
    ("badedit", "badedit", "recipient-message", "", Content(DEFERRED)),
    ("inject", "inject", "recipient-message", "", Content("550 5.7.1 2222222222222222222222111111114")),
    ("crlf", "crlf", "recipient-message", "", Content("550 5.7.1 no  250 2.0.0 forged")),
    ("crlf-recipient", "crlf", "recipient", "", Rcpt("550 5.7.1 no  250 2.0.0 forged")),
    ("deluge", "deluge", "recipient-message", "", Content(DEFERRED)),
    ("calls", "calls", "recipient-message", "", Content("550 5.7.1 2")),
    ("logs", "logs", "recipient-message", "", Content("250")),
    ("exit", "exit", "recipient-message", "", Content(DEFERRED)),
    ("socket", "socket", "recipient-message", "", Content(DEFERRED)),
];

fn server() -> Server {
    let file = hostile();
    let mut tables = String::new();
    for (name, deed, hook, more, Rcpt(answer) | Content(answer)) in DEEDS {
        // Who has something to say needs the time for it on a machine that is busy with fifty sessions.
        let deadline = if [DEFERRED, REJECTED].contains(&answer) { 100 } else { 9_000 };
        let memory = if deed == "gigabyte" { (1 << 30) + HOARD } else { HOARD };
        let _ = write!(
            tables,
            "[[plugin]]\nname = {name:?}\nfile = {file:?}\nsettings = {{ deed = {deed:?}, hook = {hook:?} }}\n\
             grants = {{ edit = true, forwarding = [\"*\"], quarantine = true, keyvalue = 1000000 }}\n\
             limits = {{ memory = {memory}, deadline = {deadline} }}\n{more}\n\
             [[route]]\nrecipients = [\"{name}@example.test\"]\nplugins = [{name:?}]\n"
        );
    }
    Rig::new().listener("mx", "").listener("lmtp", "").tables(&tables).start()
}

/// A message of a thousand fields, for those who ask for all of them.
fn message() -> Message {
    let token = token();
    let sealed = Message::sealed(&token, 2000);
    let text = String::from_utf8(sealed.octets).expect("US-ASCII");
    let (head, body) = text.split_once("\r\n\r\n").expect("a body");
    let fields: String = (0..1000).map(|n| format!("\r\nX-Field-{n}: {}", "v".repeat(30))).collect();
    let received = "\r\nReceived: from there by here; Tue, 03 Nov 2026 10:00:00 +0000";
    Message { token, octets: format!("{head}{received}{fields}\r\n\r\n{body}").into_bytes() }
}

/// Everything in the table once: each to its recipient, between two neighbours of the same message.
fn misbehave(server: &Server) {
    let mut session = Session::open(server.port("lmtp")).expect("a session");
    session.command("LHLO a.test").expect("a reply");
    for (name, _, _, _, expected) in DEEDS {
        let message = message();
        let mut say = |line: &str| {
            let reply = session.command(line).expect("the session goes on");
            format!("{} {}", reply.code, reply.lines.join("|"))
        };
        assert!(say("MAIL FROM:<a@far.test>").starts_with("250"));
        assert!(say("RCPT TO:<eva@example.test>").starts_with("250"));
        let at_rcpt = say(&format!("RCPT TO:<{name}@example.test>"));
        match expected {
            Rcpt(answer) => assert!(at_rcpt.starts_with(answer), "{name}: {at_rcpt:?} and not {answer:?}"),
            Content(_) => assert!(at_rcpt.starts_with("250"), "{name}: {at_rcpt:?}"),
        }
        assert!(say("RCPT TO:<frida@example.test>").starts_with("250"));
        assert!(say("DATA").starts_with("354"));
        session.write(&[&*message.stuffed(), b".\r\n"].concat()).expect("written");
        let answers = if matches!(expected, Rcpt(_)) { 2 } else { 3 };
        let replies: Vec<_> = (0..answers)
            .map(|_| session.reply().expect("the session goes on"))
            .map(|reply| format!("{} {}", reply.code, reply.lines.join("|")))
            .collect();
        for neighbour in [&replies[0], &replies[answers - 1]] {
            assert!(neighbour.starts_with("250"), "a neighbour of {name} was harmed: {replies:?}");
        }
        if let Content(answer) = expected {
            assert!(replies[1].starts_with(answer), "{name}: {:?} and not {answer:?}", replies[1]);
        }
        for neighbour in ["eva", "frida"] {
            assert_same(&server.maildir(neighbour).one(&message.token), &message);
        }
        if expected == Content("250") {
            server.maildir(name).one(&message.token);
        }
        let copies = server.maildir(name).messages();
        let copies = copies.iter().filter(|copy| field(copy, "X-Token") == Some(&message.token)).count();
        assert_eq!(copies, usize::from(expected == Content("250")), "copies for {name}");
    }
}

/// What a process has.
#[derive(Clone, Copy, Debug)]
struct Holds {
    /// Octets of memory that is its own and no file's.
    memory: u64,
    descriptors: usize,
}

impl Holds {
    fn of(server: &Server) -> Self {
        let process = format!("/proc/{}", server.pid());
        let smaps = fs::read_to_string(format!("{process}/smaps_rollup")).expect("smaps_rollup");
        let line = smaps.lines().find(|line| line.starts_with("Anonymous:")).expect("Anonymous");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
        let descriptors = fs::read_dir(format!("{process}/fd")).expect("fd").count();
        Self { memory: kib << 10, descriptors }
    }

    /// After what is over has been given back: the least within a while, or the first that is not more than `bound`.
    fn at_rest(server: &Server, bound: impl Fn(&Self) -> bool) -> Self {
        let end = Instant::now() + SETTLE;
        let mut least = Self::of(server);
        while Instant::now() < end && !bound(&least) {
            std::thread::sleep(Duration::from_millis(500));
            let now = Self::of(server);
            least = Self { memory: least.memory.min(now.memory), descriptors: least.descriptors.min(now.descriptors) };
        }
        least
    }
}

#[test]
fn fifty_sessions_deliver_beside_every_misdeed_and_nothing_is_left_of_it() {
    let server = server();
    let ledger = Ledger::with_pauses(PAUSE);
    // Once, so that everything that is made once is there: pools, threads, compiled code, databases.
    ledger.clients_send_while(OTHERS, server.port("mx"), || misbehave(&server));
    Ledger::drained(&server).unwrap_or_else(|why| panic!("{why}"));
    // No bound: what settles within the whole time.
    let before = Holds::at_rest(&server, |_| false);

    ledger.clients_send_while(OTHERS, server.port("mx"), || (0..ROUNDS).for_each(|_| misbehave(&server)));
    assert_eq!(ledger.unanswered(), 0, "a session broke, or a message was not answered 250");
    Ledger::drained(&server).and_then(|()| ledger.judge(&server)).unwrap_or_else(|why| panic!("{why}"));
    for (_, copy) in Ledger::copies(&server) {
        let value = |name| field(&copy, name).unwrap_or_else(|| panic!("no {name}"));
        let size = value("Subject").parse().expect("the load's subject is a size");
        assert_same(&copy, &Message::sealed(value("X-Token"), size));
    }
    let fits = |now: &Holds| now.memory <= before.memory + MORE_MEMORY && now.descriptors <= before.descriptors;
    let after = Holds::at_rest(&server, fits);
    println!("{} messages; before {before:?}, after {after:?}", ledger.promised());
    assert!(fits(&after), "before {before:?}, after {after:?}");
    let log = server.log();
    assert!(!log.contains("panicked"), "the server itself stumbled");
    assert!(!log.contains("rests for"), "a plugin rested, so not every misdeed was done each time");
}

/// What plugins do after 250: while the queue has them deliver, and when they are told what became of a recipient.
const LATE: [(&str, &str, &str); 8] = [
    ("trap-delivery", "trap", "delivery"),
    ("spin-delivery", "spin", "delivery"),
    ("hog-delivery", "hog", "delivery"),
    ("recurse-delivery", "recurse", "delivery"),
    ("flood-delivery", "flood", "delivery"),
    ("trap-report", "trap", "report"),
    ("spin-report", "spin", "report"),
    ("hog-report", "hog", "report"),
];

/// Who fails to deliver is asked again, and its mail waits with the reason; who can not be told of a fate changes none.
#[test]
fn who_misbehaves_in_the_queue_holds_up_its_own_recipients_only() {
    let file = hostile();
    let mut tables = String::from("[queue]\nretry-first = 1\nretry-most = 1\n");
    for (name, deed, hook) in LATE {
        // With `delivery` a plugin delivers all that it has; so only those have it that misbehave there.
        let delivery = hook == "delivery";
        let _ = write!(
            tables,
            "[[plugin]]\nname = {name:?}\nfile = {file:?}\nsettings = {{ deed = {deed:?}, hook = {hook:?} }}\n\
             grants = {{ edit = true, forwarding = [\"*\"], quarantine = true, keyvalue = 1000000, delivery = {delivery} }}\n\
             limits = {{ memory = {HOARD}, deadline = 100 }}\n\
             [[route]]\nrecipients = [\"{name}@example.test\"]\nplugins = [{name:?}]\n"
        );
    }
    let server = Rig::new().listener("mx", "").tables(&tables).start();
    type Late = &'static (&'static str, &'static str, &'static str);
    let (late, early): (Vec<Late>, Vec<Late>) = LATE.iter().partition(|(_, _, hook)| *hook == "delivery");
    let failed = |server: &Server| {
        let queue = server.queue();
        let count = |name: &str| {
            let to = format!("{name}@example.test");
            let entry = queue.iter().find(|entry| entry["recipient"] == *to);
            entry.and_then(|entry| entry["attempts"].as_u64()).unwrap_or_default()
        };
        late.iter().map(|(name, ..)| count(name)).min().unwrap_or_default()
    };
    let ledger = Ledger::with_pauses(PAUSE);
    let message = ledger.clients_send_while(OTHERS, server.port("mx"), || {
        let message = message();
        let mut session = Session::open(server.port("mx")).expect("a session");
        session.command("EHLO a.test").expect("a reply");
        let names = ["eva"].into_iter().chain(LATE.iter().map(|(name, ..)| *name)).chain(["frida"]);
        let to: Vec<_> = names.map(|name| format!("{name}@example.test")).collect();
        let reply = session.send("a@far.test", &to, &message).expect("a reply");
        assert_eq!(reply.code, 250, "{reply:?}");
        let end = Instant::now() + Duration::from_secs(60);
        while failed(&server) < 2 {
            assert!(Instant::now() < end, "not all were asked again: {:#?}", server.queue());
            std::thread::sleep(Duration::from_millis(100));
        }
        message
    });
    assert_eq!(ledger.unanswered(), 0, "a session broke, or a message was not answered 250");
    let end = Instant::now() + SETTLE;
    while server.queue().len() > late.len() {
        assert!(Instant::now() < end, "more waits than what is delivered badly: {:#?}", server.queue());
        std::thread::sleep(Duration::from_millis(100));
    }
    for entry in server.queue() {
        let name = entry["recipient"].as_str().and_then(|to| to.split('@').next()).unwrap_or_default().to_owned();
        let reason = entry["reason"].as_str().unwrap_or_default();
        assert!(late.iter().any(|(late, ..)| *late == name) && reason.contains(&name), "{entry:#}");
    }
    for name in ["eva", "frida"].iter().chain(early.iter().map(|(name, ..)| name)) {
        assert_same(&server.maildir(name).one(&message.token), &message);
    }
    for (name, ..) in &late {
        assert_eq!(server.maildir(name).messages().len(), 0, "{name} delivered something");
    }
    ledger.judge(&server).unwrap_or_else(|why| panic!("{why}"));
    assert!(!server.log().contains("panicked"), "the server itself stumbled");
}

/// Key-values have a database of their own, so a flood waits for itself. The bounds are wide: what they catch is a 250 that
/// waits for the flood's writes.
#[test]
fn a_flood_of_key_values_does_not_hold_up_a_250() {
    const WRITERS: usize = 4;
    const PAUSE: Duration = Duration::from_millis(50);
    let file = hostile();
    let tables = format!(
        "[[plugin]]\nname = \"pour\"\nfile = {file:?}\nsettings = {{ deed = \"pour\", hook = \"recipient\" }}\n\
         grants = {{ edit = true, forwarding = [\"*\"], quarantine = true, keyvalue = 100000000 }}\n\
         limits = {{ deadline = 30000, timeout = 60000 }}\n\
         [[route]]\nrecipients = [\"pour@example.test\"]\nplugins = [\"pour\"]\n"
    );
    let server = Rig::new().listener("mx", "").listener("lmtp", "").tables(&tables).start();
    let median = |waits: &[Duration]| waits[waits.len() / 2];
    let quiet = Ledger::with_pauses(PAUSE);
    quiet.clients_send_while(2, server.port("mx"), || std::thread::sleep(Duration::from_secs(4)));
    let flooded = Ledger::with_pauses(PAUSE);
    let floods = flooded.clients_send_while(2, server.port("mx"), || {
        let end = Instant::now() + Duration::from_secs(8);
        let pour = || {
            let mut floods = 0;
            let mut session = Session::open(server.port("lmtp")).expect("a session");
            session.command("LHLO a.test").expect("a reply");
            session.command("MAIL FROM:<a@far.test>").expect("a reply");
            while Instant::now() < end {
                let reply = session.command("RCPT TO:<pour@example.test>").expect("a reply");
                assert_eq!((reply.code, &*reply.lines.join("|")), (550, "5.7.1 2000 kept"));
                floods += 1;
            }
            floods
        };
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(pour)).collect();
            writers.into_iter().map(|writer| writer.join().expect("it poured")).sum::<usize>()
        })
    });
    for ledger in [&quiet, &flooded] {
        assert_eq!(ledger.unanswered(), 0);
    }
    let (quiet, flooded) = (quiet.waits(), flooded.waits());
    let worst = flooded.last().copied().unwrap_or_default();
    println!("{floods} floods; quiet {:?}, flooded {:?}, at most {worst:?}", median(&quiet), median(&flooded));
    assert!(floods >= WRITERS, "there was no flood");
    assert!(median(&flooded) < median(&quiet) * 10 + Duration::from_millis(500), "the median");
    assert!(worst < Duration::from_secs(20), "the worst");
}

#[test]
fn redirects_in_a_circle_end() {
    let file = hostile();
    let tables: String = ["tick", "tock"]
        .map(|name| {
            format!(
                "[[plugin]]\nname = {name:?}\nfile = {file:?}\n\
                 settings = {{ deed = {name:?}, hook = \"recipient-message\" }}\n\
                 grants = {{ edit = true, forwarding = [\"example.test\"], quarantine = true, keyvalue = 1000 }}\n\
                 [[route]]\nrecipients = [\"{name}@example.test\"]\nplugins = [{name:?}]\n"
            )
        })
        .concat();
    let server = Rig::new().listener("mx", "").tables(&tables).start();
    let mut session = Session::open(server.port("mx")).expect("a session");
    session.command("EHLO a.test").expect("a reply");
    for to in [&["tick"][..], &["tock"], &["tick", "tock"]] {
        let message = Message::sealed(&token(), 100);
        let to: Vec<_> = to.iter().map(|name| format!("{name}@example.test")).collect();
        let reply = session.send("a@far.test", &to, &message).expect("a reply");
        assert_eq!(reply.code, 250, "{reply:?}");
        Ledger::drained(&server).unwrap_or_else(|why| panic!("{why}"));
        for name in ["tick", "tock"] {
            assert_same(&server.maildir(name).one(&message.token), &message);
        }
    }
    assert!(server.queue().is_empty(), "{:?}", server.queue());
}
