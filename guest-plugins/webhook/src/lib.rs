//! Delivers a recipient's mail to an HTTP endpoint.
//!
//! Owns the request, its signature, and what each answer means for the queue. The message itself is streamed by the host; this
//! plugin never holds it. An endpoint that answers twice to the same idempotency key sees the same delivery twice.

mod signature;
mod wait;

use std::collections::BTreeMap;

use hermetic_plugin::{
    Failure, Fault, Judgement, OnDelivery, Outcome, Reason, attempt, export, facts,
    http::{self, Field, Response},
    log, settings,
};
use serde::Deserialize;

/// A secret that is shorter can be guessed.
const SECRET: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// The endpoint.
    url: String,
    /// What the signature is made with; the endpoint knows it too.
    secret: String,
    /// Further fields of the request.
    #[serde(default)]
    fields: BTreeMap<String, String>,
}

struct Webhook;

impl OnDelivery for Webhook {
    fn deliver() -> Judgement<Outcome> {
        let settings: Settings = settings()?;
        if settings.secret.len() < SECRET {
            return Err(Failure::new(format!("settings: `secret` needs at least {SECRET} characters")));
        }
        match http::send_message("POST", &settings.url, &settings.request()) {
            Ok(response) => Ok(outcome(&response)),
            // The operator has to mend these; the mail waits.
            Err(fault) if [Fault::NOT_GRANTED, Fault::INVALID].contains(&fault.code) => Err(fault.into()),
            Err(fault) => {
                log::warn(&format!("{} can not be reached: {}", settings.url, fault.text));
                Ok(Outcome::retry(Reason::new(4, 4, "the endpoint can not be reached")))
            }
        }
    }
}

impl Settings {
    fn request(&self) -> Vec<Field> {
        let now = facts::now();
        let key = attempt::idempotency_key();
        let sender = encoded(&facts::reverse_path().unwrap_or_default());
        let recipient = encoded(&facts::forward_path().unwrap_or_default());
        let signature = signature::of(self.secret.as_bytes(), now, &key, &sender, &recipient);
        let field = |name: &str, value: String| Field { name: name.into(), value };
        let mut fields = vec![
            field("Content-Type", "message/rfc822".into()),
            field("Idempotency-Key", key),
            field("X-Hermetic-Timestamp", now.to_string()),
            field("X-Hermetic-Sender", sender),
            field("X-Hermetic-Recipient", recipient),
            field("X-Hermetic-Attempt", attempt::number().to_string()),
            field("X-Hermetic-Signature", format!("v1={signature}")),
        ];
        fields.extend(self.fields.iter().map(|(name, value)| field(name, value.clone())));
        fields
    }
}

/// An address as the value of a field: what is not printable ASCII, and `%`, becomes `%XX`.
fn encoded(address: &str) -> String {
    let mut text = String::with_capacity(address.len());
    for octet in address.bytes() {
        if octet.is_ascii_graphic() && octet != b'%' {
            text.push(octet.into());
        } else {
            text.push_str(&format!("%{octet:02X}"));
        }
    }
    text
}

/// What an answer means. One that says nothing of the request itself, as a redirect, may be another one later.
fn outcome(response: &Response) -> Outcome {
    let text = format!("the endpoint answered {}", response.status);
    match response.status {
        200..=299 => Outcome::Delivered,
        408 | 429 => later(response, text),
        400..=499 => Outcome::Fail(Reason::system(text)),
        _ => later(response, text),
    }
}

fn later(response: &Response, text: String) -> Outcome {
    let wanted = response.fields.iter().find(|field| field.name.eq_ignore_ascii_case("Retry-After"));
    match wanted.and_then(|field| wait::seconds(&field.value, facts::now())) {
        Some(seconds) => Outcome::retry_after(Reason::system(text), seconds),
        None => Outcome::retry(Reason::system(text)),
    }
}

export!(Webhook: on_delivery);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use hermetic_plugin::{Fake, Retry};

    const SETTINGS: &str = r#"{"url": "https://hooks.example.org/mail?box=1", "secret": "0123456789abcdef"}"#;

    fn fake(status: u16, fields: &[(&str, &str)]) -> Fake {
        let mut fake = Fake::new();
        let field = |(name, value): &(&str, &str)| Field { name: (*name).into(), value: (*value).into() };
        let fields = fields.iter().map(field).collect();
        fake.settings(SETTINGS).message("Subject: hello\r\n\r\nHello.\r\n").attempt("key-7", 2, 1_800_000_000);
        fake.respond(Ok(Response { status, fields, body: Vec::new() }));
        fake
    }

    #[test]
    fn the_request_has_the_message_and_a_signature() {
        let mut fake = fake(204, &[]);
        fake.recipient("jürgen%x@here.example", None);
        assert_eq!(fake.run(Webhook::deliver), Ok(Outcome::Delivered));
        let request = &fake.requests()[0];
        assert_eq!((&*request.method, &*request.url), ("POST", "https://hooks.example.org/mail?box=1"));
        assert_eq!(request.body, b"Subject: hello\r\n\r\nHello.\r\n");
        for (name, value) in [
            ("content-type", "message/rfc822"),
            ("idempotency-key", "key-7"),
            ("x-hermetic-attempt", "2"),
            ("x-hermetic-timestamp", "1800000000"),
            ("x-hermetic-sender", "sender@client.example"),
            ("x-hermetic-recipient", "j%C3%BCrgen%25x@here.example"),
        ] {
            assert_eq!(request.field(name), Some(value), "{name}");
        }
        let signature = request.field("x-hermetic-signature").unwrap();
        let expected = signature::of(
            b"0123456789abcdef",
            1_800_000_000,
            "key-7",
            "sender@client.example",
            "j%C3%BCrgen%25x@here.example",
        );
        assert_eq!(signature, format!("v1={expected}"));
    }

    #[test]
    fn what_answers_mean() {
        let after = |seconds: u32| format!("retry {seconds}");
        for (status, fields, expected) in [
            (200, &[][..], "delivered".to_owned()),
            (202, &[], "delivered".into()),
            (301, &[("Location", "https://evil.example/")], "retry".into()),
            (400, &[], "fail".into()),
            (404, &[], "fail".into()),
            (410, &[("Retry-After", "5")], "fail".into()),
            (408, &[], "retry".into()),
            (429, &[("retry-after", "120")], after(120)),
            (500, &[], "retry".into()),
            (503, &[("Retry-After", "Fri, 15 Jan 2027 08:10:00 GMT")], after(600)),
            (503, &[("Retry-After", "soon")], "retry".into()),
        ] {
            let got = match fake(status, fields).run(Webhook::deliver).unwrap() {
                Outcome::Delivered => "delivered".into(),
                Outcome::Fail(_) => "fail".into(),
                Outcome::Retry(Retry { after_seconds: None, .. }) => "retry".into(),
                Outcome::Retry(Retry { after_seconds: Some(seconds), .. }) => after(seconds),
            };
            assert_eq!(got, expected, "{status} {fields:?}");
        }
    }

    #[test]
    fn what_can_not_be_sent_waits() {
        let mut unreachable = Fake::new();
        unreachable.settings(SETTINGS).fault("http", Fault::UNAVAILABLE);
        assert!(matches!(unreachable.run(Webhook::deliver), Ok(Outcome::Retry(_))));
        assert!(unreachable.lines()[0].1.contains("can not be reached"));
        for (settings, fault) in [
            (SETTINGS, Some(Fault::NOT_GRANTED)),
            (SETTINGS, Some(Fault::INVALID)),
            (r#"{"url": "https://hooks.example.org/", "secret": "short"}"#, None),
            (r#"{"url": "https://hooks.example.org/"}"#, None),
        ] {
            let mut fake = Fake::new();
            fake.settings(settings);
            if let Some(code) = fault {
                fake.fault("http", code);
            }
            assert!(fake.run(Webhook::deliver).is_err(), "the operator hears of it: {settings} {fault:?}");
        }
    }

    #[test]
    fn fields_of_the_operator() {
        let mut fake = fake(200, &[]);
        fake.settings(
            r#"{"url": "https://hooks.example.org/", "secret": "0123456789abcdef", "fields": {"Authorization": "Bearer x"}}"#,
        );
        assert_eq!(fake.run(Webhook::deliver), Ok(Outcome::Delivered));
        assert_eq!(fake.requests()[0].field("authorization"), Some("Bearer x"));
    }
}
