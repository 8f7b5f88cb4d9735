//! Files with places to fill in.
//!
//! Owns three marks: `{{name}}` is a value; a line `%% if WORD…` begins lines that are there if one of the words is said of the
//! plugin; a line `%% for WORD` begins lines that are there once for each of its hooks of that kind. Both end with `%% end`
//! and are not put into each other. A mistake in a template is a [`Mistake`], and a test finds it.

use std::collections::BTreeMap;

use crate::plugin::hook::Hook;

/// A template that can not be filled in: line and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {0}: {1}")]
pub(super) struct Mistake(usize, String);

/// What a hook is like; the words of `if` and `for`.
pub(super) fn kind(hook: Hook) -> &'static str {
    match hook {
        Hook::Connection | Hook::Sender | Hook::Recipient => "envelope",
        Hook::Message | Hook::RecipientMessage => "message",
        Hook::Delivery => "delivery",
        Hook::Report => "report",
    }
}

/// `on-recipient-message`, `OnRecipientMessage`, `onRecipientMessage` and `on_recipient_message`.
fn names(hook: Hook) -> [(&'static str, String); 4] {
    let on = format!("on-{}", hook.as_str());
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    let words: String = on.split('-').map(capital).collect();
    [("on_", on.replace('-', "_")), ("onCamel", words[..1].to_lowercase() + &words[1..]), ("On", words), ("on", on)]
}

/// The text with everything filled in.
pub(super) fn fill(text: &str, hooks: &[Hook], values: &BTreeMap<&str, String>) -> Result<String, Mistake> {
    let mut filled = String::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(mark) = line.strip_prefix("%% ") else {
            value(&mut filled, at, line, values, &[])?;
            continue;
        };
        let mut inner = Vec::new();
        loop {
            match lines.next() {
                None => return Err(Mistake(at + 1, "it has no end".into())),
                Some((_, "%% end")) => break,
                Some((at, line)) if line.starts_with("%%") => {
                    return Err(Mistake(at + 1, format!("{line:?} in another")));
                }
                Some(line) => inner.push(line),
            }
        }
        let is = |word: &str, hook: Hook| word == "any" || word == kind(hook);
        match mark.split_once(' ') {
            Some(("if", words)) => {
                if hooks.iter().any(|hook| words.split(' ').any(|word| is(word, *hook))) {
                    inner.iter().try_for_each(|(at, line)| value(&mut filled, *at, line, values, &[]))?;
                }
            }
            Some(("for", word)) => {
                for hook in hooks.iter().filter(|hook| is(word, **hook)) {
                    let names = names(*hook);
                    inner.iter().try_for_each(|(at, line)| value(&mut filled, *at, line, values, &names))?;
                }
            }
            _ => return Err(Mistake(at + 1, format!("{mark:?} is neither `if` nor `for`"))),
        }
    }
    Ok(filled)
}

fn value(
    filled: &mut String,
    at: usize,
    line: &str,
    values: &BTreeMap<&str, String>,
    more: &[(&'static str, String)],
) -> Result<(), Mistake> {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else { return Err(Mistake(at + 1, "{{ has no }}".into())) };
        let own = more.iter().find(|(one, _)| *one == name).map(|(_, value)| value);
        let Some(found) = own.or_else(|| values.get(name)) else {
            return Err(Mistake(at + 1, format!("nobody knows {name:?}")));
        };
        filled.push_str(before);
        filled.push_str(found);
        rest = after;
    }
    filled.push_str(rest);
    filled.push('\n');
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn marks() {
        let hooks = [Hook::Sender, Hook::RecipientMessage];
        let values = BTreeMap::from([("name", "a".to_owned())]);
        for (text, expected) in [
            ("x {{name}} {{name}}!", Ok("x a a!\n")),
            ("%% if message report\nyes {{name}}\n%% end\n%% if delivery\nno\n%% end\n", Ok("yes a\n")),
            (
                "%% for any\n{{on}} {{On}} {{onCamel}} {{on_}}\n%% end",
                Ok(concat!(
                    "on-sender OnSender onSender on_sender\n",
                    "on-recipient-message OnRecipientMessage onRecipientMessage on_recipient_message\n"
                )),
            ),
            ("%% for envelope\n{{on}}\n%% end\nz", Ok("on-sender\nz\n")),
            ("a\n%% if message\n", Err("line 2: it has no end")),
            ("%% if message\n%% if message\n%% end\n", Err("line 2: \"%% if message\" in another")),
            ("%% while message\n%% end\n", Err("line 1: \"while message\" is neither `if` nor `for`")),
            ("\n{{on}}", Err("line 2: nobody knows \"on\"")),
            ("{{name", Err("line 1: {{ has no }}")),
        ] {
            let got = fill(text, &hooks, &values).map_err(|mistake| mistake.to_string());
            assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
