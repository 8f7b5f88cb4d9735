//! `hermetic queue list`: what waits, and why. Reads the store beside a running server, or without one.

use std::io::{self, Write as _};

use super::time;
use crate::{
    config::Config,
    store::{
        Listed, Pending,
        sqlite::{self, OpenError},
    },
};

/// Why the queue can not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The store can not be read.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The terminal, pipe or file that it should be written to.
    #[error("can not write the list: {0}")]
    Output(#[from] io::Error),
}

/// Prints every entry: a table for people, or one JSON object a line.
pub fn list(config: &Config, json: bool) -> Result<(), ListError> {
    let mut listed = sqlite::list(&config.data)?.unwrap_or_default();
    if config.queue.hold {
        for line in listed.iter_mut().filter(|line| line.state == "queued") {
            line.state = "held".into();
            line.reason = Some("the queue is on hold (queue.hold)".into());
            line.next_attempt = None;
        }
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = if json { print_json(&mut out, &listed) } else { print_table(&mut out, &listed) };
    match written.and_then(|()| out.flush()) {
        // `| head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn print_json(out: &mut impl io::Write, listed: &[Listed]) -> io::Result<()> {
    for line in listed {
        writeln!(out, "{}", json(line))?;
    }
    Ok(())
}

/// One line of JSON, in the order of [`Listed`].
fn json(line: &Listed) -> String {
    let text = |text: &str| {
        let mut quoted = String::from("\"");
        for c in text.chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                c if c < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => quoted.push(c),
            }
        }
        quoted + "\""
    };
    let Listed { entry, state, reason, reverse_path, recipient, size, received_at, attempts, next_attempt, pending } =
        line;
    format!(
        "{{\"entry\":{},\"state\":{},\"reason\":{},\"reverse_path\":{},\"recipient\":{},\"size\":{size},\
         \"received_at\":{received_at},\"attempts\":{attempts},\"next_attempt\":{},\"pending\":{}}}",
        text(entry),
        text(state),
        reason.as_deref().map_or_else(|| "null".into(), text),
        text(reverse_path),
        text(recipient),
        next_attempt.map_or_else(|| "null".into(), |at| at.to_string()),
        match pending {
            Pending::Nothing => "null",
            Pending::Rejudge { .. } => "\"judge\"",
            Pending::Bounce { .. } => "\"bounce\"",
            Pending::Expanded => "\"expanded\"",
        },
    )
}

fn print_table(out: &mut impl io::Write, listed: &[Listed]) -> io::Result<()> {
    if listed.is_empty() {
        return writeln!(out, "The queue is empty.");
    }
    for line in listed {
        writeln!(
            out,
            "{}  {:6}  {}  {} -> {}  {} octets",
            line.entry,
            line.state,
            time(line.received_at),
            line.reverse_path,
            line.recipient,
            line.size
        )?;
        if let Some(reason) = &line.reason {
            writeln!(out, "    {}", reason.escape_debug())?;
        }
        match &line.pending {
            Pending::Nothing => {}
            Pending::Rejudge { reason, .. } => {
                writeln!(out, "    to be judged again, because it was {}", reason.escape_debug())?;
            }
            Pending::Bounce { status, reason } => {
                writeln!(out, "    its sender is to be told: {status} {}", reason.escape_debug())?;
            }
            Pending::Expanded => writeln!(out, "    its sender is to be told that it was sent on to several others")?,
        }
        if let (Some(at), 1..) = (line.next_attempt, line.attempts) {
            let attempts = if line.attempts == 1 { "1 attempt".into() } else { format!("{} attempts", line.attempts) };
            writeln!(out, "    after {attempts}, the next one at {}", time(at))?;
        }
    }
    writeln!(out, "{} {}.", listed.len(), if listed.len() == 1 { "entry" } else { "entries" })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn line() -> Listed {
        Listed {
            entry: "01JD0000000000000000000000.0".into(),
            state: "queued".into(),
            reason: Some("disk \"full\"\n\\".into()),
            reverse_path: "<>".into(),
            recipient: "ä@example.test".into(),
            size: 4096,
            received_at: 1_700_000_000_000,
            attempts: 2,
            next_attempt: Some(1_700_000_240_000),
            pending: Pending::Nothing,
        }
    }

    #[test]
    fn tables() {
        let print = |listed: &[Listed]| {
            let mut out = Vec::new();
            print_table(&mut out, listed).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(print(&[]), "The queue is empty.\n");
        assert_eq!(
            print(&[line()]),
            "01JD0000000000000000000000.0  queued  2023-11-14T22:13:20Z  <> -> ä@example.test  4096 octets\n    \
             disk \\\"full\\\"\\n\\\\\n    after 2 attempts, the next one at 2023-11-14T22:17:20Z\n1 entry.\n"
        );
        let again =
            Pending::Rejudge { transaction: "s.1".into(), reason: "deferred by plugin p: wait".into(), asked: None };
        let text = print(&[Listed { pending: again, reason: None, attempts: 0, ..line() }]);
        assert!(
            text.contains("\n    to be judged again, because it was deferred by plugin p: wait\n1 entry"),
            "{text}"
        );
        let bounce = Pending::Bounce { status: "5.7.1".into(), reason: "no\nway".into() };
        let text = print(&[Listed { pending: bounce, reason: None, attempts: 0, ..line() }]);
        assert!(text.contains("\n    its sender is to be told: 5.7.1 no\\nway\n"), "{text}");
    }

    #[test]
    fn json_lines() {
        assert_eq!(
            json(&line()),
            r#"{"entry":"01JD0000000000000000000000.0","state":"queued","reason":"disk \"full\"\u000a\\","reverse_path":"<>","recipient":"ä@example.test","size":4096,"received_at":1700000000000,"attempts":2,"next_attempt":1700000240000,"pending":null}"#
        );
        assert!(json(&Listed { reason: None, next_attempt: None, ..line() }).contains(r#""reason":null"#));
    }
}
