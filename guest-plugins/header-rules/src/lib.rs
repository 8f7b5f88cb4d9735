//! Rules on header fields: where one matches, the message gets a verdict or its header an edit, for this recipient alone.
//!
//! Owns the order: rules are asked from first to last, each sees the edits of those before it, and the first verdict ends
//! it.

mod pattern;

use hermetic_plugin::{Failure, Judgement, MessageVerdict, OnRecipientMessage, Reason, edit, export, header, settings};
use pattern::matches;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    rules: Vec<Rule>,
}

/// When, and what then.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Rule {
    /// The field that is looked at; each of this name, and one is enough.
    header: String,
    /// Its text, with `*` for anything; case does not count. Without it: that the field is there.
    is: Option<String>,
    /// A part of its text; case does not count.
    contains: Option<String>,
    /// Turns it round: no field of this name matches.
    #[serde(default)]
    not: bool,

    /// A verdict.
    verdict: Option<Verdict>,
    /// What the peer reads with the verdict.
    #[serde(default)]
    text: String,
    /// A field that is put above all others.
    add: Option<NewField>,
    /// A field that is the only one of its name afterwards.
    set: Option<NewField>,
    /// All fields of this name go.
    remove: Option<String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Accept,
    Discard,
    Defer,
    Reject,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewField {
    name: String,
    value: String,
}

struct HeaderRules;

impl OnRecipientMessage for HeaderRules {
    fn judge() -> Judgement<MessageVerdict> {
        let settings: Settings = settings()?;
        // All of them are checked, also where an earlier one would end it: a mistake shows with the first message.
        for (at, rule) in settings.rules.iter().enumerate() {
            rule.check().map_err(|what| Failure::new(format!("settings: rule {}: {what}", at + 1)))?;
        }
        for rule in &settings.rules {
            if !rule.applies() {
                continue;
            }
            rule.change()?;
            if let Some(verdict) = rule.verdict {
                let reason = || Reason::policy(rule.text.clone());
                return Ok(match verdict {
                    Verdict::Accept => MessageVerdict::Accept,
                    Verdict::Discard => MessageVerdict::Discard,
                    Verdict::Defer => MessageVerdict::Defer(reason()),
                    Verdict::Reject => MessageVerdict::Reject(reason()),
                });
            }
        }
        Ok(MessageVerdict::Proceed)
    }
}

impl Rule {
    fn check(&self) -> Result<(), &'static str> {
        if self.header.is_empty() {
            return Err("`header` is empty");
        }
        if self.is.is_some() && self.contains.is_some() {
            return Err("`is` and `contains` exclude each other");
        }
        if self.verdict.is_none() && self.add.is_none() && self.set.is_none() && self.remove.is_none() {
            return Err("it does nothing: give it `verdict`, `add`, `set` or `remove`");
        }
        Ok(())
    }

    fn applies(&self) -> bool {
        let fits = |text: &String| match (&self.is, &self.contains) {
            (Some(pattern), _) => matches(pattern, text),
            (None, Some(part)) => text.to_lowercase().contains(&part.to_lowercase()),
            (None, None) => true,
        };
        header::text(&self.header).iter().any(fits) != self.not
    }

    fn change(&self) -> Judgement<()> {
        if let Some(name) = &self.remove {
            for field in header::fields(name) {
                edit::remove(field.id)?;
            }
        }
        if let Some(field) = &self.set {
            let mut there = header::fields(&field.name).into_iter();
            match there.next() {
                Some(first) => edit::replace(first.id, &field.value)?,
                None => edit::append(&field.name, &field.value).map(drop)?,
            }
            for other in there {
                edit::remove(other.id)?;
            }
        }
        if let Some(field) = &self.add {
            edit::prepend(&field.name, &field.value)?;
        }
        Ok(())
    }
}

export!(HeaderRules: on_recipient_message);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use hermetic_plugin::Fake;

    const MAIL: &str = "Subject: =?utf-8?q?Angebot_f=C3=BCr_Sie?=\nX-Spam: yes\nX-Other: 1\nX-Spam: no\n\nHello\n";

    fn run(rules: &str) -> (Judgement<MessageVerdict>, String) {
        let mut fake = Fake::new();
        let verdict = fake.message(MAIL).settings(&format!(r#"{{"rules": [{rules}]}}"#)).run(HeaderRules::judge);
        (verdict, fake.header())
    }

    #[test]
    fn when_a_rule_applies() {
        for (condition, applies) in [
            (r#""header": "subject""#, true),
            (r#""header": "List-Id""#, false),
            (r#""header": "List-Id", "not": true"#, true),
            (r#""header": "Subject", "contains": "FÜR""#, true),
            (r#""header": "Subject", "contains": "=C3""#, false),
            (r#""header": "Subject", "is": "angebot*""#, true),
            (r#""header": "Subject", "is": "angebot""#, false),
            (r#""header": "X-Spam", "is": "no""#, true),
            (r#""header": "X-Spam", "is": "no", "not": true"#, false),
        ] {
            let (verdict, _) = run(&format!(r#"{{{condition}, "verdict": "discard"}}"#));
            assert_eq!(verdict == Ok(MessageVerdict::Discard), applies, "{condition}: {verdict:?}");
        }
    }

    #[test]
    fn what_a_rule_does() {
        let subject = "Subject: =?utf-8?q?Angebot_f=C3=BCr_Sie?=\r\n";
        for (action, header) in [
            (r#""remove": "x-spam""#, format!("{subject}X-Other: 1\r\n")),
            (r#""set": {"name": "X-Spam", "value": "?"}"#, format!("{subject}X-Spam: ?\r\nX-Other: 1\r\n")),
            (
                r#""set": {"name": "X-New", "value": "v"}"#,
                format!("{subject}X-Spam: yes\r\nX-Other: 1\r\nX-Spam: no\r\nX-New: v\r\n"),
            ),
            (
                r#""add": {"name": "X-New", "value": "v"}"#,
                format!("X-New: v\r\n{subject}X-Spam: yes\r\nX-Other: 1\r\nX-Spam: no\r\n"),
            ),
        ] {
            let (verdict, changed) = run(&format!(r#"{{"header": "Subject", {action}}}"#));
            assert_eq!((verdict, changed), (Ok(MessageVerdict::Proceed), header), "{action}");
        }
    }

    #[test]
    fn later_rules_see_edits_and_the_first_verdict_ends_it() {
        let (verdict, header) = run(r#"{"header": "Subject", "set": {"name": "X-Mark", "value": "1"}},
               {"header": "X-Mark", "is": "1", "verdict": "reject", "text": "marked"},
               {"header": "Subject", "remove": "Subject"}"#);
        assert_eq!(verdict, Ok(MessageVerdict::Reject(Reason::policy("marked"))));
        assert!(header.starts_with("Subject:"), "{header}");
    }

    #[test]
    fn rules_that_make_no_sense_are_failures() {
        for (rule, named) in [
            (r#"{"header": "Subject"}"#, "rule 1: it does nothing"),
            (r#"{"header": "", "verdict": "accept"}"#, "`header` is empty"),
            (r#"{"header": "S", "is": "a", "contains": "b", "verdict": "accept"}"#, "exclude each other"),
            (r#"{"header": "S", "verdict": "maybe"}"#, "maybe"),
            (r#"{"header": "Subject", "add": {"name": "A B", "value": ""}}"#, "fault 2"),
            (r#"{"header": "Subject", "remove": "Subject", "add": {"name": "Received", "value": "x"}}"#, "fault 1"),
        ] {
            let failure = run(rule).0.expect_err(rule);
            assert!(failure.to_string().contains(named), "{rule}: {failure}");
        }
    }
}
