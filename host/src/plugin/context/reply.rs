//! An answer to the sender (RFC 3834).
//!
//! Owns who may be answered at all, and the header of the answer. What it says, and whether a sender gets one at all, is the
//! plugin's; sending it is not done here.

use mail_builder::{
    MessageBuilder,
    headers::{address::Address, date::Date, message_id::MessageId, raw::Raw},
};

use super::{Code, Guest, fault};
use crate::config::domain;
use crate::plugin::{
    bindings::hermetic::plugin::{reply, types::Fault},
    header::{self, View},
    hook::{Hook, Message},
    reason::clean,
};

/// Octets of the text.
const TEXT: usize = 64 << 10;
/// Octets of a subject, and of the original one in it.
const SUBJECT: usize = 400;
/// Message-IDs in References: the first, which names the thread, and the last ones (RFC 5537 section 3.4.4 has this way of
/// making it shorter).
const REFERENCES: usize = 20;

/// What the answer is to.
struct Original {
    subject: String,
    message_id: Option<String>,
    /// Of this message and those before it, oldest first.
    references: Vec<String>,
}

impl Original {
    /// The message as its recipient gets it. Fails if a machine has written it (RFC 3834 section 2).
    fn of(view: &View, message: &Message) -> Result<Self, Fault> {
        let values = |name: &str| -> Vec<Vec<u8>> {
            let named = view.fields().iter().filter(|(_, shown)| {
                header::name(shown, &message.content).is_some_and(|given| given.eq_ignore_ascii_case(name))
            });
            named.map(|(_, shown)| header::value(shown, &message.content)).collect()
        };
        for value in values("Auto-Submitted") {
            // RFC 3834 section 5: a word, and parameters after a semicolon.
            let text = header::text(&value);
            let word = text.split([';', '(']).next().unwrap_or_default().trim();
            if !word.eq_ignore_ascii_case("no") {
                return Err(fault(Code::NotFound, "the message was submitted automatically; it is not answered"));
            }
        }
        let first = |name: &str| values(name).first().map(|value| header::text(value)).unwrap_or_default();
        let message_id = ids(&first("Message-ID")).into_iter().next();
        // RFC 5322 section 3.6.4.
        let mut references = ids(&first("References"));
        if references.is_empty() {
            references = ids(&first("In-Reply-To")).into_iter().take(1).collect();
        }
        references.extend(message_id.clone());
        if references.len() > REFERENCES {
            let last = references.split_off(references.len() - (REFERENCES - 1));
            references.truncate(1);
            references.extend(last);
        }
        Ok(Self { subject: clean(&first("Subject"), SUBJECT), message_id, references })
    }
}

/// The Message-IDs in a field, without their angle brackets; what could not be written again is left out.
fn ids(value: &str) -> Vec<String> {
    let parts = value.split('<').skip(1).filter_map(|part| part.split_once('>'));
    let fits = |id: &&str| !id.is_empty() && id.len() <= 250 && id.bytes().all(|octet| octet.is_ascii_graphic());
    parts.map(|(id, _)| id).filter(fits).map(str::to_owned).collect()
}

/// The answer with its header.
fn written(original: &Original, from: &str, to: &str, subject: &str, text: &str, now: u32) -> Option<Vec<u8>> {
    let domain = domain::of_address(from).unwrap_or("localhost");
    let id = format!("{:032x}@{domain}", rand::random::<u128>());
    let subject = if subject.is_empty() { format!("Auto: {}", original.subject) } else { subject.to_owned() };
    let mut message = MessageBuilder::new()
        .from(Address::new_address(None::<&str>, from))
        .to(Address::new_address(None::<&str>, to))
        .subject(subject.trim_end())
        .date(Date::new(i64::from(now)))
        .message_id(id)
        .header("Auto-Submitted", Raw::new("auto-replied"));
    if let Some(answered) = &original.message_id {
        message = message.in_reply_to(answered.as_str());
    }
    if !original.references.is_empty() {
        message = message.references(MessageId::new_list(original.references.iter().map(String::as_str)));
    }
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    message.text_body(text).write_to_vec().ok()
}

impl Guest {
    fn answer(&mut self, subject: &str, text: &str) -> Result<Vec<u8>, Fault> {
        if !self.transaction.settings.grants.reply {
            return Err(fault(Code::NotGranted, "grants.reply is not set"));
        }
        if self.call.hook != Hook::RecipientMessage {
            return Err(fault(Code::Unavailable, "answers are sent from on-recipient-message"));
        }
        self.for_one_recipient()?;
        if self.call.wishes.reply.is_some() {
            return Err(fault(Code::Limit, "this recipient has answered already"));
        }
        if text.len() > TEXT || text.trim().is_empty() || text.contains('\0') {
            return Err(fault(Code::Invalid, format!("a text of 1 to {TEXT} octets, without NUL")));
        }
        if subject.len() > SUBJECT || subject.chars().any(char::is_control) {
            return Err(fault(Code::Invalid, format!("a subject of one line and at most {SUBJECT} octets")));
        }
        let from = self.call.forward.as_ref().map(|forward| forward.forward_path.clone()).unwrap_or_default();
        let to = self.transaction.facts.reverse_path.clone().unwrap_or_default();
        if to.is_empty() || to.eq_ignore_ascii_case(&from) {
            return Err(fault(Code::NotFound, "there is nobody to answer"));
        }
        let now = self.call.now;
        let none = || fault(Code::Unavailable, "there is no message yet");
        let (view, message) = self.view().ok_or_else(none)?;
        let original = Original::of(view, &message)?;
        let failed = || fault(Code::Invalid, "the answer can not be written");
        written(&original, &from, &to, subject, text, now).ok_or_else(failed)
    }
}

impl reply::Host for Guest {
    fn send(&mut self, subject: String, text: String) -> wasmtime::Result<Result<(), Fault>> {
        self.seam("reply.send", |guest| {
            guest.call.wishes.reply = Some(guest.answer(&subject, &text)?);
            Ok(())
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::plugin::header::Header;

    fn original(header: &str) -> Result<Original, Fault> {
        let content = format!("{header}\r\n\r\nHello\r\n").into_bytes();
        let view = View::new(&Header::of(&content), &content, &[]);
        Original::of(&view, &Message { prefix: Vec::new(), content })
    }

    #[test]
    fn machines_are_not_answered() {
        for (header, answered) in [
            ("Subject: x", true),
            ("Auto-Submitted: no", true),
            ("auto-submitted: NO (really)", true),
            ("Auto-Submitted: auto-replied", false),
            ("AUTO-SUBMITTED: auto-generated; owner-email=\"x@y\"", false),
            ("Auto-Submitted: no\r\nAuto-Submitted: auto-notified", false),
            ("Auto-Submitted:", false),
        ] {
            assert_eq!(original(header).is_ok(), answered, "{header}");
        }
    }

    #[test]
    fn an_answer_belongs_to_its_thread() {
        let written = |header: &str, subject: &str, text: &str| {
            let octets = written(
                &original(header).expect("it is answered"),
                "anna@example.test",
                "me@far.test",
                subject,
                text,
                1_800_000_000,
            );
            String::from_utf8(octets.expect("it can be written")).expect("ASCII")
        };
        let all = written(
            "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <3@x>\r\nReferences: <1@x>\r\n <2@x>",
            "",
            "Away.\rSoon\nback: ü",
        );
        for line in [
            "From: <anna@example.test>\r\n",
            "To: <me@far.test>\r\n",
            "Auto-Submitted: auto-replied\r\n",
            "In-Reply-To: <3@x>\r\n",
            "References: <1@x> <2@x> <3@x>\r\n",
            "Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n",
            "@example.test>\r\n",
        ] {
            assert!(all.contains(line), "{line:?} in\n{all}");
        }
        let parsed = mail_parser::MessageParser::new().parse(all.as_bytes()).expect("it parses");
        assert_eq!(parsed.subject(), Some("Auto: Grüße"));
        assert_eq!(
            parsed.body_text(0).map(|text| text.replace("\r\n", "\n").trim_end().to_owned()),
            Some("Away.\nSoon\nback: ü".into())
        );
        assert!(!all.replace("\r\n", "").contains(['\r', '\n']), "bare line ends:\n{all:?}");

        let bare = written("X: y", "Away", "Away");
        assert!(
            bare.contains("Subject: Away\r\n") && !bare.contains("References") && !bare.contains("In-Reply-To"),
            "{bare}"
        );
        let many: String = (0..100).map(|n| format!(" <{n}@x>\r\n")).collect();
        let long = written(&format!("Message-ID: <last@x>\r\nReferences:{}", many.trim_end()), "", "x");
        assert!(long.contains("<0@x>") && !long.contains("<1@x>") && long.contains("<99@x>"), "{long}");
        let odd = written("Message-ID: <a\tb@x>\r\nReferences: no, <> <ok@x> <ü@x", "", "x");
        assert!(odd.contains("References: <ok@x>\r\n") && !odd.contains("In-Reply-To"), "{odd}");
    }
}
