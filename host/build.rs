//! Builds the sealed engine, so that one `cargo build` gives one binary.
//!
//! The engine is a WebAssembly component. A second cargo builds it for `wasm32-unknown-unknown`, which gives code that
//! can import nothing, and the toolchain's own `wasm-component-ld` links it as a component: no tool has to be
//! installed. Where the target is missing, `rustup` is asked for it. `HERMETIC_ENGINE` names a component that was built
//! elsewhere; then nothing of this happens.

use std::env::{self, consts};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

const TARGET: &str = "wasm32-unknown-unknown";

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

/// For every crate inside the component: vector instructions for the searches in content, and a stack that suits one
/// session instead of a program. It lies below the data, so that an overflow traps.
const FLAGS: [&str; 2] = ["-Ctarget-feature=+simd128", "-Clink-arg=-zstack-size=131072"];

/// How a component begins: `\0asm`, then version and layer. A plain module differs in the last four octets.
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=HERMETIC_ENGINE");
    match engine() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("\nThe sealed engine could not be built.\n\n{message}\n");
            ExitCode::FAILURE
        }
    }
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
            build(&root, &out)?
        }
    };
    let bytes = fs::read(&component).map_err(|error| format!("Cannot read {}: {error}", component.display()))?;
    if !bytes.starts_with(&COMPONENT) {
        return Err(format!("{} is not a WebAssembly component.", component.display()));
    }
    fs::write(out.join("engine.wasm"), bytes).map_err(|error| format!("Cannot write to {}: {error}", out.display()))
}

/// Builds the component with a cargo of its own and says where it is.
fn build(root: &Path, out: &Path) -> Result<PathBuf, String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    want_target(&rustc)?;
    let folder = target_folder(out).join("sealed");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--locked", "--profile", "engine", "--package", "hermetic-engine", "--target", TARGET])
        .arg("--manifest-path")
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder);
    // What was set for the outer build (flags, wrappers such as clippy's, profiles, another target) is not meant for
    // this one.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_for_the_outer_build) {
            cargo.env_remove(name);
        }
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", component_linker(&rustc)?);
    run(&mut cargo)?;
    Ok(folder.join(TARGET).join("engine").join("hermetic_engine.wasm"))
}

fn is_for_the_outer_build(name: &str) -> bool {
    matches!(name, "RUSTFLAGS" | "CARGO_ENCODED_RUSTFLAGS" | "RUSTC_WRAPPER" | "RUSTC_WORKSPACE_WRAPPER")
        || ["CARGO_BUILD_", "CARGO_TARGET_", "CARGO_PROFILE_"].iter().any(|prefix| name.starts_with(prefix))
}

/// Makes sure that the standard library for [`TARGET`] is there, and asks rustup for it where it is not.
fn want_target(rustc: &OsStr) -> Result<(), String> {
    let installed = || -> Result<bool, String> {
        Ok(Path::new(&printed(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]))?).is_dir())
    };
    if installed()? {
        return Ok(());
    }
    let advice = format!(
        "It needs Rust's target {TARGET}. Please type\n\n    rustup target add {TARGET}\n\nand build again. Without \
         rustup: install your distribution's package of Rust's standard library for {TARGET}, or set HERMETIC_ENGINE \
         to an engine.wasm that was built elsewhere."
    );
    // RUSTUP_TOOLCHAIN is inherited, so it is added to the toolchain that is building.
    match run(Command::new("rustup").args(["target", "add", TARGET])) {
        Ok(_) if installed()? => Ok(()),
        Ok(_) => Err(format!("{advice}\n\nrustup did add it, but not for {}.", Path::new(rustc).display())),
        Err(why) => Err(format!("{advice}\n\n{why}")),
    }
}

/// The linker that encodes a component. It comes with the toolchain, beside `rust-lld`.
fn component_linker(rustc: &OsStr) -> Result<PathBuf, String> {
    let sysroot = printed(Command::new(rustc).args(["--print", "sysroot"]))?;
    let name = format!("wasm-component-ld{}", consts::EXE_SUFFIX);
    let linker =
        Path::new(&sysroot).join("lib/rustlib").join(env::var("HOST").unwrap_or_default()).join("bin").join(name);
    if linker.is_file() {
        Ok(linker)
    } else {
        Err(format!(
            "This Rust has no {}. The toolchains of rustup have it; or set HERMETIC_ENGINE to an engine.wasm that was \
             built elsewhere.",
            linker.display()
        ))
    }
}

/// The outer build's target folder: the ancestor of `OUT_DIR` that cargo has tagged as a cache. A folder there is
/// ignored by version control, goes with `cargo clean`, and serves every profile.
fn target_folder(out: &Path) -> &Path {
    out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).unwrap_or(out)
}

fn path(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {variable}."))
}

fn printed(command: &mut Command) -> Result<String, String> {
    Ok(String::from_utf8_lossy(&run(command)?.stdout).trim_end().to_owned())
}

/// Runs a command to its end; its error is worth reading.
fn run(command: &mut Command) -> Result<Output, String> {
    let words: Vec<OsString> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_owned).collect();
    let shown = words.join(OsStr::new(" ")).to_string_lossy().into_owned();
    match command.output() {
        Ok(output) if output.status.success() => Ok(output),
        Ok(output) => Err(format!("`{shown}` failed:\n\n{}", String::from_utf8_lossy(&output.stderr).trim_end())),
        Err(error) => Err(format!("`{shown}` could not be run: {error}")),
    }
}
