//! Writes what a WIT world says in C or Go: `bindgen c|go WIT OUT`, WIT a folder with one world.
//!
//! The generators are wit-bindgen's; this is how to get at them in seconds instead of building its command line tool for
//! minutes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use wit_bindgen_core::Files;
use wit_parser::Resolve;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [language, wit, out] = &arguments[..] else { bail!("usage: bindgen c|go WIT OUT") };
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(Path::new(wit)).with_context(|| format!("{wit} can not be read"))?;
    let world = resolve.select_world(&[package], None)?;
    let mut generator = match language.as_str() {
        "c" => wit_bindgen_c::Opts::default().build(),
        "go" => wit_bindgen_go::Opts::default().build(),
        other => bail!("{other} is neither c nor go"),
    };
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files)?;
    for (name, content) in files.iter() {
        let path = Path::new(out).join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, content).with_context(|| format!("{} can not be written", path.display()))?;
    }
    Ok(())
}
