//! Invariant 8 of `ARCHITECTURE.md`: the plugin interface of every release is frozen, and what was built against it runs on
//! every later host of its series.
//!
//! `wit/released/VERSION` is `wit/plugin` as it was released. A host of the same series has to offer everything that an
//! earlier version let a plugin import, and has to be able to call every hook that it let a plugin export; that is what
//! `wit_component::semver_check` says of a world with the imports of a version and one of its hooks. More functions, more
//! interfaces and more hooks harm nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use wit_parser::{PackageId, Resolve, SourceMap, World, WorldId};

/// The files of one version: name and text.
type Files = BTreeMap<String, String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")
}

fn files(folder: &Path) -> Files {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path.file_name().expect("a file").to_string_lossy().into_owned(), text)
    };
    let files: Files = paths.map(read).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

/// What stands behind the `@` of the package.
fn version(files: &Files) -> &str {
    let line = files.values().flat_map(|text| text.lines()).find(|line| line.starts_with("package "));
    line.and_then(|line| line.trim_end_matches(';').rsplit_once('@')).map(|(_, version)| version).expect("a version")
}

/// Below 1.0 the second number tells what fits.
fn series(version: &str) -> &str {
    let parts = if version.starts_with("0.") { 2 } else { 1 };
    version.match_indices('.').nth(parts - 1).map_or(version, |(at, _)| &version[..at])
}

/// Every version that was released, by its folder's name.
fn released() -> BTreeMap<String, Files> {
    let folder = root().join("released");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| {
        panic!("{}: {error}; a release keeps its wit/plugin there", folder.display());
    });
    let folders = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir());
    folders.map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), files(&path))).collect()
}

/// Two versions can not be called the same in one [`Resolve`]; the check itself looks at no version.
fn push(resolve: &mut Resolve, files: &Files, called: &str) -> PackageId {
    let version = version(files);
    let mut map = SourceMap::new();
    for (name, text) in files {
        map.push_str(&format!("{called}/{name}"), text.replace(&format!("@{version};"), &format!("@{called};")));
    }
    let group = map.parse().unwrap_or_else(|(_, error)| panic!("{called}: {error}"));
    resolve.push_group(group).unwrap_or_else(|error| panic!("{called}: {error:#}"))
}

fn everything(resolve: &Resolve, package: PackageId) -> WorldId {
    resolve.select_world(&[package], Some("everything")).expect("the world `everything`")
}

/// The same world with one of its exports.
fn with_export(resolve: &mut Resolve, world: WorldId, export: Option<&str>) -> Option<WorldId> {
    let mut only: World = resolve.worlds[world].clone();
    let names: Vec<_> = only.exports.keys().map(|key| (key.clone(), resolve.name_world_key(key))).collect();
    let key = export.map(|export| names.iter().find(|(_, name)| interface(name) == export).map(|(key, _)| key.clone()));
    match key {
        Some(Some(key)) => only.exports.retain(|one, _| *one == key),
        Some(None) => return None,
        None => only.exports.clear(),
    }
    Some(resolve.worlds.alloc(only))
}

/// `on-sender` of `hermetic:plugin/on-sender@0.1.0`.
fn interface(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.split('@').next().unwrap_or(name)
}

/// What of `old` a plugin could use and `new` no longer offers in the same way.
fn broken(old: &Files, new: &Files) -> Vec<String> {
    let mut resolve = Resolve::default();
    let (old, new) = (push(&mut resolve, old, "0.0.1"), push(&mut resolve, new, "0.0.2"));
    let [before, after] = [old, new].map(|package| everything(&resolve, package));
    let hooks: Vec<String> =
        resolve.worlds[before].exports.keys().map(|key| interface(&resolve.name_world_key(key)).to_owned()).collect();
    assert!(hooks.len() > 5, "{hooks:?}");
    let mut problems = Vec::new();
    for hook in std::iter::once(None).chain(hooks.iter().map(|hook| Some(hook.as_str()))) {
        let what = hook.map_or_else(|| "the imports".to_owned(), |hook| format!("the hook {hook}"));
        let prev = with_export(&mut resolve, before, hook).expect("one of its own");
        let Some(next) = with_export(&mut resolve, after, hook) else {
            problems.push(format!("{what} is gone"));
            continue;
        };
        if let Err(error) = wit_component::semver_check(resolve.clone(), prev, next) {
            problems.push(format!("{what}: {error:#}"));
        }
    }
    // Authors name the small worlds, too.
    for (name, prev) in resolve.packages[old].worlds.clone().into_iter().filter(|(name, _)| name != "everything") {
        match resolve.packages[new].worlds.get(&name).copied() {
            None => problems.push(format!("the world {name} is gone")),
            Some(next) => {
                if let Err(error) = wit_component::semver_check(resolve.clone(), prev, next) {
                    problems.push(format!("the world {name}: {error:#}"));
                }
            }
        }
    }
    problems
}

#[test]
fn what_was_built_against_a_release_runs_on_this_host() {
    let now = files(&root().join("plugin"));
    let released = released();
    assert!(!released.is_empty(), "wit/released has no version: a release copies wit/plugin there");
    for (folder, then) in &released {
        assert_eq!(folder, version(then), "wit/released/{folder} holds another version");
        if series(folder) == series(version(&now)) {
            let problems = broken(then, &now);
            assert!(
                problems.is_empty(),
                "a plugin built against wit/released/{folder} would not run any more; give wit/plugin a version of the \
                 next series, or take the change back:\n{}",
                problems.join("\n")
            );
        }
    }
}

#[test]
fn a_released_version_is_never_changed() {
    let now = files(&root().join("plugin"));
    assert_eq!(version(&now), hermetic::plugin::VERSION, "wit/plugin and the host agree on their version");
    if let Some(then) = released().get(version(&now)) {
        for (name, text) in &now {
            assert!(
                then.get(name) == Some(text),
                "wit/plugin/{name} is not as it was released with {0}: give wit/plugin another version (before the \
                 release of {0}: copy it to wit/released/{0})",
                version(&now)
            );
        }
        assert_eq!(then.len(), now.len(), "a file of version {} is gone from wit/plugin", version(&now));
    }
}

#[test]
fn breaking_changes_are_found_and_additions_are_none() {
    let now = files(&root().join("plugin"));
    let changed = |from: &str, to: &str| {
        let mut files = now.clone();
        let text = files.values_mut().find(|text| text.contains(from)).unwrap_or_else(|| panic!("no {from:?}"));
        *text = text.replacen(from, to, 1);
        broken(&now, &files)
    };
    assert_eq!(changed("now: func() -> u32;", "now: func() -> u32;\n    later: func() -> u32;"), [""; 0], "a function");
    assert_eq!(
        changed("world everything {", "interface on-idle { rest: func(); }\nworld everything { export on-idle;"),
        [""; 0],
        "a hook"
    );
    for (what, from, to, named) in [
        ("a function is gone", "now: func() -> u32;", "", "the imports"),
        ("a parameter", "read: func(offset: u32, max: u32)", "read: func(offset: u64, max: u32)", "the imports"),
        ("an interface is gone", "    import quarantine;\n", "", "the imports"),
        ("a field of a record", "detail: u16,", "detail: u32,", "the hook on-delivery"),
        ("a case of a verdict", "discard,", "discard,\n        hold,", "the hook on-message"),
        ("another result of a hook", "note: func();", "note: func() -> bool;", "the hook on-report"),
        ("a hook is gone", "    export on-sender;\n", "", "the hook on-sender is gone"),
        ("a world is gone", "world reporter {", "world told {", "the world reporter is gone"),
    ] {
        let problems = changed(from, to);
        assert!(problems.iter().any(|problem| problem.starts_with(named)), "{what}: {problems:#?}");
    }
}
