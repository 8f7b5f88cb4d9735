//! Builds the sealed engine, so that one `cargo build` gives one binary.
//!
//! The engine is a WebAssembly component. A second cargo builds it for `wasm32-unknown-unknown`, which gives code that
//! can import nothing, and the toolchain's own `wasm-component-ld` links it as a component: no tool has to be
//! installed. Where the target is missing, `rustup` is asked for it. `HERMETIC_ENGINE` names a component that was built
//! elsewhere; then nothing of this happens.
//!
//! The playground is built in the same target folder, by the script that also makes it for other web servers.

#[path = "build/component.rs"]
mod component;
#[path = "build/embed.rs"]
mod embed;
#[path = "build/page.rs"]
mod page;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

/// What the engine is built from, seen from the workspace's root.
const SOURCES: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "core/Cargo.toml",
    "core/src",
    "core/component/Cargo.toml",
    "core/component/src",
    "wit/engine",
];

/// How a component begins: `\0asm`, then version and layer. A plain module differs in the last four octets.
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-env-changed=HERMETIC_ENGINE");
    let said = |what: &str, message: String| eprintln!("\n{what}\n\n{message}\n");
    if let Err(message) = engine() {
        said("The sealed engine could not be built.", message);
        return ExitCode::FAILURE;
    }
    if let Err(message) = plugin_files() {
        said("What `hermetic plugin new` writes could not be collected.", message);
        return ExitCode::FAILURE;
    }
    if let Err(message) = playground() {
        said("The playground could not be built.", message);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn playground() -> Result<(), String> {
    let out = path("OUT_DIR")?;
    page::embed(&path("CARGO_MANIFEST_DIR")?.join(".."), &out, &target_folder(&out).join("sealed"))
}

fn plugin_files() -> Result<(), String> {
    embed::embed(&path("CARGO_MANIFEST_DIR")?.join(".."), &path("OUT_DIR")?)
}

/// Leaves the component in `OUT_DIR`.
fn engine() -> Result<(), String> {
    let root = path("CARGO_MANIFEST_DIR")?.join("..");
    let out = path("OUT_DIR")?;
    let component = match env::var_os("HERMETIC_ENGINE") {
        Some(prebuilt) => {
            let component = root.join(prebuilt);
            println!("cargo::rerun-if-changed={}", component.display());
            component
        }
        None => {
            for source in SOURCES {
                println!("cargo::rerun-if-changed={}", root.join(source).display());
            }
            component::Recipe {
                manifest: &root.join("Cargo.toml"),
                package: "hermetic-engine",
                profile: "engine",
                folder: &target_folder(&out).join("sealed"),
            }
            .build()?
        }
    };
    let bytes = fs::read(&component).map_err(|error| format!("Cannot read {}: {error}", component.display()))?;
    if !bytes.starts_with(&COMPONENT) {
        return Err(format!("{} is not a WebAssembly component.", component.display()));
    }
    fs::write(out.join("engine.wasm"), bytes).map_err(|error| format!("Cannot write to {}: {error}", out.display()))
}

/// The outer build's target folder: the ancestor of `OUT_DIR` that cargo has tagged as a cache. A folder there is
/// ignored by version control, goes with `cargo clean`, and serves every profile.
fn target_folder(out: &Path) -> &Path {
    out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).unwrap_or(out)
}

fn path(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {variable}."))
}
