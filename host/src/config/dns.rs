//! Which name servers are asked, and how long: `[dns]`.
//!
//! Owns the keys and their bounds. Refuses to ask, and to read the file with the keys. Fails with findings.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use super::validate::Finding;

/// Questions to the DNS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dns {
    /// Recursive name servers. Empty: those of the system (`/etc/resolv.conf`).
    pub servers: Vec<SocketAddr>,
    /// Check signatures, from the root on (RFC 4035).
    pub dnssec: bool,
    /// A file with the keys to begin with, instead of or beside those of the root.
    pub trust_anchors: Option<PathBuf>,
    /// For one question with all attempts, seconds.
    pub timeout: u64,
    /// Answers that are kept.
    pub cache: usize,
}

impl Default for Dns {
    fn default() -> Self {
        Self { servers: Vec::new(), dnssec: true, trust_anchors: None, timeout: 10, cache: 10_000 }
    }
}

/// What is to say about `[dns]`.
pub(super) fn findings(dns: &Dns) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut error = |key: &str, text: String| {
        found.push(Finding { error: true, path: vec!["dns".into(), key.into()], text });
    };
    if let Some(server) = dns.servers.iter().find(|server| server.port() == 0 || server.ip().is_unspecified()) {
        error("servers", format!("{server} can not be asked; write an address and a port, such as \"127.0.0.1:53\""));
    }
    if dns.servers.len() > 8 {
        error("servers", format!("{} are too many; use at most 8", dns.servers.len()));
    }
    if dns.trust_anchors.is_some() && !dns.dnssec {
        error(
            "trust-anchors",
            "no signature is checked, so keys are of no use; set `dnssec = true` or leave them out".into(),
        );
    }
    if !(1..=60).contains(&dns.timeout) {
        error("timeout", format!("{} seconds is too little or too much; use 1 to 60", dns.timeout));
    }
    if dns.cache > 1_000_000 {
        error("cache", format!("{} answers are too many; use at most 1000000", dns.cache));
    }
    found
}
