//! A plugin for Hermetic. The setting `word` is what its recipients do not want.

use hermetic_plugin::{Judgement, export};
%% for any
use hermetic_plugin::{{On}};
%% end
%% if envelope message delivery
use hermetic_plugin::Reason;
%% end
%% if envelope message
use hermetic_plugin::config;
%% end
%% if envelope
use hermetic_plugin::EnvelopeVerdict;
%% end
%% if message
use hermetic_plugin::{MessageVerdict, header};
%% end
%% if delivery
use hermetic_plugin::{Outcome, attempt, rendered};
%% end
%% if report
use hermetic_plugin::fate;
%% end
%% if envelope report
use hermetic_plugin::facts;
%% end
%% if delivery report
use hermetic_plugin::log;
%% end

struct Plugin;
%% if envelope message

fn has_the_word(text: &str) -> bool {
    let word = config::get("word").unwrap_or_default().to_lowercase();
    !word.is_empty() && text.to_lowercase().contains(&word)
}
%% end
%% for envelope

impl {{On}} for Plugin {
    fn judge() -> Judgement<EnvelopeVerdict> {
        let sender = facts::reverse_path().unwrap_or_default();
        if has_the_word(&sender) {
            return Ok(EnvelopeVerdict::Reject(Reason::policy("not from you, please")));
        }
        Ok(EnvelopeVerdict::Proceed)
    }
}
%% end
%% for message

impl {{On}} for Plugin {
    fn judge() -> Judgement<MessageVerdict> {
        if header::text("Subject").iter().any(|subject| has_the_word(subject)) {
            return Ok(MessageVerdict::Reject(Reason::policy("not about that, please")));
        }
        Ok(MessageVerdict::Proceed)
    }
}
%% end
%% for delivery

impl {{On}} for Plugin {
    fn deliver() -> Judgement<Outcome> {
        let (number, key) = (attempt::number(), attempt::idempotency_key());
        log::info(&format!("attempt {number} of {key}, {} octets", rendered::size()));
        Ok(Outcome::retry_after(Reason::system("this delivery is not written yet"), 3600))
    }
}
%% end
%% for report

impl {{On}} for Plugin {
    fn note() -> Judgement<()> {
        let to = facts::forward_path().unwrap_or_default();
        log::info(&format!("{to}: {} {}", fate::state(), fate::text()));
        Ok(())
    }
}
%% end

export!(Plugin: {{all_hooks}});

#[cfg(test)]
mod tests {
    use super::*;
    use hermetic_plugin::Fake;
%% for envelope

    #[test]
    fn {{on_}}_refuses_the_word() {
        let mut fake = Fake::new();
        fake.settings(r#"{"word": "offer"}"#).reverse_path("offers@far.example");
        let refused = Ok(EnvelopeVerdict::Reject(Reason::policy("not from you, please")));
        assert_eq!(fake.run(<Plugin as {{On}}>::judge), refused);
        assert_eq!(fake.reverse_path("").run(<Plugin as {{On}}>::judge), Ok(EnvelopeVerdict::Proceed));
    }
%% end
%% for message

    #[test]
    fn {{on_}}_refuses_the_word() {
        let mut fake = Fake::new();
        fake.settings(r#"{"word": "offer"}"#).message("Subject: An OFFER\r\n\r\nHello.\r\n");
        let refused = Ok(MessageVerdict::Reject(Reason::policy("not about that, please")));
        assert_eq!(fake.run(<Plugin as {{On}}>::judge), refused);
        fake.message("Subject: Dinner\r\n\r\n");
        assert_eq!(fake.run(<Plugin as {{On}}>::judge), Ok(MessageVerdict::Proceed));
    }
%% end
%% for delivery

    #[test]
    fn {{on_}}_tries_again() {
        let outcome = Fake::new().attempt("key", 2, 0).message("A: b\r\n\r\n").run(<Plugin as {{On}}>::deliver);
        assert!(matches!(outcome, Ok(Outcome::Retry(_))), "{outcome:?}");
    }
%% end
%% for report

    #[test]
    fn {{on_}}_logs() {
        let mut fake = Fake::new();
        assert_eq!(fake.fate("expired", None, "nobody answered", 3).run(<Plugin as {{On}}>::note), Ok(()));
        assert!(fake.lines()[0].1.ends_with("expired nobody answered"), "{:?}", fake.lines());
    }
%% end
}
