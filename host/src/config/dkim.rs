//! Keys that sign what leaves (RFC 6376).

use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, domain, validate::Finding};

/// A key. A domain with two of them, one RSA and one Ed25519 (RFC 8463), signs twice.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dkim {
    /// Mail whose From names this domain, or one below it, is signed.
    pub domain: String,
    /// Where in the DNS the public key is: `SELECTOR._domainkey.DOMAIN`.
    pub selector: String,
    /// The private key, PEM. Relative paths are below the configuration's folder.
    pub key: PathBuf,
}

/// What is to say about `[[dkim]]`.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, one) in config.dkim.iter().enumerate() {
        let mut error = |key: &str, text: String| {
            found.push(Finding { error: true, path: vec!["dkim".into(), index.to_string(), key.into()], text });
        };
        if domain::strict(&one.domain).is_none() {
            error("domain", format!("{:?} is no domain; write it like \"example.org\"", one.domain));
        }
        let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.chars().all(plain);
        if !one.selector.split('.').all(label) || one.selector.len() > 120 {
            error("selector", format!("{:?} is no selector; use letters, digits and \"-\"", one.selector));
        }
        if one.key.as_os_str().is_empty() {
            error("key", "the path is empty; `hermetic dkim new` makes a key and says what to write".into());
        }
        if config.dkim[..index].iter().any(|other| (&other.domain, &other.selector) == (&one.domain, &one.selector)) {
            error("selector", format!("{:?} of {} is there twice; leave one out", one.selector, one.domain));
        }
    }
    found
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}
