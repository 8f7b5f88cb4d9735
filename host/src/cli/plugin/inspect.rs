//! `hermetic plugin inspect`: what a component is, and what it wants of the configuration.

use std::{fmt::Write as _, path::Path};

use crate::plugin::{VERSION, grants::Need, hook::Hook, load::Description};

pub(super) fn inspected(file: &Path, description: &Description) -> String {
    let Description { hash, size, hooks, imports } = description;
    let mut text = format!("{}: a plugin for version {VERSION} of hermetic:plugin, {size} octets\n", file.display());
    let _ = writeln!(text, "SHA-256 {hash}\n\nHooks");
    for hook in hooks {
        let _ = writeln!(text, "  {}", hook.as_str());
    }
    text.push_str("\nImports\n");
    if imports.is_empty() {
        text.push_str("  none\n");
    }
    let width = imports.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, need) in imports {
        let what = match need {
            Need::Nothing => "",
            Need::Grant(_) => "needs a grant",
            Need::Inert => "gives nothing",
            Need::OtherVersion => "another version: can not be loaded",
            Need::Unknown => "unknown: can not be loaded",
        };
        let _ = writeln!(text, "{}", format!("  {name:width$}  {what}").trim_end());
    }
    let stem = file.file_stem().map_or_else(|| "plugin".into(), |stem| stem.to_string_lossy().into_owned());
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let _ = write!(
        text,
        "\nTo use it, write\n\n[[plugin]]\nname = {}\nfile = {}\nsha256 = \"{hash}\"\n",
        quoted(&stem),
        quoted(&file.display().to_string())
    );
    let mut grants: Vec<_> = imports
        .iter()
        .filter_map(|(_, need)| match need {
            Need::Grant(grant) => Some(*grant),
            _ => None,
        })
        .collect();
    grants.sort();
    // What it delivers it need not import.
    let delivers = hooks.contains(&Hook::Delivery);
    if !grants.is_empty() || delivers {
        text.push_str("\n[plugin.grants]\n");
        for grant in grants {
            let _ = writeln!(text, "{}  # {}", grant.example(), grant.meaning());
        }
        if delivers {
            text.push_str("delivery = true  # deliver its recipients' mail instead of their Maildirs\n");
        }
    }
    text
}
