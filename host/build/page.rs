//! The playground, as one table of files.
//!
//! Owns that `core/js/build.sh` runs, with what the outer build knows, and what becomes of its files. Refuses to know how a
//! module is made of a crate: the script does, which also makes it for other web servers. `HERMETIC_PLAYGROUND` names a folder
//! that the script has filled elsewhere, or is `none`: then the server has no playground. Where `HERMETIC_ENGINE` says that nothing
//! is to be compiled for WebAssembly here, `none` is meant. It fails with text for a person.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// What it is built from, seen from the workspace's root.
const SOURCES: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "core/Cargo.toml",
    "core/src",
    "core/js/build.sh",
    "core/js/Cargo.toml",
    "core/js/src",
    "core/js/bindgen",
    "core/js/module",
    "core/js/playground",
];

/// Writes `playground.rs`: an expression of names and octets.
pub(crate) fn embed(root: &Path, out: &Path, sealed: &Path) -> Result<(), String> {
    println!("cargo::rerun-if-env-changed=HERMETIC_PLAYGROUND");
    let built = out.join("playground");
    let otherwise = env::var_os("HERMETIC_ENGINE").map(|_| "none".into());
    let prebuilt = env::var_os("HERMETIC_PLAYGROUND").or(otherwise);
    let folder = match prebuilt.as_deref() {
        Some(none) if none == "none" => None,
        Some(folder) => Some(root.join(folder)),
        None => {
            for source in SOURCES {
                println!("cargo::rerun-if-changed={}", root.join(source).display());
            }
            // What an earlier build left, and this one would not make, is not to be served.
            let _ = fs::remove_dir_all(&built);
            run(&root.join("core/js/build.sh"), &built, sealed)?;
            Some(built)
        }
    };
    let mut table = String::from("&[\n");
    if let Some(folder) = folder {
        let problem = |error: std::io::Error| format!("Cannot read {}: {error}", folder.display());
        let mut files = fs::read_dir(&folder).map_err(problem)?.collect::<Result<Vec<_>, _>>().map_err(problem)?;
        files.retain(|file| file.path().is_file());
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files {
            let path = file.path().canonicalize().map_err(problem)?;
            let name = file.file_name();
            let _ = writeln!(table, "    ({:?}, include_bytes!({path:?})),", name.to_string_lossy());
        }
    }
    table.push_str("]\n");
    let file = out.join("playground.rs");
    fs::write(&file, table).map_err(|error| format!("Cannot write {}: {error}", file.display()))
}

fn run(script: &Path, out: &Path, sealed: &Path) -> Result<(), String> {
    let without = "Or set HERMETIC_PLAYGROUND=none, for a server without it.";
    let words: [&OsStr; 2] = [script.as_os_str(), out.as_os_str()];
    match Command::new("bash").args(words).env("HERMETIC_SEALED", sealed).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{}\n\n{without}", String::from_utf8_lossy(&output.stderr).trim_end())),
        Err(error) => Err(format!("bash could not be run: {error}\n\n{without}")),
    }
}
