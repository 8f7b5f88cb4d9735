//! What was found out, for people and for programs.
//!
//! Owns both forms, the count of each verdict, and that nothing in it is obeyed by a terminal: servers, certificates
//! and the DNS have a part in the words. Refuses to judge. Can not fail.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::super::safe;
use crate::engine::probe as engine;

/// How good it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    Pass,
    Info,
    Warn,
    Fail,
    Untested,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
            Self::Untested => "----",
        }
    }
}

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: String,
    pub(super) verdict: Verdict,
    pub(super) rule: String,
    pub(super) text: String,
}

impl Finding {
    /// Names in `text` may be a stranger's: what a terminal would obey is shown instead.
    pub(super) fn new(check: &str, verdict: Verdict, rule: &str, text: impl AsRef<str>) -> Self {
        Self { check: check.into(), verdict, rule: rule.into(), text: safe(text.as_ref()) }
    }
}

impl From<engine::Finding> for Finding {
    fn from(found: engine::Finding) -> Self {
        let verdict = match found.verdict {
            engine::Verdict::Pass => Verdict::Pass,
            engine::Verdict::Info => Verdict::Info,
            engine::Verdict::Warn => Verdict::Warn,
            engine::Verdict::Fail => Verdict::Fail,
            engine::Verdict::Untested => Verdict::Untested,
        };
        Self::new(&found.check, verdict, &found.rule, found.text)
    }
}

/// All that was found out about one server.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Its name.
    pub(super) host: String,
    /// Its domain.
    pub(super) domain: String,
    /// Where it is.
    pub(super) address: String,
    findings: Vec<Finding>,
    transcript: Vec<String>,
}

impl Found {
    pub(super) fn add(&mut self, finding: impl Into<Finding>) {
        let finding = finding.into();
        // A session that is only the way to something else says the same again.
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// A session's lines.
    pub(super) fn said(&mut self, lines: Vec<String>) {
        self.transcript.push(String::new());
        self.transcript.extend(lines.iter().map(|line| safe(line)));
    }

    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// Nothing was tested: what is known beside that (the MX) says nothing about the server.
    pub(super) fn is_empty(&self) -> bool {
        self.findings.iter().all(|finding| matches!(finding.verdict, Verdict::Untested | Verdict::Info))
    }

    pub(super) fn text(&self, transcript: bool) -> String {
        let mut text = format!("{} ({}), for {}\n\n", safe(&self.host), self.address, safe(&self.domain));
        for Finding { check, verdict, rule, text: sentence } in &self.findings {
            let rule = if rule.is_empty() { String::new() } else { format!(" [{rule}]") };
            let _ = writeln!(text, "{}  {check}: {sentence}{rule}", verdict.word());
        }
        let of = |verdict, word: &str| match self.count(verdict) {
            1 => format!("1 {word}"),
            many => format!("{many} {word}s"),
        };
        let _ = writeln!(
            text,
            "\n{}, {}, {} good, {} not known.",
            of(Verdict::Fail, "fault"),
            of(Verdict::Warn, "warning"),
            self.count(Verdict::Pass),
            self.count(Verdict::Untested)
        );
        if transcript {
            for line in &self.transcript {
                let _ = writeln!(text, "{line}");
            }
        }
        text
    }

    pub(super) fn json(&self, transcript: bool) -> Value {
        let mut value = json!({
            "host": self.host,
            "domain": self.domain,
            "address": self.address,
            "faults": self.count(Verdict::Fail),
            "warnings": self.count(Verdict::Warn),
            "findings": self.findings,
        });
        if transcript {
            value["transcript"] = json!(self.transcript);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_was_tested_where_no_verdict_is_one() {
        use Verdict::{Fail, Info, Pass, Untested, Warn};
        for (verdicts, expected) in [
            (&[][..], true),
            (&[Untested], true),
            (&[Info, Untested], true),
            (&[Info, Untested, Pass], false),
            (&[Warn], false),
            (&[Fail, Untested], false),
        ] {
            let mut found = Found::default();
            for (place, verdict) in verdicts.iter().enumerate() {
                found.add(Finding::new("check", *verdict, "", place.to_string()));
            }
            assert_eq!(found.is_empty(), expected, "{verdicts:?}");
        }
    }

    #[test]
    fn nothing_that_is_shown_is_obeyed() {
        let mut found = Found { host: "mail\u{1b}c".into(), ..Found::default() };
        found.add(Finding::new("certificate-name", Verdict::Fail, "", "The certificate is for a\u{1b}[2J\nPASS  all."));
        found.said(vec!["-- no TLS: \u{7}".into()]);
        let text = found.text(true);
        let shown = ["mail\\u{1b}c", "for a\\u{1b}[2J\\nPASS  all.", "-- no TLS: \\u{7}"];
        assert!(shown.iter().all(|part| text.contains(part)), "{text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert_eq!(text.matches("\nPASS").count(), 0, "{text}");
    }
}
