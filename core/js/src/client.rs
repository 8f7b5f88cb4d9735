//! What crosses to and from the sending side: `wit/engine/client.wit`.

use hermetic_core::client::{
    Cause, ContentFacts, Extension, Failure, Fate, Fault, Limits, Login, Need, Options, Outcome, Peer, Reply, Stage,
    Status, Step, TlsUse, Transaction,
};

use crate::shape::{record, variant};

variant!(TlsUse { Never, Opportunistic, Required });
record!(
    Limits,
    or_default {
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
    }
);
record!(
    Options,
    or_default {
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
    }
);
record!(Status { class, subject, detail });
record!(Reply { code, status, text });
variant!(Stage { Greeting, Hello, StartTls, Handshake, Auth, Idle, Reset, Mail, Rcpt, Data, Content, Message, Quit });
record!(Extension { keyword, parameters });
record!(Peer { name, tls, authenticated, extensions, mechanisms, size, messages_left, recipients_max, domains_max });
record!(ContentFacts { size, eight_bit, bare_line_ends, longest_line, utf8_header });
record!(Transaction, or_default { sender, recipients, content, require_tls, ret, envid, auth, deliver_by, priority });
variant!(Fate { Accepted, Temporary, Permanent, Unknown, Unsent });
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
});
record!(Outcome { recipient, fate, cause, stage, status, reply, dsn, deliver_by });
record!(Login { accepted, reply });
variant!(Fault { Refused, NoTls, TlsRefused, Plaintext, Leaving, BadReply, TooMuch, TimedOut, Lost });
record!(Failure { fault, stage, reply, detail });
variant!(Need { Input, StartTls, Content, Close; Ready, Response });
record!(Step { consumed, transmit, content, outcomes, login, failure, events, need, wake });
