//! `hermetic-bindgen MODULE.wasm FOLDER`: writes the ES module for it to FOLDER, as `engine.js` and `engine_bg.wasm`.
//!
//! Owns the choice of what wasm-bindgen generates: a module that any page and Node can import as it is. Its version and that of
//! `wasm-bindgen` in the repository's Cargo.lock are the same; two that differ say so here. Fails with exit code 1 and a sentence.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [module, folder] = arguments.as_slice() else {
        eprintln!("hermetic-bindgen: a module and a folder are expected: hermetic-bindgen MODULE.wasm FOLDER");
        return ExitCode::FAILURE;
    };
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(module)
        .out_name("engine")
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true);
    let written = bindgen.web(true).and_then(|bindgen| bindgen.generate(folder));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hermetic-bindgen: {}: {error:#}", module.display());
            ExitCode::FAILURE
        }
    }
}
