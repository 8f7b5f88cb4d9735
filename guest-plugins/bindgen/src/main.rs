//! What the languages without tools of their own need to become components.
//!
//! `bindgen c|go WIT OUT` writes what a WIT world says in C or Go; `bindgen component MODULE WIT OUT` makes a component of a
//! module that was linked with that. WIT is a folder with one world.
//!
//! Go's are for a module named `filter`, whose folder `bindings` OUT is; their runtime is `guest-plugins/sdk-go`.
//!
//! The generators and the encoder are those of wit-bindgen and wasm-tools; this is how to get at them in seconds instead of
//! building their command line tools for minutes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as WASI, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as REACTOR,
};
use wit_bindgen_core::Files;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["c", wit, out] => generate(wit_bindgen_c::Opts::default().build(), wit, out),
        ["go", wit, out] => {
            let opts = wit_bindgen_go::Opts {
                pkg_name: Some("filter/bindings".into()),
                export_pkg_name: Some("filter".into()),
                ..wit_bindgen_go::Opts::default()
            };
            generate(opts.build(), wit, out)
        }
        ["component", module, wit, out] => component(module, wit, out),
        _ => bail!("usage: bindgen c|go WIT OUT, or bindgen component MODULE WIT OUT"),
    }
}

/// The one world of a folder.
fn world(wit: &str) -> Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(Path::new(wit)).with_context(|| format!("{wit} can not be read"))?;
    let world = resolve.select_world(&[package], None)?;
    Ok((resolve, world))
}

fn generate(mut generator: Box<dyn wit_bindgen_core::WorldGenerator>, wit: &str, out: &str) -> Result<()> {
    let (mut resolve, world) = world(wit)?;
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files)?;
    for (name, content) in files.iter() {
        let path = Path::new(out).join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        write(&path, &with_our_runtime(content))?;
    }
    Ok(())
}

/// The runtime that Go's bindings expect is a module elsewhere; ours does the same.
fn with_our_runtime(content: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(content) {
        Ok(text) => text.replace("go.bytecodealliance.org/pkg/wit/", "hermetic/wit/").into_bytes(),
        Err(_) => content.to_vec(),
    }
}

/// What the module imports of WASI's first preview is linked to the adapter, which imports the second instead.
fn component(module: &str, wit: &str, out: &str) -> Result<()> {
    let (resolve, world) = world(wit)?;
    let mut octets = fs::read(module).with_context(|| format!("{module} can not be read"))?;
    embed_component_metadata(&mut octets, &resolve, world, StringEncoding::UTF8)?;
    let encoded = ComponentEncoder::default()
        .module(&octets)
        .with_context(|| format!("{module} does not fit the world"))?
        .adapter(WASI, REACTOR)?
        .validate(true)
        .encode()
        .with_context(|| format!("{module} does not become a component"))?;
    write(Path::new(out), &encoded)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).with_context(|| format!("{} can not be written", path.display()))
}
