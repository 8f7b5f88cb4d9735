//! The command line: what the operator types, and the exit code that tells how it went.
//!
//! Owns the commands' names, the search for the configuration and the exit codes. Refuses to do the work: each command
//! has its file. Fails with one sentence on standard error. Exit codes: 0 it was done, 1 it could not be done, 2 the
//! command line is wrong.

pub mod check;
mod cluster;
pub mod dkim;
mod import;
mod keep;
pub mod plugin;
pub mod probe;
mod queue;
mod reach;
mod reload;
pub mod replay;
pub mod send;
pub mod serve;
pub mod user;
pub mod why;

use std::{
    fmt::Display,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError, Loaded, keys};

/// Names the configuration if `--config` does not.
const VARIABLE: &str = "HERMETIC_CONFIG";
/// Where the configuration is looked for, in this order.
const PLACES: [&str; 2] = ["hermetic.toml", "/etc/hermetic/hermetic.toml"];

/// Hermetic, an SMTP server in which every session is sealed in its own WebAssembly sandbox.
///
/// It takes mail from other servers (MX), from users (submission, with logins) and from a trusted server (LMTP), keeps
/// it safe on the disk before it says so, and delivers it to Maildirs, to mailbox stores by LMTP, and to other servers.
#[derive(Debug, Parser)]
#[command(name = "hermetic", version, arg_required_else_help = true, after_help = AFTER, after_long_help = AFTER_LONG)]
struct Arguments {
    /// The configuration.
    ///
    /// Otherwise it is the file that HERMETIC_CONFIG names, ./hermetic.toml, or /etc/hermetic/hermetic.toml. If there is
    /// none of these, a safe local default applies: loopback ports 2525, 2587 and 2465, any mailbox at localhost and
    /// example.test, everything kept in ./hermetic-data.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "Each command has --help of its own.";
const AFTER_LONG: &str = "\
First steps:
  hermetic serve                           try it, without any configuration
  hermetic config > hermetic.toml          write one, with every key explained
  hermetic check                           see what the server would do
  hermetic user add anna@example.org       let somebody log in

Signals of `hermetic serve`:
  SIGTERM, SIGINT   let running transactions finish (limits.drain), then end;
                    a second one ends at once
  SIGHUP            read the configuration, the users and the certificates again, and
                    plugins that changed; no session is dropped

Exit codes:
  0  it was done
  1  it could not be done; one sentence on standard error says why
  2  the command line is wrong
  `send`, `probe`, `queue`, `replay`, `plugin test` and `plugin diff` have more: see their --help

Environment:
  HERMETIC_CONFIG   the configuration, unless --config is given";

#[derive(Debug, Subcommand)]
enum Command {
    /// Take mail in and deliver it, until SIGTERM.
    ///
    /// The configuration is validated first; nothing is opened if it has an error. SIGHUP reads it again: a good one
    /// counts from the next decision on, in running sessions too, a bad one is reported and changes nothing.
    Serve,
    /// Validate the configuration and show what the server would do.
    ///
    /// Shows the listeners, the domains and where their postmaster's mail goes, TLS, logins, mail to other servers,
    /// plugins and whom they judge, and which limits and keys differ from the defaults. Opens no port and changes nothing. Exit code 1 if there is an error; warnings do not change it.
    Check,
    /// Print the default configuration, with every key explained.
    ///
    /// It is what applies without a file: save it, and change what should be different.
    Config,
    /// Manage who may log in.
    ///
    /// The logins are in the file that `users.file` names, with argon2id and SCRAM keys, never with passwords. A login
    /// like `anna@example.org` may send as that address; one like `anna` as `anna` at every local domain. A running
    /// server sees the change.
    #[command(subcommand)]
    User(user::UserCommand),
    /// See what is waiting to be delivered, and try, hold, release, drop or export it.
    ///
    /// An entry is one recipient of one message, ID.NUMBER; a message's id names all of its entries. What is read comes
    /// from the running server, or without one from its store; what changes something wants the running server. Exit
    /// codes: 0 it was done, 1 it could not be done, or an entry was left as it was, 2 the command line is wrong.
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Hand a message to a server, and see what it says.
    ///
    /// By the same sealed engine, look-ups and rules for TLS as the server itself; `[[destination]]`, DKIM and re-encoding play no
    /// part. For scripts, and to look for faults.
    Send(send::SendArguments),
    /// Test a mail server: is it as it should be?
    ///
    /// Looks at what it offers, TLS versions and certificates, DANE and MTA-STS, logins, and whether it relays for strangers,
    /// takes commands that were put behind STARTTLS, keeps in step, and, with --to, lets messages be smuggled in. Sends no
    /// message without --to. Exit codes: 0 no fault, 1 a fault (FAIL), 2 it could not be tested.
    Probe(probe::ProbeArguments),
    /// Run recorded sessions again, and find the first difference.
    ///
    /// A `.session` file (`[record]` of the configuration makes them) holds what was put into the sealed engine and what came out of it. All
    /// of it is put in once more, into this program's engine or into another one, and each outcome is compared with the recorded
    /// one. The first that differs is shown, with its line in the file and the fields that are not the same; what follows it is
    /// not looked at.
    ///
    /// With --plugins it is not the engine but a plugin that is asked again, and every verdict that is another one is listed.
    ///
    /// Nothing is sent, stored or delivered, and no server or configuration is needed. Exit codes: 0 everything went as recorded, 1
    /// something went another way, 2 a file, the engine or the plugin can not be used.
    Replay(replay::ReplayArguments),
    /// Manage the keys that sign what leaves (DKIM).
    #[command(subcommand)]
    Dkim(dkim::DkimCommand),
    /// Write a plugin, look at it, try and test it.
    ///
    /// None of it wants a server or a configuration.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// See the nodes that share one store, and its servers.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Tell how plugins judged a message, for each of its recipients.
    ///
    /// Shows every hook that ran, its component's hash, what it said, the header fields that it changed, its time and
    /// its memory. Kept for 30 days, and for 100000 recipients.
    Why {
        /// A message (the id in "queued as", or an entry of `hermetic queue list`), a session or a transaction of the
        /// log.
        id: String,
        /// One JSON object a recipient.
        #[arg(long)]
        json: bool,
    },
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // If nobody can read it, the exit code still says it.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let file = configuration(arguments.config, std::env::var_os(VARIABLE).map(PathBuf::from), Path::exists);
    match arguments.command {
        Command::Config => done(print(&keys::default_file())),
        Command::Check => match check::report(file.as_deref()) {
            Ok(report) => done(print(&report)),
            Err(errors) => errors.iter().fold(ExitCode::SUCCESS, |_, error| failed(error)),
        },
        Command::Serve => match load(file.as_deref()) {
            Ok(loaded) => serve(loaded, file),
            Err(error) => failed(error),
        },
        Command::User(command) => with(file.as_deref(), |config| done(user::run(&command, config))),
        Command::Dkim(command) => with(file.as_deref(), |config| done(dkim::run(&command, config, print))),
        Command::Plugin(command) => plugin::run(&command, print).map_or_else(
            |(error, code)| {
                failed(error);
                code
            },
            |()| ExitCode::SUCCESS,
        ),
        Command::Replay(arguments) => replay::run(&arguments, file.as_deref(), print),
        Command::Send(arguments) => with(file.as_deref(), |config| send::run(&arguments, config, print)),
        Command::Probe(arguments) => {
            with_or(file.as_deref(), probe::UNTESTABLE.into(), |config| probe::run(&arguments, config, print))
        }
        Command::Why { id, json } => with(file.as_deref(), |config| done(why::why(config, &id, json))),
        Command::Cluster(command) => with(file.as_deref(), |config| done(cluster::run(&command, config, print))),
        Command::Queue(command) => {
            with(file.as_deref(), |config| match queue::run(&command, config, file.as_deref()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    failed(&error);
                    error.exit_code().into()
                }
            })
        }
    }
}

/// The file that counts; none is the local default. A file that was named counts even if it is not there, so that it is
/// missed.
fn configuration(flag: Option<PathBuf>, variable: Option<PathBuf>, exists: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let named = flag.or_else(|| variable.filter(|path| !path.as_os_str().is_empty()));
    named.or_else(|| PLACES.into_iter().map(PathBuf::from).find(|path| exists(path)))
}

fn load(file: Option<&Path>) -> Result<Loaded, ConfigError> {
    file.map_or_else(|| Config::local_default().validated(), Config::load)
}

fn with(file: Option<&Path>, run: impl FnOnce(&Config) -> ExitCode) -> ExitCode {
    with_or(file, ExitCode::FAILURE, run)
}

/// `otherwise`: where there is no configuration that counts.
fn with_or(file: Option<&Path>, otherwise: ExitCode, run: impl FnOnce(&Config) -> ExitCode) -> ExitCode {
    match load(file) {
        Ok(loaded) => run(&loaded.config),
        Err(error) => {
            failed(error);
            otherwise
        }
    }
}

fn serve(loaded: Loaded, file: Option<PathBuf>) -> ExitCode {
    if let Err(error) = crate::observe::log::init(&loaded.config.observe, &loaded.config.data) {
        return failed(error);
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(format_args!("no threads to run on: {error}")),
    };
    let defaults = file.is_none();
    done(runtime.block_on(serve::run(Arc::new(loaded.config), file, defaults)))
}

fn done<E: Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error),
    }
}

fn failed(error: impl Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "hermetic: {error}");
    ExitCode::FAILURE
}

/// A reader that has gone (`hermetic config | head`) has seen enough.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// What strangers wrote, without what a terminal would obey.
fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

/// RFC 3339, UTC, whole seconds.
fn time(milliseconds: u64) -> String {
    let time = i64::try_from(milliseconds / 1000).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "?".into(), |time| time.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_terminal_obeys_what_strangers_wrote() {
        for (text, expected) in [
            ("mail.example.org, Grüße", "mail.example.org, Grüße"),
            ("a\u{1b}[2Jb\r\n\t", "a\\u{1b}[2Jb\\r\\n\\t"),
            ("\u{9b}\u{7f}\0", "\\u{9b}\\u{7f}\\u{0}"),
        ] {
            assert_eq!(safe(text), expected);
        }
    }

    #[test]
    fn which_configuration() {
        let named = |name: &str| Some(PathBuf::from(name));
        for (flag, variable, there, expected) in [
            (named("a"), named("b"), &PLACES[..], named("a")),
            (None, named("b"), &PLACES[..], named("b")),
            (None, named(""), &PLACES[..], named(PLACES[0])),
            (None, None, &PLACES[1..], named(PLACES[1])),
            (None, None, &[], None),
        ] {
            let found =
                configuration(flag.clone(), variable.clone(), |path| there.iter().any(|one| Path::new(one) == path));
            assert_eq!(found, expected, "{flag:?} {variable:?} {there:?}");
        }
    }
}
