//! The values of `wit/engine/client.wit`, by their fields and cases.

use super::value::{record, variant};
use crate::engine::client::{
    Cause, ContentFacts, Extension, Failure, Fate, Fault, Limits, Login, Need, Options, Outcome, Peer, Reply, Stage,
    Status, Step, TlsUse, Transaction,
};

record!(Limits {
    reply_line,
    reply_lines,
    reply_size,
    auth_line,
    reply_text,
    received,
    recipients,
    pipeline,
    messages,
    challenges,
    greeting_timeout,
    command_timeout,
    handshake_timeout,
    mail_timeout,
    rcpt_timeout,
    data_timeout,
    block_timeout,
    message_timeout,
    quit_timeout,
    idle_timeout
});
variant!(TlsUse { Never, Opportunistic, Required ; });
record!(Options {
    protocol,
    hello_name,
    limits,
    tls,
    implicit_tls,
    plaintext_auth,
    ignore,
    pipelining,
    chunking,
    prdr,
    trace
});
record!(Status { class, subject, detail });
record!(Reply { code, status, text });
variant!(Stage {
    Greeting,
    Hello,
    StartTls,
    Handshake,
    Auth,
    Idle,
    Reset,
    Mail,
    Rcpt,
    Data,
    Content,
    Message,
    Quit
    ;
});
record!(Extension { keyword, parameters });
record!(Peer { name, tls, authenticated, extensions, mechanisms, size, messages_left, recipients_max, domains_max });
record!(ContentFacts { size, eight_bit, bare_line_ends, longest_line, utf8_header });
record!(Transaction { sender, recipients, content, require_tls, ret, envid, auth, deliver_by, priority });
variant!(Fate { Accepted, Temporary, Permanent, Unknown, Unsent ; });
variant!(Cause {
    Reply,
    TooLarge,
    EightBit,
    NotLines,
    Utf8Address,
    Utf8Header,
    RequireTls,
    DeliverBy,
    Limit,
    BadReply,
    TimedOut,
    Lost,
    Abandoned
    ;
});
record!(Outcome { recipient, fate, cause, stage, status, reply, dsn, deliver_by });
record!(Login { accepted, reply });
variant!(Fault { Refused, NoTls, TlsRefused, Plaintext, Leaving, BadReply, TooMuch, TimedOut, Lost ; });
record!(Failure { fault, stage, reply, detail });
variant!(Need { Input, StartTls, Content, Close ; Ready, Response });
record!(Step { consumed, transmit, content, outcomes, login, failure, events, need, wake });
