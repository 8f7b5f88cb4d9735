//! Plugins and the recipients that they judge.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// A plugin.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plugin {
    /// Its name in routes, logs and `hermetic why`.
    pub name: String,
    /// The component. Relative paths are below the configuration's folder.
    pub file: PathBuf,
    /// The component's SHA-256 in hexadecimal; another file is not loaded.
    #[serde(default)]
    pub sha256: Option<String>,
    /// What it may do besides judging.
    #[serde(default)]
    pub grants: Grants,
    /// Bounds.
    #[serde(default)]
    pub limits: PluginLimits,
    /// What counts when it fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Ask it about postmaster too.
    #[serde(default)]
    pub postmaster: bool,
    /// For the plugin alone.
    #[serde(default)]
    pub settings: BTreeMap<String, toml::Value>,
}

/// What a plugin may do. A component that imports more is not loaded.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Grants {
    /// Change header fields.
    pub edit: bool,
    /// Redirect to, or add, recipients of these domains; `*` is any.
    pub forwarding: Vec<String>,
    /// Keep mail aside.
    pub quarantine: bool,
    /// Octets that it may keep; 0: none.
    pub keyvalue: u64,
    /// Ask the DNS.
    pub resolver: bool,
    /// Hosts that it may send requests to: `hooks.example.org`, `127.0.0.1:8080`.
    pub http: Vec<String>,
}

/// Bounds of a plugin.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PluginLimits {
    /// CPU time of one call, milliseconds; waiting for the host does not count.
    pub deadline: u64,
    /// Time of one call with all waiting, milliseconds.
    pub timeout: u64,
    /// Linear memory of one instance, octets.
    pub memory: usize,
    /// Calls of the host in one call.
    pub host_calls: u32,
    /// Instances at a time.
    pub instances: u32,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self { deadline: 100, timeout: 10_000, memory: 64 << 20, host_calls: 10_000, instances: 64 }
    }
}

/// What counts when a plugin traps, is too slow or takes too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// 451 4.3.0: the client comes again.
    #[default]
    Defer,
    /// As if it had no opinion.
    Skip,
    /// 550 5.3.0.
    Reject,
}

/// Which plugins judge which recipients; the first route that matches counts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PluginRoute {
    /// `anna@example.org`, `@example.org`, a pattern with `*` such as `lists-*@example.org`, or `*` for all.
    pub recipients: Vec<String>,
    /// By name, in the order in which they are asked.
    pub plugins: Vec<String>,
}
