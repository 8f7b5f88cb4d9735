//! The same as [`convert`] for the sending side: values of `wit/engine` to values of the core and back, one to one.

use super::convert;
use super::wit::{client, types};
use hermetic_core::{address, client as core, command};

/// What a session is told at its start.
pub(crate) fn options(options: client::Options) -> core::Options {
    core::Options {
        protocol: match options.protocol {
            client::Protocol::Smtp => core::Protocol::Smtp,
            client::Protocol::Lmtp => core::Protocol::Lmtp,
        },
        hello_name: options.hello_name,
        limits: bounds(&options.limits),
        tls: match options.tls {
            client::TlsUse::Never => core::TlsUse::Never,
            client::TlsUse::Opportunistic => core::TlsUse::Opportunistic,
            client::TlsUse::Required => core::TlsUse::Required,
        },
        implicit_tls: options.implicit_tls,
        plaintext_auth: options.plaintext_auth,
        ignore: options.ignore,
        pipelining: options.pipelining,
        chunking: options.chunking,
        prdr: options.prdr,
        trace: options.trace,
    }
}

fn bounds(limits: &client::Limits) -> core::Limits {
    core::Limits {
        reply_line: limits.reply_line,
        reply_lines: limits.reply_lines,
        reply_size: limits.reply_size,
        auth_line: limits.auth_line,
        reply_text: limits.reply_text,
        received: limits.received,
        recipients: limits.recipients,
        pipeline: limits.pipeline,
        messages: limits.messages,
        challenges: limits.challenges,
        greeting_timeout: limits.greeting_timeout,
        command_timeout: limits.command_timeout,
        handshake_timeout: limits.handshake_timeout,
        mail_timeout: limits.mail_timeout,
        rcpt_timeout: limits.rcpt_timeout,
        data_timeout: limits.data_timeout,
        block_timeout: limits.block_timeout,
        message_timeout: limits.message_timeout,
        quit_timeout: limits.quit_timeout,
        idle_timeout: limits.idle_timeout,
    }
}

/// A message for some recipients.
pub(crate) fn transaction(given: client::Transaction) -> core::Transaction {
    core::Transaction {
        sender: given.sender.map(mailbox),
        recipients: given.recipients.into_iter().map(recipient).collect(),
        content: core::ContentFacts {
            size: given.content.size,
            eight_bit: given.content.eight_bit,
            bare_line_ends: given.content.bare_line_ends,
            longest_line: given.content.longest_line,
            utf8_header: given.content.utf8_header,
        },
        require_tls: given.require_tls,
        ret: given.ret.map(|ret| match ret {
            types::ReturnContent::Full => command::ReturnContent::Full,
            types::ReturnContent::Headers => command::ReturnContent::Headers,
        }),
        envid: given.envid,
        auth: given.auth.map(|submitter| match submitter {
            types::Submitter::Unknown => command::Submitter::Unknown,
            types::Submitter::Mailbox(mailbox) => command::Submitter::Mailbox(mailbox),
        }),
        deliver_by: given.deliver_by.map(|by| core::DeliverBy {
            seconds: by.seconds,
            mode: match by.mode {
                types::ByMode::Return => core::ByMode::Return,
                types::ByMode::Notify => core::ByMode::Notify,
            },
            trace: by.trace,
        }),
        priority: given.priority,
    }
}

pub(crate) fn mailbox(mailbox: types::Mailbox) -> address::Mailbox {
    address::Mailbox { local: mailbox.local, host: host(mailbox.host) }
}

pub(crate) fn host(host: types::HostName) -> address::HostName {
    match host {
        types::HostName::Domain(domain) => address::HostName::Domain(domain),
        types::HostName::Literal(literal) => address::HostName::Literal(literal),
    }
}

fn recipient(recipient: types::Recipient) -> command::Recipient {
    command::Recipient {
        path: match recipient.path {
            types::ForwardPath::Postmaster => address::ForwardPath::Postmaster,
            types::ForwardPath::Mailbox(path) => address::ForwardPath::Mailbox(mailbox(path)),
        },
        notify: recipient.notify.map(|notify| command::Notify {
            success: has(notify, types::Notify::SUCCESS),
            failure: has(notify, types::Notify::FAILURE),
            delay: has(notify, types::Notify::DELAY),
        }),
        orcpt: recipient.orcpt.map(|original| command::OriginalRecipient {
            address_type: original.address_type,
            address: original.address,
        }),
    }
}

/// Without the methods that only one of the two generators makes.
fn has(notify: types::Notify, flag: types::Notify) -> bool {
    (notify & flag) == flag
}

/// What a call brought about.
pub(crate) fn step(step: core::Step) -> client::Step {
    client::Step {
        consumed: step.consumed,
        transmit: step.transmit,
        content: step.content.into_iter().map(convert::piece).collect(),
        outcomes: step.outcomes.into_iter().map(outcome).collect(),
        login: step.login.map(|login| client::Login { accepted: login.accepted, reply: reply(login.reply) }),
        failure: step.failure.map(failure),
        events: step.events.into_iter().map(convert::event).collect(),
        need: match step.need {
            core::Need::Input => client::Need::Input,
            core::Need::StartTls => client::Need::StartTls,
            core::Need::Ready(known) => client::Need::Ready(peer(known)),
            core::Need::Response(challenge) => client::Need::Response(challenge),
            core::Need::Content => client::Need::Content,
            core::Need::Close => client::Need::Close,
        },
        wake: step.wake,
    }
}

fn peer(peer: core::Peer) -> client::Peer {
    client::Peer {
        name: peer.name,
        tls: peer.tls,
        authenticated: peer.authenticated,
        extensions: peer
            .extensions
            .into_iter()
            .map(|extension| client::Extension { keyword: extension.keyword, parameters: extension.parameters })
            .collect(),
        mechanisms: peer.mechanisms,
        size: peer.size,
        messages_left: peer.messages_left,
        recipients_max: peer.recipients_max,
        domains_max: peer.domains_max,
    }
}

fn status(status: core::Status) -> client::Status {
    client::Status { class: status.class, subject: status.subject, detail: status.detail }
}

fn reply(reply: core::Reply) -> client::Reply {
    client::Reply { code: reply.code, status: reply.status.map(status), text: reply.text }
}

fn outcome(outcome: core::Outcome) -> client::Outcome {
    client::Outcome {
        recipient: outcome.recipient,
        fate: match outcome.fate {
            core::Fate::Accepted => client::Fate::Accepted,
            core::Fate::Temporary => client::Fate::Temporary,
            core::Fate::Permanent => client::Fate::Permanent,
            core::Fate::Unknown => client::Fate::Unknown,
            core::Fate::Unsent => client::Fate::Unsent,
        },
        cause: match outcome.cause {
            core::Cause::Reply => client::Cause::Reply,
            core::Cause::TooLarge => client::Cause::TooLarge,
            core::Cause::EightBit => client::Cause::EightBit,
            core::Cause::NotLines => client::Cause::NotLines,
            core::Cause::Utf8Address => client::Cause::Utf8Address,
            core::Cause::Utf8Header => client::Cause::Utf8Header,
            core::Cause::RequireTls => client::Cause::RequireTls,
            core::Cause::DeliverBy => client::Cause::DeliverBy,
            core::Cause::Limit => client::Cause::Limit,
            core::Cause::BadReply => client::Cause::BadReply,
            core::Cause::TimedOut => client::Cause::TimedOut,
            core::Cause::Lost => client::Cause::Lost,
            core::Cause::Abandoned => client::Cause::Abandoned,
        },
        stage: stage(outcome.stage),
        status: status(outcome.status),
        reply: outcome.reply.map(reply),
        dsn: outcome.dsn,
        deliver_by: outcome.deliver_by,
    }
}

fn failure(failure: core::Failure) -> client::Failure {
    client::Failure {
        fault: match failure.fault {
            core::Fault::Refused => client::Fault::Refused,
            core::Fault::NoTls => client::Fault::NoTls,
            core::Fault::TlsRefused => client::Fault::TlsRefused,
            core::Fault::Plaintext => client::Fault::Plaintext,
            core::Fault::Leaving => client::Fault::Leaving,
            core::Fault::BadReply => client::Fault::BadReply,
            core::Fault::TooMuch => client::Fault::TooMuch,
            core::Fault::TimedOut => client::Fault::TimedOut,
            core::Fault::Lost => client::Fault::Lost,
        },
        stage: stage(failure.stage),
        reply: failure.reply.map(reply),
        detail: failure.detail,
    }
}

fn stage(stage: core::Stage) -> client::Stage {
    match stage {
        core::Stage::Greeting => client::Stage::Greeting,
        core::Stage::Hello => client::Stage::Hello,
        core::Stage::StartTls => client::Stage::StartTls,
        core::Stage::Handshake => client::Stage::Handshake,
        core::Stage::Auth => client::Stage::Auth,
        core::Stage::Idle => client::Stage::Idle,
        core::Stage::Reset => client::Stage::Reset,
        core::Stage::Mail => client::Stage::Mail,
        core::Stage::Rcpt => client::Stage::Rcpt,
        core::Stage::Data => client::Stage::Data,
        core::Stage::Content => client::Stage::Content,
        core::Stage::Message => client::Stage::Message,
        core::Stage::Quit => client::Stage::Quit,
    }
}
