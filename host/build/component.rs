//! How a crate becomes a WebAssembly component.
//!
//! Owns the recipe: a cargo of its own, the target, the linker, the flags. Refuses to know what the crate is for; the
//! build script uses it for the engine, the tests for engines that misbehave. It fails with text for a person, which
//! says what to type where that helps.

use std::env::{self, consts};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const TARGET: &str = "wasm32-unknown-unknown";

/// For every crate inside the component: vector instructions for the searches in content, and a stack that suits one
/// session instead of a program. It lies below the data, so that an overflow traps.
const FLAGS: [&str; 2] = ["-Ctarget-feature=+simd128", "-Clink-arg=-zstack-size=131072"];

/// What to build, and where.
pub(crate) struct Recipe<'a> {
    /// The `Cargo.toml` of the workspace.
    pub(crate) manifest: &'a Path,
    /// The package; its library becomes the component.
    pub(crate) package: &'a str,
    /// The profile.
    pub(crate) profile: &'a str,
    /// The target folder.
    pub(crate) folder: &'a Path,
}

impl Recipe<'_> {
    /// Builds the component and says where it is.
    pub(crate) fn build(&self) -> Result<PathBuf, String> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        want_target(&rustc)?;
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["rustc", "--locked", "--target", TARGET, "--profile", self.profile, "--package", self.package])
            .arg("--manifest-path")
            .arg(self.manifest)
            .arg("--target-dir")
            .arg(self.folder)
            // Only here: as a native library the crate would want a linker that knows the names of a component's exports.
            .args(["--lib", "--crate-type", "cdylib"]);
        // What was set for the outer build (flags, wrappers such as clippy's, profiles, another target) is not meant
        // for this one.
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(is_for_the_outer_build) {
                cargo.env_remove(name);
            }
        }
        let flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).chain(self.remapped(&rustc)?).collect();
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", component_linker(&rustc)?);
        run(&mut cargo)?;
        let file = format!("{}.wasm", self.package.replace('-', "_"));
        Ok(self.folder.join(TARGET).join(self.profile).join(file))
    }

    /// So that the same sources give the same octets wherever they lie: no path of this machine is left in a message of
    /// a panic.
    fn remapped(&self, rustc: &OsStr) -> Result<Vec<String>, String> {
        let root = self.manifest.parent().unwrap_or(Path::new(".")).canonicalize();
        let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
        let sysroot = PathBuf::from(printed(Command::new(rustc).args(["--print", "sysroot"]))?);
        let places = [(home, "/cargo"), (Some(sysroot), "/rust"), (root.ok(), "/hermetic")];
        let known = places.into_iter().filter_map(|(place, name)| Some((place?, name)));
        Ok(known.map(|(place, name)| format!("--remap-path-prefix={}={name}", place.display())).collect())
    }
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
    let version = printed(Command::new(rustc).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let linker = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin").join(name);
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
