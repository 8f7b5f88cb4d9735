//! An engine that misbehaves harms its own session and no other, and no longer than its deadline.
//!
//! The engine is `fixtures/broken-engine`, built here by the recipe that builds the real one.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::sync::{Barrier, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hermetic::engine::client::{self, Client, ClientEngine, ContentFacts, Recipient, Transaction};
use hermetic::engine::pool::{EngineSettings, SetupError, WasmEngine};
use hermetic::engine::types::{ForwardPath, Options, Refusal};
use hermetic::engine::{Engine, EngineError, Session};
use hermetic_tests::guest::fixture;
use hermetic_tests::transcript;

const DEADLINE: Duration = Duration::from_millis(100);
/// What a call may take beyond its deadline on a machine that is busy with other tests.
const SLACK: Duration = Duration::from_secs(3);
const MEMORY: usize = 8 * 1024 * 1024;
const NEIGHBOURS: usize = 50;

fn broken(sessions: u32) -> WasmEngine {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = COMPONENT.get_or_init(|| std::fs::read(fixture("broken-engine", "engine")).expect("the component"));
    let settings = EngineSettings { sessions, deadline: DEADLINE, memory: MEMORY, cache: None };
    WasmEngine::from_component(bytes, &settings).expect("an engine")
}

/// These tests measure time and memory of their process, so they take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn options(deed: &str) -> Options {
    Options { server_name: deed.into(), ..transcript::plain() }
}

fn open(engine: &WasmEngine) -> Box<dyn Session> {
    let mut session = engine.open(&options("")).expect("a session");
    session.start(0).expect("a start");
    session
}

fn well(session: &mut dyn Session, word: &[u8]) {
    let step = session.receive(1, word).unwrap_or_else(|error| panic!("a neighbour was harmed: {error}"));
    assert_eq!(step.transmit, word);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Trap(&'static str),
    Deadline,
}

/// Every misdeed, and how it must end.
const DEEDS: [(&str, End); 14] = [
    ("trap", End::Trap("unreachable")),
    ("spin", End::Deadline),
    ("hog", End::Trap("memory")),
    ("grab", End::Trap("memory")),
    ("recurse", End::Trap("")),
    ("lie: too much", End::Trap("consumed more")),
    ("lie: nothing", End::Trap("used none")),
    ("lie: leave", End::Trap("leaves some")),
    ("lie: range", End::Trap("outside")),
    ("lie: wrap", End::Trap("outside")),
    ("lie: overlap", End::Trap("overlap")),
    ("lie: nobody", End::Trap("no recipient")),
    ("lie: message", End::Trap("for nobody")),
    ("lie: forge", End::Trap("not printable")),
];

fn assert_ends<T>(deed: &str, expected: End, result: Result<T, EngineError>) {
    match (expected, result.map(drop)) {
        (End::Trap(what), Err(EngineError::Trap(why))) if why.contains(what) => {}
        (End::Deadline, Err(EngineError::Deadline(100))) => {}
        (_, got) => panic!("{deed:?} should end in {expected:?}, and gave {got:?}"),
    }
}

#[test]
fn only_the_session_itself_suffers() {
    let _turn = alone();
    let engine = broken(NEIGHBOURS as u32 + 1);
    let mut neighbours: Vec<_> = (0..NEIGHBOURS).map(|_| open(&engine)).collect();
    for (deed, expected) in DEEDS {
        let mut hostile = open(&engine);
        well(&mut *hostile, b"good so far");
        let start = Barrier::new(3);
        let worst = thread::scope(|scope| {
            let (start, hostile) = (&start, &mut hostile);
            scope.spawn(move || {
                start.wait();
                let began = Instant::now();
                assert_ends(deed, expected, hostile.receive(1, deed.as_bytes()));
                let took = began.elapsed();
                assert!(took < DEADLINE + SLACK, "{deed:?} took {took:?}");
                if expected == End::Deadline {
                    assert!(took >= DEADLINE, "{deed:?} was cut off after {took:?}, before its deadline");
                }
            });
            let (one, other) = neighbours.split_at_mut(NEIGHBOURS / 2);
            let halves = [one, other].map(|half| {
                scope.spawn(move || {
                    start.wait();
                    let mut worst = Duration::ZERO;
                    for round in 0..20_u8 {
                        for session in &mut *half {
                            let began = Instant::now();
                            well(&mut **session, &[round; 100]);
                            worst = worst.max(began.elapsed());
                        }
                    }
                    worst
                })
            });
            halves.map(|half| half.join().expect("the neighbours go on")).into_iter().max()
        });
        assert!(worst.is_some_and(|worst| worst < SLACK), "{deed:?}: a neighbour waited {worst:?}");
        for result in [hostile.receive(2, b"again"), hostile.tick(2), hostile.drain(2, &farewell())] {
            assert!(
                matches!(result, Err(EngineError::Instance(_))),
                "{deed:?}: its instance is used again: {result:?}"
            );
        }
        // Its place in the pool is free before the session is dropped, and the next instance knows nothing of it.
        assert_eq!(engine.counts().live, NEIGHBOURS as u64, "after {deed:?}");
        well(&mut *open(&engine), b"a new session in its place");
        assert!(hostile.freeze().is_err());
    }
    let counts = engine.counts();
    assert_eq!((counts.trapped, counts.late), (DEEDS.len() as u64 - 1, 1), "{counts:?}");
    neighbours.iter_mut().for_each(|session| well(&mut **session, b"still here"));
    drop(neighbours);
    assert_eq!(engine.counts().live, 0);
}

fn farewell() -> Refusal {
    Refusal { code: 421, subject: 3, detail: 2, text: "Bye".into() }
}

#[test]
fn every_other_call_is_held_to_the_same() {
    let _turn = alone();
    let engine = broken(2);
    for (deed, expected) in &DEEDS[..5] {
        assert_ends(deed, *expected, engine.open(&options(deed)).map(drop));
        assert_ends(deed, *expected, engine.thaw(&options(deed), b"").map(drop));
    }
    assert_ends("tick", End::Trap("in the past"), open(&engine).tick(5));
    assert_ends("drain", End::Trap("unreachable"), open(&engine).drain(5, &farewell()));
    assert_ends("freeze", End::Trap("an image of 4194304 octets"), open(&engine).freeze());
    // Our own misuse harms nobody, and the session goes on.
    let mut session = open(&engine);
    let misuse = session.secured(1, &[]);
    assert!(matches!(misuse, Err(EngineError::Misuse(_))), "{misuse:?}");
    well(&mut *session, b"as before");
    drop(session);
    assert_eq!(engine.counts().live, 0);
}

/// The sending side is held to the same: deadline, memory, truth. And each recipient has one outcome, whatever it says.
#[test]
fn a_client_that_misbehaves_ends_alone() {
    let _turn = alone();
    let engine = broken(3);
    let mut neighbour = open(&engine);
    let ready = |name: &str| -> Box<dyn Client> {
        let mut session = engine.client(&client::options(name)).expect("a session");
        session.start(0).expect("a start");
        session.receive(1, b"ready").expect("readiness");
        session
    };
    let recipient = Recipient { path: ForwardPath::Postmaster, notify: None, orcpt: None };
    // As many outcomes as the priority says.
    let transaction = |outcomes| Transaction {
        sender: None,
        recipients: vec![recipient.clone(); 2],
        content: ContentFacts { size: 0, eight_bit: false, bare_line_ends: false, longest_line: 0, utf8_header: false },
        require_tls: false,
        ret: None,
        envid: None,
        auth: None,
        deliver_by: None,
        priority: Some(outcomes),
    };
    ready("").deliver(2, &transaction(2)).expect("what is true");
    let mut ended = 0;
    for (deed, expected) in [
        ("trap", End::Trap("unreachable")),
        ("spin", End::Deadline),
        ("lie: too much", End::Trap("consumed more")),
        ("lie: leave", End::Trap("leaves some")),
        ("lie: content", End::Trap("outside")),
        ("lie: nobody", End::Trap("nobody")),
        ("lie: forge", End::Trap("not printable")),
        ("lie: name", End::Trap("not printable")),
        ("lie: failure", End::Trap("after its end")),
    ] {
        let mut hostile = ready("");
        assert_ends(deed, expected, hostile.receive(1, deed.as_bytes()));
        assert!(matches!(hostile.tick(2), Err(EngineError::Instance(_))), "{deed:?}: its instance is used again");
        ended += 1;
    }
    assert_ends("open", End::Trap("unreachable"), engine.client(&client::options("trap")).map(drop));
    assert_ends("thaw", End::Deadline, engine.thaw_client(&client::options("spin"), b"").map(drop));
    assert_ends("lost outcome", End::Trap("no outcome"), ready("").deliver(2, &transaction(1)));
    assert_ends("one too many", End::Trap("nobody"), ready("").deliver(2, &transaction(3)));
    assert_ends("twice", End::Trap("second"), ready("").deliver(2, &transaction(-2)));
    assert_ends("tick", End::Trap("in the past"), ready("").tick(5));
    assert_ends("lost", End::Trap("after its end"), ready("").lost(5));
    assert_ends("quit", End::Trap("unreachable"), ready("").quit(5));
    assert_ends("content", End::Trap("outside"), ready("").content(5, b"xyz", false));
    assert_ends("freeze", End::Trap("an image of 4194304 octets"), ready("").freeze());
    let counts = engine.counts();
    assert_eq!((counts.trapped + counts.late, counts.live), (ended + 10, 1), "{counts:?}");
    well(&mut *neighbour, b"untouched");
}

#[test]
fn a_full_pool_refuses_and_recovers() {
    let _turn = alone();
    let engine = broken(3);
    let mut sessions: Vec<_> = (0..3).map(|_| open(&engine)).collect();
    let refused = engine.open(&options("")).map(drop);
    assert!(matches!(refused, Err(EngineError::Instance(_))), "{refused:?}");
    sessions.pop();
    well(&mut *open(&engine), b"room again");
    sessions.iter_mut().for_each(|session| well(&mut **session, b"untouched"));
    // It outlives the engine it came from.
    drop(engine);
    well(&mut *sessions[0], b"on its own");
}

#[test]
fn memory_returns_to_where_it_was() {
    let _turn = alone();
    let engine = broken(64);
    let bomb = || {
        let mut session = open(&engine);
        assert_ends("grab", End::Trap("memory"), session.receive(1, b"grab"));
        let mut session = open(&engine);
        assert_ends("hog", End::Trap("memory"), session.receive(1, b"hog"));
    };
    (0..3).for_each(|_| bomb());
    let before = resident();
    (0..100).for_each(|_| bomb());
    let after = resident();
    // Each of the two hundred took 8 MiB.
    assert!(after < before + 4 * 1024, "{before} KiB before, {after} KiB after");
}

#[test]
fn after_a_burst_nothing_but_the_warm_slots_remains() {
    let _turn = alone();
    let engine = broken(1000);
    let before = resident();
    let mut sessions: Vec<_> = (0..1000).map(|_| open(&engine)).collect();
    assert!(engine.open(&options("")).is_err(), "a thousand is all there is");
    sessions.iter_mut().for_each(|session| well(&mut **session, &[b'x'; 100_000]));
    let busy = resident();
    assert_eq!(engine.counts().live, 1000);
    drop(sessions);
    let after = resident();
    assert_eq!(engine.counts().live, 0);
    assert!(busy > before + 100_000, "each touched some 200 KiB: {before} KiB before, {busy} KiB with a thousand");
    assert!(after < before + 24 * 1024, "{before} KiB before, {busy} KiB with a thousand, {after} KiB after");
    well(&mut *open(&engine), b"and again");
}

/// Memory of this process that is in use, KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn what_is_no_engine_is_refused_at_the_start() {
    let check = |bytes: &[u8], settings: EngineSettings, expected: &str| {
        let error = WasmEngine::from_component(bytes, &settings).map(drop).expect_err(expected).to_string();
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    };
    let small = || EngineSettings { sessions: 1, ..EngineSettings::default() };
    check(b"no component", small(), "the engine component cannot be used");
    // An empty component.
    check(b"\0asm\x0d\0\x01\0", small(), "the engine component cannot be used");
    // One that imports a function `a`: nothing is ever granted.
    let greedy = b"\0asm\x0d\0\x01\0\x07\x05\x01\x40\0\x01\0\x0a\x06\x01\0\x01a\x01\0";
    check(greedy, small(), "`a`");
    check(greedy, EngineSettings { sessions: 0, ..small() }, "at least one session");
    check(greedy, EngineSettings { memory: usize::MAX, ..small() }, "at most 64 MiB");
    assert!(matches!(WasmEngine::from_component(greedy, &small()), Err(SetupError::Component(_))));
}
