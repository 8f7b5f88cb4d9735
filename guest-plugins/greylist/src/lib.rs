//! Who writes for the first time has to come back: real servers do, what sends spam seldom does.
//!
//! Owns what is known of a client's network, sender and recipient together: when they were seen first, and that they have
//! come back. A network that has come back often enough is not asked again.

use hermetic_plugin::{
    EnvelopeVerdict, Failure, Fault, Judgement, Network, OnRecipient, Reason, export, facts, keyvalue, log, settings,
};
use serde::Deserialize;

const DAY: u32 = 86_400;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Seconds before which it is too early.
    delay: u32,
    /// Seconds after which coming back does not count as such.
    window: u32,
    /// Seconds for which those who came back are remembered, from the last time on.
    remember: u32,
    /// So many that came back make their network welcome; 0: never.
    trust_after: u16,
    /// Clients and networks that need not come back.
    exempt: Vec<String>,
    /// What the peer reads.
    text: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            delay: 300,
            window: 2 * DAY,
            remember: 36 * DAY,
            trust_after: 5,
            exempt: Vec::new(),
            text: "greylisted; please try again in a few minutes".into(),
        }
    }
}

/// What is written down of those who have come back.
const CAME_BACK: &[u8] = b"back";

struct Greylist;

impl OnRecipient for Greylist {
    fn judge() -> Judgement<EnvelopeVerdict> {
        let settings: Settings = settings()?;
        let exempt = settings.exempt.iter().map(|text| text.parse()).collect::<Result<Vec<Network>, Failure>>()?;
        let Some(client) = facts::client_address().and_then(|text| text.parse().ok()) else {
            return Ok(EnvelopeVerdict::Proceed);
        };
        if facts::identity().is_some() || exempt.iter().any(|network| network.contains(client)) {
            return Ok(EnvelopeVerdict::Proceed);
        }
        // Large senders come back from another address of the same network.
        match settings.has_come_back(&Network::around(client, 24, 64).to_string()) {
            Ok(true) => Ok(EnvelopeVerdict::Proceed),
            Ok(false) => Ok(EnvelopeVerdict::Defer(Reason::policy(settings.text))),
            // What can not be written down can not come back.
            Err(fault) if fault.code == Fault::LIMIT => {
                log::warn("the quota of key-values is used up; nobody new is greylisted");
                Ok(EnvelopeVerdict::Proceed)
            }
            Err(fault) => Err(fault.into()),
        }
    }
}

impl Settings {
    fn has_come_back(&self, network: &str) -> Result<bool, Fault> {
        let welcome = format!("network/{network}");
        if self.trust_after > 0 && count(&welcome)? >= u32::from(self.trust_after) {
            return Ok(true);
        }
        let sender = facts::reverse_path().unwrap_or_default();
        let recipient = facts::forward_path().unwrap_or_default();
        let seen = format!("seen/{network}/{}/{}", name(&sender), name(&recipient));
        let now = facts::now();
        match keyvalue::get(&seen)? {
            None => {
                keyvalue::set(&seen, now.to_string().as_bytes(), self.window)?;
                Ok(self.delay == 0)
            }
            Some(value) if value == CAME_BACK => {
                keyvalue::set(&seen, CAME_BACK, self.remember)?;
                Ok(true)
            }
            Some(first) if now.saturating_sub(number(&first)) >= self.delay => {
                keyvalue::set(&seen, CAME_BACK, self.remember)?;
                if self.trust_after > 0 {
                    keyvalue::increment(&welcome, 1, self.remember)?;
                }
                Ok(true)
            }
            Some(_) => Ok(false),
        }
    }
}

/// An address as a part of a key, which has to be short. Addresses that end alike for so long come back for each other.
fn name(address: &str) -> String {
    let address = address.to_lowercase();
    let skip = address.len().saturating_sub(200);
    address[address.ceil_char_boundary(skip)..].to_owned()
}

/// A counter's value; asking does not prolong it, and begins none.
fn count(key: &str) -> Result<u32, Fault> {
    Ok(keyvalue::get(key)?.as_deref().map_or(0, number))
}

/// What is no number is as old as can be.
fn number(octets: &[u8]) -> u32 {
    core::str::from_utf8(octets).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

export!(Greylist: on_recipient);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use hermetic_plugin::Fake;

    fn passes(fake: &mut Fake) -> bool {
        match fake.run(Greylist::judge) {
            Ok(EnvelopeVerdict::Proceed) => true,
            Ok(EnvelopeVerdict::Defer(_)) => false,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_comes_back_in_time_passes_and_is_remembered() {
        let mut fake = Fake::new();
        assert!(!passes(&mut fake), "the first time");
        assert!(!passes(fake.wait(299)), "too early");
        assert!(passes(fake.wait(1)), "in time");
        assert!(passes(fake.wait(35 * DAY)), "remembered");
        assert!(passes(fake.wait(35 * DAY)), "from the last time on");
        assert!(!passes(fake.wait(36 * DAY)), "and then forgotten");
    }

    #[test]
    fn who_comes_too_late_begins_anew() {
        let mut fake = Fake::new();
        assert!(!passes(&mut fake));
        assert!(!passes(fake.wait(2 * DAY)));
        assert!(passes(fake.wait(300)));
    }

    #[test]
    fn others_have_to_come_back_on_their_own() {
        type Change = fn(&mut Fake) -> &mut Fake;
        let changes: [(&str, Change, bool); 5] = [
            ("another address of the network", |fake| fake.client_address("192.0.2.99"), true),
            ("the same sender in capitals", |fake| fake.reverse_path("SENDER@client.example"), true),
            ("another network", |fake| fake.client_address("192.0.3.1"), false),
            ("another sender", |fake| fake.reverse_path(""), false),
            ("another recipient", |fake| fake.recipient("second@here.example", None), false),
        ];
        for (what, change, expected) in changes {
            let mut fake = Fake::new();
            assert!(!passes(&mut fake) && passes(fake.wait(300)), "{what}");
            change(&mut fake);
            assert_eq!(passes(&mut fake), expected, "{what}");
        }
    }

    #[test]
    fn a_network_that_came_back_often_is_welcome() {
        let mut fake = Fake::new();
        fake.settings(r#"{"trust-after": 2}"#);
        for sender in ["a@x.example", "b@x.example"] {
            assert!(!passes(fake.reverse_path(sender)), "{sender}");
            assert!(passes(fake.wait(300)), "{sender}");
        }
        assert!(passes(fake.reverse_path("c@x.example")));
        assert!(!passes(fake.client_address("198.51.100.1")));
    }

    #[test]
    fn who_is_never_asked() {
        assert!(passes(Fake::new().identity("anna")));
        assert!(passes(Fake::new().client_address(None)));
        assert!(passes(Fake::new().settings(r#"{"exempt": ["192.0.2.0/24"]}"#)));
        assert!(passes(Fake::new().settings(r#"{"delay": 0}"#)));
    }

    #[test]
    fn long_addresses_fit_into_keys() {
        let mut fake = Fake::new();
        let long = format!("{}@{}.example", "ä".repeat(32), "long.".repeat(48));
        fake.reverse_path(long.as_str()).recipient(&long, None);
        assert!(!passes(&mut fake));
        assert!(passes(fake.wait(300)));
    }

    #[test]
    fn a_full_database_lets_mail_through_and_a_broken_one_is_a_failure() {
        assert!(passes(Fake::new().fault("keyvalue", Fault::LIMIT)));
        assert!(Fake::new().fault("keyvalue", Fault::UNAVAILABLE).run(Greylist::judge).is_err());
    }
}
