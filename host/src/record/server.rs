//! The values of `wit/engine/types.wit` and `server.wit`, by their fields and cases.

use super::value::{flags, record, variant};
use crate::engine::types::{
    Answer, BodyKind, ByMode, DeliverBy, Event, ForwardPath, GreetingVerb, Hello, Hold, HostName, Limits,
    MailParameters, Mailbox, MessageFacts, Misuse, Need, Notify, Occasion, Options, OriginalRecipient, Piece, Protocol,
    Question, Questions, Recipient, Refusal, ReturnContent, SaslAnswer, SaslStep, Sender, Step, Submitter,
    VerifyAnswer, XclientAttribute,
};

variant!(HostName { ; Domain, Literal });
record!(Mailbox { local, host });
variant!(GreetingVerb { Helo, Ehlo, Lhlo ; });
record!(Hello { verb, host, raw });
variant!(BodyKind { SevenBit, EightBitMime, BinaryMime ; });
variant!(ReturnContent { Full, Headers ; });
variant!(Submitter { Unknown ; Mailbox });
variant!(Hold { ; For, Until });
variant!(ByMode { Return, Notify ; });
record!(DeliverBy { seconds, mode, trace });
record!(MailParameters { size, body, smtputf8, require_tls, prdr, ret, envid, auth, hold, deliver_by, priority });
record!(Sender { mailbox, parameters });
variant!(ForwardPath { Postmaster ; Mailbox });
record!(OriginalRecipient { address_type, address });
record!(Recipient { path, notify, orcpt });
variant!(SaslStep { ; Start, Response });
record!(XclientAttribute { name, value });
record!(MessageFacts { size, eight_bit, bare_line_ends, longest_line, recipients });
variant!(Question { Connection, Data ; Hello, Xclient, Sasl, Sender, Recipients, Verify, Message });
record!(Refusal { code, subject, detail, text });
variant!(SaslAnswer { ; Challenge, Authenticated, Refused });
variant!(VerifyAnswer { Unsure ; Known, Refused });
variant!(Answer {
    ;
    Connection,
    Hello,
    Xclient,
    Sasl,
    Sender,
    SenderWithPriority,
    Recipients,
    Verify,
    Data,
    Message
});
variant!(Need { Input, StartTls, Close ; Answer });
variant!(Piece { ; Range, Octets });
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
    ;
});
record!(Event { occasion, detail, secret });
record!(Step { consumed, transmit, body, abandoned, events, need, wake });
variant!(Misuse { NoQuestionOpen, QuestionOpen, Closed, NotStarted ; WrongAnswer, BadAnswer, BadState, BadValue, BadImage });

variant!(Protocol { Smtp, Lmtp ; });
record!(Limits {
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
});
record!(Options {
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
});
flags!(Notify { "success" = SUCCESS, "failure" = FAILURE, "delay" = DELAY });
flags!(Questions {
    "connection" = CONNECTION,
    "hello" = HELLO,
    "xclient" = XCLIENT,
    "sender" = SENDER,
    "recipients" = RECIPIENTS,
    "verify" = VERIFY,
    "data" = DATA,
    "message" = MESSAGE,
});
