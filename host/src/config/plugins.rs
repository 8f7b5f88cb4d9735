//! Plugins and the recipients that they judge.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{Config, HttpHost, domain, validate::Finding};

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
    /// Answer the sender of a message in its recipient's name.
    pub reply: bool,
    /// Octets that it may keep; 0: none.
    pub keyvalue: u64,
    /// Deliver the mail of its recipients instead of their Maildirs.
    pub delivery: bool,
    /// Ask the DNS.
    pub resolver: bool,
    /// Servers that it may send requests to, each an [`HttpHost`]. An address that is not public has to be listed itself,
    /// whatever name it has.
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
    /// Questions to the DNS in one call.
    pub dns_questions: u32,
    /// HTTP requests in one call.
    pub http_requests: u32,
    /// Instances at a time.
    pub instances: u32,
    /// Calls of its hooks for one message. Recipients that it could be asked about only beyond are deferred.
    pub calls: u32,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            deadline: 100,
            timeout: 10_000,
            memory: 64 << 20,
            host_calls: 10_000,
            dns_questions: 100,
            http_requests: 10,
            instances: 64,
            calls: 2_500,
        }
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
    /// What becomes of a recipient that they refuse beside others that were accepted, where one reply stands for all.
    #[serde(default)]
    pub refused: Refused,
}

/// What becomes of a recipient that was refused after the content, where others were accepted and plain SMTP has one
/// reply for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    /// Its copy is held for the operator.
    #[default]
    Quarantine,
    /// Its sender is told, if it logged in; otherwise it is held.
    Bounce,
    /// It does not come to that: recipients with other plugins are told at RCPT to come apart (452). What is refused all
    /// the same is held.
    Split,
}

/// Whom a route is for, in the form in which mailboxes are compared: lower case, the domain in A-labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Fails with what is wrong with it and how to mend it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |problem: &str| {
            Err(format!(
                "{text:?} {problem}; write \"anna@example.org\", \"@example.org\", \"lists-*@example.org\" or \"*\""
            ))
        };
        if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return wrong("is no pattern");
        }
        let text_lower = text.to_lowercase();
        if text == "*" || text_lower == "postmaster" {
            return Ok(Self(text_lower));
        }
        let Some((local, host)) = text_lower.rsplit_once('@') else { return wrong("has no domain") };
        let local = if local.is_empty() { "*" } else { local };
        if host.contains('*') || host.starts_with('[') {
            return Ok(Self(format!("{local}@{host}")));
        }
        match domain::strict(host) {
            Some(host) => Ok(Self(format!("{local}@{host}"))),
            None => wrong("has no valid domain"),
        }
    }

    /// Does it mean everybody?
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.0 == "*"
    }

    /// Does it mean this address? `address` is `local@domain`, the local part unquoted, in lower case.
    #[must_use]
    pub fn matches(&self, address: &str) -> bool {
        let mut parts = self.0.split('*');
        // There is always a first part, the whole pattern if it has no star.
        let Some(mut rest) = parts.next().and_then(|first| address.strip_prefix(first)) else { return false };
        let mut last = None;
        for part in parts {
            if let Some(middle) = last.replace(part) {
                let Some(at) = rest.find(middle) else { return false };
                rest = &rest[at + middle.len()..];
            }
        }
        last.map_or(rest.is_empty(), |last| rest.ends_with(last))
    }
}

/// An address as routes compare it: lower case, the domain in A-labels if it is one.
#[must_use]
pub fn comparable(local: &str, host: &str) -> String {
    let local = local.to_lowercase();
    if host.is_empty() {
        return local;
    }
    match domain::canonical(host) {
        Some(host) => format!("{local}@{host}"),
        None => format!("{local}@{}", host.to_lowercase()),
    }
}

/// What is to say about `[[plugin]]` and `[[route]]`.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut names = HashSet::new();
    for (index, plugin) in config.plugins.iter().enumerate() {
        let mut error = |key: &str, text: String| found.push(finding(true, "plugin", index, key, text));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if plugin.name.is_empty() || plugin.name.len() > 64 || !plugin.name.chars().all(plain) {
            error(
                "name",
                format!("{:?} is no name; use at most 64 letters, digits, \"-\", \"_\" and \".\"", plugin.name),
            );
        } else if !names.insert(plugin.name.as_str()) {
            error("name", format!("another plugin is called {:?} already; give this one its own name", plugin.name));
        }
        if plugin.file.as_os_str().is_empty() {
            error("file", "the path is empty; name the component, such as \"plugins/greylist.wasm\"".into());
        }
        if let Some(hash) = &plugin.sha256
            && (hash.len() != 64 || !hash.chars().all(|c| c.is_ascii_hexdigit()))
        {
            error("sha256", format!("{hash:?} is no SHA-256; write the 64 hexadecimal digits that `sha256sum` prints"));
        }
        for host in &plugin.grants.forwarding {
            if host != "*" && domain::strict(host).is_none() {
                error(
                    "grants",
                    format!("forwarding: {host:?} is no domain; write it like \"example.org\", or \"*\" for any"),
                );
            }
        }
        for problem in plugin.grants.http.iter().filter_map(|host| host.parse::<HttpHost>().err()) {
            error("grants", format!("http: {problem}"));
        }
        let limits = &plugin.limits;
        for (key, value, least, most) in [
            ("deadline", limits.deadline, 1, 60_000),
            ("timeout", limits.timeout, 1, 240_000),
            ("memory", limits.memory as u64, 65_536, 4 << 30),
            ("host-calls", limits.host_calls.into(), 1, u32::MAX.into()),
            ("dns-questions", limits.dns_questions.into(), 0, 10_000),
            ("http-requests", limits.http_requests.into(), 0, 10_000),
            ("instances", limits.instances.into(), 1, 10_000),
            ("calls", limits.calls.into(), 1, u32::MAX.into()),
        ] {
            if !(least..=most).contains(&value) {
                error("limits", format!("{key}: {value} is too little or too much; use {least} to {most}"));
            }
        }
        if limits.timeout < limits.deadline {
            error(
                "limits",
                format!("timeout: {} is less than `deadline`, {}; use at least that", limits.timeout, limits.deadline),
            );
        }
        let routed = config.routes.iter().any(|route| route.plugins.contains(&plugin.name));
        if !routed {
            let text = format!("no route names {:?}, so it judges nobody; add [[route]]", plugin.name);
            found.push(finding(false, "plugin", index, "name", text));
        }
    }
    if !config.routes.iter().flat_map(|route| &route.recipients).any(|text| text == "*") {
        for (index, _) in config.listeners.iter().enumerate().filter(|(_, listener)| listener.early_refusal) {
            let text = "no route is for all recipients (\"*\"), so nobody is asked early; add one, or leave this out";
            found.push(finding(false, "listener", index, "early-refusal", text.into()));
        }
    }
    let mut all = false;
    for (index, route) in config.routes.iter().enumerate() {
        if all {
            let text = "an earlier route is for all recipients, so this one never counts; put it before that one";
            found.push(finding(false, "route", index, "recipients", text.into()));
        }
        let mut error = |key: &str, text: String| found.push(finding(true, "route", index, key, text));
        if route.recipients.is_empty() {
            error(
                "recipients",
                "the list is empty, so the route is for nobody; name somebody, or \"*\" for all".into(),
            );
        }
        for text in &route.recipients {
            match Pattern::parse(text) {
                Ok(pattern) => all |= pattern.is_everybody(),
                Err(problem) => error("recipients", problem),
            }
        }
        let mut seen = HashSet::new();
        for name in &route.plugins {
            if !names.contains(name.as_str()) {
                error(
                    "plugins",
                    format!("there is no plugin {name:?}; add [[plugin]] with `name = {name:?}`, or leave it out"),
                );
            } else if !seen.insert(name) {
                error("plugins", format!("{name:?} is there twice; leave one out"));
            }
        }
    }
    found
}

fn finding(error: bool, table: &str, index: usize, key: &str, text: String) -> Finding {
    Finding { error, path: vec![table.into(), index.to_string(), key.into()], text }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns() {
        for (pattern, address, expected) in [
            ("anna@example.org", "anna@example.org", true),
            ("Anna@Example.ORG", "anna@example.org", true),
            ("anna@example.org", "anna@example.org.evil", false),
            ("@example.org", "anyone@example.org", true),
            ("@example.org", "anyone@sub.example.org", false),
            ("@münchen.example", "x@xn--mnchen-3ya.example", true),
            ("lists-*@example.org", "lists-a@example.org", true),
            ("lists-*@example.org", "lists-@example.org", true),
            ("lists-*@example.org", "list@example.org", false),
            ("a*a@example.org", "a@example.org", false),
            ("a*b*c@*", "a1b2c@example.org", true),
            ("a*b*c@*", "a1c2b@example.org", false),
            ("*@*.example.org", "a@b.example.org", true),
            ("*", "postmaster", true),
            ("postmaster", "postmaster", true),
            ("postmaster", "postmaster@example.org", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(address), expected, "{pattern} {address}");
        }
        for bad in ["", "anna", "a b@example.org", "anna@", "anna@exa mple", "anna@-", "a@b@"] {
            let error = Pattern::parse(bad).unwrap_err();
            assert!(error.contains("; write "), "{bad:?}: {error}");
        }
    }

    /// The obvious way, which may take for ever.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => slow(rest, text) || (!text.is_empty() && slow(pattern, &text[1..])),
            ([a, pattern @ ..], [b, text @ ..]) => a == b && slow(pattern, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn stars_match_anything(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(Pattern(pattern.clone()).matches(&text), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }

    #[test]
    fn what_can_not_work_is_refused() {
        let good = "[[plugin]]\nname = \"a\"\nfile = \"a.wasm\"\n[[route]]\nrecipients = [\"*\"]\nplugins = [\"a\"]\n";
        for (extra, expected) in [
            ("", ""),
            (
                "[[plugin]]\nname = \"a\"\nfile = \"b.wasm\"\n",
                "h.toml:14: plugin.name: another plugin is called \"a\" already",
            ),
            ("[[plugin]]\nname = \"a b\"\nfile = \"b.wasm\"\n", "h.toml:14: plugin.name: \"a b\" is no name"),
            (
                "[[route]]\nrecipients = [\"*\"]\nplugins = [\"b\"]\n",
                "h.toml:15: route.plugins: there is no plugin \"b\"",
            ),
            (
                "[[route]]\nrecipients = [\"x\"]\nplugins = [\"a\"]\n",
                "h.toml:14: route.recipients: \"x\" has no domain",
            ),
            (
                "[[plugin]]\nname = \"b\"\nfile = \"b.wasm\"\nsha256 = \"12\"\n",
                "h.toml:16: plugin.sha256: \"12\" is no SHA-256",
            ),
            (
                "[[plugin]]\nname = \"b\"\nfile = \"b.wasm\"\ngrants = { forwarding = [\"-\"] }\n",
                "h.toml:16: plugin.grants: forwarding: \"-\" is no domain",
            ),
            (
                "[[plugin]]\nname = \"b\"\nfile = \"b.wasm\"\ngrants = { http = [\"https://a.example\"] }\n",
                "h.toml:16: plugin.grants: http: \"https://a.example\" is no server; write it like",
            ),
            ("[[plugin]]\nname = \"b\"\nfile = \"b.wasm\"\ngrants = { edits = true }\n", "unknown field `edits`"),
            (
                "[[plugin]]\nname = \"b\"\nfile = \"b.wasm\"\nlimits = { deadline = 0 }\n",
                "h.toml:16: plugin.limits: deadline: 0 is too little",
            ),
            (
                "[[route]]\nrecipients = [\"*\"]\nplugins = [\"a\"]\nrefused = \"drop\"\n",
                "unknown variant `drop`, expected one of `quarantine`, `bounce`, `split`",
            ),
            ("[[plugin]]\nname = \"b\"\n", "plugin.file: this key is missing"),
        ] {
            let base = "[[listener]]\nkind = \"mx\"\naddress = \"127.0.0.1:0\"\n[[domain]]\nname = \"a.example\"\nmailboxes = [\"*\"]\n";
            match Config::parse(&format!("{base}{good}{extra}"), std::path::Path::new("h.toml")) {
                Ok(loaded) => {
                    assert_eq!(expected, "", "{extra}");
                    assert!(loaded.config.plugins[0].file.is_absolute(), "{:?}", loaded.config.plugins);
                }
                Err(errors) => {
                    let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
                    assert!(!expected.is_empty() && shown.join("\n").contains(expected), "{extra}: {shown:?}");
                }
            }
        }
    }
}
