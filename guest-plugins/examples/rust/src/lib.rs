//! Judges what has a word in its Subject, and tags the rest.

use hermetic_plugin::{Failure, Judgement, MessageVerdict, OnRecipientMessage, Reason, config, edit, export, header};

struct Tag;

impl OnRecipientMessage for Tag {
    fn judge() -> Judgement<MessageVerdict> {
        let word = config::get("word").unwrap_or_default();
        let has_it = |subject: &String| subject.to_lowercase().contains(&word.to_lowercase());
        if word.is_empty() || !header::text("Subject").iter().any(has_it) {
            edit::prepend("X-Hermetic-Tag", "rust")?;
            return Ok(MessageVerdict::Proceed);
        }
        let reason = Reason::policy(format!("no {word}, please"));
        match config::get("verdict").as_deref() {
            None | Some("reject") => Ok(MessageVerdict::Reject(reason)),
            Some("defer") => Ok(MessageVerdict::Defer(reason)),
            Some("discard") => Ok(MessageVerdict::Discard),
            Some("accept") => Ok(MessageVerdict::Accept),
            Some(other) => Err(Failure::new(format!("{other:?} is no verdict"))),
        }
    }
}

export!(Tag: on_recipient_message);

#[cfg(test)]
mod tests {
    use super::*;
    use hermetic_plugin::{Edit, Fake};

    #[test]
    fn a_word_is_judged_and_the_rest_is_tagged() {
        let reason = || Reason::policy("no offer, please");
        for (settings, subject, expected) in [
            (r#"{"word": "offer"}"#, "An OFFER for you", Ok(MessageVerdict::Reject(reason()))),
            (r#"{"word": "offer"}"#, "=?utf-8?q?an_=6Fffer?=", Ok(MessageVerdict::Reject(reason()))),
            (r#"{"word": "offer", "verdict": "reject"}"#, "offer", Ok(MessageVerdict::Reject(reason()))),
            (r#"{"word": "offer", "verdict": "defer"}"#, "offer", Ok(MessageVerdict::Defer(reason()))),
            (r#"{"word": "offer", "verdict": "discard"}"#, "offer", Ok(MessageVerdict::Discard)),
            (r#"{"word": "offer", "verdict": "accept"}"#, "offer", Ok(MessageVerdict::Accept)),
            (r#"{"word": "offer", "verdict": "?"}"#, "offer", Err(Failure::new("\"?\" is no verdict"))),
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
