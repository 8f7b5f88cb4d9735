//! `hermetic queue`: what waits, and why, and what to do with it.
//!
//! Owns the verbs, how they name entries, and the exit codes. Reads through the running server's admin API, which knows
//! what is being worked on; without a server, from its store. Refuses to change the store itself: changes are the
//! running server's alone. Each verb has its file. Fails with [`QueueError`], one sentence.

mod change;
mod client;
mod drop;
mod export;
mod hold;
mod list;
mod mbox;
mod owner;
mod part;
mod release;
mod retry;
mod select;
mod show;
mod source;
mod why;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Subcommand;

use super::{safe, time};
use crate::{
    admin::{token::TokenError, wire::Entry},
    config::{Config, Endpoint},
    store::{StoreError, jetstream, sqlite::OpenError},
};

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    List(list::List),
    Show(show::Show),
    Why(why::Why),
    Retry(retry::Retry),
    Hold(hold::Hold),
    Release(release::Release),
    Drop(drop::Drop),
    Export(export::Export),
}

/// Why it can not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum QueueError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Cluster(#[from] jetstream::OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("can not write {what}: {error}")]
    Output { what: String, error: io::Error },
    #[error("no threads to run on: {0}")]
    Runtime(io::Error),
    #[error("admin.listen: {0}")]
    Endpoint(String),
    #[error(
        "no server answers at {endpoint}, and only the running server changes its queue; start it (`{start}`) and type this again"
    )]
    NotRunning { endpoint: Endpoint, start: String },
    #[error(
        "the server has no admin API (admin.listen is \"off\"), and only the running server changes its queue; remove that key and restart the server"
    )]
    Off,
    #[error("can not connect to {endpoint}: {error}{hint}")]
    Connect { endpoint: Endpoint, error: io::Error, hint: &'static str },
    #[error(
        "whoever listens at {endpoint} is another user (uid {}), so the token is not shown; is that the server?",
        peers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
    )]
    Stranger { endpoint: Endpoint, peers: Vec<u32> },
    #[error(
        "the system does not tell who listens at {endpoint}, so the token is not shown: {error}; a Unix socket (admin.listen) can be asked"
    )]
    Unsure { endpoint: Endpoint, error: io::Error },
    #[error("the server at {endpoint} does not answer as it should: {problem}")]
    Answer { endpoint: Endpoint, problem: String },
    /// The server's own words.
    #[error("{0}")]
    Refused(String),
    /// Of what is not there (any more).
    #[error("{0}")]
    Gone(String),
    /// The command line makes no sense.
    #[error("{0}")]
    Asked(String),
    #[error("{0}")]
    NotDone(String),
}

impl QueueError {
    /// See `hermetic queue --help`.
    pub(super) fn exit_code(&self) -> u8 {
        if matches!(self, Self::Asked(_)) { 2 } else { 1 }
    }
}

/// Does what the verb says. `file`: the configuration's.
pub(super) fn run(command: &QueueCommand, config: &Config, file: Option<&Path>) -> Result<(), QueueError> {
    let context = Context { config, file };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(QueueError::Runtime)?;
    let done = runtime.block_on(async {
        match command {
            QueueCommand::List(list) => list.run(&context).await,
            QueueCommand::Show(show) => show.run(&context).await,
            QueueCommand::Why(why) => why.run(&context).await,
            QueueCommand::Retry(retry) => retry.run(&context).await,
            QueueCommand::Hold(hold) => hold.run(&context).await,
            QueueCommand::Release(release) => release.run(&context).await,
            QueueCommand::Drop(drop) => drop.run(&context).await,
            QueueCommand::Export(export) => export.run(&context).await,
        }
    });
    let only_shows = matches!(command, QueueCommand::List(_) | QueueCommand::Show(_) | QueueCommand::Why(_));
    match done {
        // `| head` has seen enough. Of what does more than show, nobody has seen what came of it.
        Err(QueueError::Output { error, .. }) if only_shows && error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Where the server and its store are.
struct Context<'a> {
    config: &'a Config,
    file: Option<&'a Path>,
}

/// Standard output.
struct Output {
    out: io::BufWriter<Box<dyn Write>>,
    /// What can not be written is said at the end, so that the work goes on.
    patient: bool,
    failed: Option<io::Error>,
}

impl Output {
    /// For what only shows something: it stops when nobody reads it.
    fn new() -> Self {
        Self { out: io::BufWriter::new(Box::new(io::stdout().lock())), patient: false, failed: None }
    }

    /// For work that goes on, whoever reads what came of it.
    fn patient() -> Self {
        Self { patient: true, ..Self::new() }
    }

    /// Writes, and says what could not be written.
    fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), QueueError> {
        if self.failed.is_some() {
            return Ok(());
        }
        match write(&mut self.out) {
            Err(error) if self.patient => {
                self.failed = Some(error);
                Ok(())
            }
            done => done.map_err(stdout),
        }
    }

    /// One line of JSON.
    fn json(&mut self, value: &impl serde::Serialize) -> Result<(), QueueError> {
        self.write(|out| {
            serde_json::to_writer(&mut *out, value)?;
            writeln!(out)
        })
    }

    /// The first thing that went wrong counts.
    fn end(mut self) -> Result<(), QueueError> {
        match self.failed.take() {
            Some(error) => Err(stdout(error)),
            None => self.out.flush().map_err(stdout),
        }
    }
}

fn stdout(error: io::Error) -> QueueError {
    QueueError::Output { what: "the output".into(), error }
}

fn file_error(path: &Path) -> impl Fn(io::Error) -> QueueError {
    let what = PathBuf::from(path).display().to_string();
    move |error| QueueError::Output { what: what.clone(), error }
}

/// An entry for people: a line, and what more is to be said below it.
fn print_entry(out: &mut dyn Write, entry: &Entry) -> io::Result<()> {
    writeln!(
        out,
        "{}  {:6}  {}  {} -> {}  {} octets",
        entry.entry,
        entry.state,
        time(entry.received_at),
        entry.reverse_path,
        entry.recipient,
        entry.size
    )?;
    if let Some(reason) = &entry.reason {
        writeln!(out, "    {}", safe(reason))?;
    }
    let why = safe(entry.pending_reason.as_deref().unwrap_or_default());
    match entry.pending.as_deref() {
        Some("judge") => writeln!(out, "    to be judged again, because it was {why}")?,
        Some("bounce") => writeln!(out, "    its sender is to be told: {why}")?,
        Some("expanded") => writeln!(out, "    others get it instead; its sender is to be told that")?,
        _ => {}
    }
    if let (Some(at), 1..) = (entry.next_attempt, entry.attempts) {
        writeln!(out, "    after {}, the next one at {}", counted(entry.attempts.into(), "attempt"), time(at))?;
    }
    Ok(())
}

fn counted(count: u64, one: &str) -> String {
    let plural = one.strip_suffix('y').map_or_else(|| format!("{one}s"), |stem| format!("{stem}ies"));
    format!("{count} {}", if count == 1 { one } else { &plural })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::store::{Listed, Pending};

    fn listed() -> Listed {
        Listed {
            entry: "01JD0000000000000000000000.0".into(),
            state: "queued".into(),
            reason: Some("disk \"full\"\n\\\u{1b}".into()),
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
    fn entries_for_people() {
        let print = |listed: Listed, on_hold| {
            let mut out = Vec::new();
            print_entry(&mut out, &Entry::new(listed, on_hold)).unwrap();
            String::from_utf8(out).unwrap()
        };
        let line = "01JD0000000000000000000000.0  queued  2023-11-14T22:13:20Z  <> -> ä@example.test  4096 octets\n";
        let after = "    after 2 attempts, the next one at 2023-11-14T22:17:20Z\n";
        assert_eq!(print(listed(), false), format!("{line}    disk \"full\"\\n\\\\u{{1b}}\n{after}"));
        let plain = Listed { reason: None, ..listed() };
        assert_eq!(print(plain.clone(), false), format!("{line}{after}"));
        assert_eq!(print(plain.clone(), true), format!("{line}    the queue is on hold (queue.hold)\n"));
        let again =
            Pending::Rejudge { transaction: "s.1".into(), reason: "deferred by plugin p: wait".into(), asked: None };
        let text = print(Listed { pending: again, attempts: 0, ..plain.clone() }, false);
        assert_eq!(text, format!("{line}    to be judged again, because it was deferred by plugin p: wait\n"));
        let bounce = Pending::Bounce { status: "5.7.1".into(), reason: "no\nway".into() };
        let text = print(Listed { pending: bounce, attempts: 1, ..plain }, false);
        let once = after.replace("2 attempts", "1 attempt");
        assert_eq!(text, format!("{line}    its sender is to be told: 5.7.1 no\\nway\n{once}"));
    }

    #[test]
    fn entries_for_programs() {
        assert_eq!(
            serde_json::to_string(&Entry::new(listed(), false)).unwrap(),
            r#"{"entry":"01JD0000000000000000000000.0","state":"queued","reason":"disk \"full\"\n\\\u001b","reverse_path":"<>","recipient":"ä@example.test","size":4096,"received_at":1700000000000,"attempts":2,"next_attempt":1700000240000,"pending":null,"pending_reason":null}"#
        );
    }

    /// Takes so many octets, and then nobody reads any more.
    struct Pipe(usize);

    impl Write for Pipe {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(octets.len()).ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(octets.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn work_goes_on_when_nobody_reads() {
        for (patient, room, goes_on, ends_well) in
            [(true, 100, true, true), (true, 10, true, false), (false, 10, false, false), (false, 100, true, true)]
        {
            // Nothing is kept back, so that each write is one.
            let out = io::BufWriter::with_capacity(0, Box::new(Pipe(room)) as Box<dyn Write>);
            let mut out = Output { out, patient, failed: None };
            let went = (0..5).all(|_| out.write(|out| out.write_all(b"0123456789")).is_ok());
            assert_eq!(went, goes_on, "{patient} {room}");
            assert_eq!(went && out.end().is_ok(), ends_well, "{patient} {room}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(
            [counted(1, "entry"), counted(2, "entry"), counted(0, "attempt")],
            ["1 entry", "2 entries", "0 attempts"]
        );
    }
}
