//! `hermetic why`: how plugins judged a message, recipient by recipient. Reads the store beside a running server, or
//! without one.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use super::time;
use crate::{
    admin::wire::Judged,
    config::Config,
    plugin::hook::{Reason, Verdict},
    policy::chain::{Record, Step},
    store::{
        VERDICTS_AGE,
        sqlite::{self, OpenError},
    },
};

/// Why it can not be told.
#[derive(Debug, thiserror::Error)]
pub enum WhyError {
    /// The store can not be read.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Nobody judged it, or it is forgotten.
    #[error(
        "nothing is known of {id}: no plugin judged it, or it was more than {days} days ago; a message's id is in its Received field and in the log, a session's on every line of the log"
    )]
    Unknown {
        /// What was asked for.
        id: String,
        /// How long verdicts are kept.
        days: u64,
    },
    /// The NATS servers.
    #[error(transparent)]
    Cluster(#[from] crate::store::jetstream::OpenError),
    /// The system.
    #[error("{0}")]
    Thread(String),
    /// The terminal, pipe or file that it should be written to.
    #[error("can not write: {0}")]
    Output(#[from] io::Error),
}

/// Tells of a message (`01J…`, or an entry of it as `hermetic queue list` shows it), a session, or a session's
/// transaction: text for people, or one JSON object a recipient.
pub fn why(config: &Config, id: &str, json: bool) -> Result<(), WhyError> {
    let mut found = verdicts(config, id)?;
    if found.is_empty()
        && let Some((message, _)) = id.split_once('.')
    {
        found = verdicts(config, message)?;
    }
    if found.is_empty() {
        return Err(WhyError::Unknown { id: id.to_owned(), days: VERDICTS_AGE.as_secs() / (24 * 3600) });
    }
    let found = Judged::all(&found);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = if json { print_json(&mut out, &found) } else { print_text(&mut out, &found) };
    match written.and_then(|()| out.flush()) {
        // `| head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn verdicts(config: &Config, id: &str) -> Result<Vec<crate::store::Verdicts>, WhyError> {
    let Some(settings) = super::keep::settings(config) else {
        return Ok(sqlite::verdicts(&config.data, id)?.unwrap_or_default());
    };
    let asked = super::reach::block_on(crate::store::jetstream::verdicts(&settings, id));
    Ok(asked.map_err(|error| WhyError::Thread(error.to_string()))??)
}

fn print_json(out: &mut impl io::Write, found: &[Judged]) -> io::Result<()> {
    for judged in found {
        writeln!(out, "{}", serde_json::to_string(judged)?)?;
    }
    Ok(())
}

/// For people.
pub(super) fn print_text(out: &mut dyn io::Write, found: &[Judged]) -> io::Result<()> {
    let mut last = None;
    for judged in found {
        let about = Some((&judged.transaction, &judged.message));
        if last != about {
            let message = judged.message.as_ref().map_or_else(|| "nothing stored".into(), |id| format!("message {id}"));
            match judged.message == Some(judged.transaction.clone()) {
                true => writeln!(out, "changed in the queue, {message}, {}", time(judged.at))?,
                false => writeln!(out, "transaction {}, {message}, {}", judged.transaction, time(judged.at))?,
            }
            last = about;
        }
        print_record(out, &judged.record, 2)?;
    }
    Ok(())
}

/// A recipient, and further in the copies that plugins sent on.
fn print_record(out: &mut dyn io::Write, record: &Record, indent: usize) -> io::Result<()> {
    writeln!(out, "{:indent$}{}: {}", "", record.recipient, record.outcome.escape_debug())?;
    record.steps.iter().try_for_each(|step| print_step(out, step, indent + 2))?;
    record.copies.iter().try_for_each(|copy| print_record(out, copy, indent + 2))
}

fn print_step(out: &mut dyn io::Write, Step { ran, edits }: &Step, indent: usize) -> io::Result<()> {
    let hash = ran.hash.get(..12).unwrap_or(&ran.hash);
    let edits = match edits {
        0 => String::new(),
        1 => ", 1 edit".into(),
        n => format!(", {n} edits"),
    };
    writeln!(
        out,
        "{:indent$}{} ({hash}) {}: {}{edits}; {}, {} KiB",
        "",
        ran.plugin,
        ran.hook.as_str(),
        said(&ran.verdict).escape_debug(),
        took(ran.time),
        ran.memory / 1024
    )?;
    match &ran.failure {
        Some(failure) => writeln!(out, "{:indent$}  it failed: {}", "", failure.escape_debug()),
        None => Ok(()),
    }
}

fn said(verdict: &Verdict) -> String {
    let because =
        |word, class, Reason { subject, detail, text }: &Reason| format!("{word}, {text} ({class}.{subject}.{detail})");
    match verdict {
        Verdict::Proceed => "proceed".into(),
        Verdict::Accept => "accept".into(),
        Verdict::Discard => "discard".into(),
        Verdict::Defer(reason) => because("defer", 4, reason),
        Verdict::Reject(reason) => because("reject", 5, reason),
    }
}

fn took(time: Duration) -> String {
    match time.as_micros() {
        micros @ ..1000 => format!("{micros} µs"),
        micros @ ..10_000_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        micros => format!("{} s", micros / 1_000_000),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::{
        plugin::hook::{Hook, Ran},
        store::{MessageId, Verdicts},
    };

    fn verdicts(message: Option<MessageId>, recipients: &[&str]) -> Verdicts {
        let ran = |hook, verdict, failure: Option<&str>, micros| Ran {
            plugin: "greylist".into(),
            hash: "0123456789abcdef".into(),
            hook,
            verdict,
            retry_after: None,
            failure: failure.map(Into::into),
            time: Duration::from_micros(micros),
            memory: 65_536,
        };
        let reason = Reason { subject: 7, detail: 1, text: "in 5 minutes\u{7}".into() };
        let steps = vec![
            Step { ran: ran(Hook::Recipient, Verdict::Proceed, None, 12), edits: 2 },
            Step {
                ran: ran(Hook::RecipientMessage, Verdict::Defer(reason), Some("trap: unreachable"), 1234),
                edits: 0,
            },
        ];
        let record = |recipient: &&str| Record {
            recipient: recipient.to_string(),
            outcome: "deferred by plugin greylist: in 5 minutes".into(),
            steps: steps.clone(),
            copies: vec![Record {
                recipient: "c@example.test".into(),
                outcome: "accepted".into(),
                steps: vec![Step { ran: ran(Hook::RecipientMessage, Verdict::Proceed, None, 7), edits: 0 }],
                copies: Vec::new(),
            }],
        };
        let records: Vec<_> = recipients.iter().map(record).collect();
        Verdicts {
            transaction: "abc.1".into(),
            message,
            recipients: 1,
            judged: serde_json::to_string(&records).unwrap(),
            at: 1_700_000_000_000,
        }
    }

    #[test]
    fn text() {
        let mut out = Vec::new();
        let found = [verdicts(None, &["a@example.test"]), verdicts(None, &["b@example.test"])];
        print_text(&mut out, &Judged::all(&found)).unwrap();
        let each = "deferred by plugin greylist: in 5 minutes\n    \
             greylist (0123456789ab) recipient: proceed, 2 edits; 12 µs, 64 KiB\n    \
             greylist (0123456789ab) recipient-message: defer, in 5 minutes\\u{7} (4.7.1); 1.2 ms, 64 KiB\n      \
             it failed: trap: unreachable\n    \
             c@example.test: accepted\n      \
             greylist (0123456789ab) recipient-message: proceed; 7 µs, 64 KiB\n";
        let expected = format!(
            "transaction abc.1, nothing stored, 2023-11-14T22:13:20Z\n  a@example.test: {each}  b@example.test: {each}"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn json() {
        let mut out = Vec::new();
        let found = [verdicts(Some(MessageId::from(7u128)), &["a@example.test"])];
        print_json(&mut out, &Judged::all(&found)).unwrap();
        let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(line["message"], "00000000000000000000000007");
        assert_eq!(line["steps"][1]["ran"]["hook"], "recipient-message");
        assert_eq!(line["steps"][1]["ran"]["verdict"]["Defer"]["detail"], 1);
    }
}
