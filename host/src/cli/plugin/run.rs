//! `hermetic plugin run`: one transaction, and everything that the plugin says and does.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;

use super::{Kept, PluginError, load, made_up::MadeUp, stem};
use crate::{
    plugin::{hook::Hook, run::Level},
    trial::{Instances, Played, Requests, Seen, play, shown},
};

pub(super) const HELP: &str = "\
Examples:
  hermetic plugin run greylist.wasm --grant keyvalue --rcpt anna@example.org
  hermetic plugin run rules.wasm --hook recipient-message --grant edit \\
      --settings rules.toml --rcpt anna@example.org --message mail.eml
  hermetic plugin run webhook.wasm --hook delivery --attempt 3 --message mail.eml
  hermetic plugin run log.wasm --hook report --state expired --attempt 12

Exit code 1 if a call failed: a trap, a deadline, too much memory or too many calls.";

/// One try.
#[derive(Clone, Debug, Args)]
pub struct RunArguments {
    /// The component.
    file: PathBuf,
    #[command(flatten)]
    made_up: MadeUp,
    /// The message. Line ends may be LF. None: a short one, if a hook wants to see one.
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
    /// Show every call of the host, and how long it took.
    #[arg(long)]
    calls: bool,
}

/// The report, and whether a call failed.
pub(super) async fn try_out(arguments: &RunArguments) -> Result<(String, bool), PluginError> {
    let RunArguments { file, made_up, message, calls } = arguments;
    let kept = Kept::new()?;
    let loader = kept.loader().map_err(|error| PluginError::Load { file: file.clone(), error })?;
    let plugin = made_up.plugin()?;
    let configured = plugin.configured(&stem(file), file).map_err(PluginError::Usage)?;
    let wasm = load(&loader, &configured)?;
    let hooks = made_up.hooks(crate::plugin::hook::Plugin::hooks(&*wasm))?;
    let scenario = made_up.scenario(plugin, &hooks, message.as_deref());
    let played = play(&wasm, &hooks, &scenario, Instances::Fresh, &Requests::default()).await?;
    Ok(report(&hooks, &played, *calls))
}

fn report(hooks: &[Hook], played: &[Played], calls: bool) -> (String, bool) {
    let mut text = String::new();
    let seen = || played.iter().flat_map(|step| &step.seen);
    for seen in seen() {
        tell(&mut text, seen, calls);
    }
    for hook in hooks.iter().filter(|hook| !seen().any(|seen| seen.hook == **hook)) {
        let _ = writeln!(text, "{}: not called, for no recipient was left", hook.as_str());
    }
    for step in played {
        for (to, outcome) in &step.outcomes {
            let lines = shown::wishes(&step.content, &outcome.wishes);
            if !lines.is_empty() {
                let _ = write!(text, "\nThe copy for {to}\n  {}\n", lines.join("\n  "));
            }
        }
    }
    (text, seen().any(|seen| seen.failure.is_some()))
}

fn tell(text: &mut String, seen: &Seen, calls: bool) {
    let to = seen.to.as_ref().map(|to| format!(" for {to}")).unwrap_or_default();
    let again = seen.retry_after.map(|seconds| format!(" (not before {seconds} s)")).unwrap_or_default();
    let _ = writeln!(text, "{}{to}: {}{again}", seen.hook.as_str(), shown::verdict(seen.hook, &seen.verdict));
    if let Some(failure) = &seen.failure {
        let _ = writeln!(text, "  failed: {failure}");
    }
    for (level, line) in &seen.log {
        let level = match level {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
        };
        let _ = writeln!(text, "  {level}: {line}");
    }
    if calls {
        for (name, time) in &seen.calls {
            let _ = writeln!(text, "  {name}  {time:.1?}");
        }
    }
    let count = seen.calls.len();
    let _ = writeln!(text, "  {:.1?}, {} KiB of memory, {count} calls of the host", seen.time, seen.memory / 1024);
}
