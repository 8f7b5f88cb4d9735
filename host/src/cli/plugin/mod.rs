//! `hermetic plugin`: makes a plugin, looks at it and tries it, without a server.
//!
//! Owns the commands and their exit codes; each has its file. Refuses to judge a component: that is [`plugin::load`]'s. Fails
//! with one sentence; a plugin that failed during `run` is reported in full and is exit code 1.
//!
//! [`plugin::load`]: crate::plugin::load

mod diff;
mod inspect;
mod made_up;
mod new;
mod run;
mod template;
mod test;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::Subcommand;

use crate::{
    config::plugins::Plugin as Configured,
    files,
    plugin::{LoadError, Loader, hook::Hook, run::Wasm},
    trial::ScenarioError,
};

/// What to do with a plugin.
#[derive(Clone, Debug, Subcommand)]
pub enum PluginCommand {
    /// Begin a plugin: a folder that builds.
    ///
    /// It has the plugin, a filter to begin with; the WIT of this version; a world with only what the filter uses; a
    /// scenario for `hermetic plugin test`; and a README with the commands, which are printed, too.
    #[command(after_help = new::HELP)]
    New(new::NewArguments),
    /// Show what a plugin is: its hooks, its imports, and the configuration that it needs.
    ///
    /// Nothing of the plugin is run. The last part of what is printed can be pasted into the configuration; it grants
    /// everything that the plugin asks for, so read it first.
    Inspect {
        /// The component.
        file: PathBuf,
    },
    /// Ask a plugin about a message, and show what it says and does.
    ///
    /// The hooks are called as the server would call them: those before the content with one instance, those after it
    /// with another, and none for a recipient that an earlier one has decided about. What the plugin keeps in its
    /// database is forgotten at the end.
    #[command(after_help = run::HELP)]
    Run(Box<run::RunArguments>),
    /// Play a plugin's scenarios, and compare what happens with what they expect.
    ///
    /// Each scenario is played twice: with fresh instances, as in a server, and with one that all of its steps share. A
    /// plugin that does another thing then remembers what it should not.
    #[command(after_help = test::HELP)]
    Test(test::TestArguments),
    /// Compare two builds of a plugin: what they import, export and need, and what they say about messages.
    #[command(after_help = diff::HELP)]
    Diff(Box<diff::DiffArguments>),
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The component.
    #[error("{}: {error}", file.display())]
    Load {
        /// Which.
        file: PathBuf,
        /// Why.
        error: LoadError,
    },
    /// A file of the command line.
    #[error("{}: {problem}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        problem: String,
    },
    /// The command line.
    #[error("{0}")]
    Usage(String),
    /// Threads, and what is written.
    #[error("it can not be done on this machine: {0}")]
    Machine(#[from] io::Error),
    /// What was to be played.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The plugin's fault.
    #[error("the plugin failed")]
    Failed,
    /// Scenarios that went otherwise.
    #[error("{failed} of {all} scenarios failed")]
    Scenarios {
        /// So many.
        failed: usize,
        /// Of so many.
        all: usize,
    },
    /// Two builds.
    #[error("they differ")]
    Differ,
}

impl PluginError {
    fn exit_code(&self, command: &PluginCommand) -> ExitCode {
        let compares = matches!(command, PluginCommand::Test(_) | PluginCommand::Diff(_));
        let found = matches!(self, Self::Scenarios { .. } | Self::Differ | Self::Failed);
        ExitCode::from(if compares && !found { 2 } else { 1 })
    }
}

fn hook(text: &str) -> Result<Hook, String> {
    let names = || Hook::ALL.map(Hook::as_str).join(", ");
    Hook::ALL.into_iter().find(|hook| hook.as_str() == text).ok_or_else(|| format!("there are {}", names()))
}

/// Does what the command line says. What there is to read is given to `print`; the error with its exit code is returned.
pub(super) fn run(
    command: &PluginCommand,
    print: impl Fn(&str) -> io::Result<()>,
) -> Result<(), (PluginError, ExitCode)> {
    let done = match command {
        PluginCommand::New(arguments) => new::make(arguments).and_then(|text| Ok(print(&text)?)),
        PluginCommand::Inspect { file } => inspected(file).and_then(|text| Ok(print(&text)?)),
        PluginCommand::Run(arguments) => blocking(run::try_out(arguments)).and_then(|(text, failed)| {
            print(&text)?;
            if failed { Err(PluginError::Failed) } else { Ok(()) }
        }),
        PluginCommand::Test(arguments) => blocking(test::test(arguments)).and_then(|(text, failed, all)| {
            print(&text)?;
            if failed > 0 { Err(PluginError::Scenarios { failed, all }) } else { Ok(()) }
        }),
        PluginCommand::Diff(arguments) => blocking(diff::compare(arguments)).and_then(|(text, differ)| {
            print(&text)?;
            if differ { Err(PluginError::Differ) } else { Ok(()) }
        }),
    };
    done.map_err(|error| {
        let code = error.exit_code(command);
        (error, code)
    })
}

fn inspected(file: &Path) -> Result<String, PluginError> {
    let kept = Kept::new()?;
    let description = kept.loader().and_then(|loader| loader.describe(file));
    let description = description.map_err(|error| PluginError::Load { file: file.to_owned(), error })?;
    Ok(inspect::inspected(file, &description))
}

fn blocking<T>(work: impl Future<Output = Result<T, PluginError>>) -> Result<T, PluginError> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(work)
}

/// Compiled components stay for the next time; what plugins write goes at the end.
pub(super) struct Kept {
    compiled: PathBuf,
    written: PathBuf,
}

impl Kept {
    pub(super) fn new() -> io::Result<Self> {
        let written = std::env::temp_dir().join(format!("hermetic-plugin-{:016x}", rand::random::<u64>()));
        files::make_private_folder(&written)?;
        let compiled =
            super::reach::caches().map_or_else(|| written.join("compiled"), |caches| caches.join("hermetic-plugins"));
        Ok(Self { compiled, written })
    }

    pub(super) fn loader(&self) -> Result<Loader, LoadError> {
        Loader::apart(&self.compiled, &self.written)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // It is in the system's folder for what is temporary, where it would not stay for ever.
        let _ = fs::remove_dir_all(&self.written);
    }
}

fn load(loader: &Loader, configured: &Configured) -> Result<Arc<Wasm>, PluginError> {
    loader.load_wasm(configured).map_err(|error| PluginError::Load { file: configured.file.clone(), error })
}

/// What a plugin is called after its file.
fn stem(file: &Path) -> String {
    file.file_stem().map_or_else(|| "plugin".into(), |stem| stem.to_string_lossy().into_owned())
}
