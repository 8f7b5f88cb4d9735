//! Addresses that stand for others: virtual users, forwards, small lists.
//!
//! Owns the table and its expansion, which names nobody twice, follows aliases to a bounded depth and ends where they go
//! round. Mail that has been delivered to the same alias before (Delivered-To says so) goes round between servers, and
//! is refused.

mod table;

use hermetic_plugin::{
    EnvelopeVerdict, Judgement, MessageVerdict, OnRecipient, OnRecipientMessage, Reason, export, facts, forwarding,
    header, settings,
};
use serde::Deserialize;
use table::{Expansion, Table};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// By address, or `@domain` for all others of a domain.
    aliases: Table,
}

struct Aliases;

impl OnRecipient for Aliases {
    fn judge() -> Judgement<EnvelopeVerdict> {
        let settings: Settings = settings()?;
        for name in names() {
            if let Some(expansion) = settings.aliases.expand(&name)? {
                if let Expansion::To(addresses) = expansion {
                    forwarding::redirect(&addresses)?;
                }
                break;
            }
        }
        Ok(EnvelopeVerdict::Proceed)
    }
}

impl OnRecipientMessage for Aliases {
    fn judge() -> Judgement<MessageVerdict> {
        let settings: Settings = settings()?;
        for name in names() {
            let Some(expansion) = settings.aliases.expand(&name)? else { continue };
            let before = header::text("Delivered-To");
            let round = before.iter().any(|address| address.trim().eq_ignore_ascii_case(&name));
            return Ok(match expansion {
                // RFC 3463: X.4.6, routing loop detected.
                Expansion::To(_) if round => MessageVerdict::Reject(Reason::new(
                    4,
                    6,
                    "this message was delivered to this address before: a forwarding loop",
                )),
                _ => MessageVerdict::Proceed,
            });
        }
        Ok(MessageVerdict::Proceed)
    }
}

/// What the recipient may be called in the table: as it was given, then without its subaddress.
fn names() -> impl Iterator<Item = String> {
    let given = facts::forward_path();
    let mailbox = facts::mailbox().filter(|mailbox| Some(mailbox) != given.as_ref());
    given.into_iter().chain(mailbox)
}

export!(Aliases: on_recipient, on_recipient_message);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use hermetic_plugin::{Fake, Forward};

    const TABLE: &str = r#"{"aliases": {
        "info@here.example": ["anna@here.example", "ben@far.example"],
        "me@here.example": ["me@here.example"],
        "@old.example": "info@here.example"
    }}"#;

    fn fake(recipient: &str, mailbox: Option<&str>) -> Fake {
        let mut fake = Fake::new();
        fake.settings(TABLE).recipient(recipient, mailbox);
        fake
    }

    #[test]
    fn a_recipient_is_redirected() {
        for (recipient, mailbox, expected) in [
            ("info@here.example", None, true),
            ("INFO@HERE.example", None, true),
            ("info+news@here.example", Some("info@here.example"), true),
            ("whoever@old.example", None, true),
            ("anna@here.example", Some("anna@here.example"), false),
            ("me@here.example", Some("me@here.example"), false),
        ] {
            let mut fake = fake(recipient, mailbox);
            assert_eq!(fake.run(<Aliases as OnRecipient>::judge), Ok(EnvelopeVerdict::Proceed), "{recipient}");
            let both = Forward::Redirect(vec!["anna@here.example".into(), "ben@far.example".into()]);
            assert_eq!(fake.forwards().contains(&both), expected, "{recipient}: {:?}", fake.forwards());
            assert_eq!(fake.forwards().is_empty(), !expected, "{recipient}: {:?}", fake.forwards());
        }
    }

    #[test]
    fn what_was_here_before_goes_round() {
        for (recipient, delivered_to, round) in [
            ("info@here.example", "Info@here.example", true),
            ("info@here.example", "anna@here.example", false),
            ("whoever@old.example", "whoever@old.example", true),
            ("anna@here.example", "anna@here.example", false),
            ("me@here.example", "me@here.example", false),
        ] {
            let mut fake = fake(recipient, None);
            fake.message(format!("Delivered-To: other@x.example\nDelivered-To: {delivered_to}\nSubject: x\n\n"));
            let verdict = fake.run(<Aliases as OnRecipientMessage>::judge).expect("an answer");
            let refused =
                matches!(&verdict, MessageVerdict::Reject(reason) if (reason.subject, reason.detail) == (4, 6));
            assert_eq!(refused, round, "{recipient} after {delivered_to}: {verdict:?}");
        }
    }

    #[test]
    fn a_domain_that_is_not_granted_is_a_failure() {
        let mut fake = fake("info@here.example", None);
        let failure = fake.forward_domains(&["here.example"]).run(<Aliases as OnRecipient>::judge).expect_err("far");
        assert!(failure.to_string().contains("far.example"), "{failure}");
        assert!(fake.forwards().is_empty());
    }
}
