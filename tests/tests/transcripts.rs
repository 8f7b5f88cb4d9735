//! Every transcript, on the native core and on the sealed engine: as written, cut into pieces, told at once, frozen and
//! thawed after every call. The server must say the same octets each time, and so must the client in those where we are
//! the client.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::OnceLock;

use hermetic::engine::Engine;
use hermetic::engine::client::ClientEngine;
use hermetic::engine::pool::{EngineSettings, WasmEngine};
use hermetic_tests::native::Native;
use hermetic_tests::transcript::run::{self, How, Record};
use hermetic_tests::transcript::{self, Transcript, client};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn transcripts() -> Vec<Transcript> {
    transcript::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts"))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn sealed() -> &'static WasmEngine {
    static ENGINE: OnceLock<WasmEngine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        // Debug builds on a busy machine: nothing here is about the deadline.
        let deadline = std::time::Duration::from_secs(10);
        WasmEngine::new(&EngineSettings { sessions: 64, deadline, ..EngineSettings::default() }).expect("an engine")
    })
}

fn engines() -> [(&'static str, &'static dyn Engine); 2] {
    [("the native core", &Native), ("the sealed engine", sealed())]
}

/// Each line in quotes, so that what cannot be seen is seen.
fn listed(text: &[u8]) -> String {
    text.split_inclusive(|octet| *octet == b'\n').fold(String::new(), |mut list, line| {
        let _ = writeln!(list, "    {}", line.escape_ascii());
        list
    })
}

fn run(engine: (&str, &dyn Engine), transcript: &Transcript, how: &How) -> Vec<Record> {
    run::written(engine.1, transcript, how)
        .unwrap_or_else(|failure| panic!("{} on {}, {how:?}: {failure}", transcript.path.display(), engine.0))
}

/// All of it as one record.
fn whole(records: &[Record]) -> Record {
    records.iter().fold(Record::default(), |mut whole, record| {
        whole.output.extend(&record.output);
        whole.questions.extend(record.questions.iter().cloned());
        whole.answers.extend(record.answers.iter().cloned());
        whole.events.extend(record.events.iter().cloned());
        whole.bodies.extend(record.bodies.iter().cloned());
        whole.closed |= record.closed;
        whole
    })
}

#[test]
fn the_server_says_what_is_written() {
    let rewrite = std::env::var_os("HERMETIC_TRANSCRIPTS").is_some_and(|value| value == "rewrite");
    let mut report = String::new();
    for transcript in transcripts() {
        for engine in engines() {
            let records = match run::written(engine.1, &transcript, &How::default()) {
                Ok(records) => records,
                Err(failure) => {
                    let _ = writeln!(report, "{} on {}: {failure}", transcript.path.display(), engine.0);
                    continue;
                }
            };
            if rewrite {
                std::fs::write(&transcript.path, rewritten(&transcript, &records)).expect("the transcript is written");
                break;
            }
            for (group, record) in transcript.groups.iter().zip(&records) {
                let mut differ = |what: &str, expected: &[u8], got: &[u8]| {
                    if expected != got {
                        let place = format!("{}:{}", transcript.path.display(), group.lines.0 + 1);
                        let (expected, got) = (listed(expected), listed(got));
                        let _ = write!(report, "{place} on {}: {what}\n  expected\n{expected}  got\n{got}\n", engine.0);
                    }
                };
                let lines = |lines: &[String]| lines.join("\n").into_bytes();
                differ("what the server says", &group.output, &record.output);
                if let Some(questions) = &group.questions {
                    differ("what is asked", &lines(questions), &lines(&record.questions));
                }
                if let Some(events) = &group.events {
                    differ("what is reported", &lines(events), &lines(&record.events));
                }
                if let Some(body) = &group.body {
                    differ("the content", body, record.bodies.last().map_or(b"", Vec::as_slice));
                }
                if group.end != record.closed {
                    differ("the end", group.end.to_string().as_bytes(), record.closed.to_string().as_bytes());
                }
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

/// The tags of what is expected.
const EXPECTED: [&str; 6] = ["S", "Q", "B", "b", "E", "END"];

/// The file with what was really said in place of what is expected. Lines move to the end of their group.
fn rewritten(transcript: &Transcript, records: &[Record]) -> String {
    let mut text = String::new();
    let mut next = 0;
    for (group, record) in transcript.groups.iter().zip(records) {
        for line in &transcript.lines[next..group.lines.1] {
            let tag = line.split(':').next().unwrap_or_default();
            if line.is_empty() || line.starts_with('#') || !(EXPECTED.contains(&tag) || tag.starts_with("S*")) {
                let _ = writeln!(text, "{line}");
            }
        }
        next = group.lines.1;
        let mut put = |tag: &str, lines: &[u8]| {
            let lines: Vec<&[u8]> = lines.split_inclusive(|octet| *octet == b'\n').collect();
            for run in lines.chunk_by(|one, next| tag == "S" && one == next) {
                let line = String::from_utf8_lossy(run[0]);
                let line = line.trim_end_matches(['\r', '\n']);
                let _ = match run.len() {
                    1..5 => (0..run.len()).try_for_each(|_| writeln!(text, "{tag}: {line}")),
                    times => writeln!(text, "{tag}*{times}: {line}"),
                };
            }
        };
        if group.questions.is_some() {
            put("Q", record.questions.join("\n").as_bytes());
        }
        put("S", &record.output);
        if group.body.is_some() {
            let body = record.bodies.last().map_or(b"".as_slice(), Vec::as_slice);
            let text = std::str::from_utf8(body).unwrap_or("\0").replace("\r\n", "");
            if body.ends_with(b"\r\n") && !text.contains(char::is_control) {
                put("B", body);
            } else if body.is_empty() {
                put("b", b"\n");
            } else {
                put("b", body.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'").as_bytes());
            }
        }
        if group.events.is_some() {
            put("E", record.events.join("\n").as_bytes());
        }
        if record.closed {
            text += "END:\n";
        }
    }
    for line in &transcript.lines[next..] {
        let _ = writeln!(text, "{line}");
    }
    text
}

#[test]
fn frozen_and_thawed_after_every_call_nothing_changes() {
    for transcript in transcripts() {
        for engine in engines() {
            let plain = run(engine, &transcript, &How::default());
            for how in [How { freeze: true, ..How::default() }, How { tick: true, ..How::default() }] {
                let other = run(engine, &transcript, &how);
                for ((group, plain), other) in transcript.groups.iter().zip(&plain).zip(&other) {
                    let place = format!("{}:{} on {}", transcript.path.display(), group.lines.0 + 1, engine.0);
                    assert!(plain == other, "{place}, {how:?}:\n{plain:#?}\nbecame\n{other:#?}");
                }
            }
        }
    }
}

/// Between two edges it does not matter when the octets arrive.
fn same(transcript: &Transcript, engine: (&str, &dyn Engine), written: &Record, how: &How) {
    let place = format!("{} on {}, {how:?}", transcript.path.display(), engine.0);
    let told =
        run::retold(engine.1, transcript, &written.answers, how).unwrap_or_else(|failure| panic!("{place}: {failure}"));
    let (expected, got) = (listed(&written.output), listed(&told.output));
    assert!(expected == got, "{place}: the server says\n{got}  instead of\n{expected}");
    assert!(written.bodies == told.bodies, "{place}: the content of a message differs");
    assert_eq!(written.closed, told.closed, "{place}: the end");
    // At a 421 it depends on the batch how many recipients were asked about before it.
    let asked = if written.closed { written.questions.len().min(told.questions.len()) } else { usize::MAX };
    let up_to = |list: &[String]| list.iter().take(asked).cloned().collect::<Vec<_>>();
    assert_eq!(up_to(&written.questions), up_to(&told.questions), "{place}: the questions");
}

#[test]
fn octet_by_octet_or_all_at_once_the_server_says_the_same() {
    for transcript in transcripts() {
        for engine in engines() {
            let written = whole(&run(engine, &transcript, &How::default()));
            let octets = transcript.lines.iter().map(|line| line.len() + 2).sum::<usize>().min(3000);
            for freeze in [false, true] {
                for cuts in [vec![], (0..octets).collect(), (0..octets).step_by(2).collect()] {
                    same(&transcript, engine, &written, &How { cuts, freeze, tick: false });
                }
            }
        }
    }
}

#[test]
fn wherever_the_input_is_cut_the_server_says_the_same() {
    let all: Vec<(Transcript, Record)> = transcripts()
        .into_iter()
        .map(|transcript| {
            let record = whole(&run(engines()[0], &transcript, &How::default()));
            (transcript, record)
        })
        .collect();
    for (engine, cases) in engines().into_iter().zip([1000, 150]) {
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        let ways = (0..all.len(), prop::collection::vec(0..600_usize, 0..12), any::<bool>(), any::<bool>());
        let result = runner.run(&ways, |(which, cuts, freeze, tick)| {
            let (transcript, written) = &all[which];
            same(transcript, engine, written, &How { cuts, freeze, tick });
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("on {}: {error}", engine.0));
    }
}

fn client_engines() -> [(&'static str, &'static dyn ClientEngine); 2] {
    [("the native core", &Native), ("the sealed engine", sealed())]
}

#[test]
fn the_client_says_what_is_written() {
    let rewrite = std::env::var_os("HERMETIC_TRANSCRIPTS").is_some_and(|value| value == "rewrite");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts/client");
    let transcripts = client::all(&folder).unwrap_or_else(|error| panic!("{error}"));
    let mut report = String::new();
    for transcript in &transcripts {
        let path = transcript.path.display();
        for (name, engine) in client_engines() {
            for (piece, freeze, tick) in
                [(usize::MAX, false, false), (1, false, true), (7, true, false), (usize::MAX, true, true)]
            {
                let how = client::How { piece, freeze, tick };
                let records = client::run(engine, transcript, how)
                    .unwrap_or_else(|error| panic!("{path} on {name}, {how:?}: {error}"));
                if rewrite {
                    std::fs::write(&transcript.path, rewritten_client(transcript, &records)).expect("it is written");
                    break;
                }
                for (group, record) in transcript.groups.iter().zip(&records) {
                    let events =
                        |record: &client::Record| if group.events { record.events.clone() } else { Vec::new() };
                    let told = |record: &client::Record| {
                        let results = [record.results.clone(), events(record)].concat().join("\n    ");
                        format!("{}    {results}\n    closed: {}\n", listed(&record.output), record.closed)
                    };
                    let (expected, got) = (told(&group.record), told(record));
                    if expected != got {
                        let place = format!("{path}:{} on {name}, {how:?}", group.lines.0 + 1);
                        let _ = write!(report, "{place}\n  expected\n{expected}  got\n{got}\n");
                    }
                }
            }
            if rewrite {
                break;
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

/// The file with what was really said in place of what is expected.
fn rewritten_client(transcript: &client::Transcript, records: &[client::Record]) -> String {
    let mut text = String::new();
    let mut next = 0;
    for (group, record) in transcript.groups.iter().zip(records) {
        for line in &transcript.lines[next..group.lines.1] {
            let tag = line.split(':').next().unwrap_or_default();
            if line.is_empty() || line.starts_with('#') || !["C", "c", "R", "E", "END"].contains(&tag) {
                let _ = writeln!(text, "{line}");
            }
        }
        next = group.lines.1;
        for line in record.output.split_inclusive(|octet| *octet == b'\n') {
            let _ = match std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix("\r\n")) {
                Some(line) if !line.contains(char::is_control) => writeln!(text, "C: {line}"),
                _ => writeln!(text, "c: {}", line.escape_ascii()),
            };
        }
        record.results.iter().for_each(|line| text.push_str(&format!("R: {line}\n")));
        if group.events {
            record.events.iter().for_each(|line| text.push_str(&format!("E: {line}\n")));
        }
        if record.closed {
            text.push_str("END:\n");
        }
    }
    for line in &transcript.lines[next..] {
        let _ = writeln!(text, "{line}");
    }
    text
}
