//! `hermetic replay`: recorded sessions, run again.
//!
//! Owns which files are meant, how differences are shown, and the exit code: 0 all the same, 1 something differs, 2 a file or
//! the engine can not be used. Refuses to compare: that is [`crate::record`]'s.

mod plugins;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use serde_json::json;

use super::{failed, safe};
use crate::{
    engine::pool::{EngineSettings, SetupError, WasmEngine},
    record::{
        Any, Difference, Half as _,
        call::{ClientHalf, ServerHalf},
        file::WIT,
        read_file,
        replay::{self, Replayed},
    },
};

/// A file or the engine can not be used.
const UNUSABLE: u8 = 2;
/// For one call: this is no server, and a machine that is busy is no difference.
const DEADLINE: Duration = Duration::from_secs(5);
/// Octets of a component.
const COMPONENT: u64 = 64 << 20;

/// Which sessions, and on what.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArguments {
    /// `.session` files, or folders of them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Run them on this engine, a component of the world `hermetic:engine/engine`, instead of this program's own.
    #[arg(long, value_name = "ENGINE.wasm")]
    engine: Option<PathBuf>,
    /// Judge the recorded mail again with this version of a plugin, and list every verdict that is another one.
    ///
    /// Where the files tell what the plugin was asked, and have the content (`record.bodies`), it is asked the same. Its calls of the
    /// host (database, DNS, HTTP) are answered from the file; one that is not there is told of and never made. Settings, grants
    /// and limits are those of `[[plugin]]` with the plugin's name in the configuration, or if there is none, no settings and all
    /// grants.
    #[arg(long, value_name = "PLUGIN.wasm", conflicts_with = "engine")]
    plugins: Option<PathBuf>,
    /// Which of the recorded plugins it is a version of, if the files tell of several.
    #[arg(long, value_name = "NAME", requires = "plugins")]
    name: Option<String>,
    /// One JSON object a file: `file`, `half`, `wit`, `calls`, and `difference` (null if there is none) or `error`. With
    /// --plugins `file`, `judged`, `left-out` and `changes`.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  hermetic replay /var/lib/hermetic/sessions
        does this version do what the one that recorded them did?
  hermetic replay --engine new-engine.wasm odd.session
        would another engine have done the same?
  hermetic replay --json *.session | jq 'select(.difference)'
        only those that differ
  hermetic replay --plugins new/greylist.wasm /var/lib/hermetic/sessions
        what would the new version have said?";

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: there is no .session file in it", path.display())]
    Empty { path: PathBuf },
    #[error("{}: it has more than {COMPONENT} octets, which no engine has", path.display())]
    Large { path: PathBuf },
    #[error("{}: {error}", path.display())]
    Engine { path: PathBuf, error: SetupError },
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// Runs them.
pub(super) fn run(
    arguments: &ReplayArguments,
    config: Option<&Path>,
    print: impl Fn(&str) -> io::Result<()>,
) -> ExitCode {
    if let Some(plugin) = &arguments.plugins {
        return plugins::run(plugin, arguments, config, print);
    }
    let (files, engine) =
        match files(&arguments.files).and_then(|files| Ok((files, engine(arguments.engine.as_deref())?))) {
            Ok(ready) => ready,
            Err(error) => {
                failed(error);
                return UNUSABLE.into();
            }
        };
    let mut code = 0;
    let (mut same, mut different) = (0, 0);
    for path in &files {
        let replayed = read_file(path).map(|any| {
            let replayed = replay::any(&any, &engine);
            (any, replayed)
        });
        let told = match replayed {
            Ok((any, Ok(replayed))) => {
                if replayed.difference.is_some() {
                    different += 1;
                    code = code.max(1);
                } else {
                    same += 1;
                }
                tell(path, &any, &replayed, arguments.json)
            }
            Ok((_, Err(error))) => {
                code = UNUSABLE;
                trouble(path, &format!("the engine gives no session: {error}"), arguments.json)
            }
            Err(error) => {
                code = UNUSABLE;
                trouble(path, &error.to_string(), arguments.json)
            }
        };
        if let Err(error) = print(&told) {
            failed(format_args!("can not write: {error}"));
            return UNUSABLE.into();
        }
    }
    if !arguments.json && files.len() > 1 {
        let unusable = files.len() - same - different;
        let line = format!("{same} the same, {different} different, {unusable} not to be used\n");
        if let Err(error) = print(&line) {
            failed(format_args!("can not write: {error}"));
            return UNUSABLE.into();
        }
    }
    code.into()
}

/// The files, and of folders the session files in them, by name.
fn files(given: &[PathBuf]) -> Result<Vec<PathBuf>, ReplayError> {
    let mut files = Vec::new();
    for path in given {
        let wrong = |error| ReplayError::Io { path: path.clone(), error };
        if !fs::metadata(path).map_err(wrong)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(wrong)? {
            let entry = entry.map_err(wrong)?.path();
            if entry.extension().is_some_and(|extension| extension == "session") {
                inside.push(entry);
            }
        }
        if inside.is_empty() {
            return Err(ReplayError::Empty { path: path.clone() });
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

fn engine(path: Option<&Path>) -> Result<WasmEngine, ReplayError> {
    let settings = EngineSettings { sessions: 4, deadline: DEADLINE, ..EngineSettings::default() };
    let Some(path) = path else { return Ok(WasmEngine::new(&settings)?) };
    let wrong = |error| ReplayError::Io { path: path.to_owned(), error };
    if fs::metadata(path).map_err(wrong)?.len() > COMPONENT {
        return Err(ReplayError::Large { path: path.to_owned() });
    }
    let component = fs::read(path).map_err(wrong)?;
    WasmEngine::from_component(&component, &settings)
        .map_err(|error| ReplayError::Engine { path: path.to_owned(), error })
}

fn half(any: &Any) -> &'static str {
    match any {
        Any::Server(_) => ServerHalf::NAME,
        Any::Client(_) => ClientHalf::NAME,
    }
}

fn tell(path: &Path, any: &Any, replayed: &Replayed, json: bool) -> String {
    let wit = &any.header().wit;
    if json {
        let object = json!({
            "file": path.display().to_string(),
            "half": half(any),
            "wit": wit,
            "calls": replayed.calls,
            "difference": replayed.difference.as_ref().map(difference),
        });
        return format!("{object}\n");
    }
    let other = match wit.as_str() {
        WIT => String::new(),
        other => format!(" (recorded on hermetic:engine {}, run on {WIT})", safe(other)),
    };
    let file = path.display();
    match &replayed.difference {
        None => format!("{file}: the same, {} calls{other}\n", replayed.calls),
        Some(difference) => {
            let lines: Vec<String> = difference.to_string().lines().map(safe).collect();
            format!("{file}: differs{other} in {}\n", lines.join("\n"))
        }
    }
}

fn difference(difference: &Difference) -> serde_json::Value {
    let fields = difference.fields.listed.iter();
    let fields: Vec<_> =
        fields.map(|field| json!({ "path": field.path, "recorded": field.recorded, "came": field.came })).collect();
    json!({
        "line": difference.line,
        "call": difference.call,
        "now": difference.now,
        "fields": fields,
        "more": difference.fields.more,
    })
}

fn trouble(path: &Path, error: &str, json: bool) -> String {
    if json {
        return format!("{}\n", json!({ "file": path.display().to_string(), "error": error }));
    }
    format!("{}: {}\n", path.display(), safe(error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn folders_are_what_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(matches!(files(&[folder.path().to_owned()]), Err(ReplayError::Empty { .. })));
        for name in ["b.session", "a.session", ".c.session.tmp", "d.txt"] {
            fs::write(at(name), "").unwrap();
        }
        assert_eq!(
            files(&[at("d.txt"), folder.path().to_owned()]).unwrap(),
            [at("d.txt"), at("a.session"), at("b.session")]
        );
        assert!(matches!(files(&[at("e")]), Err(ReplayError::Io { .. })));
        assert!(matches!(engine(Some(&at("d.txt"))), Err(ReplayError::Engine { .. })));
    }
}
