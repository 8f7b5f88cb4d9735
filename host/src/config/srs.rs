//! In whose name mail is sent on to other servers: `[srs]`.
//!
//! Owns the keys and what can not be meant by them. Refuses to read the secrets. Fails with findings.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, validate::Finding};

/// The Sender Rewriting Scheme.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Srs {
    /// One of the local domains. Absent: mail is sent on in its sender's name.
    pub domain: Option<String>,
    /// The file of its secrets; `srs.secrets` below `data` if absent.
    pub secrets: Option<PathBuf>,
    /// What comes to its addresses is taken from the null reverse-path alone.
    pub only_bounces: bool,
}

impl Default for Srs {
    fn default() -> Self {
        Self { domain: None, secrets: None, only_bounces: true }
    }
}

/// What is to say about `[srs]`. Domains are in their canonical form.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let srs = &config.srs;
    let finding = |error, key: &str, text| Finding { error, path: vec!["srs".into(), key.into()], text };
    let Some(name) = &srs.domain else {
        let idle =
            [("secrets", srs.secrets.is_some()), ("only-bounces", srs.only_bounces != Srs::default().only_bounces)];
        let text = "without `domain` nothing is rewritten, so this has no effect; add `domain`, or leave it out";
        let idle = idle.into_iter().filter(|(_, said)| *said);
        return idle.map(|(key, _)| finding(false, key, text.into())).collect();
    };
    let ours = config.domains.iter().any(|domain| domain.name == *name);
    let text = || format!("{name:?} is no [[domain]] here, so nothing would come back; name one that is");
    if ours { Vec::new() } else { vec![finding(true, "domain", text())] }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_effect_is_said() {
        const US: &str = "\n[[domain]]\nname = \"us.test\"\nmailboxes = [\"*\"]";
        for (text, expected) in [
            ("[srs]", ""),
            ("[srs]\ndomain = \"us.test\"\nsecrets = \"x\"\nonly-bounces = false", ""),
            ("[srs]\ndomain = \"far.test\"", "true srs.domain: \"far.test\" is no [[domain]] here"),
            ("[srs]\nsecrets = \"x\"", "false srs.secrets: without `domain`"),
            ("[srs]\nonly-bounces = false", "false srs.only-bounces: without `domain`"),
        ] {
            let config: Config = toml::from_str(&format!("{text}{US}")).unwrap();
            let shown: Vec<_> = findings(&config).iter().map(|one| format!("{} {one}", one.error)).collect();
            let shown = shown.join("; ");
            assert!(
                if expected.is_empty() { shown.is_empty() } else { shown.starts_with(expected) },
                "{text}: {shown}"
            );
        }
    }
}
