//! What lists in the DNS say about the client (RFC 5782).
//!
//! Owns the score: each list has a weight, which may be negative for one of good clients, and what the sum leads to. What a
//! list does not answer counts nothing. Clients that have logged in, and addresses that no list can know, are not asked about.

mod zone;

use std::{collections::BTreeMap, net::IpAddr};

use hermetic_plugin::{
    EnvelopeVerdict, Failure, Fault, Judgement, MessageVerdict, Network, OnConnection, OnMessage, Reason, edit, export,
    facts, log, resolver, scratch, settings,
};
use serde::Deserialize;
use zone::{Replies, question};

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Lists that are asked.
    zones: Vec<Zone>,
    /// From this score on the client is refused; 0: never.
    reject: i32,
    /// From this score on it is asked to come again; 0: never.
    defer: i32,
    /// From this score on the message gets a field; 0: never.
    header: i32,
    /// Its name.
    field: String,
    /// Clients and networks that are not asked about.
    exempt: Vec<String>,
    /// What the peer reads, if the list says nothing.
    text: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            zones: Vec::new(),
            reject: 1,
            defer: 0,
            header: 0,
            field: "X-DNSBL".into(),
            exempt: Vec::new(),
            text: "your address is on a list of senders of unwanted mail".into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Zone {
    /// The list.
    zone: String,
    /// Answers that count.
    #[serde(default)]
    replies: Vec<String>,
    /// What it adds to the score.
    #[serde(default = "one")]
    weight: i32,
}

fn one() -> i32 {
    1
}

/// What was found out, for the hook that writes the field.
const NOTE: &str = "listed";
/// Octets of what a list says that are passed on.
const TEXT: usize = 200;

struct Dnsbl;

impl OnConnection for Dnsbl {
    fn judge() -> Judgement<EnvelopeVerdict> {
        let settings: Settings = settings()?;
        let exempt = settings.exempt.iter().map(|text| text.parse()).collect::<Result<Vec<Network>, Failure>>()?;
        let replies = settings.zones.iter().map(|zone| Replies::of(&zone.replies)).collect::<Result<Vec<_>, _>>()?;
        let client = facts::client_address().and_then(|text| text.parse::<IpAddr>().ok());
        let Some(client) = client.filter(|client| facts::identity().is_none() && zone::can_be_listed(*client)) else {
            return Ok(EnvelopeVerdict::Proceed);
        };
        if exempt.iter().any(|network| network.contains(client)) {
            return Ok(EnvelopeVerdict::Proceed);
        }
        let listings = settings.listings(client, &replies)?;
        let score = listings.iter().fold(0_i32, |score, zone| score.saturating_add(zone.weight));
        let reached = |threshold: i32| threshold != 0 && score >= threshold;
        if reached(settings.header) && !listings.is_empty() {
            let names: Vec<_> = listings.iter().map(|zone| format!("{} ({})", zone.zone, zone.weight)).collect();
            scratch::set(NOTE, format!("{score}; {}", names.join(", ")).as_bytes())?;
        }
        // The list that says most says why.
        let worst = listings.iter().max_by_key(|zone| zone.weight).filter(|zone| zone.weight > 0);
        Ok(match worst {
            Some(zone) if reached(settings.reject) => EnvelopeVerdict::Reject(settings.reason(zone, client)),
            Some(zone) if reached(settings.defer) => EnvelopeVerdict::Defer(settings.reason(zone, client)),
            _ => EnvelopeVerdict::Proceed,
        })
    }
}

impl OnMessage for Dnsbl {
    fn judge() -> Judgement<MessageVerdict> {
        let settings: Settings = settings()?;
        if let Some(note) = scratch::get(NOTE) {
            edit::prepend(&settings.field, &String::from_utf8_lossy(&note))?;
        }
        Ok(MessageVerdict::Proceed)
    }
}

impl Settings {
    /// The lists that know the client. One that stands here twice, with other answers, is asked once.
    fn listings(&self, client: IpAddr, replies: &[Replies]) -> Judgement<Vec<&Zone>> {
        let mut asked: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut listings = Vec::new();
        for (zone, replies) in self.zones.iter().zip(replies) {
            if !asked.contains_key(&*zone.zone) {
                let answer = match resolver::addresses(&question(client, &zone.zone)) {
                    Ok(answer) => answer,
                    Err(fault) if fault.code == Fault::UNAVAILABLE => {
                        log::warn(&format!("{} does not answer: {}", zone.zone, fault.text));
                        Vec::new()
                    }
                    Err(fault) => return Err(fault.into()),
                };
                for refusal in answer.iter().filter(|answer| zone::is_refusal(answer)) {
                    log::warn(&format!(
                        "{} answers {refusal}: it does not want to be asked by this resolver",
                        zone.zone
                    ));
                }
                asked.insert(&zone.zone, answer);
            }
            if asked.get(&*zone.zone).is_some_and(|answer| answer.iter().any(|answer| replies.count(answer))) {
                listings.push(zone);
            }
        }
        Ok(listings)
    }

    fn reason(&self, zone: &Zone, client: IpAddr) -> Reason {
        let texts = resolver::txt(&question(client, &zone.zone)).unwrap_or_default();
        let said = texts.first().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
        let said = said[..said.floor_char_boundary(TEXT)].trim();
        let said = if said.is_empty() { &self.text } else { said };
        Reason::policy(format!("{} by {}: {said}", client.to_canonical(), zone.zone))
    }
}

export!(Dnsbl: on_connection, on_message);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use hermetic_plugin::{Edit, Fake};

    const LISTS: &str = r#""zones": [{"zone": "bad.example", "weight": 3},
        {"zone": "worse.example", "replies": ["127.0.0.4-127.0.0.7"], "weight": 5},
        {"zone": "good.example", "weight": -4}]"#;

    /// Lists and thresholds, and what the lists say about 198.51.100.7.
    fn fake(more: &str, answers: &[(&str, &str)]) -> Fake {
        let mut fake = Fake::new();
        fake.settings(&format!("{{{LISTS}{more}}}")).client_address("198.51.100.7");
        for (zone, answer) in answers {
            fake.addresses(&format!("7.100.51.198.{zone}"), &[answer]);
        }
        fake
    }

    fn verdict(fake: &mut Fake) -> (&'static str, String) {
        match fake.run(<Dnsbl as OnConnection>::judge).expect("an answer") {
            EnvelopeVerdict::Proceed => ("proceed", String::new()),
            EnvelopeVerdict::Defer(reason) => ("defer", reason.text),
            EnvelopeVerdict::Reject(reason) => ("reject", reason.text),
            EnvelopeVerdict::Accept => ("accept", String::new()),
        }
    }

    #[test]
    fn scores_lead_to_verdicts() {
        let more = r#", "defer": 1, "reject": 5"#;
        for (answers, expected) in [
            (&[][..], "proceed"),
            (&[("bad.example", "127.0.0.2")], "defer"),
            (&[("worse.example", "127.0.0.4")], "reject"),
            (&[("worse.example", "127.0.0.2")], "proceed"),
            (&[("bad.example", "127.0.0.2"), ("good.example", "127.0.0.2")], "proceed"),
            (&[("bad.example", "127.0.0.2"), ("worse.example", "127.0.0.7"), ("good.example", "127.0.0.9")], "defer"),
            (&[("bad.example", "127.255.255.254")], "proceed"),
            (&[("bad.example", "192.0.2.1")], "proceed"),
            (&[("bad.example", "127.0.0.1")], "proceed"),
        ] {
            assert_eq!(verdict(&mut fake(more, answers)).0, expected, "{answers:?}");
        }
    }

    #[test]
    fn what_the_list_says_is_passed_on() {
        let mut fake = fake("", &[("bad.example", "127.0.0.2")]);
        let (verdict_one, text) = verdict(&mut fake);
        assert_eq!(
            (verdict_one, &*text),
            ("reject", "198.51.100.7 by bad.example: your address is on a list of senders of unwanted mail")
        );
        fake.txt("7.100.51.198.bad.example", &["see https://bad.example/q?ip=198.51.100.7"]);
        assert_eq!(verdict(&mut fake).1, "198.51.100.7 by bad.example: see https://bad.example/q?ip=198.51.100.7");
        fake.txt("7.100.51.198.bad.example", &[&"\u{e9}".repeat(500)]);
        assert!(verdict(&mut fake).1.len() < 300);
    }

    #[test]
    fn a_field_for_those_who_only_want_to_know() {
        let mut fake = fake(r#", "reject": 0, "header": 1"#, &[("bad.example", "127.0.0.2")]);
        assert_eq!(verdict(&mut fake).0, "proceed");
        fake.message("Subject: x\r\n\r\n").run(<Dnsbl as OnMessage>::judge).unwrap();
        assert_eq!(fake.edits(), [Edit::Prepend("X-DNSBL".into(), "3; bad.example (3)".into())]);
        fake.next_transaction().client_address("198.51.100.8");
        assert_eq!(verdict(&mut fake).0, "proceed");
        fake.run(<Dnsbl as OnMessage>::judge).unwrap();
        assert!(fake.edits().is_empty());
    }

    #[test]
    fn a_list_that_does_not_answer_counts_nothing() {
        let mut fake = fake("", &[("good.example", "127.0.0.2")]);
        fake.unanswered("7.100.51.198.bad.example");
        assert_eq!(verdict(&mut fake).0, "proceed");
        assert!(fake.lines()[0].1.starts_with("bad.example does not answer"), "{:?}", fake.lines());
        fake.fault("resolver", Fault::LIMIT);
        assert!(fake.run(<Dnsbl as OnConnection>::judge).is_err(), "but a budget that is too small is a failure");
    }

    #[test]
    fn who_is_not_asked_about() {
        let listed = fake("", &[("bad.example", "127.0.0.2")]);
        assert_eq!(verdict(&mut listed.clone()).0, "reject");
        type Change = fn(&mut Fake) -> &mut Fake;
        let changes: [Change; 5] = [
            |fake| fake.identity("anna"),
            |fake| fake.client_address(None),
            |fake| fake.client_address("10.0.0.1"),
            |fake| fake.client_address("::1"),
            |fake| fake.settings(r#"{"zones": [{"zone": "bad.example"}], "exempt": ["198.51.100.0/24"]}"#),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut fake = listed.clone();
            assert_eq!(verdict(change(&mut fake)).0, "proceed", "{number}");
            assert!(fake.questions().is_empty(), "{number}: {:?}", fake.questions());
        }
    }

    #[test]
    fn one_list_with_two_meanings_is_asked_once() {
        let mut fake = Fake::new();
        fake.client_address("198.51.100.7").addresses("7.100.51.198.bad.example", &["127.0.0.4", "127.0.0.10"]);
        fake.settings(
            r#"{"reject": 3, "zones": [{"zone": "bad.example", "replies": ["127.0.0.2-127.0.0.9"], "weight": 2},
            {"zone": "bad.example", "replies": ["127.0.0.10"]}]}"#,
        );
        assert_eq!(verdict(&mut fake).0, "reject");
        assert_eq!(fake.questions(), ["A 7.100.51.198.bad.example", "TXT 7.100.51.198.bad.example"]);
    }

    #[test]
    fn mistakes_in_settings_are_named() {
        for (settings, expected) in [
            (r#"{"zones": [{"zone": "a.example", "replies": ["x"]}]}"#, "\"x\""),
            (r#"{"zones": [{"zone": "a.example", "wieght": 1}]}"#, "wieght"),
            (r#"{"exempt": ["10.0.0.0/99"]}"#, "10.0.0.0/99"),
        ] {
            let failure = Fake::new().settings(settings).run(<Dnsbl as OnConnection>::judge).unwrap_err().to_string();
            assert!(failure.contains(expected), "{settings}: {failure}");
        }
    }
}
