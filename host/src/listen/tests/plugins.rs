//! Plugins within sessions: five recipients, five verdicts, and what each protocol makes of them.

use super::*;
use crate::{
    plugin::hook::{Hook, Message, Verdict},
    policy::chain::{
        Record,
        fake::{Fake, Log, append, chains, defer, reject},
    },
    store::{Edit, Pending},
};

pub(super) const MX: &str = "[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:0\"";
pub(super) const LMTP: &str = "[[listener]]\nkind = \"lmtp\"\naddress = \"127.0.0.1:0\"";
const FIVE: &str = "recipients fine edited thrown later never\n";
pub(super) const QUEUED: &str = "ok queued as 00000000000000000000000007\n";

/// By the recipient's name, after the content.
fn by_name(log: &Log) -> Option<Arc<Chains>> {
    let judge = Fake::make(log, "judge", &[Hook::Recipient, Hook::Message, Hook::RecipientMessage], |asked, wishes| {
        if asked.hook != Hook::RecipientMessage {
            return if asked.to == "early" { reject("not here") } else { Verdict::Proceed };
        }
        let content = asked.message.map(|Message { content, .. }| content.as_slice());
        assert_eq!(content, Some(&b"x"[..]));
        match asked.to {
            "edited" => {
                append(wishes, "X-Seen", "yes");
                Verdict::Accept
            }
            "thrown" => Verdict::Discard,
            "later" => defer("come again"),
            "never" => reject("go away"),
            _ => Verdict::Proceed,
        }
    });
    chains(vec![judge], &[("free@example.test", ""), ("*", "judge")])
}

pub(super) fn entries(rig: &Rig) -> Vec<String> {
    let messages = rig.store.messages.lock();
    let all = messages.iter().flat_map(|(_, _, entries)| entries);
    let shown = all.map(|entry| {
        let fate = match &entry.pending {
            Pending::Nothing => entry.held.clone().unwrap_or_else(|| "-".into()),
            Pending::Rejudge { reason, .. } => format!("again: {reason}"),
            Pending::Bounce { status, reason } => format!("told {status} {reason}"),
            Pending::Expanded => "expanded".into(),
        };
        format!("{} {fate} {}", entry.recipient.local, entry.edits.len())
    });
    shown.collect()
}

pub(super) fn outcomes(rig: &Rig) -> Vec<String> {
    let verdicts = rig.store.verdicts.lock();
    let shown = verdicts.iter().flat_map(|verdicts| {
        let message = if verdicts.message.is_some() { "stored" } else { "-" };
        let records: Vec<Record> = serde_json::from_str(&verdicts.judged).unwrap();
        assert_eq!(records.len(), verdicts.recipients as usize);
        let shown = |record: Record| {
            format!("{message} {}: {}", record.recipient.trim_end_matches("@example.test"), record.outcome)
        };
        records.into_iter().map(shown).collect::<Vec<_>>()
    });
    shown.collect()
}

/// LMTP and PRDR: each recipient hears of its own fate, and there is no entry for whoever was not accepted.
#[tokio::test]
async fn each_recipient_is_answered() {
    for (listener, sender) in [(LMTP, "sender"), (MX, "prdr")] {
        let rig = Rig::with(listener, "", by_name(&Log::default()));
        let mut peer = rig.greeted().await;
        peer.say(format!("{sender} anna\n{FIVE}data\n")).await;
        peer.expect("ok\nok\nok\nok\nok\nok\nok\n").await;
        peer.say("body x\nmessage 5\n").await;
        peer.expect(&format!("{}451 4.7.1\n550 5.7.1\n", QUEUED.repeat(3))).await;
        assert_eq!(entries(&rig), ["fine - 0", "edited - 1"], "{sender}");
        let edit = Edit::Append(4, "X-Seen".into(), "yes".into());
        assert_eq!(rig.store.messages.lock()[0].2[1].edits, [edit]);
        assert_eq!(
            outcomes(&rig),
            [
                "stored fine: accepted",
                "stored edited: accepted",
                "stored thrown: accepted and discarded",
                "stored later: deferred by plugin judge: come again",
                "stored never: refused by plugin judge: go away",
            ]
        );
        // None of them: nothing is stored, and it is recorded all the same.
        peer.say(format!("{sender} anna\nrecipients later never thrown\ndata\n")).await;
        peer.expect("ok\nok\nok\nok\nok\n").await;
        peer.say("body x\nmessage 3\n").await;
        peer.expect("451 4.7.1\n550 5.7.1\nok accepted\n").await;
        assert_eq!(rig.store.messages.lock().len(), 1);
        assert_eq!(outcomes(&rig)[7], "- thrown: accepted and discarded");
    }
}

/// Plain SMTP has one reply; whoever is not accepted beside one who is gets an entry that is held.
#[tokio::test]
async fn one_answer_for_all() {
    for (recipients, answers, held) in [
        (
            "fine edited thrown later never",
            format!("{}451 4.7.1\n550 5.7.1\n", QUEUED.repeat(3)),
            vec![
                "fine - 0",
                "edited - 1",
                "later again: deferred by plugin judge: come again 0",
                "never quarantined: refused by plugin judge: go away 0",
            ],
        ),
        ("thrown never", format!("{QUEUED}550 5.7.1\n"), vec!["never quarantined: refused by plugin judge: go away 0"]),
        ("later never", "451 4.7.1\n550 5.7.1\n".into(), vec![]),
        ("never never", "550 5.7.1\n550 5.7.1\n".into(), vec![]),
        ("thrown thrown", "ok accepted\nok accepted\n".into(), vec![]),
        ("free fine", QUEUED.repeat(2), vec!["free - 0", "fine - 0"]),
        // One mailbox: whoever is accepted gets it, once.
        ("never+x fine never", format!("{}550 5.7.1\n", QUEUED.repeat(2)), vec!["never+x - 0", "fine - 0"]),
    ] {
        let rig = Rig::with(MX, "", by_name(&Log::default()));
        let mut peer = rig.greeted().await;
        let count = recipients.split(' ').count();
        peer.say(format!("sender anna\nrecipients {recipients}\ndata\n")).await;
        peer.expect(&"ok\n".repeat(count + 2)).await;
        peer.say(format!("body x\nmessage {count}\n")).await;
        peer.expect(&answers).await;
        assert_eq!(entries(&rig), held, "{recipients}");
        let judged = recipients.split(' ').filter(|name| *name != "free").count();
        assert_eq!(outcomes(&rig).len(), judged, "{recipients}");
        assert_eq!(rig.store.reads.load(SeqCst), 1);
    }
}

/// RCPT is refused where a plugin says so, each for itself; the content is not read if nobody wants to see it.
#[tokio::test]
async fn envelope_only() {
    let log = Log::default();
    let judge = Fake::make(&log, "judge", &[Hook::Sender, Hook::Recipient], |asked, _| {
        assert_eq!(asked.facts.listener_kind, "mx");
        assert_eq!(asked.facts.reverse_path.as_deref(), Some("anna@example.test"));
        assert_eq!(asked.facts.hello_name.as_deref(), Some("client.example"));
        match asked.to {
            "early" => reject("not here"),
            "grey" => defer("in a while"),
            _ => Verdict::Accept,
        }
    });
    let rig = Rig::with(MX, "", chains(vec![judge], &[("free@example.test", ""), ("*", "judge")]));
    let mut peer = rig.greeted().await;
    peer.say("hello client.example\nsender anna\nrecipients free\nrecipients early grey bob\ndata\n").await;
    // `sender` accepts for all of its recipients, and they are not asked one by one.
    peer.expect("ok\nok\nok\nok\nok\nok\nok\n").await;
    peer.say("body x\nmessage 4\n").await;
    peer.expect(&QUEUED.repeat(4)).await;
    assert_eq!(*log.lock(), ["judge new", "judge sender"]);
    assert_eq!(rig.store.reads.load(SeqCst), 0);
    assert_eq!(outcomes(&rig), ["stored early: accepted", "stored grey: accepted", "stored bob: accepted"]);
    let transactions: Vec<_> = rig.store.verdicts.lock().iter().map(|verdict| verdict.transaction.clone()).collect();
    let session = rig.store.messages.lock()[0].0.session.clone();
    assert_eq!(transactions, [format!("{session}.1")]);

    let rig = Rig::with(MX, "", by_name(&Log::default()));
    let mut peer = rig.greeted().await;
    peer.say("sender anna\nrecipients early fine\ndata\n").await;
    peer.expect("ok\n550 5.7.1\nok\nok\n").await;
    assert_eq!(outcomes(&rig), ["- early: refused by plugin judge: not here"]);
    peer.say("body x\nmessage 1\n").await;
    peer.expect(QUEUED).await;
    assert_eq!(entries(&rig), ["fine - 0"]);
}

/// The whole way: the sealed engine, the store, the queue, Maildirs; SMTP, PRDR and LMTP as clients speak them.
pub(super) mod sealed {
    use std::path::Path;

    use arc_swap::ArcSwap;

    use super::*;
    use crate::{
        engine::pool::{EngineSettings, WasmEngine},
        queue,
        store::sqlite::{self, SqliteStore},
    };

    pub(in super::super) struct Server {
        folder: tempfile::TempDir,
        pub(in super::super) store: Arc<SqliteStore>,
        listeners: Listeners,
        stop: watch::Sender<bool>,
        queue: JoinHandle<()>,
    }

    pub(in super::super) fn start(chains: Option<Arc<Chains>>) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "name = \"mail.example.test\"\ndata = {:?}\n{MX}\n{LMTP}\nname = \"local\"\n[[domain]]\nname = \"example.test\"\nmailboxes = [\"*\"]\n",
            folder.path()
        );
        let config: Arc<Config> = Arc::new(toml::from_str(&text).unwrap());
        let users = Arc::new(Users::empty());
        let settings = EngineSettings { sessions: 8, deadline: Duration::from_secs(10), ..EngineSettings::default() };
        let engine = Arc::new(WasmEngine::new(&settings).unwrap());
        let store = SqliteStore::open(folder.path(), 0, Metrics::new()).unwrap();
        let policy = Arc::new(Policy::new(config.clone(), users.clone()).unwrap());
        let current = Current { policy, users, certificates: None, config: config.clone(), chains };
        let shared = Shared::new(engine, store.clone(), Metrics::new(), current);
        let mut listeners = Listeners::default();
        // A listener is known by its address, so two with port 0 need different ones.
        listeners.become_these(&shared, &config.listeners[..1]).unwrap();
        let mut lmtp = config.listeners[1].clone();
        lmtp.address = "127.0.0.2:0".into();
        listeners.become_these(&shared, &[config.listeners[0].clone(), lmtp]).unwrap();
        let (stop, stopped) = watch::channel(false);
        let places = Config::maildir;
        let config = Arc::new(ArcSwap::new(config));
        let queue =
            tokio::spawn(queue::run(store.clone(), config, places, shared.clone(), None, Metrics::new(), stopped));
        Server { folder, store, listeners, stop, queue }
    }

    impl Server {
        pub(in super::super) async fn connect(&self, kind: Kind) -> Peer<TcpStream> {
            let mut addresses = self.listeners.addresses();
            let (_, address) = addresses.find(|(listener, _)| listener.kind == kind).unwrap();
            Peer(TcpStream::connect(address).await.unwrap())
        }

        pub(in super::super) async fn stop(self) {
            self.stop.send_replace(true);
            self.queue.await.unwrap();
        }

        /// The copies in a mailbox, once everything was tried.
        pub(in super::super) async fn copies(&self, local: &str) -> Vec<String> {
            while self.store.list().await.unwrap().iter().any(|one| one.state != "held" && one.attempts == 0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let new = self.folder.path().join("mail/example.test").join(local).join("new");
            let files = std::fs::read_dir(new).into_iter().flatten().flatten();
            files.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect()
        }
    }

    /// Says the lines, and returns the codes of all that was answered until the connection ends.
    pub(in super::super) async fn converse(mut peer: Peer<TcpStream>, lines: &[&str]) -> Vec<String> {
        for line in lines {
            peer.say(format!("{line}\r\n")).await;
            // About the time of an answer: EHLO and DATA end a group of commands (RFC 2920 section 3.1).
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let said = peer.rest().await;
        let last = said.lines().filter(|line| line.get(3..4) != Some("-"));
        last.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    }

    pub(in super::super) fn judged(data: &Path, id: &str) -> Vec<Record> {
        let all = sqlite::verdicts(data, id).unwrap().unwrap();
        all.iter().flat_map(|one| serde_json::from_str::<Vec<Record>>(&one.judged).unwrap()).collect()
    }

    /// Five recipients, five verdicts.
    fn by_name(log: &Log) -> Option<Arc<Chains>> {
        let judge = Fake::make(log, "judge", &[Hook::RecipientMessage], |asked, wishes| match asked.to {
            "edited" => {
                wishes.edits.push(crate::plugin::hook::Edit::Append(1, "X-Seen".into(), "yes".into()));
                Verdict::Proceed
            }
            "thrown" => Verdict::Discard,
            "later" => defer("come again"),
            "never" => reject("go away"),
            _ => Verdict::Proceed,
        });
        chains(vec![judge], &[("*", "judge")])
    }

    const TO: [&str; 5] = [
        "RCPT TO:<fine@example.test>",
        "RCPT TO:<edited@example.test>",
        "RCPT TO:<thrown@example.test>",
        "RCPT TO:<later@example.test>",
        "RCPT TO:<never@example.test>",
    ];

    #[tokio::test(flavor = "multi_thread")]
    async fn five_recipients_five_verdicts() {
        let server = start(by_name(&Log::default()));
        let begun = ["250 2.1.0", "250 2.1.5", "250 2.1.5", "250 2.1.5", "250 2.1.5", "250 2.1.5", "354 End"];
        for (kind, hello, mail, answers) in [
            (Kind::Mx, "EHLO c.example", "MAIL FROM:<a@b.example>", &["250 2.0.0"][..]),
            (
                Kind::Mx,
                "EHLO c.example",
                "MAIL FROM:<a@b.example> PRDR",
                &["353 A", "250 2.0.0", "250 2.0.0", "250 2.0.0", "451 4.7.1", "550 5.7.1", "250 2.0.0"],
            ),
            (
                Kind::Lmtp,
                "LHLO c.example",
                "MAIL FROM:<a@b.example>",
                &["250 2.0.0", "250 2.0.0", "250 2.0.0", "451 4.7.1", "550 5.7.1"],
            ),
        ] {
            let lines = [&[hello, mail][..], &TO, &["DATA", "Subject: x\r\n\r\nhello\r\n.", "QUIT"]].concat();
            let heard = converse(server.connect(kind).await, &lines).await;
            let codes: Vec<_> = heard.iter().map(String::as_str).collect();
            let expected = [&begun[..], answers, &["221 2.0.0"]].concat();
            assert_eq!(codes[2..], expected, "{mail}");
        }
        let plain = server.copies("fine").await;
        assert_eq!(plain.len(), 3, "{plain:?}");
        assert!(plain.iter().all(|copy| copy.ends_with("\r\nSubject: x\r\n\r\nhello\r\n")), "{plain:?}");
        let edited = server.copies("edited").await;
        assert_eq!(edited.len(), 3);
        assert!(
            edited.iter().all(|copy| copy.ends_with("\r\nSubject: x\r\nX-Seen: yes\r\n\r\nhello\r\n")),
            "{edited:?}"
        );
        for nobody in ["thrown", "later", "never"] {
            assert_eq!(server.copies(nobody).await, Vec::<String>::new(), "{nobody}");
        }
        let listed = server.store.list().await.unwrap();
        let held: Vec<_> = listed
            .iter()
            .map(|line| format!("{} {} {}", line.state, line.recipient, line.reason.as_deref().unwrap_or("-")))
            .collect();
        assert_eq!(
            held,
            [
                "queued later@example.test deferred by plugin judge: come again",
                "held never@example.test quarantined: refused by plugin judge: go away",
            ]
        );
        let message = listed[0].entry.split('.').next().unwrap();
        let told: Vec<_> = judged(server.folder.path(), message).into_iter().map(|record| record.outcome).collect();
        assert_eq!(
            told,
            [
                "accepted",
                "accepted",
                "accepted and discarded",
                "accepted with others and judged again later: deferred by plugin judge: come again",
                "accepted with others and quarantined: refused by plugin judge: go away",
                "judged again: deferred by plugin judge: come again",
            ]
        );
        // Nobody accepts: one reply, the better of the two.
        for (to, expected) in [(&TO[3..], "451 4.7.1"), (&TO[4..], "550 5.7.1")] {
            let lines =
                [&["EHLO c.example", "MAIL FROM:<a@b.example>"][..], to, &["DATA", "Subject: x\r\n\r\n.", "QUIT"]]
                    .concat();
            let heard = converse(server.connect(Kind::Mx).await, &lines).await;
            assert_eq!(heard[heard.len() - 2], expected, "{heard:?}");
        }
        server.stop().await;
    }
}
