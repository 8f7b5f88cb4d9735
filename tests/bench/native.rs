//! `hermetic-native CONFIG`: the same server with the same core, without its sandbox. For measuring what the sandbox
//! costs, and for nothing else: a fault in the core ends the whole process here.

use std::{path::Path, process::ExitCode, sync::Arc};

use hermetic::{cli::serve, config::Config};
use hermetic_tests::native::Native;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("hermetic-native: name the configuration");
        return ExitCode::from(2);
    };
    match serve_natively(Path::new(&path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hermetic-native: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve_natively(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let loaded = Config::load(path)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(serve::run_with(Arc::new(loaded.config), Arc::new(Native)))?)
}
