//! Between the queue's words and the engine's: an entry as a transaction, an outcome as an answer.
//!
//! Owns what each word means in the other's. Refuses to know which host is next and how octets get there. Can not fail: every
//! outcome is an answer, or a reason to go on.

use super::{
    content::Facts,
    courier::{Said, Sent},
    plan::Plan,
    reencode::Form,
};
use crate::{
    config::{domain, outbound},
    engine::{
        client::{
            self, ByMode, Cause, ContentFacts, DeliverBy, Fate, ForwardPath, HostName, Limits, Mailbox, Notify,
            Options, OriginalRecipient, Outcome, Protocol, Recipient, Stage, TlsUse, Transaction,
        },
        types::ReturnContent,
    },
    store::{self, Envelope, Lease, Timestamp, sqlite::now},
};

/// Recipients of one transaction. RFC 5321 section 4.5.3.1.8: every server takes 100.
const RECIPIENTS: u32 = 100;

/// What a session is told at its start.
pub(super) fn options(plan: &Plan, tls: TlsUse) -> Options {
    let usual = client::options(&plan.hello);
    Options {
        protocol: match plan.protocol {
            outbound::Protocol::Smtp => Protocol::Smtp,
            outbound::Protocol::Lmtp => Protocol::Lmtp,
        },
        limits: Limits { recipients: RECIPIENTS, ..usual.limits },
        tls,
        implicit_tls: plan.implicit_tls,
        ignore: plan.ignore.clone(),
        ..usual
    }
}

/// A message for these recipients. `sent_as`: in whose name, if not in the sender's.
pub(super) fn transaction(
    leases: &[&Lease],
    sent_as: Option<&store::Address>,
    facts: &Facts,
    protocol: outbound::Protocol,
) -> Transaction {
    let envelope = leases.first().map(|lease| &*lease.envelope);
    Transaction {
        sender: sent_as.or(envelope.and_then(|envelope| envelope.reverse_path.as_ref())).map(mailbox),
        recipients: leases.iter().map(|lease| recipient(lease)).collect(),
        content: ContentFacts {
            size: facts.size,
            eight_bit: facts.eight_bit,
            bare_line_ends: facts.bare_line_ends,
            longest_line: facts.longest_line,
            utf8_header: facts.utf8_header,
        },
        require_tls: envelope.is_some_and(|envelope| envelope.require_tls),
        ret: envelope.and_then(|envelope| envelope.ret).map(|ret| match ret {
            store::ReturnContent::Full => ReturnContent::Full,
            store::ReturnContent::Headers => ReturnContent::Headers,
        }),
        envid: envelope.and_then(|envelope| envelope.envid.clone()),
        auth: None,
        // By LMTP it is delivered now, and there is nothing to keep a time for.
        deliver_by: envelope.filter(|_| protocol == outbound::Protocol::Smtp).and_then(|e| deliver_by(e, now())),
        priority: envelope.and_then(|envelope| envelope.wishes.priority),
    }
}

/// RFC 2852 section 4: less the time that was spent here. What is to go back has a second at least: had it none it would not
/// be sent.
fn deliver_by(envelope: &Envelope, now: Timestamp) -> Option<DeliverBy> {
    let by = envelope.wishes.deliver_by?;
    let spent = i64::try_from(now.saturating_sub(envelope.begins()) / 1000).unwrap_or(i64::MAX);
    let left = i64::from(by.seconds).saturating_sub(spent).max(if by.returns { 1 } else { -999_999_999 });
    Some(DeliverBy {
        seconds: i32::try_from(left).unwrap_or(by.seconds),
        mode: if by.returns { ByMode::Return } else { ByMode::Notify },
        trace: by.trace,
    })
}

fn recipient(lease: &Lease) -> Recipient {
    let entry = &lease.recipient;
    Recipient {
        path: ForwardPath::Mailbox(mailbox(&entry.recipient)),
        notify: entry.notify.map(|notify| {
            let flag = |is: bool, flag| if is { flag } else { Notify::empty() };
            flag(notify.success, Notify::SUCCESS)
                | flag(notify.failure, Notify::FAILURE)
                | flag(notify.delay, Notify::DELAY)
        }),
        orcpt: entry.orcpt.clone().map(|(address_type, address)| OriginalRecipient { address_type, address }),
    }
}

/// A domain with U-labels goes as A-labels where that saves the need for SMTPUTF8.
fn mailbox(address: &store::Address) -> Mailbox {
    let name = &address.domain;
    let host = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => HostName::Literal(literal.to_owned()),
        None if address.local.is_ascii() && !name.is_ascii() => {
            HostName::Domain(domain::canonical(name).map_or_else(|| name.clone(), Into::into))
        }
        None => HostName::Domain(name.clone()),
    };
    Mailbox { local: address.local.clone(), host }
}

/// What an outcome means for a recipient.
pub(super) enum Verdict {
    Sent(Sent),
    /// This server offers less than the message needs: never by it, but perhaps by another of the domain.
    Unfit((u16, u16), String, Said),
    /// It was not tried.
    Again,
}

/// `host`: who said it.
pub(super) fn verdict(host: &str, outcome: &Outcome, protocol: outbound::Protocol) -> Verdict {
    let status = (outcome.status.subject, outcome.status.detail);
    let by = Said::by(host, outcome.reply.as_ref());
    let text = match &by.reply {
        Some(reply) => format!("{host} said: {reply}"),
        None => format!("{host}: {}", why(outcome.cause)),
    };
    if outcome.fate == Fate::Permanent && lacks(outcome.cause) {
        return Verdict::Unfit(status, text, by);
    }
    let said = Some(by);
    Verdict::Sent(match outcome.fate {
        Fate::Accepted => {
            let timed = outcome.deliver_by || protocol == outbound::Protocol::Lmtp;
            Sent::Taken { by: text, dsn: outcome.dsn, timed, said }
        }
        Fate::Temporary => Sent::Later { status, text, said },
        // RFC 1047: it may be there. A copy too many is better than one too few.
        Fate::Unknown => Sent::Later { status, text: format!("{text}; it may have arrived all the same"), said },
        Fate::Permanent => Sent::Never { status, text, said },
        Fate::Unsent => return Verdict::Again,
    })
}

/// It is about what the server says of itself, and no answer to this message.
fn lacks(cause: Cause) -> bool {
    match cause {
        Cause::TooLarge
        | Cause::EightBit
        | Cause::NotLines
        | Cause::Utf8Address
        | Cause::Utf8Header
        | Cause::RequireTls
        | Cause::DeliverBy => true,
        Cause::Reply | Cause::Limit | Cause::BadReply | Cause::TimedOut | Cause::Lost | Cause::Abandoned => false,
    }
}

/// The form that this server wants the content in, if it takes none of it as it is. Then nothing of it was sent.
pub(super) fn wanted(outcomes: &[Outcome], has: Option<Form>) -> Option<Form> {
    let all = |cause| !outcomes.is_empty() && outcomes.iter().all(|outcome| outcome.cause == cause);
    match has {
        Some(Form::SevenBit) => None,
        None if all(Cause::NotLines) => Some(Form::Lines),
        _ => (all(Cause::EightBit) || all(Cause::NotLines)).then_some(Form::SevenBit),
    }
}

/// The connection was gone before anything of the transaction could count.
pub(super) fn never_begun(outcome: &Outcome) -> bool {
    let early = matches!(outcome.stage, Stage::Idle | Stage::Reset | Stage::Mail | Stage::Rcpt | Stage::Data);
    let gone = matches!(outcome.cause, Cause::Lost | Cause::TimedOut)
        || outcome.reply.as_ref().is_some_and(|reply| reply.code == 421);
    early && gone
}

/// What a cause means for people, of a server whose name stands before it.
#[must_use]
pub fn why(cause: Cause) -> &'static str {
    match cause {
        Cause::Reply => "it refused",
        Cause::TooLarge => "the message is larger than it takes",
        Cause::EightBit => "the message has octets above 127, and it takes none",
        Cause::NotLines => "the message is not lines of text, and it takes nothing else",
        Cause::Utf8Address => "an address needs SMTPUTF8, and it does not offer that",
        Cause::Utf8Header => "the header needs SMTPUTF8, and it does not offer that",
        Cause::RequireTls => "the sender asks for REQUIRETLS, and it does not offer that",
        Cause::DeliverBy => "the message must arrive in time or not at all, and it promises nothing",
        Cause::Limit => "it takes no more in one go",
        Cause::BadReply => "what it said is no answer",
        Cause::TimedOut => "it took too long",
        Cause::Lost => "the connection was lost",
        Cause::Abandoned => "we ended the session",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Hold, Wishes};

    /// RFC 2852 section 4: the time that is left.
    #[test]
    fn time_is_decremented() {
        for (hold, seconds, returns, now, expected) in [
            (None, 60, true, 10_999, 60),
            (None, 60, true, 12_000, 58),
            (None, 60, true, 80_000, 1),
            (None, 60, false, 80_000, -10),
            (None, -999_999_999, false, 80_000, -999_999_999),
            (Some(Hold::For(60)), 60, true, 71_000, 59),
            (None, 60, true, 0, 60),
        ] {
            let by = store::DeliverBy { seconds, returns, trace: true };
            let wishes = Wishes { hold, deliver_by: Some(by), priority: None };
            let envelope = Envelope { received_at: 10_000, wishes, ..Envelope::default() };
            let mode = if returns { ByMode::Return } else { ByMode::Notify };
            let found = deliver_by(&envelope, now).map(|by| (by.seconds, by.mode, by.trace));
            assert_eq!(found, Some((expected, mode, true)), "{wishes:?} at {now}");
        }
    }
}
