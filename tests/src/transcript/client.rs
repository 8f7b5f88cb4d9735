//! Sessions that we open with a server, written down: `tests/transcripts/client/*.txt`, in the format that the README there
//! describes.
//!
//! Owns the format and a small driver with a plan. Refuses to judge what comes out: it returns a [`Record`] for each group.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use hermetic::engine::EngineError;
use hermetic::engine::client::{
    Client, ClientEngine, ContentFacts, Need, Options, Outcome, Protocol, Reply, Step, TlsUse, Transaction, options,
    to_write,
};

use super::{Mistake, Needs, duration, number, unescaped, words};
use crate::native;

/// More steps than any transcript takes.
const STEPS: usize = 100_000;

/// One file.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// Where it is.
    pub path: PathBuf,
    /// All its lines.
    pub lines: Vec<String>,
    /// What it needs of whoever runs it.
    pub needs: Needs,
    /// The options on top.
    pub options: Options,
    /// It matters which octets arrive together: nothing is cut.
    pub whole: bool,
    /// What is wanted, each when the session is ready.
    pub wishes: Vec<Wish>,
    /// What happens, and what is expected then.
    pub groups: Vec<Group>,
}

/// What is done when the session is ready.
#[derive(Clone, Debug)]
pub enum Wish {
    /// Mechanism and initial response, and the answers to challenges; without one the exchange is cancelled.
    Login(String, Option<Vec<u8>>, VecDeque<Vec<u8>>),
    /// A message and its content.
    Deliver(Box<Transaction>, Vec<u8>),
    /// The end.
    Quit,
}

/// What the peer does, and what is expected then.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Its lines in the file, from 0: first, and behind the last.
    pub lines: (usize, usize),
    /// In order.
    pub actions: Vec<Action>,
    /// What must come of it.
    pub record: Record,
    /// What is reported matters here.
    pub events: bool,
}

/// Something that happens to a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The peer says this.
    Say(Vec<u8>),
    /// Milliseconds pass.
    Wait(u64),
    /// The handshake is done.
    Secured,
    /// The connection is lost.
    Lost,
}

/// What came of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// All octets for the peer.
    pub output: Vec<u8>,
    /// Outcomes, logins and failures, a line for each.
    pub results: Vec<String>,
    /// As [`super::show::event`] has them.
    pub events: Vec<String>,
    /// The session wants the connection closed.
    pub closed: bool,
}

/// How a session reaches the engine. None of it may change what comes out.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// What the peer says arrives in pieces of so many octets.
    pub piece: usize,
    /// Freeze and thaw after every call.
    pub freeze: bool,
    /// Call `tick` after every call, although nothing is due.
    pub tick: bool,
}

/// As it is written.
pub const PLAIN: How = How { piece: usize::MAX, freeze: false, tick: false };

/// All transcripts of a folder, in the order of their names.
///
/// # Errors
/// A file that cannot be read, or a folder without any.
pub fn all(folder: &Path) -> Result<Vec<Transcript>, Box<dyn std::error::Error>> {
    super::read_all(folder, parse, |transcript| &transcript.needs)
}

/// Reads one transcript.
///
/// # Errors
/// The first line that is not in the format.
pub fn parse(path: &Path, text: &str) -> Result<Transcript, Mistake> {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut transcript = Transcript {
        path: path.into(),
        options: Options { hello_name: "client.example.test".into(), ..options("") },
        needs: Needs::default(),
        whole: false,
        wishes: Vec::new(),
        groups: Vec::new(),
        lines: Vec::new(),
    };
    let mut expecting = true;
    for (place, line) in lines.iter().enumerate() {
        let fail = |what: String| Mistake { path: path.into(), line: place + 1, what };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (tag, rest) = line.split_once(':').ok_or_else(|| fail("expected `TAG: …`".into()))?;
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        if transcript.needs.line(tag, rest) {
            if !transcript.groups.is_empty() {
                return Err(fail("needs stand on top".into()));
            }
            continue;
        }
        if on_top(&mut transcript, tag, rest).map_err(fail)? {
            if !transcript.groups.is_empty() {
                return Err(fail("options and wishes stand on top".into()));
            }
            continue;
        }
        let action = action(tag, rest).map_err(fail)?;
        if transcript.groups.is_empty() || (action.is_some() && expecting) {
            transcript.groups.push(Group { lines: (place, place + 1), ..Group::default() });
            expecting = false;
        }
        let Some(group) = transcript.groups.last_mut() else { continue };
        group.lines.1 = place + 1;
        expecting |= action.is_none();
        match (action, tag) {
            (Some(Action::Say(more)), _) => match group.actions.last_mut() {
                Some(Action::Say(octets)) => octets.extend(more),
                _ => group.actions.push(Action::Say(more)),
            },
            (Some(action), _) => group.actions.push(action),
            (None, "C") => group.record.output.extend_from_slice(format!("{rest}\r\n").as_bytes()),
            (None, "c") => group.record.output.extend(unescaped(rest).map_err(fail)?),
            (None, "R") => group.record.results.push(rest.into()),
            (None, "E") => {
                group.events = true;
                group.record.events.push(rest.into());
            }
            (None, "END") => group.record.closed = true,
            (None, _) => return Err(fail(format!("there is no tag {tag:?}"))),
        }
    }
    transcript.lines = lines;
    Ok(transcript)
}

/// Options and wishes. False: the line is neither.
fn on_top(transcript: &mut Transcript, tag: &str, rest: &str) -> Result<bool, String> {
    let last = transcript.wishes.last_mut();
    match (tag, last) {
        ("O", _) => option(&mut transcript.options, rest)?,
        ("WHOLE", _) => transcript.whole = true,
        ("QUIT", _) => transcript.wishes.push(Wish::Quit),
        ("LOGIN", _) => {
            let (mechanism, initial) = match rest.split_once(' ') {
                Some((mechanism, initial)) => (mechanism, Some(unescaped(initial)?)),
                None => (rest, None),
            };
            transcript.wishes.push(Wish::Login(mechanism.into(), initial, VecDeque::new()));
        }
        ("ANSWER", Some(Wish::Login(_, _, answers))) => answers.push_back(unescaped(rest)?),
        ("FROM", _) => {
            let transaction = native::sender(rest).ok_or_else(|| format!("{rest:?} is no argument of MAIL"))?;
            transcript.wishes.push(Wish::Deliver(Box::new(transaction), Vec::new()));
        }
        ("TO", Some(Wish::Deliver(transaction, _))) => {
            let recipient = native::recipient(rest).ok_or_else(|| format!("{rest:?} is no argument of RCPT"))?;
            transaction.recipients.push(recipient);
        }
        ("B", Some(Wish::Deliver(transaction, content))) => {
            content.extend_from_slice(format!("{rest}\r\n").as_bytes());
            transaction.content = facts(content);
        }
        ("b", Some(Wish::Deliver(transaction, content))) => {
            content.extend(unescaped(rest)?);
            transaction.content = facts(content);
        }
        ("UTF8-HEADER", Some(Wish::Deliver(transaction, _))) => transaction.content.utf8_header = true,
        ("ANSWER" | "TO" | "B" | "b" | "UTF8-HEADER", _) => return Err(format!("{tag} belongs to a wish")),
        _ => return Ok(false),
    }
    Ok(true)
}

fn facts(content: &[u8]) -> ContentFacts {
    let text = String::from_utf8_lossy(content);
    ContentFacts {
        size: content.len() as u64,
        eight_bit: !content.is_ascii(),
        bare_line_ends: text.replace("\r\n", "").contains(['\r', '\n']),
        longest_line: text.split("\r\n").map(str::len).max().unwrap_or(0) as u64,
        utf8_header: false,
    }
}

fn action(tag: &str, rest: &str) -> Result<Option<Action>, String> {
    Ok(Some(match tag {
        "S" => Action::Say(format!("{rest}\r\n").into_bytes()),
        "s" => Action::Say(unescaped(rest)?),
        "T" => Action::Wait(duration(rest)?),
        "TLS" => Action::Secured,
        "LOST" => Action::Lost,
        _ => match tag.strip_prefix("s*") {
            Some(times) => Action::Say(unescaped(rest)?.repeat(number(times)?)),
            None => return Ok(None),
        },
    }))
}

fn option(options: &mut Options, line: &str) -> Result<(), String> {
    let (name, value) =
        line.split_once('=').map(|(name, value)| (name.trim(), value.trim())).ok_or("expected `name = value`")?;
    match name {
        "protocol" if value == "lmtp" => options.protocol = Protocol::Lmtp,
        "tls" => {
            options.tls = match value {
                "never" => TlsUse::Never,
                "opportunistic" => TlsUse::Opportunistic,
                "required" => TlsUse::Required,
                _ => return Err(format!("there is no use {value:?} of TLS")),
            }
        }
        "implicit-tls" => options.implicit_tls = number(value)?,
        "plaintext-auth" => options.plaintext_auth = number(value)?,
        "ignore" => options.ignore = words(value),
        "pipelining" => options.pipelining = number(value)?,
        "chunking" => options.chunking = number(value)?,
        "prdr" => options.prdr = number(value)?,
        "trace" => options.trace = number(value)?,
        "limits.pipeline" => options.limits.pipeline = number(value)?,
        "limits.messages" => options.limits.messages = number(value)?,
        "limits.reply-lines" => options.limits.reply_lines = number(value)?,
        _ => return Err(format!("there is no option {line:?}")),
    }
    Ok(())
}

/// Plays a transcript.
///
/// # Errors
/// The engine's own, and an action where it is out of place.
pub fn run(engine: &dyn ClientEngine, transcript: &Transcript, how: How) -> Result<Vec<Record>, EngineError> {
    let how = if transcript.whole { How { piece: usize::MAX, ..how } } else { how };
    let mut run = Run {
        engine,
        options: &transcript.options,
        how,
        client: Some(engine.client(&transcript.options)?),
        wishes: transcript.wishes.iter().cloned().collect(),
        answers: VecDeque::new(),
        content: Vec::new(),
        now: 1000,
        need: Need::Input,
        record: Record::default(),
    };
    run.call(&[], |client, now| client.start(now))?;
    let mut records = Vec::new();
    for group in &transcript.groups {
        for action in &group.actions {
            run.act(action)?;
        }
        let mut record = std::mem::take(&mut run.record);
        record.closed = run.need == Need::Close;
        records.push(record);
    }
    Ok(records)
}

/// A session under way.
struct Run<'a> {
    engine: &'a dyn ClientEngine,
    options: &'a Options,
    how: How,
    client: Option<Box<dyn Client>>,
    wishes: VecDeque<Wish>,
    answers: VecDeque<Vec<u8>>,
    content: Vec<u8>,
    now: u64,
    need: Need,
    record: Record,
}

fn gone() -> EngineError {
    EngineError::Instance("the session is gone".into())
}

impl Run<'_> {
    fn act(&mut self, action: &Action) -> Result<(), EngineError> {
        match action {
            Action::Wait(time) => {
                self.now += time;
                self.call(&[], |client, now| client.tick(now))?;
            }
            Action::Secured => self.call(&[], |client, now| client.secured(now))?,
            Action::Lost => self.call(&[], |client, now| client.lost(now))?,
            Action::Say(octets) => {
                for piece in octets.chunks(self.how.piece.min(octets.len().max(1))) {
                    if self.need == Need::Close {
                        break;
                    }
                    self.call(&[], |client, now| client.receive(now, piece))?;
                    // Octets that arrive together are handed over together where it matters who was first.
                    if self.need == Need::Input {
                        continue;
                    }
                    self.work()?;
                }
            }
        }
        self.work()
    }

    /// Does what is needed, until it is input, a handshake or the end.
    fn work(&mut self) -> Result<(), EngineError> {
        for _ in 0..STEPS {
            match self.need {
                Need::Input | Need::StartTls | Need::Close => return Ok(()),
                Need::Ready(_) => match self.wishes.pop_front() {
                    None => return Ok(()),
                    Some(Wish::Quit) => self.call(&[], |client, now| client.quit(now))?,
                    Some(Wish::Login(mechanism, initial, answers)) => {
                        self.answers = answers;
                        self.call(&[], |client, now| client.login(now, &mechanism, initial.as_deref()))?;
                    }
                    Some(Wish::Deliver(transaction, content)) => {
                        self.content = content;
                        self.call(&[], |client, now| client.deliver(now, &transaction))?;
                    }
                },
                Need::Response(_) => match self.answers.pop_front() {
                    Some(answer) => self.call(&[], |client, now| client.respond(now, &answer))?,
                    None => self.call(&[], |client, now| client.cancel(now))?,
                },
                Need::Content => {
                    let octets = std::mem::take(&mut self.content);
                    self.call(&octets, |client, now| client.content(now, &octets, true))?;
                }
            }
        }
        Err(EngineError::Instance("the session leads nowhere".into()))
    }

    fn call(
        &mut self,
        given: &[u8],
        call: impl FnOnce(&mut dyn Client, u64) -> Result<Step, EngineError>,
    ) -> Result<(), EngineError> {
        let now = self.now;
        let step = call(self.client.as_deref_mut().ok_or_else(gone)?, now)?;
        to_write(&step, given).for_each(|octets| self.record.output.extend_from_slice(octets));
        self.record.results.extend(step.outcomes.iter().map(outcome));
        if let Some(login) = &step.login {
            let word = if login.accepted { "login" } else { "no login" };
            self.record.results.push(format!("{word} {}", reply(&login.reply)));
        }
        if let Some(failure) = &step.failure {
            let said = failure.reply.as_ref().map(reply).unwrap_or_default();
            let line = format!("failure {} {} {said}", word(failure.fault), word(failure.stage));
            self.record.results.push(line.trim_end().to_owned());
        }
        self.record.events.extend(step.events.iter().map(super::show::event));
        self.need = step.need;
        if self.need == Need::Close {
            return Ok(());
        }
        if self.how.freeze {
            let image = self.client.take().ok_or_else(gone)?.freeze()?;
            self.client = Some(self.engine.thaw_client(self.options, &image)?);
        }
        if self.how.tick && step.wake > now {
            let idle = self.client.as_deref_mut().ok_or_else(gone)?.tick(now)?;
            if (&idle.need, idle.wake, idle.transmit.len(), idle.events.len()) != (&self.need, step.wake, 0, 0) {
                return Err(EngineError::Instance(format!("a tick before its time brought {idle:?}")));
            }
        }
        Ok(())
    }
}

/// `0 accepted message 2.0.0: 250 text`; the cause where it is not the reply; `no-dsn` where the peer has none.
fn outcome(outcome: &Outcome) -> String {
    let status = outcome.status;
    let cause = match word(outcome.cause).as_str() {
        "reply" => String::new(),
        cause => format!(" {cause}"),
    };
    let said = outcome.reply.as_ref().map(|said| format!(": {}", reply(said))).unwrap_or_default();
    let dsn = if outcome.dsn { " dsn" } else { "" };
    let by = if outcome.deliver_by { " deliver-by" } else { "" };
    format!(
        "{} {}{cause} {} {}.{}.{}{dsn}{by}{said}",
        outcome.recipient,
        word(outcome.fate),
        word(outcome.stage),
        status.class,
        status.subject,
        status.detail
    )
}

fn reply(reply: &Reply) -> String {
    let status = reply.status.map(|status| format!(" {}.{}.{}", status.class, status.subject, status.detail));
    format!("{}{} {:?}", reply.code, status.unwrap_or_default(), reply.text)
}

/// A case's name as `wit/engine` has it.
fn word(case: impl std::fmt::Debug) -> String {
    let name = format!("{case:?}");
    let mut word = String::new();
    for character in name.rsplit("::").next().unwrap_or_default().chars() {
        if character.is_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.extend(character.to_lowercase());
    }
    word
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_names_its_line() {
        let check = |text: &str, expected: &str| {
            let mistake = parse(Path::new("t.txt"), text).unwrap_err().to_string();
            assert!(mistake.contains(expected), "{text:?} gave {mistake:?}, expected {expected:?}");
        };
        check("S: 220\nC; hello", "t.txt:2: expected `TAG");
        check("X: 1", "t.txt:1: there is no tag \"X\"");
        check("O: nonsense = 1", "no option");
        check("O: tls = perhaps", "no use");
        check("S: 220\nN: nothing", "stand on top");
        check("S: 220\nQUIT:", "stand on top");
        check("TO: <a@b.test>", "belongs to a wish");
        check("FROM: <a@b.test", "no argument of MAIL");
        check("FROM: <>\nTO: a", "no argument of RCPT");
        check("T: 5", "expected a time");
    }
}
