//! Whether a client says who it is as RFC 5321 asks, and whether the reverse-path can be answered.
//!
//! Owns what can be told without asking anybody. Clients that have logged in are not checked: they are people's
//! programs, which seldom know their name.

mod name;

use std::net::IpAddr;

use hermetic_plugin::{EnvelopeVerdict, Failure, Judgement, Network, OnSender, Reason, export, facts, settings};
use name::{Name, domain_is_qualified};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// The name is no domain and no address literal (RFC 5321 section 4.1.3): `1.2.3.4`, `my_pc`, `a..b`.
    malformed: Action,
    /// The name is one word: `localhost`, `DESKTOP-1`.
    unqualified: Action,
    /// The name is one of `own-names`, and the client is not this host.
    impostor: Action,
    /// It is an address literal of another address. RFC 5321 section 4.1.4 forbids to refuse for a name that does not
    /// fit the address, which is why it is let through unless the operator wants otherwise.
    other_address: Action,
    /// The reverse-path's domain is one word, or no domain.
    unqualified_sender: Action,
    /// Names and domains that only this server may use.
    own_names: Vec<String>,
    /// Clients and networks that are not checked.
    exempt: Vec<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Action {
    Ignore,
    Defer,
    Reject,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            malformed: Action::Reject,
            unqualified: Action::Reject,
            impostor: Action::Reject,
            other_address: Action::Ignore,
            unqualified_sender: Action::Reject,
            own_names: Vec::new(),
            exempt: Vec::new(),
        }
    }
}

struct SenderChecks;

impl OnSender for SenderChecks {
    fn judge() -> Judgement<EnvelopeVerdict> {
        let settings: Settings = settings()?;
        let exempt = settings.exempt.iter().map(|text| text.parse()).collect::<Result<Vec<Network>, Failure>>()?;
        let client: Option<IpAddr> = facts::client_address().and_then(|text| text.parse().ok());
        let Some(client) = client.filter(|_| facts::identity().is_none()) else {
            return Ok(EnvelopeVerdict::Proceed);
        };
        if exempt.iter().any(|network| network.contains(client)) {
            return Ok(EnvelopeVerdict::Proceed);
        }
        let mut defer = None;
        for (action, reason) in settings.complaints(client) {
            match action {
                Action::Reject => return Ok(EnvelopeVerdict::Reject(reason)),
                Action::Defer => defer = defer.or(Some(reason)),
                Action::Ignore => {}
            }
        }
        Ok(defer.map_or(EnvelopeVerdict::Proceed, EnvelopeVerdict::Defer))
    }
}

impl Settings {
    /// What is wrong, and what to do about it.
    fn complaints(&self, client: IpAddr) -> Vec<(Action, Reason)> {
        let mut complaints = Vec::new();
        if let Some(hello) = facts::hello_name() {
            match Name::of(&hello) {
                Name::Malformed => complaints.push((
                    self.malformed,
                    Reason::policy(format!("{hello} in HELO or EHLO is neither a domain nor an address literal")),
                )),
                Name::Unqualified => complaints
                    .push((self.unqualified, Reason::policy(format!("{hello} in HELO or EHLO is no full name")))),
                Name::Address(address) if address.to_canonical() != client.to_canonical() => complaints
                    .push((self.other_address, Reason::policy(format!("{hello} in HELO or EHLO is not your address")))),
                Name::Domain | Name::Address(_) | Name::OtherLiteral => {}
            }
            let own = self.own_names.iter().any(|own| own.eq_ignore_ascii_case(hello.trim_end_matches('.')));
            if own && !client.to_canonical().is_loopback() {
                complaints.push((self.impostor, Reason::policy(format!("{hello} is this server, and you are not"))));
            }
        }
        let sender = facts::reverse_path().unwrap_or_default();
        if let Some((_, domain)) = sender.rsplit_once('@')
            && !domain_is_qualified(domain)
        {
            // RFC 3463: X.1.8, bad sender's system address.
            let text = format!("{domain} in MAIL FROM can not be answered");
            complaints.push((self.unqualified_sender, Reason::new(1, 8, text)));
        }
        complaints
    }
}

export!(SenderChecks: on_sender);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use hermetic_plugin::Fake;

    fn judge(fake: &mut Fake) -> &'static str {
        match fake.run(SenderChecks::judge) {
            Ok(EnvelopeVerdict::Proceed) => "proceed",
            Ok(EnvelopeVerdict::Defer(_)) => "defer",
            Ok(EnvelopeVerdict::Reject(_)) => "reject",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_of_clients() {
        let strict = r#"{"own-names": ["mx.here.example"], "other-address": "reject"}"#;
        for (settings, hello, expected) in [
            ("{}", "mail.example.org", "proceed"),
            ("{}", "mail.example.org.", "proceed"),
            ("{}", "bücher.example", "proceed"),
            ("{}", "192.0.2.1", "reject"),
            ("{}", "localhost", "reject"),
            ("{}", "my_pc.example", "reject"),
            ("{}", "[192.0.2.1]", "proceed"),
            ("{}", "[192.0.2.9]", "proceed"),
            (strict, "[192.0.2.1]", "proceed"),
            (strict, "[192.0.2.9]", "reject"),
            (strict, "MX.here.example", "reject"),
            (r#"{"unqualified": "ignore"}"#, "localhost", "proceed"),
            (r#"{"unqualified": "defer"}"#, "localhost", "defer"),
        ] {
            assert_eq!(judge(Fake::new().settings(settings).hello_name(hello)), expected, "{hello} with {settings}");
        }
    }

    #[test]
    fn who_is_not_checked() {
        let mut bad = Fake::new();
        bad.hello_name("localhost");
        assert_eq!(judge(&mut bad), "reject");
        assert_eq!(judge(bad.clone().identity("anna")), "proceed");
        assert_eq!(judge(bad.clone().client_address(None)), "proceed");
        assert_eq!(judge(bad.clone().settings(r#"{"exempt": ["192.0.2.0/24"]}"#)), "proceed");
        let own = r#"{"own-names": ["mx.here.example"]}"#;
        let mut ourselves = Fake::new();
        ourselves.settings(own).hello_name("mx.here.example").client_address("127.0.0.1");
        assert_eq!(judge(&mut ourselves), "proceed");
    }

    #[test]
    fn senders_that_can_not_be_answered() {
        for (sender, expected) in [
            ("", "proceed"),
            ("a@b.example", "proceed"),
            ("a@localhost", "reject"),
            ("a@[192.0.2.1]", "proceed"),
            ("\"a@b\"@c.example", "proceed"),
        ] {
            assert_eq!(judge(Fake::new().reverse_path(sender)), expected, "{sender}");
        }
        let verdict = Fake::new().reverse_path("a@localhost").run(SenderChecks::judge).expect("an answer");
        assert!(matches!(verdict, EnvelopeVerdict::Reject(reason) if (reason.subject, reason.detail) == (1, 8)));
    }

    #[test]
    fn a_refusal_counts_more_than_a_delay() {
        let mut fake = Fake::new();
        fake.settings(r#"{"unqualified": "defer"}"#).hello_name("localhost").reverse_path("a@localhost");
        assert_eq!(judge(&mut fake), "reject");
    }
}
