//! Only those who are on the list reach these recipients; or, the other way round, everybody but those on the list.
//!
//! Owns the comparison of the reverse-path and the client's address with the list, at RCPT.

use hermetic_plugin::{EnvelopeVerdict, Failure, Judgement, Network, OnRecipient, Reason, export, facts, settings};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Addresses, `@domain`s and `@.domain`s (the domain and what is below it).
    #[serde(default)]
    senders: Vec<String>,
    /// Addresses and networks of clients.
    #[serde(default)]
    clients: Vec<String>,
    /// What happens to the others, or with `deny` to those on the list.
    #[serde(default)]
    mode: Mode,
    /// Whether the null reverse-path, which bounces have, is let through. Only `allow` asks.
    #[serde(default = "yes")]
    bounces: bool,
    /// What the peer reads.
    #[serde(default)]
    text: String,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Those on the list and no others.
    #[default]
    Allow,
    /// All but those on the list.
    Deny,
}

fn yes() -> bool {
    true
}

struct AllowList;

impl OnRecipient for AllowList {
    fn judge() -> Judgement<EnvelopeVerdict> {
        let settings: Settings = settings()?;
        let sender = facts::reverse_path().unwrap_or_default();
        let listed = settings.senders.iter().any(|pattern| matches(pattern, &sender)) || client_listed(&settings)?;
        let welcome = match settings.mode {
            Mode::Allow => listed || (settings.bounces && sender.is_empty()),
            Mode::Deny => !listed,
        };
        Ok(if welcome { EnvelopeVerdict::Proceed } else { EnvelopeVerdict::Reject(Reason::policy(settings.text)) })
    }
}

fn client_listed(settings: &Settings) -> Result<bool, Failure> {
    // All of them are read, also where one matches: a mistake shows at once, and not when its client comes.
    let networks = settings.clients.iter().map(|text| text.parse()).collect::<Result<Vec<Network>, _>>()?;
    let client = facts::client_address().and_then(|text| text.parse().ok());
    Ok(client.is_some_and(|client| networks.iter().any(|network| network.contains(client))))
}

/// Domains are compared without case, and local parts too: nobody who is on a list means the case.
fn matches(pattern: &str, address: &str) -> bool {
    let (pattern, address) = (pattern.to_lowercase(), address.to_lowercase());
    let Some((_, domain)) = address.rsplit_once('@') else { return false };
    match pattern.strip_prefix('@') {
        None => pattern == address,
        Some(wanted) => match wanted.strip_prefix('.') {
            None => wanted == domain,
            Some(above) => domain == above || domain.strip_suffix(above).is_some_and(|rest| rest.ends_with('.')),
        },
    }
}

export!(AllowList: on_recipient);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use hermetic_plugin::Fake;

    fn judge(settings: &str, sender: &str, client: Option<&str>) -> Judgement<EnvelopeVerdict> {
        Fake::new().settings(settings).reverse_path(sender).client_address(client).run(AllowList::judge)
    }

    #[test]
    fn who_is_let_through() {
        let list = r#"{"senders": ["Ann@Far.example", "@near.example", "@.wide.example"], "clients": ["192.0.2.0/24", "2001:db8::1"]}"#;
        let strict = r#"{"senders": ["ann@far.example"], "bounces": false}"#;
        let deny = r#"{"mode": "deny", "senders": ["@spam.example"]}"#;
        let other = Some("198.51.100.1");
        for (settings, sender, client, welcome) in [
            (list, "ann@far.example", other, true),
            (list, "ANN@FAR.EXAMPLE", other, true),
            (list, "bob@far.example", other, false),
            (list, "bob@near.example", other, true),
            (list, "bob@sub.near.example", other, false),
            (list, "bob@wide.example", other, true),
            (list, "bob@a.b.wide.example", other, true),
            (list, "bob@notwide.example", other, false),
            (list, "\"ann@far.example\"@evil.example", other, false),
            (list, "bob@far.example", Some("192.0.2.200"), true),
            (list, "bob@far.example", Some("::ffff:192.0.2.200"), true),
            (list, "bob@far.example", Some("2001:db8::1"), true),
            (list, "bob@far.example", Some("2001:db8::2"), false),
            (list, "bob@far.example", None, false),
            (list, "", other, true),
            (strict, "", other, false),
            ("{}", "ann@far.example", other, false),
            (deny, "x@spam.example", other, false),
            (deny, "x@ham.example", other, true),
            (deny, "", other, true),
        ] {
            let verdict = judge(settings, sender, client).expect("an answer");
            assert_eq!(verdict == EnvelopeVerdict::Proceed, welcome, "{settings} {sender} {client:?}: {verdict:?}");
        }
    }

    #[test]
    fn a_mistake_in_the_settings_is_a_failure() {
        for (settings, named) in [
            (r#"{"sender": []}"#, "sender"),
            (r#"{"mode": "both"}"#, "both"),
            (r#"{"clients": ["192.0.2.0/33"]}"#, "192.0.2.0/33"),
        ] {
            let failure = judge(settings, "ann@far.example", Some("192.0.2.1")).expect_err(settings);
            assert!(failure.to_string().contains(named), "{settings}: {failure}");
        }
    }

    #[test]
    fn the_peer_reads_the_operators_words() {
        let verdict = judge(r#"{"text": "friends only"}"#, "a@b.example", None);
        assert_eq!(verdict, Ok(EnvelopeVerdict::Reject(Reason::policy("friends only"))));
    }
}
