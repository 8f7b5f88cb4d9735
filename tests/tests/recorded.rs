//! Sessions that are recorded: what must not be in a file is not, wherever it was said and however it was cut; what is in it runs
//! again the same way on every build; and a change of the engine is found where it shows.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hermetic::engine::pool::{EngineSettings, WasmEngine};
use hermetic::engine::types::{Answer, Options, Refusal, Step};
use hermetic::engine::{Engine, EngineError, Session};
use hermetic::record::produce::{NotKept, Readable, produce};
use hermetic::record::take::{Bounds, Memory};
use hermetic::record::{
    Any, Called, Entry, Header, Outcome, Recording, ServerCall, ServerHalf, Take, read, read_file, replay,
};
use hermetic_tests::columns::{Kind, column};
use hermetic_tests::message::Message;
use hermetic_tests::native::Native;
use hermetic_tests::server::{Rig, Server};
use hermetic_tests::session;
use hermetic_tests::tape::Held;
use hermetic_tests::transcript::{self, run};

const BOUNDS: Bounds = Bounds { largest: 64 << 20, memory: 256 << 20 };
const OPEN: Readable = Readable { bodies: true, addresses: true };

fn sealed() -> &'static WasmEngine {
    static ENGINE: OnceLock<WasmEngine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let deadline = Duration::from_secs(10);
        WasmEngine::new(&EngineSettings { sessions: 16, deadline, ..EngineSettings::default() }).expect("an engine")
    })
}

/// A transcript, held and made a file.
fn kept(
    transcript: &transcript::Transcript,
    how: &run::How,
    readable: Readable,
) -> Result<Recording<ServerHalf>, NotKept> {
    let engine = Held::new(Arc::new(Native), BOUNDS);
    run::written(&engine, transcript, how).unwrap_or_else(|failure| panic!("{}: {failure}", transcript.path.display()));
    let take = engine.take();
    let take = take.lock().unwrap();
    assert_eq!(take.given_up(), None, "{}", transcript.path.display());
    produce(&take, &Native, Header::default(), readable)
}

fn transcripts() -> Vec<transcript::Transcript> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    transcript::all(&folder).unwrap_or_else(|error| panic!("{error}"))
}

/// The file is read, and runs the same on both builds.
#[track_caller]
fn runs(text: &str, what: &str) -> Recording<ServerHalf> {
    let any = read(text.as_bytes()).unwrap_or_else(|error| panic!("{what}: {error}\n{text}"));
    let native = replay::any(&any, &Native).expect("a session");
    let in_sandbox = replay::any(&any, sealed()).expect("a session");
    for (name, replayed) in [("the native core", native), ("the sealed engine", in_sandbox)] {
        assert!(replayed.difference.is_none(), "{what} on {name}: {}", replayed.difference.expect("a difference"));
    }
    any.server().expect("a server's")
}

/// Nothing is hidden: it is the file that a tape makes, frozen or not.
#[test]
fn what_is_held_is_all_that_happened() {
    for transcript in transcripts() {
        for freeze in [false, true] {
            let how = run::How { freeze, ..run::How::default() };
            let file = kept(&transcript, &how, OPEN);
            match file {
                Ok(file) => drop(runs(&file.write(), &transcript.path.display().to_string())),
                // There is an AUTH that can not be hidden.
                Err(error) => assert!(matches!(error, NotKept::Masked), "{}: {error}", transcript.path.display()),
            }
        }
    }
}

/// Every transcript, all of it masked, but for some in which so many lines are faulty, each in a way of its own, that not all ways
/// to mask them are tried.
#[test]
fn almost_everything_can_be_masked() {
    const FAULTY: [&str; 7] = ["021", "022", "024", "025", "034", "050", "081"];
    let (mut kept_files, mut lost) = (0, Vec::new());
    for transcript in transcripts() {
        let name = transcript.path.file_name().expect("a name").to_string_lossy().into_owned();
        for (what, readable) in [
            ("secrets", OPEN),
            ("bodies", Readable { bodies: false, addresses: true }),
            ("addresses", Readable { bodies: false, addresses: false }),
        ] {
            match kept(&transcript, &run::How::default(), readable) {
                Ok(file) => {
                    runs(&file.write(), &name);
                    kept_files += 1;
                }
                Err(NotKept::Masked) => lost.push(format!("{name} {what}")),
                Err(error) => panic!("{name} {what}: {error}"),
            }
        }
    }
    println!("{kept_files} files; not kept: {lost:?}");
    assert!(lost.iter().all(|name| FAULTY.iter().any(|faulty| name.starts_with(faulty))), "{lost:?}");
    assert!(kept_files >= 128, "{kept_files} files; not kept: {lost:?}");
}

/// What a client may say of its secret, and where. `{}` is where it stands in base64, `[]` where it stands as it is.
const SAID: [&str; 26] = [
    "C: EHLO a.test\nC: AUTH PLAIN {}",
    "C: EHLO a.test\nC: auth plain   {}",
    "A: sasl login anna\nC: EHLO a.test\nC: AUTH PLAIN {}",
    "A: sasl challenge \nC: EHLO a.test\nC: AUTH PLAIN\nC: {}",
    "A: sasl challenge Username:\nA: sasl challenge Password:\nA: sasl login anna\nC: EHLO a.test\nC: AUTH LOGIN\nC: {}\nC: {}\nC: NOOP",
    "A: sasl challenge Password:\nC: EHLO a.test\nC: AUTH LOGIN {}\nC: {}",
    "A: sasl challenge r=nonce,s=[],i=4096\nA: sasl challenge v=[]\nC: EHLO a.test\nC: AUTH SCRAM-SHA-256 {}\nC: {}\nC: ",
    "A: sasl challenge \nC: EHLO a.test\nC: AUTH PLAIN\nC: *\nC: {}",
    "A: sasl challenge \nC: EHLO a.test\nC: AUTH PLAIN\nC: []",
    "C: AUTH PLAIN {}",
    "C: {}\nC: []",
    "C: EHLO a.test\nC: AUTH LOGIN{}\nC: AUTH {}\nC: AUTH [] []",
    "C: EHLO a.test\nC: AUTH CRAM-MD5 {}",
    "C: EHLO a.test\nC: AUTH XOAUTH2 {}\nC: {}\nC: {}",
    "C: EHLO a.test\nC: AUTH PLAIN {}x\nC: AUTH PLAIN !{}\nC: AUTH PLAIN {} {}",
    "A: sasl login anna\nC: EHLO a.test\nC: AUTH PLAIN {}\nC: AUTH PLAIN {}",
    "C: EHLO a.test\nC: MAIL FROM:<a@b.test>\nC: AUTH PLAIN {}",
    "C: EHLO a.test\nc: AUTH PLAIN {}\\n\nC: NOOP\nC: {}",
    "C: EHLO a.test\nc: AUTH PLAIN {}\\r\nC: NOOP",
    "A: sasl challenge \nC: EHLO a.test\nC: AUTH PLAIN\nc: {}\\n\nC: {}",
    "C: EHLO a.test\nc: AUTH PLAIN \nc*400: {}\nC: \nC: NOOP",
    "C: EHLO a.test\nC: FOO [] PASS=[]\nC: PASS []\nC: LOGIN anna []",
    "C: EHLO a.test\nC: MAIL FROM:<a@b.test>\nC: RCPT TO:<c@d.test>\nC: DATA\nC: Subject: []\nC: \nC: .[]\nC: {}\nC: .\nC: AUTH PLAIN {}",
    "C: EHLO a.test\nC: MAIL FROM:<a@b.test>\nC: RCPT TO:<c@d.test>\nC: BDAT 8\nC: {}\nC: {}",
    "C: EHLO a.test\nC: AUTH PLAIN {}\nc: {}",
    "C: EHLO a.test\nC: QUIT\nC: AUTH PLAIN {}\nC: []",
];

const SECRET: &str = "hunter2isnogoodpassword";
/// `\0anna\0` and the secret, and the secret alone.
const BASE64: [&str; 2] = ["AGFubmEAaHVudGVyMmlzbm9nb29kcGFzc3dvcmQ=", "aHVudGVyMmlzbm9nb29kcGFzc3dvcmQ="];

#[test]
fn no_secret_is_in_any_file() {
    let mut files = 0;
    let mut lost = Vec::new();
    for said in SAID {
        for base64 in BASE64 {
            // The last with bits that are not used and not zero: faulty, and yet the secret.
            for base64 in [base64.to_owned(), base64.replace("mQ=", "mR=")] {
                let text = format!(
                    "O: plaintext-mechanisms = PLAIN LOGIN SCRAM-SHA-256\nO: limits.auth-failures = 50\nS: 220\n{}",
                    said.replace("{}", &base64).replace("[]", SECRET)
                );
                let transcript = transcript::parse(Path::new(said), &text).expect("a transcript");
                let long = text.len() > 4000;
                let octets = if long { Vec::new() } else { (0..4000).collect() };
                for cuts in [vec![], octets, (0..16_000).step_by(if long { 97 } else { 7 }).collect()] {
                    for readable in
                        [Readable { bodies: false, addresses: true }, Readable { bodies: false, addresses: false }]
                    {
                        let how = run::How { cuts: cuts.clone(), freeze: cuts.len() == 4000, tick: false };
                        let engine = Held::new(Arc::new(Native), BOUNDS);
                        // Not every answer is asked for, and that is none of this test's business.
                        drop(run::written(&engine, &transcript, &how));
                        let take = engine.take();
                        let take = take.lock().unwrap();
                        let file = match produce(&take, &Native, Header::default(), readable) {
                            Ok(file) => file.write(),
                            Err(NotKept::Masked) => {
                                lost.push(said);
                                continue;
                            }
                            Err(error) => panic!("{said}: {error}"),
                        };
                        files += 1;
                        runs(&file, said);
                        // No piece of it that is worth anything.
                        for secret in [SECRET, &base64, &base64[8..]] {
                            for start in 0..secret.len() - 6 {
                                let piece = &secret[start..start + 6];
                                assert!(!file.contains(piece), "{said:?}: {piece:?} of {secret:?} is in\n{file}");
                            }
                        }
                    }
                }
            }
        }
    }
    println!("{files} files, {} not kept", lost.len());
    assert!(files > 400, "{files} files; not kept: {lost:?}");
}

#[test]
fn a_recording_is_bounded() {
    let options = transcript::plain();
    let step = || Native.open(&options).expect("a session").start(0);
    let memory = Arc::new(Memory::default());
    let bounds = Bounds { largest: 100_000, memory: 300_000 };
    let begin = || {
        let mut take = Take::new(options.clone(), bounds, memory.clone());
        take.add(0, Called::Start, &step());
        take
    };
    let mut large = begin();
    while large.given_up().is_none() {
        large.add(1, Called::Receive(&[b'x'; 10_000]), &step());
    }
    assert_eq!(large.given_up().expect("a reason").to_string(), "the session is larger than record.largest");
    assert_eq!(memory.held(), 0, "what is given up is given back");
    let mut many: Vec<Take> = (0..10).map(|_| begin()).collect();
    many.iter_mut().for_each(|take| take.add(1, Called::Receive(&[b'x'; 50_000]), &step()));
    let over = many.iter().filter(|take| take.given_up().is_some()).count();
    assert!((1..10).contains(&over) && memory.held() <= 300_000, "{over}, {}", memory.held());
    drop(many);
    assert_eq!(memory.held(), 0);
}

/// An engine that says something else at the third recipient.
struct Changed(&'static dyn Engine);

struct ChangedSession(Box<dyn Session>, u32);

impl Engine for Changed {
    fn open(&self, options: &Options) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(ChangedSession(self.0.open(options)?, 0)))
    }

    fn thaw(&self, options: &Options, image: &[u8]) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(ChangedSession(self.0.thaw(options, image)?, 0)))
    }
}

impl Session for ChangedSession {
    fn start(&mut self, now: u64) -> Result<Step, EngineError> {
        self.0.start(now)
    }

    fn receive(&mut self, now: u64, input: &[u8]) -> Result<Step, EngineError> {
        self.0.receive(now, input)
    }

    fn secured(&mut self, now: u64, mechanisms: &[String]) -> Result<Step, EngineError> {
        self.0.secured(now, mechanisms)
    }

    fn tick(&mut self, now: u64) -> Result<Step, EngineError> {
        self.0.tick(now)
    }

    fn answer(&mut self, now: u64, answer: &Answer) -> Result<Step, EngineError> {
        let mut step = self.0.answer(now, answer)?;
        if matches!(answer, Answer::Recipients(_)) {
            self.1 += 1;
            if self.1 == 3 {
                step.transmit = b"250 2.1.5 Recipient OK\r\n".to_vec();
            }
        }
        Ok(step)
    }

    fn drain(&mut self, now: u64, farewell: &Refusal) -> Result<Step, EngineError> {
        self.0.drain(now, farewell)
    }

    fn freeze(self: Box<Self>) -> Result<Vec<u8>, EngineError> {
        self.0.freeze()
    }
}

fn session_files(server: &Server) -> Vec<PathBuf> {
    let entries = fs::read_dir(server.data().join("sessions")).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "session")).collect();
    files.sort();
    files
}

/// Fifty clients at once, each with some messages and pauses in which its session is frozen.
#[test]
fn sessions_under_load_run_again_the_same_way() {
    const CLIENTS: usize = 50;
    let tables = "[record]\nkeep = [\"sampled\"]\nshare = 1.0\n\n[engine]\nfreeze-after = 5";
    let mut server = Rig::new()
        .listener("mx", "")
        .listener("submission", "auth-without-tls = true")
        .user("anna", SECRET)
        .tables(tables)
        .start();
    let (port, submission) = (server.port("mx"), server.port("submission"));
    let message = Message::sealed("load", 4096);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let message = &message;
            scope.spawn(move || {
                let port = if client % 10 == 0 { submission } else { port };
                let mut session = session::Session::open(port).expect("a session");
                session.command("EHLO client.example.org").expect("a reply");
                if client % 10 == 0 {
                    let reply = session.command(&format!("AUTH PLAIN {}", BASE64[0])).expect("a reply");
                    assert_eq!(reply.code, 235, "{reply:?}");
                }
                for number in 0..4 {
                    let to: Vec<String> = (0..=number).map(|to| format!("box{to}@example.test")).collect();
                    let from = if client % 10 == 0 { "anna@example.test" } else { "someone@example.org" };
                    let reply = session.send(from, &to, message).expect("a reply");
                    assert_eq!(reply.code, 250, "{reply:?}");
                    if client % 3 == 0 {
                        std::thread::sleep(Duration::from_millis(30));
                    }
                }
                session.command("QUIT").expect("a reply");
            });
        }
    });
    // They are written while the server goes on; at its end there is little time for that.
    let end = Instant::now() + Duration::from_secs(120);
    while session_files(&server).len() < CLIENTS {
        assert!(Instant::now() < end, "{}", server.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(server.stop().success());
    // The rig has looked whether the listeners answer.
    let mut files = Vec::new();
    for path in session_files(&server) {
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600, "{}", path.display());
        let text = fs::read_to_string(&path).expect("a file");
        let recording = runs(&text, &path.display().to_string());
        if text.contains("MAIL FROM") {
            files.push((path, text, recording));
        }
    }
    assert_eq!(files.len(), CLIENTS, "{}", server.log());
    let body = String::from_utf8_lossy(&message.octets).lines().last().expect("a line").to_owned();
    for (path, text, recording) in &files {
        assert!(!text.contains(&body) && !text.contains("X-Digest"), "{}", path.display());
        assert!(!text.contains(SECRET) && !text.contains(&BASE64[0][8..20]), "{}", path.display());
        assert_eq!(recording.header.masked, ["secrets", "bodies"]);
        assert_eq!(recording.header.why.as_deref(), Some("sampled"));
        assert!(recording.header.engine.as_ref().is_some_and(|hash| hash.starts_with("sha256:")));
        // Another engine is found out where it differs, in every file.
        let third = recording.entries.iter().enumerate().filter(|(_, entry)| {
            matches!(entry, Entry::Call(ServerCall::Answer { answer: Answer::Recipients(_), .. }, Outcome::Step(_)))
        });
        let line = third.map(|(place, _)| place + 2).nth(2).expect("a third recipient");
        for engine in [&Native as &'static dyn Engine, sealed()] {
            let replayed = replay::server(recording, &Changed(engine)).expect("a session");
            let difference = replayed.difference.unwrap_or_else(|| panic!("no difference in {}", path.display()));
            assert_eq!(difference.line, line, "{}: {difference}", path.display());
            assert_eq!(difference.fields.listed[0].path, "step.transmit");
        }
    }
    command_line(&server, &files[0].0);
    hand_on(&files);
}

/// To whatever else embeds the engine, which runs them again (`tests/transcripts/README.md`).
fn hand_on(files: &[(PathBuf, String, Recording<ServerHalf>)]) {
    for engine in ["native core", "component"] {
        column(engine, Kind::Load, files.len(), &BTreeMap::new());
    }
    let Some(folder) = std::env::var_os("HERMETIC_SESSIONS").map(|folder| PathBuf::from(folder).join("load")) else {
        return;
    };
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    for (number, (_, text, _)) in files.iter().enumerate() {
        fs::write(folder.join(format!("{number:02}.session")), text).expect("a file");
    }
}

/// `hermetic replay` on a file, on one that was changed, and on one that is none.
fn command_line(server: &Server, file: &Path) {
    let folder = server.folder().join("replayed");
    fs::create_dir(&folder).expect("a folder");
    let text = fs::read_to_string(file).expect("a file");
    let said = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).expect("a file");
        let binary = hermetic_tests::server::binary(&[]);
        let output = |arguments: &[&str]| {
            let out =
                std::process::Command::new(&binary).arg("replay").args(arguments).arg(&path).output().expect("it runs");
            (out.status.code(), String::from_utf8(out.stdout).expect("UTF-8"))
        };
        (output(&[]), output(&["--json"]))
    };
    let calls = text.lines().count() - 2;
    let (plain, json) = said("same.session", &text);
    assert_eq!(plain.0, Some(0), "{}", plain.1);
    assert!(plain.1.ends_with(&format!("same.session: the same, {calls} calls\n")), "{}", plain.1);
    let json: BTreeMap<String, serde_json::Value> = serde_json::from_str(&json.1).expect("JSON");
    assert_eq!((json["calls"].as_u64(), json["difference"].is_null()), (Some(calls as u64), true), "{json:?}");

    let Any::Server(mut recording) = read_file(file).expect("a file") else { panic!("a server's") };
    let Some(Entry::Call(_, Outcome::Step(step))) = recording.entries.get_mut(4) else { panic!("a step") };
    step.wake ^= 7;
    let (plain, json) = said("other.session", &recording.write());
    assert_eq!(plain.0, Some(1), "{}", plain.1);
    assert!(plain.1.contains("other.session: differs in line 6, `") && plain.1.contains("step.wake"), "{}", plain.1);
    assert_eq!(json.0, Some(1));
    let json: serde_json::Value = serde_json::from_str(&json.1).expect("JSON");
    assert_eq!(json["difference"]["line"], 6, "{json}");

    let (plain, json) = said("cut.session", &text[..text.len() / 2]);
    assert_eq!((plain.0, json.0), (Some(2), Some(2)));
    assert!(plain.1.contains("cut.session: the file was cut short"), "{}", plain.1);
    assert!(json.1.contains("\"error\":\"the file was cut short"), "{}", json.1);
    // All of them; the worst counts.
    let (plain, _) = said("cut.session", "nonsense");
    assert!(plain.1.contains("this is no session file"), "{}", plain.1);
    let out = std::process::Command::new(hermetic_tests::server::binary(&[]))
        .arg("replay")
        .arg(&folder)
        .output()
        .expect("it runs");
    let said = String::from_utf8(out.stdout).expect("UTF-8");
    assert!(said.ends_with("1 the same, 1 different, 1 not to be used\n"), "{said}");
    assert_eq!(out.status.code(), Some(2));
}

/// Only what went wrong, or what is looked for; addresses masked on request.
#[test]
fn what_is_kept_is_what_was_asked_for() {
    let tables = "[record]\nkeep = [\"on-error\", \"matching\"]\nmail = [\"anna@example.test\"]\naddresses = \"masked\"\nfolder = \"kept\"";
    let mut server = Rig::new().listener("mx", "").tables(tables).start();
    let port = server.port("mx");
    let message = Message::seven_bit();
    for to in ["berta@example.test", "anna@example.test", "carla@example.test"] {
        let mut session = session::Session::open(port).expect("a session");
        session.command("EHLO client.example.org").expect("a reply");
        session.send("somebody.special@example.org", &[to.to_owned()], &message).expect("a reply");
        session.command("VRFY dora").expect("a reply");
        if to.starts_with("carla") {
            session.command("NONSENSE carla").expect("a reply");
        }
        session.command("QUIT").expect("a reply");
    }
    assert!(server.stop().success());
    let mut whys = Vec::new();
    for entry in fs::read_dir(server.data().join("kept")).expect("the folder") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a file");
        let recording = runs(&text, &path.display().to_string());
        for word in ["anna", "berta", "carla", "dora", "somebody", "special", "example.test>"] {
            assert!(!text.contains(word), "{word} is in\n{text}");
        }
        assert_eq!(recording.header.masked, ["secrets", "bodies", "addresses"]);
        assert!(!recording.header.about.contains_key("client"));
        whys.push(recording.header.why.expect("a reason"));
    }
    whys.sort();
    assert_eq!(whys, ["matching", "on-error"], "{}", server.log());
}
