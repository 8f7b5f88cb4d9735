//! Refuses what has a word in its Subject, and tags the rest.

use hermetic_plugin::{Judgement, MessageVerdict, OnRecipientMessage, Reason, config, edit, export, header};

struct Tag;

impl OnRecipientMessage for Tag {
    fn judge() -> Judgement<MessageVerdict> {
        let word = config::get("word").unwrap_or_default();
        let has_it = |subject: &String| subject.to_lowercase().contains(&word.to_lowercase());
        if !word.is_empty() && header::text("Subject").iter().any(has_it) {
            return Ok(MessageVerdict::Reject(Reason::policy(format!("no {word}, please"))));
        }
        edit::prepend("X-Hermetic-Tag", "rust")?;
        Ok(MessageVerdict::Proceed)
    }
}

export!(Tag: on_recipient_message);

#[cfg(test)]
mod tests {
    use super::*;
    use hermetic_plugin::{Edit, Fake};

    #[test]
    fn a_word_is_refused_and_the_rest_is_tagged() {
        let refused = Ok(MessageVerdict::Reject(Reason::policy("no offer, please")));
        for (settings, subject, expected) in [
            (r#"{"word": "offer"}"#, "An OFFER for you", refused.clone()),
            (r#"{"word": "offer"}"#, "=?utf-8?q?an_=6Fffer?=", refused),
            (r#"{"word": "offer"}"#, "Dinner", Ok(MessageVerdict::Proceed)),
            ("{}", "An offer", Ok(MessageVerdict::Proceed)),
        ] {
            let mut fake = Fake::new();
            let verdict = fake.settings(settings).message(format!("Subject: {subject}\n\n")).run(Tag::judge);
            assert_eq!(verdict, expected, "{subject} with {settings}");
            let tagged = fake.edits() == [Edit::Prepend("X-Hermetic-Tag".into(), "rust".into())];
            assert_eq!(tagged, verdict == Ok(MessageVerdict::Proceed), "{subject}: {:?}", fake.edits());
        }
    }
}
