//! What a component's imports ask for, and whether the operator has granted it.
//!
//! Owns the list of interfaces and the key in the configuration that grants each. Refuses to know what they do. Fails
//! with everything that is missing at once, ready to be written into the configuration.

use std::fmt;

use super::{VERSION, context::drafts::Draft};
use crate::config::plugins::Grants;

/// The package that plugins are written against.
pub(super) const PACKAGE: &str = "hermetic:plugin/";

/// What an import needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Every plugin gets it.
    Nothing,
    /// A grant.
    Grant(Grant),
    /// It is linked and gives nothing, for the runtimes of many languages import it.
    Inert,
    /// The same package in another version.
    OtherVersion,
    /// Nobody knows it.
    Unknown,
}

/// A grant of `[plugin.grants]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "documented in config::plugins::Grants")]
pub enum Grant {
    Edit,
    Forwarding,
    Quarantine,
    Reply,
    KeyValue,
    Resolver,
    Http,
}

impl Grant {
    /// A line for the configuration; whoever writes it may want another value.
    #[must_use]
    pub fn example(self) -> &'static str {
        match self {
            Self::Edit => "edit = true",
            Self::Forwarding => "forwarding = [\"example.org\"]",
            Self::Quarantine => "quarantine = true",
            Self::Reply => "reply = true",
            Self::KeyValue => "keyvalue = 1048576",
            Self::Resolver => "resolver = true",
            Self::Http => "http = [\"hooks.example.org\"]",
        }
    }

    /// What that line allows.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Edit => "it may change header fields",
            Self::Forwarding => "it may send mail on to these domains; \"*\" is any",
            Self::Quarantine => "it may keep mail aside",
            Self::Reply => "it may answer senders in the recipient's name",
            Self::KeyValue => "octets that it may keep",
            Self::Resolver => "it may ask the DNS",
            Self::Http => "it may send requests to these servers, with all that it knows of the mail",
        }
    }

    /// Is it granted?
    #[must_use]
    pub fn is_in(self, grants: &Grants) -> bool {
        match self {
            Self::Edit => grants.edit,
            Self::Forwarding => !grants.forwarding.is_empty(),
            Self::Quarantine => grants.quarantine,
            Self::Reply => grants.reply,
            Self::KeyValue => grants.keyvalue > 0,
            Self::Resolver => grants.resolver,
            Self::Http => !grants.http.is_empty(),
        }
    }
}

/// What this import needs.
#[must_use]
pub fn need(import: &str) -> Need {
    if let Some(draft) = Draft::of(import) {
        return if draft.keeps() { Need::Grant(Grant::KeyValue) } else { Need::Nothing };
    }
    if import.starts_with("wasi:") {
        return Need::Inert;
    }
    let Some((name, version)) = interface(import) else { return Need::Unknown };
    if !compatible(version) {
        return Need::OtherVersion;
    }
    match name {
        "types" | "facts" | "header" | "body" | "scratch" | "rendered" | "log" | "config" | "attempt" | "fate" => {
            Need::Nothing
        }
        "edit" => Need::Grant(Grant::Edit),
        "forwarding" => Need::Grant(Grant::Forwarding),
        "quarantine" => Need::Grant(Grant::Quarantine),
        "reply" => Need::Grant(Grant::Reply),
        "keyvalue" => Need::Grant(Grant::KeyValue),
        "resolver" => Need::Grant(Grant::Resolver),
        "http" => Need::Grant(Grant::Http),
        _ => Need::Unknown,
    }
}

/// Name and version of an interface of [`PACKAGE`].
pub(super) fn interface(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(PACKAGE)?.split_once('@')
}

/// An interface of any package without its version.
pub(super) fn without_version(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}

/// Below 1.0 the second number tells what fits.
pub(super) fn compatible(version: &str) -> bool {
    let series = |version: &str| version.rsplit_once('.').map(|(series, _)| series.to_owned());
    series(version) == series(VERSION)
}

/// Imports that the operator has not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The interface, as the component names it.
    pub import: String,
    /// What would grant it.
    pub grant: Grant,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it imports {}: to allow that, write `{}` below [plugin.grants]", self.import, self.grant.example())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_needs() {
        let check = |import: &str, expected| assert_eq!(need(import), expected, "{import}");
        check("hermetic:plugin/types@0.1.0", Need::Nothing);
        check("hermetic:plugin/facts@0.1.3", Need::Nothing);
        check("hermetic:plugin/edit@0.1.0", Need::Grant(Grant::Edit));
        check("hermetic:plugin/resolver@0.1.0", Need::Grant(Grant::Resolver));
        check("hermetic:plugin/http@0.1.0", Need::Grant(Grant::Http));
        check("hermetic:plugin/facts@0.2.0", Need::OtherVersion);
        check("hermetic:plugin/facts@1.1.0", Need::OtherVersion);
        check("hermetic:plugin/shell@0.1.0", Need::Unknown);
        check("wasi:cli/environment@0.2.6", Need::Inert);
        check("wasi:keyvalue/store@0.2.0-draft", Need::Grant(Grant::KeyValue));
        check("wasi:keyvalue/store@0.2.0-draft2", Need::Inert);
        check("wasi:logging/logging@0.1.0-draft", Need::Nothing);
        check("evil:host/shell", Need::Unknown);
        check("run", Need::Unknown);
    }
}
