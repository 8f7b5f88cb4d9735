//! The transcripts that need nothing, over a real socket: the same octets as everywhere.
//!
//! What a transcript needs beyond that is read off it, and named in the table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::Path;

use hermetic_tests::columns::{Kind, column};
use hermetic_tests::transcript::{self, Action, Group, Transcript, client};

use crate::program::{Standalone, octets, programs};

/// The bounds of [`transcript::plain`], as arguments.
const PLAIN: [&str; 10] = [
    "message-size=10000000",
    "recipients=100",
    "recipient-batch=50",
    "command-line=2048",
    "auth-line=12288",
    "errors=10",
    "idle-commands=50",
    "auth-failures=3",
    "command-timeout=300000",
    "data-timeout=180000",
];

/// What the server does not have, and which.
type Lack = (&'static str, String);

/// What this transcript needs that the server does not have; otherwise the bounds that it sets.
fn bounds(transcript: &Transcript) -> Result<Vec<String>, Lack> {
    let mut bounds = Vec::new();
    for line in &transcript.lines {
        let Some((tag, rest)) = line.split_once(':') else { continue };
        let rest = rest.trim();
        match tag {
            "TLS" => return Err(("TLS", String::new())),
            "T" => return Err(("a clock that can be set", String::new())),
            "D" => return Err(("an end that can be called for", String::new())),
            "A" => return Err(("answers of its own", format!(" ({})", rest.split(' ').next().unwrap_or_default()))),
            "O" => {
                let name = rest.split(' ').next().unwrap_or_default();
                let Some(bound) = name.strip_prefix("limits.") else { return Err(("an option", format!(" ({name})"))) };
                let value = rest.rsplit(' ').next().unwrap_or_default();
                bounds.push(format!("{bound}={value}"));
            }
            _ => {}
        }
    }
    Ok(bounds)
}

fn listed(text: &[u8]) -> String {
    text.split_inclusive(|octet| *octet == b'\n').map(|line| format!("    {}\n", line.escape_ascii())).collect()
}

/// Everything behind the fields that the server put above the content: the last is `Received`, in three lines.
fn content(kept: &[u8]) -> &[u8] {
    let at = kept.windows(12).position(|window| window == b"\r\nReceived: ").expect("a Received field") + 2;
    let lines = kept[at..].split_inclusive(|octet| *octet == b'\n').take(3).map(<[u8]>::len).sum::<usize>();
    &kept[at + lines..]
}

fn speak(server: &Standalone, transcript: &Transcript) -> Result<(), String> {
    let mut stream = server.connect();
    let mut seen = server.maildir().files();
    for group in &transcript.groups {
        let fail = |what: &str, expected: &[u8], got: &[u8]| {
            let place = group.lines.0 + 1;
            format!("line {place}: {what}\n  expected\n{}  got\n{}", listed(expected), listed(got))
        };
        for action in &group.actions {
            let Action::Send(octets) = action else { return Err("it needs more than it was taken for".into()) };
            // What is said behind the end is lost, as it is meant to be.
            let sent = stream.write_all(octets);
            if !group.end {
                sent.map_err(|error| format!("line {}: {error}", group.lines.0 + 1))?;
            }
        }
        let got = read(&mut stream, group);
        if got != group.output {
            return Err(fail("what the server says", &group.output, &got));
        }
        if let Some(body) = &group.body {
            let files = server.maildir().files();
            let new: Vec<_> = files.iter().filter(|file| !seen.contains(file)).collect();
            let [file] = new[..] else { return Err(format!("line {}: {} new messages", group.lines.0 + 1, new.len())) };
            let kept = std::fs::read(file).expect("a message");
            if content(&kept) != body {
                return Err(fail("the content", body, content(&kept)));
            }
        }
        seen = server.maildir().files();
    }
    // Nothing more is said.
    let _ = stream.shutdown(Shutdown::Write);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    if rest.is_empty() { Ok(()) } else { Err(format!("at the end the server says more:\n{}", listed(&rest))) }
}

/// All that the group expects, and the end of the stream where it expects that; less where the server says less.
fn read(stream: &mut std::net::TcpStream, group: &Group) -> Vec<u8> {
    let mut got = Vec::new();
    if group.end {
        let _ = stream.read_to_end(&mut got);
    } else {
        // Octet by octet only where it is not what is expected.
        match octets(stream, group.output.len()) {
            Ok(octets) => got = octets,
            Err(error) => got = format!("({error})").into_bytes(),
        }
    }
    got
}

#[test]
fn transcripts_that_need_nothing_give_the_same_octets() {
    if programs().is_none() {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let mut servers: BTreeMap<Vec<String>, Standalone> = BTreeMap::new();
    let (mut table, mut failures, mut run) = (String::new(), String::new(), 0);
    // It is a server only.
    let clients = client::all(&folder.join("client")).expect("transcripts").len();
    let mut skipped = BTreeMap::from([("the client half".to_owned(), clients)]);
    for transcript in transcript::all(&folder).expect("transcripts") {
        let name = transcript.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let bounds = match bounds(&transcript) {
            Ok(bounds) => bounds,
            Err((needs, which)) => {
                *skipped.entry(needs.to_owned()).or_default() += 1;
                let _ = writeln!(table, "{name:34} skipped: needs {needs}{which}");
                continue;
            }
        };
        let server = servers.entry(bounds.clone()).or_insert_with(|| {
            let bounds = PLAIN.into_iter().chain(bounds.iter().map(String::as_str));
            let mut arguments = vec!["--domain", "*", "--name", "mx.example.test"];
            bounds.for_each(|bound| arguments.extend(["--limit", bound]));
            Standalone::keeping(&arguments).expect("a server")
        });
        run += 1;
        let word = match speak(server, &transcript) {
            Ok(()) => "the same octets",
            Err(failure) => {
                let _ = writeln!(failures, "{}: {failure}", transcript.path.display());
                "DIFFERS"
            }
        };
        let _ = writeln!(table, "{name:34} {word}");
    }
    println!("standalone: {run} transcripts run, {} skipped\n{table}", skipped.values().sum::<usize>());
    assert!(failures.is_empty(), "\n{failures}");
    assert!(run >= 12, "only {run} transcripts were run");
    column("standalone", Kind::Transcripts, run, &skipped);
}
