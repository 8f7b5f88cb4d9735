//! The same as [`convert`] for the probing part: values of `wit/engine` to values of the core and back, one to one.
//!
//! Owns that translation. Refuses to judge: what does not read as a name is the core's to refuse. Can not fail.

use super::convert;
use super::convert_client::{host, mailbox};
use super::wit::{client, probe};
use hermetic_core::probe as core;

/// What a session is told at its start.
pub(crate) fn options(options: probe::Options) -> core::Options {
    core::Options {
        experiment: experiment(options.experiment),
        hello_name: options.hello_name,
        limits: core::Limits {
            reply_line: options.limits.reply_line,
            reply_lines: options.limits.reply_lines,
            reply_size: options.limits.reply_size,
            received: options.limits.received,
            reply_timeout: options.limits.reply_timeout,
            pause: options.limits.pause,
        },
        implicit_tls: options.implicit_tls,
        start_tls: options.start_tls,
        domain: host(options.domain),
        sender: mailbox(options.sender),
        stranger: mailbox(options.stranger),
        recipient: options.recipient.map(mailbox),
    }
}

fn experiment(experiment: probe::Experiment) -> core::Experiment {
    use probe::{EndOfData, Experiment};
    match experiment {
        Experiment::Greeting => core::Experiment::Greeting,
        Experiment::StartTls => core::Experiment::StartTls,
        Experiment::Injection => core::Experiment::Injection,
        Experiment::Haste => core::Experiment::Haste,
        Experiment::Nameless => core::Experiment::Nameless,
        Experiment::Commands => core::Experiment::Commands,
        Experiment::Pipelining => core::Experiment::Pipelining,
        Experiment::Extensions => core::Experiment::Extensions,
        Experiment::Relay => core::Experiment::Relay,
        Experiment::Smuggling(end) => core::Experiment::Smuggling(match end {
            EndOfData::LfDotLf => core::EndOfData::LfDotLf,
            EndOfData::LfDotCrlf => core::EndOfData::LfDotCrlf,
            EndOfData::CrlfDotLf => core::EndOfData::CrlfDotLf,
            EndOfData::CrDotCr => core::EndOfData::CrDotCr,
            EndOfData::CrDotCrlf => core::EndOfData::CrDotCrlf,
            EndOfData::CrlfDotCr => core::EndOfData::CrlfDotCr,
            EndOfData::LfDotCr => core::EndOfData::LfDotCr,
            EndOfData::CrDotLf => core::EndOfData::CrDotLf,
        }),
    }
}

/// What a call brought about.
pub(crate) fn step(step: core::Step) -> probe::Step {
    probe::Step {
        transmit: step.transmit,
        findings: step.findings.into_iter().map(finding).collect(),
        hello: step.hello.map(|hello| probe::Hello {
            name: hello.name,
            tls: hello.tls,
            extensions: hello
                .extensions
                .into_iter()
                .map(|extension| client::Extension { keyword: extension.keyword, parameters: extension.parameters })
                .collect(),
        }),
        events: step.events.into_iter().map(convert::event).collect(),
        need: match step.need {
            core::Need::Input => probe::Need::Input,
            core::Need::StartTls => probe::Need::StartTls,
            core::Need::Close => probe::Need::Close,
        },
        wake: step.wake,
    }
}

fn finding(finding: core::Finding) -> probe::Finding {
    probe::Finding {
        check: finding.check.into(),
        verdict: match finding.verdict {
            core::Verdict::Pass => probe::Verdict::Pass,
            core::Verdict::Info => probe::Verdict::Info,
            core::Verdict::Warn => probe::Verdict::Warn,
            core::Verdict::Fail => probe::Verdict::Fail,
            core::Verdict::Untested => probe::Verdict::Untested,
        },
        rule: finding.rule.into(),
        text: finding.text,
    }
}
