//! Sessions written down as they are spoken: `tests/transcripts/*.txt`, in the format that the README there describes.
//!
//! Owns the format. Refuses to run anything ([`run`]) or to say how a question looks ([`show`]). A line that cannot be
//! read fails with the file's name, the line's number, and what was expected.

pub mod client;
pub mod needs;
pub mod run;
pub mod show;

pub use needs::Needs;

use std::path::{Path, PathBuf};

use hermetic::engine::types::{
    Answer, Decision, Limits, Options, Protocol, Questions, Refusal, SaslAnswer, VerifyAnswer,
};

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
    /// What happens, and what is expected then.
    pub groups: Vec<Group>,
}

/// What the client does, and what is expected then.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Its lines in the file, from 0: first, and behind the last.
    pub lines: (usize, usize),
    /// In order.
    pub actions: Vec<Action>,
    /// The answers that are not simply yes.
    pub answers: Vec<Answer>,
    /// All that the server says.
    pub output: Vec<u8>,
    /// What is asked, if it matters here.
    pub questions: Option<Vec<String>>,
    /// The content of the last message, if it matters here.
    pub body: Option<Vec<u8>>,
    /// What is reported, if it matters here.
    pub events: Option<Vec<String>>,
    /// The server closes the connection.
    pub end: bool,
}

/// Something that happens to a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Octets arrive.
    Send(Vec<u8>),
    /// Milliseconds pass.
    Wait(u64),
    /// The handshake is done.
    Secured(Vec<String>),
    /// The server is told to drain.
    Drain(Refusal),
}

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}:{line}: {what}", path = path.display())]
pub struct Mistake {
    path: PathBuf,
    line: usize,
    what: String,
}

/// The options of a transcript that says nothing else.
#[must_use]
pub fn plain() -> Options {
    Options {
        protocol: Protocol::Smtp,
        server_name: "mx.example.test".into(),
        limits: Limits {
            message_size: 10_000_000,
            recipients: 100,
            recipient_batch: 50,
            command_line: 2048,
            auth_line: 12_288,
            text_line: 0,
            errors: 10,
            idle_commands: 50,
            messages: 0,
            auth_failures: 3,
            command_timeout: 300_000,
            data_timeout: 180_000,
            handshake_timeout: 60_000,
            data_allowance: 600_000,
            data_rate: 512,
            session: 0,
            hold_for: 0,
            hold_until: 0,
            deliver_by: 0,
        },
        implicit_tls: false,
        start_tls: false,
        require_tls: false,
        plaintext_mechanisms: Vec::new(),
        tls_mechanisms: Vec::new(),
        require_auth: false,
        xclient: Vec::new(),
        strict_hello: false,
        deliver_by: false,
        priority: false,
        trace: false,
        unasked: Questions::empty(),
    }
}

/// All transcripts of a folder, in the order of their names.
///
/// # Errors
/// A file that cannot be read, or a folder without any.
pub fn all(folder: &Path) -> Result<Vec<Transcript>, Box<dyn std::error::Error>> {
    read_all(folder, parse, |transcript| &transcript.needs)
}

/// The same for any kind of them. Each declares what it needs, exactly.
fn read_all<T>(
    folder: &Path,
    parse: fn(&Path, &str) -> Result<T, Mistake>,
    needs: fn(&T) -> &Needs,
) -> Result<Vec<T>, Box<dyn std::error::Error>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(format!("there is no transcript in {}", folder.display()).into());
    }
    let read = |path: &PathBuf| {
        let transcript = parse(path, &std::fs::read_to_string(path)?)?;
        needs(&transcript).check().map_err(|what| Mistake { path: path.clone(), line: 1, what })?;
        Ok(transcript)
    };
    paths.iter().map(read).collect()
}

/// Reads one transcript.
///
/// # Errors
/// The first line that is not in the format.
pub fn parse(path: &Path, text: &str) -> Result<Transcript, Mistake> {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut options = plain();
    let mut needs = Needs::default();
    let mut groups: Vec<Group> = Vec::new();
    let mut expecting = true;
    for (place, line) in lines.iter().enumerate() {
        let fail = |what: String| Mistake { path: path.into(), line: place + 1, what };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (tag, rest) = line.split_once(':').ok_or_else(|| fail("expected `TAG: …`".into()))?;
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        if needs.line(tag, rest) {
            if !groups.is_empty() {
                return Err(fail("needs stand on top".into()));
            }
            continue;
        }
        if tag == "O" {
            if !groups.is_empty() {
                return Err(fail("options stand on top".into()));
            }
            option(&mut options, rest).map_err(fail)?;
            continue;
        }
        let action = action(tag, rest).map_err(fail)?;
        let acts = action.is_some() || tag == "A";
        if groups.is_empty() || (acts && expecting) {
            groups.push(Group { lines: (place, place + 1), ..Group::default() });
            expecting = false;
        }
        let Some(group) = groups.last_mut() else { continue };
        group.lines.1 = place + 1;
        expecting |= !acts && tag != "Q";
        match (action, tag) {
            (Some(Action::Send(more)), _) => match group.actions.last_mut() {
                Some(Action::Send(octets)) => octets.extend(more),
                _ => group.actions.push(Action::Send(more)),
            },
            (Some(action), _) => group.actions.push(action),
            (None, "S") => group.output.extend_from_slice(format!("{rest}\r\n").as_bytes()),
            (None, "A") => answers(&mut group.answers, rest).map_err(fail)?,
            (None, "Q") => group.questions.get_or_insert_default().push(rest.into()),
            (None, "E") => group.events.get_or_insert_default().push(rest.into()),
            (None, "B") => group.body.get_or_insert_default().extend_from_slice(format!("{rest}\r\n").as_bytes()),
            (None, "b") => group.body.get_or_insert_default().extend(unescaped(rest).map_err(fail)?),
            (None, "END") => group.end = true,
            (None, _) => match tag.strip_prefix("S*") {
                Some(times) => {
                    let line = format!("{rest}\r\n");
                    group.output.extend_from_slice(line.repeat(number(times).map_err(fail)?).as_bytes());
                }
                None => return Err(fail(format!("there is no tag {tag:?}"))),
            },
        }
    }
    Ok(Transcript { path: path.into(), lines, needs, options, groups })
}

fn action(tag: &str, rest: &str) -> Result<Option<Action>, String> {
    Ok(Some(match tag {
        "C" => Action::Send(format!("{rest}\r\n").into_bytes()),
        "c" => Action::Send(unescaped(rest)?),
        "T" => Action::Wait(duration(rest)?),
        "TLS" => Action::Secured(words(rest)),
        "D" => Action::Drain(refusal(rest)?),
        _ => match tag.strip_prefix("c*") {
            Some(times) => Action::Send(unescaped(rest)?.repeat(number(times)?)),
            None => return Ok(None),
        },
    }))
}

fn option(options: &mut Options, line: &str) -> Result<(), String> {
    let (name, value) =
        line.split_once('=').map(|(name, value)| (name.trim(), value.trim())).ok_or("expected `name = value`")?;
    let limits = &mut options.limits;
    match name {
        "protocol" if value == "lmtp" => options.protocol = Protocol::Lmtp,
        "protocol" if value == "smtp" => options.protocol = Protocol::Smtp,
        "server-name" => options.server_name = value.into(),
        "implicit-tls" => options.implicit_tls = number(value)?,
        "start-tls" => options.start_tls = number(value)?,
        "require-tls" => options.require_tls = number(value)?,
        "require-auth" => options.require_auth = number(value)?,
        "strict-hello" => options.strict_hello = number(value)?,
        "deliver-by" => options.deliver_by = number(value)?,
        "priority" => options.priority = number(value)?,
        "trace" => options.trace = number(value)?,
        "plaintext-mechanisms" => options.plaintext_mechanisms = words(value),
        "tls-mechanisms" => options.tls_mechanisms = words(value),
        "xclient" => options.xclient = words(value),
        "unasked" => {
            for name in words(value) {
                options.unasked |= questions(&name)?;
            }
        }
        "limits.message-size" => limits.message_size = number(value)?,
        "limits.recipients" => limits.recipients = number(value)?,
        "limits.recipient-batch" => limits.recipient_batch = number(value)?,
        "limits.command-line" => limits.command_line = number(value)?,
        "limits.auth-line" => limits.auth_line = number(value)?,
        "limits.text-line" => limits.text_line = number(value)?,
        "limits.errors" => limits.errors = number(value)?,
        "limits.idle-commands" => limits.idle_commands = number(value)?,
        "limits.messages" => limits.messages = number(value)?,
        "limits.auth-failures" => limits.auth_failures = number(value)?,
        "limits.command-timeout" => limits.command_timeout = number(value)?,
        "limits.data-timeout" => limits.data_timeout = number(value)?,
        "limits.handshake-timeout" => limits.handshake_timeout = number(value)?,
        "limits.data-allowance" => limits.data_allowance = number(value)?,
        "limits.data-rate" => limits.data_rate = number(value)?,
        "limits.session" => limits.session = number(value)?,
        "limits.hold-for" => limits.hold_for = number(value)?,
        "limits.hold-until" => limits.hold_until = number(value)?,
        "limits.deliver-by" => limits.deliver_by = number(value)?,
        _ => return Err(format!("there is no option {line:?}")),
    }
    Ok(())
}

fn questions(name: &str) -> Result<Questions, String> {
    Ok(match name {
        "connection" => Questions::CONNECTION,
        "hello" => Questions::HELLO,
        "xclient" => Questions::XCLIENT,
        "sender" => Questions::SENDER,
        "recipients" => Questions::RECIPIENTS,
        "verify" => Questions::VERIFY,
        "data" => Questions::DATA,
        "message" => Questions::MESSAGE,
        _ => return Err(format!("there is no question {name:?}")),
    })
}

/// Recipients come one by one, so that it does not matter how they are batched.
fn answers(answers: &mut Vec<Answer>, line: &str) -> Result<(), String> {
    let (question, given) = line.split_once(' ').ok_or("expected `A: question answer`")?;
    answers.push(match question {
        "connection" => Answer::Connection(decision(given)?),
        "hello" => Answer::Hello(decision(given)?),
        "xclient" => Answer::Xclient(decision(given)?),
        "sender" => Answer::Sender(decision(given)?),
        "sender-with-priority" => Answer::SenderWithPriority(number(given)?),
        "data" => Answer::Data(decision(given)?),
        "message" => Answer::Message(given.split(" | ").map(decision).collect::<Result<_, _>>()?),
        "recipients" => {
            for one in given.split(" | ") {
                answers.push(Answer::Recipients(vec![decision(one)?]));
            }
            return Ok(());
        }
        "sasl" => Answer::Sasl(match given.split_once(' ') {
            Some(("challenge", text)) => SaslAnswer::Challenge(unescaped(text)?),
            Some(("login", name)) => SaslAnswer::Authenticated(name.into()),
            Some(("no", why)) => SaslAnswer::Refused(refusal(why)?),
            _ => return Err("expected `challenge …`, `login …` or `no …`".into()),
        }),
        "verify" => Answer::Verify(match given.split_once(' ') {
            None if given == "unsure" => VerifyAnswer::Unsure,
            Some(("known", mailbox)) => VerifyAnswer::Known(unescaped_text(mailbox)?),
            Some(("no", why)) => VerifyAnswer::Refused(refusal(why)?),
            _ => return Err("expected `unsure`, `known …` or `no …`".into()),
        }),
        _ => return Err(format!("there is no question {question:?}")),
    });
    Ok(())
}

fn decision(given: &str) -> Result<Decision, String> {
    match given.split_once(' ') {
        None if given == "yes" => Ok(Ok(None)),
        Some(("yes", text)) => Ok(Ok(Some(unescaped_text(text)?))),
        Some(("no", why)) => Ok(Err(refusal(why)?)),
        _ => Err(format!("expected `yes`, `yes Text` or `no 550 5.1.1 Text`, not {given:?}")),
    }
}

fn refusal(why: &str) -> Result<Refusal, String> {
    let mut parts = why.splitn(3, ' ');
    let code = parts.next().unwrap_or_default();
    let enhanced: Vec<&str> = parts.next().unwrap_or_default().split('.').collect();
    match enhanced[..] {
        [class, subject, detail] if code.starts_with(class) => Ok(Refusal {
            code: number(code)?,
            subject: number(subject)?,
            detail: number(detail)?,
            text: unescaped_text(parts.next().unwrap_or_default())?,
        }),
        _ => Err(format!("expected `550 5.1.1 Text`, not {why:?}")),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.replace('_', "").parse().map_err(|_| format!("{text:?} is out of place here"))
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn duration(text: &str) -> Result<u64, String> {
    let (unit, milliseconds) = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)]
        .into_iter()
        .find(|(unit, _)| text.ends_with(unit))
        .ok_or("expected a time such as `300ms`, `10s`, `5m` or `1h`")?;
    Ok(number::<u64>(&text[..text.len() - unit.len()])? * milliseconds)
}

fn unescaped_text(text: &str) -> Result<String, String> {
    String::from_utf8(unescaped(text)?).map_err(|_| format!("{text:?} is not UTF-8"))
}

/// Decodes `\r \n \t \\ \xHH`.
fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let used = match (first, tail) {
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [b'\\', ..]) => (b'\\', 2),
            (b'\\', [b'x', high, low, ..]) => {
                let digits = [*high, *low];
                let octet = std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
                (octet.ok_or("expected two hexadecimal digits behind `\\x`")?, 4)
            }
            (b'\\', _) => return Err("a backslash stands before r, n, t, x or a backslash".into()),
            (&octet, _) => (octet, 1),
        };
        octets.push(used.0);
        rest = &rest[used.1..];
    }
    Ok(octets)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn groups_end_where_the_client_speaks_after_an_expectation() {
        let text = "# a comment\nO: limits.recipients = 3\n\nS: 220 hi\nC: A\nC: B\nA: recipients yes | no 550 5.1.1 No\nS: 1\nS: 2\nT: 5m\nc*2: x\\r\nS: 3\nEND:";
        let transcript = parse(Path::new("t"), text).unwrap();
        assert_eq!(transcript.options.limits.recipients, 3);
        let groups = &transcript.groups;
        assert_eq!(groups.len(), 3);
        assert_eq!((&groups[0].actions[..], &groups[0].output[..]), (&[][..], &b"220 hi\r\n"[..]));
        assert_eq!(groups[1].actions, [Action::Send(b"A\r\nB\r\n".to_vec())]);
        assert_eq!((groups[1].answers.len(), &groups[1].output[..], groups[1].lines), (2, &b"1\r\n2\r\n"[..], (4, 9)));
        assert_eq!(groups[2].actions, [Action::Wait(300_000), Action::Send(b"x\rx\r".to_vec())]);
        assert!(groups[2].end && !groups[1].end);
    }

    #[test]
    fn a_mistake_names_its_line() {
        let check = |text: &str, expected: &str| {
            let mistake = parse(Path::new("t.txt"), text).unwrap_err().to_string();
            assert!(mistake.contains(expected), "{text:?} gave {mistake:?}, expected {expected:?}");
        };
        check("S: 220\nC; hello", "t.txt:2: expected `TAG");
        check("X: 1", "t.txt:1: there is no tag \"X\"");
        check("O: nonsense = 1", "no option");
        check("S: 1\nN: nothing", "needs stand on top");
        check("S: 1\nO: trace = true", "stand on top");
        check("O: trace = yes", "\"yes\" is out of place");
        check("T: 5", "expected a time");
        check("c: \\q", "a backslash stands before");
        check("c: \\xzz", "hexadecimal");
        check("A: sender maybe", "expected `yes`");
        check("A: sender no 550 4.1.1 Text", "expected `550 5.1.1 Text`");
        check("A: weather yes", "no question");
    }
}
