//! What `hermetic plugin new` writes, as one table of files.
//!
//! Owns which folders go into the binary: the templates, the WIT, the SDK and the generator of bindings, so that a plugin that
//! was begun with this `hermetic` builds without anything of ours from elsewhere.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Where a folder of the workspace goes in the table, and which.
const FOLDERS: [(&str, &str); 5] = [
    ("templates", "host/templates"),
    ("wit", "wit/plugin"),
    ("sdk", "guest-plugins/sdk"),
    ("sdk-go", "guest-plugins/sdk-go"),
    ("bindgen", "guest-plugins/bindgen"),
];
/// One file more: what these folders take their versions from.
const WORKSPACE: &str = "guest-plugins/Cargo.toml";

/// Writes `plugin_files.rs`: an expression of names and texts.
pub(crate) fn embed(root: &Path, out: &Path) -> Result<(), String> {
    let mut files = vec![("workspace/Cargo.toml".to_owned(), root.join(WORKSPACE))];
    for (name, folder) in FOLDERS {
        let folder = root.join(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        walk(&folder, name, &mut files)?;
    }
    println!("cargo::rerun-if-changed={}", root.join(WORKSPACE).display());
    files.sort();
    let mut table = String::from("&[\n");
    for (name, path) in files {
        let path = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
        let _ = writeln!(table, "    ({name:?}, include_str!({path:?})),");
    }
    table.push_str("]\n");
    let file = out.join("plugin_files.rs");
    fs::write(&file, table).map_err(|error| format!("Cannot write {}: {error}", file.display()))
}

fn walk(folder: &Path, name: &str, files: &mut Vec<(String, PathBuf)>) -> Result<(), String> {
    let problem = |error: std::io::Error| format!("Cannot read {}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(problem)? {
        let entry = entry.map_err(problem)?;
        let own = entry.file_name().to_string_lossy().into_owned();
        let name = format!("{name}/{own}");
        if entry.path().is_dir() {
            if own != "target" {
                walk(&entry.path(), &name, files)?;
            }
        } else {
            files.push((name, entry.path()));
        }
    }
    Ok(())
}
