//! Every transcript as a `.session` file, and replayed on the native core and on the sealed engine. Other runtimes replay the
//! files that this writes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hermetic::engine::pool::{EngineSettings, WasmEngine};
use hermetic::record::replay::{self, Replayed};
use hermetic::record::{Any, Entry, Header, Outcome, read, read_file};
use hermetic_tests::columns::{Kind, column};
use hermetic_tests::native::Native;
use hermetic_tests::tape::{Tape, TapedClientEngine, TapedEngine};
use hermetic_tests::transcript::{self, client, run};

fn sealed() -> &'static WasmEngine {
    static ENGINE: OnceLock<WasmEngine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        // Debug builds on a busy machine: nothing here is about the deadline.
        let deadline = std::time::Duration::from_secs(10);
        WasmEngine::new(&EngineSettings { sessions: 16, deadline, ..EngineSettings::default() }).expect("an engine")
    })
}

fn transcripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts")
}

fn header(path: &Path, needs: &transcript::Needs) -> Header {
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    let about = BTreeMap::from([("transcript".to_owned(), name), ("needs".to_owned(), needs.text())]);
    Header { about, ..Header::default() }
}

/// Each transcript's name, its text as a session file, and the number of its groups.
fn sessions() -> Vec<(PathBuf, String)> {
    let mut sessions = Vec::new();
    for transcript in transcript::all(&transcripts()).unwrap_or_else(|error| panic!("{error}")) {
        let tape = Tape::default();
        let engine = TapedEngine { engine: &Native, tape: tape.clone() };
        run::written(&engine, &transcript, &run::How::default())
            .unwrap_or_else(|failure| panic!("{}: {failure}", transcript.path.display()));
        let text = tape.recording(header(&transcript.path, &transcript.needs), &transcript.options).write();
        sessions.push((transcript.path, text));
    }
    for transcript in client::all(&transcripts().join("client")).unwrap_or_else(|error| panic!("{error}")) {
        let tape = Tape::default();
        let engine = TapedClientEngine { engine: &Native, tape: tape.clone() };
        client::run(&engine, &transcript, client::PLAIN)
            .unwrap_or_else(|failure| panic!("{}: {failure}", transcript.path.display()));
        let text = tape.recording(header(&transcript.path, &transcript.needs), &transcript.options).write();
        sessions.push((transcript.path, text));
    }
    sessions
}

/// On both engines.
fn replayed(recording: &Any) -> [(&'static str, Replayed); 2] {
    let native = replay::any(recording, &Native).expect("a session");
    [("the native core", native), ("the sealed engine", replay::any(recording, sealed()).expect("a session"))]
}

#[test]
fn the_transcripts_are_written_as_sessions() {
    let folder = std::env::var_os("HERMETIC_SESSIONS")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("sessions"), PathBuf::from);
    let mut replays = 0;
    for (path, text) in sessions() {
        let name = path.strip_prefix(transcripts()).expect("a transcript").with_extension("session");
        let file = folder.join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(&file, &text).expect("a file");
        let recording = read_file(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let again = match &recording {
            Any::Server(recording) => recording.write(),
            Any::Client(recording) => recording.write(),
        };
        assert!(again == text, "{} is not the same when it is written again", file.display());
        let calls = text.lines().count() - 2;
        assert!(calls > 0, "{}", file.display());
        for (engine, replayed) in replayed(&recording) {
            let place = format!("{} on {engine}", file.display());
            assert!(replayed.difference.is_none(), "{place}: {}", replayed.difference.expect("a difference"));
            assert_eq!(replayed.calls, calls, "{place}");
            replays += 1;
        }
    }
    println!("{replays} replays of the sessions in {}", folder.display());
    for engine in ["native core", "component"] {
        column(engine, Kind::Transcripts, replays / 2, &BTreeMap::new());
    }
    assert!(replays >= 140, "{replays}");
}

/// One octet of what was said is another one in the file: found at its line, and it is said what differs.
#[test]
fn a_difference_is_found_at_its_line() {
    let mut found = 0;
    for (path, text) in sessions() {
        let Any::Server(mut recording) = read(text.as_bytes()).expect("a session") else { continue };
        let mut replies = recording.entries.iter().enumerate().filter_map(|(place, entry)| match entry {
            Entry::Call(_, Outcome::Step(step)) if !step.transmit.is_empty() => Some(place),
            _ => None,
        });
        let Some(place) = replies.next_back() else { continue };
        let Entry::Call(_, Outcome::Step(step)) = &mut recording.entries[place] else { continue };
        step.transmit[0] ^= 1;
        step.wake ^= 1;
        for (engine, replayed) in replayed(&Any::Server(recording)) {
            let difference = replayed.difference.unwrap_or_else(|| panic!("{} on {engine}", path.display()));
            assert_eq!(difference.line, place + 2, "{} on {engine}", path.display());
            let paths: Vec<_> = difference.fields.listed.iter().map(|field| field.path.as_str()).collect();
            assert_eq!(paths, ["step.transmit", "step.wake"], "{difference}");
            assert!(difference.to_string().contains(&format!("line {}", place + 2)), "{difference}");
            found += 1;
        }
    }
    assert!(found >= 90, "{found}");
}
