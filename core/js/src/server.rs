//! What crosses to and from the receiving side, and what both sides share: `wit/engine/types.wit` and `server.wit`.

use alloc::string::String;

use hermetic_core::address::{ForwardPath, HostName, Mailbox};
use hermetic_core::command::{
    BodyKind, ByMode, DeliverBy, Hello, HelloVerb, Hold, MailParameters, Notify, OriginalRecipient, Recipient,
    ReturnContent, Sender, Submitter, XclientAttribute,
};
use hermetic_core::limits::Limits;
use hermetic_core::question::{Answer, Kind, MessageFacts, Question, Refusal, SaslAnswer, SaslStep, VerifyAnswer};
use hermetic_core::server::{Options, Protocol};
use hermetic_core::step::{Event, Misuse, Need, Occasion, Piece, Step};

use crate::misfit::Misfit;
use crate::shape::{Shape, case, inside, no_case, record, unlike, variant, with};
use crate::value::Value;

variant!(HostName { ; Domain, Literal });
record!(Mailbox { local, host });
variant!(ForwardPath { Postmaster; Mailbox });
variant!(HelloVerb { Helo, Ehlo, Lhlo });
record!(Hello { verb, host, raw });
variant!(BodyKind { SevenBit, EightBitMime, BinaryMime });
variant!(ReturnContent { Full, Headers });
variant!(Submitter { Unknown; Mailbox });
variant!(Hold { ; For, Until });
variant!(ByMode { Return, Notify });
record!(DeliverBy { seconds, mode, trace });
record!(MailParameters { size, body, smtputf8, require_tls, prdr, ret, envid, auth, hold, deliver_by, priority });
record!(Sender { mailbox, parameters });
record!(OriginalRecipient { address_type, address });
record!(Recipient { path, notify, orcpt });
record!(XclientAttribute { name, value });
record!(MessageFacts { size, eight_bit, bare_line_ends, longest_line, recipients });
variant!(Question { Connection, Data; Hello, Xclient, Sasl, Sender, Recipients, Verify, Message });
variant!(Kind { Connection, Hello, Xclient, Sender, Recipients, Verify, Data, Message });
record!(Refusal { code, subject, detail, text });
variant!(SaslAnswer { ; Challenge, Authenticated, Refused });
variant!(VerifyAnswer { Unsure; Known, Refused });
variant!(Answer {
    ; Connection, Hello, Xclient, Sasl, Sender, SenderWithPriority, Recipients, Verify, Data, Message
});
variant!(Need { Input, StartTls, Close; Answer });
variant!(Occasion {
    Command,
    Reply,
    SyntaxError,
    SequenceError,
    Refused,
    ContentRefused,
    PlaintextDiscarded,
    AuthCancelled,
    TooManyErrors,
    TimedOut,
    Closed
});
record!(Event { occasion, detail, secret });
record!(Step { consumed, transmit, body, abandoned, events, need, wake });
variant!(Misuse {
    NoQuestionOpen, QuestionOpen, Closed, NotStarted; WrongAnswer, BadAnswer, BadState, BadValue, BadImage
});
variant!(Protocol { Smtp, Lmtp });
record!(
    Limits,
    or_default {
        message_size,
        recipients,
        recipient_batch,
        command_line,
        auth_line,
        text_line,
        errors,
        idle_commands,
        messages,
        auth_failures,
        command_timeout,
        data_timeout,
        handshake_timeout,
        data_allowance,
        data_rate,
        session,
        hold_for,
        hold_until,
        deliver_by
    }
);
record!(
    Options,
    or_default {
        protocol,
        server_name,
        limits,
        implicit_tls,
        start_tls,
        require_tls,
        plaintext_mechanisms,
        tls_mechanisms,
        require_auth,
        xclient,
        strict_hello,
        deliver_by,
        priority,
        trace,
        unasked
    }
);

/// `flags`.
impl Shape for Notify {
    fn write(self) -> Value {
        let flags = [(self.success, "success"), (self.failure, "failure"), (self.delay, "delay")];
        Value::List(flags.iter().filter(|flag| flag.0).map(|flag| Value::Text(flag.1.into())).collect())
    }
    fn read(value: Value) -> Result<Self, Misfit> {
        let Value::List(names) = value else { return Err(unlike(&value, "a list of names")) };
        let mut notify = Self::default();
        for flag in names {
            match String::read(flag)?.as_str() {
                "success" => notify.success = true,
                "failure" => notify.failure = true,
                "delay" => notify.delay = true,
                other => return Err(no_case(other, &["success", "failure", "delay"], &[])),
            }
        }
        Ok(notify)
    }
}

/// WIT has a tuple here.
impl Shape for SaslStep {
    fn write(self) -> Value {
        match self {
            Self::Start { mechanism, initial } => with("start", (mechanism, initial).write()),
            Self::Response(octets) => with("response", octets.write()),
        }
    }
    fn read(value: Value) -> Result<Self, Misfit> {
        match case(value, &[], &["start", "response"])? {
            ("start", pair) => {
                let (mechanism, initial) = Shape::read(pair).map_err(|misfit| inside(misfit, "start"))?;
                Ok(Self::Start { mechanism, initial })
            }
            (_, octets) => Shape::read(octets).map(Self::Response).map_err(|misfit| inside(misfit, "response")),
        }
    }
}

/// WIT has a tuple here.
impl Shape for Piece {
    fn write(self) -> Value {
        match self {
            Self::Range { offset, length } => with("range", (offset, length).write()),
            Self::Octets(octets) => with("octets", octets.write()),
        }
    }
    fn read(value: Value) -> Result<Self, Misfit> {
        match case(value, &[], &["range", "octets"])? {
            ("range", pair) => {
                let (offset, length) = Shape::read(pair).map_err(|misfit| inside(misfit, "range"))?;
                Ok(Self::Range { offset, length })
            }
            (_, octets) => Shape::read(octets).map(Self::Octets).map_err(|misfit| inside(misfit, "octets")),
        }
    }
}
