//! `hermetic plugin diff`: what another build of a plugin changes, for the operator who is to install it.
//!
//! Owns the comparison of two components: their worlds as WIT, what they need, and what they make of a folder of messages.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use wit_component::DecodedWasm;
use wit_parser::{Resolve, WorldId, WorldItem};

use super::{Kept, PluginError, load, made_up::MadeUp, stem};
use crate::{
    plugin::{
        LoadError, Loader,
        grants::{Grant, Need},
        hook::{Hook, Plugin},
        load::Description,
    },
    trial::{Instances, Played, Scenario, play, shown},
};

pub(super) const HELP: &str = "\
Examples:
  hermetic plugin diff rules-1.wasm rules-2.wasm
  hermetic plugin diff rules-1.wasm rules-2.wasm --messages mail/ \\
      --settings rules.toml --rcpt anna@example.org

Both are asked about every message (*.eml) of the folder, each time with an empty database. Without --grant
they get every grant for that: nothing that they do here leaves this command.

Exit codes:
  0  the same hooks, imports and needs, and the same answers
  1  something differs
  2  they could not be compared";

/// Which two, and about what.
#[derive(Clone, Debug, Args)]
pub struct DiffArguments {
    /// The component as it was.
    old: PathBuf,
    /// The component as it is.
    new: PathBuf,
    /// A folder of messages, one in each file *.eml. Line ends may be LF.
    #[arg(long, value_name = "FOLDER")]
    messages: Option<PathBuf>,
    #[command(flatten)]
    made_up: MadeUp,
}

/// The report, and whether they differ.
pub(super) async fn compare(arguments: &DiffArguments) -> Result<(String, bool), PluginError> {
    let DiffArguments { old, new, messages, made_up } = arguments;
    let kept = Kept::new()?;
    let wrong = |file: &Path| {
        let file = file.to_owned();
        move |error: LoadError| PluginError::Load { file: file.clone(), error }
    };
    let loader = kept.loader().map_err(wrong(old))?;
    let before = loader.describe(old).map_err(wrong(old))?;
    let after = loader.describe(new).map_err(wrong(new))?;
    let mut text = format!("size      {} -> {} octets\n", before.size, after.size);
    if before.hash == after.hash {
        text.push_str("the same octets\n");
        return Ok((text, false));
    }
    let _ = writeln!(text, "SHA-256   {}\n       -> {}", before.hash, after.hash);
    let mut differ = listed(&mut text, "hooks", &hooks(&before), &hooks(&after));
    differ |= listed(&mut text, "grants", &grants(&before), &grants(&after));
    differ |= worlds(&mut text, old, new)?;
    if let Some(folder) = messages {
        differ |= judged(&mut text, &loader, arguments, folder).await?;
    } else if !made_up.hook.is_empty() {
        return Err(PluginError::Usage("--hook tells what to ask about messages; name them with --messages".into()));
    }
    Ok((text, differ))
}

fn hooks(description: &Description) -> BTreeSet<String> {
    description.hooks.iter().map(|hook| hook.as_str().to_owned()).collect()
}

fn grants(description: &Description) -> BTreeSet<String> {
    let needs = description.imports.iter().filter_map(|(_, need)| match need {
        Need::Grant(grant) => Some(*grant),
        _ => None,
    });
    needs.map(|grant: Grant| format!("{}  # {}", grant.example(), grant.meaning())).collect()
}

/// What is new and what is gone; true if anything is.
fn listed(text: &mut String, what: &str, before: &BTreeSet<String>, after: &BTreeSet<String>) -> bool {
    let gone = before.difference(after).map(|name| format!("- {name}"));
    let lines: Vec<_> = gone.chain(after.difference(before).map(|name| format!("+ {name}"))).collect();
    if lines.is_empty() {
        let _ = writeln!(text, "{what:8}  the same");
    } else {
        let _ = writeln!(text, "{what:8}  {}", lines.join("\n          "));
    }
    !lines.is_empty()
}

/// A component's world.
fn world(file: &Path) -> Result<(Resolve, WorldId), PluginError> {
    let problem = |problem: String| PluginError::File { file: file.to_owned(), problem };
    let octets = fs::read(file).map_err(|error| problem(error.to_string()))?;
    match wit_component::decode(&octets).map_err(|error| problem(format!("{error:#}")))? {
        DecodedWasm::Component(resolve, world) => Ok((resolve, world)),
        DecodedWasm::WitPackage(..) => Err(problem("it holds only WIT, and no component".into())),
    }
}

/// Every function that a world imports.
fn imported(resolve: &Resolve, world: WorldId) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (key, item) in &resolve.worlds[world].imports {
        let name = resolve.name_world_key(key);
        match item {
            WorldItem::Interface { id, .. } => {
                found.extend(resolve.interfaces[*id].functions.keys().map(|function| format!("{name} {function}")));
            }
            WorldItem::Function(_) => drop(found.insert(name)),
            WorldItem::Type { .. } => {}
        }
    }
    found
}

/// Two packages of one name and version can not be in one [`Resolve`]; the check looks at no version.
fn called(resolve: &mut Resolve, version: &str) {
    for (_, package) in &mut resolve.packages {
        package.name.version = version.parse().ok();
    }
    resolve.package_names = resolve.packages.iter().map(|(id, package)| (package.name.clone(), id)).collect();
}

/// The functions that are new and gone, and whether the new one fits wherever the old one did.
fn worlds(text: &mut String, old: &Path, new: &Path) -> Result<bool, PluginError> {
    let (mut before, was) = world(old)?;
    let (mut after, is) = world(new)?;
    let differ = listed(text, "imports", &imported(&before, was), &imported(&after, is));
    called(&mut before, "0.0.1");
    called(&mut after, "0.0.2");
    let moved = before.merge(after);
    let moved = moved.map_err(|error| PluginError::Usage(format!("their WIT can not be compared: {error:#}")))?;
    let Some(is) = moved.worlds.get(is.index()).copied().flatten() else {
        return Err(PluginError::Usage("their WIT can not be compared".into()));
    };
    // The new one stands where the old one did: it may import less and export more.
    match wit_component::semver_check(before, is, was) {
        Ok(()) => text.push_str("WIT       the new one fits wherever the old one did\n"),
        Err(_) if differ => text.push_str("WIT       the new one wants more than the old one, or has less\n"),
        Err(error) => {
            let _ = writeln!(text, "WIT       types differ: {error:#}");
            return Ok(true);
        }
    }
    Ok(differ)
}

/// What both make of each message; true if anything differs.
async fn judged(
    text: &mut String,
    loader: &Loader,
    arguments: &DiffArguments,
    folder: &Path,
) -> Result<bool, PluginError> {
    let mut plugin = arguments.made_up.plugin()?;
    if plugin.grants == Default::default() {
        plugin.grants.edit = true;
        plugin.grants.quarantine = true;
        plugin.grants.keyvalue = 1 << 20;
        plugin.grants.reply = true;
        plugin.grants.resolver = true;
        // That of a server which nobody has.
        plugin.grants.http = vec!["nowhere.invalid".into()];
        plugin.grants.forwarding = vec!["*".into()];
    }
    let problem = |problem: String| PluginError::File { file: folder.to_owned(), problem };
    let entries = fs::read_dir(folder).map_err(|error| problem(error.to_string()))?;
    let mut messages: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    messages.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
    messages.sort();
    if messages.is_empty() {
        return Err(problem("no message (*.eml) is there".into()));
    }
    // Their requests go nowhere: the DNS knows no name.
    let (network, requests) = Scenario::default().network()?;
    let loader = loader.clone().reaching(network);
    let mut builds = Vec::new();
    for file in [&arguments.old, &arguments.new] {
        let wasm = load(&loader, &plugin.configured(&stem(file), file).map_err(PluginError::Usage)?)?;
        let hooks = arguments.made_up.hooks(wasm.hooks())?;
        builds.push((wasm, hooks));
    }
    let mut different = 0;
    for message in &messages {
        let mut said: Vec<BTreeMap<String, String>> = Vec::new();
        for (wasm, hooks) in &builds {
            let hooks: &[Hook] = hooks;
            let scenario = arguments.made_up.scenario(plugin.clone(), hooks, Some(message));
            said.push(answers(&play(wasm, hooks, &scenario, Instances::Fresh, &requests).await?));
        }
        let [old, new] = &said[..] else { continue };
        let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let nothing = "nothing".to_owned();
        let changed: Vec<_> = names
            .into_iter()
            .map(|name| (name, old.get(name).unwrap_or(&nothing), new.get(name).unwrap_or(&nothing)))
            .filter(|(_, old, new)| old != new)
            .collect();
        if changed.is_empty() {
            continue;
        }
        different += 1;
        let _ = writeln!(text, "\n{}", message.display());
        for (name, old, new) in changed {
            let inset = |text: &str| text.replace('\n', "\n      ");
            let _ = writeln!(text, "  {name}\n    - {}\n    + {}", inset(old), inset(new));
        }
    }
    let _ = writeln!(text, "\n{} messages, {different} of them judged otherwise", messages.len());
    Ok(different > 0)
}

/// What was said in each call, and how each recipient's copy would be.
fn answers(played: &[Played]) -> BTreeMap<String, String> {
    let mut answers = BTreeMap::new();
    for step in played {
        for seen in &step.seen {
            let to = seen.to.as_ref().map(|to| format!(" for {to}")).unwrap_or_default();
            let said = match &seen.failure {
                Some(failure) => format!("failed: {failure}"),
                None => shown::verdict(seen.hook, &seen.verdict),
            };
            answers.insert(format!("{}{to}", seen.hook.as_str()), said);
        }
        for (to, outcome) in &step.outcomes {
            let lines = shown::wishes(&step.content, &outcome.wishes);
            if !lines.is_empty() {
                answers.insert(format!("the copy for {to}"), lines.join("\n"));
            }
        }
    }
    answers
}
