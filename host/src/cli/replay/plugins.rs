//! `hermetic replay --plugins`: what a new version of a plugin says to recorded mail.
//!
//! Owns which plugin is meant, its settings, and how changed verdicts are shown. Refuses to judge: that is
//! [`crate::trial::rejudge`]'s.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use serde_json::json;

use super::{ReplayArguments, ReplayError, UNUSABLE, files};
use crate::{
    cli::{failed, load, plugin::Kept, safe},
    config::{
        ConfigError,
        plugins::{Grants, Plugin as Configured},
    },
    plugin::{
        LoadError,
        hook::{Reason, Verdict},
        run::Wasm,
    },
    record::{FileError, Recording, ServerHalf, read_file},
    trial::{
        rejudge::{self, Change, Rejudged},
        scenario::PluginPart,
    },
};

/// Why nothing was judged.
#[derive(Debug, thiserror::Error)]
enum RejudgeError {
    #[error(transparent)]
    Files(#[from] ReplayError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("it can not be done on this machine: {0}")]
    Machine(#[from] io::Error),
    #[error("{}: {error}", file.display())]
    Load { file: PathBuf, error: LoadError },
    #[error("{0}")]
    Name(String),
}

pub(super) fn run(
    plugin: &Path,
    arguments: &ReplayArguments,
    config: Option<&Path>,
    print: impl Fn(&str) -> io::Result<()>,
) -> ExitCode {
    match rejudged(plugin, arguments, config) {
        Ok((text, code)) => match print(&text) {
            Ok(()) => code.into(),
            Err(error) => {
                failed(format_args!("can not write: {error}"));
                UNUSABLE.into()
            }
        },
        Err(error) => {
            failed(error);
            UNUSABLE.into()
        }
    }
}

/// What there is to read, and the exit code.
fn rejudged(plugin: &Path, arguments: &ReplayArguments, config: Option<&Path>) -> Result<(String, u8), RejudgeError> {
    let recordings: Vec<(PathBuf, Result<Recording<ServerHalf>, FileError>)> = files(&arguments.files)?
        .into_iter()
        .map(|path| {
            let recording = read_file(&path).and_then(crate::record::Any::server);
            (path, recording)
        })
        .collect();
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => only(&recordings)?,
    };
    let kept = Kept::new()?;
    let unusable = |error| RejudgeError::Load { file: plugin.to_owned(), error };
    let configured = configured(&name, plugin, config)?;
    let wasm = kept.loader().and_then(|loader| loader.load_wasm(&configured)).map_err(unusable)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut report = Report { text: String::new(), json: arguments.json, code: 0, sum: Rejudged::default() };
    for (path, recording) in recordings {
        let rejudged = match recording {
            Ok(recording) => runtime.block_on(again(&wasm, &name, &recording)),
            Err(error) => Err(error.to_string()),
        };
        report.add(&path, rejudged);
    }
    Ok(report.end())
}

async fn again(wasm: &Arc<Wasm>, name: &str, recording: &Recording<ServerHalf>) -> Result<Rejudged, String> {
    rejudge::rejudge(wasm, name, recording).await
}

/// The one plugin that the files tell of.
fn only(recordings: &[(PathBuf, Result<Recording<ServerHalf>, FileError>)]) -> Result<String, RejudgeError> {
    let mut names: Vec<String> =
        recordings.iter().filter_map(|(_, one)| one.as_ref().ok()).flat_map(rejudge::plugins).collect();
    names.sort();
    names.dedup();
    match &mut names[..] {
        [one] => Ok(std::mem::take(one)),
        [] => Err(RejudgeError::Name("no plugin was asked anything in these sessions".into())),
        several => Err(RejudgeError::Name(format!(
            "these sessions tell of the plugins {}; say with --name which one this is a version of",
            several.join(", ")
        ))),
    }
}

/// As the configuration has it, with the new file.
fn configured(name: &str, file: &Path, config: Option<&Path>) -> Result<Configured, RejudgeError> {
    if let Some(path) = config {
        let loaded = load(Some(path))?;
        if let Some(plugin) = loaded.config.plugins.iter().find(|plugin| plugin.name == name) {
            return Ok(Configured { file: file.to_owned(), sha256: None, ..plugin.clone() });
        }
    }
    // Nothing that is granted here is ever done: what it calls is answered from the files.
    let grants = Grants {
        edit: true,
        forwarding: vec!["*".into()],
        quarantine: true,
        reply: true,
        keyvalue: 1 << 20,
        delivery: false,
        resolver: true,
        http: vec!["record.invalid".into()],
    };
    PluginPart { grants, ..PluginPart::default() }.configured(name, file).map_err(RejudgeError::Name)
}

struct Report {
    text: String,
    json: bool,
    code: u8,
    sum: Rejudged,
}

impl Report {
    fn add(&mut self, path: &Path, rejudged: Result<Rejudged, String>) {
        let file = path.display().to_string();
        let rejudged = match rejudged {
            Ok(rejudged) => rejudged,
            Err(error) => {
                self.code = UNUSABLE;
                let _ = match self.json {
                    true => writeln!(self.text, "{}", json!({ "file": file, "error": error })),
                    false => writeln!(self.text, "{file}: {}", safe(&error)),
                };
                return;
            }
        };
        if !rejudged.changes.is_empty() {
            self.code = self.code.max(1);
        }
        if self.json {
            let changes: Vec<_> = rejudged.changes.iter().map(change_json).collect();
            let object = json!({
                "file": file, "judged": rejudged.judged, "left-out": rejudged.left_out, "changes": changes,
            });
            let _ = writeln!(self.text, "{object}");
        } else {
            for change in &rejudged.changes {
                self.text += &change_text(&file, change);
            }
        }
        self.sum.judged += rejudged.judged;
        self.sum.left_out += rejudged.left_out;
        self.sum.changes.extend(rejudged.changes);
    }

    fn end(mut self) -> (String, u8) {
        if !self.json {
            let changed = self.sum.changes.iter().filter(|change| change.differs()).count();
            let asked: usize = self.sum.changes.iter().map(|change| change.unrecorded.len()).sum();
            let Rejudged { judged, left_out, .. } = self.sum;
            let _ = writeln!(
                self.text,
                "{judged} calls judged again, {changed} changed, {asked} calls of the host that are not in the record, \
                 {left_out} left out because the content is not in the file"
            );
        }
        (self.text, self.code)
    }
}

fn change_text(file: &str, change: &Change) -> String {
    let Change { line, hook, to, verdicts: (recorded, came), wishes, failure, unrecorded } = change;
    let to = to.as_ref().map(|to| format!(" for {}", safe(to))).unwrap_or_default();
    let mut text = format!("{file}: line {line}, {}{to}\n", hook.as_str());
    if recorded != came {
        let _ = writeln!(text, "  recorded {}\n  now      {}", verdict(recorded), verdict(came));
    }
    if *wishes {
        text += "  it wants something else for the message\n";
    }
    if let Some(failure) = failure {
        let _ = writeln!(text, "  it failed: {}", safe(failure));
    }
    for one in unrecorded {
        let _ = writeln!(text, "  not in the record: {} {}", one.call, safe(&one.asked.to_string()));
    }
    text
}

fn verdict(verdict: &Verdict) -> String {
    let reason = |word: &str, class: u8, reason: &Reason| {
        format!("{word} {class}.{}.{} {}", reason.subject, reason.detail, safe(&reason.text))
    };
    match verdict {
        Verdict::Proceed => "proceed".into(),
        Verdict::Accept => "accept".into(),
        Verdict::Discard => "discard".into(),
        Verdict::Defer(why) => reason("defer", 4, why),
        Verdict::Reject(why) => reason("reject", 5, why),
    }
}

fn change_json(change: &Change) -> serde_json::Value {
    let unrecorded: Vec<_> =
        change.unrecorded.iter().map(|one| json!({ "call": one.call, "asked": one.asked })).collect();
    json!({
        "line": change.line,
        "hook": change.hook.as_str(),
        "to": change.to,
        "recorded": verdict(&change.verdicts.0),
        "now": verdict(&change.verdicts.1),
        "wishes": change.wishes,
        "failure": change.failure,
        "unrecorded": unrecorded,
    })
}
