//! What came of it, for people and for scripts.
//!
//! Owns both forms, and which outcome is the exit code. Refuses to know why. Can not fail.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

/// What became of one recipient; the exit code is that of the gravest. RFC 5321 section 4.2.1, RFC 1047.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Became {
    Accepted,
    /// There was no session: no host, no connection, no greeting.
    NoSession,
    /// TLS was wanted and did not come about.
    NoTls,
    /// The login was refused, or there is none.
    NoLogin,
    /// 4yz, and what may change.
    Temporary,
    /// All of it went out, and no answer came.
    Unknown,
    /// 5yz, and what will not change.
    Permanent,
}

impl Became {
    /// See `hermetic send --help`.
    pub(super) const fn exit_code(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::NoSession => 3,
            Self::Temporary => 4,
            Self::Permanent => 5,
            Self::Unknown => 6,
            Self::NoTls => 7,
            Self::NoLogin => 8,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::NoSession => "no session",
            Self::NoTls => "no TLS",
            Self::NoLogin => "no login",
            Self::Temporary => "refused for now",
            Self::Unknown => "not known: it may have arrived",
            Self::Permanent => "refused",
        }
    }
}

/// One recipient.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Told {
    pub(super) recipient: String,
    #[serde(rename = "outcome")]
    pub(super) became: Became,
    /// Who said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<String>,
    pub(super) text: String,
}

/// One session.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Session {
    pub(super) host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<String>,
    /// EHLO keywords with their parameters.
    pub(super) offers: Vec<String>,
    /// What was reached when: milliseconds from the session's first step.
    pub(super) timings: Vec<(&'static str, f64)>,
    /// Milliseconds, and what was said.
    #[serde(skip)]
    pub(super) transcript: Vec<(f64, String)>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) told: Vec<Told>,
    pub(super) sessions: Vec<Session>,
}

/// What else to show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) timings: bool,
    pub(super) transcript: bool,
}

impl Report {
    pub(super) fn exit_code(&self) -> u8 {
        self.told.iter().map(|told| told.became).max().map_or(0, Became::exit_code)
    }

    pub(super) fn text(&self, wanted: Wanted) -> String {
        let mut text = String::new();
        for session in &self.sessions {
            if wanted.transcript {
                let address = session.address.as_deref().unwrap_or("not connected");
                let _ = writeln!(text, "-- {} ({address})", session.host);
                for (at, line) in &session.transcript {
                    let _ = if wanted.timings { writeln!(text, "{at:9.1} {line}") } else { writeln!(text, "{line}") };
                }
            }
            if wanted.timings {
                let all: Vec<String> = session.timings.iter().map(|(what, at)| format!("{what} {at:.1} ms")).collect();
                let _ = writeln!(text, "-- {}: {}", session.host, all.join(", "));
            }
        }
        for told in &self.told {
            let host = told.host.as_ref().map(|host| format!(" by {host}")).unwrap_or_default();
            let _ = writeln!(text, "{}: {}{host}: {}", told.recipient, told.became.words(), told.text);
        }
        text
    }

    pub(super) fn json(&self, wanted: Wanted) -> Value {
        let sessions: Vec<Value> = self
            .sessions
            .iter()
            .map(|session| {
                let mut value = json!(session);
                value["timings"] = session.timings.iter().map(|(what, at)| ((*what).to_owned(), json!(at))).collect();
                if wanted.transcript {
                    value["transcript"] = session.transcript.iter().map(|(_, line)| json!(line)).collect();
                }
                value
            })
            .collect();
        json!({ "exit-code": self.exit_code(), "recipients": self.told, "sessions": sessions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_outcome_is_the_exit_code() {
        use Became::{Accepted, NoLogin, NoSession, NoTls, Permanent, Temporary, Unknown};
        for (outcomes, code) in [
            (vec![], 0),
            (vec![Accepted, Accepted], 0),
            (vec![Accepted, Temporary], 4),
            (vec![Permanent, Temporary], 5),
            (vec![Unknown, Temporary, Accepted], 6),
            (vec![NoSession, Permanent], 5),
            (vec![NoSession, Accepted], 3),
            (vec![NoTls], 7),
            (vec![NoLogin], 8),
        ] {
            let told = |became| Told {
                recipient: "a@b.example".into(),
                became,
                host: None,
                code: None,
                status: None,
                text: String::new(),
            };
            let report = Report { told: outcomes.iter().copied().map(told).collect(), sessions: Vec::new() };
            assert_eq!(report.exit_code(), code, "{outcomes:?}");
        }
    }
}
