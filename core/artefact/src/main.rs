//! Writes the engine for whoever embeds it: the component, and its WIT beside it.
//!
//! ```text
//! cargo run --package engine-wasm -- core/out
//! ```
//!
//! Owns what is said of the artefact (sizes, hash, imports). The build itself is the one that `host` has. It fails with a
//! sentence where the component cannot be built or written, or imports anything.

#[path = "../../../host/build/component.rs"]
mod component;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use sha2::{Digest, Sha256};

/// `\0asm`, then version and layer.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
/// The section of a component that holds its imports.
const IMPORTS: u8 = 10;

fn main() -> ExitCode {
    let Some(out) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("Please say where the engine is to be written: engine-wasm FOLDER");
        return ExitCode::from(2);
    };
    match write(&out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn write(out: &Path) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built = component::Recipe {
        manifest: &root.join("Cargo.toml"),
        package: "hermetic-engine",
        profile: "engine",
        folder: &target_folder(&root).join("sealed"),
    }
    .build()?;
    let engine = fs::read(&built).map_err(|error| format!("Cannot read {}: {error}", built.display()))?;
    let imports = imports(&engine).ok_or_else(|| format!("{} is no component.", built.display()))?;
    if imports > 0 {
        return Err(format!(
            "The engine must import nothing, and {} has {imports} sections of imports.",
            built.display()
        ));
    }
    let wit = out.join("wit");
    fs::create_dir_all(&wit).map_err(|error| format!("Cannot make {}: {error}", wit.display()))?;
    let said = |path: &Path, error: io::Error| format!("Cannot write {}: {error}", path.display());
    let file = out.join("engine.wasm");
    fs::write(&file, &engine).map_err(|error| said(&file, error))?;
    for entry in fs::read_dir(root.join("wit/engine")).map_err(|error| said(&wit, error))?.flatten() {
        let copy = wit.join(entry.file_name());
        fs::copy(entry.path(), &copy).map_err(|error| said(&copy, error))?;
    }
    println!("{}", file.display());
    println!("  octets   {} ({} gzipped)", engine.len(), gzipped(&engine).map_err(|error| said(&file, error))?);
    println!("  sha256   {}", Sha256::digest(&engine).iter().map(|octet| format!("{octet:02x}")).collect::<String>());
    println!("  imports  none");
    println!("  WIT      {}", wit.display());
    Ok(())
}

/// Where this program was built, so that `host` and it share what they build.
fn target_folder(root: &Path) -> PathBuf {
    let here = env::current_exe().unwrap_or_default();
    let found = here.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    found.map_or_else(|| root.join("target"), Path::to_path_buf)
}

/// How many sections of imports the component itself has. `None` for what is no component.
fn imports(wasm: &[u8]) -> Option<usize> {
    let mut rest = wasm.strip_prefix(COMPONENT)?;
    let mut found = 0;
    while let [id, after @ ..] = rest {
        let (size, after) = leb128(after)?;
        found += usize::from(*id == IMPORTS);
        rest = after.get(size..)?;
    }
    Some(found)
}

/// An unsigned number of WebAssembly's, and what stands behind it.
fn leb128(octets: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (at, octet) in octets.iter().take(5).enumerate() {
        value |= usize::from(octet & 0x7f) << (7 * at);
        if octet & 0x80 == 0 {
            return Some((value, &octets[at + 1..]));
        }
    }
    None
}

fn gzipped(octets: &[u8]) -> io::Result<usize> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(octets)?;
    Ok(writer.finish()?.len())
}
