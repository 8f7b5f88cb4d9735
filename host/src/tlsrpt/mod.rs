//! What domains are told of TLS on the way to them: SMTP TLS Reporting (RFC 8460).
//!
//! Owns the words for what became of a session ([`Session`]), the counting by domain and day ([`Counts`], [`book`]), the form of
//! a report ([`report`]) and its way to whom the domain names ([`Reporter`]). Refuses to shake hands and to judge: whoever did
//! says how it went. Never fails towards mail: what can not be counted is not reported.
//!
//! Counts of the last seconds are in memory and lost if the process is killed; a report says less then, and never something
//! wrong. What was begun of sending is never forgotten: see [`Reporter`].

pub mod book;
pub mod counts;
mod record;
pub mod report;
mod reporter;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use self::{
    counts::Counts,
    reporter::{Reporter, Ways},
};

/// The listener's name in the envelope of a report: no session brought it.
pub const LISTENER: &str = "(tls-reports)";

/// What a report is tried for, seconds (RFC 8460 section 5.5).
pub const TRIED_FOR: u64 = 24 * 3600;

/// Which policy counted (RFC 8460 section 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyType {
    /// DANE (RFC 7672).
    Tlsa,
    /// MTA-STS (RFC 8461).
    Sts,
    /// The domain publishes none.
    NoPolicyFound,
}

/// How a session failed (RFC 8460 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "RFC 8460 sections 4.3.1 and 4.3.2")]
pub enum ResultType {
    StarttlsNotSupported,
    CertificateHostMismatch,
    CertificateExpired,
    CertificateNotTrusted,
    ValidationFailure,
    TlsaInvalid,
    DnssecInvalid,
    DaneRequired,
    StsPolicyFetchError,
    StsPolicyInvalid,
    StsWebpkiInvalid,
}

/// The policy that a session was under, in the form of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Policy {
    /// Its kind.
    #[serde(rename = "policy-type")]
    pub kind: PolicyType,
    /// TLSA records (`3 1 1 0123...`), or the lines of an MTA-STS policy.
    #[serde(rename = "policy-string", default, skip_serializing_if = "Vec::is_empty")]
    pub text: Vec<String>,
    /// Whose it is, in A-labels: the domain of the mail, for TLSA records the host that has them.
    #[serde(rename = "policy-domain")]
    pub domain: String,
    /// The hosts that an MTA-STS policy names.
    #[serde(rename = "mx-host", default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// How sessions failed, in the form of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// In the RFC's words.
    #[serde(rename = "result-type")]
    pub result: ResultType,
    /// Where we were.
    #[serde(rename = "sending-mta-ip", default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// Who was to take the mail.
    #[serde(rename = "receiving-mx-hostname", default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Where that is.
    #[serde(rename = "receiving-ip", default, skip_serializing_if = "Option::is_none")]
    pub to: Option<IpAddr>,
    /// In our words, ASCII and one line.
    #[serde(rename = "failure-reason-code", default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of TLS in one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Under which policy.
    pub policy: Policy,
    /// How it failed; None: TLS came about as the policy wants it.
    pub failure: Option<Failure>,
}
