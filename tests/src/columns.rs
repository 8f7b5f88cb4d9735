//! What each runtime has run of the transcripts and of the sessions recorded under load: a column of the table that
//! `tests/columns.py` prints.
//!
//! Owns the form of a column's files. Refuses nothing. Fails by panicking.
#![allow(clippy::expect_used, reason = "a rig for tests: a panic is how a test fails")]

use std::{collections::BTreeMap, fs, path::PathBuf};

/// What sessions come from.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `tests/transcripts`.
    Transcripts,
    /// A server under load.
    Load,
}

/// Says that `column` has run `run` sessions with the same outcome, and why it left others out: what these need and how many
/// they are. Nothing is written unless `HERMETIC_COLUMNS` names a folder.
pub fn column(column: &str, kind: Kind, run: usize, skipped: &BTreeMap<String, usize>) {
    let Some(folder) = std::env::var_os("HERMETIC_COLUMNS").map(PathBuf::from) else { return };
    let kind = match kind {
        Kind::Transcripts => "transcripts",
        Kind::Load => "load",
    };
    let line = serde_json::json!({ "column": column, "kind": kind, "run": run, "skipped": skipped });
    fs::create_dir_all(&folder).expect("the folder of HERMETIC_COLUMNS");
    fs::write(folder.join(format!("{column}-{kind}.json")), format!("{line}\n")).expect("a file of HERMETIC_COLUMNS");
}
