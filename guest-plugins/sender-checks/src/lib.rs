//! Whether a client says who it is as RFC 5321 asks, and whether the reverse-path can be answered.
//!
//! Owns what is wrong and what is done about it; the DNS is asked last, and only where nothing else decides. Clients that
//! have logged in are not checked: they are people's programs, which seldom know their name.

mod domain;
mod name;

use std::net::IpAddr;

use domain::Mail;
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
    /// The reverse-path's domain does not exist, or has neither MX nor address.
    nonexistent_sender: Action,
    /// The reverse-path's domain says that it takes no mail (RFC 7505).
    null_mx_sender: Action,
    /// Nobody can say now whether the reverse-path's domain exists.
    unanswered_sender: Action,
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
            nonexistent_sender: Action::Reject,
            null_mx_sender: Action::Reject,
            unanswered_sender: Action::Ignore,
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
        let mut complaints = settings.complaints(client);
        if !complaints.iter().any(|(action, _)| *action == Action::Reject) {
            complaints.extend(settings.sender_complaint()?);
        }
        for (action, reason) in complaints {
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

    /// What the DNS says against the reverse-path.
    fn sender_complaint(&self) -> Judgement<Option<(Action, Reason)>> {
        let sender = facts::reverse_path().unwrap_or_default();
        let actions = [self.nonexistent_sender, self.null_mx_sender, self.unanswered_sender];
        let Some((_, domain)) = sender.rsplit_once('@') else { return Ok(None) };
        if domain.starts_with('[') || !domain_is_qualified(domain) || actions == [Action::Ignore; 3] {
            return Ok(None);
        }
        Ok(match domain::look(domain)? {
            Mail::Taken => None,
            // RFC 3463: X.1.8, bad sender's system address.
            Mail::NoSuchDomain => Some((
                self.nonexistent_sender,
                Reason::new(1, 8, format!("{domain} takes no mail: it has neither MX nor address")),
            )),
            // RFC 7505 section 4.2: X.7.27, the sender's address has a null MX.
            Mail::Refused => {
                Some((self.null_mx_sender, Reason::new(7, 27, format!("{domain} says that it takes no mail"))))
            }
            Mail::Unknown => Some((
                self.unanswered_sender,
                Reason::new(4, 3, format!("whether {domain} exists can not be found out now")),
            )),
        })
    }
}

export!(SenderChecks: on_sender);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use hermetic_plugin::Fake;

    /// A host whose usual sender exists.
    fn fake() -> Fake {
        let mut fake = Fake::new();
        fake.mx("client.example", &[(10, "mx.client.example")]);
        fake
    }

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
            assert_eq!(judge(fake().settings(settings).hello_name(hello)), expected, "{hello} with {settings}");
        }
    }

    #[test]
    fn who_is_not_checked() {
        let mut bad = fake();
        bad.hello_name("localhost");
        assert_eq!(judge(&mut bad), "reject");
        assert_eq!(judge(bad.clone().identity("anna")), "proceed");
        assert_eq!(judge(bad.clone().client_address(None)), "proceed");
        assert_eq!(judge(bad.clone().settings(r#"{"exempt": ["192.0.2.0/24"]}"#)), "proceed");
        let own = r#"{"own-names": ["mx.here.example"]}"#;
        let mut ourselves = fake();
        ourselves.settings(own).hello_name("mx.here.example").client_address("127.0.0.1");
        assert_eq!(judge(&mut ourselves), "proceed");
    }

    #[test]
    fn senders_that_can_not_be_answered() {
        for (sender, expected) in [
            ("", "proceed"),
            ("a@client.example", "proceed"),
            ("a@b.example", "reject"),
            ("a@localhost", "reject"),
            ("a@[192.0.2.1]", "proceed"),
            ("\"a@b\"@client.example", "proceed"),
        ] {
            assert_eq!(judge(fake().reverse_path(sender)), expected, "{sender}");
        }
        let verdict = fake().reverse_path("a@localhost").run(SenderChecks::judge).expect("an answer");
        assert!(matches!(verdict, EnvelopeVerdict::Reject(reason) if (reason.subject, reason.detail) == (1, 8)));
    }

    #[test]
    fn a_refusal_counts_more_than_a_delay() {
        let mut fake = fake();
        fake.settings(r#"{"unqualified": "defer"}"#).hello_name("localhost").reverse_path("a@localhost");
        assert_eq!(judge(&mut fake), "reject");
    }

    #[test]
    fn domains_that_take_no_mail() {
        let make = |settings: &str, sender: &str| {
            let mut fake = fake();
            fake.addresses("host.example", &["192.0.2.1"]).addresses("six.example", &["2001:db8::1"]);
            fake.mx("null.example", &[(0, ".")]).addresses("null.example", &["192.0.2.1"]);
            fake.mx("odd.example", &[(0, "."), (10, "mx.odd.example")]);
            fake.unanswered("slow.example").settings(settings).reverse_path(sender);
            fake
        };
        let numbers = |fake: &mut Fake| match fake.run(SenderChecks::judge) {
            Ok(EnvelopeVerdict::Proceed) => (0, 0, 0),
            Ok(EnvelopeVerdict::Defer(reason)) => (4, reason.subject, reason.detail),
            Ok(EnvelopeVerdict::Reject(reason)) => (5, reason.subject, reason.detail),
            other => panic!("{other:?}"),
        };
        let lenient = r#"{"nonexistent-sender": "defer", "null-mx-sender": "ignore", "unanswered-sender": "defer"}"#;
        for (settings, sender, expected) in [
            ("{}", "a@client.example", (0, 0, 0)),
            ("{}", "a@host.example", (0, 0, 0)),
            ("{}", "a@six.example", (0, 0, 0)),
            ("{}", "a@odd.example", (0, 0, 0)),
            ("{}", "a@nobody.example", (5, 1, 8)),
            ("{}", "a@null.example", (5, 7, 27)),
            ("{}", "a@slow.example", (0, 0, 0)),
            (lenient, "a@nobody.example", (4, 1, 8)),
            (lenient, "a@null.example", (0, 0, 0)),
            (lenient, "a@slow.example", (4, 4, 3)),
        ] {
            assert_eq!(numbers(&mut make(settings, sender)), expected, "{sender} with {settings}");
        }
        let off = r#"{"nonexistent-sender": "ignore", "null-mx-sender": "ignore"}"#;
        for (settings, sender) in
            [(off, "a@nobody.example"), ("{}", ""), ("{}", "a@[192.0.2.1]"), ("{}", "a@localhost")]
        {
            let mut fake = make(settings, sender);
            judge(&mut fake);
            assert!(fake.questions().is_empty(), "{sender} with {settings}: {:?}", fake.questions());
        }
        let mut broken = make("{}", "a@client.example");
        broken.fault("resolver", hermetic_plugin::Fault::LIMIT);
        assert!(broken.run(SenderChecks::judge).is_err(), "the operator hears of a budget that is too small");
    }
}
