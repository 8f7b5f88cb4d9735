//! Tells whoever writes that the recipient is away, once in a while (RFC 3834, RFC 5230 section 4.6).
//!
//! Owns who is told: people who wrote to the recipient itself, and each of them once in some days. It decides nothing about
//! the message, and where it can not do its work the mail goes on and the log says why.

use hermetic_plugin::{
    Failure, Fault, Judgement, MessageVerdict, OnRecipientMessage, export, facts, header, keyvalue, log, reply,
    settings,
};
use serde::Deserialize;

const DAY: u32 = 86_400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// What the sender reads.
    text: String,
    /// Empty: `Auto: ` and that of the message.
    #[serde(default)]
    subject: String,
    /// For so many days a sender is told once.
    #[serde(default = "a_week")]
    days: u32,
    /// More addresses of the recipient: mail that names none of its addresses is not answered.
    #[serde(default)]
    also: Vec<String>,
}

fn a_week() -> u32 {
    7
}

/// Fields of mailing lists (RFC 2369, RFC 2919), and of machines that say so in their own way.
const NOT_FOR_ONE: [&str; 9] = [
    "List-Id",
    "List-Help",
    "List-Subscribe",
    "List-Unsubscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Feedback-ID",
    "X-Auto-Response-Suppress",
];

struct Autoreply;

impl OnRecipientMessage for Autoreply {
    fn judge() -> Judgement<MessageVerdict> {
        let settings: Settings = settings()?;
        if !(1..=365).contains(&settings.days) {
            return Err(Failure::new("settings: days is 1 to 365"));
        }
        let (sender, recipient) =
            (facts::reverse_path().unwrap_or_default(), facts::forward_path().unwrap_or_default());
        if is_person(&sender) && !is_bulk() && settings.is_named(&recipient) {
            match tell(&settings, &sender, &recipient) {
                Ok(()) => {}
                // The host knows of more that is not to be answered.
                Err(fault) if fault.code == Fault::NOT_FOUND => {}
                // A notice is not worth a message.
                Err(fault) => log::warn(&format!("{sender} is not told: {}", Failure::from(fault))),
            }
        }
        Ok(MessageVerdict::Proceed)
    }
}

/// RFC 3834 section 2: no answer to the null reverse-path, nor to what answers for lists and servers.
fn is_person(sender: &str) -> bool {
    let local = sender.rsplit_once('@').map_or("", |(local, _)| local).to_ascii_lowercase();
    let machine = ["mailer-daemon", "listserv", "majordomo", "postmaster", "noreply", "no-reply", "donotreply"];
    !local.is_empty()
        && !machine.contains(&&*local)
        && !local.starts_with("owner-")
        && !["-request", "-owner", "-bounces", "-noreply"].iter().any(|end| local.ends_with(end))
}

/// A machine's message, or one to many.
fn is_bulk() -> bool {
    let any = |name: &str, bad: &dyn Fn(&str) -> bool| {
        header::text(name).iter().any(|value| bad(value.trim().to_ascii_lowercase().as_str()))
    };
    let by_hand = |value: &str| value.split([';', '(']).next().unwrap_or_default().trim() == "no";
    any("Auto-Submitted", &|value| !by_hand(value))
        || any("Precedence", &|value| matches!(value, "bulk" | "list" | "junk"))
        || NOT_FOR_ONE.iter().any(|name| !header::fields(name).is_empty())
}

impl Settings {
    /// The recipient is named in the message, and not only in its envelope (RFC 5230 section 4.5).
    fn is_named(&self, recipient: &str) -> bool {
        let mailbox = facts::mailbox();
        let own: Vec<String> = [Some(recipient.to_owned()), mailbox]
            .into_iter()
            .flatten()
            .chain(self.also.iter().cloned())
            .map(|address| address.to_lowercase())
            .collect();
        let between = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';' | ':' | '"' | '(' | ')');
        ["To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc"]
            .iter()
            .flat_map(|name| header::text(name))
            .any(|value| value.split(between).any(|word| own.contains(&word.to_lowercase())))
    }
}

/// Counted first: of two messages that come at the same time one is answered.
fn tell(settings: &Settings, sender: &str, recipient: &str) -> Result<(), Fault> {
    let key = format!("{}/{}", name(recipient), name(sender));
    if keyvalue::increment(&key, 1, settings.days * DAY)? == 1 {
        reply::send(&settings.subject, &settings.text)?;
    }
    Ok(())
}

/// An address as a part of a key, which has to be short.
fn name(address: &str) -> String {
    let address = address.to_lowercase();
    let skip = address.len().saturating_sub(200);
    address[address.ceil_char_boundary(skip)..].to_owned()
}

export!(Autoreply: on_recipient_message);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use hermetic_plugin::{Fake, Level};

    const TO: &str = "To: Recipient <Recipient@here.example>\n";

    fn fake() -> Fake {
        let mut fake = Fake::new();
        fake.settings(r#"{"text": "I am away.", "also": ["me@old.example"]}"#);
        fake
    }

    fn answered(fake: &mut Fake) -> bool {
        assert_eq!(fake.run(Autoreply::judge), Ok(MessageVerdict::Proceed));
        fake.reply() == Some(("", "I am away."))
    }

    #[test]
    fn people_who_wrote_to_the_recipient_are_answered() {
        for (header, expected) in [
            (TO, true),
            ("Cc: x@y.example, recipient@here.example\n", true),
            ("To: \"me@old.example\" <me@OLD.example>\n", true),
            ("To: undisclosed-recipients:;\n", false),
            ("To: norecipient@here.example\n", false),
            ("Subject: recipient@here.example\n", false),
        ] {
            assert_eq!(answered(fake().message(format!("{header}\nHello\n"))), expected, "{header}");
        }
    }

    #[test]
    fn lists_and_automatic_messages_are_not_answered() {
        for (field, expected) in [
            ("Auto-Submitted: no", true),
            ("Auto-Submitted: auto-replied", false),
            ("auto-submitted: Auto-Generated; x=y", false),
            ("Precedence: first-class", true),
            ("Precedence: Bulk", false),
            ("Precedence: junk", false),
            ("List-Id: <l.example>", false),
            ("List-Unsubscribe: <mailto:x@l.example>", false),
            ("X-Auto-Response-Suppress: All", false),
        ] {
            assert_eq!(answered(fake().message(format!("{TO}{field}\n\nHello\n"))), expected, "{field}");
        }
    }

    #[test]
    fn machines_are_not_answered() {
        for (sender, expected) in [
            ("sender@client.example", true),
            ("request@client.example", true),
            ("", false),
            ("MAILER-DAEMON@client.example", false),
            ("owner-list@client.example", false),
            ("list-request@client.example", false),
            ("list-bounces@client.example", false),
            ("NoReply@client.example", false),
            ("recipient@here.example", false),
        ] {
            assert_eq!(answered(fake().reverse_path(sender).message(format!("{TO}\n"))), expected, "{sender}");
        }
    }

    #[test]
    fn once_a_sender_a_week() {
        let mut fake = fake();
        let mut ask = |sender: &str, seconds: u32| {
            let message = format!("{TO}\n");
            answered(fake.next_transaction().reverse_path(sender).wait(seconds).message(message))
        };
        assert!(ask("a@x.example", 0));
        assert!(!ask("A@x.example", 1));
        assert!(ask("b@x.example", 0));
        assert!(!ask("a@x.example", 6 * DAY));
        assert!(ask("a@x.example", DAY));
    }

    #[test]
    fn mail_goes_on_without_a_notice() {
        for (interface, code) in
            [("keyvalue", Fault::LIMIT), ("keyvalue", Fault::UNAVAILABLE), ("reply", Fault::INVALID)]
        {
            let mut fake = fake();
            assert!(!answered(fake.fault(interface, code).message(format!("{TO}\n"))), "{interface}");
            assert_eq!(fake.lines().len(), 1, "{interface}: {:?}", fake.lines());
            assert_eq!(fake.lines()[0].0, Level::Warn);
        }
        for settings in ["{}", r#"{"text": "x", "days": 0}"#, r#"{"text": "x", "day": 1}"#] {
            assert!(fake().settings(settings).message(format!("{TO}\n")).run(Autoreply::judge).is_err(), "{settings}");
        }
    }
}
