//! Values of `wit/engine` to values of the core and back, one to one: nothing is judged and nothing is lost.
//!
//! The tests plug the core natively into the host's own bindings through this same file; so it takes the generated
//! types from `super::wit`, whichever generator made them.

use super::wit::{server, types};
use hermetic_core::{address, command, limits, question, server as core, step};

/// What a session is told at its start.
pub(crate) fn options(options: server::Options) -> core::Options {
    core::Options {
        protocol: match options.protocol {
            server::Protocol::Smtp => core::Protocol::Smtp,
            server::Protocol::Lmtp => core::Protocol::Lmtp,
        },
        server_name: options.server_name,
        limits: bounds(&options.limits),
        implicit_tls: options.implicit_tls,
        start_tls: options.start_tls,
        require_tls: options.require_tls,
        plaintext_mechanisms: options.plaintext_mechanisms,
        tls_mechanisms: options.tls_mechanisms,
        require_auth: options.require_auth,
        xclient: options.xclient,
        strict_hello: options.strict_hello,
        deliver_by: options.deliver_by,
        priority: options.priority,
        trace: options.trace,
        unasked: unasked(options.unasked),
    }
}

fn unasked(set: types::Questions) -> Vec<question::Kind> {
    [
        (types::Questions::CONNECTION, question::Kind::Connection),
        (types::Questions::HELLO, question::Kind::Hello),
        (types::Questions::XCLIENT, question::Kind::Xclient),
        (types::Questions::SENDER, question::Kind::Sender),
        (types::Questions::RECIPIENTS, question::Kind::Recipients),
        (types::Questions::VERIFY, question::Kind::Verify),
        (types::Questions::DATA, question::Kind::Data),
        (types::Questions::MESSAGE, question::Kind::Message),
    ]
    .into_iter()
    .filter_map(|(flag, kind)| (set & flag == flag).then_some(kind))
    .collect()
}

fn bounds(limits: &server::Limits) -> limits::Limits {
    limits::Limits {
        message_size: limits.message_size,
        recipients: limits.recipients,
        recipient_batch: limits.recipient_batch,
        command_line: limits.command_line,
        auth_line: limits.auth_line,
        text_line: limits.text_line,
        errors: limits.errors,
        idle_commands: limits.idle_commands,
        messages: limits.messages,
        auth_failures: limits.auth_failures,
        command_timeout: limits.command_timeout,
        data_timeout: limits.data_timeout,
        handshake_timeout: limits.handshake_timeout,
        data_allowance: limits.data_allowance,
        data_rate: limits.data_rate,
        session: limits.session,
        hold_for: limits.hold_for,
        hold_until: limits.hold_until,
        deliver_by: limits.deliver_by,
    }
}

/// An answer to the open question.
pub(crate) fn answer(answer: types::Answer) -> question::Answer {
    match answer {
        types::Answer::Connection(given) => question::Answer::Connection(decision(given)),
        types::Answer::Hello(given) => question::Answer::Hello(decision(given)),
        types::Answer::Xclient(given) => question::Answer::Xclient(decision(given)),
        types::Answer::Sasl(given) => question::Answer::Sasl(match given {
            types::SaslAnswer::Challenge(octets) => question::SaslAnswer::Challenge(octets),
            types::SaslAnswer::Authenticated(login) => question::SaslAnswer::Authenticated(login),
            types::SaslAnswer::Refused(why) => question::SaslAnswer::Refused(refusal(why)),
        }),
        types::Answer::Sender(given) => question::Answer::Sender(decision(given)),
        types::Answer::SenderWithPriority(priority) => question::Answer::SenderWithPriority(priority),
        types::Answer::Recipients(given) => question::Answer::Recipients(decisions(given)),
        types::Answer::Verify(given) => question::Answer::Verify(match given {
            types::VerifyAnswer::Unsure => question::VerifyAnswer::Unsure,
            types::VerifyAnswer::Known(mailbox) => question::VerifyAnswer::Known(mailbox),
            types::VerifyAnswer::Refused(why) => question::VerifyAnswer::Refused(refusal(why)),
        }),
        types::Answer::Data(given) => question::Answer::Data(decision(given)),
        types::Answer::Message(given) => question::Answer::Message(decisions(given)),
    }
}

fn decision(given: types::Decision) -> question::Decision {
    given.map_err(refusal)
}

fn decisions(given: Vec<types::Decision>) -> Vec<question::Decision> {
    given.into_iter().map(decision).collect()
}

/// A refusal, or a farewell.
pub(crate) fn refusal(given: types::Refusal) -> question::Refusal {
    question::Refusal { code: given.code, subject: given.subject, detail: given.detail, text: given.text }
}

/// What a call brought about.
pub(crate) fn step(step: step::Step) -> types::Step {
    types::Step {
        consumed: step.consumed,
        transmit: step.transmit,
        body: step.body.into_iter().map(piece).collect(),
        abandoned: step.abandoned,
        events: step.events.into_iter().map(event).collect(),
        need: need(step.need),
        wake: step.wake,
    }
}

/// Content.
pub(crate) fn piece(piece: step::Piece) -> types::Piece {
    match piece {
        step::Piece::Range { offset, length } => types::Piece::Range((offset, length)),
        step::Piece::Octets(octets) => types::Piece::Octets(octets),
    }
}

/// A line for the log.
pub(crate) fn event(event: step::Event) -> types::Event {
    types::Event {
        occasion: match event.occasion {
            step::Occasion::Command => types::Occasion::Command,
            step::Occasion::Reply => types::Occasion::Reply,
            step::Occasion::SyntaxError => types::Occasion::SyntaxError,
            step::Occasion::SequenceError => types::Occasion::SequenceError,
            step::Occasion::Refused => types::Occasion::Refused,
            step::Occasion::ContentRefused => types::Occasion::ContentRefused,
            step::Occasion::PlaintextDiscarded => types::Occasion::PlaintextDiscarded,
            step::Occasion::AuthCancelled => types::Occasion::AuthCancelled,
            step::Occasion::TooManyErrors => types::Occasion::TooManyErrors,
            step::Occasion::TimedOut => types::Occasion::TimedOut,
            step::Occasion::Closed => types::Occasion::Closed,
        },
        detail: event.detail,
        secret: event.secret,
    }
}

fn need(need: step::Need) -> types::Need {
    match need {
        step::Need::Input => types::Need::Input,
        step::Need::Answer(asked) => types::Need::Answer(ask(asked)),
        step::Need::StartTls => types::Need::StartTls,
        step::Need::Close => types::Need::Close,
    }
}

fn ask(asked: question::Question) -> types::Question {
    match asked {
        question::Question::Connection => types::Question::Connection,
        question::Question::Hello(hello) => types::Question::Hello(types::Hello {
            verb: match hello.verb {
                command::HelloVerb::Helo => types::GreetingVerb::Helo,
                command::HelloVerb::Ehlo => types::GreetingVerb::Ehlo,
                command::HelloVerb::Lhlo => types::GreetingVerb::Lhlo,
            },
            host: hello.host.map(host),
            raw: hello.raw,
        }),
        question::Question::Xclient(attributes) => types::Question::Xclient(
            attributes.into_iter().map(|a| types::XclientAttribute { name: a.name, value: a.value }).collect(),
        ),
        question::Question::Sasl(said) => types::Question::Sasl(match said {
            question::SaslStep::Start { mechanism, initial } => types::SaslStep::Start((mechanism, initial)),
            question::SaslStep::Response(octets) => types::SaslStep::Response(octets),
        }),
        question::Question::Sender(asked) => types::Question::Sender(sender(asked)),
        question::Question::Recipients(batch) => {
            types::Question::Recipients(batch.into_iter().map(recipient).collect())
        }
        question::Question::Verify(argument) => types::Question::Verify(argument),
        question::Question::Data => types::Question::Data,
        question::Question::Message(facts) => types::Question::Message(types::MessageFacts {
            size: facts.size,
            eight_bit: facts.eight_bit,
            bare_line_ends: facts.bare_line_ends,
            longest_line: facts.longest_line,
            recipients: facts.recipients,
        }),
    }
}

fn host(host: address::HostName) -> types::HostName {
    match host {
        address::HostName::Domain(domain) => types::HostName::Domain(domain),
        address::HostName::Literal(literal) => types::HostName::Literal(literal),
    }
}

fn mailbox(mailbox: address::Mailbox) -> types::Mailbox {
    types::Mailbox { local: mailbox.local, host: host(mailbox.host) }
}

/// MAIL.
pub(crate) fn sender(sender: command::Sender) -> types::Sender {
    types::Sender { mailbox: sender.mailbox.map(mailbox), parameters: parameters(sender.parameters) }
}

fn parameters(given: command::MailParameters) -> types::MailParameters {
    types::MailParameters {
        size: given.size,
        body: match given.body {
            command::BodyKind::SevenBit => types::BodyKind::SevenBit,
            command::BodyKind::EightBitMime => types::BodyKind::EightBitMime,
            command::BodyKind::BinaryMime => types::BodyKind::BinaryMime,
        },
        smtputf8: given.smtputf8,
        require_tls: given.require_tls,
        prdr: given.prdr,
        ret: given.ret.map(|ret| match ret {
            command::ReturnContent::Full => types::ReturnContent::Full,
            command::ReturnContent::Headers => types::ReturnContent::Headers,
        }),
        envid: given.envid,
        auth: given.auth.map(|submitter| match submitter {
            command::Submitter::Unknown => types::Submitter::Unknown,
            command::Submitter::Mailbox(mailbox) => types::Submitter::Mailbox(mailbox),
        }),
        hold: given.hold.map(|hold| match hold {
            command::Hold::For(seconds) => types::Hold::For(seconds),
            command::Hold::Until(time) => types::Hold::Until(time),
        }),
        deliver_by: given.deliver_by.map(|by| types::DeliverBy {
            seconds: by.seconds,
            mode: match by.mode {
                command::ByMode::Return => types::ByMode::Return,
                command::ByMode::Notify => types::ByMode::Notify,
            },
            trace: by.trace,
        }),
        priority: given.priority,
    }
}

/// RCPT.
pub(crate) fn recipient(recipient: command::Recipient) -> types::Recipient {
    types::Recipient {
        path: match recipient.path {
            address::ForwardPath::Postmaster => types::ForwardPath::Postmaster,
            address::ForwardPath::Mailbox(path) => types::ForwardPath::Mailbox(mailbox(path)),
        },
        notify: recipient.notify.map(|notify| {
            let flag = |set, flag| if set { flag } else { types::Notify::empty() };
            flag(notify.success, types::Notify::SUCCESS)
                | flag(notify.failure, types::Notify::FAILURE)
                | flag(notify.delay, types::Notify::DELAY)
        }),
        orcpt: recipient.orcpt.map(|original| types::OriginalRecipient {
            address_type: original.address_type,
            address: original.address,
        }),
    }
}

/// The embedder's mistake.
pub(crate) fn misuse(misuse: step::Misuse) -> types::Misuse {
    match misuse {
        step::Misuse::NoQuestionOpen => types::Misuse::NoQuestionOpen,
        step::Misuse::QuestionOpen => types::Misuse::QuestionOpen,
        step::Misuse::WrongAnswer(asked) => types::Misuse::WrongAnswer(asked),
        step::Misuse::BadAnswer(why) => types::Misuse::BadAnswer(why),
        step::Misuse::Closed => types::Misuse::Closed,
        step::Misuse::NotStarted => types::Misuse::NotStarted,
        step::Misuse::BadState(why) => types::Misuse::BadState(why),
        step::Misuse::BadValue(why) => types::Misuse::BadValue(why),
        step::Misuse::BadImage(why) => types::Misuse::BadImage(why),
    }
}
