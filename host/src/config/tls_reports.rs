//! Reports on TLS to the domains that mail is sent to (RFC 8460).

use serde::Deserialize;

use super::{Config, domain, validate::Finding};

/// Who reports. Without `from` nobody does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsReports {
    /// The author of reports by mail. Its domain is the reporter.
    pub from: Option<String>,
    /// Who that is, for people; the server's name if absent.
    pub organization: Option<String>,
    /// Whom to ask, such as an address; `from` if absent.
    pub contact: Option<String>,
}

/// What is to say about `[tls-reports]`.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let one = &config.tls_reports;
    let mut found = Vec::new();
    let mut error = |key: &str, text: String| {
        found.push(Finding { error: true, path: vec!["tls-reports".into(), key.into()], text });
    };
    for (key, value) in [("organization", &one.organization), ("contact", &one.contact)] {
        let Some(value) = value else { continue };
        if one.from.is_none() {
            error(key, "nothing is reported without `from`; add it, or leave this out".into());
        } else if value.is_empty() || value.len() > 200 || value.chars().any(char::is_control) {
            error(key, format!("{value:?} tells nobody who you are; write one line of at most 200 octets"));
        }
    }
    let Some(from) = &one.from else { return found };
    let parts = domain::parts_of_address(from).filter(|(local, _)| {
        local.len() <= 64 && local.chars().all(plain) && local.split('.').all(|atom| !atom.is_empty())
    });
    match parts.map(|(_, name)| (name, domain::strict(name))) {
        Some((_, Some(name))) => {
            let signs = |key: &str| *name == *key || name.strip_suffix(key).is_some_and(|rest| rest.ends_with('.'));
            let mut keys = config.dkim.iter().filter_map(|one| domain::strict(&one.domain));
            if !keys.any(|key| signs(&key)) {
                error(
                    "from",
                    format!(
                        "no [[dkim]] key signs for {name}, and nobody may believe a report that is not signed (RFC 8460 section 3); type `hermetic dkim new {name}`"
                    ),
                );
            }
        }
        _ => error("from", format!("{from:?} is no address; write it like \"tls-reports@example.org\"")),
    }
    found
}

/// What needs no quotes.
fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_work_is_refused() {
        const KEY: &str = "[[dkim]]\ndomain = \"example.org\"\nselector = \"a\"\nkey = \"k\"\n";
        for (key, text, expected) in [
            ("", "", ""),
            (KEY, "from = \"t@example.org\"\norganization = \"We\"\ncontact = \"+1 555\"", ""),
            (KEY, "from = \"t@mail.Example.org\"", ""),
            (KEY, "from = \"t@example.net\"", "tls-reports.from: no [[dkim]] key signs for example.net"),
            (KEY, "from = \"t@badexample.org\"", "no [[dkim]] key signs for badexample.org"),
            ("", "from = \"t@example.org\"", "no [[dkim]] key signs"),
            (KEY, "from = \"example.org\"", "tls-reports.from: \"example.org\" is no address"),
            (KEY, "from = \"@example.org\"", "is no address"),
            (KEY, "from = \"a b@example.org\"", "is no address"),
            (KEY, "from = \"a..b@example.org\"", "is no address"),
            (KEY, "from = \"a@b c\"", "is no address"),
            (KEY, "organization = \"We\"", "tls-reports.organization: nothing is reported without `from`"),
            (KEY, "from = \"t@example.org\"\ncontact = \"\"", "tls-reports.contact: \"\" tells nobody"),
            (KEY, "from = \"t@example.org\"\ncontact = \"a\\nb\"", "tells nobody who you are"),
        ] {
            let config: Config = toml::from_str(&format!("{key}[tls-reports]\n{text}")).unwrap();
            let shown: Vec<_> = findings(&config).iter().map(ToString::to_string).collect();
            let fits = if expected.is_empty() { shown.is_empty() } else { shown.join("\n").contains(expected) };
            assert!(fits, "{text}: {shown:?}");
        }
    }
}
