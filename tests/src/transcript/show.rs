//! How questions and events look in a transcript.
//!
//! Owns the text behind `Q` and `E`. It is unambiguous: every string of the peer's is quoted, so a transcript shows
//! where the parser drew the lines.

use std::fmt::Write as _;

use hermetic::engine::types::{
    BodyKind, ByMode, DeliverBy, Event, ForwardPath, GreetingVerb, Hello, Hold, HostName, MailParameters, Mailbox,
    MessageFacts, Notify, Occasion, Question, Recipient, ReturnContent, SaslStep, Submitter,
};

/// One line for each question; one for each recipient of a batch.
#[must_use]
pub fn question(question: &Question) -> Vec<String> {
    vec![match question {
        Question::Connection => "connection".into(),
        Question::Data => "data".into(),
        Question::Hello(said) => hello(said),
        Question::Verify(argument) => format!("verify {argument:?}"),
        Question::Message(facts) => message(facts),
        Question::Sasl(SaslStep::Start((mechanism, None))) => format!("sasl {mechanism}"),
        Question::Sasl(SaslStep::Start((mechanism, Some(initial)))) => {
            format!("sasl {mechanism} \"{}\"", initial.escape_ascii())
        }
        Question::Sasl(SaslStep::Response(octets)) => format!("sasl \"{}\"", octets.escape_ascii()),
        Question::Xclient(attributes) => {
            attributes.iter().fold("xclient".into(), |line, attribute| match &attribute.value {
                Some(value) => format!("{line} {}={value:?}", attribute.name),
                None => format!("{line} {}=-", attribute.name),
            })
        }
        Question::Sender(sender) => {
            let path = sender.mailbox.as_ref().map_or_else(|| "<>".into(), mailbox);
            format!("sender {path}{}", parameters(&sender.parameters))
        }
        Question::Recipients(batch) => return batch.iter().map(recipient).collect(),
    }]
}

/// `occasion detail`.
#[must_use]
pub fn event(event: &Event) -> String {
    let occasion = match event.occasion {
        Occasion::Command => "command",
        Occasion::Reply => "reply",
        Occasion::SyntaxError => "syntax-error",
        Occasion::SequenceError => "sequence-error",
        Occasion::Refused => "refused",
        Occasion::ContentRefused => "content-refused",
        Occasion::PlaintextDiscarded => "plaintext-discarded",
        Occasion::AuthCancelled => "auth-cancelled",
        Occasion::TooManyErrors => "too-many-errors",
        Occasion::TimedOut => "timed-out",
        Occasion::Closed => "closed",
    };
    let secret = if event.secret { " SECRET" } else { "" };
    format!("{occasion}{secret} {}", event.detail).trim_end().to_owned()
}

fn hello(hello: &Hello) -> String {
    let verb = match hello.verb {
        GreetingVerb::Helo => "HELO",
        GreetingVerb::Ehlo => "EHLO",
        GreetingVerb::Lhlo => "LHLO",
    };
    match &hello.host {
        Some(name) => format!("hello {verb} {} {:?}", host(name), hello.raw),
        None => format!("hello {verb} - {:?}", hello.raw),
    }
}

fn host(host: &HostName) -> String {
    match host {
        HostName::Domain(domain) => format!("{domain:?}"),
        HostName::Literal(literal) => format!("[{literal:?}]"),
    }
}

fn mailbox(mailbox: &Mailbox) -> String {
    format!("{:?}@{}", mailbox.local, host(&mailbox.host))
}

fn parameters(given: &MailParameters) -> String {
    let mut line = String::new();
    if let Some(size) = given.size {
        let _ = write!(line, " SIZE={size}");
    }
    line += match given.body {
        BodyKind::SevenBit => "",
        BodyKind::EightBitMime => " BODY=8BITMIME",
        BodyKind::BinaryMime => " BODY=BINARYMIME",
    };
    for (set, name) in [(given.smtputf8, " SMTPUTF8"), (given.require_tls, " REQUIRETLS"), (given.prdr, " PRDR")] {
        line += if set { name } else { "" };
    }
    line += match given.ret {
        None => "",
        Some(ReturnContent::Full) => " RET=FULL",
        Some(ReturnContent::Headers) => " RET=HDRS",
    };
    if let Some(envid) = &given.envid {
        let _ = write!(line, " ENVID={envid:?}");
    }
    match &given.auth {
        None => {}
        Some(Submitter::Unknown) => line += " AUTH=<>",
        Some(Submitter::Mailbox(mailbox)) => {
            let _ = write!(line, " AUTH={mailbox:?}");
        }
    }
    match given.hold {
        None => {}
        Some(Hold::For(seconds)) => {
            let _ = write!(line, " HOLDFOR={seconds}");
        }
        Some(Hold::Until(time)) => {
            let _ = write!(line, " HOLDUNTIL={time}");
        }
    }
    if let Some(DeliverBy { seconds, mode, trace }) = given.deliver_by {
        let mode = if mode == ByMode::Return { "R" } else { "N" };
        let _ = write!(line, " BY={seconds};{mode}{}", if trace { "T" } else { "" });
    }
    if let Some(priority) = given.priority {
        let _ = write!(line, " MT-PRIORITY={priority}");
    }
    line
}

fn recipient(recipient: &Recipient) -> String {
    let mut line = match &recipient.path {
        ForwardPath::Postmaster => "recipient postmaster".into(),
        ForwardPath::Mailbox(path) => format!("recipient {}", mailbox(path)),
    };
    if let Some(notify) = recipient.notify {
        let flags = [(Notify::SUCCESS, "SUCCESS"), (Notify::FAILURE, "FAILURE"), (Notify::DELAY, "DELAY")];
        let names: Vec<&str> = flags.iter().filter(|(flag, _)| notify.contains(*flag)).map(|(_, name)| *name).collect();
        let _ = write!(line, " NOTIFY={}", if names.is_empty() { "NEVER".into() } else { names.join(",") });
    }
    if let Some(original) = &recipient.orcpt {
        let _ = write!(line, " ORCPT={};{:?}", original.address_type, original.address);
    }
    line
}

fn message(facts: &MessageFacts) -> String {
    let mut line =
        format!("message size={} recipients={} longest-line={}", facts.size, facts.recipients, facts.longest_line);
    for (set, name) in [(facts.eight_bit, " eight-bit"), (facts.bare_line_ends, " bare-line-ends")] {
        line += if set { name } else { "" };
    }
    line
}
