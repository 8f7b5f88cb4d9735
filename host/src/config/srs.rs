//! In whose name mail is sent on to other servers.

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
pub(super) fn findings(config: &Config) -> Option<Finding> {
    let name = config.srs.domain.as_ref()?;
    let ours = config.domains.iter().any(|domain| domain.name == *name);
    (!ours).then(|| Finding {
        error: true,
        path: vec!["srs".into(), "domain".into()],
        text: format!("{name:?} is no [[domain]] here, so nothing would come back; name one that is"),
    })
}
