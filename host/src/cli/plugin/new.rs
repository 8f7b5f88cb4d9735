//! `hermetic plugin new`: a folder with a plugin that builds.
//!
//! Owns what goes into the folder for each language. Nothing of ours is published in a registry, so the folder carries what
//! it needs: the WIT, for Rust the SDK (with its fake, so that `cargo test` works from the start), for C the generator of
//! bindings. It builds on a machine that has never seen this repository, and goes on building whatever happens here.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use super::{PluginError, hook, template};
use crate::plugin::{VERSION, hook::Hook};

/// Name and text of everything that may be written; `build/embed.rs` collects it.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/plugin_files.rs"));

pub(super) const HELP: &str = "\
Examples:
  hermetic plugin new --lang rust no-offers
  hermetic plugin new --lang python --hook recipient --hook report who-writes

NAME is a new folder, here or where its path says; its last part is the plugin's name. The folder must not exist yet.";

/// What to begin.
#[derive(Clone, Debug, Args)]
pub struct NewArguments {
    /// The plugin's name: lower-case letters, digits and hyphens. May be a path, whose last part is the name.
    #[arg(value_name = "NAME")]
    folder: PathBuf,
    /// The language.
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
    /// A hook: connection, sender, recipient, message, recipient-message, delivery or report. May be given several times.
    #[arg(long, value_name = "HOOK", value_parser = hook, default_value = "recipient-message")]
    hook: Vec<Hook>,
}

/// What it is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "they say it")]
pub(super) enum Language {
    Rust,
    C,
    Go,
    #[value(name = "javascript", alias = "js")]
    JavaScript,
    #[value(name = "typescript", alias = "ts")]
    TypeScript,
    Python,
}

impl Language {
    /// The folder of its templates.
    fn templates(self) -> &'static str {
        match self {
            Self::Rust => "templates/rust/",
            Self::C => "templates/c/",
            Self::Go => "templates/go/",
            Self::JavaScript => "templates/javascript/",
            Self::TypeScript => "templates/typescript/",
            Self::Python => "templates/python/",
        }
    }

    /// Where the built component is.
    fn component(self, name: &str) -> String {
        match self {
            Self::Rust => format!("target/wasm32-unknown-unknown/release/{}.wasm", name.replace('-', "_")),
            _ => format!("{name}.wasm"),
        }
    }

    /// What to type to build it.
    fn commands(self, component: &str) -> Vec<String> {
        let venv = "python3 -m venv build/venv";
        let pip = "build/venv/bin/pip install --quiet --requirement requirements.txt";
        match self {
            Self::Rust => vec!["cargo build --release --target wasm32-unknown-unknown".into()],
            Self::JavaScript | Self::TypeScript => vec!["npm install --no-fund".into(), "npm run build".into()],
            Self::Python => vec![
                venv.into(),
                pip.into(),
                format!(
                    "build/venv/bin/componentize-py --wit-path wit --world plugin componentize --stub-wasi plugin \
                     --output {component}"
                ),
            ],
            Self::Go => vec![
                venv.into(),
                pip.into(),
                "cargo run --quiet --manifest-path hermetic/bindgen/Cargo.toml -- go wit bindings".into(),
                "GOOS=wasip1 GOARCH=wasm GOTOOLCHAIN=local build/venv/bin/go build -buildmode=c-shared -trimpath \
                 -ldflags=\"-s -w\" -o build/plugin.wasm ."
                    .into(),
                format!(
                    "cargo run --quiet --manifest-path hermetic/bindgen/Cargo.toml -- component build/plugin.wasm wit \
                     {component}"
                ),
            ],
            Self::C => vec![
                venv.into(),
                pip.into(),
                "cargo run --quiet --manifest-path hermetic/bindgen/Cargo.toml -- c wit build/bindings".into(),
                "build/venv/bin/python -m ziglang cc -target wasm32-wasi -mexec-model=reactor -Oz -Wall -Wextra \
                 -I build/bindings -Wl,--strip-all -Wl,-z,stack-size=65536 plugin.c build/bindings/plugin.c \
                 build/bindings/plugin_component_type.o -o build/plugin.wasm"
                    .into(),
                format!("build/venv/bin/wasm-tools component new build/plugin.wasm --output {component}"),
            ],
        }
    }
}

/// Makes the folder, and says what to do next.
pub(super) fn make(arguments: &NewArguments) -> Result<String, PluginError> {
    let NewArguments { folder, lang, hook } = arguments;
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !is_name(&name) {
        return Err(PluginError::Usage(format!(
            "{name:?} can be no name in every language; use lower-case letters, digits and hyphens, a letter first"
        )));
    }
    let hooks: Vec<Hook> = Hook::ALL.into_iter().filter(|one| hook.contains(one)).collect();
    let files = files(&name, *lang, &hooks).map_err(|problem| PluginError::File { file: folder.clone(), problem })?;
    fs::create_dir(folder).map_err(|error| {
        let problem = match error.kind() {
            io::ErrorKind::AlreadyExists => "it is there already; choose another name, or remove it".into(),
            _ => format!("it can not be made: {error}"),
        };
        PluginError::File { file: folder.clone(), problem }
    })?;
    for (path, text) in &files {
        write(&folder.join(path), text)?;
    }
    let component = lang.component(&name);
    let mut said = format!("{} is a plugin now. To build and to try it:\n\n  cd {0}\n", folder.display());
    let test = "hermetic plugin test .".to_owned();
    for command in lang.commands(&component).iter().chain([&test]) {
        let _ = writeln!(said, "  {command}");
    }
    said.push_str("\nREADME.md has more.\n");
    Ok(said)
}

fn write(path: &Path, text: &str) -> Result<(), PluginError> {
    let done = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    done.map_err(|error| PluginError::File { file: path.to_owned(), problem: format!("can not be written: {error}") })
}

/// What all languages take: a part of a package's name, an identifier of WIT, a file.
fn is_name(name: &str) -> bool {
    // Each word of an identifier of WIT begins with a letter.
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    name.len() <= 64 && name.split('-').all(word)
}

/// Everything that goes into the folder: path and text.
fn files(name: &str, lang: Language, hooks: &[Hook]) -> Result<BTreeMap<String, String>, String> {
    let component = lang.component(name);
    let commands: Vec<_> = lang.commands(&component).iter().map(|command| format!("$ {command}")).collect();
    let exports: Vec<_> = hooks.iter().map(|hook| format!("on_{}", hook.as_str().replace('-', "_"))).collect();
    let values = BTreeMap::from([
        ("name", name.to_owned()),
        ("version", VERSION.to_owned()),
        ("component", component),
        ("commands", commands.join("\n")),
        ("all_hooks", exports.join(", ")),
    ]);
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    // A file that the language and all of them have is both, one below the other.
    for folder in [lang.templates(), "templates/common/"] {
        for (path, text) in below(folder) {
            // Rust's components import what the code calls; there is no world to write.
            if lang == Language::Rust && path.starts_with("wit/") {
                continue;
            }
            let fill = |hooks: &[Hook]| {
                template::fill(text, hooks, &values).map_err(|mistake| format!("{folder}{path}: {mistake}"))
            };
            let Some((kind, rest)) = path.strip_prefix("each-").and_then(|path| path.split_once('/')) else {
                files.entry(path.replace("dot-", ".")).or_default().push_str(&fill(hooks)?);
                continue;
            };
            // Go has a package for each hook, in a folder that the bindings know.
            for hook in hooks.iter().filter(|hook| template::kind(**hook) == kind) {
                let package = format!("export_hermetic_plugin_on_{}", hook.as_str().replace('-', "_"));
                files.insert(format!("{package}/{rest}"), fill(&[*hook])?);
            }
        }
    }
    let wit = if lang == Language::Rust { "wit/plugin/" } else { "wit/deps/hermetic-plugin/" };
    let mut carry = |from: &str, to: &str| -> Result<(), String> {
        for (path, text) in below(from) {
            let text = if path == "Cargo.toml" { alone(text)? } else { text.to_owned() };
            files.insert(format!("{to}{path}"), text);
        }
        Ok(())
    };
    carry("wit/", wit)?;
    match lang {
        Language::Rust => carry("sdk/", "hermetic/sdk/")?,
        Language::C => carry("bindgen/", "hermetic/bindgen/")?,
        Language::Go => {
            carry("bindgen/", "hermetic/bindgen/")?;
            carry("sdk-go/", "hermetic/sdk-go/")?;
        }
        _ => {}
    }
    Ok(files)
}

fn below(folder: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().filter_map(move |(path, text)| Some((path.strip_prefix(folder)?, *text)))
}

/// A manifest without the workspace that it takes from.
fn alone(manifest: &str) -> Result<String, String> {
    let parsed = |text: &str| text.parse::<toml::Table>().map_err(|error| error.to_string());
    let mut table = parsed(manifest)?;
    let workspace = below("workspace/").map(|(_, text)| parsed(text)).next().ok_or("no workspace")??;
    let of = |key: &str| workspace.get("workspace").and_then(|table| table.get(key)).and_then(toml::Value::as_table);
    let (package, dependencies) = (of("package"), of("dependencies"));
    table.remove("lints");
    take(table.get_mut("package"), package);
    take(table.get_mut("dependencies"), dependencies);
    for (_, target) in table.get_mut("target").and_then(toml::Value::as_table_mut).into_iter().flatten() {
        take(target.get_mut("dependencies"), dependencies);
    }
    let text = toml::to_string(&table).map_err(|error| error.to_string())?;
    // What still leans on a workspace would not build.
    if text.contains("workspace") { Err(format!("a manifest leans on its workspace:\n{text}")) } else { Ok(text) }
}

/// Puts in the place of `key.workspace = true` what the workspace has there.
fn take(table: Option<&mut toml::Value>, workspace: Option<&toml::Table>) {
    for (key, value) in table.and_then(toml::Value::as_table_mut).into_iter().flatten() {
        if value.get("workspace").is_some()
            && let Some(theirs) = workspace.and_then(|workspace| workspace.get(key))
        {
            *value = theirs.clone();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn every_template_fills_with_every_hook() {
        for lang in Language::value_variants() {
            for hooks in Hook::ALL.iter().map(std::slice::from_ref).chain([&Hook::ALL[..]]) {
                let files = files("my-filter", *lang, hooks).unwrap_or_else(|problem| panic!("{lang:?}: {problem}"));
                for (path, text) in &files {
                    let own = !path.starts_with("hermetic/");
                    assert!(!(own && (text.contains("%%") || text.contains("{{n"))), "{lang:?} {path}: {text}");
                    assert!(!path.contains("dot-") && !path.contains("templates"), "{path}");
                }
                for path in ["README.md", ".gitignore", "scenarios/first.toml"] {
                    assert!(files.contains_key(path), "{lang:?} has no {path}: {:?}", files.keys());
                }
                let scenario = toml::from_str::<crate::trial::Scenario>(&files["scenarios/first.toml"]);
                assert!(scenario.is_ok(), "{lang:?} {hooks:?}: {scenario:?}");
            }
        }
    }

    /// The world imports no more than what its hooks' filters use.
    #[test]
    fn the_world_is_small_and_sound() {
        for hooks in Hook::ALL.iter().map(std::slice::from_ref).chain([&Hook::ALL[..]]) {
            let files = files("my-filter", Language::Python, hooks).unwrap();
            let folder = tempfile::tempdir().unwrap();
            for (path, text) in files.iter().filter(|(path, _)| path.starts_with("wit/")) {
                write(&folder.path().join(path), text).unwrap();
            }
            let mut resolve = wit_parser::Resolve::default();
            let (package, _) = resolve.push_path(folder.path().join("wit")).unwrap();
            let world = resolve.select_world(&[package], None).unwrap();
            assert_eq!(resolve.worlds[world].exports.len(), hooks.len());
            let names: Vec<_> = resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key)).collect();
            let needs: Vec<_> = names.iter().map(|name| crate::plugin::grants::need(name)).collect();
            assert!(needs.iter().all(|need| *need == crate::plugin::grants::Need::Nothing), "{names:?}");
        }
    }

    #[test]
    fn names() {
        for (name, good) in [
            ("a", true),
            ("my-filter2", true),
            ("", false),
            ("-a", false),
            ("a--b", false),
            ("a-2", false),
            ("2a", false),
            ("A", false),
            ("a_b", false),
            ("ä", false),
            ("..", false),
        ] {
            assert_eq!(is_name(name), good, "{name:?}");
        }
    }
}
