//! What was found out, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

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
    pub(super) fn new(check: &str, verdict: Verdict, rule: &str, text: impl Into<String>) -> Self {
        Self { check: check.into(), verdict, rule: rule.into(), text: text.into() }
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
        Self { check: found.check, verdict, rule: found.rule, text: found.text }
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
        self.transcript.extend(lines);
    }

    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// Nothing could be said.
    pub(super) fn is_empty(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict == Verdict::Untested)
    }

    pub(super) fn text(&self, transcript: bool) -> String {
        let mut text = format!("{} ({}), for {}\n\n", self.host, self.address, self.domain);
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
