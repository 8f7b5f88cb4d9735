//! No more than so many recipients in so much time: by client, network, sender, login or recipient.
//!
//! Owns the counters, which are kept over restarts. A window begins with its first recipient; what is counted over the
//! limit does not make it longer.

use hermetic_plugin::{
    EnvelopeVerdict, Failure, Fault, Judgement, Network, OnRecipient, Reason, export, facts, keyvalue, log, settings,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// All of them hold.
    limits: Vec<Limit>,
    /// Clients and networks that are not counted.
    #[serde(default)]
    exempt: Vec<String>,
    /// What the peer reads.
    #[serde(default = "slower")]
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    /// What is counted on its own.
    by: By,
    /// Recipients.
    count: u16,
    /// The window.
    seconds: u32,
}

/// What has a counter of its own.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum By {
    /// The client's address.
    Client,
    /// The client's /24 or /64.
    Network,
    /// The reverse-path; the null one is not counted, for bounces to many senders look alike.
    Sender,
    /// The domain of the reverse-path.
    SenderDomain,
    /// The login.
    Identity,
    /// The forward-path.
    Recipient,
}

fn slower() -> String {
    "too many recipients in a short time; please come back later".into()
}

struct RateLimit;

impl OnRecipient for RateLimit {
    fn judge() -> Judgement<EnvelopeVerdict> {
        let settings: Settings = settings()?;
        let exempt = settings.exempt.iter().map(|text| text.parse()).collect::<Result<Vec<Network>, Failure>>()?;
        let client = facts::client_address().and_then(|text| text.parse().ok());
        if client.is_some_and(|client| exempt.iter().any(|network| network.contains(client))) {
            return Ok(EnvelopeVerdict::Proceed);
        }
        let mut over = false;
        for limit in &settings.limits {
            // All are counted, also when an earlier one is over: a counter means the same whatever the others say.
            over |= limit.is_exceeded()?;
        }
        Ok(if over { EnvelopeVerdict::Defer(Reason::policy(settings.text)) } else { EnvelopeVerdict::Proceed })
    }
}

impl Limit {
    fn is_exceeded(&self) -> Result<bool, Failure> {
        if self.seconds == 0 {
            return Err(Failure::new("settings: limits: seconds = 0 would count for ever"));
        }
        let Some(subject) = self.by.subject() else { return Ok(false) };
        match keyvalue::increment(&format!("{}/{}/{subject}", self.by.name(), self.seconds), 1, self.seconds) {
            Ok(sum) => Ok(sum > i32::from(self.count)),
            // Who floods the database with new senders must not stop the mail of those who are counted already.
            Err(fault) if fault.code == Fault::LIMIT => {
                log::warn("the quota of key-values is used up; new counters are not counted");
                Ok(false)
            }
            Err(fault) => Err(fault.into()),
        }
    }
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Network => "network",
            Self::Sender => "sender",
            Self::SenderDomain => "sender-domain",
            Self::Identity => "identity",
            Self::Recipient => "recipient",
        }
    }

    /// Whose counter it is; none: nobody's.
    fn subject(self) -> Option<String> {
        let sender = || facts::reverse_path().filter(|sender| !sender.is_empty()).map(|sender| sender.to_lowercase());
        match self {
            Self::Client => facts::client_address(),
            Self::Network => {
                let client = facts::client_address()?.parse().ok()?;
                Some(Network::around(client, 24, 64).to_string())
            }
            Self::Sender => sender(),
            Self::SenderDomain => sender()?.rsplit_once('@').map(|(_, domain)| domain.to_owned()),
            Self::Identity => facts::identity(),
            Self::Recipient => facts::forward_path().map(|path| path.to_lowercase()),
        }
    }
}

export!(RateLimit: on_recipient);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use hermetic_plugin::Fake;

    /// How many of so many recipients go through.
    fn admitted(fake: &mut Fake, tries: u32) -> u32 {
        let proceed = |_: &u32| fake.run(RateLimit::judge) == Ok(EnvelopeVerdict::Proceed);
        u32::try_from((0..tries).filter(proceed).count()).unwrap()
    }

    fn limit(by: &str) -> Fake {
        let mut fake = Fake::new();
        fake.settings(&format!(r#"{{"limits": [{{"by": "{by}", "count": 3, "seconds": 60}}]}}"#));
        fake
    }

    #[test]
    fn the_window_begins_with_its_first_recipient() {
        let mut fake = limit("client");
        assert_eq!(admitted(&mut fake, 5), 3);
        assert_eq!(admitted(fake.wait(59), 2), 0, "trying does not help");
        assert_eq!(admitted(fake.wait(1), 5), 3, "and does not harm");
    }

    #[test]
    fn each_is_counted_on_its_own() {
        type Change = fn(&mut Fake) -> &mut Fake;
        let same: [(&str, Change); 6] = [
            ("client", |fake| fake.reverse_path("other@else.example")),
            ("network", |fake| fake.client_address("192.0.2.250")),
            ("sender", |fake| fake.reverse_path("Sender@CLIENT.example")),
            ("sender-domain", |fake| fake.reverse_path("other@client.example")),
            ("identity", |fake| fake.client_address("203.0.113.1")),
            ("recipient", |fake| fake.reverse_path("other@else.example")),
        ];
        let other: [(&str, Change); 6] = [
            ("client", |fake| fake.client_address("192.0.2.2")),
            ("network", |fake| fake.client_address("192.0.3.1")),
            ("sender", |fake| fake.reverse_path("other@client.example")),
            ("sender-domain", |fake| fake.reverse_path("sender@else.example")),
            ("identity", |fake| fake.identity("ben")),
            ("recipient", |fake| fake.recipient("second@here.example", None)),
        ];
        for (changes, expected) in [(same, 0), (other, 3)] {
            for (by, change) in changes {
                let mut fake = limit(by);
                assert_eq!(admitted(fake.identity("anna"), 4), 3, "{by}");
                change(&mut fake);
                assert_eq!(admitted(&mut fake, 4), expected, "{by} after a change");
            }
        }
    }

    #[test]
    fn who_is_nobody_is_not_counted() {
        assert_eq!(admitted(limit("identity").identity(None), 9), 9);
        assert_eq!(admitted(limit("sender").reverse_path(""), 9), 9);
        assert_eq!(admitted(limit("client").client_address(None), 9), 9);
    }

    #[test]
    fn exempt_clients_and_failures() {
        let settings = r#"{"limits": [{"by": "client", "count": 0, "seconds": 60}], "exempt": ["192.0.2.0/24"]}"#;
        let mut fake = Fake::new();
        assert_eq!(admitted(fake.settings(settings), 2), 2);
        assert_eq!(admitted(fake.client_address("198.51.100.1"), 2), 0);
        assert_eq!(admitted(fake.fault("keyvalue", Fault::LIMIT), 2), 2);
        assert!(fake.fault("keyvalue", Fault::UNAVAILABLE).run(RateLimit::judge).is_err());
        let endless = r#"{"limits": [{"by": "client", "count": 1, "seconds": 0}]}"#;
        assert!(Fake::new().settings(endless).run(RateLimit::judge).is_err());
    }
}
