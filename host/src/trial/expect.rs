//! What happened, held against what was expected.
//!
//! Owns the comparison and its words. Refuses to play anything.

use super::{
    play::Played,
    scenario::{Expect, KeptThen, Kind, Scenario, Step, Word},
    shown,
    watched::Seen,
};
use crate::{
    plugin::hook::{Hook, Reason, Verdict, Wishes},
    policy::chain::{Fate, Outcome},
};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub step: usize,
    /// One line or several.
    pub text: String,
}

/// Everything that is not as the scenario expects it.
#[must_use]
pub fn check(scenario: &Scenario, played: &[Played]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (place, (step, played)) in scenario.step.iter().zip(played).enumerate() {
        let texts = step.expect.iter().flat_map(|expect| expected(step, expect, played));
        let texts = texts.chain(failures(step, played)).chain(requests(step, played)).chain(kept(step, played));
        problems.extend(texts.map(|text| Problem { step: place + 1, text }));
    }
    problems
}

/// Where a plugin did another thing with instances that others had used before: it remembers.
#[must_use]
pub fn remembers(fresh: &[Played], shared: &[Played]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (place, (fresh, shared)) in fresh.iter().zip(shared).enumerate() {
        let mut differ = |what: &str, fresh: String, shared: String| {
            if fresh != shared {
                let text = format!("{what}\n  with a fresh instance   {fresh}\n  with a shared instance  {shared}");
                problems.push(Problem { step: place + 1, text });
            }
        };
        for (one, other) in fresh.seen.iter().zip(&shared.seen) {
            let log = |seen: &Seen| seen.log.iter().map(|(_, line)| line.clone()).collect::<Vec<_>>();
            let said = |seen: &Seen| match &seen.failure {
                Some(failure) => format!("failed: {failure}"),
                None => shown::verdict(seen.hook, &seen.verdict),
            };
            differ(&called(one), said(one), said(other));
            let did = |seen: &Seen, content: &[u8]| format!("{:?}", shown::wishes(content, &seen.after));
            differ(&called(one), did(one, &fresh.content), did(other, &shared.content));
            differ(&format!("{}: log", called(one)), format!("{:?}", log(one)), format!("{:?}", log(other)));
        }
        let calls = |played: &Played| format!("{} calls of hooks", played.seen.len());
        differ("hooks", calls(fresh), calls(shared));
        let kept = |played: &Played| {
            let pairs =
                played.kept.iter().map(|(key, value)| format!("{key:?}: {:?}", value.escape_ascii().to_string()));
            pairs.collect::<Vec<_>>().join(", ")
        };
        differ("keyvalue", kept(fresh), kept(shared));
    }
    problems
}

/// `*` stands for anything.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    // There is always a first part, the whole pattern if it has no star.
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            let Some(at) = rest.find(middle) else { return false };
            rest = &rest[at + middle.len()..];
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

/// What an expectation is about: a call, or what became of a recipient.
struct Subject<'a> {
    name: String,
    word: Word,
    reason: Option<&'a Reason>,
    edits: Vec<String>,
    wishes: &'a Wishes,
    retry_after: Option<u32>,
    log: Vec<&'a str>,
    failure: Option<&'a str>,
    calls: usize,
}

fn called(seen: &Seen) -> String {
    let to = seen.to.as_ref().map(|to| format!(" for {to}")).unwrap_or_default();
    format!("{}{to}", seen.hook.as_str())
}

fn is_for(seen: &Seen, to: Option<&str>) -> bool {
    to.is_none() || seen.to.is_none() || seen.to.as_deref() == to
}

fn call<'a>(seen: &'a Seen, content: &[u8]) -> Subject<'a> {
    let delivery = seen.hook == Hook::Delivery;
    let (word, reason) = match &seen.verdict {
        Verdict::Proceed => (Word::Proceed, None),
        Verdict::Accept => (if delivery { Word::Delivered } else { Word::Accept }, None),
        Verdict::Discard => (Word::Discard, None),
        Verdict::Defer(reason) => (if delivery { Word::Retry } else { Word::Defer }, Some(reason)),
        Verdict::Reject(reason) => (if delivery { Word::Fail } else { Word::Reject }, Some(reason)),
    };
    Subject {
        name: called(seen),
        word,
        reason,
        edits: shown::difference(content, &seen.before.edits, &seen.after.edits),
        wishes: &seen.after,
        retry_after: seen.retry_after,
        log: seen.log.iter().map(|(_, line)| line.as_str()).collect(),
        failure: seen.failure.as_deref(),
        calls: seen.calls.len(),
    }
}

fn became<'a>(to: &str, outcome: &'a Outcome, played: &'a Played) -> Subject<'a> {
    let (word, reason) = match &outcome.fate {
        None | Some(Fate::Accepted) => (Word::Accept, None),
        Some(Fate::Discarded) => (Word::Discard, None),
        Some(Fate::Deferred(_, reason)) => (Word::Defer, Some(reason)),
        Some(Fate::Refused(_, reason)) => (Word::Reject, Some(reason)),
        // No split is asked for here.
        Some(Fate::Apart) => (Word::Defer, None),
    };
    let own = || played.seen.iter().filter(|seen| is_for(seen, Some(to)));
    Subject {
        name: to.to_owned(),
        word,
        reason,
        edits: shown::difference(&played.content, &[], &outcome.wishes.edits),
        wishes: &outcome.wishes,
        retry_after: None,
        log: own().flat_map(|seen| &seen.log).map(|(_, line)| line.as_str()).collect(),
        failure: own().find_map(|seen| seen.failure.as_deref()),
        calls: own().map(|seen| seen.calls.len()).sum(),
    }
}

fn expected(step: &Step, expect: &Expect, played: &Played) -> Vec<String> {
    let hook = match (expect.hook, step.kind) {
        (None, Kind::Delivery) => Some(Hook::Delivery),
        (None, Kind::Report) => Some(Hook::Report),
        (hook, _) => hook,
    };
    let to = expect.to.as_deref();
    let subjects: Vec<Subject<'_>> = match hook {
        Some(hook) => {
            let calls = played.seen.iter().filter(|seen| seen.hook == hook && is_for(seen, to));
            calls.map(|seen| call(seen, &played.content)).collect()
        }
        None => {
            let outcomes = played.outcomes.iter().filter(|(one, _)| to.is_none_or(|to| one == to));
            outcomes.map(|(one, outcome)| became(one, outcome, played)).collect()
        }
    };
    let who = || {
        let hook = hook.map_or("a recipient", Hook::as_str);
        to.map_or_else(|| hook.to_owned(), |to| format!("{hook} for {to}"))
    };
    match (expect.called, subjects.is_empty()) {
        (Some(false), true) => Vec::new(),
        (Some(false), false) => vec![format!("{}: was called, and should not be", who())],
        (_, true) => {
            let calls: Vec<_> = played.seen.iter().map(called).collect();
            vec![format!("{}: was not called\n  called  {}", who(), list(&calls))]
        }
        _ => subjects.iter().flat_map(|subject| compared(expect, subject)).collect(),
    }
}

fn list<T: AsRef<str>>(items: &[T]) -> String {
    if items.is_empty() {
        return "nothing".into();
    }
    items.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("\n          ")
}

/// Each with what was expected and what was got.
fn compared(expect: &Expect, subject: &Subject<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut wrong = |what: &str, expected: &str, got: &str| {
        problems.push(format!("{}: {what}\n  expected  {expected}\n  got       {got}", subject.name));
    };
    let spoken = |word: Word| format!("{word:?}").to_lowercase();
    if let Some(word) = expect.verdict
        && word != subject.word
    {
        let reason = subject.reason.map(|reason| format!(": {}", reason.text)).unwrap_or_default();
        wrong("verdict", &spoken(word), &format!("{}{reason}", spoken(subject.word)));
    }
    let class = if matches!(subject.word, Word::Defer | Word::Retry) { 4 } else { 5 };
    let status = subject.reason.map(|reason| format!("{class}.{}.{}", reason.subject, reason.detail));
    if let Some(wanted) = &expect.status
        && status.as_ref() != Some(wanted)
    {
        wrong("status", wanted, status.as_deref().unwrap_or("none"));
    }
    if let Some(wanted) = &expect.text {
        let text = subject.reason.map(|reason| reason.text.as_str());
        if !text.is_some_and(|text| fits(wanted, text)) {
            wrong("text", wanted, text.unwrap_or("none"));
        }
    }
    if let Some(wanted) = &expect.edits {
        let same = wanted.len() == subject.edits.len()
            && wanted.iter().zip(&subject.edits).all(|(pattern, line)| fits(pattern, line));
        if !same {
            wrong("edits", &list(wanted), &list(&subject.edits));
        }
    }
    if let Some(wanted) = &expect.redirect {
        let got = subject.wishes.redirect.clone().unwrap_or_default();
        if *wanted != got {
            wrong("redirect", &list(wanted), &list(&got));
        }
    }
    if let Some(wanted) = &expect.add
        && *wanted != subject.wishes.add
    {
        wrong("add", &list(wanted), &list(&subject.wishes.add));
    }
    if let Some(wanted) = &expect.quarantine {
        let got = subject.wishes.quarantine.as_deref().unwrap_or_default();
        if wanted.is_empty() != got.is_empty() || !fits(wanted, got) {
            wrong("quarantine", wanted, got);
        }
    }
    if let Some(wanted) = expect.retry_after
        && subject.retry_after != Some(wanted)
    {
        wrong("retry-after", &wanted.to_string(), &format!("{:?}", subject.retry_after));
    }
    for wanted in &expect.log {
        if !subject.log.iter().any(|line| fits(wanted, line)) {
            wrong("log", wanted, &list(&subject.log));
        }
    }
    if let Some(wanted) = &expect.failed
        && !subject.failure.is_some_and(|failure| fits(wanted, failure))
    {
        wrong("failed", wanted, subject.failure.unwrap_or("it did not fail"));
    }
    if let Some(most) = expect.calls_at_most
        && subject.calls > most
    {
        wrong("calls of the host", &format!("at most {most}"), &subject.calls.to_string());
    }
    problems
}

/// Failures that nobody expected.
fn failures<'a>(step: &'a Step, played: &'a Played) -> impl Iterator<Item = String> + 'a {
    let foreseen = |seen: &Seen| {
        step.expect.iter().any(|expect| {
            expect.failed.is_some()
                && expect.hook.is_none_or(|hook| hook == seen.hook)
                && is_for(seen, expect.to.as_deref())
        })
    };
    played.seen.iter().filter_map(move |seen| {
        let failure = seen.failure.as_ref().filter(|_| !foreseen(seen))?;
        let log: Vec<_> = seen.log.iter().map(|(_, line)| format!("\n  log       {line}")).collect();
        Some(format!("{}: failed\n  because   {failure}{}", called(seen), log.concat()))
    })
}

fn requests(step: &Step, played: &Played) -> Option<String> {
    let wanted = step.requests.as_ref()?;
    let same = wanted.len() == played.requests.len()
        && wanted.iter().zip(&played.requests).all(|(pattern, request)| fits(pattern, request));
    (!same).then(|| format!("requests\n  expected  {}\n  got       {}", list(wanted), list(&played.requests)))
}

fn kept<'a>(step: &'a Step, played: &'a Played) -> impl Iterator<Item = String> + 'a {
    step.keyvalue.iter().filter_map(|(pattern, wanted)| {
        let found: Vec<_> = played.kept.iter().filter(|(key, _)| fits(pattern, key)).collect();
        let (good, wanted) = match wanted {
            KeptThen::There(there) => (found.is_empty() != *there, if *there { "something" } else { "nothing" }),
            KeptThen::Text(text) => {
                (found.iter().any(|(_, value)| fits(text, &String::from_utf8_lossy(value))), text.as_str())
            }
        };
        let all: Vec<_> = played.kept.iter().map(|(key, value)| format!("{key} = {}", value.escape_ascii())).collect();
        (!good).then(|| format!("keyvalue {pattern}\n  expected  {wanted}\n  got       {}", list(&all)))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{plugin::hook::Edit, plugin::run::Level};

    #[test]
    fn stars() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*a", "a", false),
            ("*a*c*", "xaxcx", true),
            ("*c*a*", "xaxcx", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    fn seen() -> Seen {
        Seen {
            hook: Hook::RecipientMessage,
            to: Some("anna@example.org".into()),
            verdict: Verdict::Reject(Reason { subject: 7, detail: 1, text: "no offers".into() }),
            retry_after: None,
            failure: None,
            before: Wishes::default(),
            after: Wishes { edits: vec![Edit::Prepend(1, "X".into(), "y".into())], ..Wishes::default() },
            log: vec![(Level::Info, "looked".into())],
            calls: vec![("header.text", Duration::ZERO); 3],
            time: Duration::ZERO,
            memory: 0,
        }
    }

    fn problems(expect: &str, seen: Vec<Seen>) -> String {
        let scenario: Scenario = toml::from_str(&format!("[[step]]\n{expect}")).unwrap();
        let kept = [("count".to_owned(), b"3".to_vec())].into();
        let played = Played { seen, content: b"A: 1\r\n\r\n".to_vec(), kept, ..Played::default() };
        check(&scenario, &[played]).iter().map(|problem| problem.text.clone()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_as_expected_is_no_problem_and_what_is_not_is_named() {
        let hook = "[[step.expect]]\nhook = \"recipient-message\"\n";
        for (expect, named) in [
            ("verdict = \"reject\"", ""),
            ("verdict = \"proceed\"", "expected  proceed\n  got       reject: no offers"),
            ("status = \"5.7.1\"", ""),
            ("status = \"4.7.1\"", "got       5.7.1"),
            ("text = \"no *\"", ""),
            ("text = \"yes *\"", "got       no offers"),
            ("edits = [\"+ X: y\"]", ""),
            ("edits = []", "edits\n  expected  nothing\n  got       + X: y"),
            ("redirect = [\"b@example.org\"]", "redirect"),
            ("add = []", ""),
            ("quarantine = \"\"", ""),
            ("quarantine = \"*\"", "quarantine"),
            ("log = [\"look*\"]", ""),
            ("log = [\"slept\"]", "got       looked"),
            ("failed = \"*\"", "it did not fail"),
            ("calls-at-most = 3", ""),
            ("calls-at-most = 2", "at most 2"),
            ("to = \"bob@example.org\"", "was not called"),
            ("called = false", "should not be"),
            ("to = \"bob@example.org\"\ncalled = false", ""),
        ] {
            let got = problems(&format!("{hook}{expect}"), vec![seen()]);
            assert!(got.contains(named) && got.is_empty() == named.is_empty(), "{expect}: {got}");
        }
        for (expect, named) in [
            ("keyvalue = { count = \"3\" }", ""),
            ("keyvalue = { \"c*\" = \"?\" }", "keyvalue c*"),
            ("keyvalue = { other = false }", ""),
            ("keyvalue = { count = false }", "expected  nothing\n  got       count = 3"),
        ] {
            let got = problems(expect, vec![seen()]);
            assert!(got.contains(named) && got.is_empty() == named.is_empty(), "{expect}: {got}");
        }
    }

    #[test]
    fn a_failure_has_to_be_expected() {
        let failing = || vec![Seen { failure: Some("trap: unreachable".into()), ..seen() }];
        assert!(problems("", failing()).contains("because   trap: unreachable"));
        assert_eq!(problems("[[step.expect]]\nhook = \"recipient-message\"\nfailed = \"trap*\"", failing()), "");
    }

    #[test]
    fn a_plugin_that_remembers_is_found() {
        let played = |seen: Seen| vec![Played { seen: vec![seen], ..Played::default() }];
        assert_eq!(remembers(&played(seen()), &played(seen())), []);
        let other = Seen { verdict: Verdict::Proceed, ..seen() };
        let found = remembers(&played(seen()), &played(other));
        assert!(found.len() == 1 && found[0].text.contains("proceed"), "{found:?}");
    }
}
